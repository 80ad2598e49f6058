"""Reads the graph of a Keras model, for training and conversion."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from snnpipe.base.errors import ModelError
from snnpipe.frameworks.compat import import_tensorflow, import_tf_keras
from snnpipe.frameworks.rectifiers import Identity, Rectifier, applied

if TYPE_CHECKING:
    import tf_keras


def functional(model: "tf_keras.Model") -> "tf_keras.Model":
    """Return a model as a functional model with the same layer objects.

    Raises
    ------
    ModelError
        If the model has no static graph, or more than one input or output.
    """
    keras = import_tf_keras()
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"model: got a {type(model).__module__}.{type(model).__qualname__}, no model of tf_keras (Keras 2, "
            "which NengoDL works with): build it with tf_keras.layers in place of keras.layers, and save it with "
            "model.save (what model.export writes has no layers)"
        )
    if isinstance(model, keras.Sequential) and model.built and model.inputs:
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not getattr(model, "_is_graph_network", False):
        raise ModelError(
            f"model {model.name!r} has no static graph of layers: build it with Keras's functional API, or as a "
            "Sequential that begins with an Input"
        )
    for node in nodes(model):
        if isinstance(node.outputs, (list, tuple, dict)):
            raise ModelError(
                f"model: {node.layer.name!r} ({type(node.layer).__name__}) gives several outputs: take layers that "
                "give one each (Cropping in place of tf.split)"
            )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"model {model.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} outputs: "
            "snnpipe takes one input in and one vector of logits out"
        )
    return model


def nodes(model: "tf_keras.Model") -> Iterator[Any]:
    """Yield the Keras nodes (applications of layers) of a functional model, inputs first."""
    by_depth = model._nodes_by_depth  # Keras has no public way to list one model's nodes
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


def arguments(node: Any, replace: Callable[[Any], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that a node calls its layer with, each Keras tensor replaced."""
    keras_inputs = {id(tensor) for tensor in node.keras_inputs}

    def one(value: Any) -> Any:
        return replace(value) if id(value) in keras_inputs else value

    args, kwargs = import_tensorflow().nest.map_structure(one, (node.call_args, node.call_kwargs))
    return args, kwargs


def as_function(node: Any) -> Callable[[Any], Any]:
    """Return a node of one input as a function of that input. Its layer acts as in testing."""
    args, kwargs = arguments(node, lambda tensor: _HERE)
    kwargs = {name: value for name, value in kwargs.items() if name != "training"}
    if acts_in_training(node.layer):
        kwargs["training"] = False

    def function(x: Any) -> Any:
        put: Any = import_tensorflow().nest.map_structure(lambda value: x if value is _HERE else value, (args, kwargs))
        return node.layer(*put[0], **put[1])

    return function


_HERE = object()
"""Marks the place of a function's argument."""


def acts_in_training(layer: Any) -> bool:
    """Whether a layer may act differently in training and in testing."""
    return bool(layer._expects_training_arg)  # Keras has no public way to ask


def channels_last(layer: Any) -> bool:
    """Whether the channels are the last axis of a layer's input."""
    return getattr(layer, "data_format", "channels_last") == "channels_last"


WEIGHTED = ("Dense", "Conv1D", "Conv2D", "Conv3D")
"""Linear layers whose weights can take in a factor on their input and a factor on their output."""

MOVING = (
    "Flatten",
    "Reshape",
    "Permute",
    *(f"{kind}{n}D" for kind in ("ZeroPadding", "Cropping", "UpSampling") for n in (1, 2, 3)),
)
"""Layers that move or copy values."""

POOLING = tuple(f"{scope}AveragePooling{n}D" for scope in ("", "Global") for n in (1, 2, 3))

MAX_POOLING = tuple(f"{scope}MaxPooling{n}D" for scope in ("", "Global") for n in (1, 2, 3))

RECTIFIERS = ("ReLU", "LeakyReLU", "Activation", "QuantisedReLU")
"""Keras layers that do nothing but apply a function, which may be a rectifier."""


def max_pooling_in(model: Any) -> list[str]:
    """Return the names of the max pooling layers of a model. They pass on fewer spikes than they get."""
    return [layer.name for layer in model.layers if type(layer).__name__ in MAX_POOLING]


def is_op(layer: Any) -> bool:
    """Whether a layer is a TensorFlow operation that was called on a Keras tensor."""
    return type(layer).__name__ in ("TFOpLambda", "SlicingOpLambda")


def is_of_keras(layer: Any) -> bool:
    """Whether a layer's class is Keras's own, and not a user's class of the same name or a subclass."""
    return getattr(import_tf_keras().layers, type(layer).__name__, None) is type(layer)


def is_function(layer: Any) -> bool:
    """Whether a layer is a function without weights: an operation, a Lambda, or a user's own layer."""
    if is_op(layer) or type(layer).__name__ == "Lambda":
        return True
    return not is_of_keras(layer) and not layer.weights and not isinstance(layer, import_tf_keras().Model)


_BY_OP: "WeakKeyDictionary[Any, Rectifier | Identity | None]" = WeakKeyDictionary()


def _of_op(layer: Any) -> Rectifier | Identity | None:
    if layer not in _BY_OP:
        node = layer.inbound_nodes[0] if layer.inbound_nodes else None
        one_input = node is not None and len(node.keras_inputs) == 1
        _BY_OP[layer] = applied(as_function(node)) if one_input else None
    return _BY_OP[layer]


def _applied_by(layer: Any) -> Rectifier | Identity | None:
    """Return the rectifier that a layer applies, or `Identity` if it applies no function; None for anything else."""
    kind = type(layer).__name__
    if kind == "ReLU":
        if layer.threshold:
            return None
        max_value = None if layer.max_value is None else float(layer.max_value)
        return Rectifier(float(layer.negative_slope), max_value)
    if kind == "QuantisedReLU" and hasattr(layer, "threshold"):
        return Rectifier(max_value=layer.threshold, levels=layer.levels)
    if kind == "LeakyReLU":
        return Rectifier(float(f"{float(layer.alpha):.6g}"))
    if is_function(layer):
        return _of_op(layer)
    activation = getattr(layer, "activation", None)
    if activation is None:
        return Identity() if kind != "Softmax" else None
    if hasattr(layer, "recurrent_activation") or getattr(activation, "weights", None):
        return None
    return applied(activation)


def rectifier(layer: Any) -> Rectifier | None:
    """Return the rectifier that a layer applies to its output; None if it applies another function or none.

    A rectifier that is both leaky and clipped gives None too, because no neuron type does that.
    """
    function = _applied_by(layer)
    if not isinstance(function, Rectifier) or (function.negative_slope and function.max_value is not None):
        return None
    return function


def activation_name(layer: Any) -> str:
    """Return the name of the activation that a layer applies; ``linear`` if it applies none."""
    kind = type(layer).__name__
    function = _applied_by(layer)
    if isinstance(function, Rectifier):
        return "relu" if function.plain else "leaky_relu" if function.max_value is None else "clipped_relu"
    if kind == "Softmax":
        return "softmax"
    if isinstance(function, Identity):
        return "linear"
    if is_op(layer):
        return str(layer.get_config().get("function", kind))
    activation = getattr(layer, "activation", layer)
    return str(getattr(activation, "__name__", type(activation).__name__))


def is_neuron_layer(layer: Any) -> bool:
    """Whether a layer's output becomes neurons in the conversion: whether the layer applies a rectifier."""
    return rectifier(layer) is not None


def neuron_layers(model: "tf_keras.Model") -> list[Any]:
    """Return the layers of a model that become neurons, from input to output."""
    return [node.layer for node in nodes(functional(model)) if is_neuron_layer(node.layer)]
