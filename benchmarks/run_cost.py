"""Where the time of a short run goes: the digits with their training reused, part by part.

    python benchmarks/run_cost.py             # measures, and writes the page: about two minutes
    python benchmarks/run_cost.py --report    # only the page, from the figures kept before

It wants the digits prepared (TFDS_DATA_DIR), and an idle machine. A first run trains and compiles. The later ones,
each a process of its own, take over its training. Each moment counts for the innermost part that is running.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import wraps

from grid import ROOT, STORE

from snnpipe.base.garbage import importing, search_seldom

ROUNDS = 5


class Clock:
    """Seconds that each part takes without the parts within it."""

    def __init__(self):
        self.spent, self._open, self._since = {}, [], time.perf_counter()

    def _count(self):
        now = time.perf_counter()
        name = self._open[-1] if self._open else "all else"
        self.spent[name] = self.spent.get(name, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def part(self, name):
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def times(self, owner, method, name):
        """Replace a method or function by one that is timed."""
        inner = getattr(owner, method)

        @wraps(inner)
        def outer(*arguments, **keywords):
            with self.part(name):
                return inner(*arguments, **keywords)

        setattr(owner, method, outer)


def run(folder):
    """Return the seconds of each part of a run."""
    clock = Clock()
    with clock.part("importing TensorFlow, Keras and NengoDL"), importing():
        from snnpipe.frameworks.compat import import_nengo_dl, import_tensorflow

        import_tensorflow()
        import_nengo_dl()
    with clock.part("importing the rest of snnpipe"), importing():
        from hydra import compose, initialize_config_module

        from snnpipe import trainer as line
        from snnpipe.artifacts.drawing import DrawnAside
        from snnpipe.config.build import build
        from snnpipe.config.compose import resolve
        from snnpipe.loggers.mlflow.logger import MLflowLogger
        from snnpipe.run.log import RunLog
        from snnpipe.run.simulation import Simulation
    for owner, method, name in (
        (MLflowLogger, "start", "importing MLflow, opening its store"),
        (line.Trainer, "prepare", "reading the data, building model and plan"),
        (line.Trainer, "fit", "taking over the training, testing the ANN"),
        (line, "calibrated", "calibration"),
        (line.Trainer, "convert", "converting, and writing the network"),
        (Simulation, "evaluate", "simulating"),
        (Simulation, "_diagnose", "diagnosis"),
        (RunLog, "evaluated", "tables, files and the report"),
        (DrawnAside, "wait", "waiting for pictures"),
        (RunLog, "end", "closing the loggers"),
    ):
        clock.times(owner, method, name)
    with clock.part("composing the configuration, building the parts"):
        with initialize_config_module("snnpipe.conf", version_base="1.3"):
            composed = compose("config", overrides=[f"paths.mlruns={folder}"])
        trainer = build(resolve(composed))
    trainer.run()
    with clock.part("all else"):
        pass
    return clock.spent


def main():
    """Measure, and write the page."""
    from runs_report import write
    from simulate import machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true", help="only the page")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.run:
        search_seldom()  # as the commands do
        print(json.dumps(run(told.run)))
        return
    if not told.report:
        with tempfile.TemporaryDirectory() as folder:
            rounds = []
            for _ in range(ROUNDS + 1):
                began = time.perf_counter()
                command = [sys.executable, __file__, "--run", folder]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                parts = json.loads(done.stdout.splitlines()[-1])
                rounds.append({"parts": parts, "whole": time.perf_counter() - began})
        measured = {"rounds": rounds[1:], "measured": time.strftime("%Y-%m-%d"), "machine": machine()}
        STORE.mkdir(parents=True, exist_ok=True)
        (STORE / "run_cost.json").write_text(json.dumps(measured, indent=1))
    write(STORE, ROOT / "docs")


if __name__ == "__main__":
    main()
