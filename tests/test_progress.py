"""What a run writes while nobody looks at a terminal: a line a stage, and one a minute."""

import numpy as np
import pytest
from test_trainer import make_small

from snnpipe import NoTraining
from snnpipe.callbacks import progress
from snnpipe.callbacks.progress import Progress
from snnpipe.testing import SPEC
from snnpipe.values.run import BatchProgress, RunState, SimulatedBatch


@pytest.fixture
def state(tmp_path) -> RunState:
    return RunState(0, str(tmp_path), lambda path, where: None, spec=SPEC)


def simulated(images: int) -> SimulatedBatch:
    zeros = np.zeros(images, np.int64)
    return SimulatedBatch(range(images), zeros, zeros, np.zeros((images, 1, SPEC.n_classes)), {})


def test_a_stage_is_a_line_and_a_minute_is_one(state, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    callback = Progress()
    callback.on_stage_start(state, "fit", 20)
    callback.on_train_batch_end(state, BatchProgress(epoch=1, epochs=4, batch=0, n_batches=2, images=10))
    callback.on_train_batch_end(state, BatchProgress(epoch=1, epochs=4, batch=1, n_batches=2, images=20))
    callback.on_fit_end(state)
    callback.on_stage_start(state, "convert", 0)
    callback.on_stage_start(state, "verify", 3)
    callback.on_stage_start(state, "simulate", 5)
    callback.on_simulation_batch_end(state, simulated(2))
    callback.on_simulation_batch_end(state, simulated(3))
    callback.on_stage_start(state, "diagnose", 1000)
    callback.on_evaluate_end(state)
    out, err = capsys.readouterr()
    assert not out
    lines = [line.removeprefix("snnpipe: ") for line in err.splitlines()]
    assert [line.partition(" % of")[0] for line in lines] == [
        "training on 20 images",
        "training, epoch 2/4: 38",
        "training, epoch 2/4: 50",
        "converting",
        "comparing 3 images with nengo_dl",
        "simulating 5 images",
        "simulating: 40",
        "simulating: 100",
        "diagnosing on 1,000 images",
    ]
    assert lines[1].endswith(" % of 80 images, 1 s left")


def test_within_a_minute_nothing_more_is_written(state, capsys):
    callback = Progress()
    callback.on_stage_start(state, "simulate", 5)
    for _ in range(5):
        callback.on_simulation_batch_end(state, simulated(1))
    callback.on_evaluate_end(state)
    assert capsys.readouterr().err == "snnpipe: simulating 5 images\n"


def test_weights_that_are_only_taken_are_not_trained(tmp_path, capsys):
    make_small(tmp_path, training=NoTraining(), callbacks=[Progress()], loggers=[]).run()
    assert capsys.readouterr().err.startswith("snnpipe: taking the weights as they are\nsnnpipe: converting\n")


def test_a_training_that_is_taken_is_not_said_to_be_done(state, capsys):
    state.trained_by = "0123abcd"
    callback = Progress()
    callback.on_stage_start(state, "fit", 1295)
    callback.on_fit_end(state)
    callback.on_stage_start(state, "convert", 0)
    assert capsys.readouterr().err == "snnpipe: taking the training of run 0123abcd\nsnnpipe: converting\n"


def test_a_job_of_a_multi_run_writes_the_lines_of_the_minutes_only(state, capsys, monkeypatch):
    state.one_of_several = True
    callback = Progress()
    callback.on_stage_start(state, "simulate", 4)
    callback.on_simulation_batch_end(state, simulated(1))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    callback.on_stage_start(state, "simulate", 4)
    callback.on_simulation_batch_end(state, simulated(1))
    assert capsys.readouterr().err.startswith("snnpipe: simulating: 25 % of 4 images, ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1, "1 s"), (59, "59 s"), (89, "89 s"), (90, "2 min"), (7500, "2 h 5 min")],
)
def test_time_left_is_in_round_numbers(seconds, text):
    assert progress._rounded(seconds) == text
