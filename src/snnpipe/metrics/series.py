"""What is logged step by step, so that it charts against simulated time."""

import math
from collections.abc import Iterator, Mapping, Sequence

_MS = 1000.0
_ROUNDING = 1e-9


def step_series(
    curves: Mapping[str, Sequence[float]], n_steps: int, dt: float
) -> Iterator[tuple[str, Sequence[float], int]]:
    """Yield the series of a simulation's first steps, as a logger takes them: name, values, and where they begin.

    ``snn/<curve>_at_step`` has a value a step. Where a step is no millisecond, ``snn/<curve>_at_ms`` follows it.

    Parameters
    ----------
    curves
        Value after each step (from the first), by its name: ``accuracy``, ``agreement``.
    n_steps
        How many steps.
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
    """Return a curve at whole milliseconds: at each, the value after the last step that has ended by then.

    Parameters
    ----------
    values
        After each step, from the first.
    dt
        Seconds per step.

    Returns
    -------
    first, sampled
        The first millisecond by which a step has ended, and the values from there on.
    """
    step_ms = dt * _MS
    first = math.ceil(step_ms - _ROUNDING)
    last = math.floor(len(values) * step_ms + _ROUNDING)
    return first, [values[math.floor(ms / step_ms + _ROUNDING) - 1] for ms in range(first, last + 1)]
