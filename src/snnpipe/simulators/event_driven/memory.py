"""Arrays that are used again once nothing refers to them: memory that the system gives anew has to be cleared first."""

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_MOST = 2
"""Buffers that are kept. A caller that goes from batch to batch still holds the last one while it gets the next."""


class Reused:
    """Arrays of zeros, whose memory is that of earlier ones where nothing refers to these any more.

    A view of an array refers to the array that owns the memory, so that a buffer's count of references shows whether
    any part of it is still in use.
    """

    def __init__(self, dtype: DTypeLike):
        self._dtype = np.dtype(dtype)
        self._buffers: list[NDArray[Any]] = []

    def zeros(self, *shape: int) -> NDArray[Any]:
        """Return an array of zeros."""
        n = math.prod(shape)
        unused = [i for i in range(len(self._buffers)) if sys.getrefcount(self._buffers[i]) == _UNUSED]
        large = [i for i in unused if self._buffers[i].size >= n]
        if large:
            buffer = self._buffers.pop(large[0])
            buffer[:n] = 0
        else:
            buffer = np.zeros(n, self._dtype)
        self._buffers = [buffer, *self._buffers][:_MOST]
        return buffer[:n].reshape(shape)

    def clear(self) -> None:
        """Give the memory back."""
        self._buffers.clear()


_alone = [np.zeros(1)]
_UNUSED = sys.getrefcount(_alone[0])
"""References to an array that only a list holds, as `sys.getrefcount` counts them."""
