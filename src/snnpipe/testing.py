"""Checks that a plugin fulfils the contract of its family, for tests of your own plugins.

Each check raises `AssertionError` with a sentence that names the broken rule. The checks use small data, and only the
public methods of a plugin.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe import protocols
from snnpipe.base.errors import UserError
from snnpipe.data.checked_data import CheckedData
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.measurements import Measurements, require_metrics
from snnpipe.values.data import DataSpec
from snnpipe.values.network import ConversionPlan, SpikingNetwork
from snnpipe.values.run import BatchProgress, FitProgress, ResumablePoint, RunState, SimulatedBatch
from snnpipe.values.simulation import (
    LayerActivity,
    SimulationChunk,
    SimulationSettings,
    SpikeEvents,
    Stimulus,
)
from snnpipe.values.training_state import TrainingState

if TYPE_CHECKING:
    import tensorflow as tf

SPEC = DataSpec(
    name="contract",
    version="1.0.0",
    input_shape=(8, 8, 1),
    n_classes=3,
    class_names=("a", "b", "c"),
    n_train=20,
    n_validation=0,
    n_test=5,
    scaling="none",
)
"""Spec of a small dataset, for which the checks build architectures."""


class Silent:
    """A callback sink that records the reports of a training path and prints nothing."""

    def __init__(self) -> None:
        self.resumed: TrainingState | None = None
        self.epochs: list[FitProgress] = []
        self.batches = 0

    def epoch_end(self, progress: FitProgress, arrays: protocols.Arrays | None = None) -> bool:
        """Record an epoch."""
        self.epochs.append(progress)
        return False

    def batch_end(self, progress: BatchProgress, arrays: protocols.Arrays | None = None) -> None:
        """Count a batch."""
        self.batches += 1


def check_data_module(data: protocols.DataModule) -> None:
    """Check every batch of a data module's streams, their number of samples and their order.

    The messages are those of a run. A data module that a run accepts (`snnpipe.data.checked_data.CheckedData`) passes,
    if it repeats its samples in the same order.
    """
    checked = CheckedData.of(data)
    try:
        checked.prepare_data()
        checked.setup()
        checked.look()
        spec = checked.spec
        for split, n_samples in (("train", spec.n_train), ("validation", spec.n_validation), ("test", spec.n_test)):
            if n_samples:
                checked.count(split)
    except UserError as error:
        raise AssertionError(str(error)) from error
    assert isinstance(checked.module, protocols.DataModule), "a data module lacks one of its methods"

    def read(stream: "tf.data.Dataset") -> tuple[np.ndarray, np.ndarray]:
        samples, labels = zip(*(batch[:2] for batch in stream.as_numpy_iterator()), strict=True)
        return np.concatenate(samples), np.concatenate(labels)

    def same(one: "tf.data.Dataset", other: "tf.data.Dataset") -> bool:
        return all(map(np.array_equal, read(one), read(other)))

    assert same(checked.train_dataset(1), checked.train_dataset(1)), (
        "train: an epoch's order is not determined by its number"
    )
    if hasattr(checked.module, "calibration_dataset"):
        assert same(checked.calibration_dataset(), checked.calibration_dataset()), (
            "calibration: the samples do not always come in one order"
        )
    assert same(checked.test_dataset(7), checked.test_dataset()), "test: the samples do not always come in one order"


def check_architecture(architecture: protocols.Architecture, spec: DataSpec = SPEC) -> None:
    """Check that a model takes the dataset's samples and returns one logit per class, not probabilities."""
    assert isinstance(architecture, protocols.Architecture), "an architecture lacks build(spec)"
    model = architecture.build(spec)
    flat = (int(np.prod(spec.input_shape)),)
    shape = flat if isinstance(model, NativeNetwork) else spec.input_shape
    assert model.input_shape == (None, *shape), f"the model takes {model.input_shape}"
    assert model.output_shape == (None, spec.n_classes), f"the model gives {model.output_shape}"
    samples = np.random.default_rng(0).normal(0, 10, (16, *spec.input_shape)).astype(np.float32)
    sums = np.asarray(model.predict_on_batch(samples)).sum(axis=-1)
    assert not np.allclose(sums, 1, atol=1e-3), "the model gives probabilities, not logits"


def check_training_path(
    path: protocols.TrainingPath, architecture: protocols.Architecture, data: protocols.DataModule
) -> None:
    """Check that a path trains in place and returns the model's weights, and that it reports epochs correctly."""
    assert isinstance(path, protocols.TrainingPath), "a training path lacks check or fit"
    data.prepare_data()
    data.setup()
    model = architecture.build(data.spec)
    path.check(model)
    sink = Silent()
    checkpoint = path.fit(model, data, sink)
    for weight in model.weights:
        assert np.array_equal(checkpoint.weights[weight.name], weight.numpy()), f"{weight.name} is not the model's"
    assert len(sink.epochs) == checkpoint.epochs or not sink.epochs, "epochs were reported that were not trained"
    for progress in sink.epochs:
        assert {"fit/loss", "fit/accuracy"} <= set(progress.metrics), f"an epoch reports {sorted(progress.metrics)}"


def check_regularizer(regularizer: protocols.Regularizer) -> None:
    """Check that a penalty is one finite, non-negative number per sample."""
    scales = regularizer.scale_of(["conv2d", "dense"])
    assert set(scales) <= {"conv2d", "dense"}, "a regularizer names layers that the model lacks"
    penalty = np.asarray(regularizer.penalty(np.array([[0.0, 100.0], [250.0, 250.0]], np.float32)))
    assert penalty.shape == (2,), f"a penalty has shape {penalty.shape}, not one per sample"
    assert np.all(np.isfinite(penalty)) and np.all(penalty >= 0), f"a penalty is {penalty}"


def check_converter(converter: protocols.Converter, architecture: protocols.Architecture) -> SpikingNetwork:
    """Check that a plan names every layer and that the network has the planned neurons; return the network."""
    assert isinstance(converter, protocols.Converter), "a converter lacks explain or convert"
    model = architecture.build(SPEC)
    plan = converter.explain(model)
    assert isinstance(plan, ConversionPlan)
    layers = [] if isinstance(model, NativeNetwork) else model.layers
    assert {layer.name for layer in layers} <= {layer.name for layer in plan.layers}, "a layer has no plan"
    assert not plan.unsupported, f"{plan.unsupported} cannot be converted"
    network = converter.convert(model, seed=0)
    planned = {layer.name: layer.neurons for layer in plan.layers if layer.neurons}
    assert {layer.name: layer.size for layer in network.layers} == planned, "the network is not what was planned"
    for layer in network.layers:
        assert layer.fan_out_n is not None and layer.fan_out_n.shape == (layer.size,), (
            f"{layer.name}: a neuron has no fan-out"
        )
    return network


def check_encoder(encoder: protocols.Encoder, input_shape: tuple[int, ...] = (2, 2, 1)) -> None:
    """Check the shape of an encoder's signal, and that the signal does not depend on batches or chunks."""
    assert isinstance(encoder, protocols.Encoder), "an encoder lacks constant, encode or seeded"
    samples, n = np.random.default_rng(0).uniform(-1, 1, (3, *input_shape)).astype(np.float32), np.prod(input_shape)
    seeded = encoder.seeded(7)
    whole = seeded.encode(samples, [0, 1, 2], 0, 10)
    assert whole.shape == (3, 10, n), f"a signal has shape {whole.shape}, not (samples, steps, values)"
    parts = np.concatenate([seeded.encode(samples, [0, 1, 2], 0, 4), seeded.encode(samples, [0, 1, 2], 4, 6)], axis=1)
    assert np.array_equal(whole, parts), "a signal depends on how its steps are grouped"
    assert np.array_equal(whole[1:2], seeded.encode(samples[1:2], [1], 0, 10)), "a signal depends on its batch"
    if encoder.constant:
        assert np.all(whole == whole[:, :1]), "a constant signal changes"


def check_simulator(simulator: protocols.Simulator, network: SpikingNetwork) -> None:
    """Check that a simulator covers every step once, records every spike that it counts, and can run again.

    The check includes that chunks end at every multiple of ``chunk_steps``, which shorter durations need.
    """
    from snnpipe.encoders import ConstantEncoder

    assert isinstance(simulator, protocols.Simulator), "a simulator lacks open or one of its settings"
    in_parts = simulator.with_settings(chunk_steps=2)
    assert (in_parts.chunk_steps, in_parts.n_steps) == (2, simulator.n_steps), "with_settings changes other settings"
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (simulator.batch_size, *SPEC.input_shape)).astype(np.float32)
    everyone = tuple(range(len(images)))
    stimulus = Stimulus(images, everyone, ConstantEncoder(), record=everyone)
    with simulator.open(network) as opened:
        first = list(opened.run(stimulus))
        again = list(opened.run(stimulus))
        short = list(opened.run(Stimulus(images[:1], [0], ConstantEncoder())))
    with in_parts.open(network) as opened:
        for chunk in opened.run(stimulus):
            end = chunk.first_step + chunk.outputs_btc.shape[1]
            assert end - chunk.first_step <= 2 and (end % 2 == 0 or end == simulator.n_steps), (
                f"with chunk_steps=2, steps {chunk.first_step} to {end} are one chunk"
            )
    step = 0
    for chunk in first:
        assert chunk.first_step == step, f"a chunk begins at step {chunk.first_step}, not {step}"
        step += chunk.outputs_btc.shape[1]
        assert set(chunk.layers) == {layer.name for layer in network.layers}, "a chunk lacks a layer"
        for layer in network.layers:
            activity = chunk.layers[layer.name]
            assert activity.counts_bn.shape == (len(images), layer.size)
            if layer.spiking:
                assert activity.events.count.sum() == activity.counts_bn.sum(), (
                    f"{layer.name}: events are not all spikes"
                )
    assert step == simulator.n_steps, f"{step} steps were simulated, not {simulator.n_steps}"
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.outputs_btc, other.outputs_btc), "a batch does not begin from the initial state"
    for one, other in zip(first, short, strict=True):
        assert np.allclose(one.outputs_btc[:1], other.outputs_btc), "a sample's result depends on its batch"


def check_callback(callback: protocols.Callback, folder: Path, network: SpikingNetwork) -> None:
    """Check that a callback supports every hook in the order of a run, for two runs."""
    assert isinstance(callback, protocols.Callback), "a callback lacks a hook: derive it from callbacks.base.Callback"
    spec = dataclasses.replace(SPEC, n_validation=2)
    for _ in range(2):
        state = RunState(0, str(folder), lambda path, where: None, spec=spec, network=network)
        state.settings = SimulationSettings(n_steps=4)
        callback.on_prepare_end(state)
        callback.on_run_start(state)
        callback.on_stage_start(state, "fit", spec.n_train)
        callback.on_fit_start(state)
        callback.on_train_batch_end(state, BatchProgress(0, 1, 0, 1, 20))
        metrics = {"fit/loss": 1.0, "fit/accuracy": 0.5, "fit/val_loss": 1.0, "fit/val_accuracy": 0.5}
        callback.on_epoch_end(state, FitProgress(1, 1, metrics))
        callback.on_resumable_point(state, ResumablePoint(1, False, _no_state))
        remembered = json.loads(json.dumps(callback.state_dict()))
        callback.on_fit_start(state)
        callback.load_state_dict(remembered)
        assert callback.state_dict() == remembered, "a callback does not restore the state that it returned"
        callback.on_fit_end(state)
        callback.on_convert_end(state)
        callback.on_simulation_start(state, 2)
        callback.on_stage_start(state, "simulate", 2)
        one = np.array([0], np.int32)
        batch = SimulatedBatch(
            image_ids=[0, 1],
            labels=np.array([0, 1]),
            ann_classes=np.array([0, 2]),
            scores_btc=np.zeros((2, 4, SPEC.n_classes)),
            events={layer.name: SpikeEvents(one, one, one, one) for layer in network.layers},
        )
        callback.on_simulation_batch_end(state, batch)
        callback.on_simulation_end(state)
        callback.on_evaluate_end(state)
        callback.on_exception(state, KeyboardInterrupt())


def check_metric(metric: protocols.Metric, network: SpikingNetwork) -> Mapping[str, float]:
    """Check that a metric's specs are its own, and that its values are finite and do not depend on batches or chunks.

    The check also covers several durations, and a metric that is prepared with validation images. It returns the
    metric's values for random spikes of eight images, which are shown for eight steps.
    """
    try:
        require_metrics([metric])
        whole = _measured(metric, network, batch_size=8, chunk_steps=8)[8]
        for batch_size, chunk_steps in ((8, 8), (3, 8), (8, 2)):
            again = _measured(metric, network, batch_size, chunk_steps)[8]
            assert again.keys() == whole.keys() and all(np.isclose(again[name], whole[name]) for name in whole), (
                f"a metric depends on the batches, the chunks, or an earlier evaluation: {whole}, then {again}"
            )
        alone = _measured(metric, network, batch_size=8, chunk_steps=2, n_steps=4)[4]
        both = _measured(metric, network, batch_size=8, chunk_steps=2, durations=[4, 8])
    except UserError as error:
        raise AssertionError(str(error)) from error
    assert both[4] == alone and both[8].keys() == whole.keys(), "a metric's copy for a shorter duration is not its own"
    return whole


def _measured(
    metric: protocols.Metric,
    network: SpikingNetwork,
    batch_size: int,
    chunk_steps: int,
    n_steps: int = 8,
    durations: Sequence[int] = (),
) -> dict[int, dict[str, float]]:
    """Return a metric's values for random spikes of eight images, by duration."""
    durations = durations or [n_steps]
    settings: Any = SimulationSettings(n_steps=durations[-1])
    measurements = Measurements([metric], network, settings, durations)
    chunk_steps = 1 if measurements.every_step else chunk_steps
    rng = np.random.default_rng(0)
    spikes = {layer.name: rng.poisson(0.2, (8, 8, layer.size)) for layer in network.layers}
    outputs, labels = rng.normal(size=(8, 8, SPEC.n_classes)).astype(np.float32), rng.integers(0, SPEC.n_classes, 8)
    batches = []
    for first in range(0, 8, batch_size):
        ids = range(first, min(first + batch_size, 8))
        rows = slice(ids.start, ids.stop)
        chunks = []
        for step in range(0, durations[-1], chunk_steps):
            steps = slice(step, min(step + chunk_steps, durations[-1]))
            layers = {
                name: LayerActivity(s[rows, steps].sum(axis=1).astype(np.float32), _events(s[rows, steps], first, step))
                for name, s in spikes.items()
            }
            chunks.append(SimulationChunk(step, outputs[rows, steps], layers, np.abs(outputs[rows, steps]).round()))
        events = {name: SpikeEvents.concatenate([chunk.layers[name].events for chunk in chunks]) for name in spikes}
        scores = outputs[rows, : durations[-1]].astype(np.float64)
        batches.append(SimulatedBatch(ids, labels[rows], labels[rows], scores, events, chunks))
    for batch in batches:
        measurements.prepare(batch)
    for batch in batches:
        measurements.add(batch)
    return {duration: measurements.values(duration) for duration in durations}


def _events(spikes_btn: np.ndarray, first_image: int, first_step: int) -> SpikeEvents:
    """Return counts of spikes as events."""
    image, step, neuron = np.nonzero(spikes_btn)
    fields = (image + first_image, step + first_step, neuron, spikes_btn[image, step, neuron])
    return SpikeEvents(*(field.astype(np.int32) for field in fields))


def _no_state() -> TrainingState:
    return TrainingState("contract", 1, 0, [], over=False, arrays={}, callbacks={})


def check_logger(logger: protocols.Logger, file: Path, status: protocols.Status = "FINISHED") -> Mapping[str, str]:
    """Check that a logger accepts the records of a run, and can be closed twice; return its address."""
    logger.start("contract", {"seed": 0, "model.filters": [1, 2], "name": None}, {"stage_reached": "fit"})
    assert isinstance(logger, protocols.Logger), "a logger lacks one of its methods"
    logger.log_dataset(SPEC)
    logger.log_metrics({"fit/loss": 0.5}, step=1)
    logger.log_metrics({"snn/test_accuracy": 0.9})
    logger.log_series("snn/accuracy_at_step", [0.1, 0.5, 0.9])
    logger.set_tag("stage_reached", "done")
    logger.log_artifact(file, "tables")
    with logger.shared_fit("contract") as earlier:
        assert earlier is None, "a logger has a training that nobody did"
    logger.finalize(status)
    logger.finalize(status)
    assert logger.address, "a logger has no address"
    return logger.address
