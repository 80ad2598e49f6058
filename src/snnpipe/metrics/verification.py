"""Verification of a simulator: the differences of its spikes and outputs from its reference's on the same images."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from snnpipe.values.simulation import SimulationChunk, SpikeEvents

TOLERANCE = {"float32": 1e-2, "float64": 1e-6}
"""Share of spikes that may move to another step: ten times the largest share by rounding (docs/simulators.md)."""

_ALWAYS_ALLOWED = 3
"""Number of moved spikes that is never an error: a short run of few neurons may exceed the share by chance."""


@dataclass
class Verification:
    """Differences between two runs of the same images.

    Attributes
    ----------
    images
        Number of images that were compared.
    spikes
        Number of the reference's spikes, by layer.
    moved
        Number of spikes that come in another step, or in one of the runs only, by layer.
    output_difference, output_range
        Largest difference of the outputs at any step, and largest size of the reference's outputs.
    squares
        Sums of the squares of the differences and of the reference's outputs, over all steps.
    same_class
        Number of images that get the same class from both runs after the last step.
    """

    images: int = 0
    spikes: dict[str, int] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)
    output_difference: float = 0.0
    output_range: float = 0.0
    squares: tuple[float, float] = (0.0, 0.0)
    same_class: int = 0

    def add(self, chunks: Iterable[SimulationChunk], reference: Iterable[SimulationChunk]) -> None:
        """Compare two runs of a batch. All images of the batch must have been recorded."""
        ours, theirs = list(chunks), list(reference)
        a, b = (np.concatenate([chunk.outputs_btc for chunk in run], axis=1) for run in (ours, theirs))
        self.images += len(b)
        difference = a.astype(np.float64) - b
        self.output_difference = float(np.maximum(self.output_difference, np.abs(difference).max()))
        self.output_range = float(np.maximum(self.output_range, np.abs(b).max()))
        more = (float(np.sum(difference**2)), float(np.sum(b.astype(np.float64) ** 2)))
        self.squares = (self.squares[0] + more[0], self.squares[1] + more[1])
        self.same_class += int(np.sum(a[:, -1].argmax(axis=-1) == b[:, -1].argmax(axis=-1)))
        for name in theirs[0].layers:
            events, expected = (SpikeEvents.concatenate([c.layers[name].events for c in run]) for run in (ours, theirs))
            self.spikes[name] = self.spikes.get(name, 0) + int(np.abs(expected.count).sum())
            self.moved[name] = self.moved.get(name, 0) + _moved(events, expected)

    @property
    def moved_share(self) -> float:
        """Moved spikes per spike, over all layers."""
        return sum(self.moved.values()) / max(1, sum(self.spikes.values()))

    def metrics(self) -> dict[str, float]:
        """Return the metrics that a run logs."""
        return {
            "verify/images": float(self.images),
            "verify/moved_spike_share": self.moved_share,
            "verify/output_difference": self.output_difference / max(self.output_range, 1e-30),
            "verify/same_class": self.same_class / max(1, self.images),
        }

    @property
    def output_rms(self) -> float:
        """Root mean square of the outputs' differences over all steps, relative to that of the reference's outputs."""
        return float(np.sqrt(self.squares[0] / max(self.squares[1], 1e-30)))

    def problem(self, tolerance: float) -> str | None:
        """Return what exceeds the tolerance, spikes before outputs; None if nothing does.

        A spike that moves changes the outputs for a while, and the changes of several spikes add up at random. The
        outputs may therefore differ by five times the square root of the share of moved spikes (1.5 to 2.3 times were
        measured on the recipes of MNIST and CIFAR-10), or by ten times the tolerance if that is more.
        """
        if sum(self.moved.values()) <= max(_ALWAYS_ALLOWED, tolerance * sum(self.spikes.values())):
            allowed = max(10 * tolerance, 5 * self.moved_share**0.5)
            if self.output_rms <= allowed:
                return None
            return (
                f"the outputs of {self.images} samples differ from the reference's by {self.output_rms:.2g} of their "
                f"size (root mean square over all steps; at most {allowed:.2g} may come from rounding), while "
                f"{sum(self.moved.values()):,} of {sum(self.spikes.values()):,} spikes moved"
            )
        name = max(self.moved, key=lambda layer: self.moved[layer])
        return (
            f"{self.moved_share:.2g} of the spikes of {self.images} samples are not where the reference has them "
            f"(at most {tolerance:g} may be moved by rounding), most of them in layer {name!r}: "
            f"{self.moved[name]:,} of {self.spikes[name]:,}"
        )


def _moved(events: SpikeEvents, expected: SpikeEvents) -> int:
    """Return the number of spikes that have no partner in the other list. A spike that moved counts once."""
    places = [np.stack([e.image, e.step, e.neuron], axis=1) for e in (events, expected)]
    _, number = np.unique(np.concatenate(places), axis=0, return_inverse=True)
    surplus = np.bincount(number.ravel(), weights=np.concatenate([events.count, -expected.count]))
    return int(max(surplus[surplus > 0].sum(), -surplus[surplus < 0].sum()))
