"""Search for the fewest spikes per step with which a network is exact enough."""

from collections.abc import Callable, Iterator, Sequence

from snnpipe.conversion.calibration import Calibration
from snnpipe.run.trials import Trial
from snnpipe.values.calibration import Tried

_FACTOR = 2.0
_LOWEST, _HIGHEST = 1 / 16, 16.0
"""Range of spikes per step that the search tries, as multiples of its first value."""

_HALVINGS = 2
"""Number of halvings at the end: the result is at most 2^(1/4) times the fewest spikes that are enough."""

_LEAST_GAIN = 0.9
"""A trial with more spikes is worth it if its error is at most this share of the error before."""

NO_IDEA = 0.5
"""Error from which on it says nothing yet: in a deep network with few spikes, nothing comes through."""


def search(
    trial: Callable[[float], Trial], alike: Callable[[float, float], bool], first: Trial, settings: Calibration
) -> Iterator[Trial]:
    """Yield the results of several numbers of spikes per step, in the order of the trials.

    The number is doubled or halved until one is enough and its half is not. Then the interval between the two is
    halved `_HALVINGS` times.

    Parameters
    ----------
    trial
        Function that returns the result of a number of spikes per step.
    alike
        Function that says whether two numbers of spikes per step make the same network.
    first
        Result of the first number.
    settings
        Limits of the search.
    """
    yield first
    before, spikes = first, first.tried.spikes_per_step
    begin, enough = spikes, is_enough(first.tried, settings)
    factor = 1 / _FACTOR if enough else _FACTOR
    while _LOWEST * begin <= spikes * factor <= _HIGHEST * begin:
        if alike(spikes * factor, spikes):
            return
        spikes *= factor
        after = trial(spikes)
        yield after
        if is_enough(after.tried, settings) != enough:
            low, high = sorted((spikes / factor, spikes))
            yield from _between(trial, low, high, settings)
            return
        if settings.max_drop is None and not enough and _gains_nothing(before.tried.error, after.tried.error):
            return
        before = after


def _gains_nothing(before: float, after: float) -> bool:
    return before < NO_IDEA and after > _LEAST_GAIN * before


def _between(trial: Callable[[float], Trial], low: float, high: float, settings: Calibration) -> Iterator[Trial]:
    """Yield trials between a number that is not enough and one that is."""
    for _ in range(_HALVINGS):
        spikes = float((low * high) ** 0.5)
        between = trial(spikes)
        yield between
        low, high = (low, spikes) if is_enough(between.tried, settings) else (spikes, high)


def is_enough(tried: Tried, settings: Calibration) -> bool:
    """Whether a trial keeps to the limit on the loss of accuracy, or without one to that on the error."""
    return tried.error <= settings.max_error if settings.max_drop is None else tried.drop <= settings.max_drop


def best(trials: Sequence[Trial], settings: Calibration) -> Trial:
    """Return the trial with the fewest spikes per step that is enough; without one, the fewest that are nearly best."""

    def spikes(trial: Trial) -> float:
        return trial.tried.spikes_per_step

    if enough := [one for one in trials if is_enough(one.tried, settings)]:
        return min(enough, key=spikes)
    if settings.max_drop is not None:
        return min(trials, key=lambda one: (one.tried.drop, spikes(one)))
    least = min(one.tried.error for one in trials)
    return min((one for one in trials if one.tried.error <= least / _LEAST_GAIN), key=spikes)
