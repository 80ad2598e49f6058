"""The network of NengoDL's Keras-to-SNN tutorial."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from snnpipe.base.errors import ModelError
from snnpipe.settings.domains import Initializer, Sizes
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class KerasToSnn:
    """Two 3x3 convolutions (``valid``) with ReLU, the second with stride 2, then logits.

    Parameters
    ----------
    filters
        Number of filters of the two convolutions.
    initializer
        Initializer of the kernels: its name in Keras, or a mapping with its ``class_name`` and ``config``.
    logits_initializer
        Initializer of the logits' kernel, in the same form. ``zeros`` loses less accuracy in conversion, because the
        random first values that training leaves carry the spikes' noise to the logits, and no information on the
        classes.
    """

    filters: Annotated[Sizes, Field(min_length=2, max_length=2)] = (32, 64)
    initializer: Initializer = "glorot_uniform"
    logits_initializer: Initializer = "glorot_uniform"

    def __post_init__(self) -> None:
        check_fields(self, "model")

    def build(self, spec: DataSpec) -> "tf_keras.Model":
        """Return the model for a dataset's samples and classes.

        Raises
        ------
        ModelError
            If the samples are not of shape (height, width, channels), or are smaller than 5x5.
        """
        from snnpipe.models.layers import check_images, check_initializers, conv_name, keras

        check_images(spec, "KerasToSnn")
        if min(spec.input_shape[:2]) < 5:
            raise ModelError(
                f"model: keras_to_snn takes {spec.sample_word}s of 5x5 {spec.value_word}s or more, and {spec.name}'s "
                "are smaller"
            )
        layers = keras().layers
        check_initializers(initializer=self.initializer, logits_initializer=self.logits_initializer)
        sample = x = layers.Input(spec.input_shape, name=spec.sample_word)
        for i, (filters, stride) in enumerate(zip(self.filters, (1, 2), strict=True)):
            x = layers.Conv2D(
                filters, 3, strides=stride, activation="relu", kernel_initializer=self.initializer, name=conv_name(i)
            )(x)
        x = layers.Flatten(name="flatten")(x)
        logits = layers.Dense(spec.n_classes, kernel_initializer=self.logits_initializer, name="logits")(x)
        return keras().Model(sample, logits, name="keras_to_snn")
