"""A model as people bring it, made one that a run can use: one graph of layers, the data's images in, logits out."""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe.base.errors import ModelError, one_line
from snnpipe.frameworks.compat import import_tensorflow, import_tf_keras
from snnpipe.frameworks.keras_graph import (
    activation_name,
    acts_in_training,
    arguments,
    as_function,
    functional,
    is_function,
    nodes,
)
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.types import DataSpec
from snnpipe.values.checkpoint import check_weight_names

if TYPE_CHECKING:
    import tf_keras

_SOFTMAX = ("softmax", "nn.softmax", "keras.activations.softmax", "log_softmax", "nn.log_softmax")


@dataclass(frozen=True)
class Adapted:
    """A model that fits the data, and what was changed for that.

    Attributes
    ----------
    model
        The model.
    notes
        What differs from the model that was given, a sentence each.
    """

    model: "tf_keras.Model | NativeNetwork"
    notes: tuple[str, ...] = ()


def adapt(model: "tf_keras.Model | NativeNetwork", spec: DataSpec) -> Adapted:
    """Return a model that takes a dataset's images and gives one logit a class.

    Where nothing has to be changed it is the model itself. Else it is a copy with the same weights: models inside the
    model are replaced by their layers, images are reshaped to the input, and a softmax at the end is left out.

    Parameters
    ----------
    model
        As an architecture builds it.
    spec
        Of the dataset.

    Raises
    ------
    ModelError
        If model and data do not fit each other.
    """
    if isinstance(model, NativeNetwork):
        _check_native(model, spec)
        return Adapted(model)
    keras = import_tf_keras()
    if isinstance(model, keras.Sequential) and not model.inputs and model.layers:
        model = _with_input(model, spec)
    graph = functional(model)
    notes = []
    wanted = tuple(spec.image_shape)
    front = _front(tuple(graph.inputs[0].shape[1:]), wanted, spec)
    if front is not None:
        notes.append(front.note)
    softmax = _softmax_at_the_end(graph)
    if softmax:
        notes.append(f"the softmax of {softmax} is left out: its logits are trained and converted")
    nested = [node.layer.name for node in nodes(graph) if isinstance(node.layer, keras.Model)]
    notes += [f"the layers of the model {name} are taken into the whole" for name in nested]
    always = [node.layer.name for node in nodes(graph) if node.call_kwargs.get("training") is True]
    for name in always:
        if graph.get_layer(name).weights:
            raise ModelError(
                f"model: {name!r} ({type(graph.get_layer(name)).__name__}) is called with training=True, so that it "
                "computes with each batch's own statistics in testing too, which no converted network has: leave "
                "training=True out"
            )
    notes += [f"{name} was called with training=True: it acts in training only" for name in always]
    if notes:
        graph = model = _Copier(softmax).copy(graph, wanted, front)
    _check_output(graph, spec)
    check_weight_names(model)
    _check_logits(graph, spec)
    return Adapted(model, tuple(notes))


def build(architecture: Any, spec: DataSpec) -> Any:
    """Return the model of an architecture: an object with ``build``, a function of the spec, or a model itself.

    Raises
    ------
    ModelError
        If it is none of these.
    """
    if isinstance(architecture, (NativeNetwork, import_tf_keras().Model)):
        return architecture
    if isinstance(architecture, type):
        raise ModelError(f"architecture: got the class {architecture.__name__}: give an object of it, made with ()")
    if hasattr(architecture, "build"):
        return architecture.build(spec)
    if callable(architecture):
        return architecture(spec)
    raise ModelError(
        f"architecture: got {architecture!r}: give an object with build(spec), a function of the spec, or a Keras model"
    )


def flattened(model: "tf_keras.Model") -> "tf_keras.Model":
    """Return a functional model without models inside it: itself, or a copy with the same weights.

    Raises
    ------
    ModelError
        If a model inside it is applied more than once, or a layer of it cannot be copied.
    """
    graph = functional(model)
    if not any(isinstance(node.layer, import_tf_keras().Model) for node in nodes(graph)):
        return graph
    return _Copier(None).copy(graph, tuple(graph.inputs[0].shape[1:]), None)


# ---------------------------------------------------------------------- what does not fit


def _check_native(model: NativeNetwork, spec: DataSpec) -> None:
    _check_output(model, spec)
    if model.input_shape[1] != np.prod(spec.image_shape):
        raise ModelError(
            f"model: its input node has {model.input_shape[1]} values, and an image of {spec.name} has "
            f"{np.prod(spec.image_shape)}"
        )


def _check_output(model: Any, spec: DataSpec) -> None:
    shape = getattr(model, "output_shape", None)
    if shape == (None, spec.n_classes):
        return
    if isinstance(shape, dict):
        raise ModelError(f"model: its output is a dict with {', '.join(shape)}: give the tensor of the logits itself")
    if shape == (None, 1):
        raise ModelError(
            f"model: its output is one value, and the {spec.n_classes} classes of {spec.name} need a logit each: end "
            f"it in Dense({spec.n_classes}), and train it with that"
        )
    raise ModelError(
        f"model: its output has shape {shape}, and this dataset needs (None, {spec.n_classes}): one raw logit per class"
    )


def _with_input(model: Any, spec: DataSpec) -> Any:
    try:
        model.build((None, *spec.image_shape))
    except Exception as error:
        raise ModelError(
            f"model {model.name!r}: it does not take images of shape {tuple(spec.image_shape)}: {one_line(error)[:300]}"
        ) from error
    return model


def _softmax_at_the_end(model: "tf_keras.Model") -> str:
    """Return the name of the layer that ends a model in a softmax, or its logarithm; empty for none."""
    last = _last(model)
    if isinstance(last.layer, import_tf_keras().Model):
        return _softmax_at_the_end(functional(last.layer))
    name = str(last.layer.name)
    if activation_name(last.layer) in _SOFTMAX:
        return name
    return name if is_function(last.layer) and len(last.keras_inputs) == 1 and _is_softmax(last) else ""


def _last(model: "tf_keras.Model") -> Any:
    """Return the node that gives a functional model's output."""
    return next(node for node in nodes(model) if node.outputs is model.outputs[0])


def _is_softmax(node: Any) -> bool:
    """Whether a node does what a softmax does, or its logarithm, whatever it is called."""
    tf = import_tensorflow()
    shape = tuple(node.keras_inputs[0].shape[1:])
    if None in shape:
        return False
    x = np.random.default_rng(0).normal(0, 3, (4, *shape)).astype(np.float32)
    try:
        with tf.init_scope():
            given = np.asarray(as_function(node)(tf.constant(x)))
            softmax = np.asarray(tf.nn.softmax(x))
    except Exception:  # of whatever a user's function raises
        return False
    return any(given.shape == x.shape and np.allclose(given, own, atol=1e-5) for own in (softmax, np.log(softmax)))


def _check_logits(model: "tf_keras.Model", spec: DataSpec) -> None:
    """Refuse a model whose outputs are probabilities, and warn of one whose outputs are sigmoids."""
    images = np.random.default_rng(0).uniform(-1, 1, (16, *spec.image_shape)).astype(np.float32)
    outputs = np.asarray(model.predict_on_batch(images), np.float64)
    for values in (outputs, np.exp(np.minimum(outputs, 50.0))):
        if values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3):
            raise ModelError(
                "model: its outputs are probabilities, which add up to 1, and no logits: leave out what makes them of "
                f"the logits, and end it in Dense({spec.n_classes})"
            )
    last = _last(model).layer
    if activation_name(last) == "sigmoid":
        warnings.warn(
            f"model: its output {last.name!r} is a sigmoid, whose values from 0 to 1 are trained and compared as "
            "logits: leave the sigmoid out",
            stacklevel=2,
        )


@dataclass(frozen=True)
class _Front:
    """What is put before a model so that it takes the images."""

    layers: Callable[[Any], Any]
    note: str


def _front(given: tuple[int | None, ...], wanted: tuple[int, ...], spec: DataSpec) -> _Front | None:
    """Return what makes images of one shape the input of another; None where they are the same."""
    layers = import_tf_keras().layers
    if given == wanted:
        return None
    if len(given) == len(wanted) and all(a in (None, b) for a, b in zip(given, wanted, strict=True)):
        return _Front(lambda x: x, f"the input of shape {given} takes images of shape {wanted}")
    fixed = [n for n in given if n is not None]
    if len(fixed) == len(given) and np.prod(fixed) == np.prod(wanted):
        if len(given) == 1:
            return _Front(layers.Flatten(name="flatten_images"), f"images of shape {wanted} are flattened")
        if [n for n in given if n != 1] == [n for n in wanted if n != 1]:
            return _Front(
                layers.Reshape(given, name="reshape_images"), f"images of shape {wanted} are given the shape {given}"
            )
    raise ModelError(
        f"model: it takes an input of shape {given}, and the images of {spec.name} have the shape {wanted}: build it "
        f"with Input({wanted}), which is spec.image_shape"
    )


# ---------------------------------------------------------------------- copies


def copied(layer: Any, **changes: Any) -> Any:
    """Return a new layer with another's configuration, some of it changed; its weights come later.

    An activation is handed on as the function that it is, which a configuration may not be able to hold.

    Raises
    ------
    ModelError
        If the layer's class does not say how to make it again.
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
        new = type(layer).from_config(config | changes)
    except Exception as error:
        raise ModelError(
            f"model: layer {layer.name!r} ({type(layer).__name__}) cannot be copied ({one_line(error)[:200]}): give "
            "its class a get_config with the arguments of its constructor"
        ) from error
    if keeps and "activation" not in changes:
        new.activation = activation
    return new


class _Copier:
    """Copies a model layer by layer, models inside it as their layers."""

    def __init__(self, softmax: str | None):
        self._softmax = softmax
        self._copies: dict[int, Any] = {}
        self._taken: Counter[str] = Counter()

    def copy(self, graph: "tf_keras.Model", shape: tuple[int, ...], front: _Front | None) -> "tf_keras.Model":
        keras = import_tf_keras()
        image = keras.Input(shape, name=graph.inputs[0].node.layer.name)
        self._taken[image.node.layer.name] += 1
        logits = self._inline(graph, image if front is None else front.layers(image), "", None)
        return keras.Model(image, logits, name=graph.name)

    def _inline(self, model: "tf_keras.Model", x: Any, prefix: str, training: bool | None) -> Any:
        """Return what a model gives for a tensor; ``training`` is how it was called itself."""
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
        """Return a layer's own name, or with its model's where another layer has that."""
        name = wanted if not self._taken[wanted] or not prefix else f"{prefix}_{wanted}"
        self._taken[name] += 1
        return name if self._taken[name] == 1 else f"{name}_{self._taken[name] - 1}"
