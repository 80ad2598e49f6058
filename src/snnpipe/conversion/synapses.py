"""How many synapses a spike drives, and how many multiply-accumulates a forward pass takes.

A synapse is a non-zero weight between two neurons (or a neuron and a logit); where an average pooling
lies between them it is part of the connection, so a spike drives the synapses of the pooled cell that
its neuron belongs to. Both are found by running the linear layers with every non-zero weight set to 1.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.compat import import_tensorflow
from snnpipe.keras_graph import is_neuron_layer, nodes

if TYPE_CHECKING:
    import tf_keras


def fan_out(model: "tf_keras.Model") -> dict[str, NDArray[np.int64]]:
    """Return, for each layer of neurons, the number of synapses that each neuron drives, flattened."""
    tf = import_tensorflow()
    with tf.GradientTape() as tape:
        total = tf.constant(0.0)
        tensors: dict[int, Any] = {}
        sources = {}
        for node in nodes(model):
            shape = (1, *node.outputs.shape[1:])
            if type(node.layer).__name__ == "InputLayer":
                tensors[id(node.outputs)] = tf.ones(shape)
                continue
            inputs = node.input_tensors
            values = [tensors[id(t)] for t in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
            reached = _count(node.layer, values)
            if is_neuron_layer(node.layer):
                total += tf.reduce_sum(reached)
                sources[node.layer.name] = tf.ones(shape)
                tape.watch(sources[node.layer.name])
                reached = sources[node.layer.name]
            tensors[id(node.outputs)] = reached
        if not is_neuron_layer(model.layers[-1]):
            total += tf.reduce_sum(tensors[id(model.outputs[0])])
    gradients = tape.gradient(total, sources, unconnected_gradients="zero")
    return {name: np.rint(g.numpy()).astype(np.int64).ravel() for name, g in gradients.items()}


def macs(model: "tf_keras.Model") -> dict[str, int]:
    """Return the multiply-accumulates of each layer with weights: its non-zero synapses, borders counted out."""
    tf = import_tensorflow()
    return {
        node.layer.name: round(float(tf.reduce_sum(_count(node.layer, [tf.ones((1, *node.input_shapes[1:]))]))))
        for node in nodes(model)
        if hasattr(node.layer, "kernel")
    }


def first_layers(model: "tf_keras.Model") -> list[str]:
    """Return the layers with weights that the image reaches without passing a neuron."""
    sees_image: dict[int, bool] = {}
    found = []
    for node in nodes(model):
        inputs = node.input_tensors
        inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        sees = type(node.layer).__name__ == "InputLayer" or any(sees_image.get(id(t), False) for t in inputs)
        if sees and hasattr(node.layer, "kernel"):
            found.append(node.layer.name)
        sees_image[id(node.outputs)] = sees and not is_neuron_layer(node.layer)
    return found


def _count(layer: Any, values: list[Any]) -> Any:
    """Return how many paths reach each output of a layer, from how many reach each of its inputs."""
    tf = import_tensorflow()
    kind, x = type(layer).__name__, values[0]
    if hasattr(layer, "kernel"):
        present = tf.cast(tf.not_equal(layer.kernel, 0), tf.float32)
        return tf.matmul(x, present) if kind == "Dense" else layer.convolution_op(x, present)
    if "Pooling" in kind:
        cells = np.prod(getattr(layer, "pool_size", x.shape[1:-1]))
        return tf.cast(layer(x), x.dtype) * float(cells)
    if kind in ("Add", "Average"):
        return tf.add_n(values)
    if kind in ("BatchNormalization", "Activation", "ReLU", "LeakyReLU"):
        return x
    return tf.cast(layer(values if len(values) > 1 else x), x.dtype)
