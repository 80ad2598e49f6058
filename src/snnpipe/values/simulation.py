"""The input of a simulator and its output.

Axes: b = sample of the batch, t = simulation step, n = neuron (flattened), c = class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import SimulationError
from snnpipe.settings.domains import NonNegativeInt, PositiveInt, Precision, Readout, Seconds
from snnpipe.settings.schema import check_fields

_STEPS_AT_ONCE = 100


class SignalEncoder(Protocol):
    """The part of an encoder that a stimulus needs.

    Attributes
    ----------
    constant
        Whether the input is the same at every step; simulators then ask for the first step only.
    """

    constant: ClassVar[bool]

    def encode(
        self, samples: NDArray[np.float32], sample_ids: Sequence[int], first_step: int, n_steps: int, /
    ) -> NDArray[np.float32]:
        """Return the input at ``n_steps`` steps from ``first_step`` on.

        Parameters
        ----------
        samples
            Shape ``(b, *input_shape)``, of any rank.
        sample_ids
            Index of each sample in the test split.
        first_step, n_steps
            Simulation steps, counted from 0.

        Returns
        -------
        ndarray
            Shape ``(b, n_steps, n)``: at each step, a value for each of the n values of a sample, in C order.
        """


def input_over_time(encoder: SignalEncoder) -> str:
    """Return in words how an encoder shows a sample: the same at every step, or changing."""
    return "constant over time" if encoder.constant else f"changes over time ({type(encoder).__name__})"


@dataclass(frozen=True)
class SimulationSettings:
    """The settings of every simulator.

    Parameters
    ----------
    n_steps
        Number of simulation steps that a sample is shown.
    dt
        Seconds per step.
    batch_size
        Number of samples that are simulated together.
    max_images
        Number of test samples to simulate, from the first on; None for all of them.
    readout
        How the output over time becomes a class: from the ``last`` step, from the ``mean`` over the last
        ``readout_steps``, from the mean over the ``later_half`` or the ``later_three_quarters`` of the steps so far,
        or from the ``spike_count`` of the output neurons since the first step. ``auto`` is the ``mean``, or one of the
        later parts if that has clearly less error on the samples that scales are taken from; without scales from data,
        or with ``readout_steps``, the ``mean``.
    readout_steps
        Number of steps that ``mean`` averages over; None for all so far.
    verify_images
        Number of samples, from the first on, that are simulated in NengoDL too before the run and compared; 0 for none.
    precision
        Precision of all numbers. With ``float64``, a difference between simulators is a mistake and not rounding. It is
        slower.
    chunk_steps
        Number of steps in a chunk of output. None means all steps, or for an input that changes, as many as fit into
        64 MiB. The result does not depend on it.
    """

    n_steps: PositiveInt = 8
    dt: Seconds = 0.001
    batch_size: PositiveInt = 100
    max_images: PositiveInt | None = None
    readout: Readout = "auto"
    readout_steps: PositiveInt | None = None
    verify_images: NonNegativeInt = 0
    precision: Precision = "float32"
    chunk_steps: PositiveInt | None = None

    def __post_init__(self) -> None:
        check_fields(self, "simulator")

    def with_settings(self, **changes: Any) -> Self:
        """Return the same with some settings changed."""
        return replace(self, **changes)

    @property
    def shared(self) -> dict[str, Any]:
        """The settings that every simulator has."""
        return {field.name: getattr(self, field.name) for field in fields(SimulationSettings)}


@dataclass(frozen=True, eq=False)
class Rates:
    """What a network computes for constant input if its neurons send their rates at once, without filters.

    Attributes
    ----------
    layers
        Output of each layer of neurons, by name, shape ``(b, n)``.
    output
        Output of the network, shape ``(b, c)``.
    """

    layers: Mapping[str, NDArray[np.floating[Any]]]
    output: NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Stimulus:
    """A batch of samples as a simulator sees them: values over time, computed on request.

    Attributes
    ----------
    images
        The samples, shape ``(b, *input_shape)``, of any rank.
    image_ids
        Index of each sample in the test split. An encoder's randomness depends on it.
    encoder
        The encoder that makes a sample a signal over time.
    record
        Indices within the batch of the samples whose single spikes are recorded.
    """

    images: NDArray[np.float32]
    image_ids: Sequence[int]
    encoder: SignalEncoder
    record: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.record)) < len(self.record) or not all(0 <= row < len(self) for row in self.record):
            raise ValueError(f"record names rows of {len(self)} samples, each once: got {self.record}")

    def __len__(self) -> int:
        return len(self.images)

    def steps(self, first_step: int, n_steps: int) -> NDArray[np.float32]:
        """Return the input of ``n_steps`` steps from ``first_step`` on, shape ``(b, n_steps, n)``.

        Raises
        ------
        SimulationError
            If the encoder returns an array of another shape, or a value that is no finite number.
        """
        signal = self.encoder.encode(self.images, self.image_ids, first_step, n_steps)
        expected = (len(self), n_steps, self.images[0].size)
        if np.shape(signal) != expected:
            raise SimulationError(
                f"encoder {self._encoder_name} gave an array of shape {np.shape(signal)} for {n_steps} steps: "
                f"it must be {expected} (samples, steps, values)"
            )
        if not np.isfinite(np.sum(signal, dtype=np.float64)):
            raise SimulationError(
                f"encoder {self._encoder_name} gave values that are infinite or no number, in steps {first_step} to "
                f"{first_step + n_steps - 1}: mend its encode(), for their classes would mean nothing"
            )
        return signal

    def still(self) -> NDArray[np.float32]:
        """Return what an encoder that is constant shows at every step, in the shape of the samples."""
        return self.steps(0, 1).reshape(self.images.shape)

    def check_encoder(self, n_steps: int) -> None:
        """Ask for all steps once, to see before anything is trained that the encoder keeps what it promises.

        Raises
        ------
        SimulationError
            If the input of some steps has another shape or is no finite number, or changes although the encoder says
            that it is constant.
        """
        first = self.steps(0, 1)
        for step in range(0, n_steps, _STEPS_AT_ONCE):
            last = min(step + _STEPS_AT_ONCE, n_steps) - 1
            signal = self.steps(step, last - step + 1)
            if self.encoder.constant and np.any(signal != first):
                raise SimulationError(
                    f"encoder {self._encoder_name} has constant = True, and what it shows changes between step 0 and "
                    f"step {last}: set constant = False"
                )

    @property
    def _encoder_name(self) -> str:
        return type(self.encoder).__name__


@dataclass(frozen=True, eq=False)
class SpikeEvents:
    """Spikes as a sparse list, with one entry for each sample, step and neuron that spiked.

    Attributes
    ----------
    image, step, neuron
        Index of the sample in the test split, of the simulation step (from 0), and of the neuron in its layer.
    count
        Number of spikes in that step.
    """

    image: NDArray[np.int32]
    step: NDArray[np.int32]
    neuron: NDArray[np.int32]
    count: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def concatenate(cls, parts: Sequence["SpikeEvents"]) -> "SpikeEvents":
        """Return the events of ``parts``, in their order."""
        if not parts:
            return cls(*(np.empty(0, np.int32) for _ in range(4)))
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("image", "step", "neuron", "count"))
        )


@dataclass(frozen=True, eq=False)
class LayerActivity:
    """What one layer did in a chunk of steps.

    Attributes
    ----------
    counts_bn
        Number of spikes of each neuron in the chunk. For a rate neuron: its rate times the duration of the chunk.
    events
        Single spikes of the recorded samples.
    signed_bn
        Sum of each neuron's spikes with their signs, for neurons whose spikes can be negative; None for others.
    """

    counts_bn: NDArray[np.float32]
    events: SpikeEvents
    signed_bn: NDArray[np.float32] | None = None

    @property
    def net_bn(self) -> NDArray[np.float32]:
        """Sum of the spikes of each neuron, with their signs."""
        return self.counts_bn if self.signed_bn is None else self.signed_bn


@dataclass(frozen=True, eq=False)
class SimulationChunk:
    """The network's activity over a run of consecutive steps, for one batch.

    Attributes
    ----------
    first_step
        Index (from 0) of the first step of the chunk.
    outputs_btc
        Output of the network after each step.
    layers
        Activity of each layer of neurons, by name.
    output_spikes_btc
        Number of spikes of the output neurons in each step; None if the output is linear.
    """

    first_step: int
    outputs_btc: NDArray[np.float32]
    layers: Mapping[str, LayerActivity]
    output_spikes_btc: NDArray[np.float32] | None = None
