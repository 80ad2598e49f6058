"""What logging costs a run: the time inside its loggers, as a share of the whole command's.

    python benchmarks/log_cost.py                        # all stores, digits and MNIST: about half an hour
    python benchmarks/log_cost.py digits                 # only the digits; the other figures are kept
    python benchmarks/log_cost.py --report               # only the page, from the figures kept before

It wants PostgreSQL installed and MNIST prepared (TFDS_DATA_DIR). Every run is a process of its own with a seed of its
own, so that each trains. The loggers are the default ones, each behind a proxy that times its methods. The first run
of a store creates it. Servers and runs share the machine's cores.
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
STORE = ROOT / "mlruns" / "benchmarks"
RUNS = {
    "digits": ([], 3),
    "MNIST": (["data=mnist", "model=cnn2d", "training.epochs=2"], 2),
}
STORES = ("SQLite file", "server on SQLite", "server on PostgreSQL")
PARTS = {
    "start": "opening the store and the run",
    "shared_fit": "looking for an earlier training",
    "log_metrics": "metrics",
    "log_series": "metrics",
    "set_tag": "tags",
    "log_dataset": "dataset",
    "log_artifact": "files",
    "finalize": "closing the run",
}


class Timed:
    """A logger whose methods are timed, by wall clock and by its thread's CPU clock."""

    def __init__(self, logger, spent):
        self._logger, self._spent = logger, spent

    def __getattr__(self, name):
        found = getattr(self._logger, name)
        if name not in PARTS:
            return found

        def method(*arguments, **keywords):
            if name == "start" and hasattr(self._logger, "tracking_uri"):
                with self._clock("importing mlflow"):
                    from mlflow import MlflowClient  # noqa: F401
            with self._clock(PARTS[name]):
                result = found(*arguments, **keywords)
            return self._block(result) if name == "shared_fit" else result

        return method

    @contextmanager
    def _block(self, block):
        with ExitStack() as stack:
            with self._clock(PARTS["shared_fit"]):
                value = stack.enter_context(block)
            yield value
            inner = stack.pop_all()
        with self._clock(PARTS["shared_fit"]):
            inner.close()

    @contextmanager
    def _clock(self, part):
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self._spent[part][0] += time.perf_counter() - wall
        self._spent[part][1] += time.thread_time() - cpu


def one(overrides):
    """Run a command line's run in this process; prints seconds in its loggers, by part: wall, CPU."""
    from hydra import compose, initialize_config_module

    from snnpipe.config.build import build
    from snnpipe.config.check import check
    from snnpipe.config.compose import resolve

    with initialize_config_module("snnpipe.conf", version_base="1.3"):
        config = resolve(compose("config", overrides=overrides))
    check(config)
    spent = defaultdict(lambda: [0.0, 0.0])
    trainer = build(config)
    trainer.log.loggers = tuple(Timed(logger, spent) for logger in trainer.log.loggers)
    trainer.run()
    print(json.dumps(spent))


def measured(overrides):
    """Run `one` as a process; returns its wall and CPU seconds, and those in its loggers."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--one", *overrides], stdout=subprocess.PIPE, text=True, check=True, timeout=1800
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "parts": json.loads(done.stdout.splitlines()[-1])}


def measure(name, store):
    """Return the runs with a store, the first of which creates it, and how many requests each made."""
    from team_store import mlflow_server, postgresql

    overrides, rounds = RUNS[name]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        own, log = [f"paths.mlruns={folder}/mlruns"], folder / "server" / "server.log"
        if store != "SQLite file":
            on_postgresql = store == "server on PostgreSQL"
            uri = stack.enter_context(postgresql()) if on_postgresql else f"sqlite:///{folder}/mlflow.db"
            own.append(f"logger.tracking_uri={stack.enter_context(mlflow_server(uri, log.parent))}")
        runs = [measured([*overrides, *own, f"seed={seed}"]) for seed in range(rounds)]
        requests = log.read_text().count("/api/2.0/") // rounds if log.exists() else 0
    return {"runs": runs, "requests": requests}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", choices=[*RUNS, []], help="default: all")
    parser.add_argument("--report", action="store_true", help="only write the page")
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one is not None:
        one(chosen.one)
        return
    from runs_report import write
    from simulate import machine

    STORE.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are ended
    for name in () if chosen.report else chosen.runs or RUNS:
        section = {"measured": time.strftime("%Y-%m-%d"), "machine": machine(), "found": {}}
        for store in STORES:
            print(f"{name}, {store} ...", flush=True)
            section["found"][store] = measure(name, store)
            (STORE / f"logging_{name}.json").write_text(json.dumps(section, indent=1))
    write(STORE, ROOT / "docs")


if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(ROOT / "tests")]
    main()
