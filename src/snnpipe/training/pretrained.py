"""No training: the weights come from an earlier run's checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from snnpipe.base.errors import CheckpointError
from snnpipe.protocols import CallbackSink, DataModule
from snnpipe.settings.domains import Text
from snnpipe.settings.schema import check_fields
from snnpipe.values.checkpoint import Checkpoint

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class Pretrained:
    """Takes the weights of a checkpoint.

    Parameters
    ----------
    checkpoint
        Folder that `snnpipe.values.checkpoint.Checkpoint.save` wrote.
    """

    reuse: ClassVar[bool] = False

    checkpoint: Text

    def __post_init__(self) -> None:
        check_fields(self, "training")
        try:
            Checkpoint.require(self._folder)
        except CheckpointError as error:
            raise CheckpointError(f"training.checkpoint: {error}") from None

    def check(self, model: "tf_keras.Model") -> None:
        """Raise `CheckpointError` if the checkpoint is missing, damaged or of another architecture."""
        self._load().apply(model, f"training.checkpoint {self.checkpoint}")

    def fit(self, model: "tf_keras.Model", data: DataModule, callbacks: CallbackSink) -> Checkpoint:
        """Set the model's weights and return them."""
        checkpoint = self._load()
        checkpoint.apply(model, f"training.checkpoint {self.checkpoint}")
        return checkpoint

    def _load(self) -> Checkpoint:
        return Checkpoint.load(self._folder)

    @property
    def _folder(self) -> Path:
        return Path(self.checkpoint).expanduser()
