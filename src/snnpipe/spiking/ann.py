"""The ANN that a stored network is compared with: the network with rates in place of spikes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.simulators.auto import AutoSimulator
from snnpipe.values.network import SpikingNetwork


class NetworkOfRates:
    """A converted network with its rectifiers in place of the neurons, which computes what its model does.

    Parameters
    ----------
    network
        The converted network.
    dt
        Seconds per step.
    """

    def __init__(self, network: SpikingNetwork, dt: float):
        self._network, self._simulator = network, AutoSimulator(dt=dt)
        self.weights: list[Any] = []

    def predict_on_batch(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """Return the logits of some samples, shape ``(b, c)``."""
        if any(own.levels for own in self._network.rectifiers.values()):
            return np.asarray(self._simulator.rates(self._network, samples).output)
        model: Any = self._network.keras_model
        return np.asarray(model.predict_on_batch(samples))
