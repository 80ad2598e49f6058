"""Models of Keras 3 as models of tf_keras (Keras 2, which NengoDL knows): translated layer by layer, and proven."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe.base.errors import ModelError, one_line
from snnpipe.frameworks.compat import import_tf_keras

if TYPE_CHECKING:
    import tf_keras

TOLERANCE = 1e-5
"""How far an output of the translation may be off, of the largest of its layer."""

_SAMPLES = 4
_OPEN_SIZE = 16
"""Size of an axis that the model leaves open, where outputs are compared."""

_BASE = ("name", "trainable", "dtype")
_SAME_OPERATION = {"Add": "Add", "Subtract": "Subtract", "Multiply": "Multiply", "Maximum": "Maximum"}
"""Operations on two tensors (``x + y``) that are layers too."""

_SAME_LAYER = {"Relu": "ReLU", "Softmax": "Softmax"}
"""Operations on one tensor (``keras.ops.relu(x)``) that are layers without settings too."""

_ARITHMETIC: Mapping[str, Callable[[float, bool], tuple[float, float]]] = {
    "Add": lambda number, first: (1.0, number),
    "Subtract": lambda number, first: (-1.0, number) if first else (1.0, -number),
    "Multiply": lambda number, first: (number, 0.0),
    "Divide": lambda number, first: (1 / number, 0.0),
    "TrueDivide": lambda number, first: (1 / number, 0.0),
}
"""Operations on a tensor and a number: factor and offset, from the number and whether it stands first."""

_NAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
"""Settings of layers that have another name in tf_keras."""

_KERAS_2_ONLY = (
    "build the model with tf_keras in place of keras (import tf_keras as keras), or with another layer; a scaling is "
    "layers.Rescaling(scale, offset)"
)


def is_keras_3(model: Any) -> bool:
    """Whether an object is a model of Keras 3."""
    bases = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    return "keras" in bases and hasattr(model, "layers")


def translated(model: Any) -> "tf_keras.Model":
    """Return a Keras 3 model as one of tf_keras with the same weights, whose outputs have been compared.

    Parameters
    ----------
    model
        A functional or Sequential model of Keras 3; models inside it are translated too.

    Raises
    ------
    ModelError
        If a layer has no counterpart, or computes something else there; the message names it.
    """
    copy = _Translation(model).model
    _require_same_outputs(model, copy)
    return copy


class _Translation:
    def __init__(self, model: Any):
        self._keras = import_tf_keras()
        self._tensors: dict[tuple[str, int, int], Any] = {}
        self._made: list[tuple[Any, Any]] = []
        if type(model).__name__ == "Sequential":
            self.model = self._sequential(model)
        elif hasattr(model, "operations") and hasattr(model, "output_names"):
            self.model = self._functional(model)
        else:
            raise ModelError(
                f"model {model.name!r} of Keras 3 has no static graph of layers: build it with Keras's functional API, "
                "or as a Sequential that begins with an Input"
            )
        for copy, layer in self._made:
            self._set_weights(copy, layer)

    def _sequential(self, model: Any) -> Any:
        if not model.built or not model.inputs:
            raise ModelError(
                f"model {model.name!r} of Keras 3 does not know the shape of its input yet: begin it with "
                "keras.Input(shape)"
            )
        x = first = self._keras.Input(tuple(model.inputs[0].shape[1:]), dtype=model.inputs[0].dtype)
        for layer in model.layers:
            if type(layer).__name__ != "InputLayer":
                x = self._layer(layer)(x)
        return self._keras.Model(first, x, name=model.name)

    def _functional(self, model: Any) -> Any:
        config = model.get_config()
        layers: dict[str, Any] = {}
        operations = {own.name: own for own in model.operations}
        waiting = [
            (own, number, node) for own in config["layers"] for number, node in enumerate(own["inbound_nodes"] or [{}])
        ]
        while waiting:
            ready = [each for each in waiting if all(key in self._tensors for key in _inputs_of(each[2]))]
            if not ready:
                raise ModelError(f"model {model.name!r} of Keras 3: its graph of layers has no order")
            for own, number, node in ready:
                name = own["name"]
                if own["class_name"] == "InputLayer":
                    shape = own["config"].get("batch_shape") or own["config"]["batch_input_shape"]
                    outputs = self._keras.Input(tuple(shape[1:]), name=name, dtype=own["config"].get("dtype"))
                elif (rescaling := _rescaling_of(own, node)) is not None:
                    (taken,) = _inputs_of(node)
                    scale, offset = rescaling
                    again = name if not number else _free(f"{name}_{number}", operations)
                    outputs = self._keras.layers.Rescaling(scale, offset, name=again)(self._tensors[taken])
                else:
                    if name not in layers:
                        layers[name] = self._layer(operations[name])
                    outputs = self._applied(layers[name], node, name)
                self._tensors[name, number, 0] = outputs
            waiting = [each for each in waiting if each not in ready]
        ends = [self._tensors[key] for key in map(tuple, _keys(config["output_layers"]))]
        begins = [self._tensors[key] for key in map(tuple, _keys(config["input_layers"]))]
        if len(begins) != 1 or len(ends) != 1:
            raise ModelError(
                f"model {model.name!r} has {len(begins)} inputs and {len(ends)} outputs: snnpipe takes one input in "
                "and one vector of logits out"
            )
        return self._keras.Model(begins[0], ends[0], name=model.name)

    def _applied(self, layer: Any, node: Mapping[str, Any], name: str) -> Any:
        arguments = [self._filled(value) for value in node.get("args", ())]
        keywords = {key: self._filled(value) for key, value in node.get("kwargs", {}).items() if value is not None}
        if type(layer).__name__ in _SAME_OPERATION and len(arguments) == 2:
            arguments = [arguments]
        try:
            return layer(*arguments, **{key: value for key, value in keywords.items() if key != "mask"})
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"model: tf_keras cannot apply the layer {name!r} ({type(layer).__name__}) of Keras 3: "
                f"{one_line(error)}: {_KERAS_2_ONLY}"
            ) from error

    def _filled(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            if value.get("class_name") == "__keras_tensor__":
                return self._tensors[tuple(value["config"]["keras_history"])]
            return {key: self._filled(own) for key, own in value.items()}
        return [self._filled(own) for own in value] if isinstance(value, (list, tuple)) else value

    # ------------------------------------------------------------------ layers

    def _layer(self, layer: Any) -> Any:
        """Return a layer of tf_keras like one of Keras 3, with its weights."""
        if is_keras_3(layer):
            return _Translation(layer).model
        kind, module = type(layer).__name__, type(layer).__module__
        if module.startswith("keras.") and ".ops." in module:
            kind = _SAME_OPERATION.get(kind) or _SAME_LAYER.get(kind, "")
        cls = getattr(self._keras.layers, kind, None) if module.startswith("keras.") else None
        if cls is None:
            raise ModelError(
                f"model: the layer {layer.name!r} ({type(layer).__name__}) of Keras 3 has no counterpart in tf_keras: "
                f"{_KERAS_2_ONLY}"
            )
        try:
            copy = cls(**self._settings(layer, cls))
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"model: tf_keras cannot make the layer {layer.name!r} ({kind}) of Keras 3: {one_line(error)[:200]}: "
                f"{_KERAS_2_ONLY}"
            ) from error
        self._made.append((copy, layer))
        return copy

    def _set_weights(self, copy: Any, layer: Any) -> None:
        if not copy.weights:  # those of Keras 3 count the states of random numbers too
            return
        try:
            copy.set_weights([np.asarray(value) for value in layer.get_weights()])
        except ValueError as error:
            raise ModelError(
                f"model: the weights of the layer {layer.name!r} ({type(layer).__name__}) of Keras 3 do not fit the "
                f"layer of tf_keras: {one_line(error)}: {_KERAS_2_ONLY}"
            ) from error

    def _settings(self, layer: Any, cls: Any) -> dict[str, Any]:
        """Return the arguments of a layer that tf_keras takes. What initialises weights is left out: they are set."""
        config = layer.get_config() if hasattr(layer, "get_config") else {"name": layer.name}
        known = {
            name
            for base in cls.__mro__
            for name, parameter in inspect.signature(base.__init__).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD and base is not object
        }
        settings, named = {}, _NAMED.get(type(layer).__name__, {})
        for own, value in config.items():
            name = named.get(own, own)
            if name.endswith("_initializer") or (name not in known and name not in _BASE):
                continue
            settings[name] = self._setting(value, layer)
        return settings

    def _setting(self, value: Any, layer: Any) -> Any:
        if not (isinstance(value, Mapping) and "class_name" in value):
            return value
        kind, config = value["class_name"], value.get("config") or {}
        if kind == "DTypePolicy":
            return config["name"]
        group = str(value.get("module") or "").rpartition(".")[2]
        there = getattr(getattr(self._keras, group, None), kind, None)
        if there is None or value.get("registered_name"):
            what = config if isinstance(config, str) else kind
            raise ModelError(
                f"model: the layer {layer.name!r} ({type(layer).__name__}) of Keras 3 has {what!r}, which tf_keras "
                f"does not know: {_KERAS_2_ONLY}"
            )
        return there(**{name: own for name, own in config.items() if name not in _BASE})


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _rescaling_of(own: Mapping[str, Any], node: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return factor and offset of an operation on one tensor and a number; None if it is no such operation."""
    arguments = [*node.get("args", ()), *node.get("kwargs", {}).values()]
    if not str(own.get("module")).startswith("keras.src.ops.") or len(_inputs_of(node)) != 1:
        return None
    if own["class_name"] == "Negative":
        return -1.0, 0.0
    numbers = [(value, at == 0) for at, value in enumerate(arguments) if isinstance(value, (int, float))]
    if own["class_name"] not in _ARITHMETIC or len(arguments) != 2 or len(numbers) != 1:
        return None
    number, first = numbers[0]
    if own["class_name"].endswith("Divide") and (first or not number):
        return None
    return _ARITHMETIC[own["class_name"]](float(number), first)


def _keys(ends: Any) -> list[Any]:
    """Return what a config lists as its inputs or outputs, as a list of (layer, node, tensor)."""
    return [ends] if ends and isinstance(ends[0], str) else list(ends)


def _inputs_of(node: Any) -> list[tuple[str, int, int]]:
    if isinstance(node, Mapping):
        if node.get("class_name") == "__keras_tensor__":
            return [tuple(node["config"]["keras_history"])]
        return [key for value in node.values() for key in _inputs_of(value)]
    return [key for value in node for key in _inputs_of(value)] if isinstance(node, (list, tuple)) else []


# ---------------------------------------------------------------------- the proof


def _require_same_outputs(model: Any, copy: "tf_keras.Model") -> None:
    """Raise `ModelError` where a translation gives other outputs, naming the first layer that differs."""
    shape = tuple(_OPEN_SIZE if size is None else size for size in copy.input_shape[1:])
    drawn, kind = np.random.default_rng(0), np.dtype(copy.inputs[0].dtype.as_numpy_dtype)
    whole = kind.kind in "iu"
    samples = drawn.integers(0, 256, (_SAMPLES, *shape)) if whole else drawn.uniform(-1, 1, (_SAMPLES, *shape))
    samples = samples.astype(kind if whole else np.float32)
    if _off(np.asarray(copy.predict_on_batch(samples)), np.asarray(model(samples, training=False))) <= TOLERANCE:
        return
    import keras

    there = {layer.name for layer in copy.layers}
    names = [layer.name for layer in model.layers if layer.name in there and type(layer).__name__ != "InputLayer"]
    ours = import_tf_keras().Model(copy.inputs, [copy.get_layer(name).output for name in names])
    theirs = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    both = ours.predict_on_batch(samples), theirs(samples, training=False)
    of_ours, of_theirs = ([own] if len(names) == 1 and not isinstance(own, list) else own for own in both)
    pairs = zip(names, of_ours, of_theirs, strict=True)
    for name, a, b in pairs:
        if (off := _off(np.asarray(a), np.asarray(b))) > TOLERANCE:
            kind = type(model.get_layer(name)).__name__
            raise ModelError(
                f"model: the layer {name!r} ({kind}) of Keras 3 computes something else in tf_keras (by "
                f"{100 * off:.2g} % of its largest output): {_KERAS_2_ONLY}"
            )
    raise ModelError(f"model: {model.name!r} of Keras 3 computes something else in tf_keras: {_KERAS_2_ONLY}")


def _off(ours: Any, theirs: Any) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return float(np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-12))
