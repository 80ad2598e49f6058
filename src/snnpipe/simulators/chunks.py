"""The chunks of steps that simulators cut a run into."""

from collections.abc import Iterator

from snnpipe.values.simulation import SimulationSettings, Stimulus

_INPUT_BYTES = 64 * 2**20


def chunks(settings: SimulationSettings, stimulus: Stimulus) -> Iterator[tuple[int, int]]:
    """Yield the first step and the number of steps of each chunk of a run."""
    steps = settings.chunk_steps or settings.n_steps
    if not stimulus.encoder.constant:
        steps = min(steps, max(1, _INPUT_BYTES // max(1, 4 * stimulus.images.size)))
    for first in range(0, settings.n_steps, steps):
        yield first, min(steps, settings.n_steps - first)
