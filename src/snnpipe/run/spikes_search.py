"""Search for the fewest spikes per step with which a network is exact enough."""

from collections.abc import Callable, Iterator, Sequence

from snnpipe.conversion.calibration import Limits
from snnpipe.run.trials import Trial
from snnpipe.values.calibration import Tried

_FACTOR = 2.0
_LOWEST, _HIGHEST = 1 / 16, 16.0
"""Range of spikes per step that the search tries, as multiples of its first value."""

_HALVINGS = 2
"""Number of halvings at the end: the result is at most 2^(1/4) times the fewest spikes that are enough."""

_CLOSE = 0.9
"""An error below this share of the limit has room for fewer spikes: the interval is halved once more."""

_LEAST_GAIN = 0.9
"""A trial with more spikes is worth it if its error is at most this share of the error before."""

NO_IDEA = 0.5
"""Error from which on it says nothing yet: in a deep network with few spikes, nothing comes through."""


def search(
    trial: Callable[[float], Trial], alike: Callable[[float, float], bool], first: Trial, limits: Limits
) -> Iterator[Trial]:
    """Yield the results of several numbers of spikes per step, in the order of the trials.

    The number is doubled or halved until one is enough and its half is not. Then the interval between the two is
    halved `_HALVINGS` times, and once more if the error is below `_CLOSE` of its limit.

    Parameters
    ----------
    trial
        Function that returns the result of a number of spikes per step.
    alike
        Function that says whether two numbers of spikes per step make the same network.
    first
        Result of the first number.
    limits
        Limits of the search.
    """
    yield first
    before, spikes = first, first.tried.spikes_per_step
    begin, enough = spikes, is_enough(first.tried, limits)
    factor = 1 / _FACTOR if enough else _FACTOR
    while _LOWEST * begin <= spikes * factor <= _HIGHEST * begin:
        if alike(spikes * factor, spikes):
            return
        spikes *= factor
        after = trial(spikes)
        yield after
        if is_enough(after.tried, limits) != enough:
            low, high = (after, before) if enough else (before, after)
            yield from _between(trial, low, high, limits)
            return
        if limits.max_drop is None and not enough and _gains_nothing(before.tried.error, after.tried.error):
            return
        before = after


def _gains_nothing(before: float, after: float) -> bool:
    return before < NO_IDEA and after > _LEAST_GAIN * before


def _between(trial: Callable[[float], Trial], low: Trial, high: Trial, limits: Limits) -> Iterator[Trial]:
    """Yield trials between one that is not enough and one that is."""
    halvings = 0
    while halvings < _HALVINGS or (halvings == _HALVINGS and _has_room(high.tried, limits)):
        between = trial(float((low.tried.spikes_per_step * high.tried.spikes_per_step) ** 0.5))
        yield between
        low, high = (low, between) if is_enough(between.tried, limits) else (between, high)
        halvings += 1


def _has_room(tried: Tried, limits: Limits) -> bool:
    return limits.max_drop is None and tried.error < _CLOSE * limits.max_error


def is_enough(tried: Tried, limits: Limits) -> bool:
    """Whether a trial keeps to the limit on the loss of accuracy, or without one to that on the error."""
    return tried.error <= limits.max_error if limits.max_drop is None else tried.drop <= limits.max_drop


def best(trials: Sequence[Trial], limits: Limits) -> Trial:
    """Return the trial with the fewest spikes per step that is enough; without one, the fewest that are nearly best."""

    def spikes(trial: Trial) -> float:
        return trial.tried.spikes_per_step

    if enough := [one for one in trials if is_enough(one.tried, limits)]:
        return min(enough, key=spikes)
    if limits.max_drop is not None:
        return min(trials, key=lambda one: (one.tried.drop, spikes(one)))
    least = min(one.tried.error for one in trials)
    return min((one for one in trials if one.tried.error <= least / _LEAST_GAIN), key=spikes)
