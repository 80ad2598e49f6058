"""What a spiking network gives for samples, as plain values in memory.

Axes: b = sample, t = step, c = class.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snnpipe.metrics import catalogue as c
from snnpipe.metrics.energy import energy_texts
from snnpipe.metrics.formats import ann_accuracy
from snnpipe.values.outcome import Outcome

_SHOWN = 3


@dataclass(frozen=True, eq=False, repr=False)
class Predictions(Sequence[str]):
    """The classes that a spiking network gives, and the step at which each was settled.

    As a sequence, it has the name of each sample's class.

    Attributes
    ----------
    classes
        Class of each sample after the last step, shape ``(b,)``.
    settled_steps
        First step, from 1, after which the class does not change any more, shape ``(b,)``.
    spikes
        Number of spikes of the whole network for each sample, shape ``(b,)``.
    scores
        Class scores after the last step, shape ``(b, c)``.
    class_names
        Names of the classes.
    dt
        Seconds per step.
    """

    classes: NDArray[np.int64]
    settled_steps: NDArray[np.int64]
    spikes: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_names: tuple[str, ...]
    dt: float

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # an index or a slice, as for any sequence
        names = [self.class_names[own] for own in np.atleast_1d(self.classes[index])]
        return names if isinstance(index, slice) else names[0]

    @property
    def settled_ms(self) -> NDArray[np.float64]:
        """Simulated time until each sample's class was settled, ms."""
        return np.round(1000 * self.dt * self.settled_steps, 9)

    def __repr__(self) -> str:
        n = len(self)
        first = ", ".join(self[:_SHOWN]) + (", ..." if n > _SHOWN else "")
        return (
            f"Predictions of {n:,} sample{'s' * (n != 1)}: {first}\n"
            f"  settled after {self.settled_ms.mean():.3g} ms on average, {self.settled_ms.max():g} ms at most\n"
            f"  {self.spikes.mean():,.0f} spikes per sample"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """The outputs and spikes of a spiking network over time.

    Attributes
    ----------
    outputs
        Output of the network after each step, shape ``(b, t, c)``.
    scores
        Class scores after each step, which the read-out makes of the outputs, shape ``(b, t, c)``.
    spikes
        Number of spikes of each neuron in each step, with their signs, by layer, shape ``(b, t, *layer_shape)``. For
        rate neurons, it is the rate times the time step.
    dt
        Seconds per step.
    """

    outputs: NDArray[np.float32]
    scores: NDArray[np.float64]
    spikes: Mapping[str, NDArray[np.float32]]
    dt: float

    @property
    def times_ms(self) -> NDArray[np.float64]:
        """Simulated time at the end of each step, ms."""
        return np.round(1000 * self.dt * np.arange(1, self.outputs.shape[1] + 1), 9)

    def __repr__(self) -> str:
        n, n_steps, n_classes = self.outputs.shape
        lines = [f"Recording of {n:,} sample{'s' * (n != 1)} over {n_steps} steps, {n_classes} outputs"]
        for name, spikes in list(self.spikes.items())[:_SHOWN]:
            lines.append(f"  {name}: {np.abs(spikes).sum() / n:,.0f} spikes per sample, array of shape {spikes.shape}")
        if len(self.spikes) > _SHOWN:
            lines.append(f"  and {len(self.spikes) - _SHOWN} further layers")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The accuracy and the costs of a spiking network on labelled samples, beside those of the ANN.

    Attributes
    ----------
    metrics
        Each metric by the name that a run logs it under (docs/metrics.md).
    accuracy_at_step, agreement_at_step
        Share of samples with the right class, and with the class that the ANN gives, after each step.
    simulator
        Which simulator ran, and why.
    no_synops
        Why SynOps and energy are not among the metrics; empty if they are.
    max_pooling
        Names of the max pooling layers. They pass on fewer spikes than are counted, so that with any, SynOps and the
        energy of the spiking network are upper bounds.
    outcome
        Confusion matrices, rates of all neurons and classes of all samples.
    """

    metrics: Mapping[str, float]
    accuracy_at_step: Sequence[float]
    agreement_at_step: Sequence[float]
    simulator: str
    no_synops: str
    max_pooling: Sequence[str]
    outcome: Outcome

    @property
    def accuracy(self) -> float:
        """Accuracy of the spiking network after the last step, from 0 to 1."""
        return self.metrics[c.SNN_ACCURACY.name]

    @property
    def ann_accuracy(self) -> float:
        """Accuracy of the ANN on the same samples, from 0 to 1."""
        return ann_accuracy(self.metrics)

    @property
    def agreement(self) -> float:
        """Share of samples that get the ANN's class, from 0 to 1."""
        return self.metrics[c.AGREEMENT.name]

    @property
    def latency_ms(self) -> float | None:
        """Simulated time from which accuracy stays within one point of the ANN's, ms; None if there is none."""
        return self.metrics.get(c.LATENCY.name)

    @property
    def spikes(self) -> float:
        """Spikes of the whole network per sample."""
        return self.metrics.get(c.SPIKES.name, 0.0)

    @property
    def synops(self) -> float | None:
        """Synaptic operations per sample; None if they are not counted (``no_synops``)."""
        return self.metrics.get(c.SYNOPS.name)

    def __repr__(self) -> str:
        return "\n  ".join(self._lines())

    def _lines(self) -> Iterator[str]:
        m, n_steps = self.metrics, len(self.accuracy_at_step)
        yield f"Evaluation on {c.TEST_IMAGES.of(m)} samples, {n_steps} steps ({1000 * self.outcome.dt * n_steps:g} ms)"
        yield f"accuracy {c.SNN_ACCURACY.of(m)}, of the ANN {c.ANN_ACCURACY.text(self.ann_accuracy)}"
        yield f"agreement {c.AGREEMENT.of(m)}, drop {c.DROP.of(m)}"
        latency = c.LATENCY.of(m) if c.LATENCY.name in m else "not within the steps shown"
        yield f"within 1 point of the ANN: {latency}"
        bound = "at most " if self.max_pooling else ""
        yield f"{self.spikes:,.0f} spikes per sample, " + (
            f"not counted: SynOps ({self.no_synops})" if self.no_synops else f"{bound}{self.synops:,.0f} SynOps"
        )
        if energy := energy_texts(m):
            yield f"energy per sample: SNN {energy['snn']}, ANN {energy['ann']} in arithmetic units (estimates)"
