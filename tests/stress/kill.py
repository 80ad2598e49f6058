"""Kill runs at random moments, start them again, and compare what they end with.

    python -m tests.stress.kill --kills 200            # in the root of the sources: half an hour on two cores

A trial is one run in an empty folder; of every fifth, the dataset is not prepared yet. Its process is killed
(SIGKILL) at a random moment, and the same command goes on, until it ends by itself. Then it must have left what an
uninterrupted run of the same settings has left: one run in the store, FINISHED, each metric of each step once, and
the same weights, spikes and tables, to the bit. Trials take turns between the training paths. The program prints
where runs were killed, and what was lost.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import csv
import hashlib
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

SETTINGS = (
    *("data.data_dir=tfds", "data.batch_size=64", "data.max_test_images=200", "model=mlp", "model.units=[16]"),
    *("training.epochs=12", "training.reuse=false", "callbacks=early_stopping", "~callbacks.report"),
    *("callbacks.early_stopping.patience=50", "callbacks.checkpoints.every_steps=3"),
    *("simulator.n_steps=40", "simulator.batch_size=10", "diagnosis.images=5"),
)
PATHS = ["keras", "nengo_dl"]
OF_THE_MACHINE = {"fit/images_per_s", "simulate/images_per_s", "simulate/peak_memory_mb", "diagnosis/seconds"}
NAME = "trial"
FORKS = multiprocessing.get_context("forkserver")


@dataclass
class Tally:
    """What has been tried, and what was lost."""

    wanted: int
    until: float
    moments: random.Random
    stages: collections.Counter = field(default_factory=collections.Counter)
    trials: int = 0
    half_written: int = 0
    lost: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def kills(self):
        return sum(self.stages.values())

    def over(self):
        return self.kills >= self.wanted or time.monotonic() > self.until or bool(self.lost)

    def draw(self, opened, ended):
        """Return after how many seconds to kill: sometimes before the run is open, mostly after.

        A run that goes on has less before it, and would end first.
        """
        with self.lock:
            if self.moments.random() < 0.2:
                return self.moments.uniform(0.2 * opened, opened)
            return self.moments.uniform(opened, opened + 0.5 * (ended - opened))


def start(folder, path):
    """Start a run as a process of its own, forked from one that has imported what runs import."""
    folder.mkdir(parents=True, exist_ok=True)
    running = FORKS.Process(target=run, args=(folder, path))
    running.start()
    return running


def run(folder, path):
    from snnpipe.commands.main import main

    os.chdir(folder)
    os.environ["TFDS_DATA_DIR"] = str(folder / "tfds")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    output = os.open("output", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["snnpipe", f"training={path}", *SETTINGS, f"run_id={NAME}"]
    main()


def runs_of(folder):
    from mlflow import MlflowClient

    if not (folder / "mlruns" / "mlflow.db").is_file():
        return None, []
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("snnpipe")
    return client, client.search_runs([experiment.experiment_id]) if experiment else []


def stage_of(folder):
    """Return how far a run has come; the store may be half made."""
    with contextlib.suppress(Exception):
        _, runs = runs_of(folder)
        if runs:
            return runs[0].data.tags.get("stage_reached", "opening")
    return "before the run is open"


def left_by(folder):
    """Return what a run has left, but for what depends on the machine, and what is wrong with it."""
    client, runs = runs_of(folder)
    if [run.info.status for run in runs] != ["FINISHED"]:
        return {}, [f"its runs are {[run.info.status for run in runs]}"]
    (run,), wrong, found = runs, [], {}
    for name in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        if len({metric.step for metric in history}) < len(history):
            wrong.append(f"{name} is there twice for a step")
        if name not in OF_THE_MACHINE:
            found[name] = {metric.step: metric.value for metric in history}
    outputs = folder / run.data.params["paths.output_dir"]
    for path in [*outputs.glob("spikes/*.npz"), *outputs.glob("checkpoint/*.npz"), *outputs.glob("tables/*.csv")]:
        found[str(path.relative_to(outputs))] = hashlib.sha256(path.read_bytes()).hexdigest()
    with (outputs / "metrics.csv").open() as file:
        rows = sorted(tuple(row) for row in csv.reader(file) if row[0] not in OF_THE_MACHINE)
    found["metrics.csv"] = rows
    wrong += [f"{path.name} is left" for path in outputs.rglob(".*")]
    return found, wrong


def reference(folder, path):
    """Return what an uninterrupted run leaves, and after how many seconds it is open and over."""
    began = time.monotonic()
    running = start(folder, path)
    opened = None
    while running.exitcode is None:
        if opened is None and list(folder.glob("mlruns/outputs/*/metrics.csv")):
            opened = time.monotonic() - began
        time.sleep(0.02)
    left, wrong = left_by(folder)
    if running.exitcode or wrong:
        sys.exit(f"the uninterrupted run failed: {wrong} {(folder / 'output').read_text()}")
    return left, opened, time.monotonic() - began


def trial(folder, path, expected, tally):
    """Kill a run and go on with it until it ends by itself, then compare."""
    left, opened, ended = expected
    kills = 0
    while not tally.over():
        running = start(folder, path)
        running.join(tally.draw(opened, ended))
        running.kill()
        running.join()
        if running.exitcode == 0:
            break
        if running.exitcode > 0:
            tally.lost.append(f"{folder.name}: exit code {running.exitcode}: {(folder / 'output').read_text()[-2000:]}")
            return
        kills += 1
        with tally.lock:
            tally.stages[stage_of(folder)] += 1
            tally.half_written += any(folder.glob("mlruns/outputs/*/**/.*.part"))
    else:
        running = start(folder, path)
        running.join()
    found, wrong = left_by(folder)
    wrong += [f"{name} is another" for name in left.keys() | found.keys() if left.get(name) != found.get(name)]
    tally.lost += [f"{folder.name}, {path}, after {kills} kills: {what}" for what in wrong]
    tally.trials += 1
    print(f"{tally.kills} of {tally.wanted} kills, {len(tally.lost)} losses", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many (200)")
    parser.add_argument("--minutes", type=float, default=60, help="end sooner, after so many (60)")
    parser.add_argument("--jobs", type=int, default=2, help="trials at once (2)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    told = parser.parse_args()
    from snnpipe import TfdsDataModule

    FORKS.set_forkserver_preload(["tests.stress.loaded"])
    tally = Tally(told.kills, time.monotonic() + 60 * told.minutes, random.Random(told.seed))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kill.") as name, concurrent.futures.ThreadPoolExecutor(told.jobs) as pool:
        folder = Path(name)
        TfdsDataModule("digits", data_dir=str(folder / "tfds")).prepare_data()
        for path in PATHS:
            shutil.copytree(folder / "tfds", folder / path / "tfds")
        expected = dict(zip(PATHS, pool.map(lambda path: reference(folder / path, path), PATHS), strict=True))

        def trials(worker):
            for i in range(10**6):
                if tally.over():
                    return
                path = PATHS[(i + worker) % len(PATHS)]
                if i % 5:
                    shutil.copytree(folder / "tfds", folder / f"worker{worker}-{i}" / "tfds")
                trial(folder / f"worker{worker}-{i}", path, expected[path], tally)

        list(pool.map(trials, range(told.jobs)))
    stages = ", ".join(f"{stage} {n}" for stage, n in tally.stages.most_common())
    print(f"{tally.kills} kills in {tally.trials} trials, {(time.monotonic() - began) / 60:.0f} minutes")
    print(f"the stage that the run had reached: {stages}")
    print(f"kills while a file was being written aside: {tally.half_written}")
    print("lost: " + ("\n  ".join(["", *tally.lost]) or "nothing"))
    sys.exit(bool(tally.lost) or tally.kills < told.kills)


if __name__ == "__main__":
    main()
