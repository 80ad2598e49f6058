"""Series that are logged step by step, so that they can be charted against simulated time."""

import math
from collections.abc import Iterator, Mapping, Sequence

_MS = 1000.0
_ROUNDING = 1e-9


def step_series(
    curves: Mapping[str, Sequence[float]], n_steps: int, dt: float
) -> Iterator[tuple[str, Sequence[float], int]]:
    """Yield the series of a simulation's first steps for a logger: name, values and number of the first value.

    ``snn/<curve>_at_step`` has a value for each step. If a step is not 1 ms long, ``snn/<curve>_at_ms`` comes next.

    Parameters
    ----------
    curves
        Values after each step, from the first step on, by the curve's name: ``accuracy``, ``agreement``.
    n_steps
        Number of steps.
    dt
        Seconds per step.
    """
    for name, values in curves.items():
        yield f"snn/{name}_at_step", values[:n_steps], 1
        if not math.isclose(dt * _MS, 1):
            first, sampled = at_milliseconds(values[:n_steps], dt)
            if sampled:
                yield f"snn/{name}_at_ms", sampled, first


def at_milliseconds(values: Sequence[float], dt: float) -> tuple[int, list[float]]:
    """Return a curve at whole milliseconds. Each value is that after the last step that has ended by then.

    Parameters
    ----------
    values
        Values after each step, from the first step on.
    dt
        Seconds per step.

    Returns
    -------
    first, sampled
        First millisecond by which a step has ended, and the values from then on.
    """
    step_ms = dt * _MS
    first = math.ceil(step_ms - _ROUNDING)
    last = math.floor(len(values) * step_ms + _ROUNDING)
    return first, [values[math.floor(ms / step_ms + _ROUNDING) - 1] for ms in range(first, last + 1)]
