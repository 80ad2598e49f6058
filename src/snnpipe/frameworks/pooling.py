"""Pooling windows, and average pooling as a matrix."""

from collections.abc import Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Windows: TypeAlias = sparse.csr_array
"""Which values of an input (columns) each window (rows) covers, as ones."""

EQUAL_SUMS = 1e-5
"""Relative difference up to which the sums of two inputs of a max pooling count as equal: rounding makes such ones."""


def pooling_matrix(layer: Any, shape: Sequence[int]) -> sparse.csr_array:
    """Return a Keras average pooling as a matrix from input to output, both flattened, channels last.

    A window at a padded border takes the mean of the cells inside the input, as in TensorFlow.

    Parameters
    ----------
    layer
        Keras pooling layer of any number of dimensions, global or not.
    shape
        Shape of the input, without the batch.
    """
    taken = pooling_windows(layer, shape)
    return sparse.csr_array(sparse.diags_array(1 / taken.sum(axis=1)) @ taken)


def pooling_windows(layer: Any, shape: Sequence[int]) -> Windows:
    """Return which values of the input each window of a Keras pooling layer covers.

    Parameters
    ----------
    layer
        Keras pooling layer of any number of dimensions, global or not.
    shape
        Shape of the input, without the batch. Inputs and outputs are flattened, channels last.
    """
    spatial = tuple(shape[:-1])
    cells = _each(getattr(layer, "pool_size", spatial), len(spatial))
    strides = _each(getattr(layer, "strides", spatial), len(spatial))
    same = getattr(layer, "padding", "valid") == "same"
    axes = [_windows(*axis, same) for axis in zip(spatial, cells, strides, strict=True)]
    windows = sparse.csr_array(reduce(sparse.kron, [*axes, sparse.eye_array(shape[-1])]))
    windows.eliminate_zeros()  # kron keeps the zeros of small dense blocks
    windows.sort_indices()
    return windows


def padded_windows(windows: Windows) -> NDArray[np.int64]:
    """Return the values that each window covers, ascending, shape ``(windows, cells)``.

    A window with fewer cells than others is filled up with the index behind the last value.
    """
    cells = np.diff(windows.indptr)
    padded = np.full((windows.shape[0], int(cells.max())), windows.shape[1])
    padded[np.arange(padded.shape[1]) < cells[:, None]] = windows.indices
    return padded


def _windows(size: int, cells: int, stride: int, same: bool) -> sparse.csr_array:
    """Return which places (columns) of an axis each window (row) covers, as a matrix of ones and zeros."""
    if same:
        n = -(-size // stride)
        first = -(max((n - 1) * stride + cells - size, 0) // 2)
    else:
        n, first = (size - cells) // stride + 1, 0
    pairs = [
        (window, place)
        for window in range(n)
        for place in range(max(first + window * stride, 0), min(first + window * stride + cells, size))
    ]
    rows, columns = np.array(pairs).T
    return sparse.csr_array((np.ones(len(pairs)), (rows, columns)), shape=(n, size))


def _each(value: Any, n: int) -> tuple[int, ...]:
    return (int(value),) * n if isinstance(value, int) else tuple(int(v) for v in value)
