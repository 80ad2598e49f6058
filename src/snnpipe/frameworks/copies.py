"""Copies of Keras layers and models with the same weights and some other settings."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ModelError, one_line
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.frameworks.keras_graph import acts_in_training, arguments, functional, nodes

if TYPE_CHECKING:
    import tf_keras


def flattened(model: "tf_keras.Model") -> "tf_keras.Model":
    """Return a functional model without models inside it: the model itself, or a copy with the same weights.

    Raises
    ------
    ModelError
        If a model inside it is applied more than once, or one of its layers cannot be copied.
    """
    graph = functional(model)
    if not any(isinstance(node.layer, import_tf_keras().Model) for node in nodes(graph)):
        return graph
    return Copier(None).copy(graph, tuple(graph.inputs[0].shape[1:]), lambda x: x)


def copied(layer: Any, **changes: Any) -> Any:
    """Return a new layer with the configuration of ``layer`` and some changes. Its weights are not copied.

    The activation is copied as a function object, because a configuration cannot hold every function.

    Raises
    ------
    ModelError
        If the layer's class cannot make a layer from its configuration.
    """
    activation = getattr(layer, "activation", None)
    keeps = activation is not None and not hasattr(layer, "recurrent_activation")
    linear = import_tf_keras().activations.linear
    try:
        if keeps:
            layer.activation = linear
        try:
            config = layer.get_config()
        finally:
            if keeps:
                layer.activation = activation
        new = type(layer).from_config(config | _undrawn(layer, config) | changes)
    except Exception as error:
        raise ModelError(
            f"model: layer {layer.name!r} ({type(layer).__name__}) cannot be copied ({one_line(error)[:200]}): give "
            "its class a get_config with the arguments of its constructor"
        ) from error
    if keeps and "activation" not in changes:
        new.activation = activation
    return new


def _undrawn(layer: Any, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the initialisers of one of Keras's layers as zeros: drawing weights takes longer than copying them."""
    if not type(layer).__module__.startswith("tf_keras."):
        return {}
    return {key: "zeros" for key in config if key.endswith("_initializer")}


class Copier:
    """Copies a model layer by layer. Models inside it are replaced by their layers.

    Parameters
    ----------
    softmax
        Name of the layer whose softmax is left out; None to leave out nothing.
    """

    def __init__(self, softmax: str | None):
        self._softmax = softmax
        self._copies: dict[int, Any] = {}
        self._taken: Counter[str] = Counter()

    def copy(self, graph: "tf_keras.Model", shape: tuple[int, ...], front: Callable[[Any], Any]) -> "tf_keras.Model":
        """Return the copy of a functional model for input of ``shape``; ``front`` turns that into the model's input."""
        keras = import_tf_keras()
        image = keras.Input(shape, name=graph.inputs[0].node.layer.name)
        self._taken[image.node.layer.name] += 1
        logits = self._inline(graph, front(image), "", None)
        return keras.Model(image, logits, name=graph.name)

    def _inline(self, model: "tf_keras.Model", x: Any, prefix: str, training: bool | None) -> Any:
        """Return a model's output for a tensor. ``training`` is the argument that the model was called with."""
        tensors = {id(model.inputs[0]): x}
        for node in nodes(model):
            if type(node.layer).__name__ == "InputLayer":
                continue
            args, kwargs = arguments(node, lambda tensor: tensors[id(tensor)])
            how = kwargs.pop("training", training)
            if isinstance(node.layer, import_tf_keras().Model):
                self._take_once(node.layer)
                inner = functional(node.layer)
                tensors[id(node.outputs)] = self._inline(inner, args[0], node.layer.name, how)
                continue
            if how is False and acts_in_training(node.layer):
                kwargs["training"] = False
            if self._left_out(node.layer):
                tensors[id(node.outputs)] = args[0]
                continue
            layer = self._copy_of(node.layer, prefix)
            tensors[id(node.outputs)] = layer(*args, **kwargs)
            layer.set_weights(node.layer.get_weights())
        return tensors[id(model.outputs[0])]

    def _take_once(self, model: Any) -> None:
        if id(model) in self._copies:
            raise ModelError(
                f"model: the model {model.name!r} inside it is applied more than once, and its layers would share "
                "their weights: build one for each application"
            )
        self._copies[id(model)] = model

    def _left_out(self, layer: Any) -> bool:
        return layer.name == self._softmax and not layer.weights

    def _copy_of(self, layer: Any, prefix: str) -> Any:
        if id(layer) not in self._copies:
            changes = {"activation": "linear"} if layer.name == self._softmax else {}
            self._copies[id(layer)] = copied(layer, name=self._name(layer.name, prefix), **changes)
        return self._copies[id(layer)]

    def _name(self, wanted: str, prefix: str) -> str:
        """Return a layer's own name; if another layer has it, the name of its model and its own."""
        name = wanted if not self._taken[wanted] or not prefix else f"{prefix}_{wanted}"
        self._taken[name] += 1
        return name if self._taken[name] == 1 else f"{name}_{self._taken[name] - 1}"
