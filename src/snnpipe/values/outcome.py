"""The result of simulating the test images, as the pictures of a run need it.

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
        Number of images that were simulated.
    dt
        Seconds per step.
    ann_accuracy
        The ANN's accuracy on them.
    accuracy_t
        Share of the images that are classified correctly after each step.
    agreement_t
        Share of the images that get the ANN's class after each step.
    ann_confusion_cc, snn_confusion_cc
        Number of images by true class (row) and by the class (column) that the ANN gives, or the spiking network after
        its last step.
    between_cc
        Number of images by the class of the ANN (row) and the class of the spiking network (column).
    rates_hz
        Firing rate of each neuron in Hz, by layer, shape ``(n,)``.
    classes_3i
        Class of each image: the true one, the ANN's, and the spiking network's after the last step.
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
        """Mean number of spikes per step of each layer's busiest neuron, over the images."""
        return {name: float(rates_n.max()) * self.dt for name, rates_n in self.rates_hz.items() if rates_n.size}
