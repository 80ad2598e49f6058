"""Samples in memory, batch by batch: through a simulator with its read-out, and through a model.

Axes: b = sample, c = class.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.metrics.readout import ReadoutState
from snnpipe.protocols import OpenSimulator, Simulator
from snnpipe.values.simulation import SignalEncoder, SimulationChunk, Stimulus

Batch = tuple[range, NDArray[np.float32]]
"""Numbers and values of some samples."""


Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Samples and their labels."""


def in_batches(samples: NDArray[np.float32], size: int) -> Iterator[Batch]:
    """Yield samples, at most ``size`` at a time."""
    for first in range(0, len(samples), size):
        batch = samples[first : first + size]
        yield range(first, first + len(batch)), batch


def read_out(
    opened: OpenSimulator, simulator: Simulator, encoder: SignalEncoder, batches: Iterable[Batch]
) -> Iterator[tuple[ReadoutState, Iterator[SimulationChunk]]]:
    """Yield a new read-out and the chunks of the simulation of each batch.

    Parameters
    ----------
    opened
        Simulator with the network in it.
    simulator
        Simulator whose read-out is taken.
    encoder
        Encoder of the samples.
    batches
        The samples.
    """
    for numbers, samples in batches:
        yield ReadoutState(simulator.readout, simulator.readout_steps), opened.run(Stimulus(samples, numbers, encoder))


def logits_of(model: Any, samples: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """Return a model's logits, shape ``(b, c)``, computed for ``size`` samples at a time."""
    parts = [np.asarray(model.predict_on_batch(batch), np.float64) for _, batch in in_batches(samples, size)]
    return np.concatenate(parts)


def first_of(stream: Any, wanted: int) -> Labelled:
    """Return the first ``wanted`` samples of a stream of batches, and their labels."""
    samples, labels, n = [], [], 0
    for of_batch, their_labels, *_ in stream.as_numpy_iterator():
        samples.append(of_batch[: wanted - n])
        labels.append(their_labels[: wanted - n])
        n += len(samples[-1])
        if n >= wanted:
            break
    return np.concatenate(samples), np.concatenate(labels)
