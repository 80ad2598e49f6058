"""``python -m snnpipe.review``: starts the MLflow UI on the store that runs are logged to."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO, Any

from snnpipe.base.errors import LoggingError, UserError, did_you_mean
from snnpipe.base.exits import TERMINATED
from snnpipe.base.masking import mask
from snnpipe.commands.shared import OPTION, ToolParser, open_store, require_store
from snnpipe.loggers.mlflow.store import is_server, store_uri, without_user
from snnpipe.loggers.mlflow.view import runs_address, show_results

_HOST, _PORT = "127.0.0.1", 5000
_START_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 10.0
_POLL_S = 0.2


def main() -> int:
    """Start the UI, print its address, and keep it until Ctrl-C; return the exit code."""
    parser = ToolParser("snnpipe.review", "Start the MLflow UI on the store that runs are logged to. Ctrl-C ends it.")
    parser.add_argument("--experiment", help="the experiment to open; default: that of the newest run")
    parser.add_argument("--port", type=int, help=f"port of the UI; default: {_PORT}, or another if it is taken")
    asked = parser.parse_args()
    uri = store_uri(asked.tracking_uri, key=OPTION)
    if is_server(uri):
        print(_address(without_user(uri).rstrip("/"), open_store(uri), asked.experiment))
        return 0
    require_store(uri)
    port = _free_port(asked.port)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(TERMINATED))
    with tempfile.TemporaryFile() as output, _server(uri, port, output) as process:
        address = _address(f"http://{_HOST}:{port}", open_store(uri), asked.experiment)
        _wait_until_it_answers(process, port, output)
        print(f"{address}\nCtrl-C ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()
            raise LoggingError(f"MLflow's server ended: {_last_words(output)}")
    return 0


def _free_port(wanted: int | None) -> int:
    """Return the wanted port. If none is wanted, return MLflow's usual port or, if it is taken, any free one.

    Raises
    ------
    UserError
        If the wanted port is taken.
    """
    for port in (wanted or _PORT, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((_HOST, port))
            except (OSError, OverflowError) as error:
                if wanted is not None:
                    raise UserError(f"--port: got {wanted}: cannot listen there ({error}): leave it out") from None
            else:
                return int(listener.getsockname()[1])
    raise UserError(f"no port of {_HOST} is free")


@contextlib.contextmanager
def _server(uri: str, port: int, output: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run MLflow's server within the block. When the block ends, all processes of the server end too."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", _HOST, "--port", str(port), "--uvicorn-opts", "--log-level warning"]
    # The job queue is not needed to review runs. Without it the server starts sooner, and has two processes less.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["MLFLOW_BACKEND_STORE_URI"] = uri  # on the command line, others could see its password
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_TIMEOUT_S)


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", port: int, output: IO[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), opener.open(f"http://{_HOST}:{port}/health", timeout=_START_TIMEOUT_S):
            return
        time.sleep(_POLL_S)
    raise LoggingError(f"MLflow's server did not start: {_last_words(output)}")


def _last_words(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").split("\n")
    return mask(next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing"))


def _address(server: str, store: tuple[str, Any], experiment: str | None) -> str:
    """Return the address of an experiment's runs.

    Raises
    ------
    UserError
        If there is no such experiment.
    """
    uri, client = store
    experiments = {e.name: e for e in client.search_experiments()}
    if experiment is None:
        by_id = {e.experiment_id: e for e in experiments.values()}
        newest = client.search_runs(list(by_id), order_by=["start_time DESC"], max_results=1)
        chosen = by_id[newest[0].info.experiment_id] if newest else next(iter(by_id.values()), None)
    elif experiment in experiments:
        chosen = experiments[experiment]
    else:
        raise UserError(f"--experiment: {uri} has no {experiment!r}; {did_you_mean(experiment, experiments)}")
    if chosen is None:
        return runs_address(server, "0", with_view=False)
    return runs_address(server, chosen.experiment_id, with_view=show_results(client, chosen))
