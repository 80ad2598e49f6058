"""Chooses the MLflow store and opens it."""

import logging
import os
import socket
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from snnpipe.base.files import replace_file
from snnpipe.loggers.mlflow.address import check_address

SQLITE = "sqlite:///"
VARIABLE = "MLFLOW_TRACKING_URI"
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
_ANSWER_TIMEOUT_S = 5.0
_ACCESS = (401, 403, 408, 429)
"""HTTP statuses that refuse a user or a time, and not the call itself."""
_BAD_CALLS = ("IntegrityError", "DataError", "ProgrammingError")
"""SQLAlchemy's names of the database errors that mean that the call is wrong."""


def store_uri(given: str | None = None, folder: str = "mlruns", key: str = "logger.tracking_uri") -> str:
    """Return the address of the store: the given one, else ``$MLFLOW_TRACKING_URI``, else a SQLite file in a folder.

    Raises
    ------
    LoggingError
        If no MLflow store can have this address. The message names ``key`` or the variable.
    """
    uri = os.environ.get(VARIABLE) or None if given is None else given
    if uri is None:
        return f"{SQLITE}{Path(folder).resolve()}/mlflow.db"
    check_address(uri, given_by(given, key))
    return uri


def given_by(given: str | None, key: str) -> str:
    """Return the source of an address for messages: the name of the environment variable, or else the key."""
    return VARIABLE if given is None and os.environ.get(VARIABLE) else key


def sqlite_file(uri: str) -> Path:
    """Return the file of a SQLite store."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0])


def is_server(uri: str) -> bool:
    """Whether an address is that of an MLflow server."""
    return urlsplit(uri).scheme in ("http", "https")


def without_user(uri: str) -> str:
    """Return a server's address without user and password, for a browser, which asks for them itself."""
    url = urlsplit(uri)
    return urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))


def check_answers(uri: str) -> None:
    """Raise `OSError` at once if nothing listens at a store's address. MLflow would retry for minutes."""
    url = urlsplit(uri)
    scheme = url.scheme.partition("+")[0]
    proxied = any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"))
    if scheme in _PORTS and url.hostname and not (proxied and is_server(uri)):
        socket.create_connection((url.hostname, url.port or _PORTS[scheme]), timeout=_ANSWER_TIMEOUT_S).close()


def check_takes_calls(uri: str) -> None:
    """Raise `OSError` within seconds if a store does not take calls now. MLflow would wait and try again for longer.

    A SQLite store takes no calls while another process writes to it.
    """
    if is_server(uri):
        import requests

        with suppress(requests.exceptions.SSLError):  # the server answers, and MLflow checks its certificate
            requests.get(f"{uri.rstrip('/')}/health", timeout=_ANSWER_TIMEOUT_S)
    elif uri.startswith(SQLITE):
        file = sqlite_file(uri).resolve()
        try:
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", timeout=0, uri=True)) as database:
                database.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise OSError(str(error)) from error
    else:
        check_answers(uri)


def wait_no_longer_than_needed() -> None:
    """Make MLflow's client give up on a server within seconds at each call, and not minutes.

    The client reads these variables at each call. Values that the user has set stay. A logger calls this because it
    keeps the calls that a server does not take.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


def may_take_later(error: BaseException) -> bool:
    """Whether the store may take the call later: whether the store or the connection failed, and the call is right."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        if hasattr(error.__cause__, "orig"):  # an error of SQLAlchemy that wraps one of the database
            return type(error.__cause__).__name__ not in _BAD_CALLS
        status = error.get_http_status_code()
    elif (answer := getattr(error, "response", None)) is not None:  # the answer of the server that stores files
        status = answer.status_code
    else:
        return isinstance(error, OSError)
    return status >= 500 or status in _ACCESS


def import_mlflow() -> Any:
    """Import MLflow without its usual output on the terminal, and return it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a logger's `address` has the URL
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("mlflow.store.db.utils", "urllib3.connectionpool"):  # they print the errors that they raise
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return mlflow


def opening_errors() -> tuple[type[Exception], ...]:
    """Return the classes of errors that a store raises when it cannot be opened."""
    from sqlalchemy.exc import SQLAlchemyError

    return import_mlflow().exceptions.MlflowException, SQLAlchemyError, OSError, ImportError, UnicodeError


def open_client(uri: str) -> Any:
    """Return an ``mlflow.MlflowClient`` of a store.

    Raises
    ------
    OSError
        If the store is at a network address and nothing listens there.
    MlflowException
        If MLflow cannot open the store.
    """
    check_answers(uri)
    return import_mlflow().MlflowClient(tracking_uri=uri)


def create_sqlite(uri: str) -> None:
    """Make the database of a SQLite store if it has none. It is made elsewhere and moved into place when complete.

    MLflow makes a database in dozens of steps, and cannot open one whose making was interrupted.
    """
    file = sqlite_file(uri)
    if file.exists() and file.stat().st_size:
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "mlflow.db"
        import_mlflow().MlflowClient(tracking_uri=f"{SQLITE}{made}").search_experiments(max_results=1)
        with replace_file(file) as database:
            database.write(made.read_bytes())
