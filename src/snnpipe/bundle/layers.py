"""The layers of a prepared Keras model as plain data, and the model that they make.

Only the kinds of layers in a table are written and read. A layer is made from numbers and words of known sets, so that
nothing in a file can run code. The size of each tensor is checked before anything of that size is allocated.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import BundleError, one_line
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.frameworks.keras_graph import activation_name, is_of_keras, nodes

if TYPE_CHECKING:
    import tf_keras

Arrays = Mapping[str, NDArray[Any]]

_SPACE = (1, 2, 3)
_CONVOLUTION = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "use_bias", "activation")
_POOLING = ("pool_size", "strides", "padding")
SETTINGS: dict[str, tuple[str, ...]] = {
    "Dense": ("units", "use_bias", "activation"),
    **{f"Conv{n}D": _CONVOLUTION for n in _SPACE},
    **{f"{kind}Pooling{n}D": _POOLING for kind in ("Average", "Max") for n in _SPACE},
    **{f"Global{kind}Pooling{n}D": ("keepdims",) for kind in ("Average", "Max") for n in _SPACE},
    "BatchNormalization": ("axis", "epsilon", "center", "scale"),
    "ReLU": ("max_value",),
    "LeakyReLU": ("alpha",),
    "Activation": ("activation",),
    "Add": (),
    "Average": (),
    "Concatenate": ("axis",),
    "Flatten": ("data_format",),
    "Reshape": ("target_shape",),
    "Permute": ("dims",),
    **{f"ZeroPadding{n}D": ("padding",) if n == 1 else ("padding", "data_format") for n in _SPACE},
    **{f"Cropping{n}D": ("cropping",) if n == 1 else ("cropping", "data_format") for n in _SPACE},
    "UpSampling1D": ("size",),
    "UpSampling2D": ("size", "data_format", "interpolation"),
    "UpSampling3D": ("size", "data_format"),
}
"""Settings of each kind of layer that a file may hold."""

_INPUT = "InputLayer"
_WORDS = {
    "activation": ("linear", "relu", "sigmoid", "tanh"),
    "padding": ("valid", "same"),
    "data_format": ("channels_last", "channels_first"),
    "interpolation": ("nearest", "bilinear"),
}
"""Words that settings may have; all other settings are numbers."""
MOST_VALUES = 2**27
"""Largest number of values of a tensor, for one sample."""
_LARGEST = 2**31 - 1
_NAME_LENGTH = 500


# ---------------------------------------------------------------------- from a model


def plain_layers(model: "tf_keras.Model") -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Return the layers of a prepared model, inputs first, and their weights by ``layer/number``.

    Raises
    ------
    BundleError
        If a layer is of a kind, or has a setting, that a file cannot hold. The message names it.
    """
    layers: list[dict[str, Any]] = []
    weights: dict[str, NDArray[Any]] = {}
    names: dict[int, str] = {}
    for node in nodes(model):
        layer = node.layer
        names[id(node.outputs)] = layer.name
        if type(layer).__name__ == _INPUT:
            layers.append({"name": layer.name, "kind": _INPUT, "shape": list(node.outputs.shape[1:])})
            continue
        inputs = [names[id(tensor)] for tensor in node.keras_inputs]
        layers.append({"name": layer.name, "kind": _kind(layer), "inputs": inputs, "settings": _settings(layer)})
        weights |= {f"{layer.name}/{i}": np.asarray(values) for i, values in enumerate(layer.get_weights())}
    return layers, weights


def _kind(layer: Any) -> str:
    kind = type(layer).__name__
    if kind not in SETTINGS or not is_of_keras(layer):
        raise BundleError(f"layer {layer.name!r} is a {kind}, which a file of plain data cannot hold")
    return kind


def _settings(layer: Any) -> dict[str, Any]:
    config, settings = layer.get_config(), {}
    for name in SETTINGS[type(layer).__name__]:
        value = activation_name(layer) if name == "activation" else config[name]
        settings[name] = value = _plain(value)
        if problem := _setting_problem(name, value):
            raise BundleError(f"layer {layer.name!r} ({type(layer).__name__}): {problem}")
    return settings


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(own) for own in value]
    return np.asarray(value).item() if isinstance(value, (np.generic, np.ndarray)) else value


# ---------------------------------------------------------------------- to a model


def model_of(layers: Any, weights: Arrays) -> "tf_keras.Model":
    """Return the model that `plain_layers` has described.

    Raises
    ------
    BundleError
        If a layer is of an unknown kind, has settings or inputs that do not fit, or gets other weights than it needs.
    """
    if not isinstance(layers, list) or not layers or not all(isinstance(own, dict) for own in layers):
        raise BundleError("it has no list of layers")
    keras = import_tf_keras()
    tensors: dict[str, Any] = {}
    first: Any = None
    for own in layers:
        name, kind = own.get("name"), own.get("kind")
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _NAME_LENGTH or name in tensors:
            raise BundleError(f"a layer has the name {str(name)[:_NAME_LENGTH]!r}: each must have a name of its own")
        where = f"layer {name!r} ({kind})"
        if kind == _INPUT and first is None:
            tensors[name] = first = keras.Input(_shape(own.get("shape"), where), name=name)
            continue
        if kind not in SETTINGS:
            raise BundleError(f"{where}: a file can only hold layers of the kinds {', '.join(SETTINGS)}")
        inputs = own.get("inputs")
        if not isinstance(inputs, list) or not inputs or not all(isinstance(i, str) and i in tensors for i in inputs):
            raise BundleError(f"{where}: its inputs are {inputs!r}: give names of layers before it")
        given = [weights[key] for i in range(8) if (key := f"{name}/{i}") in weights]
        tensors[name] = _applied(where, own, [tensors[i] for i in inputs], given)
    if first is None:
        raise BundleError("it has no input")
    return keras.Model(first, tensors[layers[-1]["name"]], name="network")


def _applied(where: str, own: Mapping[str, Any], inputs: Sequence[Any], weights: Sequence[NDArray[Any]]) -> Any:
    """Return the output of a layer that is made and applied to its inputs."""
    kind, settings = own["kind"], own.get("settings")
    if not isinstance(settings, dict) or set(settings) != set(SETTINGS[kind]):
        raise BundleError(f"{where}: its settings must be {', '.join(SETTINGS[kind]) or 'empty'}")
    for name, value in settings.items():
        if problem := _setting_problem(name, value):
            raise BundleError(f"{where}: {problem}")
    shapes = [tuple(tensor.shape) for tensor in inputs]
    if problem := _weight_problem(kind, settings, shapes[0][1:], weights):
        raise BundleError(f"{where}: {problem}")
    more = {"fused": False} if kind == "BatchNormalization" else {}
    try:
        layer = getattr(import_tf_keras().layers, kind)(name=own["name"], **settings, **more)
        _shape(list(layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0]))[1:], where)
        output = layer(list(inputs) if len(inputs) > 1 else inputs[0])
        layer.set_weights(weights)
    except BundleError:
        raise
    except Exception as error:  # Keras refuses settings with errors of many kinds
        raise BundleError(f"{where}: Keras does not take it: {one_line(error)[:200]}") from error
    return output


def _shape(shape: Any, where: str) -> tuple[int, ...]:
    if not isinstance(shape, list) or not shape or not all(isinstance(n, int) and n > 0 for n in shape):
        raise BundleError(f"{where}: got the shape {str(shape)[:100]}: give a list of numbers above 0")
    if prod(shape) > MOST_VALUES:
        raise BundleError(f"{where}: its output of shape {shape} is larger than the {MOST_VALUES:,} values allowed")
    return tuple(shape)


def _setting_problem(name: str, value: Any) -> str:
    """Return what is wrong with a setting; empty if nothing is."""
    if isinstance(value, str) and name in _WORDS:
        return "" if value in _WORDS[name] else f"got {name}={value!r}: takes {', '.join(_WORDS[name])}"
    return "" if _is_number(value) else f"got {name}={str(value)[:100]!r}: takes numbers"


def _is_number(value: Any, depth: int = 0) -> bool:
    """Whether a value is null, a truth value, a number of moderate size, or a nested list of numbers."""
    if isinstance(value, list):
        return depth < 3 and len(value) <= 8 and all(_is_number(own, depth + 1) for own in value)
    return value is None or (isinstance(value, (bool, int, float)) and abs(value) <= _LARGEST)


def _weight_problem(
    kind: str, settings: Mapping[str, Any], shape: tuple[int, ...], weights: Sequence[NDArray[Any]]
) -> str:
    """Return where the weights differ from those that a layer makes; empty if they do not."""
    if kind == "Dense" or kind.startswith("Conv"):
        if kind == "Dense":
            outputs, kernel = settings["units"], (shape[-1], settings["units"])
        else:
            outputs, groups, window = settings["filters"], settings["groups"], settings["kernel_size"]
            dilation = settings["dilation_rate"]
            if not isinstance(groups, int) or groups < 1 or not _are_sizes(window) or not _are_sizes(dilation):
                return f"got groups={groups!r}, kernel_size={window!r}, dilation_rate={dilation!r}"
            kernel = (*window, shape[-1] // groups, outputs)
            if prod((n - 1) * apart + 1 for n, apart in zip(window, dilation, strict=False)) > MOST_VALUES:
                return f"its window with dilation_rate={dilation} is larger than the {MOST_VALUES:,} values allowed"
        expected = [kernel, (outputs,)] if settings["use_bias"] else [kernel]
    elif kind == "BatchNormalization":
        if settings["axis"] not in ([axis] for axis in range(1, len(shape) + 1)):
            return f"got axis={settings['axis']!r} for an input of shape {shape}"
        channels = shape[settings["axis"][0] - 1]
        expected = [(channels,)] * (2 + bool(settings["center"]) + bool(settings["scale"]))
    else:
        expected = []
    given = [own.shape for own in weights]
    return "" if given == expected else f"its weights have the shapes {given}, and it needs {expected}"


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(own, int) and own > 0 for own in values)
