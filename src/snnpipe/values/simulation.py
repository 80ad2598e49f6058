"""What a simulator is given and what it yields.

Axes: b = image of the batch, t = simulation step, n = neuron (flattened), c = class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import SimulationError
from snnpipe.settings.domains import NonNegativeInt, PositiveInt, Precision, Readout, Seconds
from snnpipe.settings.schema import check_fields


class ImageEncoder(Protocol):
    """The part of an encoder that a stimulus needs."""

    constant: ClassVar[bool]

    def encode(
        self, images: NDArray[np.float32], image_ids: Sequence[int], first_step: int, n_steps: int
    ) -> NDArray[np.float32]:
        """Return the input over time, shape ``(b, n_steps, n)``."""


@dataclass(frozen=True)
class SimulationSettings:
    """What every simulator is told.

    Parameters
    ----------
    n_steps
        Simulation steps that an image is shown.
    dt
        Seconds per step.
    batch_size
        Images simulated together.
    max_images
        Simulate the first so many test images; None for all of them.
    readout
        What turns the output over time into a class: ``last`` step, ``mean`` over the last
        ``readout_steps``, or ``spike_count`` of output neurons since the first step.
    readout_steps
        Steps that ``mean`` averages over.
    verify_images
        Simulate the first so many images in NengoDL too, before the run, and compare; 0 for none.
    precision
        Of all numbers. ``float64`` tells differences by rounding from mistakes; it is slower.
    chunk_steps
        Steps handed on at a time; None for all of them, or as many as an input that changes fits into
        64 MiB. The result does not depend on it.
    """

    n_steps: PositiveInt = 60
    dt: Seconds = 0.001
    batch_size: PositiveInt = 100
    max_images: PositiveInt | None = None
    readout: Readout = "last"
    readout_steps: PositiveInt = 10
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
    """What a network gives for constant images if its neurons pass on their rates at once, without filters.

    Attributes
    ----------
    layers
        Output of each layer of neurons, shape ``(b, n)``, by its name.
    output
        Of the network, shape ``(b, c)``.
    """

    layers: Mapping[str, NDArray[np.floating[Any]]]
    output: NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Stimulus:
    """A batch of images as a simulator sees them: values over time, made when they are asked for.

    Attributes
    ----------
    images
        Shape ``(b, height, width, channels)``.
    image_ids
        Index of each image in the test split, on which an encoder's randomness depends.
    encoder
        What makes an image a signal over time.
    record
        Rows of the batch whose single spikes are wanted.
    """

    images: NDArray[np.float32]
    image_ids: Sequence[int]
    encoder: ImageEncoder
    record: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.record)) < len(self.record) or not all(0 <= row < len(self) for row in self.record):
            raise ValueError(f"record names rows of {len(self)} images, each once: got {self.record}")

    def __len__(self) -> int:
        return len(self.images)

    def steps(self, first_step: int, n_steps: int) -> NDArray[np.float32]:
        """Return the input of steps ``first_step`` and on, shape ``(b, n_steps, n)``.

        Raises
        ------
        SimulationError
            If the encoder returns an array of another shape.
        """
        found = self.encoder.encode(self.images, self.image_ids, first_step, n_steps)
        expected = (len(self), n_steps, self.images[0].size)
        if np.shape(found) != expected:
            raise SimulationError(
                f"encoder {type(self.encoder).__name__} gave an array of shape {np.shape(found)} for {n_steps} steps: "
                f"it must be {expected} (images, steps, values)"
            )
        return found


@dataclass(frozen=True, eq=False)
class SpikeEvents:
    """Spikes as a sparse list, one entry per image, step and neuron that spiked.

    Attributes
    ----------
    image, step, neuron
        Index of the image in the test split, of the simulation step (from 0), of the neuron.
    count
        Spikes in that step.
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
        Spikes of each neuron in the chunk (for a rate neuron: its rate times the time that passed).
    events
        Single spikes of the recorded images.
    signed_bn
        Of neurons whose spikes have either sign, the spikes of each added up with their sign; None for other neurons.
    """

    counts_bn: NDArray[np.float32]
    events: SpikeEvents
    signed_bn: NDArray[np.float32] | None = None

    @property
    def net_bn(self) -> NDArray[np.float32]:
        """What the spikes of each neuron add up to."""
        return self.counts_bn if self.signed_bn is None else self.signed_bn


@dataclass(frozen=True, eq=False)
class SimulationChunk:
    """The network's activity over a run of consecutive steps, for one batch.

    Attributes
    ----------
    first_step
        Step (from 0) that the chunk begins with.
    outputs_btc
        Output of the network after each step.
    layers
        Activity of each layer of neurons, by its name.
    output_spikes_btc
        Spikes of the output neurons in each step, None where the output is linear.
    """

    first_step: int
    outputs_btc: NDArray[np.float32]
    layers: Mapping[str, LayerActivity]
    output_spikes_btc: NDArray[np.float32] | None = None
