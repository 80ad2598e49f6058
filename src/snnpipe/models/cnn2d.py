"""The small convolutional network of the published MNIST and CIFAR-10 recipes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnpipe.models.layers import Activation, ActivationKind
from snnpipe.settings.domains import Initializer, NonNegativeFloat, PositiveInt, Share, Sizes
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class Cnn2d:
    """3x3 convolutions (``same``) with ReLU, each followed by 2x2 average pooling, then a dense layer, then logits.

    Parameters
    ----------
    filters
        Number of filters of each convolution.
    dense
        Number of neurons of the dense layer before the logits.
    kernel_regularizer
        Weight of an L2 penalty on the kernels; 0 for none.
    batch_normalization
        Whether batch normalization stands before each ReLU, that of the dense layer too.
    dropout
        Share of the dense layer's outputs that training drops.
    activation_noise
        Standard deviation of the Gaussian noise that training adds to each ReLU's output, in units of the activation.
        One spike of a neuron with scale g and step dt is ``1 / (g dt)`` of these units.
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

    filters: Sizes = (32, 64, 128)
    dense: PositiveInt = 512
    kernel_regularizer: NonNegativeFloat = 0.0
    batch_normalization: bool = False
    dropout: Share = 0.0
    activation_noise: NonNegativeFloat = 0.0
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
            If the samples are not of shape (height, width, channels), or are too small for one pooling per convolution.
        """
        from snnpipe.models.layers import (
            check_halvings,
            check_images,
            check_initializers,
            conv_name,
            dense_name,
            keras,
        )

        check_images(spec, "Cnn2d")
        check_halvings(spec, len(self.filters), "model.filters", "convolutions")
        layers = keras().layers
        check_initializers(initializer=self.initializer, logits_initializer=self.logits_initializer)
        penalty = keras().regularizers.l2(self.kernel_regularizer) if self.kernel_regularizer else None
        activation = Activation(self.activation, self.levels, self.batch_normalization)
        sample = x = layers.Input(spec.input_shape, name=spec.sample_word)
        for i, filters in enumerate(self.filters):
            x = layers.Conv2D(
                filters,
                3,
                padding="same",
                activation=activation.of_layer,
                kernel_initializer=self.initializer,
                kernel_regularizer=penalty,
                name=conv_name(i),
            )(x)
            x = activation.after(x, conv_name(i))
            if self.activation_noise:
                x = layers.GaussianNoise(self.activation_noise, name=f"{conv_name(i)}_noise")(x)
            x = layers.AveragePooling2D(2, name=f"{conv_name(i)}_pool")(x)
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(
            self.dense,
            activation=activation.of_layer,
            kernel_initializer=self.initializer,
            kernel_regularizer=penalty,
            name=dense_name(0),
        )(x)
        x = activation.after(x, dense_name(0))
        if self.activation_noise:
            x = layers.GaussianNoise(self.activation_noise, name=f"{dense_name(0)}_noise")(x)
        if self.dropout:
            x = layers.Dropout(self.dropout, name="dropout")(x)
        logits = layers.Dense(
            spec.n_classes,
            kernel_initializer=self.logits_initializer,
            kernel_regularizer=penalty,
            name="logits",
        )(x)
        return keras().Model(sample, logits, name="cnn2d")
