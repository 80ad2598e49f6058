"""A multilayer perceptron."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnpipe.models.layers import Activation, ActivationKind
from snnpipe.settings.domains import Initializer, PositiveInt, Sizes
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class Mlp:
    """Dense layers with ReLU, then a dense layer of logits. Samples of any shape are flattened.

    Parameters
    ----------
    units
        Number of neurons of each hidden layer.
    use_bias
        Whether the layers have biases.
    batch_normalization
        Whether batch normalization stands before each ReLU.
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

    units: Sizes = (128, 64)
    use_bias: bool = True
    batch_normalization: bool = False
    activation: ActivationKind = "relu"
    levels: PositiveInt | None = None
    initializer: Initializer = "he_uniform"
    logits_initializer: Initializer = "glorot_uniform"

    def __post_init__(self) -> None:
        check_fields(self, "model")

    def build(self, spec: DataSpec) -> "tf_keras.Model":
        """Return the model for a dataset's samples and classes."""
        from snnpipe.models.layers import check_initializers, dense_name, keras

        layers = keras().layers
        check_initializers(initializer=self.initializer, logits_initializer=self.logits_initializer)
        activation = Activation(self.activation, self.levels, self.batch_normalization)
        sample = layers.Input(spec.input_shape, name=spec.sample_word)
        x = layers.Flatten(name="flatten")(sample)
        for i, units in enumerate(self.units):
            x = layers.Dense(
                units,
                activation=activation.of_layer,
                use_bias=self.use_bias,
                kernel_initializer=self.initializer,
                name=dense_name(i),
            )(x)
            x = activation.after(x, dense_name(i))
        logits = layers.Dense(
            spec.n_classes, use_bias=self.use_bias, kernel_initializer=self.logits_initializer, name="logits"
        )(x)
        return keras().Model(sample, logits, name="mlp")
