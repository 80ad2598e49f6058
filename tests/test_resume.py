"""A run that was stopped goes on to the same result, to the bit, as one run with one continuous curve."""

import csv
import hashlib
import json
import random
import re
import signal
import warnings

import data_modules
import nengo
import numpy as np
import pytest
from multiruns import OF_THE_MACHINE, client_of, wait_for
from PIL import Image

from snnpipe import (
    ArraysDataModule,
    Checkpoints,
    ConstantEncoder,
    CropAndFlip,
    CsvLogger,
    EarlyStopping,
    EventDrivenSimulator,
    FiringRateL2,
    FolderDataModule,
    KerasTraining,
    MLflowLogger,
    NengoDLConverter,
    NengoDLTraining,
    Trainer,
)
from snnpipe.base.errors import CheckpointError, UserError
from snnpipe.callbacks.base import Callback
from snnpipe.values.checkpoint import Checkpoint
from snnpipe.values.training_state import TrainingState, TrainingStates

EPOCHS, BATCHES = 3, 6


class WithDropout:
    """Layers that draw at random, and one that keeps averages, in training."""

    def build(self, spec):
        import tf_keras as keras

        layers = keras.layers
        return keras.Sequential(
            [
                layers.Input(spec.input_shape),
                layers.Conv2D(4, 3, strides=2, use_bias=False, name="conv"),
                layers.BatchNormalization(name="norm"),
                layers.Activation("relu", name="relu"),
                layers.Flatten(name="flat"),
                layers.Dropout(0.3, name="drop"),
                layers.Dense(16, activation="relu", name="hidden"),
                layers.Dense(spec.n_classes, name="logits"),
            ]
        )


class Plain:
    def build(self, spec):
        import tf_keras as keras

        layers = keras.layers
        return keras.Sequential(
            [
                layers.Input(spec.input_shape),
                layers.Flatten(name="flat"),
                layers.Dense(16, activation="relu", name="hidden"),
                layers.Dense(spec.n_classes, name="logits"),
            ]
        )


PATHS = {
    "keras": (
        WithDropout(),
        KerasTraining(
            epochs=EPOCHS,
            optimizer="sgd",
            optimizer_options={"momentum": 0.9},
            schedule="one_cycle",
            weight_decay=1e-3,
            weight_decay_exclude=["*/bias"],
            regularizer=FiringRateL2(weight=1e-3, layers=["hidden"]),
        ),
    ),
    "nengo_dl": (Plain(), NengoDLTraining(epochs=EPOCHS, scale_firing_rates=10.0)),
}


class StopsAt(Callback):
    """Ends the process, as far as it can be done within one: at a training step, or when the images are simulated."""

    def __init__(self, step=None, *, simulating=False):
        self._step, self._simulating = step, simulating

    def on_resumable_point(self, state, point):
        if self._step is not None and point.step >= self._step:
            raise KeyboardInterrupt

    def on_evaluate_end(self, state):
        if self._simulating:
            raise KeyboardInterrupt


class Logs(Callback):
    """Logs numbers of its own: once, and at each epoch."""

    def on_fit_start(self, state):
        state.log_metric("own/once", 1)

    def on_epoch_end(self, state, progress):
        state.log_metric("own/epochs", progress.epoch, step=progress.epoch)
        if progress.epoch == 1:
            state.log_metric("own/first", np.float32(0.5))

    def on_evaluate_end(self, state):
        state.log_metric("own/late", 2.0)


OWN = {"own/once": 1.0, "own/epochs": EPOCHS, "own/first": 0.5, "own/late": 2.0}


def own_of(result):
    return {name: value for name, value in result.metrics.items() if name.startswith("own/")}


def trainer_of(path, digits, folder, *callbacks, resumed=None, before=(), training=None):
    architecture, usual = PATHS[path]
    return Trainer(
        data=digits(
            batch_size=32,
            max_train_images=240,
            max_test_images=30,
            validation_share=0.2,
            augment=CropAndFlip(crop=1),
        ),
        architecture=architecture,
        training=training or usual,
        converter=NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=100.0, synapse=None),
        simulator=EventDrivenSimulator(n_steps=20, batch_size=16),
        encoder=ConstantEncoder(),
        callbacks=[*before, Logs(), EarlyStopping(patience=2), Checkpoints(every_steps=1), *callbacks],
        loggers=[MLflowLogger(folder=str(folder)), CsvLogger(folder=str(folder / "run"))],
        diagnosed_images=0,
        output_dir=folder / "run",
        resumed=resumed,
    )


def only_run_id(folder):
    (run,) = client_of(folder.parent, folder.name).search_runs(["1"])
    return run.info.run_id


def curves_of(folder):
    """Return each metric's values by step, each of which is there once, but for those of the machine."""
    client, run_id = client_of(folder.parent, folder.name), only_run_id(folder)
    found = {}
    for name in client.get_run(run_id).data.metrics:
        history = client.get_metric_history(run_id, name)
        assert len({metric.step for metric in history}) == len(history), name
        if name not in OF_THE_MACHINE:
            found[name] = {metric.step: metric.value for metric in history}
    return found


def rows_of(folder):
    with (folder / "run" / "metrics.csv").open() as file:
        rows = [tuple(row) for row in csv.reader(file)]
    assert len({row[:2] for row in rows}) == len(rows)
    return sorted(row for row in rows if row[0] not in OF_THE_MACHINE)


@pytest.fixture(scope="module", params=["keras", pytest.param("nengo_dl", marks=pytest.mark.slow)])
def whole(request, data_dir, tmp_path_factory):
    """A run that nothing stopped."""
    from snnpipe import TfdsDataModule

    def digits(**settings):
        return TfdsDataModule("digits", data_dir=str(data_dir), **settings)

    folder = tmp_path_factory.mktemp(request.param) / "mlruns"
    result = trainer_of(request.param, digits, folder).run()
    assert own_of(result) == OWN
    assert OWN.keys() <= curves_of(folder).keys() & {row[0] for row in rows_of(folder)}
    return request.param, digits, folder


def weights_in(folder):
    return Checkpoint.load(folder / "run" / "checkpoint").weights


@pytest.mark.slow
@pytest.mark.parametrize(
    "stops",
    [
        pytest.param([StopsAt(1)], id="first step", marks=pytest.mark.long),
        pytest.param([StopsAt(BATCHES + 3), StopsAt(BATCHES + 4)], id="twice within an epoch", marks=pytest.mark.long),
        pytest.param([StopsAt(2 * BATCHES)], id="end of an epoch", marks=pytest.mark.long),
        pytest.param([StopsAt(EPOCHS * BATCHES)], id="end of training", marks=pytest.mark.long),
        pytest.param([StopsAt(simulating=True)], id="simulating"),
    ],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_result(whole, stops, tmp_path):
    path, digits, uninterrupted = whole
    folder = tmp_path / "mlruns"
    run_id = None
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            trainer_of(path, digits, folder, stop, resumed=run_id).run()
        run_id = only_run_id(folder)
        random.seed()  # whatever state the new process would have
        np.random.seed()
    result = trainer_of(path, digits, folder, resumed=run_id).run()
    assert own_of(result) == OWN, "what a callback logged before the run was stopped is in its result"
    expected, found = weights_in(uninterrupted), weights_in(folder)
    assert {name: value.tobytes() for name, value in found.items()} == {n: v.tobytes() for n, v in expected.items()}
    assert curves_of(folder) == curves_of(uninterrupted)
    assert rows_of(folder) == rows_of(uninterrupted)
    run = client_of(folder.parent, folder.name).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert "error" not in run.data.tags
    assert not (folder / "run" / "training").exists()  # nothing is left to go on with


def in_arrays(folder, images, labels):
    np.savez(folder / "digits.npz", x=images, y=labels)
    return lambda **settings: ArraysDataModule(str(folder / "digits.npz"), **settings)


def in_pictures(folder, images, labels):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / "digits" / f"digit {label}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return lambda **settings: FolderDataModule(str(folder / "digits"), **settings)


@pytest.mark.slow
@pytest.mark.parametrize("write", [in_arrays, pytest.param(in_pictures, marks=pytest.mark.long)])
def test_a_run_with_data_of_ones_own_goes_on_to_the_same_weights(write, tmp_path):
    images, labels = data_modules.digits()
    data = write(tmp_path, (images[:400, ..., 0] * 255).astype(np.uint8), labels[:400])
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    uninterrupted, stopped = tmp_path / "whole" / "mlruns", tmp_path / "stopped" / "mlruns"
    trainer_of("keras", data, uninterrupted).run()
    with pytest.raises(KeyboardInterrupt):
        trainer_of("keras", data, stopped, StopsAt(BATCHES + 3)).run()
    trainer_of("keras", data, stopped, resumed=only_run_id(stopped)).run()
    expected, weights = weights_in(uninterrupted), weights_in(stopped)
    assert {name: value.tobytes() for name, value in weights.items()} == {n: v.tobytes() for n, v in expected.items()}
    assert rows_of(stopped) == rows_of(uninterrupted)


@pytest.mark.long
def test_what_a_callback_waits_for_is_remembered(digits, tmp_path):

    class NeverBetter(Callback):
        def on_epoch_end(self, state, progress):
            progress.metrics["fit/val_loss"] = 1.0

    folder = tmp_path / "mlruns"
    epochs = []

    class Counts(Callback):
        def on_epoch_end(self, state, progress):
            epochs.append(progress.epoch)

    def stopped_early(*more, resumed=None):
        before, training = (NeverBetter(), Counts()), NengoDLTraining(epochs=10)
        return trainer_of("nengo_dl", digits, folder, *more, resumed=resumed, before=before, training=training)

    with pytest.raises(KeyboardInterrupt):
        stopped_early(StopsAt(2 * BATCHES)).run()
    stopped_early(resumed=only_run_id(folder)).run()
    assert epochs == [1, 2, 3]


# ---------------------------------------------------------------------- the files


def state(**changes):
    return TrainingState(
        **{
            "fingerprint": "f",
            "epoch": 1,
            "batch": 2,
            "history": [{"fit/loss": 0.5}],
            "over": False,
            "arrays": {"weight 0": np.arange(6.0).reshape(2, 3), "n": np.array(3)},
            "callbacks": {"EarlyStopping 0": {"best": float("inf"), "waited": 0}},
            **changes,
        }
    )


def test_a_state_comes_back_as_it_was(tmp_path):
    state().save(tmp_path / "one.state")
    back = TrainingState.load(tmp_path / "one.state")
    assert {name: array.tolist() for name, array in back.arrays.items()} == {
        "weight 0": [[0, 1, 2], [3, 4, 5]],
        "n": 3,
    }
    assert (back.fingerprint, back.epoch, back.batch, back.history, back.over) == (
        "f",
        1,
        2,
        [{"fit/loss": 0.5}],
        False,
    )
    assert back.callbacks == {"EarlyStopping 0": {"best": float("inf"), "waited": 0}}


def test_only_the_newest_are_kept_and_what_a_killed_process_was_writing_goes(tmp_path):
    states = TrainingStates(tmp_path)
    states.save(state(), keep=2)
    (tmp_path / "training" / ".epoch000001-batch00000003.state.xyz.part").write_bytes(b"half")
    for batch in (10, 9, 11):
        states.save(state(batch=batch), keep=2)
    assert sorted(path.name for path in (tmp_path / "training").iterdir()) == [
        "epoch000001-batch00000010.state",
        "epoch000001-batch00000011.state",
    ]
    assert states.newest("f").batch == 11
    states.clear()
    assert states.newest("f") is None


def damaged(content, how):
    if how == "cut":
        return content[: len(content) // 2]
    if how == "empty":
        return b""
    flipped = bytearray(content)
    flipped[len(content) * 2 // 3] ^= 4
    return bytes(flipped)


@pytest.mark.parametrize("how", ["cut", "empty", "flipped"])
def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path, how):
    states = TrainingStates(tmp_path)
    for batch in (1, 2):
        states.save(state(batch=batch), keep=2)
    newest = tmp_path / "training" / "epoch000001-batch00000002.state"
    newest.write_bytes(damaged(newest.read_bytes(), how))
    with pytest.warns(
        UserWarning, match="skipped, and the state before it taken.*epoch000001-batch00000002.state is damaged"
    ):
        assert states.newest("f").batch == 1


def test_a_state_of_another_format_or_training_is_named(tmp_path, monkeypatch):
    states = TrainingStates(tmp_path)
    states.save(state(), keep=1)
    with pytest.raises(CheckpointError, match="another training"):
        states.newest("g")
    (path,) = (tmp_path / "training").iterdir()
    monkeypatch.setattr("snnpipe.values.training_state._FORMAT", 99)
    with pytest.raises(CheckpointError, match="has format 2, and this snnpipe reads format 99"):
        TrainingState.load(path)


# ---------------------------------------------------------------------- from the command line

SMALL = (
    "model=mlp",
    "model.units=[8]",
    "data.max_test_images=40",
    "diagnosis.images=0",
    "simulator.n_steps=10",
    "simulator.readout_steps=5",
)


def settled(folder, run):
    """What a run left, but for what depends on the machine."""
    outputs = folder / run.data.params["paths.output_dir"]
    digests = {
        str(path.relative_to(outputs)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in [*outputs.glob("spikes/*.npz"), *outputs.glob("checkpoint/*.npz"), *outputs.glob("tables/*.csv")]
    }
    metrics = {name: value for name, value in run.data.metrics.items() if name not in OF_THE_MACHINE}
    return digests, metrics


@pytest.mark.long  # 40 s each
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_same_command_goes_on_where_it_was_stopped(process, tmp_path, number, code):
    folder = tmp_path / "process"
    words = (*SMALL, "training.epochs=30", "training.reuse=false")
    running = process(*words, "run_id=mine")
    wait_for(lambda: any(len(f.read_text().splitlines()) > 5 for f in folder.glob("mlruns/outputs/*/metrics.csv")))
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == code, err
    assert "snnpipe: to go on: python -m snnpipe" in err
    (run,) = client_of(folder).search_runs(["1"])
    assert run.info.status == "KILLED"
    assert len(list(folder.glob("mlruns/outputs/*/training/*.state"))) == 1
    again = process(*words, "run_id=mine")
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    (goes_on,) = (line for line in out.splitlines() if "going on" in line)
    epoch, step = (int(n) for n in re.findall(r"\d+", goes_on))
    assert goes_on == f"snnpipe: going on with run mine at epoch {epoch}, step {step}" and epoch > 1
    (run,) = client_of(folder).search_runs(["1"])
    assert run.info.status == "FINISHED"
    assert "fit.resumed" in run.data.tags
    steps = [metric.step for metric in client_of(folder).get_metric_history(run.info.run_id, "fit/loss")]
    assert steps == list(range(1, 31))
    finished = process(*words, "run_id=mine")
    out, err = finished.communicate(timeout=60)
    assert (finished.returncode, err) == (0, "")
    assert "finished already" in out
    _, err = process(*words, f"paths.mlruns={folder}/other").communicate(timeout=300)
    (uninterrupted,) = client_of(folder, "other").search_runs(["1"])
    assert settled(folder, run) == settled(folder, uninterrupted), err


@pytest.mark.long
def test_resuming_without_an_id_takes_the_newest_stopped_run_of_the_configuration(command, tmp_path):
    fast = ("debug=fast", *SMALL[:2], "callbacks=none")
    begun = command(*fast, "training.resume=true")
    assert begun.code == 0, begun.err
    (run,) = client_of(tmp_path, "work/mlruns").search_runs(["1"])
    client = client_of(tmp_path, "work/mlruns")
    client.update_run(run.info.run_id, status="KILLED")
    other = command(*fast, "training.resume=true", "seed=1")
    assert other.code == 0, other.err
    assert len(client.search_runs(["1"])) == 2
    resumed = command(*fast, "training.resume=true")
    assert resumed.code == 0, resumed.err
    assert f"snnpipe: going on with run {run.info.run_id} at the beginning of its training" in resumed.out
    assert len(client.search_runs(["1"])) == 2
    assert {r.info.status for r in client.search_runs(["1"])} == {"FINISHED"}


NOT_GONE_ON_WITH = [
    (
        ("run_id=mine", "training.epochs=2"),
        "run_id: the run there has other settings: it had training.epochs=1, here 2",
    ),
    (("run_id=mine", "training.resume=false"), "training.resume: got false, but there is a run mine already"),
    (("run_id=" + 32 * "0",), "run_id: got 00000000000000000000000000000000, and this store has no such run"),
    (("run_id=two words",), "run_id: got 'two words'"),
    (("run_id=mine", "logger=csv"), "run_id: got 'mine', but no logger knows runs by an id"),
    (("training.resume=true", "logger=csv"), "training.resume: got true, but no logger knows earlier runs"),
]


@pytest.mark.slow
def test_what_cannot_be_gone_on_with_is_named(command, tmp_path):
    fast = ("debug=fast", *SMALL[:2], "callbacks=none")
    assert command(*fast, "run_id=mine").code == 0
    (run,) = client_of(tmp_path, "work/mlruns").search_runs(["1"])
    client_of(tmp_path, "work/mlruns").update_run(run.info.run_id, status="KILLED")
    for words, told in NOT_GONE_ON_WITH:
        result = command(*fast, *words)
        assert result.code == 2
        assert result.error_lines[0].startswith(f"snnpipe: error: {told}")


@pytest.mark.long
def test_plain_files_are_gone_on_with_by_their_folder(command, tmp_path):
    words = ("debug=fast", *SMALL[:2], "callbacks=none", "logger=csv", "paths.output_dir=here", "training.resume=true")
    assert command(*words).code == 0
    tags = tmp_path / "work" / "here" / "tags.json"
    finished = command(*words)
    assert "finished already" in finished.out
    tags.write_text(json.dumps(json.loads(tags.read_text()) | {"status": "KILLED"}))
    metrics = tmp_path / "work" / "here" / "metrics.csv"
    before = metrics.read_text()
    metrics.write_text(before[:-3])  # as a killed process may leave it
    assert command(*words).code == 0
    assert sorted(metrics.read_text().splitlines()) == sorted(before.splitlines()) or "per_s" in before.splitlines()[-1]
    assert command(*words, "training.epochs=2").error_lines[0].startswith("snnpipe: error: paths.output_dir: the run")


def test_a_run_that_is_alive_is_not_gone_on_with(digits, tmp_path):
    path = "keras"
    with trainer_of(path, digits, tmp_path / "mlruns"), pytest.raises(UserError, match="written to by another run"):
        trainer_of(path, digits, tmp_path / "mlruns").run()


@pytest.mark.slow
def test_a_folder_that_is_begun_anew_forgets_the_training_that_was_in_it(digits, tmp_path):
    path = "keras"
    folder = tmp_path / "mlruns"
    with pytest.raises(KeyboardInterrupt):
        trainer_of(path, digits, folder, StopsAt(2)).run()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with trainer_of(path, digits, folder):
            assert not (folder / "run" / "training").exists()
