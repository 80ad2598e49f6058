"""What a grid of sixteen conversions costs beside its parts: one training, and sixteen evaluations.

    python benchmarks/grid.py              # MNIST, cnn2d, three epochs: about ten minutes
    python benchmarks/grid.py --report     # only the page, from the figures kept before

It wants MNIST prepared (TFDS_DATA_DIR). The grid is the command of a user, in an empty folder: its time is that of the
whole process. Within it, the trainer's stages are timed as the jobs come to them, so that whatever runs beside
disturbs the whole and its parts alike. CPU seconds, of all threads, are beside those of the clock.
"""

import argparse
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
COMMON += ["neuron=spiking_relu", "simulator.n_steps=60", "simulator.readout=last"]
SCALES, SYNAPSES = (10.0, 20.0, 40.0, 80.0), ("null", 0.002, 0.005, 0.01)
GRID = [
    f"conversion.scale_firing_rates={','.join(map(str, SCALES))}",
    f"conversion.synapse={','.join(map(str, SYNAPSES))}",
]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
STAGES = ("fit", "convert", "evaluate")


def timed(words):
    """Run a command of snnpipe in this process, and leave what each stage took in ``stages.json``."""
    from snnpipe.commands.main import main
    from snnpipe.trainer import Trainer

    spent = []

    def clocked(name):
        stage = getattr(Trainer, name)

        def run(*arguments):
            began = {clock: read() for clock, read in CLOCKS.items()}
            try:
                return stage(*arguments)
            finally:
                spent.append({"stage": name} | {clock: read() - began[clock] for clock, read in CLOCKS.items()})

        return run

    for name in STAGES:
        setattr(Trainer, name, clocked(name))
    sys.argv = ["snnpipe", *words]
    try:
        main()
    finally:
        Path("stages.json").write_text(json.dumps(spent))


def grid():
    """Return seconds of the whole command and of its stages, and the trainings it did."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, __file__, "--timed", "-m", *COMMON, *GRID]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = {"wall": time.perf_counter() - began, "cpu": used.ru_utime + used.ru_stime}
        stages = json.loads((Path(folder) / "stages.json").read_text())
        from mlflow import MlflowClient

        runs = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db").search_runs(["1"])
    jobs = [run.data.tags for run in runs if "sweep.job" in run.data.tags]
    trainings = sum(tags["fit.reused"] == "false" for tags in jobs)
    return {"jobs": len(jobs), "trainings": trainings, "grid": seconds, **_parts(stages)}


def _parts(stages):
    """Return seconds of the first fit, which trains, and of each job beside it."""
    evaluations = []
    for stage in stages[1:]:
        if stage["stage"] == "fit" or not evaluations:
            evaluations.append(dict.fromkeys(CLOCKS, 0.0))
        for clock in CLOCKS:
            evaluations[-1][clock] += stage[clock]
    return {"training": {clock: stages[0][clock] for clock in CLOCKS}, "evaluations": evaluations}


def main():
    """Measure, and write the page."""
    if sys.argv[1:2] == ["--timed"]:
        timed(sys.argv[2:])
        return
    from runs_report import write
    from simulate import machine

    parser = argparse.ArgumentParser()
    parser.add_argument("--report", action="store_true")
    if not parser.parse_args().report:
        measured = grid() | {"measured": time.strftime("%Y-%m-%d"), "machine": machine(), "command": [*COMMON, *GRID]}
        STORE.mkdir(parents=True, exist_ok=True)
        (STORE / "grid.json").write_text(json.dumps(measured, indent=1))
    write(STORE, ROOT / "docs")


if __name__ == "__main__":
    main()
