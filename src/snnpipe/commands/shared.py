"""Helpers of the small commands beside ``python -m snnpipe``: common options and exit codes."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any, NoReturn

from snnpipe.base.errors import LoggingError, UserError, as_line
from snnpipe.base.exits import FAULT, INTERRUPTED, MISTAKE
from snnpipe.base.garbage import search_seldom
from snnpipe.base.masking import masked_traceback
from snnpipe.loggers.mlflow.address import cannot_open
from snnpipe.loggers.mlflow.store import SQLITE, given_by, open_client, opening_errors, sqlite_file, store_uri

OPTION = "--tracking-uri"


class Parser(ArgumentParser):
    """A parser that raises `UserError` for a wrong argument.

    Parameters
    ----------
    name
        Name of the module that is run.
    description
        What the command does.
    """

    def __init__(self, name: str, description: str):
        super().__init__(f"python -m {name}", description=description, formatter_class=RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        """Raise `UserError` instead of printing the usage."""
        raise UserError(f"{message} (--help lists the arguments)")


class ToolParser(Parser):
    """A parser with the option ``--tracking-uri``.

    Parameters
    ----------
    name, description
        As for `Parser`.
    default_store
        Which store the command uses if none is given, for the help.
    """

    def __init__(self, name: str, description: str, default_store: str = "$MLFLOW_TRACKING_URI, else mlruns/mlflow.db"):
        super().__init__(name, description)
        self.add_argument(OPTION, help=f"the MLflow store; default: {default_store}")


def open_store(tracking_uri: str | None) -> tuple[str, Any]:
    """Return the address of an existing store, and an ``mlflow.MlflowClient`` of it.

    Raises
    ------
    LoggingError
        If the store does not exist yet, or does not answer.
    """
    uri = store_uri(tracking_uri, key=OPTION)
    require_store(uri)
    try:
        client = open_client(uri)
        client.search_experiments(max_results=1)
    except opening_errors() as error:
        raise cannot_open(uri, given_by(tracking_uri, OPTION), error) from error
    return uri, client


def require_store(uri: str) -> None:
    """Raise `LoggingError` if a SQLite store does not exist. MLflow would make an empty one."""
    if uri.startswith(SQLITE) and not sqlite_file(uri).is_file():
        raise LoggingError(
            f"there is no store {sqlite_file(uri)} yet: `python -m snnpipe` makes one where it runs, and "
            "--tracking-uri names another"
        )


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its code: 2 and one line for a mistake, 1 and a traceback for a fault."""
    search_seldom()
    try:
        sys.exit(main())
    except UserError as error:
        print(f"snnpipe: error: {as_line(error)}", file=sys.stderr)
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        sys.stderr.write(masked_traceback(error))
        sys.exit(FAULT)
