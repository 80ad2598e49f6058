"""Make a trained Keras model ready for conversion: the same function, in layers that can be converted.

Batch normalisation is folded into the linear layer before it, what only matters in training is
dropped, and so is a softmax at the end, which does not change the class.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe.compat import import_tf_keras
from snnpipe.keras_graph import activation_name, is_relu_op, nodes

if TYPE_CHECKING:
    import tf_keras

_TRAINING_ONLY = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "ActivityRegularization",
)
_LINEAR = ("Dense", "Conv1D", "Conv2D", "Conv3D")
_POOLING = {f"{scope}MaxPooling{n}D": f"{scope}AveragePooling{n}D" for scope in ("", "Global") for n in (1, 2, 3)}


@dataclass
class Changes:
    """What preparing does to the layers of a model, by layer name.

    Attributes
    ----------
    dropped
        Why the layer goes; its input is passed on.
    folded_into
        The layer that takes in a batch normalisation.
    softmax
        The layer whose softmax goes while its linear part stays.
    averaged
        Max pooling that becomes average pooling.
    """

    dropped: dict[str, str] = field(default_factory=dict)
    folded_into: dict[str, str] = field(default_factory=dict)
    softmax: str | None = None
    averaged: set[str] = field(default_factory=set)


def find_changes(model: "tf_keras.Model", max_to_avg_pool: bool) -> Changes:
    """Return what `prepare` will do to a functional model."""
    changes = Changes()
    consumers: dict[int, int] = {}
    producers: dict[int, Any] = {}
    for node in nodes(model):
        for tensor in node.keras_inputs:
            consumers[id(tensor)] = consumers.get(id(tensor), 0) + 1
        producers[id(node.outputs)] = node
    for node in nodes(model):
        layer, kind = node.layer, type(node.layer).__name__
        last = node.outputs is model.outputs[0]
        if kind in _TRAINING_ONLY:
            changes.dropped[layer.name] = "acts in training only"
        elif kind == "BatchNormalization":
            before = producers.get(id(node.input_tensors))
            if before is not None and _can_take_in(before.layer, layer) and consumers[id(node.input_tensors)] == 1:
                changes.folded_into[layer.name] = before.layer.name
        elif last and activation_name(layer) == "softmax":
            if kind in _LINEAR:
                changes.softmax = layer.name
            else:
                changes.dropped[layer.name] = "a softmax at the end does not change the class"
        elif max_to_avg_pool and kind in _POOLING:
            changes.averaged.add(layer.name)
    return changes


def _can_take_in(linear: Any, normalization: Any) -> bool:
    return (
        type(linear).__name__ in _LINEAR
        and activation_name(linear) == "linear"
        and getattr(linear, "data_format", "channels_last") == "channels_last"
        and list(normalization.axis) == [len(linear.output_shape) - 1]
    )


def prepare(model: "tf_keras.Model", changes: Changes) -> "tf_keras.Model":
    """Return a copy of a functional model with the changes made and the weights taken over."""
    layers = {layer.name: layer for layer in model.layers}
    normalization = {linear: layers[name] for name, linear in changes.folded_into.items()}

    def copy(layer: Any) -> Callable[[Any], Any] | None:
        if layer.name in changes.dropped or layer.name in changes.folded_into:
            return None
        config = layer.get_config()
        for key in ("kernel_regularizer", "bias_regularizer", "activity_regularizer"):
            if key in config:  # of no use after training
                config[key] = None
        kind: Any = type(layer)
        if is_relu_op(layer):
            return import_tf_keras().layers.ReLU(name=layer.name)  # type: ignore[no-any-return]
        if layer.name in changes.averaged:
            kind = getattr(import_tf_keras().layers, _POOLING[kind.__name__])
        if layer.name == changes.softmax:
            config["activation"] = "linear"
        if layer.name in normalization:
            config["use_bias"] = True
        copied = kind.from_config(config)
        weights = layer.get_weights()
        if layer.name in normalization:
            weights = _folded(weights, normalization[layer.name])
        return _Copy(copied, weights)

    return rebuild(model, copy)


def rebuild(model: "tf_keras.Model", copy: Callable[[Any], Callable[[Any], Any] | None]) -> "tf_keras.Model":
    """Return a functional model with each layer replaced by ``copy(layer)``, or left out where that is None."""
    keras = import_tf_keras()
    tensors: dict[int, Any] = {}
    for node in nodes(model):
        if type(node.layer).__name__ == "InputLayer":
            tensors[id(node.outputs)] = keras.Input(node.outputs.shape[1:], name=node.layer.name)
            continue
        inputs = node.input_tensors
        new_inputs = [tensors[id(t)] for t in inputs] if isinstance(inputs, (list, tuple)) else tensors[id(inputs)]
        copied = copy(node.layer)
        tensors[id(node.outputs)] = new_inputs if copied is None else copied(new_inputs)
    return keras.Model(tensors[id(model.inputs[0])], tensors[id(model.outputs[0])], name=model.name)


@dataclass
class _Copy:
    """A new layer that takes its weights once it is built."""

    layer: Any
    weights: list[np.ndarray]

    def __call__(self, inputs: Any) -> Any:
        outputs = self.layer(inputs)
        self.layer.set_weights(self.weights)
        return outputs


def _folded(weights: list[np.ndarray], normalization: Any) -> list[np.ndarray]:
    """Return kernel and bias of a linear layer with the batch normalisation after it taken in.

    y = gamma (W x + b - mean) / sqrt(variance + epsilon) + beta, with the moving mean and variance.
    """
    kernel = weights[0].astype(np.float64)
    bias = weights[1].astype(np.float64) if len(weights) > 1 else 0.0
    mean, variance = (np.asarray(v, np.float64) for v in (normalization.moving_mean, normalization.moving_variance))
    gamma = np.asarray(normalization.gamma, np.float64) if normalization.scale else 1.0
    beta = np.asarray(normalization.beta, np.float64) if normalization.center else 0.0
    factor = gamma / np.sqrt(variance + normalization.epsilon)
    return [(kernel * factor).astype(np.float32), ((bias - mean) * factor + beta).astype(np.float32)]
