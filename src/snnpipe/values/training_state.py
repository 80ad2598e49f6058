"""The state of a training: everything that is needed to continue it as if it had not been interrupted.

Each state is one file (`snnpipe.base.checked_files`). A file that was cut off or altered is noticed and skipped.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.checked_files import read_arrays, write_arrays
from snnpipe.base.errors import ArtifactError, CheckpointError, one_line
from snnpipe.base.files import leftovers

_FORMAT = 2
_DESCRIPTION = "description"
_SUFFIX = ".state"


@dataclass(frozen=True, eq=False)
class TrainingState:
    """A training after a batch or an epoch.

    Attributes
    ----------
    fingerprint
        Fingerprint of the training (`snnpipe.run.fingerprint.fit_fingerprint`).
    epoch, batch
        Number of epochs that are done, and number of batches of the next epoch that are done.
    history
        ``fit/...`` metrics of each epoch that is done.
    over
        Whether the training is over: the last epoch is done, or a callback has ended it.
    arrays
        Arrays by name: weights, the optimizer's variables, sums of the running metrics, states of random generators.
    callbacks
        State of each callback, by its class.
    logged
        Metrics that callbacks have logged, by name.
    """

    fingerprint: str
    epoch: int
    batch: int
    history: Sequence[Mapping[str, float]]
    over: bool
    arrays: Mapping[str, NDArray[Any]]
    callbacks: Mapping[str, Any]
    logged: Mapping[str, float] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where another process continues: the epoch and its step, as the progress line counts them."""
        return "after its training" if self.over else f"at epoch {self.epoch + 1}, step {self.batch + 1}"

    def save(self, path: Path) -> None:
        """Write the state to a file. A write that fails leaves no file."""
        description = {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "batch": self.batch,
            "history": [dict(metrics) for metrics in self.history],
            "over": self.over,
            "callbacks": dict(self.callbacks),
            "logged": dict(self.logged),
            "arrays": list(self.arrays),
        }
        arrays: dict[str, Any] = {f"{i:04d}": array for i, array in enumerate(self.arrays.values())}
        arrays[_DESCRIPTION] = np.frombuffer(json.dumps(description).encode(), np.uint8)
        write_arrays(path, arrays, _FORMAT, compressed=False)

    @classmethod
    def load(cls, path: Path) -> "TrainingState":
        """Read a state.

        Raises
        ------
        CheckpointError
            If the file is missing, has another format, or was altered or cut off.
        """
        try:
            stored = read_arrays(path, _FORMAT, "training state")
            description = json.loads(stored[_DESCRIPTION].tobytes())
            description["arrays"] = {name: stored[f"{i:04d}"] for i, name in enumerate(description["arrays"])}
            return cls(**description)
        except ArtifactError as error:
            raise CheckpointError(str(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"training state {path} is damaged: {one_line(error)}") from error


class TrainingStates:
    """The states of one training, in a folder.

    Parameters
    ----------
    output_dir
        Folder of the run's files.
    """

    def __init__(self, output_dir: str | Path):
        self._folder = Path(output_dir) / "training"

    def save(self, state: TrainingState, keep: int) -> None:
        """Add a state, and keep only the newest ``keep`` states."""
        state.save(self._folder / f"epoch{state.epoch:06d}-batch{state.batch:08d}{_SUFFIX}")
        for path in [*self._paths()[keep:], *leftovers(self._folder)]:
            path.unlink(missing_ok=True)

    def newest(self, fingerprint: str) -> TrainingState | None:
        """Return the newest undamaged state; None if there is none. A warning names each damaged one.

        Raises
        ------
        CheckpointError
            If that state belongs to another training.
        """
        for path in self._paths():
            try:
                state = TrainingState.load(path)
            except CheckpointError as error:
                warnings.warn(f"skipped, and the state before it taken: {one_line(error)}", stacklevel=2)
                continue
            if state.fingerprint != fingerprint:
                raise CheckpointError(
                    f"training state {path} is of another training: give the settings that it was begun with, or "
                    "training.resume=false to train from the start"
                )
            return state
        return None

    def clear(self) -> None:
        """Remove all states."""
        for path in [*self._paths(), *leftovers(self._folder)]:
            path.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _paths(self) -> list[Path]:
        """Return the files, the newest first."""
        return sorted(self._folder.glob(f"*{_SUFFIX}"), reverse=True)
