"""Scales from data: a percentile of each layer's activations becomes a given number of spikes per step.

Axes: b = sample, s = position within a channel, c = channel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from snnpipe.conversion.equalise import Channels
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.frameworks.rectifiers import Rectifier
from snnpipe.settings.domains import NonNegativeFloat, PositiveFloat, PositiveInt
from snnpipe.settings.schema import check_fields

if TYPE_CHECKING:
    import tf_keras

Percentile = TypeAliasType(
    "Percentile", Annotated[float, Field(gt=0, le=100, description="a percentile, such as 99.9")]
)

SpikesPerStep = TypeAliasType(
    "SpikesPerStep",
    Annotated[PositiveFloat | Literal["auto"], Field(description="a number of spikes above 0, or auto")],
)

MaxError = TypeAliasType(
    "MaxError", Annotated[PositiveFloat | Literal["auto"], Field(description="a share above 0, or auto")]
)

_ERROR_OF_ONE_STEP = 0.22
"""Share of the logits' size that class scores may be off by after one step."""

_FRACTION_BITS = 8
_BITS = 23 - _FRACTION_BITS
_LOWEST, _HIGHEST = 2.0**-30, 2.0**30
_LEAST_OF_LAYER = 1e-3
"""Lowest level that a channel counts with, as a share of the highest level in its layer."""

_TOGETHER = 100


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Settings for scales from data (``conversion.scale_firing_rates=auto``).

    Parameters
    ----------
    images
        Number of training samples that activations are taken from. The run's seed determines the samples.
    percentile
        Percentile of a layer's activations above 0 that counts as its strongest activation.
    spikes_per_step
        Number of spikes per step that the strongest activation becomes. More spikes cost more and are more exact.
        ``auto`` searches for the fewest that keep to ``max_error``, or to ``max_drop`` if that is given.
    max_error
        Highest error of the class scores after ``n_steps`` on some calibration samples: root mean square difference
        from the model's logits, as a share of their root mean square; what all classes share does not count. It counts
        for ``spikes_per_step=auto`` without ``max_drop``. ``auto`` is 0.22 over the square root of ``n_steps``:
        0.078 for 8 steps, and less for more of them.
    channels
        Whether each channel has its own scale: weights into a channel are divided by a factor, and weights out of it
        are multiplied by the same factor, which does not change the function of a ReLU network (Nagel et al. 2019,
        arXiv:1906.04721). ``auto`` tries both on calibration samples.
    balance
        Whether layers whose spikes cost little have more of them: spikes per step in proportion to the cubic root of 1
        over the layer's SynOps. This makes the error smallest for given SynOps if each layer adds an error of its own
        that is inversely proportional to its spikes. ``auto`` tries both on calibration samples.
    bias_correction
        Whether the mean error of each channel's output is added to the channel's current, layer by layer (Li et al.
        2021, arXiv:2106.06984). The errors are those of some calibration samples after ``n_steps``. ``auto`` tries both
        on other calibration samples.
    drawn_voltages
        Whether the voltages of `snnpipe.IntegrateAndFire` are drawn from U(0, 1) before the first step, one for each
        neuron, in place of 0.5 for all. Then a neuron's number of spikes is rounded up or down at random, and the
        errors of many neurons cancel out; at 0.5, an activation below half a spike in all steps never sends one.
        Neurons of a `snnpipe.QuantisedReLU` keep 0.5, which they are trained for. ``auto`` tries both.
    max_drop
        Highest loss of accuracy, in percentage points, on validation samples (at most ``images`` of them) after
        ``n_steps``. The fewest spikes per step that keep to this limit are searched for, from ``spikes_per_step`` on.
        None for no such limit.
    """

    images: PositiveInt = 1000
    percentile: Percentile = 99.9
    spikes_per_step: SpikesPerStep = "auto"
    max_error: MaxError = "auto"
    channels: bool | Literal["auto"] = "auto"
    balance: bool | Literal["auto"] = "auto"
    bias_correction: bool | Literal["auto"] = "auto"
    drawn_voltages: bool | Literal["auto"] = "auto"
    max_drop: NonNegativeFloat | None = None

    def __post_init__(self) -> None:
        check_fields(self, "conversion.calibration")

    def limits(self, n_steps: int) -> "Limits":
        """Return the limits of the search for a number of steps."""
        error = _ERROR_OF_ONE_STEP / sqrt(n_steps) if self.max_error == "auto" else self.max_error
        return Limits(error, self.max_drop)


@dataclass(frozen=True)
class Limits:
    """Limits of the search for the fewest spikes; ``max_error`` counts if ``max_drop`` is None."""

    max_error: float
    max_drop: float | None = None


def _is_calibration(value: Any) -> Any:
    if not isinstance(value, Calibration):
        raise PydanticCustomError("calibration", "should be a snnpipe.Calibration")
    return value


CalibrationSettings = TypeAliasType("CalibrationSettings", Annotated[Any, AfterValidator(_is_calibration)])


@dataclass(frozen=True, eq=False)
class Levels:
    """Levels, the activations that count as the strongest, by layer name.

    Attributes
    ----------
    rectifiers
        Rectifier of each layer.
    layer
        Level of each layer; 0 if no activation is above 0.
    channels_c
        Level of each channel of each layer (the last axis), shape ``(c,)``.
    factors_c
        Factors that bring the channels of each layer to the layer's level, as far as the model can take them.
    """

    rectifiers: Mapping[str, Rectifier]
    layer: Mapping[str, float]
    channels_c: Mapping[str, NDArray[np.float64]]
    factors_c: Mapping[str, NDArray[np.float64]]

    def scales(self, dt: float, channels: bool, spikes: Mapping[str, float]) -> dict[str, float]:
        """Return the scale of each layer.

        Parameters
        ----------
        dt
            Seconds per step.
        channels
            Whether the channels are divided by ``factors_c``.
        spikes
            Spikes per step of the strongest activation of each layer, by name.
        """
        strongest = dict(self.layer)
        if channels:
            strongest = {name: float(np.max(self.channels_c[name] / own)) for name, own in self.factors_c.items()}
        return {name: _scale(strongest[name], own, spikes[name], dt) for name, own in self.rectifiers.items()}

    @property
    def factors(self) -> dict[str, Sequence[float]]:
        """The factors of channels as lists."""
        return {name: own.tolist() for name, own in self.factors_c.items()}


class _Histogram:
    """Histogram of a layer's activations above 0, per channel, with 256 bins from each power of two to the next."""

    def __init__(self, n_channels: int):
        self._first = int(np.float32(_LOWEST).view(np.uint32) >> _BITS)
        self._n_bins = int(np.float32(_HIGHEST).view(np.uint32) >> _BITS) - self._first + 1
        self._counts = np.zeros((n_channels, self._n_bins), np.int64)
        self._highest = np.zeros(n_channels)

    def add(self, values_bsc: NDArray[np.float32]) -> None:
        """Add values of shape ``(b, s, c)``."""
        n_channels = values_bsc.shape[-1]
        self._highest = np.maximum(self._highest, values_bsc.max(axis=(0, 1), initial=0))
        _, _, channel = where = np.nonzero(values_bsc > 0)
        bins = (np.clip(values_bsc[where], _LOWEST, _HIGHEST).view(np.uint32) >> _BITS).astype(np.int64) - self._first
        flat = np.bincount(channel * self._n_bins + bins, minlength=n_channels * self._n_bins)
        self._counts += flat.reshape(n_channels, self._n_bins)

    def level(self, percentile: float) -> float:
        """Return the percentile over all channels."""
        return self._level(self._counts.sum(axis=0), float(self._highest.max(initial=0)), percentile)

    def levels_c(self, percentile: float) -> NDArray[np.float64]:
        """Return each channel's percentile."""
        pairs = zip(self._counts, self._highest, strict=True)
        return np.array([self._level(counts, float(highest), percentile) for counts, highest in pairs])

    def _level(self, counts: NDArray[np.int64], highest: float, percentile: float) -> float:
        total = int(counts.sum())
        if not total:
            return 0.0
        if percentile == 100:
            return highest
        rank = percentile / 100 * (total - 1)
        low, high = (self._value(counts, int(r)) for r in (np.floor(rank), np.ceil(rank)))
        return min(low + (rank % 1) * (high - low), highest)

    def _value(self, counts: NDArray[np.int64], rank: int) -> float:
        """Return about the value of a given rank, as if the values of a bin were spread evenly over it."""
        behind = np.cumsum(counts)
        number = int(np.searchsorted(behind, rank, side="right"))
        edges = (np.array([number, number + 1], np.uint32) + np.uint32(self._first)) << np.uint32(_BITS)
        low, high = edges.view(np.float32).astype(np.float64)
        return float(low + (rank - behind[number] + counts[number] + 0.5) / counts[number] * (high - low))


def _scale(level: float, own: Rectifier, spikes: float, dt: float) -> float:
    """Return the scale that turns a level into a number of spikes per step; a layer's limit becomes a whole number.

    The limit of a quantised rectifier is one spike per step, which the model is trained for.
    """
    if own.max_value is None:
        return float(f"{spikes / ((level or 1.0) * dt):.6g}")
    most = 1 if own.levels else max(1, round(spikes * own.max_value / (level or own.max_value)))
    return most / (own.max_value * dt)


def levels_of(
    model: "tf_keras.Model", rectifiers: Mapping[str, Rectifier], samples: NDArray[np.float32], percentile: float
) -> Levels:
    """Return the strongest activations of some layers of a functional model.

    Percentiles are taken from a histogram with bins at most 0.4 % wide, and interpolated within a bin.

    Parameters
    ----------
    model
        Model that `snnpipe.conversion.rewrite.prepare` made.
    rectifiers
        Rectifier of each layer of neurons, by name.
    samples
        Samples, shape ``(b, *input_shape)``.
    percentile
        Percentile of the activations above 0.
    """
    wanted = list(rectifiers)
    inner = import_tf_keras().Model(model.inputs, [model.get_layer(name).output for name in wanted])
    histograms: dict[str, _Histogram] = {}
    for first in range(0, len(samples), _TOGETHER):
        outputs: Any = inner.predict_on_batch(samples[first : first + _TOGETHER])
        for name, values in zip(wanted, outputs if len(wanted) > 1 else [outputs], strict=True):
            values_bsc = np.asarray(values, np.float32).reshape(len(values), -1, values.shape[-1])
            histograms.setdefault(name, _Histogram(values_bsc.shape[-1])).add(values_bsc)
    layer = {name: own.level(percentile) for name, own in histograms.items()}
    channels_c = {name: own.levels_c(percentile) for name, own in histograms.items()}
    relative = {name: _relative(layer[name], channels_c[name]) for name in wanted}
    return Levels(rectifiers, layer, channels_c, Channels(model).factors(relative))


def _relative(level: float, levels_c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the levels of a layer's channels, divided by the layer's level.

    Very weak channels are raised. Channels without an activation have 1: nothing is known of their strength.
    """
    level = level or 1.0
    least = _LEAST_OF_LAYER * max(levels_c.max(initial=0), level)
    return np.where(levels_c > 0, np.maximum(levels_c, least) / level, 1.0)
