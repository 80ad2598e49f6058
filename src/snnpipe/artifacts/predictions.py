"""A table of the class that the ANN and the spiking network predict for each test sample.

Axes: i = sample.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.artifacts.tables import write_csv
from snnpipe.base.errors import ArtifactError

NAME = "predictions.csv"
_HEADER = ["image", "label", "ann", "snn"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted and true classes of the first test samples, as class numbers.

    Attributes
    ----------
    label_i, ann_i, snn_i
        True class, the ANN's class, and the spiking network's class after the last step.
    """

    label_i: NDArray[np.int64]
    ann_i: NDArray[np.int64]
    snn_i: NDArray[np.int64]

    def write(self, folder: Path) -> Path:
        """Write the table, with one row per sample."""
        columns = (self.label_i.tolist(), self.ann_i.tolist(), self.snn_i.tolist())
        return write_csv(folder / NAME, _HEADER, zip(range(len(self.label_i)), *columns, strict=True))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the table that `write` wrote.

        Raises
        ------
        ArtifactError
            If the file is not a table of this kind.
        """
        try:
            header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
            image_i, *columns = np.array(rows, np.int64).reshape(-1, len(_HEADER)).T
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}") from error
        if header != _HEADER or not np.array_equal(image_i, np.arange(len(rows))):
            raise ArtifactError(f"{path} is damaged: its columns must be {', '.join(_HEADER)}, with a row per sample")
        return cls(*columns)
