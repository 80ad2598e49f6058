"""The main line as a whole: what a run leaves in MLflow and on disk, and how it ends."""

import contextlib
import csv
import dataclasses
import fcntl
import html
import json
import os
import re
import signal
import struct
import sys
import termios
import threading
from pathlib import Path

import nengo
import numpy as np
import pytest
from configs import composed
from data_modules import Arrays
from metric_plugins import Counting

from snnpipe import (
    AutoSimulator,
    Cnn2d,
    ConstantEncoder,
    CsvLogger,
    EventDrivenSimulator,
    KerasTraining,
    MLflowLogger,
    Mlp,
    NengoDLConverter,
    PoissonEncoder,
    Pretrained,
    Progress,
    SpikeArtifacts,
    TfdsDataModule,
    Trainer,
)
from snnpipe.artifacts.predictions import Predictions
from snnpipe.base import signals
from snnpipe.base.errors import ConfigError, ConversionError, LoggingError, ModelError, UserError, VerificationError
from snnpipe.callbacks.base import Callback
from snnpipe.callbacks.report import Report
from snnpipe.metrics.catalogue import built_in
from snnpipe.run.summary import closing_table
from snnpipe.settings.describe import flatten
from snnpipe.settings.naming import run_name
from snnpipe.testing import check_callback, check_logger


def make_trainer(data, folder, **parts):
    settings = {
        "data": data,
        "architecture": Cnn2d(filters=[4, 6], dense=16),
        "training": KerasTraining(epochs=2, learning_rate=3e-3),
        "converter": NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=100.0, synapse=0.005),
        "simulator": AutoSimulator(n_steps=20, batch_size=16),
        "encoder": ConstantEncoder(),
        "diagnosed_images": 0,
        "loggers": [MLflowLogger(folder=str(folder)), CsvLogger(folder=str(folder / "run"))],
        "output_dir": folder / "run",
    }
    return Trainer(**(settings | parts))


def make_small(folder, **parts):
    """Return a trainer that costs little: arrays, few weights, untrained unless it is told to train."""
    settings = {
        "data": Arrays(sizes=(64, 0, 20)),
        "architecture": Mlp(units=[8]),
        "training": KerasTraining(epochs=0),
        "simulator": EventDrivenSimulator(n_steps=5, batch_size=16),
    }
    return make_trainer(folder=folder, **(settings | parts))


def client(folder):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")


def only_run(folder):
    store = client(folder)
    experiment = store.get_experiment_by_name("snnpipe")
    (run,) = store.search_runs([experiment.experiment_id])
    return run


def artifacts(store, run_id, folder=None):
    for item in store.list_artifacts(run_id, folder):
        if item.is_dir:
            yield from artifacts(store, run_id, item.path)
        else:
            yield item.path


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """A run that finished, and the folder it is in."""
    from snnpipe import TfdsDataModule

    folder = tmp_path_factory.mktemp("mlruns")
    data = TfdsDataModule("digits", data_dir=str(data_dir), batch_size=32, max_train_images=400, max_test_images=50)
    callbacks = [Progress(), SpikeArtifacts(sample_images=5)]
    trainer = make_trainer(data, folder, callbacks=callbacks, diagnosed_images=5)
    return trainer, trainer.run(), folder


METRICS = {
    "fit/loss",
    "fit/accuracy",
    "fit/val_loss",
    "fit/val_accuracy",
    "fit/images_per_s",
    "ann/test_accuracy",
    "ann/test_loss",
    "snn/test_accuracy",
    "snn/accuracy_ci_low",
    "snn/accuracy_ci_high",
    "snn/agreement",
    "snn/accuracy_drop",
    "snn/synops_per_image",
    "snn/synops_per_dense_mac",
    "snn/first_layer_macs",
    "snn/first_layer_macs_every_step",
    "snn/neuron_updates_per_image",
    "ann/dense_macs",
    "ann/activations",
    *(f"energy/{what}_nj_{end}" for what in ("snn", "ann", "chip") for end in ("low", "high")),
    "snn/mean_rate_hz",
    "snn/max_rate_hz",
    "simulate/images_per_s",
    "simulate/peak_memory_mb",
    "diagnosis/images",
    "diagnosis/seconds",
}


def test_the_run_is_in_mlflow(finished):
    trainer, result, folder = finished
    run = only_run(folder)
    assert run.info.status == "FINISHED"
    assert run.info.run_id == result.address["run id"]
    assert set(run.data.metrics) >= METRICS | {f"{m}/dense" for m in ("rate_hz", "silent_fraction", "spikes_per_image")}
    assert run.data.params["training.epochs"] == "2"
    assert run.data.params["model.filters"] == "[4, 6]"
    assert run.data.params["conversion.neuron._target_"].endswith("SpikingRectifiedLinear")
    assert run.data.tags["stage_reached"] == "done"
    filters = {name: run.data.tags[name] for name in ("data", "model", "training", "neuron")}
    assert filters == {"data": "digits", "model": "Cnn2d", "training": "Keras", "neuron": "SpikingReLU"}
    assert f"| SNN accuracy | {100 * result.metrics['snn/test_accuracy']:.2f} %" in run.data.tags["mlflow.note.content"]
    assert "snnpipe.version" in run.data.tags
    assert not [name for name in run.data.metrics if built_in(name) is None]
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "digits"
    for name, value in result.metrics.items():
        assert run.data.metrics[name] == pytest.approx(value)


def test_metrics_have_their_steps(finished):
    trainer, result, folder = finished
    store, run_id = client(folder), result.address["run id"]
    accuracy = store.get_metric_history(run_id, "snn/accuracy_at_step")
    assert [(m.step, m.value) for m in accuracy] == list(enumerate(result.accuracy_at_step, start=1))
    assert len(store.get_metric_history(run_id, "snn/agreement_at_step")) == 20
    assert [m.step for m in store.get_metric_history(run_id, "fit/loss")] == [1, 2]
    assert result.accuracy_at_step[-1] == result.metrics["snn/test_accuracy"]


def test_the_artifacts_are_there_and_whole(finished):
    trainer, result, folder = finished
    every = set(artifacts(client(folder), result.address["run id"]))
    names = {name for name in every if not name.startswith("model/")}  # MLflow's own, with a copy of the network
    assert {"model/MLmodel", "model/data/network.snn"} <= every - names
    assert names == {
        "config.yaml",
        "environment.json",
        "conversion/plan.json",
        "conversion/network.snn",
        "conversion/plan.md",
        "checkpoint/checkpoint.json",
        "checkpoint/weights.npz",
        "tables/accuracy_over_time.csv",
        "tables/energy.csv",
        "tables/predictions.csv",
        "plots/accuracy_over_time.png",
        "plots/class_scores.png",
        "diagnosis/diagnosis.json",
        "diagnosis/layers.csv",
        *(f"plots/raster_{layer}.png" for layer in ("conv2d", "conv2d_1", "dense")),
        *(f"spikes/{layer}.npz" for layer in ("conv2d", "conv2d_1", "dense")),
    }
    run = folder / "run"
    for name in names:
        assert (run / name).stat().st_size > 0
    for picture in run.glob("plots/*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    kept = Predictions.read(run / "tables" / "predictions.csv")
    assert np.mean(kept.snn_i == kept.label_i) == result.metrics["snn/test_accuracy"]
    assert np.mean(kept.ann_i == kept.label_i) == result.metrics["ann/test_accuracy"]
    assert np.mean(kept.ann_i == kept.snn_i) == result.metrics["snn/agreement"]
    rows = (run / "tables" / "accuracy_over_time.csv").read_text().splitlines()
    assert rows[0] == "step,time_ms,accuracy,agreement" and len(rows) == 21
    assert not list(run.rglob(".*"))


def test_spike_files_hold_the_sampled_images_spikes(finished):
    trainer, result, folder = finished
    with np.load(folder / "run" / "spikes" / "dense.npz", allow_pickle=False) as spikes:
        assert set(np.unique(spikes["image"])) <= set(range(5))
        assert spikes["step"].max() < 20 and spikes["neuron"].max() < 16 and spikes["count"].min() >= 1
        assert spikes["shape"].tolist() == [16]
        assert (int(spikes["n_steps"]), float(spikes["dt"])) == (20, 0.001)


def test_the_environment_holds_versions_and_no_variables(finished, monkeypatch):
    trainer, result, folder = finished
    environment = json.loads((folder / "run" / "environment.json").read_text())
    assert environment["packages"]["nengo-dl"] == "3.6.0"
    assert set(environment) == {"python", "platform", "machine", "cores", "packages"}


def test_the_checkpoint_gives_the_same_run_again(finished, digits, tmp_path):
    trainer, result, folder = finished
    data = digits(max_train_images=400, max_test_images=50)
    simulator = AutoSimulator(n_steps=20, batch_size=7)
    again = make_trainer(
        data, tmp_path, training=Pretrained(str(folder / "run" / "checkpoint")), simulator=simulator, loggers=[]
    ).run()
    for name in ("ann/test_accuracy", "snn/test_accuracy", "snn/agreement", "snn/synops_per_image"):
        assert again.metrics[name] == result.metrics[name]
    assert again.metrics["snn/test_images"] == 50, "whatever the batch"
    assert again.accuracy_at_step == result.accuracy_at_step


class Fails(Callback):
    def __init__(self, error, hook="on_fit_end"):
        setattr(self, hook, lambda *arguments: self._raise(error))
        self.seen = None

    def _raise(self, error):
        raise error

    def on_exception(self, state, error):
        self.seen = error


@pytest.mark.parametrize(
    ("error", "status", "hook"),
    [
        (RuntimeError("boom"), "FAILED", "on_simulation_batch_end"),
        (UserError("wrong"), "FAILED", "on_fit_end"),
        (KeyboardInterrupt(), "KILLED", "on_fit_end"),
        (SystemExit(143), "KILLED", "on_simulation_batch_end"),
    ],
)
def test_a_run_that_ends_badly_says_so(tmp_path, error, status, hook):
    callback = Fails(error, hook)
    trainer = make_small(tmp_path, callbacks=[callback])
    with pytest.raises(type(error)):
        trainer.run()
    run = only_run(tmp_path)
    assert run.info.status == status
    assert run.data.tags["stage_reached"] == ("fit" if hook == "on_fit_end" else "evaluate")
    assert type(error).__name__ in run.data.tags["error"]
    assert callback.seen is error
    assert (tmp_path / "run" / "traceback.txt").exists() == isinstance(error, RuntimeError)
    assert json.loads((tmp_path / "run" / "tags.json").read_text())["status"] == status


def test_an_error_that_a_signal_became_is_the_signals(tmp_path):
    def become_another():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise AttributeError("what a library made of it") from error

    class Loses(Callback):
        def on_convert_end(self, state):
            become_another()

    trainer = make_small(tmp_path, callbacks=[Loses()])
    with signals.handled(), pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert only_run(tmp_path).info.status == "KILLED"


def test_an_evaluation_compares_with_the_weights_that_the_model_has(tmp_path):
    trainer = make_small(tmp_path, loggers=[])
    trainer.fit()
    trainer.convert()
    before = trainer.evaluate().metrics
    trainer.model.set_weights([np.zeros_like(weight) for weight in trainer.model.get_weights()])
    trainer.convert()
    after = trainer.evaluate().metrics
    assert before["ann/test_loss"] != after["ann/test_loss"] == pytest.approx(np.log(10))
    assert after["snn/agreement"] == 1


def test_what_cannot_work_leaves_nothing_behind(digits, tmp_path):
    converter = NengoDLConverter(
        neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates={"nowhere": 2.0}, synapse=None
    )
    with pytest.raises(ConfigError):
        make_trainer(digits(), tmp_path / "mlruns", converter=converter).run()
    assert not (tmp_path / "mlruns").exists()


def test_a_layer_that_cannot_be_converted_stops_the_run_before_training(digits, tmp_path):
    import tf_keras as keras

    class Normalised:
        def build(self, spec):
            layers = [keras.layers.Input(spec.input_shape), keras.layers.LayerNormalization(name="odd")]
            return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(spec.n_classes)])

    with pytest.raises(ConversionError, match="'odd'"):
        make_trainer(digits(), tmp_path / "mlruns", architecture=Normalised()).run()
    assert not (tmp_path / "mlruns").exists()


def test_a_model_of_the_wrong_shape_is_named(digits, tmp_path):
    import tf_keras as keras

    class Wrong:
        def build(self, spec):
            return keras.Sequential(
                [keras.layers.Input(spec.input_shape), keras.layers.Flatten(), keras.layers.Dense(3)]
            )

    with pytest.raises(ModelError, match=r"\(None, 3\).*\(None, 10\)"):
        make_trainer(digits(), tmp_path, architecture=Wrong()).run()


def test_stages_in_the_wrong_order_are_named(digits, tmp_path):
    trainer = make_trainer(digits(), tmp_path)
    with pytest.raises(UserError, match=r"call fit\(\) first"):
        trainer.convert()
    with pytest.raises(UserError, match=r"call convert\(\) first"):
        trainer.evaluate()


def test_spike_count_needs_spiking_outputs(digits, tmp_path):
    simulator = AutoSimulator(n_steps=3, readout="spike_count")
    trainer = make_trainer(digits(max_train_images=64), tmp_path, simulator=simulator, loggers=[])
    with pytest.raises(ConfigError, match="simulator.readout"):
        trainer.fit()


def test_hooks_come_in_their_order(tmp_path):
    seen = []

    class Spy(Callback):
        def __getattribute__(self, name):
            if name.startswith("on_"):
                return lambda *arguments: seen.append(name)
            return super().__getattribute__(name)

    make_small(tmp_path, training=KerasTraining(epochs=2), callbacks=[Spy()], loggers=[]).run()
    epoch = ["on_train_batch_end"] * 2 + ["on_epoch_end"]
    assert seen == [
        "on_prepare_end",
        "on_run_start",
        "on_stage_start",
        "on_fit_start",
        *epoch,
        *epoch,
        "on_fit_end",
        "on_stage_start",
        "on_convert_end",
        "on_simulation_start",
        "on_stage_start",
        "on_simulation_batch_end",
        "on_simulation_batch_end",
        "on_simulation_end",
        "on_evaluate_end",
    ]


def test_a_callback_without_the_base_may_lack_a_newer_hook(tmp_path):
    kept = {name: own for name, own in vars(Callback).items() if name[:2] != "__" and name != "on_simulation_end"}
    older = type("Older", (), kept)()
    assert make_small(tmp_path, callbacks=[older], loggers=[]).run().metrics["snn/test_images"] == 20


def test_poisson_input_and_mean_readout(tmp_path):
    settings = {"n_steps": 10, "readout": "mean", "readout_steps": 5}
    first, second = (
        make_small(
            tmp_path / str(batch_size),
            encoder=PoissonEncoder(max_rate_hz=300.0),
            simulator=EventDrivenSimulator(batch_size=batch_size, chunk_steps=chunk_steps, **settings),
            loggers=[],
        ).run()
        for batch_size, chunk_steps in ((16, 3), (9, 10))
    )
    assert len(first.accuracy_at_step) == 10
    assert first.accuracy_at_step == second.accuracy_at_step


@pytest.mark.long
def test_stages_can_be_repeated(tmp_path):
    from snnpipe import EarlyStopping

    spikes = SpikeArtifacts(sample_images=5)
    trainer = make_small(
        tmp_path,
        callbacks=[EarlyStopping(monitor="fit/images_per_s", mode="min", patience=2, min_delta=1e12), spikes],
        training=KerasTraining(epochs=5),
        loggers=[],
    )
    assert trainer.fit().epochs == trainer.fit().epochs == 3
    trainer.convert()
    assert trainer.evaluate().metrics["snn/test_accuracy"] == trainer.evaluate().metrics["snn/test_accuracy"]
    assert len(spikes._labels) == 5


@pytest.mark.slow
def test_a_model_that_gives_probabilities_is_trained_by_its_logits(tmp_path):
    import tf_keras as keras

    class Probabilities:
        def build(self, spec):
            layers = keras.layers
            end = layers.Dense(spec.n_classes, activation="softmax")
            hidden = layers.Dense(4, activation="relu")
            return keras.Sequential([layers.Input(spec.input_shape), layers.Flatten(), hidden, end])

    made = make_small(tmp_path, architecture=Probabilities(), training=KerasTraining(epochs=1))
    made.run()
    logits = made.model.predict_on_batch(np.ones((1, 8, 8, 1)))
    assert abs(logits.sum() - 1) > 1e-3
    assert "left out: its logits are trained" in (tmp_path / "run" / "conversion" / "plan.md").read_text()


def test_an_unused_end_of_a_run_does_not_hide_its_error(tmp_path):
    class Worse(Fails):
        def on_exception(self, state, error):
            raise OSError("and this too")

    trainer = make_small(tmp_path, callbacks=[Worse(RuntimeError("boom"))])
    with pytest.raises(RuntimeError, match="boom") as caught:
        trainer.run()
    assert "and this too" in caught.value.__notes__[0]
    assert only_run(tmp_path).info.status == "FAILED"


@pytest.mark.slow
def test_synops_are_left_out_where_a_layer_cannot_be_counted(tmp_path):
    import tf_keras as keras

    from snnpipe.run.summary import closing_table

    class Normalised:
        def build(self, spec):
            layers = keras.layers
            image = [
                layers.Input(spec.input_shape),
                layers.Conv2D(4, 3, activation="relu"),
                layers.LayerNormalization(name="norm"),
            ]
            return keras.Sequential([*image, layers.Flatten(), layers.Dense(spec.n_classes)])

    converter = NengoDLConverter(
        neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=50.0, allow_fallback=True, synapse=None
    )
    settings = {"architecture": Normalised(), "converter": converter, "callbacks": [Report()]}
    with pytest.warns(UserWarning, match="TensorNode"):
        result = make_small(tmp_path, **settings, simulator=AutoSimulator(n_steps=5, batch_size=16)).run()
    assert "snn/synops_per_image" not in result.metrics
    assert "energy/snn_nj_low" not in result.metrics
    why = "not counted: layer 'norm' (LayerNormalization) runs as a TensorNode"
    table, report = closing_table(result), Path(result.address["report"]).read_text()
    assert why in table and "no estimate" in table
    assert why in only_run(tmp_path).data.tags["mlflow.note.content"]
    assert why in html.unescape(report)


# ---------------------------------------------------------------------- callbacks and loggers


@pytest.mark.parametrize("callback", [Callback(), Progress(), SpikeArtifacts(sample_images=2)])
def test_callback_contract(callback, tmp_path, finished):
    check_callback(callback, tmp_path, finished[0].network)


@contextlib.contextmanager
def terminal():
    """Make stderr a terminal of 100 columns; what was written to it is in the list that is yielded, in the end."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    written, lines = bytearray(), []

    def read():
        with contextlib.suppress(OSError):  # the other end was closed
            while data := os.read(master, 4096):
                written.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(slave, "w") as screen, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", screen)
        yield lines
    reader.join()
    os.close(master)
    lines += re.split(r"[\r\n]+", written.decode())


@pytest.mark.slow
def test_a_terminal_shows_rate_and_time_left(tmp_path):
    data = TfdsDataModule(
        "digits", data_dir=str(tmp_path), batch_size=32, max_train_images=72, max_test_images=20, scaling="standardised"
    )
    simulator = EventDrivenSimulator(n_steps=3, batch_size=10)
    with terminal() as lines:
        make_small(
            tmp_path,
            data=data,
            training=KerasTraining(epochs=2),
            callbacks=[Progress()],
            loggers=[],
            simulator=simulator,
        ).run()
    rate = r"\[\d\d:\d\d<(\d\d:\d\d|\?), +[\d.?]+"
    for shown in (
        rf"Generating splits.*0/2 {rate} splits/s",
        rf"measuring images: .* 0/65 {rate} images/s",
        rf"epoch 1/2, step 3/3: +50%.* 65/130 {rate} images/s",
        rf"simulating: +50%.* 10/20 {rate} images/s",
        r"epoch 2/2  images_per_s",
    ):
        assert any(re.search(shown, line) for line in lines), (shown, lines)


def test_early_stopping_contract(tmp_path, finished):
    from snnpipe import EarlyStopping

    check_callback(EarlyStopping(), tmp_path, finished[0].network)


@pytest.mark.parametrize("kind", ["csv", "mlflow"])
@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_logger_contract(tmp_path, kind, status):
    file = tmp_path / "table.csv"
    file.write_text("a,b\n")
    logger = CsvLogger(str(tmp_path / "run")) if kind == "csv" else MLflowLogger(folder=str(tmp_path / "mlruns"))
    check_logger(logger, file, status)


def test_a_store_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    logger = MLflowLogger(tracking_uri=f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(UserError, match="cannot write"):
        logger.start("run", {}, {})
    for silent in ("http://127.0.0.1:9", "postgresql+psycopg2://me@127.0.0.1:9/mlflow"):
        with pytest.raises(LoggingError, match="logger.tracking_uri.*refused"):
            MLflowLogger(tracking_uri=silent).start("run", {}, {})
    with pytest.raises(LoggingError, match="logger.tracking_uri"):
        MLflowLogger(tracking_uri="nonsense://store").start("run", {}, {})
    with pytest.raises(LoggingError, match=r"psycopg.*postgresql\+psycopg2:"):
        MLflowLogger(tracking_uri="postgresql:///mlflow").start("run", {}, {})


def test_the_store_is_created_once_by_many(tmp_path):
    errors = []

    def start(i):
        try:
            logger = MLflowLogger(folder=str(tmp_path / "mlruns"))
            logger.start(f"run {i}", {"i": i}, {})
            logger.finalize("FINISHED")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    store = client(tmp_path / "mlruns")
    experiment = store.get_experiment_by_name("snnpipe")
    assert len(store.search_runs([experiment.experiment_id])) == 4


def test_the_environment_variable_names_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere/mlflow.db")
    logger = MLflowLogger(folder=str(tmp_path / "mlruns"))
    logger.start("run", {}, {})
    logger.finalize("FINISHED")
    assert Path(tmp_path / "elsewhere" / "mlflow.db").exists()
    assert not (tmp_path / "mlruns").exists()


def test_flatten_keeps_layer_patterns_together():
    config = {"a": {"b": 1, "c": {}}, "scale": {"conv*": 2}, "list": [1]}
    assert flatten(config) == {"a.b": 1, "a.c": {}, "scale": {"conv*": 2}, "list": [1]}


def test_run_names_say_what_a_run_is():
    config = {
        "data": {"name": "mnist"},
        "conversion": {"neuron": None, "scale_firing_rates": 25.0, "synapse": 0.005},
        "simulator": {"n_steps": 60},
    }
    assert run_name(config) == "mnist-rate-x25-5ms-60steps"
    of_its_own = config | {"neuron": {"_target_": "nengo.LIF"}, "conversion": {"_target_": "a.IdentityConverter"}}
    assert run_name(of_its_own) == "mnist-IdentityConverter-60steps"


NAMES = {
    (): "digits-Cnn2d-Keras-IntegrateAndFire-auto-8steps",
    ("conversion.scale_firing_rates=100", "conversion.synapse=0.01"): "IntegrateAndFire-x100-10ms-8steps",
    ("simulator=event_driven", "seed=2", "neuron=lif"): "LIF-auto-8steps-EventDrivenSimulator-seed2",
    ("training/regularizer=activity_l1", "encoder=poisson"): (
        "Keras-ActivityL1-IntegrateAndFire-auto-PoissonEncoder-8steps"
    ),
    ("simulator.dt=0.0005", "simulator.readout=last", "simulator.max_images=40"): "8steps-of_0.5ms-last-40images",
    ("training=nengo_dl", "training.scale_firing_rates=25"): "digits-Cnn2d-NengoDL-fit_x25-IntegrateAndFire-auto",
    (
        "neuron=spiking_relu",
        "conversion.scale_firing_rates={conv*: 2.0}",
        "+conversion.synapse={_target_: nengo.Alpha, tau: 0.01}",
    ): ("SpikingReLU-x2_00d1-Alpha_5f6c-8steps"),
    ("conversion.calibration.spikes_per_step=2", "simulator.n_steps=16"): "IntegrateAndFire-auto_r2-16steps",
    ("conversion.calibration.max_drop=0.5", "conversion.calibration.channels=true"): "auto_drop0.5_",
    ("conversion.calibration.bias_correction=false",): "IntegrateAndFire-auto_",
    ("model.activation=quantised", "conversion.max_pooling=gated"): "IntegrateAndFire-auto-quantised-gated-8steps",
    ("model=lif_cnn", "conversion=identity", "training=nengo_dl"): "digits-LifCnn-NengoDL-IdentityConverter-8steps",
}


@pytest.mark.parametrize("overrides", NAMES)
def test_run_names_say_what_is_not_ordinary(overrides):
    name = run_name(composed(*overrides))
    assert NAMES[overrides] in name
    assert len(name) <= 100
    assert overrides or name == NAMES[()]


def test_run_names_tell_settings_of_layers_apart():
    def name(scales, synapses=None, **further):
        conversion = {"scale_firing_rates": scales, "synapse": synapses}
        return run_name({"conversion": conversion, "simulator": {"n_steps": 60}} | further)

    scales = [{"conv*": 20.0, "dense": 5.0}, {"conv*": 5.0, "dense": 20.0}, {"conv*": 20.0, "dense*": 5.0}, 20.0]
    names = {name(of_run) for of_run in scales}
    assert len(names) == len(scales)
    assert all(re.fullmatch("x5to20_[0-9a-f]{4}-60steps|x20-60steps", each) for each in names)
    synapses = [{"conv*": 0.01, "dense": None}, {"conv*": 0.01, "dense": 0.001}, {"*": 0.01}, None]
    assert len({name(20.0, of_run) for of_run in synapses}) == len(synapses)
    neurons = [{"_target_": "a.LIF"}, None]
    assert len({run_name({"conversion": {"neuron": {"a": one, "b": two}}}) for one in neurons for two in neurons}) == 4
    long = [name(scale, data={"name": "x" * 99}) for scale in (1.0, 2.0)]
    assert [len(each) for each in long] == [100, 100] and len(set(long)) == 2


# ---------------------------------------------------------------------- verification


@pytest.mark.slow
def test_verified_images_end_in_metrics_and_the_closing_table(tmp_path):
    simulator = AutoSimulator(n_steps=20, batch_size=16, max_images=19, verify_images=5)
    result = make_small(tmp_path, simulator=simulator, loggers=[], metrics=[Counting()], diagnosed_images=5).run()
    assert result.metrics["snn/test_images"] == 19, "of 20, as many as were asked for"
    assert result.metrics["verify/images"] == 5
    assert result.metrics["own/images"] == 19, "verified and diagnosed images are not among those of a metric"
    assert result.metrics["own/right"] == result.metrics["snn/test_accuracy"]
    assert result.metrics["verify/moved_spike_share"] <= 1e-3
    assert result.metrics["verify/same_class"] == 1
    assert result.simulator.startswith(("event_driven (auto: ", "clock_driven (auto: "))
    table = closing_table(result)
    assert "against nengo_dl  5 images" in table
    assert f"own accuracy      {100 * result.metrics['own/right']:.2f} %\n" in table
    assert max(map(len, table.splitlines())) <= 100


class HalfASpikeAhead(EventDrivenSimulator):
    """A simulator with a mistake: every neuron starts half a spike ahead."""

    def open(self, network, constant_input=True):
        ahead = [
            dataclasses.replace(layer, initial_state={"voltage": (layer.initial_state["voltage"] + 0.5) % 1})
            for layer in network.layers
        ]
        return super().open(dataclasses.replace(network, layers=tuple(ahead)), constant_input)


def test_a_simulator_with_a_mistake_fails_its_verification(tmp_path):
    simulator = HalfASpikeAhead(n_steps=20, batch_size=16, verify_images=4)
    with pytest.raises(VerificationError, match=r"simulator.verify_images=4: .* of the spikes .*layer 'dense"):
        make_small(tmp_path, simulator=simulator, loggers=[]).run()


@pytest.mark.long  # 20 s; tests/test_native.py has its parts
def test_a_native_network_runs_along_the_same_line(command, tmp_path):
    result = command(
        "model=lif_cnn",
        "model.filters=[4]",
        "conversion=identity",
        "training=nengo_dl",
        "training.epochs=1",
        "simulator.n_steps=20",
        "simulator.max_images=40",
        "simulator.verify_images=5",
        "data.max_train_images=320",
        "callbacks=none",
        "paths.output_dir=out",
    )
    assert result.code == 0, result.err
    assert "against nengo_dl" in result.out and "event_driven" in result.out
    folder = tmp_path / "work" / "out"
    for name in ("conversion/plan.md", "checkpoint/weights.npz", "tables/accuracy_over_time.csv", "config.yaml"):
        assert (folder / name).is_file(), name
    again = command(
        "model=lif_cnn",
        "model.filters=[4]",
        "conversion=identity",
        "training=pretrained",
        "training.checkpoint=out/checkpoint",
        "simulator=clock_driven",
        "simulator.n_steps=20",
        "simulator.max_images=40",
        "logger=csv",
        "paths.output_dir=again",
    )
    assert again.code == 0, again.err

    def metrics(name):
        with (tmp_path / "work" / name / "metrics.csv").open(newline="") as file:
            return {row["metric"]: row["value"] for row in csv.DictReader(file) if not row["step"]}

    first, second = metrics("out"), metrics("again")
    assert first["snn/test_accuracy"] == second["snn/test_accuracy"]
    assert first["ann/test_accuracy"] == second["ann/test_accuracy"]
    assert float(first["snn/synops_per_image"]) > 0
    assert "rate_hz/conv2d_lif" in first
