"""No training: the model as it was built, which may come with its weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from snnpipe.protocols import CallbackSink, DataModule
from snnpipe.values.checkpoint import Checkpoint

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class NoTraining:
    """Leave a model's weights as they are."""

    reuse: ClassVar[bool] = False

    def check(self, model: "tf_keras.Model") -> None:
        """Every model can be left as it is."""

    def fit(self, model: "tf_keras.Model", data: DataModule, callbacks: CallbackSink) -> Checkpoint:
        """Return the model's weights."""
        return Checkpoint.of(model, 0, {})
