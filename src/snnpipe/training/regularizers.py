"""Penalties on activity, which mean the same on both training paths.

`ActivityL1` counts the activations of an image and needs no scale. The others penalise rates. The rate of a neuron, in
Hz, is its activation times the ``scale_firing_rates`` of its layer. This is the rate at which the neuron fires after a
conversion with that scale. Their penalty is averaged over a layer's neurons and over the samples of a batch, multiplied
by the weight, and summed over the layers. `FiringRateTarget` is the penalty of NengoDL's Keras-to-SNN example: its mean
squared error to a target of 250 Hz.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from snnpipe.settings.domains import NonNegativeFloat, Scale, Text
from snnpipe.settings.per_layer import matching, per_layer
from snnpipe.settings.schema import check_fields

if TYPE_CHECKING:
    import tensorflow as tf


def _is_known(value: Any) -> Any:
    """Refuse a scale that only a calibration after the training determines."""
    if value == "auto":
        raise PydanticCustomError(
            "scale_from_data",
            "a rate in Hz needs a scale that is known before training: take "
            "training.regularizer.scale_firing_rates=100, or training/regularizer=activity_l1, which needs none",
        )
    return value


RateScale = TypeAliasType(
    "RateScale",
    Annotated[
        Scale,
        BeforeValidator(_is_known),
        Field(description="a number above 0, or one per layer by name or pattern, quoted in a shell: '{conv*: 20.0}'"),
    ],
)


@dataclass(frozen=True, kw_only=True)
class ActivityL1:
    """Sum of the absolute activations of all neurons of a layer, for each image.

    The penalty is the weight times the sum over all penalised layers, averaged over the images of a batch. A neuron
    with scale g fires g spikes per second for each unit of activation, so this is proportional to the spikes of an
    image.

    Parameters
    ----------
    weight
        Factor of the penalty in the loss.
    layers
        Names or shell patterns of the layers to penalise.
    """

    weight: NonNegativeFloat = 1e-5
    layers: Sequence[Text] = ("*",)

    def __post_init__(self) -> None:
        check_fields(self, "training.regularizer")

    def scale_of(self, layer_names: Sequence[str]) -> dict[str, float]:
        """Return 1 for each penalised layer: activations count as they are.

        Raises
        ------
        ConfigError
            If a name or pattern matches none of the layers.
        """
        return dict.fromkeys(matching(self.layers, layer_names, "training.regularizer.layers"), 1.0)

    def penalty(self, rate_hz: "tf.Tensor") -> "tf.Tensor":
        """Return the penalty of each sample, shape ``(b,)``, from activations of shape ``(b, n)``."""
        import tensorflow as tf

        return tf.reduce_sum(tf.abs(rate_hz), axis=-1)


@dataclass(frozen=True, kw_only=True)
class FiringRateL1:
    """Mean of the absolute rates.

    Parameters
    ----------
    weight
        Factor of the penalty in the loss.
    layers
        Names or shell patterns of the layers to penalise.
    scale_firing_rates
        Factor from activation to rate, one number or one per layer. Use the scale of the planned conversion.
    """

    weight: NonNegativeFloat = 1e-3
    layers: Sequence[Text] = ("*",)
    scale_firing_rates: RateScale = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "training.regularizer")

    def scale_of(self, layer_names: Sequence[str]) -> dict[str, float]:
        """Return the factor from activation to rate in Hz for each penalised layer.

        Raises
        ------
        ConfigError
            If a name or pattern matches none of the layers.
        """
        key = "training.regularizer"
        scales = per_layer(self.scale_firing_rates, layer_names, 1.0, f"{key}.scale_firing_rates")
        return {name: scales[name] for name in matching(self.layers, layer_names, f"{key}.layers")}

    def penalty(self, rate_hz: "tf.Tensor") -> "tf.Tensor":
        """Return the penalty of each sample, shape ``(b,)``, from rates in Hz of shape ``(b, n)``."""
        import tensorflow as tf

        return tf.reduce_mean(tf.abs(rate_hz), axis=-1)


@dataclass(frozen=True, kw_only=True)
class FiringRateL2(FiringRateL1):
    """Mean of the squared rates. The parameters are those of `FiringRateL1`."""

    def penalty(self, rate_hz: "tf.Tensor") -> "tf.Tensor":
        """Return the penalty of each sample, shape ``(b,)``, from rates in Hz of shape ``(b, n)``."""
        import tensorflow as tf

        return tf.reduce_mean(tf.square(rate_hz), axis=-1)


@dataclass(frozen=True, kw_only=True)
class FiringRateTarget(FiringRateL1):
    """Mean squared difference from a target rate. The other parameters are those of `FiringRateL1`.

    Parameters
    ----------
    rate_hz
        Target rate, Hz.
    """

    rate_hz: NonNegativeFloat = 250.0

    def penalty(self, rate_hz: "tf.Tensor") -> "tf.Tensor":
        """Return the penalty of each sample, shape ``(b,)``, from rates in Hz of shape ``(b, n)``."""
        import tensorflow as tf

        return tf.reduce_mean(tf.square(rate_hz - self.rate_hz), axis=-1)
