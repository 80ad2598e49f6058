"""Records a run in plain files: parameters as JSON, metrics as CSV."""

import csv
import io
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path
from typing import Any

from snnpipe.artifacts.tables import write_json
from snnpipe.base.errors import StorageError, one_line
from snnpipe.base.files import make_folder, replace_file
from snnpipe.protocols import Status
from snnpipe.settings.domains import Text
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec

_HEADER = "metric,step,value\n"


@dataclass
class CsvLogger:
    """Write ``params.json``, ``tags.json`` and ``metrics.csv`` (metric, step, value) to a folder.

    Parameters
    ----------
    folder
        The folder to write to. A missing folder is made.
    """

    folder: Text
    _tags: dict[str, str] = field(default_factory=dict, init=False)
    _params: dict[str, Any] = field(default_factory=dict, init=False)
    _file: RawIOBase | None = field(default=None, init=False)
    _unwritten: bytes = field(default=b"", init=False)
    _there: set[tuple[str, str]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        check_fields(self, "logger.csv")

    def start(
        self,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None = None,
        resumed: str | None = None,
    ) -> None:
        """Open the folder's files. If a run is resumed, the metrics in them stay."""
        folder = make_folder(Path(self.folder), "paths.output_dir")
        self._params = dict(params)
        write_json(folder / "params.json", self._params)
        self._tags = {"run_name": run_name, **tags}
        path = folder / "metrics.csv"
        lines = _whole_lines(path) if resumed is not None else []
        self._there = {(name, step) for name, step, _ in csv.reader(lines)}
        with replace_file(path) as file:
            file.write("".join(lines or [_HEADER]).encode())
        self._file = path.open("ab", buffering=0)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Add parameters to ``params.json``."""
        self._params |= params
        write_json(Path(self.folder) / "params.json", self._params)

    def log_dataset(self, spec: DataSpec) -> None:
        """Record which dataset the run uses, as tags."""
        dataset = {"name": spec.name, "version": spec.version, "source": spec.source, "digest": spec.digest}
        self._tags["dataset"] = json.dumps(dataset)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one line per metric."""
        self._write((name, "" if step is None else str(step), value) for name, value in metrics.items())

    def log_series(self, name: str, values: Sequence[float], first_step: int = 1) -> None:
        """Write one line per step."""
        self._write((name, str(first_step + i), value) for i, value in enumerate(values))

    def _write(self, rows: Iterable[tuple[str, str, float]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(row for row in rows if row[:2] not in self._there)
        self._unwritten += text.getvalue().encode()
        self._write_out()

    def _write_out(self) -> None:
        """Write the waiting lines. If the disk is full, they wait for the next call."""
        try:
            while self._unwritten and self._file is not None:
                written = self._file.write(self._unwritten)
                self._unwritten = self._unwritten[written:]
        except OSError as error:
            warnings.warn(
                f"cannot write metrics.csv to {self.folder} ({error.strerror}): make room there", stacklevel=2
            )

    def set_tag(self, name: str, value: str) -> None:
        """Set or replace a tag."""
        self._tags[name] = value

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Do nothing: the run's files are in its folder already."""

    def finalize(self, status: Status) -> None:
        """Write the tags and close the files."""
        if self._file is None:
            return
        self._write_out()
        if self._unwritten:  # remove a last line that is only half written
            self._file.truncate((Path(self.folder) / "metrics.csv").read_bytes().rfind(b"\n") + 1)
        self._file.close()
        self._file = None
        try:
            write_json(Path(self.folder) / "tags.json", self._tags | {"status": status})
        except StorageError as error:
            warnings.warn(one_line(error), stacklevel=2)

    def shared_fit(self, fingerprint: str) -> AbstractContextManager[None]:
        """Yield None: plain files have no index of earlier runs."""
        return nullcontext()

    @property
    def address(self) -> dict[str, str]:
        """The folder, by the label ``files``."""
        return {"files": self.folder}


def _whole_lines(path: Path) -> list[str]:
    """Return a file's complete lines. A last line that was cut off is left out; a missing file has no lines."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return [line for line in lines if line.endswith("\n")]
