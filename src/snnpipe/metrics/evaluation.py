"""Everything that is counted while the test images are simulated, in memory that does not grow with them.

Axes: b = image of the batch, t = step, n = neuron, c = class, d = duration.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from snnpipe.errors import SimulationError
from snnpipe.metrics.energy import OperationCounts, energy_metrics
from snnpipe.metrics.intervals import wilson_interval
from snnpipe.metrics.outcome import Outcome
from snnpipe.metrics.readout import ReadoutState, classes, latency_steps
from snnpipe.types import Readout, SimulationChunk, SpikingNetwork


@dataclass
class LayerTotals:
    """What one layer did over all images.

    Attributes
    ----------
    spikes_dn
        Spikes of each neuron from the duration before to each duration.
    synops_d
        Synapses that those spikes drove.
    """

    spikes_dn: NDArray[np.float64]
    synops_d: NDArray[np.float64]


@dataclass
class Evaluation:
    """Counts right answers, agreement, spikes and synaptic operations.

    Parameters
    ----------
    network
        The network that is simulated.
    durations
        Steps that an image is shown: one, or several in ascending order that are answered for by one simulation of the
        longest. A simulation's chunks end at each of them.
    dt
        Seconds per step.
    readout, readout_steps
        As in `snnpipe.types.SimulationSettings`.
    n_classes
        Number of labels.
    constant_input
        Whether an image is the same at every step.
    """

    network: SpikingNetwork
    durations: Sequence[int]
    dt: float
    readout: Readout
    readout_steps: int
    n_classes: int
    constant_input: bool = True
    images: int = 0
    ann_right: int = 0
    right_t: NDArray[np.int64] = field(init=False)
    agree_t: NDArray[np.int64] = field(init=False)
    layers: dict[str, LayerTotals] = field(init=False)
    ann_confusion_cc: NDArray[np.int64] = field(init=False)
    snn_confusion_cc: NDArray[np.int64] = field(init=False)
    between_cc: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.right_t = np.zeros(self.durations[-1], np.int64)
        self.agree_t = np.zeros(self.durations[-1], np.int64)
        for name in ("ann_confusion_cc", "snn_confusion_cc", "between_cc"):
            setattr(self, name, np.zeros((self.n_classes, self.n_classes), np.int64))
        durations = len(self.durations)
        self.layers = {
            layer.name: LayerTotals(np.zeros((durations, layer.size)), np.zeros(durations))
            for layer in self.network.layers
        }

    def batch(self, labels: NDArray[np.int64], ann_classes: NDArray[np.int64]) -> "BatchEvaluation":
        """Begin a batch, of which the true and the ANN's classes are known."""
        self.images += len(labels)
        self.ann_right += int(np.sum(labels == ann_classes))
        return BatchEvaluation(self, labels, ann_classes, ReadoutState(self.readout, self.readout_steps))

    # ------------------------------------------------------------------ results

    @property
    def accuracy_at_step(self) -> NDArray[np.float64]:
        """Share of images classified rightly after each step."""
        return self.right_t / max(self.images, 1)

    @property
    def agreement_at_step(self) -> NDArray[np.float64]:
        """Share of images on which the ANN gives the same class, after each step."""
        return self.agree_t / max(self.images, 1)

    @property
    def ann_accuracy(self) -> float:
        """The ANN's accuracy on the images that were simulated."""
        return self.ann_right / max(self.images, 1)

    def metrics(self, n_steps: int | None = None) -> dict[str, float]:
        """Return the metrics of the run's schema, those per step apart, after one of the durations (None: the last)."""
        n_steps = n_steps or self.durations[-1]
        until = self.durations.index(n_steps) + 1
        images = max(self.images, 1)
        accuracy = float(self.accuracy_at_step[n_steps - 1])
        low, high = wilson_interval(int(self.right_t[n_steps - 1]), self.images)
        found = {
            "snn/test_accuracy": accuracy,
            "snn/accuracy_ci_low": low,
            "snn/accuracy_ci_high": high,
            "snn/agreement": float(self.agreement_at_step[n_steps - 1]),
            "snn/accuracy_drop": self.ann_accuracy - accuracy,
            "snn/test_images": float(self.images),
        }
        found |= self._operations(images, n_steps, until)
        if counts := OperationCounts.of(found):
            found |= energy_metrics(counts)
        latency = latency_steps(list(self.accuracy_at_step[:n_steps]), self.ann_accuracy, points=1)
        if latency is not None:
            found["snn/latency_ms_to_1pt"] = latency * self.dt * 1000
        return found | self._rates(images, n_steps, until)

    def outcome(self) -> Outcome:
        """Return what the pictures of a run need, after the last step."""
        seconds = max(self.images, 1) * self.durations[-1] * self.dt
        return Outcome(
            self.images,
            self.dt,
            self.ann_accuracy,
            self.accuracy_at_step,
            self.agreement_at_step,
            self.ann_confusion_cc,
            self.snn_confusion_cc,
            self.between_cc,
            {name: layer.spikes_dn.sum(axis=0) / seconds for name, layer in self.layers.items()},
        )

    def _operations(self, images: int, n_steps: int, until: int) -> dict[str, float]:
        network = self.network
        neurons = sum(layer.size for layer in network.layers)
        found = {"snn/neuron_updates_per_image": float(neurons * n_steps), "ann/activations": float(neurons)}
        if not all(layer.spiking and layer.fan_out_n is not None for layer in network.layers):
            return found
        synops = sum(float(layer.synops_d[:until].sum()) for layer in self.layers.values()) / images
        every_step = network.first_layer_macs * n_steps
        found["snn/synops_per_image"] = synops
        found["snn/first_layer_macs"] = float(network.first_layer_macs if self.constant_input else every_step)
        found["snn/first_layer_macs_every_step"] = float(every_step)
        if network.dense_macs:
            found["ann/dense_macs"] = float(network.dense_macs)
            found["snn/synops_per_dense_mac"] = synops / network.dense_macs
        return found

    def _rates(self, images: int, n_steps: int, until: int) -> dict[str, float]:
        seconds = images * n_steps * self.dt
        found = {}
        spikes = {name: layer.spikes_dn[:until].sum(axis=0) for name, layer in self.layers.items()}
        rates = {name: spikes_n / seconds for name, spikes_n in spikes.items()}
        for name, rate_n in rates.items():
            found[f"rate_hz/{name}"] = float(rate_n.mean())
            found[f"silent_fraction/{name}"] = float(np.mean(rate_n == 0))
            found[f"spikes_per_image/{name}"] = float(spikes[name].sum() / images)
        if rates:
            together = np.concatenate(list(rates.values()))
            found["snn/mean_rate_hz"] = float(together.mean())
            found["snn/max_rate_hz"] = float(together.max())
        return found


@dataclass
class BatchEvaluation:
    """One batch of an evaluation: takes the chunks of its simulation in order."""

    total: Evaluation
    labels: NDArray[np.int64]
    ann_classes: NDArray[np.int64]
    readout: ReadoutState

    def add(self, chunk: SimulationChunk) -> NDArray[np.float64]:
        """Count a chunk and return the class scores after each of its steps, shape ``(b, t, c)``.

        Raises
        ------
        SimulationError
            If it goes on beyond the end of a duration that it began within.
        """
        scores = self.readout.scores(chunk)
        found = classes(scores)
        steps = slice(chunk.first_step, chunk.first_step + found.shape[1])
        duration = bisect_right(self.total.durations, chunk.first_step)
        if steps.stop > self.total.durations[duration]:
            raise SimulationError(
                f"the simulator gave steps {steps.start} to {steps.stop} in one chunk, and step "
                f"{self.total.durations[duration]} must end one: it does not heed simulator.chunk_steps"
            )
        self.total.right_t[steps] += np.sum(found == self.labels[:, None], axis=0)
        self.total.agree_t[steps] += np.sum(found == self.ann_classes[:, None], axis=0)
        if steps.stop == self.total.durations[-1]:
            self._count_classes(found[:, -1])
        for layer in self.total.network.layers:
            spikes_n = chunk.layers[layer.name].counts_bn.sum(axis=0, dtype=np.float64)
            totals = self.total.layers[layer.name]
            totals.spikes_dn[duration] += spikes_n
            if layer.fan_out_n is not None:
                totals.synops_d[duration] += float(spikes_n @ layer.fan_out_n)
        return scores

    def _count_classes(self, snn_classes: NDArray[np.int64]) -> None:
        """Count the classes after the last step."""
        total = self.total
        np.add.at(total.ann_confusion_cc, (self.labels, self.ann_classes), 1)
        np.add.at(total.snn_confusion_cc, (self.labels, snn_classes), 1)
        np.add.at(total.between_cc, (self.ann_classes, snn_classes), 1)
