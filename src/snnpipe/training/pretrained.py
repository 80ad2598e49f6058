"""No training: the weights come from an earlier run's checkpoint, or from a file of weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from snnpipe.base.errors import CheckpointError
from snnpipe.protocols import CallbackSink, DataModule
from snnpipe.settings.domains import Text
from snnpipe.settings.schema import check_fields
from snnpipe.training.weight_files import SUFFIXES, read_weights, require_weights
from snnpipe.values.checkpoint import Checkpoint

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class Pretrained:
    """Takes the weights of a checkpoint or of a file of weights.

    Parameters
    ----------
    checkpoint
        Folder ``checkpoint`` of an earlier run, or a file: an ``.h5`` file that ``save_weights`` of Keras 3 or tf_keras
        wrote, or an ``.npz`` file with the weights by name (``conv2d/kernel``) or in the order of
        ``model.get_weights()``.
    """

    reuse: ClassVar[bool] = False
    trains: ClassVar[bool] = False

    checkpoint: Text

    def __post_init__(self) -> None:
        check_fields(self, "training")
        try:
            if self._is_file:
                require_weights(self._path)
            else:
                Checkpoint.require(self._path)
        except CheckpointError as error:
            raise CheckpointError(f"training.checkpoint: {error}") from None

    def check(self, model: "tf_keras.Model") -> None:
        """Raise `CheckpointError` if the checkpoint is missing, damaged or of another architecture."""
        self._load(model).apply(model, f"training.checkpoint {self.checkpoint}")

    def fit(self, model: "tf_keras.Model", data: DataModule, callbacks: CallbackSink) -> Checkpoint:
        """Set the model's weights and return them."""
        checkpoint = self._load(model)
        checkpoint.apply(model, f"training.checkpoint {self.checkpoint}")
        return checkpoint

    def _load(self, model: "tf_keras.Model") -> Checkpoint:
        if not self._is_file:
            return Checkpoint.load(self._path)
        try:
            return read_weights(self._path, model)
        except CheckpointError as error:
            raise CheckpointError(f"training.checkpoint: {error}") from None

    @property
    def _is_file(self) -> bool:
        return self._path.suffix in SUFFIXES and not self._path.is_dir()

    @property
    def _path(self) -> Path:
        return Path(self.checkpoint).expanduser()
