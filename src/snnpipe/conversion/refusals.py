"""The reasons why layers cannot be converted to Nengo objects, and what to build in their place."""

import re
from types import SimpleNamespace
from typing import Any

from snnpipe.conversion.nengo_dl_layers import layer_converters
from snnpipe.frameworks.keras_graph import activation_name, channels_last, is_of_keras, is_op

_CURES = {
    "Multiply": "spiking neurons do not multiply one another's output: leave the product out (a gate, an attention)",
    "Dot": "spiking neurons do not multiply one another's output: leave the product out",
    "Maximum": "spiking neurons have no maximum: take Add() or Average()",
    "Minimum": "spiking neurons have no minimum: take Add() or Average()",
    "Subtract": "Nengo has nothing for Subtract: take Add() with weights of the opposite sign",
    "LayerNormalization": "it normalises by the values of each sample: take BatchNormalization, and train with it",
    "GroupNormalization": "it normalises by the values of each sample: take BatchNormalization, and train with it",
    "UnitNormalization": "it normalises by the values of each sample: take BatchNormalization, and train with it",
    "PReLU": "its slopes are trained one by one: take ReLU or LeakyReLU, and train with it",
    "ELU": "no neurons fire like it: take ReLU or LeakyReLU, and train with it",
    "ThresholdedReLU": "no neurons fire like it: take ReLU or LeakyReLU, and train with it",
    "Embedding": "it takes words and not values: begin the model behind it",
    "TimeDistributed": "use the layer inside it: a Dense acts on the last axis by itself",
    "Bidirectional": "recurrent layers are not converted: take Conv1D",
    "Masking": "it leaves out steps of a sequence, which a network of fixed size cannot",
}
_DIMENSIONS = {
    f"{kind}{n}D": n
    for kind, most in (("Conv", 3), ("DepthwiseConv", 2), ("SeparableConv", 2), ("AveragePooling", 3))
    for n in range(1, most + 1)
}
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_OPS = {
    "add": "`x + y` of two layers: take Add()([x, y])",
    "concat": "take Concatenate()",
    "reshape": "take Reshape() or Flatten()",
    "transpose": "take Permute()",
    "reduce_mean": "take a GlobalAveragePooling layer",
    "reduce_sum": "take a GlobalAveragePooling layer, and larger weights behind it",
    "pad": "take a ZeroPadding layer",
    "max_pool": "take a MaxPooling layer",
    "avg_pool": "take an AveragePooling layer",
    "subtract": "of two layers: take Add() with weights of the opposite sign",
    "sub": "of two layers: take Add() with weights of the opposite sign",
    "multiply": "a product of two layers: spiking neurons do not multiply one another's output: leave it out",
    "mul": "a product of two layers: spiking neurons do not multiply one another's output: leave it out",
}


def refusal(node: Any) -> str:
    """Return why a layer cannot be converted to Nengo objects, with the cure; empty if it can.

    Parameters
    ----------
    node
        Application of the layer. Convolutions and dense layers are assumed to have been rewritten as plain ones.
    """
    layer, kind = node.layer, type(node.layer).__name__
    if is_op(layer):
        return _of_op(node)
    if problem := _of_shapes(node):
        return problem
    if kind == "TimeDistributed" and type(layer.layer).__name__ != "Dense":
        return "it shows a layer one step after the other: take a convolution with a kernel of 1 along the steps"
    if kind == "Conv3D" and layer.groups > 1:
        return "TensorFlow has no 3-D convolution with groups on a CPU, and NengoDL none at all"
    if kind in _RECURRENT:
        return "recurrent layers are not converted: take Conv1D, or write the network in Nengo"
    if kind in _TRANSPOSED:
        return "transposed convolutions are not converted: take UpSampling and a convolution"
    if kind in _CURES:
        return _CURES[kind]
    if kind == "ReLU":
        return "no neurons fire like a ReLU with a threshold, or with a slope and a max_value: take one with neither"
    converter = layer_converters().get(type(layer))
    if converter is None and not (is_of_keras(layer) and kind in _DIMENSIONS):
        return f"Nengo has nothing for a layer of type {kind}: take layers that docs/conversion.md lists"
    if converter is not None:
        ok, why = converter.convertible(layer, SimpleNamespace(inference_only=True, max_to_avg_pool=False))
        if not ok:
            return str(why)
    return _of_activation(layer)


def _of_shapes(node: Any) -> str:
    layer, kind = node.layer, type(node.layer).__name__
    shapes = {tuple(tensor.shape[1:]) for tensor in node.keras_inputs}
    if kind in ("Add", "Average") and len(shapes) > 1:
        both = " and ".join(map(str, sorted(shapes)))
        return f"its inputs have the shapes {both}: give them one, with UpSampling for example"
    if kind == "BatchNormalization" and len(layer.axis) > 1:
        return "it normalises over several axes at once: take axis=-1, and train with it"
    if "Pooling" in kind and not channels_last(layer):
        return "its channels come first: build it with data_format='channels_last'"
    axes, acts_on = len(next(iter(shapes))), _DIMENSIONS.get(kind, 0) + 1
    if kind in _DIMENSIONS and axes != acts_on:
        return f"its input has {axes} axes, and it acts on {acts_on}: give it {acts_on}, with Reshape"
    return ""


def _of_op(node: Any) -> str:
    layer = node.layer
    function = str(layer.get_config().get("function", type(layer).__name__))
    name = re.sub(r"\d[dD]$", "", function.rpartition(".")[2])
    if type(layer).__name__ == "SlicingOpLambda":
        return "`x[...]`: take a Cropping layer"
    if len(node.keras_inputs) == 1 and name in ("add", "subtract", "sub", "multiply", "mul", "truediv"):
        return f"{function} with numbers that differ from place to place: take BatchNormalization or Normalization"
    if cure := _OPS.get(name):
        return cure
    return f"{function} was called on a layer's output: take a Keras layer in its place"


def _of_activation(layer: Any) -> str:
    from nengo_dl.converter import LayerConverter

    activation = getattr(layer, "activation", None)
    name = activation_name(layer)
    if name in ("linear", "relu", "leaky_relu", "clipped_relu") or activation in LayerConverter.activation_map:
        return ""
    return f"Nengo has no neurons for the activation {name!r}: take 'relu' or LeakyReLU, and train with it"
