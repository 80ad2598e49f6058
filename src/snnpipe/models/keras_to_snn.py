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
        Filters of the two convolutions.
    initializer
        Of the kernels: Keras's name, or its ``class_name`` and ``config``.
    logits_initializer
        Of the logits' kernel, likewise. What training leaves of its first values carries the spikes' noise and nothing
        of the classes, so that ``zeros`` loses less in conversion.
    """

    filters: Annotated[Sizes, Field(min_length=2, max_length=2)] = (32, 64)
    initializer: Initializer = "glorot_uniform"
    logits_initializer: Initializer = "glorot_uniform"

    def __post_init__(self) -> None:
        check_fields(self, "model")

    def build(self, spec: DataSpec) -> "tf_keras.Model":
        """Return the model for a dataset's images and classes.

        Raises
        ------
        ModelError
            If the images are smaller than 5x5 pixels.
        """
        from snnpipe.models.layers import check_initializers, conv_name, keras

        if min(spec.image_shape[:2]) < 5:
            raise ModelError(f"model: keras_to_snn takes images of 5x5 pixels or more, {spec.name}'s are smaller")
        layers = keras().layers
        check_initializers(initializer=self.initializer, logits_initializer=self.logits_initializer)
        image = x = layers.Input(spec.image_shape, name="image")
        for i, (filters, stride) in enumerate(zip(self.filters, (1, 2), strict=True)):
            x = layers.Conv2D(
                filters, 3, strides=stride, activation="relu", kernel_initializer=self.initializer, name=conv_name(i)
            )(x)
        x = layers.Flatten(name="flatten")(x)
        logits = layers.Dense(spec.n_classes, kernel_initializer=self.logits_initializer, name="logits")(x)
        return keras().Model(image, logits, name="keras_to_snn")
