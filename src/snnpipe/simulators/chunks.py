"""What simulators share: how a run is cut into chunks, and how spikes become a sparse list."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.types import SimulationSettings, SpikeEvents, Stimulus

_INPUT_BYTES = 64 * 2**20


def chunks(settings: SimulationSettings, stimulus: Stimulus) -> Iterator[tuple[int, int]]:
    """Yield first step and number of steps of each chunk of a run."""
    steps = settings.chunk_steps or settings.n_steps
    if not stimulus.encoder.constant:
        steps = min(steps, max(1, _INPUT_BYTES // max(1, 4 * stimulus.images.size)))
    for first in range(0, settings.n_steps, steps):
        yield first, min(steps, settings.n_steps - first)


class EventRecorder:
    """Collects the spikes of a stimulus's recorded images, step by step, for one layer."""

    def __init__(self, stimulus: Stimulus):
        self._rows = list(stimulus.record)
        self._ids = np.asarray([stimulus.image_ids[row] for row in self._rows], np.int32)
        self._parts: list[SpikeEvents] = []

    def add(self, step: int, spikes_bn: NDArray[np.floating[Any]]) -> None:
        """Keep the spikes of one step, given those of all images of the batch."""
        if self._rows:
            spikes = spikes_bn[self._rows]
            row, neuron = np.nonzero(spikes)
            self._parts.append(
                SpikeEvents(
                    self._ids[row],
                    np.full(len(row), step, np.int32),
                    neuron.astype(np.int32),
                    np.rint(spikes[row, neuron]).astype(np.int32),
                )
            )

    def events(self) -> SpikeEvents:
        """Return what was collected."""
        return SpikeEvents.concatenate(self._parts)
