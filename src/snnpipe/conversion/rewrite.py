"""Rewrites a trained Keras model before conversion: to the same function, made of layers that can be converted.

Batch normalisation and scalings of the input are folded into linear layers. Depthwise, separable and causal
convolutions become plain ones. Layers that act in training only are left out. A softmax at the end is left out too,
because it does not change the class.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.conversion.affine import Affine, affine_of, passes_on
from snnpipe.conversion.refusals import refusal
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.frameworks.copies import copied
from snnpipe.frameworks.keras_graph import (
    MAX_POOLING,
    RECTIFIERS,
    activation_name,
    channels_last,
    is_function,
    is_of_keras,
    is_op,
    nodes,
    rectifier,
)
from snnpipe.frameworks.rectifiers import Identity, applied
from snnpipe.settings.domains import MaxPooling

if TYPE_CHECKING:
    import tf_keras

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
_LINEAR = ("Dense", *_CONVOLUTIONS, *_DEPTHWISE, *_SEPARABLE)
_MAY_PASS_ON = ("Flatten", "Reshape", "InputLayer", "Add", "Average", "Concatenate", "BatchNormalization")
"""Layers that are kept although they may pass their input on unchanged, for example at some input shapes."""
_REGULARIZERS = ("kernel_regularizer", "bias_regularizer", "depthwise_regularizer", "pointwise_regularizer")


@dataclass(frozen=True)
class Made:
    """A layer of the prepared model, and the weights that it gets after it has been built."""

    layer: Any
    weights: Sequence[NDArray[Any]] = ()


@dataclass(frozen=True)
class Rewritten:
    """What a layer becomes.

    Attributes
    ----------
    made
        Layers in its place, one after the other. If there are none, its input is passed on.
    becomes
        Name of what it becomes.
    note
        Explanation, if one is needed.
    folded
        Whether it becomes part of another layer, or is left out.
    problem
        Why it cannot be converted to Nengo objects; empty if it can.
    """

    made: tuple[Made, ...]
    becomes: str = "linear connection"
    note: str = ""
    folded: bool = False
    problem: str = ""


@dataclass
class _Folds:
    """The layers that are folded into others, by layer name."""

    normalization: dict[str, Any] = field(default_factory=dict)  # by linear layer: the batch normalisation behind it
    into: dict[str, str] = field(default_factory=dict)  # by folded layer: the layer that takes it in
    affine: dict[str, Affine] = field(default_factory=dict)  # by linear layer: the scaling before it
    biases: bool = False  # whether linear layers without a bias get one


def rewrite(model: "tf_keras.Model", max_pooling: MaxPooling, biases: bool = False) -> dict[str, Rewritten]:
    """Return what each layer of a functional model becomes, by name.

    Parameters
    ----------
    model
        Functional model without models inside it.
    max_pooling
        How max pooling is done.
    biases
        Whether linear layers without a bias get one of 0.
    """
    folds = _find_folds(model)
    folds.biases = biases
    return {
        node.layer.name: _rewritten(node, folds, max_pooling, last=node.outputs is model.outputs[0])
        for node in nodes(model)
    }


def prepare(model: "tf_keras.Model", rewritten: Mapping[str, Rewritten]) -> "tf_keras.Model":
    """Return the model that is made of a functional model's rewritten layers."""
    keras = import_tf_keras()
    tensors: dict[int, Any] = {}
    for node in nodes(model):
        if type(node.layer).__name__ == "InputLayer":
            tensors[id(node.outputs)] = keras.Input(node.outputs.shape[1:], name=node.layer.name)
            continue
        inputs = [tensors[id(tensor)] for tensor in node.keras_inputs]
        x = inputs if len(inputs) > 1 else inputs[0]
        for made in rewritten[node.layer.name].made:
            x = made.layer(x)
            made.layer.set_weights(made.weights)
        tensors[id(node.outputs)] = x
    return keras.Model(tensors[id(model.inputs[0])], tensors[id(model.outputs[0])], name=model.name)


# ---------------------------------------------------------------------- what is folded into what


def _find_folds(model: "tf_keras.Model") -> _Folds:
    folds = _Folds()
    takers: dict[int, list[Any]] = {}
    producers = {id(node.outputs): node for node in nodes(model)}
    for node in nodes(model):
        for tensor in node.keras_inputs:
            takers.setdefault(id(tensor), []).append(node)
    for node in nodes(model):
        layer = node.layer
        if len(node.keras_inputs) != 1:
            continue
        before = producers[id(node.keras_inputs[0])]
        if type(layer).__name__ == "BatchNormalization":
            if len(takers[id(node.keras_inputs[0])]) == 1 and _can_take_in(before.layer, layer):
                folds.normalization[before.layer.name] = layer
                folds.into[layer.name] = before.layer.name
            continue
        then = takers.get(id(node.outputs), [])
        linear = len(then) == 1 and type(then[0].layer).__name__ in _LINEAR and is_of_keras(then[0].layer)
        if linear and not passes_on(node):
            affine = affine_of(node)
            if affine is not None and _can_begin_with(then[0].layer, affine):
                folds.affine[then[0].layer.name] = affine
                folds.into[layer.name] = then[0].layer.name
    return folds


def _can_take_in(linear: Any, normalization: Any) -> bool:
    return (
        type(linear).__name__ in _LINEAR
        and is_of_keras(linear)
        and activation_name(linear) == "linear"
        and channels_last(linear)
        and list(normalization.axis) == [len(linear.output_shape) - 1]
    )


def _can_begin_with(linear: Any, affine: Affine) -> bool:
    """Whether a linear layer can take in the scaling before it. Padding forbids offsets: its zeros come after them."""
    padded = getattr(linear, "padding", "valid") != "valid"
    return channels_last(linear) and not (padded and np.any(affine.offset))


# ---------------------------------------------------------------------- layer by layer


def _rewritten(node: Any, folds: _Folds, max_pooling: MaxPooling, last: bool) -> Rewritten:
    layer, kind = node.layer, type(node.layer).__name__
    if kind == "InputLayer":
        return Rewritten((), "input node")
    if layer.name in folds.into:
        return Rewritten((), f"weights of {folds.into[layer.name]}", folded=True)
    if last and activation_name(layer).removeprefix("nn.") in ("softmax", "log_softmax") and not layer.weights:
        return Rewritten((), "nothing", "a softmax at the end does not change the class", folded=True)
    if kind in _LINEAR and is_of_keras(layer):
        return _linear(node, folds, last)
    if kind in MAX_POOLING and is_of_keras(layer):
        return _max_pooling(node, max_pooling)
    if (kind in RECTIFIERS or is_function(layer)) and (own := rectifier(layer)) is not None:
        return _neurons((), layer.name, own)
    if kind == "Flatten":
        return Rewritten(_flattened(node), "the same values, reordered")
    if kind not in _MAY_PASS_ON and len(node.keras_inputs) == 1:
        if passes_on(node):
            note = "acts in training only" if layer._expects_training_arg else "it passes its input on"
            return Rewritten((), "nothing", note, folded=True)
        if (affine := affine_of(node)) is not None:
            return Rewritten((_scaling(layer.name, affine),), "linear connection", "a scaling of each channel")
    problem = refusal(node)
    if is_op(layer):  # it is called with more than tensors, and so cannot be copied as a layer
        return Rewritten((), problem=problem)
    return Rewritten((_copy(layer),), _becomes(layer), problem=problem)


def _becomes(layer: Any) -> str:
    activation = activation_name(layer)
    if activation in ("sigmoid", "tanh"):
        return f"rate neurons ({activation})"
    return "the same values, reordered" if type(layer).__name__ == "Reshape" else "linear connection"


def _copy(layer: Any, **changes: Any) -> Made:
    config = {name: None for name in _REGULARIZERS if hasattr(layer, name)}  # not needed after training
    return Made(copied(layer, **config, **changes), layer.get_weights())


def _neurons(before: tuple[Made, ...], name: str, own: Any) -> Rewritten:
    """Return a layer of neurons that stands for a rectifier, behind other layers."""
    layers = import_tf_keras().layers
    slope, limit = own.negative_slope, own.max_value
    relu = layers.LeakyReLU(slope, name=name) if slope else layers.ReLU(limit, name=name)
    return Rewritten((*before, Made(relu)), "neurons")


def _max_pooling(node: Any, how: MaxPooling) -> Rewritten:
    layer, problem = node.layer, refusal(node)
    if how != "average":
        becomes = "gated max pooling" if how == "gated" else "max pooling of sums"
        return Rewritten((_copy(layer),), becomes, problem=problem)
    averaged = getattr(import_tf_keras().layers, type(layer).__name__.replace("Max", "Average"))
    return Rewritten((Made(averaged.from_config(layer.get_config())),), "average pooling", problem=problem)


def _flattened(node: Any) -> tuple[Made, ...]:
    layer, rank = node.layer, len(node.keras_inputs[0].shape)
    if layer.data_format == "channels_last" or rank < 3:
        return (_copy(layer),)
    layers = import_tf_keras().layers
    to_the_end = layers.Permute((*range(2, rank), 1), name=f"{layer.name}_channels_last")
    return Made(to_the_end), Made(layers.Flatten(name=layer.name))


def _scaling(name: str, affine: Affine) -> Made:
    """Return a scaling as a batch normalisation with mean 0 and variance 1."""
    layer = import_tf_keras().layers.BatchNormalization(epsilon=0.0, fused=False, name=name)
    zero = np.zeros_like(affine.scale)
    return Made(layer, [affine.scale, affine.offset, zero, zero + 1])


# ---------------------------------------------------------------------- linear layers


@dataclass(frozen=True)
class _Weighted:
    """A dense layer or a convolution of the prepared model, before it is made.

    Attributes
    ----------
    make
        Function that makes the layer from a name, an activation and whether it has a bias.
    kernel
        Kernel. Its last axis is the output channels, and all other axes are summed over. The axis before the last is
        the input channels, or those of one group if there are groups.
    bias
        Bias; None for no bias.
    """

    make: Callable[..., Any]
    kernel: NDArray[np.float64]
    bias: NDArray[np.float64] | None

    def normalised(self, normalization: Any) -> "_Weighted":
        """Return the layer with the batch normalisation behind it folded in.

        y = gamma (W x + b - mean) / sqrt(variance + epsilon) + beta, with the moving mean and variance.
        """
        mean, variance = (np.asarray(v, np.float64) for v in (normalization.moving_mean, normalization.moving_variance))
        gamma = np.asarray(normalization.gamma, np.float64) if normalization.scale else 1.0
        beta = np.asarray(normalization.beta, np.float64) if normalization.center else 0.0
        factor = gamma / np.sqrt(variance + normalization.epsilon)
        bias = 0.0 if self.bias is None else self.bias
        return replace(self, kernel=self.kernel * factor, bias=(bias - mean) * factor + beta)

    def behind(self, affine: Affine) -> "_Weighted":
        """Return the layer with the scaling of the channels before it folded in: W (s x + o) + b."""
        channels, outputs = self.kernel.shape[-2:]
        groups = len(affine.scale) // channels
        group = np.arange(outputs) // (outputs // groups)
        channel = np.arange(channels)[:, None] + group * channels  # which input each weight meets, (channels, outputs)
        kernel = self.kernel * affine.scale[channel]
        if not np.any(affine.offset):
            return replace(self, kernel=kernel)
        added = (self.kernel * affine.offset[channel]).reshape(-1, outputs).sum(axis=0)
        return replace(self, kernel=kernel, bias=added + (0.0 if self.bias is None else self.bias))

    def with_bias(self) -> "_Weighted":
        """Return the layer with a bias, which is 0 if it had none."""
        return self if self.bias is not None else replace(self, bias=np.zeros(self.kernel.shape[-1]))

    def made(self, name: str, activation: Any = "linear") -> Made:
        layer = self.make(name=name, activation=activation, use_bias=self.bias is not None)
        weights = [self.kernel] if self.bias is None else [self.kernel, self.bias]
        return Made(layer, [w.astype(np.float32) for w in weights])


def _linear(node: Any, folds: _Folds, last: bool) -> Rewritten:
    layer = node.layer
    if not channels_last(layer):
        return Rewritten((_copy(layer),), problem="its channels come first: build it with data_format='channels_last'")
    before, weighted, names = _pieces(node)
    if layer.name in folds.affine:
        weighted[0] = weighted[0].behind(folds.affine[layer.name])
    if layer.name in folds.normalization:
        weighted[-1] = weighted[-1].normalised(folds.normalization[layer.name])
    if folds.biases:
        weighted[-1] = weighted[-1].with_bias()
    first = tuple(piece.made(name) for piece, name in zip(weighted[:-1], names[:-1], strict=True))
    earlier, (*_, piece) = (*before, *first), weighted
    if last and activation_name(layer) in ("softmax", "log_softmax"):
        return Rewritten((*earlier, piece.made(layer.name)), note="softmax dropped")
    if isinstance(applied(layer.activation), Identity):
        return Rewritten((*earlier, piece.made(layer.name)), problem=refusal(node))
    if (own := rectifier(layer)) is None:
        becomes = f"rate neurons ({activation_name(layer)})"
        return Rewritten((*earlier, piece.made(layer.name, layer.activation)), becomes, problem=refusal(node))
    if own.plain:
        return Rewritten((*earlier, piece.made(layer.name, "relu")), "neurons", problem=refusal(node))
    return _neurons((*earlier, piece.made(f"{layer.name}_linear")), layer.name, own)


def _pieces(node: Any) -> tuple[list[Made], list[_Weighted], list[str]]:
    """Return a linear layer as paddings, then dense layers or convolutions, and the names of the latter."""
    layer, kind = node.layer, type(node.layer).__name__
    keras, name = import_tf_keras(), layer.name
    weights = [np.asarray(w, np.float64) for w in layer.get_weights()]
    bias = weights.pop() if layer.use_bias else None
    n = len(node.keras_inputs[0].shape) - 2
    if kind == "Dense":
        if n == 0:
            return [], [_Weighted(_maker(keras.layers.Dense, units=layer.units), weights[0], bias)], [name]
        kernel = weights[0].reshape((1,) * n + weights[0].shape)
        return [], [_Weighted(_maker(_convolution(n), filters=layer.units, kernel_size=1), kernel, bias)], [name]
    dimensions = int(kind[-2])
    shared = {key: getattr(layer, key) for key in ("strides", "dilation_rate", "padding")}
    before = []
    if layer.padding == "causal":
        reach = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        before = [Made(keras.layers.ZeroPadding1D((reach, 0), name=f"{name}_padding"))]
        shared["padding"] = "valid"
    shared["kernel_size"] = layer.kernel_size
    if kind in _CONVOLUTIONS:
        make = _maker(_convolution(dimensions), filters=layer.filters, groups=layer.groups, **shared)
        return before, [_Weighted(make, weights[0], bias)], [name]
    # a depthwise kernel (..., channels, multiplier) is one of (..., 1, channels * multiplier), in groups of one channel
    channels = weights[0].shape[-2]
    kernel = weights[0].reshape(*weights[0].shape[:-2], 1, -1)
    make = _maker(_convolution(dimensions), filters=kernel.shape[-1], groups=channels, **shared)
    if kind in _DEPTHWISE:
        return before, [_Weighted(make, kernel, bias)], [name]
    point = _maker(_convolution(dimensions), filters=layer.filters, kernel_size=1)
    return before, [_Weighted(make, kernel, None), _Weighted(point, weights[1], bias)], [f"{name}_depthwise", name]


def _convolution(dimensions: int) -> Any:
    return getattr(import_tf_keras().layers, f"Conv{dimensions}D")


def _maker(kind: Any, **settings: Any) -> Callable[..., Any]:
    def make(**more: Any) -> Any:
        return kind(**settings, **more)

    return make
