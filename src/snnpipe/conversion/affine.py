"""Simple functions of a layer in inference: it passes its input on unchanged, or scales each channel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.frameworks.keras_graph import as_function

_TOLERANCE = 1e-4
_LEAST = 1e-30
_SIZES = (1e-2, 30.0, 1e4)
"""Sizes of the inputs that are tried too: a function that is linear only near 0 is not a scaling."""


@dataclass(frozen=True)
class Affine:
    """The function scale * x + offset of each channel; both have shape ``(c,)``."""

    scale: NDArray[np.float64]
    offset: NDArray[np.float64]


def passes_on(node: Any) -> bool:
    """Whether a node with one input and no trained weights returns its input unchanged in inference."""
    drawn = _draw(node, 0)
    if drawn is None or _trained(node):
        return False
    tried = [drawn, *(size * drawn for size in _SIZES)]
    if type(node.layer).__name__ == "Masking":  # it changes samples with its value alone, and its mask other layers
        if _uses_mask(node.layer):
            return False
        tried.append(np.full_like(drawn, node.layer.mask_value))
    function = as_function(node)
    return all(_is_kept(_values(function, x), x) for x in tried)


def _uses_mask(layer: Any) -> bool:
    """Whether a layer behind a layer, such as a mean over steps, takes its mask."""
    behind = [node.layer for node in layer.outbound_nodes]
    return any(getattr(own, "_expects_mask_arg", False) or _uses_mask(own) for own in behind)


def _is_kept(y: NDArray[np.float64] | None, x: NDArray[np.float64]) -> bool:
    return y is not None and y.shape == x.shape and np.array_equal(y.astype(np.float32), x.astype(np.float32))


def affine_of(node: Any) -> Affine | None:
    """Return the scaling that a node with one input computes; None if it computes anything else.

    Batch normalisation does not count as a scaling here, because training changes it. Masking changes only samples with
    its value.
    """
    kind = type(node.layer).__name__
    if kind == "Rescaling":
        return _by_channel(node, node.layer.scale, node.layer.offset)
    if kind == "Normalization":
        return _normalization(node)
    if kind in ("BatchNormalization", "Masking") or _trained(node):
        return None
    return _probed(node)


def _trained(node: Any) -> bool:
    return bool(getattr(node.layer, "trainable_weights", ()))


def _normalization(node: Any) -> Affine | None:
    layer = node.layer
    if not hasattr(layer, "mean") or not hasattr(layer, "variance"):
        return None
    mean, deviation = np.asarray(layer.mean, np.float64), np.sqrt(np.asarray(layer.variance, np.float64))
    deviation = np.maximum(deviation, import_tensorflow().keras.backend.epsilon())
    if layer.invert:
        return _by_channel(node, deviation, mean)
    return _by_channel(node, 1 / deviation, -mean / deviation)


def _by_channel(node: Any, scale: Any, offset: Any) -> Affine | None:
    """Return a scaling with numbers that broadcast to a node's input; None if they differ within a channel."""
    shape = tuple(node.keras_inputs[0].shape[1:])
    try:
        whole = [
            np.broadcast_to(np.asarray(v, np.float64), (1, *shape)).reshape(-1, shape[-1]) for v in (scale, offset)
        ]
    except (TypeError, ValueError):
        return None
    for values in whole:
        if not np.allclose(values, values[0], rtol=_TOLERANCE, atol=_LEAST):
            return None
    return Affine(whole[0][0].copy(), whole[1][0].copy())


def _probed(node: Any) -> Affine | None:
    function = as_function(node)
    one, other = _draw(node, 1), _draw(node, 2)
    if one is None or other is None:
        return None
    zero = np.zeros_like(one)
    offset, first, second = (_values(function, x) for x in (zero, one, other))
    if offset is None or first is None or second is None:
        return None
    if not offset.shape == first.shape == second.shape == zero.shape:
        return None
    affine = _by_channel(node, (first - offset) / one, offset)
    if affine is None or not np.all(np.isfinite(affine.scale)) or not np.any(affine.scale):
        return None
    for x, given in ((other, second), *((size * other, _values(function, size * other)) for size in _SIZES)):
        expected = affine.scale * x + affine.offset
        near = _TOLERANCE * np.abs(expected).max()
        if given is None or not np.allclose(given, expected, rtol=_TOLERANCE, atol=near):
            return None
    return affine


def _draw(node: Any, seed: int) -> NDArray[np.float64] | None:
    """Return a random input of a node with sizes from 1 to 2 and random signs; None if its shape is not fixed."""
    shape = tuple(node.keras_inputs[0].shape[1:])
    if None in shape:
        return None
    rng = np.random.default_rng(seed)
    drawn: NDArray[np.float64] = rng.uniform(1, 2, (1, *shape)) * rng.choice([-1, 1], (1, *shape))
    return drawn.astype(np.float32).astype(np.float64)


def _values(function: Any, x: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the output of a function, in double precision if the function takes it; None if the function fails."""
    tf = import_tensorflow()
    for dtype in (np.float64, np.float32):
        try:
            with tf.init_scope():
                return np.asarray(function(tf.constant(x.astype(dtype))), np.float64)
        except Exception:  # a user's layer may raise anything
            continue
    return None
