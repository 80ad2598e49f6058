"""An architecture from a user's own function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class FunctionArchitecture:
    """Builds the model with a function.

    Parameters
    ----------
    function
        Function that takes the dataset's `DataSpec` and returns a Keras model of raw logits.
    """

    function: "Callable[[DataSpec], tf_keras.Model]"

    def build(self, spec: DataSpec) -> "tf_keras.Model":
        """Return the model for a dataset's samples and classes."""
        return self.function(spec)
