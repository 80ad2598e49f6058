"""Deep convolutional networks of stages, each followed by pooling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from snnpipe.models.layers import Activation, ActivationKind
from snnpipe.settings.domains import Initializer, PositiveInt, Sizes
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tf_keras

_Stage = Annotated[Sizes, Field(min_length=1)]
Stages = Annotated[
    Sequence[_Stage],
    Field(min_length=1, description="a list of stages, each a list of filters, such as [[32],[64,64]]"),
]


@dataclass(frozen=True)
class Vgg:
    """Stages of 3x3 convolutions (``same``) with ReLU, each followed by 2x2 pooling, then dense layers and logits.

    This is the form of Simonyan and Zisserman 2015 (arXiv:1409.1556), with batch normalization and, by default, the
    mean over each feature map in place of the large dense layers.

    Parameters
    ----------
    stages
        Number of filters of each convolution, one list for each stage.
    dense
        Numbers of neurons of dense layers before the logits; none by default.
    pooling
        ``average`` or ``max`` pooling after each stage. Max pooling stands before the last ReLU of the stage, which
        gives the same function and fewer neurons.
    flatten
        Whether the layers after the last pooling see each position of the feature maps. Otherwise they see the mean
        over each map.
    batch_normalization
        Whether batch normalization stands before each ReLU. The layers before it then have no biases.
    activation
        ``relu``, or ``quantised`` for a ReLU in steps up to a learnt threshold (`snnpipe.QuantisedReLU`), which
        converts to neurons that spike at most once per step (Keras path only).
    levels
        Number of steps of the quantised ReLU; None for 4.
    initializer
        Initializer of the kernels: its name in Keras, or a mapping with its ``class_name`` and ``config``.
    logits_initializer
        Initializer of the logits' kernel, in the same form. ``zeros`` loses less accuracy in conversion, because the
        random first values that training leaves carry the spikes' noise to the logits, and no information on the
        classes.
    """

    stages: Stages = ((32, 32), (64, 64))
    dense: Sizes = ()
    pooling: Literal["average", "max"] = "average"
    flatten: bool = False
    batch_normalization: bool = True
    activation: ActivationKind = "relu"
    levels: PositiveInt | None = None
    initializer: Initializer = "he_uniform"
    logits_initializer: Initializer = "glorot_uniform"

    def __post_init__(self) -> None:
        check_fields(self, "model")

    def build(self, spec: DataSpec) -> "tf_keras.Model":
        """Return the model for a dataset's samples and classes.

        Raises
        ------
        ModelError
            If the samples are not of shape (height, width, channels), or are too small for one pooling per stage.
        """
        from snnpipe.models.layers import (
            check_halvings,
            check_images,
            check_initializers,
            conv_name,
            dense_name,
            keras,
            normalized,
        )

        check_images(spec, "Vgg")
        check_halvings(spec, len(self.stages), "model.stages", "stages")
        layers = keras().layers
        check_initializers(initializer=self.initializer, logits_initializer=self.logits_initializer)
        activation = Activation(self.activation, self.levels, self.batch_normalization)
        neurons: dict[str, Any] = {
            "activation": activation.of_layer,
            "use_bias": not self.batch_normalization,
            "kernel_initializer": self.initializer,
        }

        def after(layer: Any, x: Any) -> Any:
            return activation.after(layer(x), layer.name)

        def pooled(x: Any, filters: int, name: str, pool: str) -> Any:
            """Return the output of the last convolution of a stage, pooled."""
            if self.pooling == "average":
                x = after(layers.Conv2D(filters, 3, padding="same", name=name, **neurons), x)
                return layers.AveragePooling2D(2, name=pool)(x)
            x = layers.Conv2D(filters, 3, padding="same", name=name, **neurons | {"activation": None})(x)
            x = normalized(x, name) if self.batch_normalization else x
            return activation(layers.MaxPooling2D(2, name=pool)(x), name)

        sample = x = layers.Input(spec.input_shape, name=spec.sample_word)
        i = 0
        for stage, sizes in enumerate(self.stages):
            for filters in sizes[:-1]:
                x = after(layers.Conv2D(filters, 3, padding="same", name=conv_name(i), **neurons), x)
                i += 1
            x = pooled(x, sizes[-1], conv_name(i), f"stage{stage + 1}_pool")
            i += 1
        x = layers.Flatten(name="flatten")(x) if self.flatten else layers.GlobalAveragePooling2D(name="mean")(x)
        for i, units in enumerate(self.dense):
            x = after(layers.Dense(units, name=dense_name(i), **neurons), x)
        logits = layers.Dense(spec.n_classes, kernel_initializer=self.logits_initializer, name="logits")(x)
        return keras().Model(sample, logits, name="vgg")
