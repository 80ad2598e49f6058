"""Keras's names and layout, channels last, and NIR's, channels first; and windows as NIR's convolutions have them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pads = tuple[tuple[int, int], ...]
"""Number of zeros before and after each axis of space."""


def plain_name(name: str) -> str:
    """Return a name without the characters that HDF5 or TensorFlow do not take, at most 200 long."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:200]
    return plain if re.match(r"[A-Za-z0-9]", plain) else f"n{plain}"


def channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape of Keras's in NIR's layout."""
    return (shape[-1], *shape[:-1])


def channels_last(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape of NIR's in Keras's layout."""
    return (*shape[1:], shape[0])


def flat_order(shape: Sequence[int]) -> NDArray[np.int64]:
    """Return the order that flattening gives values in NIR: its value i is Keras's value ``order[i]``.

    Parameters
    ----------
    shape
        Shape before flattening, in Keras's layout.
    """
    numbered = np.arange(int(np.prod(shape))).reshape(shape)
    return np.moveaxis(numbered, -1, 0).ravel()


def kernel_to_nir(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a kernel of Keras's, (*window, in, out), as NIR's, (out, in, *window)."""
    return np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)))


def kernel_to_keras(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a kernel of NIR's, (out, in, *window), as Keras's, (*window, in, out)."""
    return np.ascontiguousarray(np.moveaxis(weight, (0, 1), (-1, -2)))


def without_groups(kernel: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """Return the kernel of a convolution with groups for one without: zeros between channels of different groups."""
    *window, of_group, outputs = kernel.shape
    per_group = outputs // groups
    whole = np.zeros((*window, of_group * groups, outputs), kernel.dtype)
    for group in range(groups):
        ours = slice(group * per_group, (group + 1) * per_group)
        whole[..., group * of_group : (group + 1) * of_group, ours] = kernel[..., ours]
    return whole


def diagonal(values_c: NDArray[np.float64], window: Sequence[int]) -> NDArray[np.float64]:
    """Return the kernel that multiplies each cell of a window of channel c by ``values_c[c]``."""
    return np.broadcast_to(np.diag(values_c), (*window, len(values_c), len(values_c))).copy()


def same_pads(sizes: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> Pads:
    """Return the zeros that ``padding="same"`` adds in TensorFlow."""
    pads = []
    for size, cells, stride, apart in zip(sizes, window, strides, dilation, strict=True):
        total = max((-(-size // stride) - 1) * stride + (cells - 1) * apart + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


@dataclass(frozen=True, eq=False)
class Window:
    """The window of a convolution in NIR, which has as many zeros before an axis as behind it.

    Attributes
    ----------
    kernel
        Kernel in Keras's layout, (*window, in, out).
    padding
        Number of zeros on each side, by axis.
    dilation
        Distance of its cells, by axis.
    """

    kernel: NDArray[np.float64]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


def symmetric(
    kernel: NDArray[np.float64], pads: Pads, dilation: Sequence[int], sizes: Sequence[int], strides: Sequence[int]
) -> Window:
    """Return a window with any padding as one with the same padding on both sides.

    A kernel gets zeros at its beginning in place of those that its padding lacks there: what it computes is the same.
    Sides of different lengths get zeros too, because the type check of the ``nir`` package (1.0.8) takes the length of
    the first for all.

    Raises
    ------
    ValueError
        If the sides of the kernel differ by an odd number of cells, and the stride leaves no room for one more.
    """
    padding, distances = [], []
    for axis, ((before, behind), apart) in enumerate(zip(pads, dilation, strict=True)):
        dense = before != behind
        kernel = _undilated(kernel, axis, apart) if dense else kernel
        kernel = _widened(kernel, axis, (max(behind - before, 0), max(before - behind, 0)))
        padding.append(max(before, behind))
        distances.append(1 if dense else apart)
    longest = max(kernel.shape[:-2])
    for axis, apart in enumerate(distances):
        more = longest - kernel.shape[axis]
        beside = sizes[axis] + 2 * padding[axis] - (kernel.shape[axis] - 1) * apart - 1
        first = last = more // 2
        if more % 2:
            beyond = beside % strides[axis]  # cells behind the last window
            if beyond >= apart:
                last += 1
            elif beyond + apart < strides[axis]:
                first += 1
            else:
                raise ValueError(f"its window of {' x '.join(map(str, kernel.shape[:-2]))} cells")
        kernel = _widened(kernel, axis, (first, last))
        padding[axis] += first * apart
    return Window(kernel, tuple(padding), tuple(distances))


def _widened(kernel: NDArray[np.float64], axis: int, zeros: tuple[int, int]) -> NDArray[np.float64]:
    return np.pad(kernel, [zeros if i == axis else (0, 0) for i in range(kernel.ndim)])


def _undilated(kernel: NDArray[np.float64], axis: int, apart: int) -> NDArray[np.float64]:
    shape = list(kernel.shape)
    shape[axis] = (shape[axis] - 1) * apart + 1
    wide = np.zeros(shape, kernel.dtype)
    wide[tuple(slice(None, None, apart) if i == axis else slice(None) for i in range(kernel.ndim))] = kernel
    return wide
