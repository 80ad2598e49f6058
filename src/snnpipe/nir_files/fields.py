"""The fields of nodes of NIR, checked: a file may hold anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.bundle.layers import MOST_VALUES


@dataclass(frozen=True)
class Mean:
    """A node that passes on its input times a factor, averaged over windows if it pools; ``zeros`` are around it."""

    gain: float
    window: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    zeros: tuple[int, ...] = ()


def mean_of(node: Any, kind: str) -> Mean | None:
    """Return the factor and the window of a node that does nothing but average; None for weights of any other kind."""
    if kind == "Flatten":
        return Mean(1.0)
    if kind == "Scale":
        scale = np.asarray(node.scale, np.float64)
        if not scale.size or not np.all(scale == scale.flat[0]) or not 0 < scale.flat[0] < np.inf:
            raise ValueError("its factors differ, or are not above 0: take an Affine or a convolution")
        return Mean(float(scale.flat[0]))
    if kind in ("AvgPool2d", "SumPool2d"):
        window = whole_numbers(node.kernel_size, 2, 1)
        gain = float(prod(window)) if kind == "SumPool2d" else 1.0
        return Mean(gain, window, whole_numbers(node.stride, 2, 1), whole_numbers(node.padding, 2, 0))
    weight = numbers(node.weight, "weight")
    if weight.ndim < 2 or weight.shape[0] != weight.shape[1] or not weight.size or not weight.flat[0] > 0:
        return None
    factor, n = float(weight.flat[0]), weight.ndim - 2
    diagonal = np.broadcast_to(np.eye(len(weight)).reshape(*weight.shape[:2], *(1,) * n), weight.shape)
    if np.any(getattr(node, "bias", 0.0)) or not np.array_equal(weight, factor * diagonal):
        return None
    if not n:
        return Mean(factor)
    window, ones = weight.shape[2:], (1,) * n
    if int(node.groups) != 1 or whole_numbers(node.dilation, n, 1) != ones or isinstance(node.padding, (str, bytes)):
        return None
    zeros = whole_numbers(node.padding, n, 0)
    return Mean(factor * prod(window), window, whole_numbers(node.stride, n, 1), zeros)


def checked_shape(shape: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape of a tensor that is not too large, or raise `ValueError`."""
    if (
        not shape
        or not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape)
        or prod(map(int, shape)) > MOST_VALUES
    ):
        raise ValueError(f"got the shape {str(tuple(shape))[:100]}: allowed are at most {MOST_VALUES:,} values")
    return tuple(int(n) for n in shape)


def numbers(values: Any, what: str) -> NDArray[np.float64]:
    """Return finite numbers, or raise `ValueError`."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
        raise ValueError(f"its {what} has values that are infinite or no numbers")
    return array.astype(np.float64)


def whole_numbers(given: Any, n: int, least: int) -> tuple[int, ...]:
    """Return a whole number for each of ``n`` axes, given as one or as ``n``, or raise `ValueError`."""
    values = np.asarray(given)
    whole = values.size in (1, n) and values.dtype.kind in "iu"
    if not whole or values.min() < least or values.max() > MOST_VALUES:
        raise ValueError(f"got {str(given)[:50]!r}: takes {n} whole numbers of at least {least}")
    return tuple(int(own) for own in np.broadcast_to(values.ravel(), (n,)))
