"""What the built-in architectures share: Keras itself, layer names and checks."""

from typing import Any

from snnpipe.compat import import_tf_keras
from snnpipe.errors import ModelError


def keras() -> Any:
    """Return ``tf_keras``."""
    return import_tf_keras()


def conv_name(i: int) -> str:
    """Return the name of the i-th convolution, numbered as Keras numbers them."""
    return f"conv2d_{i}" if i else "conv2d"


def dense_name(i: int) -> str:
    """Return the name of the i-th hidden dense layer."""
    return f"dense_{i}" if i else "dense"


def check_initializer(name: str) -> None:
    """Raise `ModelError` where Keras has no initialiser of a name."""
    try:
        keras().initializers.get(name)
    except ValueError:
        raise ModelError(
            f"model.initializer: Keras has no initialiser {name!r}: he_uniform, he_normal, glorot_uniform "
            "and lecun_normal are some that it has"
        ) from None
