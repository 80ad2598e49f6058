"""Which MLflow store is meant, and the way into it."""

import logging
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

SQLITE = "sqlite:///"
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
_ANSWER_TIMEOUT_S = 5.0


def store_uri(given: str | None = None, folder: str = "mlruns") -> str:
    """Return what is given, else ``$MLFLOW_TRACKING_URI``, else the SQLite store of a folder."""
    given = given or os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"{SQLITE}{Path(folder).resolve()}/mlflow.db"


def is_server(uri: str) -> bool:
    """Whether a store is reached through an MLflow server."""
    return urlsplit(uri).scheme in ("http", "https")


def without_user(uri: str) -> str:
    """Return a server's address without user and password: what is opened in a browser, which asks for them."""
    url = urlsplit(uri)
    return urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))


def check_answers(uri: str) -> None:
    """Raise `OSError` at once where nothing listens at a store's address; MLflow would retry for minutes."""
    url = urlsplit(uri)
    scheme = url.scheme.partition("+")[0]
    proxied = any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"))
    if scheme in _PORTS and url.hostname and not (proxied and is_server(uri)):
        socket.create_connection((url.hostname, url.port or _PORTS[scheme]), timeout=_ANSWER_TIMEOUT_S).close()


def import_mlflow() -> Any:
    """Import MLflow, its chatter kept off the terminal, and return it."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a logger's `address` says where it is
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def open_client(uri: str) -> Any:
    """Return an ``mlflow.MlflowClient`` of a store.

    Raises
    ------
    OSError
        If it is one with an address and nothing listens there.
    MlflowException
        If MLflow cannot open it.
    """
    check_answers(uri)
    return import_mlflow().MlflowClient(tracking_uri=uri)
