"""Encoders, which turn a sample into the network's input over time."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snnpipe.settings.domains import PositiveFloat, Seconds
from snnpipe.settings.schema import check_fields


@dataclass(frozen=True)
class ConstantEncoder:
    """Show the sample's values unchanged at every step. A time series is shown whole, all of its time steps at once."""

    constant: ClassVar[bool] = True

    def seeded(self, seed: int) -> "ConstantEncoder":
        """Return this encoder, which draws nothing at random."""
        return self

    def encode(
        self, samples: NDArray[np.float32], sample_ids: Sequence[int], first_step: int, n_steps: int
    ) -> NDArray[np.float32]:
        """Return the input over time, shape ``(b, n_steps, n)``: a view that repeats the samples."""
        flat = samples.reshape(len(samples), 1, -1)
        return np.broadcast_to(flat, (len(samples), n_steps, flat.shape[-1]))


@dataclass(frozen=True)
class PoissonEncoder:
    """Show Poisson spike trains whose mean over time is the sample's value.

    The number of spikes of a value x in a step has a Poisson distribution with mean ``|x| * max_rate_hz * dt``; each
    spike has the height ``sign(x) / (max_rate_hz * dt)``. The draws depend on the seed, the sample's index and the step
    alone, and not on how samples are batched or steps are grouped.

    Parameters
    ----------
    max_rate_hz
        Spike rate of a value of 1, Hz.
    dt
        Seconds per step, the same as the simulator's.
    """

    max_rate_hz: PositiveFloat = 100.0
    dt: Seconds = 0.001
    seed: int = field(default=0, init=False)

    constant: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self, "encoder")

    def seeded(self, seed: int) -> "PoissonEncoder":
        """Return this encoder with the run's seed."""
        seeded = copy(self)
        object.__setattr__(seeded, "seed", seed)
        return seeded

    def encode(
        self, samples: NDArray[np.float32], sample_ids: Sequence[int], first_step: int, n_steps: int
    ) -> NDArray[np.float32]:
        """Return the input over time, shape ``(b, n_steps, n)``."""
        flat = samples.reshape(len(samples), -1)
        per_step = self.max_rate_hz * self.dt
        signal = np.empty((len(flat), n_steps, flat.shape[1]), np.float32)
        for row, (sample, sample_id) in enumerate(zip(flat, sample_ids, strict=True)):
            for step in range(n_steps):
                draw = np.random.default_rng((self.seed, sample_id, first_step + step))
                signal[row, step] = draw.poisson(np.abs(sample) * per_step) * np.sign(sample) / per_step
        return signal
