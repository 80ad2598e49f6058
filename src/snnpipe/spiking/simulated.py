"""The simulation of samples in memory: predictions, recordings and evaluations of a converted network.

Axes: b = sample, t = step, n = neuron, c = class.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.bundle.converted import Converted
from snnpipe.frameworks.keras_graph import max_pooling_in
from snnpipe.metrics import evaluation as measured
from snnpipe.metrics.batches import in_batches, read_out
from snnpipe.metrics.passes import AnnPass, SpikingPass
from snnpipe.metrics.readout import ReadoutState, classes
from snnpipe.protocols import Simulator
from snnpipe.spiking.given import GivenData
from snnpipe.spiking.results import Evaluation, Predictions, Recording
from snnpipe.values.simulation import SimulationChunk


def predicted(converted: Converted, simulator: Simulator, samples: NDArray[np.float32]) -> Predictions:
    """Return the classes of samples, and when each was settled."""
    of_batches = []
    spiking = [layer.name for layer in converted.network.layers if layer.spiking]
    for readout, chunks in _batches(converted, simulator, samples):
        scores, spikes = [], []
        for chunk in chunks:
            scores.append(readout.scores(chunk))
            spikes.append(_spikes_of(chunk, spiking))
        scores_btc = np.concatenate(scores, axis=1)
        of_batches.append((classes(scores_btc), scores_btc[:, -1], np.sum(spikes, axis=0)))
    classes_bt, scores_bc, spikes_b = (np.concatenate(parts) for parts in zip(*of_batches, strict=True))
    names = converted.class_names
    return Predictions(classes_bt[:, -1], settled(classes_bt), spikes_b, scores_bc, names, simulator.dt)


def _spikes_of(chunk: SimulationChunk, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the number of spikes of some layers together, for each sample."""
    totals = [chunk.layers[name].counts_bn.sum(axis=1, dtype=np.float64) for name in names]
    return np.asarray(np.sum([np.zeros(len(chunk.outputs_btc)), *totals], axis=0))


def settled(classes_bt: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first step, from 1, after which each sample's class does not change any more, shape ``(b,)``."""
    other = classes_bt != classes_bt[:, -1:]
    last_other = classes_bt.shape[1] - np.argmax(other[:, ::-1], axis=1)
    return np.where(other.any(axis=1), last_other + 1, 1).astype(np.int64)


def recorded(
    converted: Converted, simulator: Simulator, samples: NDArray[np.float32], names: Sequence[str]
) -> Recording:
    """Return the outputs of samples over time, and the spikes of the layers with some names."""
    outputs: list[NDArray[np.float32]] = []
    scores: list[NDArray[np.float64]] = []
    spikes: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    stepwise = simulator.with_settings(chunk_steps=1) if names else simulator
    for readout, chunks in _batches(converted, stepwise, samples):
        steps = [
            (chunk.outputs_btc, readout.scores(chunk), [chunk.layers[n].net_bn for n in names]) for chunk in chunks
        ]
        outputs.append(np.concatenate([own for own, _, _ in steps], axis=1))
        scores.append(np.concatenate([own for _, own, _ in steps], axis=1))
        for i, name in enumerate(names):
            spikes[name].append(np.stack([own[i] for _, _, own in steps], axis=1))
    shapes = {layer.name: layer.shape for layer in converted.network.layers}
    by_layer = {
        name: np.concatenate(parts).reshape(len(samples), simulator.n_steps, *shapes[name])
        for name, parts in spikes.items()
    }
    return Recording(np.concatenate(outputs), np.concatenate(scores), by_layer, simulator.dt)


def evaluated(
    converted: Converted, simulator: Simulator, ann: Any, samples: NDArray[np.float32], labels: NDArray[np.int64]
) -> Evaluation:
    """Return the accuracy and the costs of a network on labelled samples, beside those of an ANN."""
    network, encoder, names = converted.network, converted.encoder, converted.class_names
    data = GivenData(samples, labels, names, simulator.batch_size)
    of_ann = AnnPass.of(ann, data)
    counted = measured.Evaluation(
        network,
        [simulator.n_steps],
        simulator.dt,
        simulator.readout,
        simulator.readout_steps,
        len(names),
        encoder.constant,
    )
    images = SpikingPass(data, simulator, encoder, converted.seed, network)
    with simulator.open(network, encoder.constant) as opened:
        for _ in images.simulate(opened, of_ann.classes, counted, sampled=0):
            pass
        used = opened.used
    return Evaluation(
        of_ann.metrics | counted.metrics(),
        counted.accuracy_at_step.tolist(),
        counted.agreement_at_step.tolist(),
        used,
        network.no_synops,
        () if network.keras_model is None else max_pooling_in(network.keras_model),
        counted.outcome(),
    )


def _batches(
    converted: Converted, simulator: Simulator, samples: NDArray[np.float32]
) -> Iterator[tuple[ReadoutState, Iterator[SimulationChunk]]]:
    """Yield the read-out and the chunks of each batch."""
    encoder = converted.signal
    with simulator.open(converted.network, encoder.constant) as opened:
        yield from read_out(opened, simulator, encoder, in_batches(samples, simulator.batch_size))
