"""Adaptation of a user's model to a run: one graph of layers that takes the data's samples and returns logits."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe.base.errors import ModelError, one_line
from snnpipe.frameworks.compat import import_tensorflow, import_tf_keras
from snnpipe.frameworks.copies import Copier
from snnpipe.frameworks.keras3 import is_keras_3
from snnpipe.frameworks.keras_graph import (
    activation_name,
    as_function,
    functional,
    is_function,
    nodes,
)
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.values.checkpoint import check_weight_names
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tf_keras

_SOFTMAX = ("softmax", "nn.softmax", "keras.activations.softmax", "log_softmax", "nn.log_softmax")


@dataclass(frozen=True)
class Adapted:
    """A model that fits the data, and the changes that were made for that.

    Attributes
    ----------
    model
        The model.
    notes
        Differences from the given model, a sentence each.
    """

    model: "tf_keras.Model | NativeNetwork"
    notes: tuple[str, ...] = ()


def adapt(model: "tf_keras.Model | NativeNetwork", spec: DataSpec) -> Adapted:
    """Return a model that takes a dataset's samples and returns one logit per class.

    If nothing has to be changed, the result is the given model itself. Otherwise it is a copy with the same weights:
    nested models are replaced by their layers, samples are reshaped to the input, and a final softmax is left out.

    Parameters
    ----------
    model
        The model that an architecture built.
    spec
        Spec of the dataset.

    Raises
    ------
    ModelError
        If the model and the data do not fit each other.
    """
    if isinstance(model, NativeNetwork):
        _check_native(model, spec)
        return Adapted(model)
    keras = import_tf_keras()
    if isinstance(model, keras.Sequential) and not model.inputs and model.layers:
        model = _with_input(model, spec)
    graph = functional(model)
    notes = []
    wanted = spec.input_shape
    front = _front(tuple(graph.inputs[0].shape[1:]), spec)
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
        graph = model = Copier(softmax).copy(graph, wanted, front.layers if front else lambda x: x)
    _check_output(graph, spec)
    check_weight_names(model)
    _check_weights(graph)
    _check_logits(graph, spec)
    return Adapted(model, tuple(notes))


def build(architecture: Any, spec: DataSpec) -> Any:
    """Return the model of an architecture: an object with ``build``, a function of the spec, or a model itself.

    Raises
    ------
    ModelError
        If the architecture is none of these.
    """
    if isinstance(architecture, (NativeNetwork, import_tf_keras().Model)) or is_keras_3(architecture):
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


def _check_native(model: NativeNetwork, spec: DataSpec) -> None:
    _check_output(model, spec)
    if model.input_shape[1] != np.prod(spec.input_shape):
        raise ModelError(
            f"model: its input node has {model.input_shape[1]} values, and a sample of {spec.name} has "
            f"{np.prod(spec.input_shape)}: build it with nengo.Node(numpy.zeros(numpy.prod(spec.input_shape)))"
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
    more = isinstance(shape, tuple) and len(shape) == 2 and (shape[1] or 0) > spec.n_classes
    lacking = ". If the data lack classes of the model, name all of its classes in data.class_names" if more else ""
    raise ModelError(
        f"model: its output has shape {shape}, and this dataset needs (None, {spec.n_classes}): one raw logit per "
        f"class{lacking}"
    )


def _with_input(model: Any, spec: DataSpec) -> Any:
    try:
        model.build((None, *spec.input_shape))
    except Exception as error:
        raise ModelError(
            f"model {model.name!r}: it does not take {spec.sample_word}s of shape {spec.input_shape}: "
            f"{one_line(error)[:300]}"
        ) from error
    return model


def _softmax_at_the_end(model: "tf_keras.Model") -> str:
    """Return the name of the layer that ends a model in a softmax or log-softmax; empty if there is none."""
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
    """Whether a node computes a softmax or log-softmax, under any name."""
    tf = import_tensorflow()
    shape = tuple(node.keras_inputs[0].shape[1:])
    if None in shape:
        return False
    x = np.random.default_rng(0).normal(0, 3, (4, *shape)).astype(np.float32)
    try:
        with tf.init_scope():
            given = np.asarray(as_function(node)(tf.constant(x)))
            softmax = np.asarray(tf.nn.softmax(x))
    except Exception:  # a user's function may raise any error
        return False
    return any(given.shape == x.shape and np.allclose(given, own, atol=1e-5) for own in (softmax, np.log(softmax)))


def _check_weights(model: "tf_keras.Model") -> None:
    for layer in model.layers:
        for values in layer.get_weights():
            wrong = int(np.size(values) - np.sum(np.isfinite(values)))
            if wrong:
                raise ModelError(
                    f"model: layer {layer.name!r} has weights that are infinite or no numbers ({wrong:,} of "
                    f"{np.size(values):,}): give weights of an earlier epoch, or train it anew"
                )


def _check_logits(model: "tf_keras.Model", spec: DataSpec) -> None:
    """Refuse a model whose outputs are probabilities, and warn about a model whose outputs are sigmoids."""
    samples = np.random.default_rng(0).uniform(-1, 1, (16, *spec.input_shape)).astype(np.float32)
    outputs = np.asarray(model.predict_on_batch(samples), np.float64)
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
    """Layers that go before a model so that it takes the samples."""

    layers: Callable[[Any], Any]
    note: str


def _front(given: tuple[int | None, ...], spec: DataSpec) -> _Front | None:
    """Return the layers that give samples the shape of an input; None if the shapes are the same already."""
    layers, wanted, words = import_tf_keras().layers, spec.input_shape, f"{spec.sample_word}s"
    if given == wanted:
        return None
    if len(given) == len(wanted) and all(a in (None, b) for a, b in zip(given, wanted, strict=True)):
        return _Front(lambda x: x, f"the input of shape {given} takes {words} of shape {wanted}")
    fixed = [n for n in given if n is not None]
    if len(fixed) == len(given) and np.prod(fixed) == np.prod(wanted):
        if len(given) == 1:
            return _Front(layers.Flatten(name=f"flatten_{words}"), f"{words} of shape {wanted} are flattened")
        if [n for n in given if n != 1] == [n for n in wanted if n != 1]:
            return _Front(
                layers.Reshape(given, name=f"reshape_{words}"), f"{words} of shape {wanted} are given the shape {given}"
            )
    of = "" if spec.name == words else f" of {spec.name}"
    moved = sorted(fixed) == sorted(wanted) and len(wanted) > 1
    how = "numpy.moveaxis brings the axes into its order" if moved else f"the shape of one {spec.sample_word}"
    raise ModelError(
        f"model: it takes an input of shape {given}, and the {words}{of} have the shape {wanted}: build it with "
        f"Input({wanted}), which is spec.input_shape, or give a trained one {words} of shape {given} ({how})"
    )
