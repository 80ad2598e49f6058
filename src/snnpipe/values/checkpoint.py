"""The result of training: a model's weights by name, in one file without pickles.

A checkpoint folder holds ``weights.npz`` and ``checkpoint.json``. The second has the weights' names, shapes and
checksum, the number of epochs and their metrics, and a format and a checksum of its own. Each file is written under
another name and then renamed.
"""

import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.checked_files import checksum_of, read_json, write_json
from snnpipe.base.errors import ArtifactError, CheckpointError, ModelError, TrainingError, one_line
from snnpipe.base.files import replace_file

if TYPE_CHECKING:
    import tf_keras

FORMAT = 2
_DESCRIPTION, _WEIGHTS = "checkpoint.json", "weights.npz"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of a model after training.

    Attributes
    ----------
    weights
        Weights by name, in the model's order.
    epochs
        Number of epochs that were trained.
    metrics
        ``fit/...`` metrics of the last epoch.
    """

    weights: Mapping[str, NDArray[Any]]
    epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, model: "tf_keras.Model", epochs: int = 0, metrics: Mapping[str, float] | None = None) -> "Checkpoint":
        """Return a checkpoint of a Keras model's present weights.

        Raises
        ------
        ModelError
            If two weights have the same name.
        """
        check_weight_names(model)
        return cls({w.name: w.numpy() for w in model.weights}, epochs, dict(metrics or {}))

    def require_finite(self) -> None:
        """Raise `TrainingError` if a weight is NaN or infinite."""
        require_finite(self.weights, "after training")

    def apply(self, model: "tf_keras.Model", source: str = "the checkpoint") -> None:
        """Set a model's weights.

        Raises
        ------
        CheckpointError
            If the model's weights have other names or shapes.
        """
        have = {name: value.shape for name, value in self.weights.items()}
        want = {w.name: tuple(w.shape) for w in model.weights}
        differing = [n for n in [*want, *have] if have.get(n) != want.get(n)]
        if differing:
            name = differing[0]
            raise CheckpointError(
                f"{source} is of another architecture: weight {name!r} is "
                f"{have.get(name, 'missing')} there and {want.get(name, 'missing')} in this model "
                f"({len(set(differing))} of {len(set(have) | set(want))} weights differ); "
                "choose the model= and data= it was trained with"
            )
        model.set_weights([self.weights[w.name] for w in model.weights])

    def save(self, folder: Path) -> Path:
        """Write the checkpoint to a folder and return the folder. A missing folder is made."""
        with replace_file(folder / _WEIGHTS) as file:
            arrays: dict[str, Any] = {f"{i:04d}": v for i, v in enumerate(self.weights.values())}
            np.savez(file, **arrays)
        try:
            write_json(
                folder / _DESCRIPTION,
                {
                    "epochs": self.epochs,
                    "metrics": dict(self.metrics),
                    "weights": [
                        {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)}
                        for name, value in self.weights.items()
                    ],
                    "weights_sha256": checksum_of(folder / _WEIGHTS),
                },
                FORMAT,
            )
        except BaseException:
            (folder / _WEIGHTS).unlink(missing_ok=True)
            raise
        return folder

    @classmethod
    def require(cls, folder: Path) -> None:
        """Raise `CheckpointError` if a folder holds no checkpoint."""
        if not (folder / _DESCRIPTION).is_file():
            raise CheckpointError(
                f"no checkpoint at {folder}: it takes a folder with {_DESCRIPTION} and {_WEIGHTS}, "
                "such as the checkpoint folder of an earlier run"
            )

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint":
        """Read a checkpoint folder.

        Raises
        ------
        CheckpointError
            If the checkpoint is missing, has another format, or was altered or cut off.
        """
        cls.require(folder)
        try:
            description = read_json(folder / _DESCRIPTION, FORMAT, "checkpoint")
            if checksum_of(folder / _WEIGHTS) != description["weights_sha256"]:
                raise CheckpointError(f"checkpoint {folder} is damaged: {_WEIGHTS} does not match its checksum")
            with np.load(folder / _WEIGHTS, allow_pickle=False) as arrays:
                names = [w["name"] for w in description["weights"]]
                weights = {name: arrays[f"{i:04d}"] for i, name in enumerate(names)}
            return cls(weights, int(description["epochs"]), dict(description["metrics"]))
        except CheckpointError:
            raise
        except ArtifactError as error:
            raise CheckpointError(str(error)) from error
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"checkpoint {folder} is damaged: {one_line(error)}") from error


@dataclass(frozen=True, eq=False)
class EarlierFit:
    """The training of an earlier run.

    Attributes
    ----------
    run_id
        Id of the run that trained.
    checkpoint
        The trained weights.
    """

    run_id: str
    checkpoint: Checkpoint


def require_finite(weights: Mapping[str, NDArray[Any]], when: str) -> None:
    """Raise `TrainingError` if a weight is NaN or infinite. The loss can be finite all the same."""
    for name, value in weights.items():
        if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
            bad = np.asarray(value)[~np.isfinite(value)]
            raise TrainingError(
                f"weight {name!r} is {float(bad.flat[0])} {when}, in {bad.size} of {value.size} values: nothing is "
                "saved; lower training.learning_rate, or scale the inputs down (data.scaling)"
            )


def check_weight_names(model: "tf_keras.Model") -> None:
    """Raise `ModelError` if two of a model's weights have the same name: a checkpoint would keep only one of them."""
    name, times = max(Counter(w.name for w in model.weights).items(), key=itemgetter(1), default=("", 0))
    if times > 1:
        raise ModelError(f"model: {times} of its weights are called {name!r}: give each layer and weight its own name")
