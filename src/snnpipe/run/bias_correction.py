"""Bias correction: the mean error of a channel's output is added to the channel's current.

A layer that spikes gives another mean output than the model's activation, because spikes are whole, come late, or are
limited in number. An offset of the bias makes up for the mean of that error over samples and positions, and lets fewer
spikes do (Li et al. 2021, "A Free Lunch From ANN", arXiv:2106.06984, section 4.1).

Axes: b = sample, n = neuron, c = channel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snnpipe.conversion.bias_offsets import moved
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.run.trials import Response
from snnpipe.values.network import NeuronLayer, SpikingNetwork

if TYPE_CHECKING:
    import tf_keras

_PASSES = 3
"""Number of simulations from which offsets are taken. All layers are corrected at once."""

_SHARE = 0.5
"""Share of the error that a pass corrects: the layers before correct a part of it too."""

_LEAST_ACTIVE = 0.2
"""Lowest share of active neurons that a channel counts with."""


@dataclass(frozen=True, eq=False)
class Activity:
    """What the neurons of a model do with some samples, by layer; as a network has its layers scaled.

    Attributes
    ----------
    mean_n
        Mean activation of each neuron.
    share_n
        Share of the samples that activate each neuron.
    """

    mean_n: Mapping[str, NDArray[np.float64]]
    share_n: Mapping[str, NDArray[np.float64]]


def bias_offsets(
    network: SpikingNetwork,
    activity: Activity,
    names: Sequence[str],
    respond: Callable[[SpikingNetwork], Response],
) -> dict[str, list[float]]:
    """Return offsets with which the mean outputs of layers are near the model's mean activations.

    A change of the bias changes the output of active neurons only. The error of a channel is therefore divided by the
    share of its neurons that the model activates.

    Parameters
    ----------
    network
        Converted network, whose model has biases.
    activity
        What the model that was converted does with some samples.
    names
        Names of the layers to correct.
    respond
        Function that simulates the same samples.

    Returns
    -------
    dict
        Offset of each channel, by layer, in the unit of the model's activations.
    """
    layers = {layer.name: layer for layer in network.layers if layer.name in names and layer.spiking}
    offsets = {name: np.zeros(layer.shape[-1]) for name, layer in layers.items()}
    for _ in range(_PASSES):
        with moved(network, offsets):
            output_n = respond(network).outputs
        for name, layer in layers.items():
            error_c = _of_channels(layer, activity.mean_n[name] - output_n[name])
            active_c = np.maximum(_of_channels(layer, activity.share_n[name]), _LEAST_ACTIVE)
            offsets[name] = offsets[name] + _SHARE * layer.unscaled_c(error_c / active_c)
    return {name: own.tolist() for name, own in offsets.items()}


def activity_of(
    model: "tf_keras.Model | NativeNetwork", network: SpikingNetwork, batches: Sequence[NDArray[np.float32]]
) -> Activity:
    """Return what the neurons of a model do with samples, in batches of shape ``(b, ...)``.

    Of the network, only its layers and the factors of their channels count, and no scales.
    """
    from snnpipe.diagnosis.sample import activations_of

    predict, n = activations_of(model, network), sum(len(batch) for batch in batches)
    mean_n = {layer.name: np.zeros(layer.size) for layer in network.layers}
    share_n = {layer.name: np.zeros(layer.size) for layer in network.layers}
    for batch in batches:
        for name, own_bn in predict(batch).items():
            mean_n[name] += own_bn.sum(axis=0, dtype=np.float64) / n
            share_n[name] += np.count_nonzero(own_bn, axis=0) / n
    return Activity(mean_n, share_n)


def _of_channels(layer: NeuronLayer, values_n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the positions of each channel."""
    return np.asarray(values_n.reshape(-1, layer.shape[-1]).mean(axis=0))
