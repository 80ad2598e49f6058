"""A trained model from a file of Keras 3, tf_keras or TensorFlow."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ModelError, one_line
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.frameworks.keras3 import translated
from snnpipe.settings.domains import Text
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tf_keras

_TAKEN = "take a .keras or .h5 file of Keras 2 or 3, or a SavedModel folder of Keras 2"


@dataclass(frozen=True)
class ModelFile:
    """A model as it was saved, with its weights. ``training=none`` converts it without further training.

    Parameters
    ----------
    path
        A ``.keras`` or ``.h5`` file of Keras 3 or of tf_keras (Keras 2), or the folder of a SavedModel of Keras 2.
    """

    path: Text

    def __post_init__(self) -> None:
        check_fields(self, "model")

    def build(self, spec: DataSpec) -> "tf_keras.Model":
        """Return the model. A model of Keras 3 is translated to tf_keras, and the outputs of both are compared.

        Raises
        ------
        ModelError
            If the file does not exist or is no model, or if a layer of Keras 3 has no counterpart.
        """
        path = Path(self.path).expanduser()
        if not path.exists():
            raise ModelError(f"model.path: there is no file {self.path}: {_TAKEN}")
        try:
            version = _keras_version(path)
            if version.startswith("3"):
                import keras

                return translated(keras.saving.load_model(path, compile=False))
            return import_tf_keras().models.load_model(path, compile=False)
        except ModelError:
            raise
        except Exception as error:  # readers of files may raise any error
            raise ModelError(
                f"model.path: {self.path} cannot be read as a model ({type(error).__name__}: {one_line(error)[:300]}): "
                f"{_TAKEN}"
            ) from error


def _keras_version(path: Path) -> str:
    """Return the version of Keras that wrote a model."""
    if path.is_dir():
        return "2"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            metadata: dict[str, Any] = json.loads(archive.read("metadata.json"))
        return str(metadata.get("keras_version", ""))
    import h5py

    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise ModelError(
                f"model.path: {path} holds weights and no architecture: {_TAKEN}; or choose the model= whose weights "
                f"they are, with training=pretrained training.checkpoint={path}"
            )
        version = file.attrs.get("keras_version", "")
        return version.decode() if isinstance(version, bytes) else str(version)
