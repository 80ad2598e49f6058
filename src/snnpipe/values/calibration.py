"""What a calibration took scales from, and what it chose."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from snnpipe.values.diagnosis import Remark


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
        """Error times spikes. Twice the spikes halve the error of rounding, so it shows which scales need fewer."""
        return self.error * self.spikes


@dataclass(frozen=True)
class Tried:
    """A number of spikes a step that was tried on validation samples.

    Attributes
    ----------
    spikes_per_step
        Of a layer's strongest activation.
    spikes
        Per sample, of the whole network.
    accuracy
        Of the spiking network at the end, from 0 to 1.
    drop
        By how many points it is below the model's on the same samples.
    """

    spikes_per_step: float
    spikes: float
    accuracy: float
    drop: float


@dataclass(frozen=True, eq=False, kw_only=True)
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
    spikes_per_step
        What the strongest activation of a layer became.
    scales
        ``scale_firing_rates`` of each layer of neurons, by name.
    channel_factors
        What each channel of a layer is divided by, by layer name; None where channels have no scales of their own.
    candidates
        What was compared to decide on channels, where there was a choice.
    max_drop
        How many points were allowed to be lost on validation samples; None where the spikes a step were given.
    tried
        What was tried to keep to that, in this order.
    judged
        On what it was tried, in words.
    """

    samples: int
    digest: str
    channels: bool
    spikes_per_step: float
    scales: Mapping[str, float]
    channel_factors: Mapping[str, Sequence[float]] | None = None
    candidates: Sequence[Candidate] = ()
    max_drop: float | None = None
    tried: Sequence[Tried] = ()
    judged: str = ""

    def params(self) -> dict[str, Any]:
        """Return what a run records as parameters."""
        return {
            "digest": self.digest,
            "channels": self.channels,
            "spikes_per_step": self.spikes_per_step,
            "scale_firing_rates": dict(self.scales),
        }

    def remarks(self) -> tuple[Remark, ...]:
        """Return what the closing table says of the search; nothing where there was none."""
        if self.max_drop is None:
            return ()
        best = next(one for one in self.tried if one.spikes_per_step == self.spikes_per_step)
        text = (
            f"{best.spikes_per_step:.3g} spikes a step of the strongest activations lose {best.drop:+.2f} points on "
            f"{self.judged}, where {self.max_drop:g} are allowed ({len(self.tried)} numbers tried)"
        )
        if best.drop > self.max_drop:
            text += ": none lost less; take more steps (simulator.n_steps)"
        return (Remark("calibration", text),)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {
            "samples": self.samples,
            "digest": self.digest,
            "channels": self.channels,
            "spikes_per_step": self.spikes_per_step,
            "scale_firing_rates": dict(self.scales),
            "channel_factors": None if self.channel_factors is None else dict(self.channel_factors),
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "max_drop": self.max_drop,
            "tried": [asdict(one) for one in self.tried],
            "judged": self.judged,
        }
