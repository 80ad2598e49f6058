"""Which of several answers to a question with several objectives are worth having."""

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snnpipe.metrics.catalogue import DROP, LATENCY, SYNOPS
from snnpipe.values.metric import MetricSpec

OBJECTIVES = (DROP, LATENCY, SYNOPS)
"""What a conversion costs: metrics that are better the smaller they are."""


def cost(objective: MetricSpec, metrics: Mapping[str, float]) -> float:
    """Return a run's value of an objective in its unit, infinite where it has none: the accuracy was never reached."""
    return objective.factor * metrics.get(objective.name, inf)


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
    on_front[there] = pareto_front([[cost(o, m) for o in OBJECTIVES] for m in metrics if m is not None])
    return on_front
