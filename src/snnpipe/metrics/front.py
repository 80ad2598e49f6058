"""The Pareto front of runs with several objectives."""

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snnpipe.metrics.catalogue import DROP, LATENCY, SYNOPS
from snnpipe.values.metric import MetricSpec

OBJECTIVES = (DROP, LATENCY, SYNOPS)
"""The costs of a conversion: metrics for which lower is better."""


def cost(objective: MetricSpec, metrics: Mapping[str, float]) -> float:
    """Return a run's value of an objective in its unit; infinite if there is none, as when accuracy stays too low."""
    return objective.factor * metrics.get(objective.name, inf)


def pareto_front(costs: ArrayLike) -> NDArray[np.bool_]:
    """Return which points no other point dominates.

    A point dominates another if it is no larger in every objective and smaller in at least one. Equal points do not
    dominate each other.

    Parameters
    ----------
    costs
        Objectives, of which lower values are better, shape ``(points, objectives)``; infinite if one was not reached.

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
    """Return which runs are on the front of the three objectives. A run without metrics is not on it."""
    there = np.array([m is not None for m in metrics], np.bool_)
    on_front = np.zeros(len(there), np.bool_)
    on_front[there] = pareto_front([[cost(o, m) for o in OBJECTIVES] for m in metrics if m is not None])
    return on_front
