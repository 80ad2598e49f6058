"""What training and conversion both need to know of a Keras model's graph."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from snnpipe.compat import import_tf_keras
from snnpipe.errors import ModelError

if TYPE_CHECKING:
    import tf_keras


def functional(model: "tf_keras.Model") -> "tf_keras.Model":
    """Return a model as a functional one, sharing its layers.

    Raises
    ------
    ModelError
        If the model has no static graph, or more than one input or output.
    """
    keras = import_tf_keras()
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"model: got a {type(model).__module__}.{type(model).__qualname__}, no model of tf_keras (Keras 2, "
            "which NengoDL works with): build it with tf_keras.layers in place of keras.layers"
        )
    if isinstance(model, keras.Sequential) and model.built and model.inputs:
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not getattr(model, "_is_graph_network", False):
        raise ModelError(
            f"model {model.name!r} has no static graph of layers: build it with Keras's functional API, or as a "
            "Sequential that begins with an Input"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"model {model.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} outputs: "
            "snnpipe takes one image in and one vector of logits out"
        )
    return model


def nodes(model: "tf_keras.Model") -> Iterator[Any]:
    """Yield the Keras nodes (applications of layers) of a functional model, inputs first."""
    by_depth = model._nodes_by_depth  # Keras has no public way to list one model's nodes
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


def activation_name(layer: Any) -> str:
    """Return the name of the activation that a layer applies, ``linear`` if it applies none."""
    kind = type(layer).__name__
    if kind in ("ReLU", "LeakyReLU", "Softmax"):
        return {"ReLU": "relu", "LeakyReLU": "leaky_relu", "Softmax": "softmax"}[kind]
    if is_relu_op(layer):
        return "relu"
    activation = getattr(layer, "activation", None)
    if activation is None:
        return "linear"
    return str(getattr(activation, "__name__", type(activation).__name__))


def is_relu_op(layer: Any) -> bool:
    """Whether a layer is ``tf.nn.relu`` called on a Keras tensor."""
    return type(layer).__name__ == "TFOpLambda" and layer.get_config().get("function") == "nn.relu"


def is_neuron_layer(layer: Any) -> bool:
    """Whether conversion makes neurons of a layer's output: whether it applies a ReLU."""
    if activation_name(layer) != "relu":
        return False
    if type(layer).__name__ == "ReLU":
        return not layer.negative_slope and not layer.threshold and layer.max_value is None
    return True


def neuron_layers(model: "tf_keras.Model") -> list[Any]:
    """Return the layers of a model that become neurons, from input to output."""
    return [node.layer for node in nodes(functional(model)) if is_neuron_layer(node.layer)]
