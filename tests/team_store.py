"""A team's tracking store on this machine: PostgreSQL and ``mlflow server``, each a process of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_START_S, _STOP_S = 120, 20


def postgresql_programs() -> Path | None:
    """Return the folder with PostgreSQL's ``initdb`` and ``postgres``, the newest, or None where there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = shutil.which("postgres")
    folders = [*debian, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL that listens on a socket file only; yields its address for MLflow."""
    programs = postgresql_programs()
    assert programs is not None
    as_user: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="snnpipe-postgresql-", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:  # postgres refuses to be root
            as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(name, "postgres", "postgres")
        data = Path(name) / "data"
        command = [programs / "initdb", "-D", data, "-U", "snnpipe", "-A", "trust", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=name, timeout=_START_S, **as_user)
        command = [programs / "postgres", "-D", data, "-k", name, "-c", "listen_addresses="]
        ready = [programs / "pg_isready", "-h", name]
        # SIGINT is PostgreSQL's "fast shutdown": it does not wait for clients
        with _running(command, Path(name) / "log", signal.SIGINT, lambda: _succeeds(ready), cwd=name, **as_user):
            yield f"postgresql+psycopg2://snnpipe@/postgres?host={name}"


@contextmanager
def mlflow_server(store: str, folder: Path, workers: int = 2) -> Iterator[str]:
    """Run ``mlflow server`` on a store, its artifacts and ``server.log`` in a folder; yields its address."""
    port = free_port()
    with server_process(store, folder, port, workers):
        yield f"http://127.0.0.1:{port}"


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def server_process(store: str, folder: Path, port: int, workers: int = 1) -> Iterator[subprocess.Popen]:
    """Run ``mlflow server`` at a port; yields its process, which leads a process group."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    ready, log = f"http://127.0.0.1:{port}/health", folder / "server.log"
    with _running(command, log, signal.SIGTERM, lambda: _answers(ready), cwd=folder, env=environment) as process:
        yield process


@contextmanager
def _running(
    command: list[Any], log: Path, stop: signal.Signals, ready: Callable[[], bool], **settings: Any
) -> Iterator[subprocess.Popen]:
    """Run a process and its children until the block ends; the block begins when ``ready`` says so."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True, **settings
        )
    try:
        deadline = time.monotonic() + _START_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(stop)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _succeeds(command: list[Any]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


# ---------------------------------------------------------------------- a job that only logs


def sent(n: int) -> Mapping[str, Any]:
    """Return what job ``n`` logs: more parameters and points than MLflow takes in one request."""
    return {
        "params": {f"group.{i}.key": f"{n}-{i}" for i in range(130)},
        "tags": {"job": str(n), "sweep.overrides": f'["seed={n}"]'},
        "series": {
            "snn/accuracy_at_step": [(n + i) / 2000 for i in range(1000)],
            "long": [float(n * i) for i in range(2500)],
        },
        "epochs": [{f"fit/metric_{i}": n + epoch + i / 8 for i in range(8)} for epoch in range(1, 6)],
        "artifacts": {
            "config.yaml": b"seed: %d\n" % n,
            "checkpoint/weights.npz": bytes([n]) * 1_000_000,
            "plots/raster.png": bytes([n, 0, 255]) * 10_000,
        },
    }


def log_all(n: int, address: str, folder: Path, together: Any) -> None:
    """Log what job ``n`` has, when all jobs are there."""
    from snnpipe.loggers.mlflow.logger import MLflowLogger
    from snnpipe.testing import SPEC

    content = sent(n)
    logger = MLflowLogger(experiment_name="team", tracking_uri=address)
    together.wait(_START_S)
    logger.start(f"job {n}", content["params"], content["tags"])
    logger.log_dataset(SPEC)
    for epoch, metrics in enumerate(content["epochs"], start=1):
        logger.log_metrics(metrics, step=epoch)
    for name, values in content["series"].items():
        logger.log_series(name, values)
    for name, data in content["artifacts"].items():
        path = folder / str(n) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        logger.log_artifact(path, str(Path(name).parent) if "/" in name else "")
    logger.set_tag("stage_reached", "done")
    logger.finalize("FINISHED")
