"""Makes the graph of a converted network (`snnpipe.simulators.graph`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.frameworks.copies import copied as copied_layer
from snnpipe.frameworks.keras_graph import (
    MAX_POOLING,
    RECTIFIERS,
    WEIGHTED,
    activation_name,
    acts_in_training,
    is_neuron_layer,
    nodes,
)
from snnpipe.frameworks.pooling import pooling_windows
from snnpipe.settings.domains import Precision
from snnpipe.simulators.graph import SCALABLE, Graph, LayerOp, NeuronOp, Op, PoolingOp
from snnpipe.simulators.pooling import average_pooling_3d, max_pooling
from snnpipe.values.network import NeuronLayer, SpikingNetwork
from snnpipe.values.simulation import Rates


def build_graph(
    network: SpikingNetwork,
    precision: Precision,
    current_factor: Callable[[NeuronLayer], float],
    spike_unit: Callable[[NeuronLayer], float],
) -> Graph:
    """Return the graph of a converted network.

    Parameters
    ----------
    network
        Network that has a ``keras_model``.
    precision
        Precision of the copied layers.
    current_factor
        Factor that turns a layer's physical input into the current that its equation takes.
    spike_unit
        Physical output of a neuron of the layer that spikes once in a step.
    """
    model: Any = network.keras_model
    layers = {layer.name: layer for layer in network.layers}
    builder = _Builder(precision)
    all_nodes = list(nodes(model))
    users: dict[int, list[Any]] = {}
    for node in all_nodes:
        for tensor in node.keras_inputs:
            users.setdefault(id(tensor), []).append(node)
    for node in all_nodes:
        layer = node.layer
        if type(layer).__name__ == "InputLayer":
            builder.image(node)
            continue
        if network.max_pooling is not None and type(layer).__name__ in MAX_POOLING:
            builder.pooling(node, network.max_pooling == "gated")
            continue
        own = layers.get(layer.name)
        if own is not None and type(layer).__name__ in RECTIFIERS:
            builder.neurons(node, own, current_factor(own), spike_unit(own))
            continue
        fed = own or (_fed_neurons(node, users, layers) if activation_name(layer) == "linear" else None)
        builder.layer(node, current_factor(fed) if fed is not None else 1.0, has_neurons=own is not None)
        if own is not None:
            builder.neurons(node, own, current_factor(own), spike_unit(own))
    return builder.graph(id(model.outputs[0]))


def graph_rates(
    network: SpikingNetwork,
    images: NDArray[np.float32],
    dt: float,
    sent: Mapping[str, NDArray[np.floating[Any]]] | None = None,
) -> Rates:
    """Return the outputs of a converted network with rates in place of spikes, and scales folded into its weights.

    With ``sent``, outputs of layers by name, shape ``(b, n)``, the layers behind them get these instead of their
    rates.
    """
    factors = {layer.name: layer.scale_firing_rates * dt for layer in network.layers}
    units = {layer.name: 1 / factors[layer.name] for layer in network.layers}
    of_steps = replace(network, max_pooling=None)
    graph = build_graph(of_steps, "float64", lambda layer: factors[layer.name], lambda layer: units[layer.name])
    known: dict[int, Any] = {graph.image: images.reshape(len(images), *graph.shapes[graph.image]).astype(np.float64)}
    layers = {}
    for op in graph.neurons:
        (current,) = graph.evaluate(known, [op.current])
        name = op.layer.name
        rates = network.rectifiers[name](np.asarray(current) * (op.factor / factors[name]))
        passed_on = rates if sent is None or name not in sent else sent[name].reshape(rates.shape)
        known[op.output] = passed_on / units[name]
        layers[name] = rates.reshape(len(images), -1)
    (output,) = graph.evaluate(known, [graph.output])
    return Rates(layers, np.asarray(output).reshape(len(images), -1) * graph.output_unit)


def _fed_neurons(node: Any, users: Mapping[int, list[Any]], layers: Mapping[str, NeuronLayer]) -> NeuronLayer | None:
    """Return the layer of neurons that takes a node's output; None if anything else takes it."""
    then = users.get(id(node.outputs), [])
    if len(then) == 1 and is_neuron_layer(then[0].layer) and type(then[0].layer).__name__ in RECTIFIERS:
        return layers.get(then[0].layer.name)
    return None


class _Builder:
    """Builds a graph: numbers the tensors of a Keras model and works out their units."""

    def __init__(self, precision: Precision):
        self._precision = precision
        self._ops: list[Op] = []
        self._number: dict[int, int] = {}
        self._units: list[float] = []
        self._shapes: list[tuple[int, ...]] = []
        self._from_image: list[bool] = []
        self._from_neurons: list[bool] = []
        self._image = 0

    def image(self, node: Any) -> None:
        self._image = self._number[id(node.outputs)] = self._new(node, 1.0, True, False)

    def layer(self, node: Any, output_factor: float, has_neurons: bool) -> None:
        """Add a layer's linear part, or the whole layer if its activation does not become neurons."""
        inputs = tuple(self._number[id(tensor)] for tensor in node.keras_inputs)
        units = {self._units[i] for i in inputs}
        kind = type(node.layer).__name__
        factors = (1.0,) * len(inputs)
        input_factor = 1.0
        if kind in WEIGHTED:
            (input_factor,) = units
            unit = 1 / output_factor
        elif len(units) == 1 and kind in SCALABLE:
            (unit,) = units
        else:
            factors, unit = tuple(self._units[i] for i in inputs), 1.0
        weights = self._weights(node.layer, kind, input_factor, 1 / unit)
        output = self._new(
            node, unit, any(self._from_image[i] for i in inputs), any(self._from_neurons[i] for i in inputs)
        )
        self._number[id(node.outputs)] = output
        activation = "linear" if has_neurons else activation_name(node.layer)
        make = partial(self._function, node.layer, has_neurons, weights, self._shapes[inputs[0]])
        dtype = np.dtype(self._precision)
        self._ops.append(LayerOp(node.layer, activation, weights, inputs, factors, output, dtype, make))

    def neurons(self, node: Any, layer: NeuronLayer, current_factor: float, spike_unit: float) -> None:
        """Add neurons behind the node's linear part, or behind its input if it has no linear part."""
        source = id(node.outputs)
        current = self._number[source] if source in self._number else self._number[id(node.keras_inputs[0])]
        output = self._new(node, spike_unit, False, True)
        self._ops.append(NeuronOp(layer, current, self._units[current] * current_factor, output))
        self._number[source] = output

    def pooling(self, node: Any, gated: bool) -> None:
        """Add max pooling over time."""
        source = self._number[id(node.keras_inputs[0])]
        output = self._new(node, self._units[source], False, True)
        windows = pooling_windows(node.layer, self._shapes[source])
        copied = self._copy(node.layer, False, ())
        maximum = max_pooling(copied, self._shapes[source])
        self._ops.append(PoolingOp(copied, maximum, source, output, windows, gated))
        self._number[id(node.outputs)] = output

    def graph(self, model_output: int) -> Graph:
        output = self._number[model_output]
        return Graph(
            tuple(self._ops),
            self._image,
            output,
            self._units[output],
            tuple(self._shapes),
            tuple(self._from_image),
            tuple(self._from_neurons),
        )

    def _new(self, node: Any, unit: float, from_image: bool, from_neurons: bool) -> int:
        self._units.append(unit)
        self._shapes.append(tuple(node.outputs.shape[1:]))
        self._from_image.append(from_image)
        self._from_neurons.append(from_neurons)
        return len(self._units) - 1

    def _weights(
        self, layer: Any, kind: str, input_factor: float, output_factor: float
    ) -> tuple[NDArray[np.floating[Any]], ...]:
        """Return a layer's weights, multiplied by the factors."""
        weights = _as_scale_and_bias(layer) if kind == "BatchNormalization" else layer.get_weights()
        if kind in WEIGHTED:
            scaled = [weights[0].astype(np.float64) * (input_factor * output_factor)]
            weights = scaled + [b.astype(np.float64) * output_factor for b in weights[1:]]
        return tuple(w.astype(self._precision) for w in weights)

    def _function(
        self, layer: Any, has_neurons: bool, weights: Sequence[NDArray[Any]], shape: tuple[int, ...]
    ) -> Callable[[Any], Any]:
        """Return the function that computes a layer for inputs of a shape: a copy of the layer, in inference.

        TensorFlow has no kernel for some layers; a substitute computes them.
        """
        copied, kind = self._copy(layer, has_neurons, weights), type(layer).__name__
        if kind == "AveragePooling3D" and self._precision == "float64":
            return average_pooling_3d(copied)
        if kind in MAX_POOLING:
            return max_pooling(copied, shape)
        if acts_in_training(copied):
            return partial(copied, training=False)
        return copied  # type: ignore[no-any-return]

    def _copy(self, layer: Any, has_neurons: bool, weights: Sequence[NDArray[Any]]) -> Any:
        """Return a copy of a layer without the neurons in it, with other weights."""
        changes: dict[str, Any] = {"dtype": self._precision}
        if has_neurons:
            changes["activation"] = "linear"
        if type(layer).__name__ == "BatchNormalization":
            # not fused: TensorFlow may merge a fused one with a convolution wrongly
            changes |= {"scale": True, "center": True, "epsilon": 0.0, "fused": False}
        copied = copied_layer(layer, **changes)
        inputs = layer.input
        shapes = [t.shape for t in inputs] if isinstance(inputs, (list, tuple)) else inputs.shape
        copied.build(shapes)
        copied.set_weights(weights)
        copied.trainable = False
        return copied


def _as_scale_and_bias(normalization: Any) -> list[np.ndarray]:
    """Return gamma, beta, mean 0 and variance 1 of the same normalisation, rounded as NengoDL rounds them."""
    mean, variance = (np.asarray(v) for v in (normalization.moving_mean, normalization.moving_variance))
    one, zero = np.ones_like(mean), np.zeros_like(mean)
    gamma = np.asarray(normalization.gamma) if normalization.scale else one
    beta = np.asarray(normalization.beta) if normalization.center else zero
    scale = gamma / np.sqrt(variance + variance.dtype.type(normalization.epsilon))
    return [scale, beta - scale * mean, zero, one]
