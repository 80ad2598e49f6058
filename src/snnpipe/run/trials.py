"""Simulation of some samples for a calibration, and its result.

Axes: b = sample, n = neuron, c = class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.metrics.batches import in_batches, read_out
from snnpipe.metrics.readout import classes
from snnpipe.protocols import Simulator
from snnpipe.settings.domains import LEFT_OUT
from snnpipe.values.calibration import Tried
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import SignalEncoder

_LEAST_COST = 1e-3
"""Lowest share of the network's SynOps that a layer counts with when spikes are balanced."""


@dataclass(frozen=True, eq=False)
class Judges:
    """Samples that a trial is judged on, with their labels and the model's logits."""

    split: str
    samples: NDArray[np.float32]
    labels: NDArray[np.int64]
    logits: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trial:
    """The result of a trial.

    Attributes
    ----------
    tried
        The result as a run records it.
    costs
        SynOps per sample by layer. If synaptic operations cannot be counted, spikes stand for them.
    offsets
        Offsets of the biases that the network had, by layer.
    """

    tried: Tried
    costs: Mapping[str, float]
    offsets: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def balanced(self) -> dict[str, float]:
        """Factors on the spikes per step of layers: (1 / SynOps)^(1/3), for the same SynOps in all."""
        total = sum(self.costs.values())
        if not total:
            return dict.fromkeys(self.costs, 1.0)
        shares = {name: max(cost / total, _LEAST_COST) for name, cost in self.costs.items()}
        roots = {name: share ** (-1 / 3) for name, share in shares.items()}
        same = total / sum(self.costs[name] * root for name, root in roots.items())
        return {name: float(root * same) for name, root in roots.items()}


@dataclass(frozen=True, eq=False)
class Response:
    """What a network does with some samples.

    Attributes
    ----------
    scores_bc
        Class scores at the end.
    counts
        Spikes of each neuron in all samples and steps, by layer, shape ``(n,)``.
    outputs
        Mean output of each neuron over the samples and over the steps that the read-out averages, by layer, shape
        ``(n,)``.
    """

    scores_bc: NDArray[np.float64]
    counts: Mapping[str, NDArray[np.float64]]
    outputs: Mapping[str, NDArray[np.float64]]

    def trial(
        self, network: SpikingNetwork, judges: Judges, spikes: float, offsets: Mapping[str, list[float]]
    ) -> Trial:
        """Return the response as the result of a trial.

        Parameters
        ----------
        network
            The network.
        judges
            The samples.
        spikes
            Spikes per step of a layer's strongest activation.
        offsets
            Offsets of the network's biases.
        """
        n = len(judges.samples)
        costs = {
            layer.name: float(np.sum(self.counts[layer.name] * (1 if layer.fan_out_n is None else layer.fan_out_n))) / n
            for layer in network.layers
        }
        per_sample = sum(float(own.sum()) for own in self.counts.values()) / n
        ann, snn = (float(np.mean(classes(values) == judges.labels)) for values in (judges.logits, self.scores_bc))
        tried = Tried(spikes, per_sample, snn, 100 * (ann - snn), error(self.scores_bc, judges.logits))
        return Trial(tried, costs, offsets)


def respond(
    network: SpikingNetwork, simulator: Simulator, encoder: SignalEncoder, samples: NDArray[np.float32]
) -> Response:
    """Simulate samples in a network.

    Parameters
    ----------
    network
        The network.
    simulator
        Simulator whose settings are used. `AutoSimulator` runs the network.
    encoder
        Encoder of the samples.
    samples
        Samples, shape ``(b, ...)``.
    """
    from snnpipe.simulators.auto import AutoSimulator

    begin = _first_averaged(simulator)
    auto: Any = AutoSimulator(**_shared(simulator, begin, len(samples)))
    scores = []
    counts = {layer.name: np.zeros(layer.size) for layer in network.layers}
    sent = {layer.name: np.zeros(layer.size) for layer in network.layers}
    with auto.open(network, encoder.constant) as opened:
        for readout, chunks in read_out(opened, auto, encoder, in_batches(samples, auto.batch_size)):
            for chunk in chunks:
                last = readout.scores(chunk)[:, -1]
                for name, own in chunk.layers.items():
                    counts[name] += own.counts_bn.sum(axis=0, dtype=np.float64)
                    if chunk.first_step >= begin:
                        sent[name] += own.net_bn.sum(axis=0, dtype=np.float64)
            scores.append(last)
    pairs = len(samples) * (auto.n_steps - begin)
    outputs = {layer.name: sent[layer.name] * layer.spike_unit(auto.dt) / pairs for layer in network.layers}
    return Response(np.concatenate(scores), counts, outputs)


def error(scores_bc: NDArray[np.float64], logits_bc: NDArray[np.float64]) -> float:
    """Return the error of scores, relative to the logits. A factor and what all classes share do not count."""
    scores, logits = (values - values.mean(axis=1, keepdims=True) for values in (scores_bc, logits_bc))
    factor = float(np.sum(scores * logits) / max(np.sum(scores**2), 1e-30))
    return float(np.sqrt(np.sum((factor * scores - logits) ** 2) / max(np.sum(logits**2), 1e-30)))


def _first_averaged(simulator: Simulator) -> int:
    """Return the first step whose output counts for the mean of the neurons.

    It is the first step that the read-out averages. A read-out of the last step alone would leave too few spikes; the
    later half counts then.
    """
    n = simulator.n_steps
    if simulator.readout in ("auto", "mean") and simulator.readout_steps is not None:
        return max(n - simulator.readout_steps, 0)
    return int(LEFT_OUT.get(simulator.readout, 1 / 2 if simulator.readout == "last" else 0) * n)


def _shared(simulator: Any, begin: int, n: int) -> Mapping[str, Any]:
    """Return the settings of a simulator with chunks that do not contain both the step ``begin`` and the one before."""
    chunk_steps = gcd(begin, simulator.chunk_steps or 0) or None
    return {**simulator.shared, "verify_images": 0, "max_images": n, "chunk_steps": chunk_steps}
