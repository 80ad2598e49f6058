"""Scales the channels of a network without changing its function: divides weights in, and multiplies weights out.

For a ReLU, ``relu(W x / f) * f = relu(W x)`` for each f above 0 (cross-layer equalisation, Nagel et al. 2019,
arXiv:1906.04721). Channels that are added share a factor, and so do the positions of a channel that is pooled.

Each value of a tensor has the number of its *variable*. The values of one variable share a factor. Variable 0 is not
scaled, and -1 stands for zeros that padding adds.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.frameworks.keras_graph import (
    MAX_POOLING,
    MOVING,
    POOLING,
    RECTIFIERS,
    WEIGHTED,
    activation_name,
    nodes,
    rectifier,
)

if TYPE_CHECKING:
    import tf_keras

_FIXED, _ZERO = 0, -1


class Channels:
    """The channels of a functional model's layers, and which of them must be scaled together.

    Parameters
    ----------
    model
        Model that `snnpipe.conversion.rewrite.prepare` made: layers with weights, layers that move values, pooling,
        sums, concatenations and rectifiers. Inputs and outputs of any other layer are not scaled.
    """

    def __init__(self, model: "tf_keras.Model"):
        self._model = model
        self._parents: list[int] = [_FIXED]
        self._of_tensor: dict[int, NDArray[np.int64]] = {}
        self._outputs: dict[str, NDArray[np.int64]] = {}
        for node in nodes(model):
            inputs = [self._of_tensor[id(tensor)] for tensor in node.keras_inputs] if node.keras_inputs else []
            variables = self._through(node, inputs)
            self._of_tensor[id(node.outputs)] = self._outputs[node.layer.name] = variables
        self._fix(self._of_tensor[id(model.outputs[0])])
        self._roots = np.array([self._root(number) for number in range(len(self._parents))])

    def factors(self, wanted: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """Return factors that the model can take. Channels that share a factor get the largest of their wanted ones.

        Parameters
        ----------
        wanted
            Wanted factor of each channel, by layer name, shape ``(c,)``, above 0.
        """
        of_root = self._of_root(wanted)
        return {name: of_root[self._channels(name)] for name in wanted}

    def apply(self, factors: Mapping[str, NDArray[np.float64]], key: str) -> None:
        """Divide the channels of layers by factors. The model's weights change in place, and its output does not.

        Parameters
        ----------
        factors
            Factor of each channel, by layer name, shape ``(c,)``.
        key
            Key of the setting in the configuration, for the error message.

        Raises
        ------
        ConfigError
            If the number of factors is not a layer's number of channels, or channels that must share a factor have
            different ones.
        """
        for name, of_layer in factors.items():
            if np.shape(of_layer) != (n := self._outputs[name].shape[-1],):
                raise ConfigError(f"{key}: layer {name!r} has {n} channels, and gets {np.size(of_layer)} factors")
        of_root = self._of_root(factors)
        for name, of_layer in factors.items():
            if not np.allclose(of_root[self._channels(name)], of_layer, rtol=1e-6):
                raise ConfigError(
                    f"{key}: channels of layer {name!r} are added to others or go to the output, and cannot have "
                    "factors of their own: take those that a calibration gave"
                )
        for node in nodes(self._model):
            if type(node.layer).__name__ in WEIGHTED or normalises_channels(node.layer):
                inside = of_root[self._roots[self._first(self._of_tensor[id(node.keras_inputs[0])])]]
                self._scale(node.layer, inside, of_root[self._channels(node.layer.name)])

    # ------------------------------------------------------------------ variables

    def _of_root(self, factors: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        of_root = np.zeros(len(self._parents))
        for name, of_layer in factors.items():
            np.maximum.at(of_root, self._channels(name), of_layer)
        of_root[of_root == 0] = 1.0
        of_root[_FIXED] = 1.0
        return of_root

    def _channels(self, name: str) -> NDArray[np.int64]:
        """Return the variable that stands for each channel of a layer's output."""
        of_channels: NDArray[np.int64] = self._roots[self._first(self._outputs[name])]
        return of_channels

    def _first(self, variables: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return one variable of each channel. All variables of a channel are tied, except zeros of padding."""
        return np.asarray(variables.reshape(-1, variables.shape[-1]).max(axis=0))

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def _tie(self, pairs: Iterable[tuple[int, int]]) -> None:
        for a, b in pairs:
            if _ZERO in (a, b):
                continue
            low, high = sorted((self._root(a), self._root(b)))
            self._parents[high] = low  # 0 stays a root

    def _fix(self, variables: NDArray[np.int64]) -> None:
        self._tie((int(number), _FIXED) for number in np.unique(variables))

    def _new(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Return a new variable for each channel of a tensor."""
        first = len(self._parents)
        self._parents += range(first, first + shape[-1])
        return np.broadcast_to(np.arange(first, first + shape[-1]), shape)

    def _tie_channels(self, variables: NDArray[np.int64]) -> NDArray[np.int64]:
        """Make all values of each channel share a variable, and return the variables, shape ``(c,)``."""
        rows = np.unique(variables.reshape(-1, variables.shape[-1]), axis=0)
        first = rows.max(axis=0)
        for row in rows:
            self._tie(zip(row.tolist(), first.tolist(), strict=True))
        return np.asarray(first)

    # ------------------------------------------------------------------ layer by layer

    def _through(self, node: Any, inputs: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        layer, kind, shape = node.layer, type(node.layer).__name__, tuple(node.outputs.shape[1:])
        if kind in WEIGHTED:
            self._tie_channels(inputs[0])
            return self._activated(layer, self._new(shape))
        if normalises_channels(layer):
            of_channels = self._tie_channels(inputs[0])
            return self._new(shape) if layer.scale else np.broadcast_to(of_channels, shape)
        if kind in RECTIFIERS and (own := rectifier(layer)) is not None:
            return inputs[0] if own.max_value is None else self._fixed(inputs, shape)
        if kind in MOVING and getattr(layer, "interpolation", "nearest") == "nearest":
            return self._moved(layer, inputs[0])
        if kind in (*POOLING, *MAX_POOLING):
            return np.broadcast_to(self._tie_channels(inputs[0]), shape)
        if kind in ("Add", "Average") and all(own.shape == shape for own in inputs):
            for other in inputs[1:]:
                self._tie({(int(a), int(b)) for a, b in zip(inputs[0].ravel(), other.ravel(), strict=True)})
            return np.maximum(inputs[0], inputs[-1])
        if kind == "Concatenate":
            return np.concatenate(inputs, axis=layer.axis if layer.axis < 0 else layer.axis - 1)
        return self._fixed(inputs, shape)

    def _activated(self, layer: Any, variables: NDArray[np.int64]) -> NDArray[np.int64]:
        own = rectifier(layer)
        if activation_name(layer) == "linear" or (own is not None and own.max_value is None):
            return variables
        self._fix(variables)
        return variables

    def _fixed(self, inputs: list[NDArray[np.int64]], shape: tuple[int, ...]) -> NDArray[np.int64]:
        for variables in inputs:
            self._fix(variables)
        return np.full(shape, _FIXED)

    def _moved(self, layer: Any, variables: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the variables in the places where a layer moves them, and -1 for zeros that it adds."""
        tf = import_tensorflow()
        moved = layer(tf.constant(variables[None] + 1, layer.compute_dtype))
        return np.asarray(np.asarray(moved)[0].astype(np.int64) - 1)

    def _scale(self, layer: Any, inside: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Multiply a layer's weights by the factors of its inputs, and divide them by the factors of its outputs."""
        weights = [np.asarray(w, np.float64) for w in layer.get_weights()]
        if type(layer).__name__ == "BatchNormalization":
            *affine, mean, variance = weights
            if layer.scale:
                affine[0] = affine[0] * inside / out
            if layer.center:
                affine[-1] = affine[-1] / out
            weights = [*affine, mean / inside, variance]
        else:
            kernel = weights[0]
            channels, n_out = kernel.shape[-2:]
            groups = len(inside) // channels
            group = np.arange(n_out) // (n_out // groups)
            into = inside[np.arange(channels)[:, None] + group * channels]
            weights = [kernel * into / out, *(bias / out for bias in weights[1:])]
        layer.set_weights([w.astype(np.float32) for w in weights])


def normalises_channels(layer: Any) -> bool:
    """Whether a layer is a batch normalisation over the last axis."""
    return type(layer).__name__ == "BatchNormalization" and list(layer.axis) == [len(layer.output_shape) - 1]
