"""Offsets of currents: numbers per channel that are added to the input of a layer of neurons.

They become part of the bias of the layer whose weights feed the neurons. For a sum, they become part of the bias of one
of its terms.

Axes: b = sample, n = neuron, c = channel.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError
from snnpipe.conversion.equalise import normalises_channels
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.frameworks.copies import copied
from snnpipe.frameworks.keras_graph import (
    MAX_POOLING,
    POOLING,
    RECTIFIERS,
    WEIGHTED,
    activation_name,
    acts_in_training,
    arguments,
    is_function,
    nodes,
)
from snnpipe.values.network import SpikingNetwork

if TYPE_CHECKING:
    import tf_keras


def takers(model: "tf_keras.Model", names: Iterable[str]) -> dict[str, Any]:
    """Return the layer whose bias takes the offsets of each layer of neurons, by the name of the latter.

    A layer takes them if its output goes to these neurons alone, over sums and pooling at most. Layers of neurons
    without such a layer are left out.

    Parameters
    ----------
    model
        Model that `snnpipe.conversion.rewrite.prepare` made.
    names
        Names of the layers of neurons.
    """
    producers = {id(node.outputs): node for node in nodes(model)}
    of_layer = {node.layer.name: node for node in producers.values()}
    users: dict[int, int] = {id(model.outputs[0]): 1}
    for node in producers.values():
        for tensor in node.keras_inputs:
            users[id(tensor)] = users.get(id(tensor), 0) + 1

    def before(tensor: Any) -> Any:
        """Return the layer that takes the offset of a tensor; None if there is none."""
        node = producers[id(tensor)]
        layer, kind = node.layer, type(node.layer).__name__
        if users[id(tensor)] > 1:
            return None
        if kind in WEIGHTED:
            return layer if activation_name(layer) == "linear" and layer.use_bias else None
        if normalises_channels(layer):
            return layer if layer.center else None
        if kind in (*POOLING, *MAX_POOLING):
            return before(node.keras_inputs[0])
        if kind == "Add":
            terms = [term for term in node.keras_inputs if term.shape[-1] == tensor.shape[-1]]
            return next((own for own in map(before, terms) if own is not None), None)
        return None

    feeding = {}
    for name in names:
        node = of_layer[name]
        if type(node.layer).__name__ in WEIGHTED:
            feeding[name] = node.layer if node.layer.use_bias else None
        else:
            feeding[name] = before(node.keras_inputs[0])
    return {name: layer for name, layer in feeding.items() if layer is not None}


def channels(model: "tf_keras.Model", names: Iterable[str]) -> dict[str, int]:
    """Return the number of channels of those layers of neurons that can have offsets."""
    return {name: int(layer.output_shape[-1]) for name, layer in takers(model, names).items()}


def add(model: "tf_keras.Model", offsets: Mapping[str, NDArray[np.float64]], key: str) -> None:
    """Add offsets to a model's biases, in place.

    Parameters
    ----------
    model
        Model that `snnpipe.conversion.rewrite.prepare` made, with biases.
    offsets
        Offset of each channel, by the name of the layer of neurons, shape ``(c,)``.
    key
        Key of the setting in the configuration, for the error message.

    Raises
    ------
    ConfigError
        If no bias can take the offsets of a layer, or a layer has another number of channels.
    """
    feeding = takers(model, offsets)
    for name, own in offsets.items():
        if name not in feeding:
            raise ConfigError(
                f"{key}: layer {name!r} takes no offsets, for no layer with a bias feeds it alone: leave it out"
            )
        if np.shape(own) != (n := feeding[name].output_shape[-1],):
            raise ConfigError(f"{key}: layer {name!r} has {n} channels, and gets {np.size(own)} offsets")
        _bias(feeding[name]).assign_add(np.asarray(own, np.float32))


def _bias(layer: Any) -> Any:
    return layer.beta if normalises_channels(layer) else layer.bias


@contextmanager
def moved(network: SpikingNetwork, offsets: Mapping[str, NDArray[np.float64]]) -> Iterator[None]:
    """Add offsets to the currents of a converted network, which are taken back at the end.

    The Nengo network and the Keras model are changed together, so that every simulator runs the same network.

    Parameters
    ----------
    network
        Converted network, whose model has biases.
    offsets
        Offset of each channel, by the name of the layer of neurons, in the unit of the trained model's activations,
        shape ``(c,)``. Each of these layers must be able to take offsets.
    """
    if not offsets:
        yield
        return
    from nengo.dists import get_samples

    layers = {layer.name: layer for layer in network.layers}
    scaled = {name: layers[name].as_scaled_c(own) for name, own in offsets.items()}
    biases = [_bias(layer) for layer in takers(network.keras_model, scaled).values()]
    of_model = [bias.numpy() for bias in biases]
    ensembles = [layers[name].neurons.ensemble for name in scaled]
    of_nengo = [ensemble.bias for ensemble in ensembles]
    try:
        add(network.keras_model, scaled, "offsets")
        for ensemble, name in zip(ensembles, scaled, strict=True):
            layer = layers[name]
            own_n = np.broadcast_to(scaled[name], layer.shape).ravel() * layer.scale_firing_rates
            ensemble.bias = np.asarray(get_samples(ensemble.bias, layer.size)).ravel() + own_n
        yield
    finally:
        for bias, value in zip(biases, of_model, strict=True):
            bias.assign(value)
        for ensemble, before in zip(ensembles, of_nengo, strict=True):
            ensemble.bias = before


def activations(
    model: "tf_keras.Model", samples: NDArray[np.float32], offsets: Mapping[str, NDArray[np.float64]]
) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Return the outputs of a trained model's layers, by name, and its logits, with offsets to the input of rectifiers.

    Parameters
    ----------
    model
        Functional model as it was trained; it is not changed.
    samples
        Samples, shape ``(b, ...)``.
    offsets
        Offset of each channel, by the name of the layer that rectifies.
    """
    tensors: dict[int, Any] = {id(model.inputs[0]): import_tensorflow().constant(samples)}
    outputs = {}
    for node in nodes(model):
        layer = node.layer
        if type(layer).__name__ == "InputLayer":
            continue
        args, kwargs = arguments(node, lambda tensor: tensors[id(tensor)])
        kwargs = {name: value for name, value in kwargs.items() if name != "training"}
        if acts_in_training(layer):
            kwargs["training"] = False
        if layer.name in offsets:
            outputs[layer.name] = _shifted(layer, offsets[layer.name])(*args, **kwargs)
        else:
            outputs[layer.name] = layer(*args, **kwargs)
        tensors[id(node.outputs)] = outputs[layer.name]
    logits = np.asarray(tensors[id(model.outputs[0])])
    return {name: np.asarray(values) for name, values in outputs.items()}, logits


def _shifted(layer: Any, offset_c: NDArray[np.float64]) -> Any:
    """Return a function that computes a layer with offsets to the input of its rectifier."""
    tf = import_tensorflow()
    if is_function(layer) or type(layer).__name__ in RECTIFIERS:
        return lambda x: layer(x + tf.cast(offset_c, x.dtype))
    linear = copied(layer, activation="linear")

    def apply(x: Any) -> Any:
        linear.build(x.shape)
        linear.set_weights(layer.get_weights())
        y = linear(x)
        return layer.activation(y + tf.cast(offset_c, y.dtype))

    return apply
