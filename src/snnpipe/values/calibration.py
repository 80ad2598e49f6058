"""What a calibration took scales from, and what it chose."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from snnpipe.settings.domains import Readout
from snnpipe.values.diagnosis import Remark


@dataclass(frozen=True)
class Candidate:
    """A way to scale that was tried on calibration samples.

    Attributes
    ----------
    channels
        Whether each channel has a scale of its own.
    balance
        Whether layers whose spikes cost little have more of them.
    bias_correction
        Whether biases make up for mean errors.
    readout
        Read-out that turned the output into class scores.
    error
        Error of the class scores at the end, as in `Tried`.
    spikes, synops
        Spikes and synaptic operations per sample. If operations cannot be counted, spikes stand for them.
    drawn_voltages
        Whether each neuron's first voltage is drawn.
    """

    channels: bool
    balance: bool
    bias_correction: bool
    readout: Readout
    error: float
    spikes: float
    synops: float
    drawn_voltages: bool = False

    @property
    def cost(self) -> float:
        """Error times SynOps. Twice the spikes halve the error of rounding, so it shows which way needs fewer."""
        return self.error * self.synops


@dataclass(frozen=True)
class Tried:
    """A number of spikes per step that was tried.

    Attributes
    ----------
    spikes_per_step
        Spikes per step of a layer's strongest activation, before the factors of layers.
    spikes
        Spikes of the whole network per sample.
    accuracy
        Accuracy of the spiking network at the end, from 0 to 1.
    drop
        Points by which it is below the model's accuracy on the same samples.
    error
        Error of the class scores at the end: root mean square difference from the model's logits, as a share of the
        logits' root mean square. Scores are scaled to fit first, because spike counts have another unit, and what all
        classes have in common does not count.
    """

    spikes_per_step: float
    spikes: float
    accuracy: float
    drop: float
    error: float


@dataclass(frozen=True, eq=False, kw_only=True)
class CalibrationOutcome:
    """The result of a calibration.

    Attributes
    ----------
    samples
        Number of calibration samples.
    digest
        Digest of these samples, in hexadecimal.
    channels, balance, bias_correction, readout, drawn_voltages
        The way that was chosen, as in `Candidate`.
    spikes_per_step
        Spikes per step of a layer's strongest activation, before the factors of layers.
    spikes_of_layers
        The same for each layer, by name, with the factors.
    scales
        ``scale_firing_rates`` of each layer of neurons, by name.
    channel_factors
        Numbers that the channels of a layer are divided by, by layer name; None if channels have no own scales.
    bias_offsets
        Numbers that are added to the current of the channels of a layer, by layer name; None for no correction.
    uncorrected
        Names of the layers without an offset although biases are corrected, because no bias is theirs alone.
    candidates
        Ways that were compared, if there was a choice.
    max_error, max_drop
        Limits of the search. ``max_error`` counts if ``max_drop`` is None.
    tried
        Trials of the search, in their order; empty if the spikes per step were given.
    judged, judged_samples
        Samples that the trials were judged on, in words, and their number.
    """

    samples: int
    digest: str
    channels: bool
    balance: bool
    bias_correction: bool = False
    readout: Readout = "mean"
    drawn_voltages: bool = False
    spikes_per_step: float
    spikes_of_layers: Mapping[str, float]
    scales: Mapping[str, float]
    channel_factors: Mapping[str, Sequence[float]] | None = None
    bias_offsets: Mapping[str, Sequence[float]] | None = None
    uncorrected: Sequence[str] = ()
    candidates: Sequence[Candidate] = ()
    max_error: float = 0.0
    max_drop: float | None = None
    tried: Sequence[Tried] = ()
    judged: str = ""
    judged_samples: int = 0

    def params(self) -> dict[str, Any]:
        """Return the values that a run records as parameters."""
        return {
            "digest": self.digest,
            "channels": self.channels,
            "balance": self.balance,
            "bias_correction": self.bias_correction,
            "readout": self.readout,
            "drawn_voltages": self.drawn_voltages,
            "spikes_per_step": self.spikes_per_step,
            "scale_firing_rates": dict(self.scales),
        }

    def remarks(self) -> tuple[Remark, ...]:
        """Return the lines of the closing table on the search and on layers that could not be corrected."""
        return (*self._of_search(), *self._of_correction())

    def _of_correction(self) -> tuple[Remark, ...]:
        if not self.uncorrected:
            return ()
        names = ", ".join(map(repr, self.uncorrected))
        return (
            Remark("calibration", f"no bias correction in {names}: no layer with a bias feeds these neurons alone"),
        )

    def _of_search(self) -> tuple[Remark, ...]:
        if not self.tried:
            return ()
        chosen = next(one for one in self.tried if one.spikes_per_step == self.spikes_per_step)
        text = f"{chosen.spikes_per_step:.3g} spikes a step of the strongest activations "
        if self.max_drop is None:
            within = f"within {100 * chosen.error:.3g} % of the model's on {self.judged}"
            how = f"{self.readout}, drawn voltages" if self.drawn_voltages else self.readout
            text += f"give class scores ({how}) {within}"
            enough, allowed = chosen.error <= self.max_error, f"{100 * self.max_error:.3g} %"
        else:
            text += f"lose {chosen.drop:+.2f} points on {self.judged}"
            enough, allowed = chosen.drop <= self.max_drop, f"{self.max_drop:g}"
        numbers = "1 number" if len(self.tried) == 1 else f"{len(self.tried)} numbers"
        text += f" ({allowed} allowed, {numbers} tried)"
        if self.max_drop is not None and 0 < self.max_drop < (of_one := 100 / self.judged_samples):
            text += f"; a single one is {of_one:.2g} points, so that this allows no loss"
        if not enough:
            why = "none came nearer" if len(self.tried) > 1 else "no other number changes a scale"
            text += f": {why}; take more steps (simulator.n_steps)"
        return (Remark("calibration", text),)

    def plain(self) -> dict[str, Any]:
        """Return the result in the form of JSON."""
        plain = asdict(self)
        return plain | {"scale_firing_rates": plain.pop("scales")}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> "CalibrationOutcome":
        """Return the result that `plain` has given."""
        fields = dict(plain)
        fields["scales"] = fields.pop("scale_firing_rates")
        fields["candidates"] = tuple(Candidate(**own) for own in fields["candidates"])
        fields["tried"] = tuple(Tried(**own) for own in fields["tried"])
        return cls(**fields)
