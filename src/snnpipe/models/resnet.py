"""Residual networks for small images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from snnpipe.models.layers import Activation, ActivationKind
from snnpipe.settings.domains import Initializer, PositiveInt, Sizes
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tf_keras

_STAGES = 3


def _is_depth(value: int) -> int:
    if value < 2 * _STAGES + 2 or (value - 2) % (2 * _STAGES):
        raise PydanticCustomError("depth", "should be 6n + 2, such as 8, 14, 20, 32 or 56")
    return value


Depth = TypeAliasType("Depth", Annotated[PositiveInt, AfterValidator(_is_depth)])


@dataclass(frozen=True)
class ResNet:
    """Residual network in its form for CIFAR-10 (He et al. 2016, arXiv:1512.03385, section 4.2).

    A 3x3 convolution, three stages of residual blocks, the mean over each feature map, and the logits. A block is two
    3x3 convolutions, and a ReLU of the sum of their output and the block's input. The second and third stage begin with
    a stride of 2. There, a 1x1 convolution brings the input to the shape of the output (option B of the paper). Batch
    normalization follows each convolution, so the convolutions have no biases.

    Parameters
    ----------
    depth
        Number of layers with weights on the longest path, 6n + 2, where n is the number of blocks of a stage.
    filters
        Number of filters of the three stages.
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

    depth: Depth = 8
    filters: Annotated[Sizes, Field(min_length=_STAGES, max_length=_STAGES)] = (16, 32, 64)
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
            If the samples are not of shape (height, width, channels).
        """
        from snnpipe.models.layers import check_images, check_initializers, conv_name, keras

        check_images(spec, "ResNet")
        layers = keras().layers
        check_initializers(initializer=self.initializer, logits_initializer=self.logits_initializer)
        sample = layers.Input(spec.input_shape, name=spec.sample_word)
        stem = conv_name(0)
        x = self._activation.after(self._convolution(sample, self.filters[0], 3, 1, stem), stem)
        blocks = (self.depth - 2) // (2 * _STAGES)
        for i in range(_STAGES * blocks):
            stage, block = divmod(i, blocks)
            stride = 2 if stage and not block else 1
            x = self._block(x, self.filters[stage], stride, f"block{i + 1}")
        x = layers.GlobalAveragePooling2D(name="mean")(x)
        logits = layers.Dense(spec.n_classes, kernel_initializer=self.logits_initializer, name="logits")(x)
        return keras().Model(sample, logits, name="resnet")

    @property
    def _activation(self) -> Activation:
        return Activation(self.activation, self.levels, normalize=True)

    def _block(self, x: Any, filters: int, stride: int, name: str) -> Any:
        from snnpipe.models.layers import conv_name, keras, normalized

        layers = keras().layers
        first, second, shortcut = f"{name}_{conv_name(0)}", f"{name}_{conv_name(1)}", f"{name}_shortcut"
        y = self._activation.after(self._convolution(x, filters, 3, stride, first), first)
        y = normalized(self._convolution(y, filters, 3, 1, second), second)
        if stride != 1 or x.shape[-1] != filters:
            x = normalized(self._convolution(x, filters, 1, stride, shortcut), shortcut)
        return self._activation(layers.Add(name=f"{name}_add")([y, x]), name)

    def _convolution(self, x: Any, filters: int, size: int, stride: int, name: str) -> Any:
        from snnpipe.models.layers import keras

        return keras().layers.Conv2D(
            filters,
            size,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer=self.initializer,
            name=name,
        )(x)
