"""``python -m snnpipe.send``: sends the tracking store the calls that it did not take during runs."""

import os
from pathlib import Path

from snnpipe.base.errors import LoggingError, UserError
from snnpipe.base.exits import MISTAKE
from snnpipe.base.masking import HIDDEN, mask
from snnpipe.commands.shared import OPTION, ToolParser, require_store
from snnpipe.loggers.mlflow.address import cannot_open, check_address
from snnpipe.loggers.mlflow.spool import CALLS, Spool
from snnpipe.loggers.mlflow.store import open_client, opening_errors, store_uri
from snnpipe.loggers.mlflow.writes import FOLDER, hand_on_all


def main() -> int:
    """Send the kept calls of the runs in some folders, and return the exit code."""
    what = "Send the MLflow store what it did not take during runs."
    parser = ToolParser("snnpipe.send", what, default_store="the one that the run was logged to")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("mlruns")], metavar="FOLDER")
    parser.epilog = "FOLDER is a run's output folder, or a folder above it; default: mlruns"
    asked = parser.parse_args()
    if asked.tracking_uri is not None:
        check_address(asked.tracking_uri, OPTION)
    if missing := [folder for folder in asked.folders if not folder.is_dir()]:
        raise UserError(f"{missing[0]} is no folder: give a run's output folder, or one above it")
    spools = sorted({calls.parent for folder in asked.folders for calls in folder.rglob(f"{FOLDER}/*/{CALLS}")})
    if not spools:
        print(f"nothing is left to be sent in {', '.join(map(str, asked.folders))}")
    codes = [_send(folder, asked.tracking_uri) for folder in spools]
    return max(codes, default=0)


def _send(folder: Path, tracking_uri: str | None) -> int:
    """Send the calls in a spool's folder, and return an exit code."""
    spool = Spool(folder)
    run, calls = spool.owner["run_id"], len(spool)
    uri = store_uri(_store(tracking_uri, spool.owner["store"]), key=OPTION)
    require_store(uri)
    try:
        outcome = hand_on_all(spool, open_client(uri))
    except opening_errors() as error:
        left = f"{len(spool)} of {calls} calls that log run {run} are still in {folder}"
        raise LoggingError(f"{cannot_open(uri, OPTION, error, 'the store of the run')}; {left}") from error
    finally:
        spool.close()
    print(f"run {run}: {outcome.taken} of {calls} calls are sent to {mask(uri)}")
    for why in outcome.refused:
        print(f"run {run}: refused, and left in {folder}: {why}")
    return MISTAKE if outcome.refused else 0


def _store(given: str | None, recorded: str) -> str:
    """Return the address of the store: the given one, else the one of the run, which is recorded without its password.

    Raises
    ------
    UserError
        If the address needs a password and the environment does not have it.
    """
    if given is not None or HIDDEN not in recorded:
        return recorded if given is None else given
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None or mask(uri) != recorded:
        raise UserError(f"--tracking-uri: the run's store is {recorded}: give its address with the password")
    return uri
