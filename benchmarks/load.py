"""Many runs in one store: does a run take longer to log when there are many before it?

    python benchmarks/load.py             # 500 runs in a SQLite store: two minutes
    python benchmarks/load.py 2000

Each run logs what a real one does (130 parameters, metrics of three epochs, a series of 60 steps, a dataset, tags, a
file, a search for an earlier training), and is timed by wall clock and by the CPU clock of its thread; medians of fifty
runs are printed. docs/team.md quotes them.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from snnpipe import MLflowLogger
from snnpipe.testing import SPEC

TOGETHER = 50


def log_run(n, folder):
    """Log a run; returns its seconds by wall clock and of CPU, until it is open and in all."""
    file = folder / "table.csv"
    file.write_text("a,b\n" * 1000)
    wall, cpu = time.perf_counter(), time.thread_time()
    logger = MLflowLogger(folder=str(folder / "mlruns"))
    logger.start(f"run {n}", {f"key {i}": n for i in range(130)}, {"run.fingerprint": str(n), "data": "digits"})
    opened = time.perf_counter() - wall, time.thread_time() - cpu
    logger.log_dataset(SPEC)
    with logger.shared_fit(f"training {n}"):
        for epoch in range(1, 4):
            logger.log_metrics({f"fit/metric {i}": n + i / 8 for i in range(8)}, step=epoch)
        logger.log_artifact(file, "tables")
    logger.log_series("snn/accuracy_at_step", [i / 100 for i in range(60)])
    logger.set_tag("stage_reached", "done")
    logger.finalize("FINISHED")
    return *opened, time.perf_counter() - wall, time.thread_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", type=int, default=500)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log_run(-1, folder)  # makes the store
        found = []
        for n in range(runs):
            found.append(log_run(n, folder))
            print(f"\r{n + 1} of {runs}", end="", file=sys.stderr)
    print(file=sys.stderr)
    print("| runs | to open, ms | its CPU, ms | to log all of it, ms | its CPU, ms |")
    print("| --- | --- | --- | --- | --- |")
    for first in range(0, runs, TOGETHER):
        some = found[first : first + TOGETHER]
        figures = [f"{1000 * median(column):.0f}" for column in zip(*some, strict=True)]
        print(f"| {first + 1} to {first + len(some)} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
