"""What a calibration took scales from, and what it chose."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """Scales that were tried on calibration samples.

    Attributes
    ----------
    channels
        Whether each channel has a scale of its own.
    error
        Root mean square difference of the scores at the end from the model's logits, of the logits' size.
    spikes
        Per sample.
    """

    channels: bool
    error: float
    spikes: float

    @property
    def cost(self) -> float:
        """Error times spikes. Twice the spikes halve the error of rounding, so it tells which scales need fewer."""
        return self.error * self.spikes


@dataclass(frozen=True, eq=False)
class CalibrationOutcome:
    """What a calibration gave.

    Attributes
    ----------
    samples
        How many were looked at.
    digest
        Of these samples, in hexadecimal.
    channels
        Whether each channel got a scale of its own.
    scales
        ``scale_firing_rates`` of each layer of neurons, by name.
    channel_factors
        What each channel of a layer is divided by, by layer name; None where channels have no scales of their own.
    candidates
        What was tried, where there was a choice.
    """

    samples: int
    digest: str
    channels: bool
    scales: Mapping[str, float]
    channel_factors: Mapping[str, Sequence[float]] | None = None
    candidates: Sequence[Candidate] = ()

    def plain(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {
            "samples": self.samples,
            "digest": self.digest,
            "channels": self.channels,
            "scale_firing_rates": dict(self.scales),
            "channel_factors": None if self.channel_factors is None else dict(self.channel_factors),
            "candidates": [asdict(candidate) for candidate in self.candidates],
        }
