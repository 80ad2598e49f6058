"""Counts that are made while the test images are simulated. Their memory hardly grows with the number of images.

Axes: b = image of the batch, t = step, n = neuron, c = class, d = duration.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError, SimulationError
from snnpipe.metrics.energy import OperationCounts, energy_metrics
from snnpipe.metrics.intervals import wilson_interval
from snnpipe.metrics.readout import ReadoutState, classes, latency_steps
from snnpipe.neurons.table import name_of, neuron_model
from snnpipe.settings.domains import Readout
from snnpipe.values.network import NeuronLayer, SpikingNetwork
from snnpipe.values.outcome import Outcome
from snnpipe.values.simulation import SimulationChunk


@dataclass
class LayerCounts:
    """Counts of one layer over some images.

    Attributes
    ----------
    spikes_dn
        Spikes of each neuron between the previous duration and each duration.
    synops_d
        Number of synapses that these spikes drove.
    """

    spikes_dn: NDArray[np.float64]
    synops_d: NDArray[np.float64]


@dataclass
class Counts:
    """Counts over some images.

    Attributes
    ----------
    images, ann_right
        Number of images, and number of images that the ANN classifies correctly.
    right_t, agree_t
        Number of images that the spiking network classifies correctly, and as the ANN does, after each step.
    ann_confusion_cc, snn_confusion_cc
        Confusion matrices of the ANN, and of the spiking network after the last step: number of images by true class
        and predicted class.
    between_cc
        Number of images by the ANN's class and the spiking network's class after the last step.
    layers
        Counts of each layer, by name.
    """

    images: int
    ann_right: int
    right_t: NDArray[np.int64]
    agree_t: NDArray[np.int64]
    ann_confusion_cc: NDArray[np.int64]
    snn_confusion_cc: NDArray[np.int64]
    between_cc: NDArray[np.int64]
    layers: dict[str, LayerCounts]

    @classmethod
    def none(cls, network: SpikingNetwork, durations: Sequence[int], n_classes: int) -> Self:
        """Return counts that are all 0."""
        right_t, agree_t = (np.zeros(durations[-1], np.int64) for _ in range(2))
        ann_cc, snn_cc, between_cc = (np.zeros((n_classes, n_classes), np.int64) for _ in range(3))
        n = len(durations)
        layers = {layer.name: LayerCounts(np.zeros((n, layer.size)), np.zeros(n)) for layer in network.layers}
        return cls(0, 0, right_t, agree_t, ann_cc, snn_cc, between_cc, layers)

    def add(self, other: "Counts") -> None:
        """Add the counts of other images."""
        self.images += other.images
        self.ann_right += other.ann_right
        for name in ("right_t", "agree_t", "ann_confusion_cc", "snn_confusion_cc", "between_cc"):
            getattr(self, name)[...] += getattr(other, name)
        for name, layer in self.layers.items():
            layer.spikes_dn += other.layers[name].spikes_dn
            layer.synops_d += other.layers[name].synops_d


@dataclass
class Evaluation:
    """Counts correct classifications, agreement with the ANN, spikes and synaptic operations.

    Parameters
    ----------
    network
        Network that is simulated.
    durations
        Numbers of steps that an image is shown, in ascending order. One simulation of the longest duration gives the
        metrics of all; its chunks must end at each duration.
    dt
        Seconds per step.
    readout, readout_steps
        As in `snnpipe.values.simulation.SimulationSettings`.
    n_classes
        Number of labels.
    constant_input
        Whether an image is the same at every step.
    """

    network: SpikingNetwork
    durations: Sequence[int]
    dt: float
    readout: Readout
    readout_steps: int | None
    n_classes: int
    constant_input: bool = True
    counts: Counts = field(init=False)
    _classes: list[NDArray[np.int64]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.counts = Counts.none(self.network, self.durations, self.n_classes)

    def batch(self, labels: NDArray[np.int64], ann_classes: NDArray[np.int64]) -> "BatchEvaluation":
        """Begin a batch with the given true classes and ANN classes.

        Raises
        ------
        DataError
            If the true classes or the ANN's are not one class per image, shape ``(b,)``.
        """
        if np.ndim(labels) != 1 or np.shape(labels) != np.shape(ann_classes):
            raise DataError(
                f"labels of shape {np.shape(labels)} beside the ANN's classes of shape {np.shape(ann_classes)}: both "
                "must be one class per sample, of shape (b,)"
            )
        return BatchEvaluation(self, labels, ann_classes, ReadoutState(self.readout, self.readout_steps))

    def add(self, batch: "BatchEvaluation") -> None:
        """Add the counts of a batch that has been simulated to the end. A batch that is broken off is not added."""
        self.counts.add(batch.counts)
        self._classes.append(np.stack([batch.labels, batch.ann_classes, batch.snn_classes]))

    # ------------------------------------------------------------------ results

    @property
    def images(self) -> int:
        """Number of images that have been simulated."""
        return self.counts.images

    @property
    def accuracy_at_step(self) -> NDArray[np.float64]:
        """Share of images that are classified correctly after each step."""
        return self.counts.right_t / max(self.images, 1)

    @property
    def agreement_at_step(self) -> NDArray[np.float64]:
        """Share of images that get the same class as from the ANN, after each step."""
        return self.counts.agree_t / max(self.images, 1)

    @property
    def ann_accuracy(self) -> float:
        """The ANN's accuracy on the images that were simulated."""
        return self.counts.ann_right / max(self.images, 1)

    @property
    def classes(self) -> NDArray[np.int64]:
        """Each image's true class, ANN class and spiking network's class after the last step, shape ``(3, i)``."""
        return np.concatenate(self._classes, axis=1) if self._classes else np.empty((3, 0), np.int64)

    def metrics(self, n_steps: int | None = None) -> dict[str, float]:
        """Return the metrics after one of the durations (None: the longest), without the step-by-step ones."""
        n_steps = n_steps or self.durations[-1]
        until = self.durations.index(n_steps) + 1
        images = max(self.images, 1)
        accuracy = float(self.accuracy_at_step[n_steps - 1])
        low, high = wilson_interval(int(self.counts.right_t[n_steps - 1]), self.images)
        metrics = {
            "snn/test_accuracy": accuracy,
            "snn/accuracy_ci_low": low,
            "snn/accuracy_ci_high": high,
            "snn/agreement": float(self.agreement_at_step[n_steps - 1]),
            "snn/accuracy_drop": self.ann_accuracy - accuracy,
            "snn/test_images": float(self.images),
        }
        metrics |= self._operations(images, n_steps, until)
        if counts := OperationCounts.of(metrics):
            metrics |= energy_metrics(counts)
        latency = latency_steps(list(self.accuracy_at_step[:n_steps]), self.ann_accuracy, points=1)
        if latency is not None:
            metrics["snn/latency_ms_to_1pt"] = float(f"{latency * self.dt * 1000:.9g}")
        return metrics | self._rates(images, n_steps, until)

    def outcome(self) -> Outcome:
        """Return the results after the last step, which the pictures of a run show."""
        seconds = max(self.images, 1) * self.durations[-1] * self.dt
        return Outcome(
            self.images,
            self.dt,
            self.ann_accuracy,
            self.accuracy_at_step,
            self.agreement_at_step,
            self.counts.ann_confusion_cc,
            self.counts.snn_confusion_cc,
            self.counts.between_cc,
            {name: layer.spikes_dn.sum(axis=0) / seconds for name, layer in self.counts.layers.items()},
            self.classes,
        )

    def _operations(self, images: int, n_steps: int, until: int) -> dict[str, float]:
        network = self.network
        neurons = sum(layer.size for layer in network.layers)
        metrics = {"snn/neuron_updates_per_image": float(neurons * n_steps), "ann/activations": float(neurons)}
        if network.no_synops:
            return metrics
        synops = sum(float(layer.synops_d[:until].sum()) for layer in self.counts.layers.values()) / images
        every_step = network.first_layer_macs * n_steps
        metrics["snn/synops_per_image"] = synops
        metrics["snn/first_layer_macs"] = float(network.first_layer_macs if self.constant_input else every_step)
        metrics["snn/first_layer_macs_every_step"] = float(every_step)
        if network.dense_macs:
            metrics["ann/dense_macs"] = float(network.dense_macs)
            metrics["snn/synops_per_dense_mac"] = synops / network.dense_macs
        return metrics

    def _rates(self, images: int, n_steps: int, until: int) -> dict[str, float]:
        seconds = images * n_steps * self.dt
        metrics = {}
        spikes = {name: layer.spikes_dn[:until].sum(axis=0) for name, layer in self.counts.layers.items()}
        rates = {name: spikes_n / seconds for name, spikes_n in spikes.items()}
        for name, rate_n in rates.items():
            metrics[f"rate_hz/{name}"] = float(rate_n.mean())
            metrics[f"silent_fraction/{name}"] = float(np.mean(rate_n == 0))
            metrics[f"spikes_per_image/{name}"] = float(spikes[name].sum() / images)
        if spiking := [layer.name for layer in self.network.layers if layer.spiking]:
            metrics["snn/spikes_per_image"] = sum(metrics[f"spikes_per_image/{name}"] for name in spiking)
        if rates:
            together = np.concatenate(list(rates.values()))
            metrics["snn/mean_rate_hz"] = float(together.mean())
            metrics["snn/max_rate_hz"] = float(together.max())
        return metrics


@dataclass
class BatchEvaluation:
    """The counts of one batch. It takes the chunks of the batch's simulation in order."""

    total: Evaluation
    labels: NDArray[np.int64]
    ann_classes: NDArray[np.int64]
    readout: ReadoutState
    counts: Counts = field(init=False)
    snn_classes: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        total = self.total
        self.counts = Counts.none(total.network, total.durations, total.n_classes)
        self.counts.images = len(self.labels)
        self.counts.ann_right = int(np.sum(self.labels == self.ann_classes))

    def add(self, chunk: SimulationChunk) -> NDArray[np.float64]:
        """Count a chunk and return the class scores after each of its steps, shape ``(b, t, c)``.

        Raises
        ------
        SimulationError
            If the chunk continues past the end of the duration that it began in, or has outputs or spikes that are
            infinite or not numbers, or more spikes than the neurons can have.
        """
        scores = self.readout.scores(chunk)
        classes_bt = classes(scores)
        steps = slice(chunk.first_step, chunk.first_step + classes_bt.shape[1])
        duration = bisect_right(self.total.durations, chunk.first_step)
        if steps.stop > self.total.durations[duration]:
            raise SimulationError(
                f"the simulator gave steps {steps.start} to {steps.stop} in one chunk, and step "
                f"{self.total.durations[duration]} must end one: it ignores simulator.chunk_steps"
            )
        if not np.isfinite(np.sum(chunk.outputs_btc, dtype=np.float64)):
            raise SimulationError(
                f"the simulator gave outputs that are infinite or no numbers, in steps {steps.start} to "
                f"{steps.stop - 1}: their classes would mean nothing"
            )
        self.counts.right_t[steps] += np.sum(classes_bt == self.labels[:, None], axis=0)
        self.counts.agree_t[steps] += np.sum(classes_bt == self.ann_classes[:, None], axis=0)
        for layer in self.total.network.layers:
            spikes_n = self._counted(layer, chunk.layers[layer.name].counts_bn, steps)
            counts = self.counts.layers[layer.name]
            counts.spikes_dn[duration] += spikes_n
            if layer.fan_out_n is not None:
                counts.synops_d[duration] += float(spikes_n @ layer.fan_out_n)
        if steps.stop == self.total.durations[-1]:
            self.snn_classes = classes_bt[:, -1]
            self._count_classes()
        return scores

    def _counted(self, layer: NeuronLayer, counts_bn: NDArray[np.float32], steps: slice) -> NDArray[np.float64]:
        """Return each neuron's spikes, summed over all images.

        Raises
        ------
        SimulationError
            If they are infinite or not numbers, or more than the neurons can have.
        """
        spikes_n: NDArray[np.float64] = counts_bn.sum(axis=0, dtype=np.float64)
        kind, n_steps = name_of(layer.neuron_type), steps.stop - steps.start
        where = f"layer {layer.name!r} ({kind}), steps {steps.start} to {steps.stop - 1}"
        if not np.isfinite(np.sum(spikes_n)):
            raise SimulationError(
                f"{where}: its spikes are infinite or no numbers: mend the step of {kind}, or what it gets"
            )
        most = neuron_model(layer.neuron_type).most_spikes(layer.neuron_type, self.total.dt) if layer.spiking else inf
        if most < inf and counts_bn.max(initial=0) > most * n_steps:
            raise SimulationError(
                f"{where}: a neuron has {counts_bn.max():g} spikes, and its type says at most {most:g} a step: its "
                "step in TensorFlow gives a number of spikes, and not amplitude / dt, or most_spikes is wrong"
            )
        return spikes_n

    def _count_classes(self) -> None:
        """Add the classes after the last step to the confusion matrices."""
        counts, snn_classes = self.counts, self.snn_classes
        np.add.at(counts.ann_confusion_cc, (self.labels, self.ann_classes), 1)
        np.add.at(counts.snn_confusion_cc, (self.labels, snn_classes), 1)
        np.add.at(counts.between_cc, (self.ann_classes, snn_classes), 1)
