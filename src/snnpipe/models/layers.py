"""Helpers that the built-in architectures share: access to Keras, layer names and checks."""

from dataclasses import dataclass
from typing import Any, Literal

from snnpipe.base.errors import ModelError, one_line
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.settings.domains import Initializer
from snnpipe.values.data import DataSpec

ActivationKind = Literal["relu", "quantised"]

LEVELS = 4
"""Number of levels of a quantised activation, if a model's ``levels`` is null."""


def keras() -> Any:
    """Return ``tf_keras``."""
    return import_tf_keras()


def conv_name(i: int) -> str:
    """Return the name of the i-th convolution in Keras's numbering."""
    return f"conv2d_{i}" if i else "conv2d"


def dense_name(i: int) -> str:
    """Return the name of the i-th hidden dense layer."""
    return f"dense_{i}" if i else "dense"


_MOMENTUM = 0.9
"""Share of the moving averages that a batch leaves, as in PyTorch. With Keras's 0.99, they lag in short trainings."""


def normalized(x: Any, name: str) -> Any:
    """Return the output of the layer with a given name after batch normalization."""
    return keras().layers.BatchNormalization(momentum=_MOMENTUM, name=f"{name}_bn")(x)


@dataclass(frozen=True)
class Activation:
    """The activation of an architecture's layers, and whether batch normalization stands before it.

    Parameters
    ----------
    kind, levels
        The model's keys ``activation`` and ``levels``.
    normalize
        Whether batch normalization stands before each activation.

    Raises
    ------
    ModelError
        If ``levels`` is given and the activation has none.
    """

    kind: ActivationKind
    levels: int | None
    normalize: bool

    def __post_init__(self) -> None:
        if self.levels is not None and self.kind != "quantised":
            raise ModelError(
                f"model.levels: got {self.levels}, but model.activation={self.kind} has no levels: take "
                "model.activation=quantised, or null"
            )

    @property
    def of_layer(self) -> str | None:
        """Activation that a convolution or dense layer applies itself; None if further layers apply it."""
        return None if self.normalize or self.kind == "quantised" else "relu"

    def after(self, x: Any, name: str) -> Any:
        """Return the output of the convolution or dense layer with a given name, activated."""
        if self.normalize:
            x = normalized(x, name)
        return x if self.of_layer else self(x, name)

    def __call__(self, x: Any, name: str) -> Any:
        """Return a tensor after the activation alone, in a layer named after ``name``."""
        if self.kind == "quantised":
            from snnpipe.frameworks.quantised import QuantisedReLU

            return QuantisedReLU(self.levels or LEVELS, name=f"{name}_relu")(x)
        return keras().layers.ReLU(name=f"{name}_relu")(x)


def check_images(spec: DataSpec, who: str) -> None:
    """Raise `ModelError` if a dataset's samples are not of rank 3, which two-dimensional convolutions need."""
    shape = spec.input_shape
    if len(shape) != 3:
        one_dimensional = ", or a function of your own with Conv1D" if len(shape) == 2 else ""
        raise ModelError(
            f"model: {who} takes samples of shape (height, width, channels), and those of {spec.name} have shape "
            f"{shape}: take model=mlp{one_dimensional}"
        )


def check_halvings(spec: DataSpec, count: int, key: str, what: str) -> None:
    """Raise `ModelError` if a dataset's images are too small to be halved once by each of ``count`` layers or stages.

    ``key`` is the list in the configuration that has one entry for each, and ``what`` names them.
    """
    smallest = min(spec.input_shape[:2])
    if smallest >> count == 0:
        raise ModelError(
            f"{key}: {count} {what} each halve the {spec.sample_word}, and {spec.name}'s of {smallest} "
            f"{spec.value_word}s can be halved {smallest.bit_length() - 1} times: give fewer {key.rpartition('.')[2]}"
        )


def check_initializers(**initializers: Initializer) -> None:
    """Raise `ModelError` if Keras cannot make an initializer from the value of one of the model's keys."""
    for key, initializer in initializers.items():
        try:
            keras().initializers.get(initializer)
        except (ValueError, TypeError) as error:
            if isinstance(initializer, str):
                raise ModelError(
                    f"model.{key}: Keras has no initialiser {initializer!r}: he_uniform, he_normal, glorot_uniform, "
                    "lecun_normal and zeros are some that it has"
                ) from None
            raise ModelError(
                f"model.{key}: got {initializer!r}, of which Keras makes no initialiser ({one_line(error)}): take a "
                "name, or {class_name: VarianceScaling, config: {scale: 4.0}}"
            ) from None
