"""A converted network with all that is needed to run it on samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from snnpipe.protocols import Encoder
from snnpipe.values.calibration import CalibrationOutcome
from snnpipe.values.network import ConversionPlan, SpikingNetwork
from snnpipe.values.pixels import PixelScaling
from snnpipe.values.simulation import SignalEncoder, SimulationSettings

MOST_REFERENCES = 8
"""Largest number of samples that a stored network has as references."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Converted:
    """A converted network with all that is needed to run it on samples.

    Attributes
    ----------
    name
        Name of the network.
    network
        The spiking network.
    settings
        Settings of its simulation: steps, time step, read-out, precision.
    encoder, seed
        Encoder that shows it samples, and the seed of what the encoder draws.
    input_shape
        Shape of a sample.
    class_names
        Names of the classes, in the order of the outputs.
    plan
        What each layer of the model has become.
    pixels
        Scaling of pixels to the values that it takes; None if it is not known.
    calibration
        What its scales were taken from; None if they were given.
    made_from
        What it was made from, as texts by name: a run, a model file.
    """

    name: str
    network: SpikingNetwork
    settings: SimulationSettings
    encoder: Encoder
    seed: int
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    plan: ConversionPlan
    pixels: PixelScaling | None = None
    calibration: CalibrationOutcome | None = None
    made_from: Mapping[str, str] = field(default_factory=dict)

    @property
    def signal(self) -> SignalEncoder:
        """The encoder with its seed."""
        return self.encoder.seeded(self.seed)
