"""What a grid of sixteen conversions costs beside its parts: one training, and sixteen evaluations.

    python benchmarks/grid.py              # MNIST, cnn2d, three epochs: about a quarter of an hour
    python benchmarks/grid.py --keep-grid  # only the parts anew
    python benchmarks/grid.py --report     # only the page, from the figures kept before

It wants MNIST prepared (TFDS_DATA_DIR). The grid is the command of a user, in an empty folder: its time is that of the
whole process. The parts are timed in a process of their own, through the Python interface, with the default loggers and
callbacks: the fit of the first run, and what each run takes that need not train, from looking for its training to its
report. CPU seconds, of all threads, are beside those of the clock: other processes disturb them less.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
STORE = ROOT / "mlruns" / "benchmarks"
COMMON = ["data=mnist", "model=cnn2d", "training.epochs=3", "diagnosis.images=0"]
SCALES, SYNAPSES = (10.0, 20.0, 40.0, 80.0), ("null", 0.002, 0.005, 0.01)
GRID = [
    f"conversion.scale_firing_rates={','.join(map(str, SCALES))}",
    f"conversion.synapse={','.join(map(str, SYNAPSES))}",
]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Watch:
    """Reads both clocks of this process."""

    def __init__(self):
        self.began = {name: clock() for name, clock in CLOCKS.items()}

    def read(self):
        return {name: clock() - self.began[name] for name, clock in CLOCKS.items()}


def parts(folder):
    """Return seconds of importing, of one training and of each of the sixteen evaluations, with all that they leave."""
    watch = Watch()
    from hydra import compose, initialize_config_module

    from snnpipe.compat import import_nengo_dl
    from snnpipe.config import build, resolve

    import_nengo_dl()
    found = {"starting": watch.read(), "evaluations": []}
    for scale, synapse in itertools.product(SCALES, SYNAPSES):
        settings = [f"conversion.scale_firing_rates={scale}", f"conversion.synapse={synapse}"]
        with initialize_config_module("snnpipe.conf", version_base="1.3"):
            composed = compose("config", overrides=[*COMMON, *settings, f"paths.mlruns={folder}"])
        with build(resolve(composed)) as trainer:
            watch = Watch()
            trainer.fit()
            if "training" not in found:
                found["training"] = watch.read()
                watch = Watch()
            trainer.convert()
            trainer.evaluate()
            found["evaluations"].append(watch.read())
    return found


def grid():
    """Return seconds of the whole command, and the trainings it did."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, "-m", "snnpipe", "-m", *COMMON, *GRID]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = {"wall": time.perf_counter() - began, "cpu": used.ru_utime + used.ru_stime}
        from mlflow import MlflowClient

        runs = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db").search_runs(["1"])
    jobs = [run.data.tags for run in runs if "sweep.job" in run.data.tags]
    return {"jobs": len(jobs), "trainings": sum(tags["fit.reused"] == "false" for tags in jobs), "grid": seconds}


def main():
    """Measure, and write the page."""
    from runs_report import write
    from simulate import machine

    parser = argparse.ArgumentParser()
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--keep-grid", action="store_true")
    parser.add_argument("--parts", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.parts:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(parts(folder)))
        return
    if not told.report:
        kept = STORE / "grid.json"
        measured = json.loads(kept.read_text()) if told.keep_grid else grid()
        done = subprocess.run([sys.executable, __file__, "--parts"], check=True, stdout=subprocess.PIPE, text=True)
        measured |= json.loads(done.stdout.splitlines()[-1])
        measured |= {"measured": time.strftime("%Y-%m-%d"), "machine": machine(), "command": [*COMMON, *GRID]}
        STORE.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(measured, indent=1))
    write(STORE, ROOT / "docs")


if __name__ == "__main__":
    main()
