"""The diagnosis of a run: it simulates a sample of the test images and draws conclusions from the results.

Axes: b = image of the sample, n = neuron.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.diagnosis.hybrids import with_rates
from snnpipe.diagnosis.measures import LayerMeter, loss_p_value
from snnpipe.diagnosis.rectified import RectifiedMeter, measurable
from snnpipe.diagnosis.sample import Sample, sample_of, settings_of
from snnpipe.diagnosis.search import Searcher, Trial
from snnpipe.diagnosis.situation import Candidate, Situation
from snnpipe.diagnosis.suggestions import calmer, trainings
from snnpipe.diagnosis.wording import measured
from snnpipe.encoders import ConstantEncoder
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.passes import SpikingPass
from snnpipe.neurons.table import rate_version
from snnpipe.protocols import Simulator
from snnpipe.values.calibration import CalibrationOutcome
from snnpipe.values.diagnosis import Diagnosis, LayerDiagnosis, Loss, Suggestion, Tried
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import SignalEncoder, SimulationChunk, Stimulus

if TYPE_CHECKING:
    import tf_keras

BEYOND_NOISE = 0.01
"""A loss with a lower p-value counts as real, and not as an accident of the sample."""


def diagnose(
    images: SpikingPass,
    model: "tf_keras.Model | NativeNetwork",
    parts: Mapping[str, Any],
    wanted: int,
    busiest: Mapping[str, float] | None = None,
    calibration: CalibrationOutcome | None = None,
) -> Diagnosis:
    """Return where a conversion lost accuracy, and what to try.

    Parameters
    ----------
    images
        The run's test images, network, simulator, encoder and seed.
    model
        The ANN.
    parts
        The run's parts by config group. Suggestions are changes of these parts.
    wanted
        Largest number of test images to take, from the first one on.
    busiest
        Spikes per step of each layer's busiest neuron, averaged over the run's images.
    calibration
        Origin of the scales, if they were taken from data; suggestions then keep them so.
    """
    began = time.perf_counter()
    network, encoder = images.network, images.encoder.seeded(images.seed)
    simulator = images.simulator.with_settings(batch_size=images.at_once)
    sample = sample_of(images, model, wanted)
    steps, notes = _rate_networks(sample, network, simulator, encoder)
    simulated = time.perf_counter()
    layers, right, spikes = _spiking_network(sample, network, simulator, encoder)
    took = time.perf_counter() - simulated
    losses = _losses(sample.ann_right, [*steps, *_hybrids(sample, network, simulator, encoder, right)]) if steps else []
    bad = _beyond_noise(losses)
    situation = Situation(parts, model, settings_of(simulator), network.layers, layers, bad, calibration)

    def measure(other: SpikingNetwork, with_parts: Mapping[str, Any]) -> list[LayerDiagnosis]:
        return _spiking_network(sample, other, with_parts["simulator"], with_parts["encoder"].seeded(images.seed))[0]

    base = Trial(Candidate(""), right, spikes, simulator.n_steps, 0.0)
    searcher = Searcher(sample, parts, model, images.seed, network, base, measure, took)
    suggestions: list[Suggestion] = []
    tried: Tried | None = None
    if bad:
        suggestions, tried = searcher.search(situation, list(trainings(situation)))
    return Diagnosis(
        images=len(sample.labels),
        ann_accuracy=float(sample.ann_right.mean()),
        accuracy=float(right.mean()),
        losses=tuple(loss for loss, _ in losses),
        layers=tuple(layers),
        first_bad=bad[0] if bad else None,
        suggestions=tuple(suggestions),
        notes=tuple(notes),
        calmer=searcher.unharmed(calmer(situation, busiest or {})),
        seconds=time.perf_counter() - began,
        measured=measured(situation) if bad else "",
        tried=tried,
    )


# ---------------------------------------------------------------------- from the ANN to spikes, step by step


@dataclass(frozen=True, eq=False)
class _Step:
    source: str
    is_layer: bool
    right: NDArray[np.bool_]


def _rate_networks(
    sample: Sample, network: SpikingNetwork, simulator: Simulator, encoder: SignalEncoder
) -> tuple[list[_Step], list[str]]:
    """Return the steps between the ANN and the first spike, and notes on why there are none.

    A layer gets its neurons' rates as activations where the ANN's activations are not known.
    """
    without = [layer for layer in network.layers if rate_version(layer.neuron_type, simulator.dt) is None]
    if without:
        kind = type(without[0].neuron_type).__name__
        return [], [f"layer {without[0].name!r}: {kind} neurons have no rate version here to compare their spikes with"]
    rates = {layer.name for layer in network.layers}
    with with_rates(network, rates, simulator.dt, filters=False) as plain:
        units = {layer.name: layer.spike_unit(simulator.dt) for layer in plain.layers}

        def keep(batch: int, chunk: SimulationChunk) -> None:
            for name, activity in chunk.layers.items():
                sample.activations[batch].setdefault(name, activity.net_bn * np.float32(units[name]))

        once = simulator.with_settings(n_steps=1)
        steps = [_Step("rate neurons", False, sample.right(plain, once, ConstantEncoder(), keep))]
    with with_rates(network, rates, simulator.dt) as filtered:
        steps.append(_Step("filters", False, sample.right(filtered, simulator, ConstantEncoder())))
        if not encoder.constant:
            steps.append(_Step("input", False, sample.right(filtered, simulator, encoder)))
    return steps, []


def _spiking_network(
    sample: Sample, network: SpikingNetwork, simulator: Simulator, encoder: SignalEncoder
) -> tuple[list[LayerDiagnosis], NDArray[np.bool_], float]:
    """Return the layers' figures, whether each image is right, and the spikes per image."""
    n = len(sample.labels)
    meters = {layer.name: LayerMeter(layer, simulator.n_steps, simulator.dt, n) for layer in network.layers}
    rectified = RectifiedMeter(network, simulator.n_steps, simulator.dt) if measurable(network) else None

    def measure(batch: int, chunk: SimulationChunk) -> None:
        for name, meter in meters.items():
            if not chunk.first_step:
                meter.begin(len(sample.batches[batch][0]), sample.activations[batch].get(name))
            meter.add(chunk.layers[name], chunk.outputs_btc.shape[1])
            if chunk.first_step + chunk.outputs_btc.shape[1] == simulator.n_steps:
                meter.end()
        if rectified is not None:
            if not chunk.first_step:
                ids, images = sample.batches[batch]
                rectified.begin(Stimulus(images, ids, encoder))
            rectified.add(chunk)

    stepwise = simulator.with_settings(chunk_steps=1)
    right = sample.right(network, stepwise, encoder, measure)
    excess = rectified.excess() if rectified is not None else {}
    figures = [replace(meter.result(), rectified_excess=excess.get(name)) for name, meter in meters.items()]
    seconds = simulator.n_steps * simulator.dt
    spiking = {layer.name for layer in network.layers if layer.spiking}
    return figures, right, sum(d.rate_hz * seconds * d.neurons for d in figures if d.name in spiking)


def _hybrids(
    sample: Sample,
    network: SpikingNetwork,
    simulator: Simulator,
    encoder: SignalEncoder,
    right: NDArray[np.bool_],
) -> Iterator[_Step]:
    """Yield networks that each have one more spiking layer. ``right`` is the result of the last one."""
    spiking = [layer.name for layer in network.layers if layer.spiking]
    for i, name in enumerate(spiking):
        if i == len(spiking) - 1:
            yield _Step(name, True, right)
        else:
            with with_rates(network, spiking[i + 1 :], simulator.dt) as hybrid:
                yield _Step(name, True, sample.right(hybrid, simulator, encoder))


def _losses(ann_right: NDArray[np.bool_], steps: Sequence[_Step]) -> list[tuple[Loss, float]]:
    """Return the loss of each step, with the p-value of the accumulated loss up to and including that step."""
    losses, before = [], ann_right
    for step in steps:
        points = 100 * float(before.mean() - step.right.mean())
        p_value = loss_p_value(before, step.right)
        loss = Loss(step.source, step.is_layer, float(step.right.mean()), points, p_value)
        losses.append((loss, loss_p_value(ann_right, step.right)))
        before = step.right
    return losses


def _beyond_noise(losses: Sequence[tuple[Loss, float]]) -> list[Loss]:
    """Return the losses beyond sampling noise; if no single loss is, the first whose accumulated loss is."""
    alone = [loss for loss, _ in losses if loss.p_value < BEYOND_NOISE]
    together = [loss for loss, until_then in losses if until_then < BEYOND_NOISE]
    return alone or together[:1]
