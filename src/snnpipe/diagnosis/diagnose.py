"""A diagnosis of a run: the simulations of a sample of test images, and what follows from them.

Axes: b = image of the sample, n = neuron.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.compat import import_tf_keras
from snnpipe.diagnosis.hybrids import rate_version, with_rates
from snnpipe.diagnosis.measures import LayerMeter, loss_p_value
from snnpipe.diagnosis.suggestions import Candidate, Situation, candidates
from snnpipe.diagnosis.values import Diagnosis, LayerDiagnosis, Loss, Suggestion
from snnpipe.encoders import ConstantEncoder
from snnpipe.errors import SimulationError, UserError
from snnpipe.keras_graph import functional
from snnpipe.metrics.readout import ReadoutState, classes
from snnpipe.native import NativeNetwork
from snnpipe.passes import TestPass
from snnpipe.protocols import OpenSimulator, Simulator
from snnpipe.simulators.auto import AutoSimulator
from snnpipe.simulators.neurons import spike_unit
from snnpipe.types import ImageEncoder, SimulationChunk, SimulationSettings, SpikingNetwork, Stimulus

if TYPE_CHECKING:
    import tf_keras

BEYOND_NOISE = 0.01
"""A loss with a lower p-value is no accident of the sample."""

HELPS = 0.05
"""Nor is a gain, of what was tried."""

_MOST_SUGGESTED = 3

_Watch = Callable[[int, SimulationChunk], None]
"""Is told each chunk, and the number of its batch."""


def diagnose(
    images: TestPass, model: "tf_keras.Model | NativeNetwork", parts: Mapping[str, Any], wanted: int
) -> Diagnosis:
    """Return where a conversion lost accuracy, and what to try.

    Parameters
    ----------
    images
        The run's test images, network, simulator, encoder and seed.
    model
        The ANN.
    parts
        The run's parts by config group: suggestions are changes of them.
    wanted
        How many of the first test images to take, if there are so many.
    """
    began = time.perf_counter()
    network, encoder = images.network, images.encoder.seeded(images.seed)
    simulator = replace(images.simulator, batch_size=images.at_once)  # type: ignore[type-var]  # a dataclass
    sample = _sample(images, model, wanted)
    steps, notes = _rate_networks(sample, network, simulator, encoder)
    layers, right, spikes = _spiking_network(sample, network, simulator, encoder)
    losses = _losses(sample.ann_right, [*steps, *_hybrids(sample, network, simulator, encoder, right)]) if steps else []
    bad = _beyond_noise(losses)
    suggestions: list[Suggestion] = []
    if bad:
        situation = Situation(parts, model, _settings(simulator), network.layers, layers, bad)
        trial = _Trial(sample, parts, model, images.seed, network)
        suggestions = _suggestions(list(candidates(situation)), trial, right, spikes)
    return Diagnosis(
        images=len(sample.labels),
        ann_accuracy=float(sample.ann_right.mean()),
        accuracy=float(right.mean()),
        losses=tuple(loss for loss, _ in losses),
        layers=tuple(layers),
        first_bad=bad[0] if bad else None,
        suggestions=tuple(suggestions),
        notes=tuple(notes),
        seconds=time.perf_counter() - began,
    )


# ---------------------------------------------------------------------- the sample


@dataclass(frozen=True, eq=False)
class _Sample:
    """Some test images, batch by batch; which of them the ANN has right, and its activations by layer."""

    batches: list[tuple[range, NDArray[np.float32]]]
    labels: NDArray[np.int64]
    ann_right: NDArray[np.bool_]
    activations: list[dict[str, NDArray[np.float32]]]

    def right(
        self,
        network: SpikingNetwork,
        simulator: Simulator,
        encoder: ImageEncoder,
        watch: _Watch | None = None,
    ) -> NDArray[np.bool_]:
        """Return which images a network has right after the last step, shape ``(b,)``."""
        found = []
        with _opened(simulator, network, encoder.constant) as opened:
            for i, (ids, images) in enumerate(self.batches):
                readout = ReadoutState(simulator.readout, simulator.readout_steps)
                for chunk in opened.run(Stimulus(images, ids, encoder)):
                    scores = readout.scores(chunk)
                    if watch is not None:
                        watch(i, chunk)
                found.append(classes(scores[:, -1]))
        return np.asarray(np.concatenate(found) == self.labels)


def _sample(images: TestPass, model: "tf_keras.Model | NativeNetwork", wanted: int) -> _Sample:
    n = min(wanted, images.n_images)
    batches, labels, found, activations = [], [], [], []
    predict = _activations(model, images.network)
    for ids, of_batch, their_labels in images.batches(min(images.at_once, n), n):
        batches.append((ids, of_batch))
        labels.append(their_labels)
        found.append(np.argmax(model.predict_on_batch(of_batch), axis=-1))
        activations.append(predict(of_batch))
    together = np.concatenate(labels)
    return _Sample(batches, together, np.concatenate(found) == together, activations)


def _activations(
    model: "tf_keras.Model | NativeNetwork", network: SpikingNetwork
) -> Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Return what gives the ANN's activations, shape ``(b, n)``, of those of a network's layers that are in it."""
    if isinstance(model, NativeNetwork):
        return lambda images: {}
    graph = functional(model)
    there = {layer.name: layer for layer in graph.layers}
    names = [own.name for own in network.layers if own.name in there]
    if not names:
        return lambda images: {}
    inner = import_tf_keras().Model(graph.inputs, [there[name].output for name in names])

    def predict(images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        found = inner.predict_on_batch(images)
        found = found if len(names) > 1 else [found]
        return {name: values.reshape(len(images), -1) for name, values in zip(names, found, strict=True)}

    return predict


@contextmanager
def _opened(simulator: Simulator, network: SpikingNetwork, constant: bool) -> Iterator[OpenSimulator]:
    """Open a network; where the run's simulator does not take a hybrid, one that takes every network does."""
    try:
        opened = simulator.open(network, constant)
    except SimulationError:
        settings = _settings(simulator)
        opened = AutoSimulator(**{f.name: getattr(settings, f.name) for f in fields(settings)}).open(network, constant)
    with opened:
        yield opened


def _settings(simulator: Simulator) -> SimulationSettings:
    return SimulationSettings(**{f.name: getattr(simulator, f.name) for f in fields(SimulationSettings)})


# ---------------------------------------------------------------------- from the ANN to spikes, step by step


@dataclass(frozen=True, eq=False)
class _Step:
    source: str
    is_layer: bool
    right: NDArray[np.bool_]


def _rate_networks(
    sample: _Sample, network: SpikingNetwork, simulator: Simulator, encoder: ImageEncoder
) -> tuple[list[_Step], list[str]]:
    """Return what stands between the ANN and the first spike, and notes where that cannot be told.

    What the ANN's activations of a layer are not known of gets its neurons' rates instead.
    """
    without = [layer for layer in network.layers if rate_version(layer.neuron_type) is None]
    if without:
        kind = type(without[0].neuron_type).__name__
        return [], [f"layer {without[0].name!r}: {kind} neurons have no rate version here to compare their spikes with"]
    rates = {layer.name for layer in network.layers}
    with with_rates(network, rates, filters=False) as plain:
        units = {layer.name: spike_unit(layer, simulator.dt) for layer in plain.layers}

        def keep(batch: int, chunk: SimulationChunk) -> None:
            for name, activity in chunk.layers.items():
                sample.activations[batch].setdefault(name, activity.counts_bn * np.float32(units[name]))

        once: Simulator = replace(simulator, n_steps=1)  # type: ignore[type-var]  # a dataclass
        found = [_Step("rate neurons", False, sample.right(plain, once, ConstantEncoder(), keep))]
    with with_rates(network, rates) as filtered:
        found.append(_Step("filters", False, sample.right(filtered, simulator, ConstantEncoder())))
        if not encoder.constant:
            found.append(_Step("input", False, sample.right(filtered, simulator, encoder)))
    return found, []


def _spiking_network(
    sample: _Sample, network: SpikingNetwork, simulator: Simulator, encoder: ImageEncoder
) -> tuple[list[LayerDiagnosis], NDArray[np.bool_], float]:
    """Return the layers' figures, which images are right, and spikes per image."""
    n = len(sample.labels)
    meters = {layer.name: LayerMeter(layer, simulator.n_steps, simulator.dt, n) for layer in network.layers}

    def measure(batch: int, chunk: SimulationChunk) -> None:
        for name, meter in meters.items():
            if not chunk.first_step:
                meter.begin(len(sample.batches[batch][0]), sample.activations[batch].get(name))
            meter.add(chunk.layers[name].counts_bn, chunk.outputs_btc.shape[1])
            if chunk.first_step + chunk.outputs_btc.shape[1] == simulator.n_steps:
                meter.end()

    stepwise: Simulator = replace(simulator, chunk_steps=1)  # type: ignore[type-var]  # a dataclass
    right = sample.right(network, stepwise, encoder, measure)
    found = [meter.result() for meter in meters.values()]
    seconds = simulator.n_steps * simulator.dt
    spiking = {layer.name for layer in network.layers if layer.spiking}
    return found, right, sum(d.rate_hz * seconds * d.neurons for d in found if d.name in spiking)


def _hybrids(
    sample: _Sample,
    network: SpikingNetwork,
    simulator: Simulator,
    encoder: ImageEncoder,
    right: NDArray[np.bool_],
) -> Iterator[_Step]:
    """Yield networks in which one more layer spikes; ``right`` is of the last one."""
    spiking = [layer.name for layer in network.layers if layer.spiking]
    for i, name in enumerate(spiking):
        if i == len(spiking) - 1:
            yield _Step(name, True, right)
        else:
            with with_rates(network, spiking[i + 1 :]) as hybrid:
                yield _Step(name, True, sample.right(hybrid, simulator, encoder))


def _losses(ann_right: NDArray[np.bool_], steps: Sequence[_Step]) -> list[tuple[Loss, float]]:
    """Return what each step costs, and the p-value of everything lost until then."""
    found, before = [], ann_right
    for step in steps:
        points = 100 * float(before.mean() - step.right.mean())
        p_value = loss_p_value(before, step.right)
        loss = Loss(step.source, step.is_layer, float(step.right.mean()), points, p_value)
        found.append((loss, loss_p_value(ann_right, step.right)))
        before = step.right
    return found


def _beyond_noise(losses: Sequence[tuple[Loss, float]]) -> list[Loss]:
    """Return the losses beyond sampling noise; where there is none, that by which they add up to it."""
    alone = [loss for loss, _ in losses if loss.p_value < BEYOND_NOISE]
    together = [loss for loss, until_then in losses if until_then < BEYOND_NOISE]
    return alone or together[:1]


# ---------------------------------------------------------------------- suggestions


@dataclass(frozen=True, eq=False)
class _Trial:
    """Tries changes of the run's parts on the sample."""

    sample: _Sample
    parts: Mapping[str, Any]
    model: "tf_keras.Model | NativeNetwork"
    seed: int
    network: SpikingNetwork

    def __call__(self, changes: Mapping[str, Any]) -> tuple[NDArray[np.bool_], float]:
        """Return which images are right, and spikes per image.

        Raises
        ------
        UserError
            If the parts do not take the changes.
        """
        parts = dict(self.parts)
        for key, value in changes.items():
            group, _, name = key.partition(".")
            parts[group] = replace(parts[group], **{name: value})
        network = self.network
        if parts["conversion"] is not self.parts["conversion"]:
            network = parts["conversion"].convert(self.model, self.seed)
        spiking = [layer.name for layer in network.layers if layer.spiking]
        spikes: list[float] = []

        def count(batch: int, chunk: SimulationChunk) -> None:
            spikes.extend(float(chunk.layers[name].counts_bn.sum(dtype=np.float64)) for name in spiking)

        right = self.sample.right(network, parts["simulator"], parts["encoder"].seeded(self.seed), count)
        return right, sum(spikes) / len(right)


def _suggestions(
    found: Sequence[Candidate], trial: _Trial, right: NDArray[np.bool_], spikes: float
) -> list[Suggestion]:
    """Return what helped on the sample, best first; the last place is for what would need another training."""
    helped = []
    for candidate in found:
        if not candidate.changes:
            continue
        try:
            then, their_spikes = trial(candidate.changes)
        except UserError:
            continue  # it does not go with the other settings
        if loss_p_value(then, right) < HELPS:
            expected = (
                f"{100 * right.mean():.1f} -> {100 * then.mean():.1f} % of {len(right)} images right, "
                f"{spikes:,.0f} -> {their_spikes:,.0f} spikes an image"
            )
            order = (-int(then.sum()), their_spikes)
            helped.append((order, Suggestion(candidate.override, candidate.reason, expected)))
    best = [suggestion for _, suggestion in sorted(helped, key=lambda pair: pair[0])]
    untried = [Suggestion(c.override, c.reason, "not tried: it trains anew") for c in found if not c.changes]
    return [*best[: _MOST_SUGGESTED - len(untried[:1])], *untried][:_MOST_SUGGESTED]
