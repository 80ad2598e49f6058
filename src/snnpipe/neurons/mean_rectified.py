"""Rate neurons that rectify the mean of their current, and not the current of each step."""

import nengo
import numpy as np
from nengo.dists import Choice
from nengo.params import NumberParam
from numpy.typing import NDArray

_UNLIMITED = 1e30
"""Spikes per step that stand for no limit."""


class MeanRectifiedLinear(nengo.RectifiedLinear):
    """Rate neurons whose mean output over any number of first steps is the rectified mean of their current.

    Signed integrate-and-fire neurons add up currents of either sign. So they stand for the rectified mean
    of a current that changes from step to step, and `nengo.RectifiedLinear` would have the mean of the rectified
    current. The sum of the outputs up to a step is ``amplitude * min(max(sum of J, 0), max_rate * steps)``; an output
    is the growth of this sum, which may be negative.

    Parameters
    ----------
    max_rate
        Highest mean rate in Hz, before the amplitude; None for no limit.
    amplitude
        Factor on the output.
    """

    negative = True
    state = {"total": Choice([0.0]), "limit": Choice([0.0])}  # noqa: RUF012  # Nengo's way to declare it

    max_rate = NumberParam("max_rate", low=0, low_open=True, optional=True)

    def __init__(self, max_rate: float | None = None, amplitude: float = 1):
        super().__init__(amplitude=amplitude)
        self.max_rate = max_rate

    def most(self, dt: float) -> float:
        """Return the growth of the limit in a step of ``dt`` s."""
        return _UNLIMITED if self.max_rate is None else self.max_rate * dt

    def step(
        self,
        dt: float,
        J: NDArray[np.float64],
        output: NDArray[np.float64],
        total: NDArray[np.float64],
        limit: NDArray[np.float64],
    ) -> None:
        """Add a step's current, and send the growth of the rectified sum."""
        before = np.clip(total, 0, limit)
        total += J * dt
        limit += self.most(dt)
        output[...] = (self.amplitude / dt) * (np.clip(total, 0, limit) - before)
