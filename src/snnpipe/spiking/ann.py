"""The ANN that a stored network is compared with: the network with rates in place of spikes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.conversion.bias_offsets import moved
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
        """Return the logits of some samples, shape ``(b, c)``, without corrections of biases, which the model lacks."""
        network = self._network
        model: Any = network.keras_model
        with moved(network, {name: -own for name, own in network.bias_offsets.items()}):
            if any(own.levels for own in network.rectifiers.values()):
                return np.asarray(self._simulator.rates(network, samples).output)
            return np.asarray(model.predict_on_batch(samples))
