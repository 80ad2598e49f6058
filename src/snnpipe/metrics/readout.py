"""Readouts, which turn the output over time into a class at every step.

Axes: b = image, t = step, c = class.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from snnpipe.settings.domains import LEFT_OUT, Readout
from snnpipe.values.simulation import SimulationChunk


@dataclass
class ReadoutState:
    """The class scores of one batch, chunk by chunk.

    Parameters
    ----------
    readout
        ``last``: the output itself; ``mean``: its mean over the last ``steps`` steps (fewer at the start);
        ``later_half``: its mean over the later half of all steps so far (the last three of five);
        ``later_three_quarters``: over the later three quarters (the last four of five); ``spike_count``: the
        output neurons' spikes since the first step. ``auto``, if no calibration has chosen, is ``mean``.
    steps
        Number of steps that ``mean`` averages over; None for all steps so far.
    """

    readout: Readout
    steps: int | None
    _past: list[NDArray[np.float64]] = field(default_factory=list)

    def scores(self, chunk: SimulationChunk) -> NDArray[np.float64]:
        """Return the scores after each step of a chunk, shape ``(b, t, c)``. Chunks must come in order."""
        if self.readout == "last":
            return chunk.outputs_btc.astype(np.float64)
        if self.readout in LEFT_OUT or (self.readout in ("mean", "auto") and self.steps is None):
            return self._means(chunk.outputs_btc.astype(np.float64))
        if self.readout in ("mean", "auto"):
            return self._window_means(chunk.outputs_btc.astype(np.float64))
        assert chunk.output_spikes_btc is not None, "checked before the run"
        counts = np.cumsum(chunk.output_spikes_btc.astype(np.float64), axis=1)
        if self._past:
            counts += self._past[0][:, None]
        self._past = [counts[:, -1]]
        return counts

    def _means(self, outputs_btc: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the outputs' means since the first step, or without a share of the steps so far."""
        before = self._past[-1] if self._past else np.zeros_like(outputs_btc[:, 0])
        sums = [*self._past, *np.moveaxis(before[:, None] + np.cumsum(outputs_btc, axis=1), 1, 0)]
        means = np.empty_like(outputs_btc)
        for t in range(outputs_btc.shape[1]):
            end = len(self._past) + t + 1
            begin = int(LEFT_OUT.get(self.readout, 0) * end)
            means[:, t] = (sums[end - 1] - (sums[begin - 1] if begin else 0.0)) / (end - begin)
        self._past = sums
        return means

    def _window_means(self, outputs_btc: NDArray[np.float64]) -> NDArray[np.float64]:
        assert self.steps is not None
        means = np.empty_like(outputs_btc)
        for t in range(outputs_btc.shape[1]):
            self._past = [*self._past, outputs_btc[:, t]][-self.steps :]
            means[:, t] = np.mean(self._past, axis=0)
        return means


def classes(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the class with the highest score over the last axis; of equal scores, the lowest class."""
    return np.asarray(np.argmax(scores, axis=-1), np.int64)


def latency_steps(accuracy_at_step: Sequence[float], reference: float, points: float) -> int | None:
    """Return the first step (from 1) from which accuracy stays within ``points`` of a reference, or None.

    Parameters
    ----------
    accuracy_at_step
        Share of images that are classified correctly after each step.
    reference
        Accuracy to stay near, which is the ANN's.
    points
        Percentage points that accuracy may lie below the reference.
    """
    near = np.asarray(accuracy_at_step) >= reference - points / 100 - 1e-12
    if not near.size or not near[-1]:
        return None
    away = np.flatnonzero(~near)
    return int(away[-1]) + 2 if away.size else 1
