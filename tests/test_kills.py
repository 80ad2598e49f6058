"""A run that is killed (SIGKILL) at several stages in turn goes on each time, and ends as one that nothing killed.

`python -m tests.stress.kill` does so at random moments, as often as it is told.
"""

import hashlib
import signal

import pytest
from multiruns import OF_THE_MACHINE, client_of

STAGES = ["creating the store", "preparing", "opening", "training", "checkpointing", "logging", "converting"]
STAGES += ["simulating", "drawing"]
KILLER = '''
"""Parts that kill their own process, each once: where a file of its name is not there yet, they make it and die."""

import os
import signal
from pathlib import Path

from alembic.runtime.migration import HeadMaintainer
from mlflow.store.db import utils

from snnpipe.callbacks.base import Callback
from snnpipe.data.tfds import TfdsDataModule
from snnpipe.base.files import replace_file
from snnpipe.loggers.csv import CsvLogger


def die(flags, stage):
    flag = Path(flags) / stage
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)


stepped = HeadMaintainer.update_to_step


def step(store, migration):
    if utils._get_latest_schema_revision() in migration.to_revisions:  # its tables are made, its number is not told yet
        die(os.environ["FLAGS"], "creating the store")
    stepped(store, migration)


HeadMaintainer.update_to_step = step


class Data(TfdsDataModule):
    def prepare_data(self):
        from snnpipe.data.digits import Digits

        whole = Digits._generate_examples

        def half(builder, **which):
            for i, example in enumerate(whole(builder, **which)):
                if i == 100:
                    die(os.environ["FLAGS"], "preparing")
                yield example

        Digits._generate_examples = half
        super().prepare_data()


class Killer(Callback):
    def __init__(self, flags: str):
        self.flags = flags

    def on_fit_start(self, state):
        die(self.flags, "opening")

    def on_train_batch_end(self, state, progress):
        if progress.epoch == 1 and progress.batch == 3:
            die(self.flags, "training")

    def on_resumable_point(self, state, point):
        if point.step >= 24 and not (Path(self.flags) / "checkpointing").exists():
            with replace_file(Path(state.output_dir) / "training" / "epoch000009-batch00000001.state") as file:
                file.write(b"half a state")
                file.flush()
                die(self.flags, "checkpointing")

    def on_convert_end(self, state):
        die(self.flags, "converting")

    def on_simulation_batch_end(self, state, batch):
        if batch.image_ids[0] > 0:
            die(self.flags, "simulating")

    def on_evaluate_end(self, state):
        with replace_file(Path(state.output_dir) / "plots" / "half.png") as file:
            file.write(b"half a picture")
            file.flush()
            die(self.flags, "drawing")
        (Path(state.output_dir) / "plots" / "half.png").unlink()


class Logger(CsvLogger):
    def log_metrics(self, metrics, step=None):
        super().log_metrics(metrics, step)
        if "ann/test_accuracy" in metrics and not (Path(os.environ["FLAGS"]) / "logging").exists():
            self._file.write(b"half a li")
            die(os.environ["FLAGS"], "logging")
'''
WORDS = (
    *("model=mlp", "model.units=[8]", "training.epochs=3", "training.reuse=false", "data.max_train_images=400"),
    *("data.max_test_images=40", "simulator.n_steps=10", "simulator.readout_steps=5", "simulator.batch_size=20"),
    *("diagnosis.images=0", "callbacks.checkpoints.every_steps=2", "data._target_=killer.Data"),
    *("logger.csv._target_=killer.Logger", "run_id=mine"),
)


def left_by(folder, mlruns):
    client = client_of(folder, mlruns)
    (run,) = client.search_runs(["1"])
    outputs = folder / run.data.params["paths.output_dir"]
    files = [*outputs.glob("checkpoint/*.npz"), *outputs.glob("spikes/*.npz"), *outputs.glob("tables/*.csv")]
    found = {str(path.relative_to(outputs)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    for name in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        found[name] = [(metric.step, metric.value) for metric in history if name not in OF_THE_MACHINE]
    rows = (outputs / "metrics.csv").read_text().splitlines()
    found["metrics.csv"] = sorted(row for row in rows if row.partition(",")[0] not in OF_THE_MACHINE)
    assert not list(outputs.rglob(".*"))
    return run.info.status, found


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages",
    [pytest.param(STAGES, id="all", marks=pytest.mark.long), pytest.param(["checkpointing"], id="one")],
)
def test_a_run_that_is_killed_ends_as_one_that_is_not(process, tmp_path, monkeypatch, stages):
    (tmp_path / "killer.py").write_text(KILLER)
    (tmp_path / "flags").mkdir()
    for stage in set(STAGES) - set(stages):
        (tmp_path / "flags" / stage).touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FLAGS", str(tmp_path / "flags"))
    folder = tmp_path / "process"
    prepared = f"data.data_dir={tmp_path}/tfds"  # and no other folder that has them
    words = (*WORDS, prepared, f"+callbacks.killer={{_target_: killer.Killer, flags: {tmp_path}/flags}}")
    codes = []
    while not codes or codes[-1] != 0:
        running = process(*words)
        _, err = running.communicate(timeout=120)
        codes.append(running.returncode)
        assert running.returncode in (0, -signal.SIGKILL), err
    assert sorted(path.name for path in (tmp_path / "flags").iterdir()) == sorted(STAGES)
    assert len(codes) == len(stages) + 1
    status, found = left_by(folder, "mlruns")
    assert status == "FINISHED"
    whole = process(*words, "paths.mlruns=whole")  # every flag is there: nothing kills it
    _, err = whole.communicate(timeout=120)
    assert (status, found) == left_by(folder, "whole"), err
