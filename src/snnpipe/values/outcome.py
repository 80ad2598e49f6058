"""What the simulation of the test images came to, as the pictures of a run need it.

Axes: t = step, n = neuron, c = class, i = image.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Outcome:
    """Counts and rates over all images that were simulated.

    Attributes
    ----------
    images
        How many there were.
    dt
        Seconds per step.
    ann_accuracy
        The ANN's accuracy on them.
    accuracy_t, agreement_t
        Share of them classified rightly, and like the ANN, after each step.
    ann_confusion_cc, snn_confusion_cc
        Images of each true class (row) that the ANN, and the spiking network after its last step, give each class.
    between_cc
        Images that the ANN gives one class (row) and the spiking network another, or the same.
    rates_hz
        Firing rate of each neuron, by layer, shape ``(n,)``.
    classes_3i
        True class, the ANN's, and the spiking network's after the last step, of each image i.
    """

    images: int
    dt: float
    ann_accuracy: float
    accuracy_t: NDArray[np.float64]
    agreement_t: NDArray[np.float64]
    ann_confusion_cc: NDArray[np.int64]
    snn_confusion_cc: NDArray[np.int64]
    between_cc: NDArray[np.int64]
    rates_hz: Mapping[str, NDArray[np.float64]]
    classes_3i: NDArray[np.int64]

    @property
    def busiest_per_step(self) -> dict[str, float]:
        """Spikes per step of each layer's busiest neuron, mean over the images."""
        return {name: float(rates_n.max()) * self.dt for name, rates_n in self.rates_hz.items() if rates_n.size}
