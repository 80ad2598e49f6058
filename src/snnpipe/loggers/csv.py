"""A run as plain files: parameters as JSON, metrics as CSV."""

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from snnpipe.artifacts.tables import write_json
from snnpipe.files import make_folder
from snnpipe.protocols import Status
from snnpipe.schema import check_fields
from snnpipe.types import DataSpec, Text


@dataclass
class CsvLogger:
    """Write ``params.json``, ``tags.json`` and ``metrics.csv`` (metric, step, value) to a folder.

    Parameters
    ----------
    folder
        Where to; it is made if it is missing.
    """

    folder: Text
    _tags: dict[str, str] = field(default_factory=dict, init=False)
    _file: TextIO | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_fields(self, "logger.csv")

    def start(
        self, run_name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None = None
    ) -> None:
        """Open the folder's files."""
        folder = make_folder(Path(self.folder), "paths.output_dir")
        write_json(folder / "params.json", dict(params))
        self._tags = {"run_name": run_name, **tags}
        self._file = (folder / "metrics.csv").open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(["metric", "step", "value"])

    def log_dataset(self, spec: DataSpec) -> None:
        """Record which dataset the run uses, as tags."""
        self._tags["dataset"] = json.dumps({"name": spec.name, "version": spec.version, "source": spec.source})

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write a line per metric."""
        self._writer.writerows([name, "" if step is None else step, value] for name, value in metrics.items())
        if self._file is not None:
            self._file.flush()

    def log_series(self, name: str, values: Sequence[float], first_step: int = 1) -> None:
        """Write a line per step."""
        self._writer.writerows([name, first_step + i, value] for i, value in enumerate(values))

    def set_tag(self, name: str, value: str) -> None:
        """Set or replace a tag."""
        self._tags[name] = value

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Do nothing: the run's files are in its folder already."""

    def finalize(self, status: Status) -> None:
        """Write the tags and close the files."""
        if self._file is None:
            return
        self._file.close()
        self._file = None
        write_json(Path(self.folder) / "tags.json", self._tags | {"status": status})

    def shared_fit(self, fingerprint: str) -> AbstractContextManager[None]:
        """Find nothing: plain files are no index of earlier runs."""
        return nullcontext()

    @property
    def address(self) -> dict[str, str]:
        """The folder."""
        return {"files": self.folder}
