"""The state of a compiled Keras model's training as arrays, from which training continues to the bit."""

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
    """Return the weights, the optimizer's variables and the states of random generators, by name.

    Parameters
    ----------
    model
        A compiled model that is being trained.
    midway
        Whether training is within an epoch. The arrays then include the sums of the running metrics.
    """
    arrays = {name: variable.numpy() for name, variable in _variables(model)}
    if midway:
        arrays |= {name: variable.numpy() for name, variable in _metrics(model)}
    return arrays | {_GENERATORS: np.frombuffer(json.dumps(_generators()).encode(), np.uint8)}


def restore(model: "tf_keras.Model", arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set the weights, the optimizer's variables and the random generators of a compiled model.

    Raises
    ------
    CheckpointError
        If the arrays are of another model or optimizer.
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
    """Add the earlier sums of an epoch to a model's running metrics, after the first batch of the resumed epoch."""
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
    """Yield the running sums of the metrics, all of which are means."""
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
