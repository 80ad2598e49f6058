"""A compiled Keras model's training as arrays, and back: to the bit."""

import json
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import CheckpointError

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

_GENERATORS = "generators"


def take(model: "tf_keras.Model", *, midway: bool) -> dict[str, NDArray[Any]]:
    """Return weights, the optimizer's variables and the states of random generators, by name.

    Parameters
    ----------
    model
        A compiled model that is being trained.
    midway
        Whether it is within an epoch: then the sums of its running metrics too.
    """
    arrays = {name: variable.numpy() for name, variable in _variables(model)}
    if midway:
        arrays |= {name: variable.numpy() for name, variable in _metrics(model)}
    return arrays | {_GENERATORS: np.frombuffer(json.dumps(_generators()).encode(), np.uint8)}


def restore(model: "tf_keras.Model", arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set a compiled model's weights, its optimizer's variables and random generators.

    Raises
    ------
    CheckpointError
        If they are of another model or optimizer.
    """
    model.optimizer.build(model.trainable_variables)
    variables = dict(_variables(model))
    have = {name: array.shape for name, array in arrays.items()}
    for name, variable in variables.items():
        if have.get(name) != tuple(variable.shape):
            raise CheckpointError(
                f"the training state is of another model: {name} is {have.get(name, 'missing')} there and "
                f"{tuple(variable.shape)} here"
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])
    _set_generators(json.loads(arrays[_GENERATORS].tobytes()))


def add_metrics(model: "tf_keras.Model", arrays: Mapping[str, NDArray[Any]]) -> None:
    """Add an epoch's earlier sums to a model's running metrics, after the first batch that goes on with it."""
    for name, variable in _metrics(model):
        variable.assign_add(arrays[name])


def _variables(model: "tf_keras.Model") -> Iterator[tuple[str, "tf.Variable"]]:
    for i, variable in enumerate(model.weights):
        yield f"weight {i}", variable
    for i, variable in enumerate(model.optimizer.variables):
        yield f"optimizer's variable {i}", variable
    for layer in model._flatten_layers():
        generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
        if generator is not None:
            yield f"random generator of {layer.name}", generator.state


def _metrics(model: "tf_keras.Model") -> Iterator[tuple[str, "tf.Variable"]]:
    """Yield the running sums of metrics, all of which are means."""
    for i, metric in enumerate(model.metrics):
        for variable in metric.variables:
            yield f"metric {i} {metric.name} {variable.name}", variable


def _generators() -> dict[str, Any]:
    """Return the states of Python's and NumPy's global generators."""
    numpy = np.random.get_state(legacy=False)
    return {"python": random.getstate(), "numpy": numpy | {"state": _plain(numpy["state"])}}


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in state.items()}


def _set_generators(states: Mapping[str, Any]) -> None:
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    numpy = states["numpy"]
    key = np.asarray(numpy["state"]["key"], np.uint32)
    np.random.set_state(numpy | {"state": numpy["state"] | {"key": key}})
