"""Checks addresses of MLflow stores, and explains why a store cannot be opened."""

import os
import re
import shlex
from collections.abc import Callable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from snnpipe.base.errors import LoggingError, closest, one_line
from snnpipe.base.masking import mask

_TAKEN = "http://, https://, sqlite:///, postgresql+psycopg2://, mysql+pymysql:// or mssql+pymssql://"
_DRIVERS = {
    "postgresql": ("psycopg", "postgresql+psycopg2", "'snnpipe[postgresql]'"),  # SQLAlchemy 2.1 uses psycopg by default
    "postgresql+psycopg2": ("psycopg2", "postgresql+psycopg2", "'snnpipe[postgresql]'"),
    "postgresql+psycopg": ("psycopg", "postgresql+psycopg", "'psycopg[binary]'"),
    "mysql": ("MySQLdb", "mysql+pymysql", "pymysql"),
    "mysql+mysqldb": ("MySQLdb", "mysql+pymysql", "pymysql"),
    "mysql+pymysql": ("pymysql", "mysql+pymysql", "pymysql"),
    "mssql": ("pyodbc", "mssql+pymssql", "pymssql"),
    "mssql+pyodbc": ("pyodbc", "mssql+pymssql", "pymssql"),
    "mssql+pymssql": ("pymssql", "mssql+pymssql", "pymssql"),
}
"""For each kind of address: the library it needs, the kind to use if that is missing, and the package to install."""
_OTHER_NAMES = {"postgres": "postgresql", "pgsql": "postgresql", "psql": "postgresql", "mariadb": "mysql"}
_OF_FILES = ("s3", "gs", "wasb", "wasbs", "abfss", "dbfs", "hdfs", "ftp", "sftp", "r2", "viewfs")
_MLFLOWS_OWN = ("databricks", "databricks-uc", "uc")
_SIGN_IN = (
    "user and password are given in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or a token in "
    "MLFLOW_TRACKING_TOKEN"
)
_VARIABLES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def check_address(uri: str, key: str) -> None:
    """Raise `LoggingError` if no MLflow store can have this address. ``key`` is the setting that holds it."""
    if problem := address_problem(uri):
        raise LoggingError(f"{key}: got {mask(uri)!r}: {problem}")


def address_problem(uri: str) -> str | None:
    """Return the problem with an address, and the right spelling or another cure; None if there is no problem."""
    if uri != uri.strip() or not uri:
        if not (meant := uri.strip()):
            return f"it is empty: an address begins with {_TAKEN}"
        return address_problem(meant) or f"it is written without blanks around it: {meant}"
    if re.match(r"[A-Za-z]:[\\/]", uri):
        return _of_a_path(uri.replace("\\", "/"))
    kind, colon, rest = uri.partition(":")
    lower = kind.lower()
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri) or re.fullmatch(r"\[[0-9a-fA-F:]+\](:\d+)?(/.*)?", uri):
        return f"a server's address begins with http:// or https://: http://{uri}"
    if slip := re.match(r"(https|http)(?!://[^/])[:;/\\]+(?=[\w\[])", uri, re.IGNORECASE):
        return f"it is written {slip[1].lower()}://{uri[slip.end() :]}"
    if uri.startswith("//"):
        return f"a server's address begins with http:// or https://: http:{uri}"
    find: Callable[[str], str | None] = _of_a_path
    if lower == "file" and colon:
        return _of_a_path(re.sub(r"^//(localhost(?=/))?", "", rest))
    if colon and re.fullmatch(r"sqlite3?(\+\w+)?", lower):
        find = _of_sqlite
    elif lower in ("http", "https") and colon:
        find = _of_a_server
    elif colon and lower.partition("+")[0] in ("postgresql", "mysql", "mssql", *_OTHER_NAMES):
        find = _of_a_database
    elif "://" in uri or lower in _MLFLOWS_OWN:
        find = _of_another_kind
    return find(uri)


_NO_HOST = "it names no server: http://HOST:5000"


def _of_sqlite(uri: str) -> str | None:
    kind, _, rest = uri.partition(":")
    slashes = len(rest) - len(rest.lstrip("/"))
    path = rest[3:] if slashes >= 3 else rest.lstrip("/")
    path = path.partition("?")[0]
    if path.startswith(":memory:") or "mode=memory" in rest:
        return "a store in memory is gone with the run: name a file, as in sqlite:///mlruns/mlflow.db"
    if not path.strip("/"):
        return "it names no file: sqlite:///mlruns/mlflow.db in this folder, sqlite:////home/me/mlflow.db anywhere"
    if path.startswith("~"):
        return f"~ is no folder there: write sqlite:///{Path(path).expanduser()}"
    if Path(path).is_dir() or path.endswith("/"):
        return f"that is a folder: name a file in it: sqlite:///{path.rstrip('/')}/mlflow.db"
    if kind == "sqlite" and slashes >= 3:
        return None
    if slashes == 1:
        return f"it is written sqlite:///{path} for a file in this folder, and sqlite:////{path} for /{path}"
    return f"it is written sqlite:///{path}"


def _of_a_server(uri: str) -> str | None:
    if re.search(r"\s", uri):
        return "a server's address has no blanks"
    kind = uri.partition(":")[0]
    try:
        url = urlsplit(uri)
        if not url.hostname:
            return _NO_HOST
        _ = url.port
    except ValueError as error:
        return f"{one_line(error)}: a server's address is http://HOST:PORT, as in http://127.0.0.1:5000"
    if kind != kind.lower():
        return f"it is written {kind.lower()}{uri[len(kind) :]}"
    if "#" in uri or "?" in uri:
        return f"that is a page of it: the server's address is {re.split('[#?]', uri)[0].rstrip('/')}"
    return None


def _of_a_database(uri: str) -> str | None:
    kind, _, rest = uri.partition(":")
    base, plus, driver = kind.lower().partition("+")
    base = _OTHER_NAMES.get(base, base)
    right = f"{base}{plus}{driver}"
    needs, advised, install = _DRIVERS.get(right, ("", _DRIVERS[base][1], _DRIVERS[base][2]))
    rest = f"//{rest.lstrip('/')}" if not rest.startswith("//") else rest
    try:
        _ = urlsplit(f"{base}:{rest}").port
    except ValueError as error:
        return f"{one_line(error)}: it is written {advised}://USER:PASSWORD@HOST:PORT/DATABASE"
    if not needs:
        return f"SQLAlchemy has no {driver!r} that MLflow can use: it is written {advised}:{rest}"
    if find_spec(needs) is None:
        there = find_spec(_DRIVERS[advised][0]) is not None
        first = "" if there else f"pip install {install}, and "
        spelled = "" if advised == right and there else f"write {advised}:{rest}"
        return f"it needs the library {needs}, which is not installed: {first}{spelled}"
    return None if f"{right}:{rest}" == uri else f"it is written {right}:{rest}"


def _of_another_kind(uri: str) -> str | None:
    kind = uri.partition(":")[0].lower()
    if kind in (*_MLFLOWS_OWN, *(entry.name for entry in entry_points(group="mlflow.tracking_store"))):
        return None
    if kind in _OF_FILES:
        return f"{kind}:// keeps files, and a store keeps runs in a server or a database: {_TAKEN}"
    meant = closest(kind, ("http", "https", "sqlite", "postgresql", "mysql", "mssql"))
    hint = f"did you mean {meant}{uri[len(kind) :]}?" if meant else f"an address begins with {_TAKEN}"
    return f"MLflow has no store of the kind {kind}; {hint}"


def _of_a_path(path: str) -> str | None:
    """Return the address to write in place of a path: MLflow now keeps runs only in databases, and not in folders."""
    folder = Path(path).expanduser()
    if folder.suffix in (".db", ".sqlite", ".sqlite3") or folder.is_file():
        return f"a SQLite file is written sqlite:///{folder}"
    if (folder / "mlflow.db").is_file():
        return f"the store in that folder is sqlite:///{folder}/mlflow.db"
    if path == "localhost" or re.fullmatch(r"[\w-]+(\.[\w-]+)+", path):
        return f"a server's address begins with http:// or https://, as in http://{path}:5000"
    if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1"):
        return None
    if not path.strip("/."):
        return "MLflow no longer keeps runs in folders: write sqlite:///mlruns/mlflow.db"
    target = f"sqlite:///{folder}/mlflow.db"
    move = shlex.join(["mlflow", "migrate-filestore", "--source", str(folder), "--target", target])
    if any(folder.glob("*/meta.yaml")):
        return f"MLflow no longer keeps runs in folders: `{move}` moves those that are there; then write {target}"
    return f"MLflow no longer keeps runs in folders: write {target}; `{move}` moves runs of an earlier MLflow"


def cannot_open(uri: str, key: str, error: BaseException, default: str = "mlruns/mlflow.db") -> LoggingError:
    """Return the error of a store that cannot be opened, in one line with the cure.

    Parameters
    ----------
    uri
        Address of the store.
    key
        Setting, option or environment variable that holds the address.
    error
        The error of MLflow, SQLAlchemy or the system.
    default
        The store that is used if no address is given.
    """
    message, url = one_line(error)[:300], urlsplit(uri)
    status = _status(error)
    cure = f"set it to a store that answers, or leave it out for {default}"
    if status in (401, 403):
        given = [name for name in _VARIABLES if os.environ.get(name)] or (["the address"] if "@" in url.netloc else [])
        known = f"it refuses the value of {' and '.join(given)}; " if given else ""
        why = "this user has no permission for that" if status == 403 else "it asks for a user and a password"
        return LoggingError(f"{key}: {uri} answers {status}: {why}; {known}{_SIGN_IN}")
    if url.scheme == "databricks" or uri == "databricks":
        cure = "set DATABRICKS_HOST to the workspace and DATABRICKS_TOKEN to your token"
    elif status == 404:
        cure = "no MLflow server is there: its address is what a browser shows before /#/"
    elif url.scheme in ("http", "https") and url.port is None and isinstance(error, OSError):
        cure = f"MLflow's own server listens at port 5000: {url.scheme}://{url.netloc}:5000{url.path}"
    elif url.scheme == "https" and "SSL" in message:
        cure = f"if the server has no TLS, its address is http{uri[5:]}"
    return LoggingError(f"{key}: cannot open {uri} ({message}): {cure}")


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of a server's answer, if the error has one."""
    if match := re.search(r"error code (\d{3}) != 200", str(error)):
        return int(match[1])
    code = getattr(error, "error_code", None)
    return {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "CUSTOMER_UNAUTHORIZED": 401}.get(str(code))
