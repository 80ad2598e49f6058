"""Which of several answers to a question with several objectives are worth having."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Objective:
    """A metric that is better the smaller it is.

    Attributes
    ----------
    metric
        Its name.
    label
        What it is, with its unit.
    factor
        From the metric to that unit.
    """

    metric: str
    label: str
    factor: float = 1.0

    def of(self, metrics: Mapping[str, float]) -> float:
        """Return its value, infinite where the metric is missing: the accuracy was never reached, say."""
        return self.factor * metrics.get(self.metric, inf)


OBJECTIVES = (
    Objective("snn/accuracy_drop", "accuracy drop (points)", 100.0),
    Objective("snn/latency_ms_to_1pt", "latency to 1 point below the ANN (ms)"),
    Objective("snn/synops_per_image", "SynOps per image"),
)
"""What a conversion costs."""


def pareto_front(costs: ArrayLike) -> NDArray[np.bool_]:
    """Return which points no other point dominates.

    A point dominates another where it is at most as large in every objective and smaller in one. Equal points do not
    dominate each other.

    Parameters
    ----------
    costs
        Shape ``(points, objectives)``, all to be small; infinite where an objective was not reached.

    Returns
    -------
    NDArray
        Shape ``(points,)``.
    """
    k = np.asarray(costs, np.float64)
    if not len(k):
        return np.zeros(0, np.bool_)
    no_larger = (k[:, None] <= k[None, :]).all(axis=-1)
    smaller = (k[:, None] < k[None, :]).any(axis=-1)
    return np.asarray(~(no_larger & smaller).any(axis=0))


def front_of(metrics: Sequence[Mapping[str, float] | None]) -> NDArray[np.bool_]:
    """Return which of some runs are on the front of the three objectives; one without metrics is not."""
    there = np.array([m is not None for m in metrics], np.bool_)
    on_front = np.zeros(len(there), np.bool_)
    on_front[there] = pareto_front([[o.of(m) for o in OBJECTIVES] for m in metrics if m is not None])
    return on_front
