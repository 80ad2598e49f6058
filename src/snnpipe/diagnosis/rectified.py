"""How much a layer's rate exceeds the rectified mean of its current.

A neuron such as Nengo's ``SpikingRectifiedLinear`` adds max(J[t], 0) dt at each step. Where the current J changes its
sign from step to step, the mean of max(J[t], 0) is larger than max(mean of J, 0), the ReLU that the neuron stands for.

Axes: b = image of the batch, n = neuron.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from snnpipe.diagnosis.measures import rate_limit
from snnpipe.simulators.graph_of import graph_rates
from snnpipe.values.network import NeuronLayer, SpikingNetwork
from snnpipe.values.simulation import SimulationChunk, Stimulus


class RectifiedMeter:
    """Measures the excess of each layer's rate, batch by batch and, within a batch, step by step.

    The layers between neurons are linear, so the mean current of a layer follows from the mean outputs of the layers
    before it, and no current has to be recorded. The excess is the sum of the mean rates minus that of the rectified
    mean currents, over all neurons and images, divided by the latter.

    Parameters
    ----------
    network
        The spiking network. It must be `measurable`.
    n_steps, dt
        Number of steps that an image is shown, and seconds per step.
    """

    def __init__(self, network: SpikingNetwork, n_steps: int, dt: float):
        self._network, self._n_steps, self._dt = network, n_steps, dt
        self._weights_t = {layer.name: _weights(layer, n_steps, dt) for layer in network.layers}
        self._rates = {layer.name: 0.0 for layer in network.layers}
        self._rectified = dict(self._rates)

    def begin(self, stimulus: Stimulus) -> None:
        """Begin a batch."""
        self._stimulus = stimulus
        self._sent: dict[str, NDArray[np.float64]] = {}

    def add(self, chunk: SimulationChunk) -> None:
        """Add a chunk of one step. After the last step, the batch is added to the totals."""
        for layer in self._network.layers:
            net = chunk.layers[layer.name].net_bn.astype(np.float64)
            self._rates[layer.name] += layer.spike_unit(self._dt) / self._n_steps * float(net.sum())
            sent = self._weights_t[layer.name][chunk.first_step] * net
            self._sent[layer.name] = self._sent[layer.name] + sent if chunk.first_step else sent
        if chunk.first_step + 1 == self._n_steps:
            images = self._mean_input()
            for name, values in graph_rates(self._network, images, self._dt, self._sent).layers.items():
                self._rectified[name] += float(values.sum(dtype=np.float64))

    def _mean_input(self) -> NDArray[np.float32]:
        stimulus = self._stimulus
        if stimulus.encoder.constant:
            return stimulus.still()
        total = sum(stimulus.steps(step, 1).astype(np.float64) for step in range(self._n_steps))
        return np.asarray(total / self._n_steps, np.float32).reshape(stimulus.images.shape)

    def excess(self) -> Mapping[str, float]:
        """Return the excess of each layer of spiking neurons whose rate rises with the current without a limit."""
        return {
            layer.name: self._rates[layer.name] / self._rectified[layer.name] - 1
            for layer in self._network.layers
            if layer.spiking and not rate_limit(layer, self._dt)[1] and self._rectified[layer.name] > 0
        }


def measurable(network: SpikingNetwork) -> bool:
    """Whether a network's mean currents follow from mean outputs: it is known as layers, linear between the neurons."""
    if network.keras_model is None or not network.rectifiers or network.rate_units:
        return False
    return not any("Max" in type(layer).__name__ for layer in network.keras_model.layers)


def _weights(layer: NeuronLayer, n_steps: int, dt: float) -> NDArray[np.float64]:
    """Return the share of a spike of each step in the mean, over all steps, of the layer's filtered output."""
    unit = layer.spike_unit(dt) / n_steps
    synapse = layer.synapse.discrete(dt, f"layer {layer.name!r}")
    if synapse is None:
        return np.full(n_steps, unit)
    impulse = np.zeros((1, n_steps, 1))
    impulse[0, 0] = unit
    response = synapse.over(impulse, np.zeros((1, 1, synapse.order)))[0, :, 0]
    return np.cumsum(response)[::-1]
