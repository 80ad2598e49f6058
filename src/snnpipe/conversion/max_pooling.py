"""Max pooling over time, as a Nengo process.

Let S_j be the sum of a value over the steps so far. A window sends max_j S_j[t] - max_j S_j[t-1] (``sums``). This
telescopes: its mean over time is the maximum of the means, which is what the model computes. Or it sends what its
value with the largest S_j has in the step (``gated``; Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682).
"""

from collections.abc import Callable, Mapping
from typing import Any

import nengo
import numpy as np
from numpy.typing import NDArray

from snnpipe.frameworks.pooling import EQUAL_SUMS, Windows, padded_windows


class PooledOverTime(nengo.Process):
    """Max pooling over time of some windows of a signal.

    Parameters
    ----------
    windows
        The windows.
    gated
        Whether a window passes on its value with the largest sum; otherwise it sends the growth of the largest sum.
        Sums that differ by rounding alone count as equal, and the first of the window is taken.
    """

    def __init__(self, windows: Windows, gated: bool):
        n_out, n_in = windows.shape
        super().__init__(default_size_in=n_in, default_size_out=n_out)
        self._gated = gated
        self._cells = padded_windows(windows)

    __eq__ = object.__eq__  # Nengo compares processes by their parameters, and windows are none
    __hash__ = object.__hash__

    def make_state(
        self, shape_in: tuple[int, ...], shape_out: tuple[int, ...], dt: float, dtype: Any = None
    ) -> dict[str, NDArray[Any]]:
        """Return the sums before the first step."""
        return {"sums": np.zeros(shape_in, dtype)}

    def make_step(
        self,
        shape_in: tuple[int, ...],
        shape_out: tuple[int, ...],
        dt: float,
        rng: Any,
        state: Mapping[str, NDArray[Any]],
    ) -> Callable[[float, NDArray[Any]], NDArray[Any]]:
        """Return the function that runs a step."""
        sums = state["sums"]

        def grown(t: float, x: NDArray[Any]) -> NDArray[Any]:
            before = self._of_windows(sums).max(axis=1)
            sums[...] += x
            pooled: NDArray[Any] = self._of_windows(sums).max(axis=1) - before
            return pooled

        def passed(t: float, x: NDArray[Any]) -> NDArray[Any]:
            sums[...] += x
            of_windows = self._of_windows(sums)
            largest = of_windows.max(axis=1, keepdims=True)
            first = np.argmax(of_windows >= largest - EQUAL_SUMS * np.abs(largest), axis=1)
            pooled: NDArray[Any] = x[self._cells[np.arange(len(first)), first]]
            return pooled

        return passed if self._gated else grown

    def _of_windows(self, sums: NDArray[Any]) -> NDArray[Any]:
        of_windows: NDArray[Any] = np.append(sums, sums.dtype.type(-np.inf))[self._cells]
        return of_windows
