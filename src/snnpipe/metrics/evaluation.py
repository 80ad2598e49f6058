"""Everything that is counted while the test images are simulated, in memory that does not grow with them.

Axes: b = image of the batch, t = step, n = neuron, c = class.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from snnpipe.metrics.intervals import wilson_interval
from snnpipe.metrics.readout import ReadoutState, classes, latency_steps
from snnpipe.types import Readout, SimulationChunk, SpikingNetwork


@dataclass
class LayerTotals:
    """What one layer did over all images.

    Attributes
    ----------
    spikes_n
        Spikes of each neuron.
    synops
        Synapses that those spikes drove.
    """

    spikes_n: NDArray[np.float64]
    synops: float = 0.0


@dataclass
class Evaluation:
    """Counts right answers, agreement, spikes and synaptic operations.

    Parameters
    ----------
    network
        The network that is simulated.
    n_steps
        Steps that an image is shown.
    dt
        Seconds per step.
    readout, readout_steps
        As in `snnpipe.types.SimulationSettings`.
    """

    network: SpikingNetwork
    n_steps: int
    dt: float
    readout: Readout
    readout_steps: int
    images: int = 0
    ann_right: int = 0
    right_t: NDArray[np.int64] = field(init=False)
    agree_t: NDArray[np.int64] = field(init=False)
    layers: dict[str, LayerTotals] = field(init=False)

    def __post_init__(self) -> None:
        self.right_t = np.zeros(self.n_steps, np.int64)
        self.agree_t = np.zeros(self.n_steps, np.int64)
        self.layers = {layer.name: LayerTotals(np.zeros(layer.size)) for layer in self.network.layers}

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

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the run's schema, those per step apart."""
        images = max(self.images, 1)
        accuracy = float(self.accuracy_at_step[-1])
        low, high = wilson_interval(int(self.right_t[-1]), self.images)
        found = {
            "snn/test_accuracy": accuracy,
            "snn/accuracy_ci_low": low,
            "snn/accuracy_ci_high": high,
            "snn/agreement": float(self.agreement_at_step[-1]),
            "snn/accuracy_drop": self.ann_accuracy - accuracy,
            "snn/test_images": float(self.images),
        }
        if all(layer.fan_out_n is not None for layer in self.network.layers):
            synops = sum(layer.synops for layer in self.layers.values()) / images
            found["snn/synops_per_image"] = synops
            found["snn/first_layer_macs"] = float(self.network.first_layer_macs)
            if self.network.dense_macs:
                found["snn/synops_per_dense_mac"] = synops / self.network.dense_macs
        latency = latency_steps(list(self.accuracy_at_step), self.ann_accuracy, points=1)
        if latency is not None:
            found["snn/latency_ms_to_1pt"] = latency * self.dt * 1000
        return found | self._rates(images)

    def _rates(self, images: int) -> dict[str, float]:
        seconds = images * self.n_steps * self.dt
        found = {}
        rates = {name: layer.spikes_n / seconds for name, layer in self.layers.items()}
        for name, rate_n in rates.items():
            found[f"rate_hz/{name}"] = float(rate_n.mean())
            found[f"silent_fraction/{name}"] = float(np.mean(rate_n == 0))
            found[f"spikes_per_image/{name}"] = float(self.layers[name].spikes_n.sum() / images)
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
        """Count a chunk and return the class scores after each of its steps, shape ``(b, t, c)``."""
        scores = self.readout.scores(chunk)
        found = classes(scores)
        steps = slice(chunk.first_step, chunk.first_step + found.shape[1])
        self.total.right_t[steps] += np.sum(found == self.labels[:, None], axis=0)
        self.total.agree_t[steps] += np.sum(found == self.ann_classes[:, None], axis=0)
        for layer in self.total.network.layers:
            spikes_n = chunk.layers[layer.name].counts_bn.sum(axis=0, dtype=np.float64)
            totals = self.total.layers[layer.name]
            totals.spikes_n += spikes_n
            if layer.spiking and layer.fan_out_n is not None:
                totals.synops += float(spikes_n @ layer.fan_out_n)
        return scores
