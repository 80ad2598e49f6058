"""The prepared files of a dataset: where they are searched, how they are prepared, and how damage is detected."""

import io
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from snnpipe.base.errors import DataError, did_you_mean, one_line
from snnpipe.frameworks.compat import import_tensorflow

_OURS = {"digits": "snnpipe.data.digits"}
_HOST_TIMEOUT_S = 5.0
_FOLDERS_VARIABLE, _DEFAULT_FOLDER = "TFDS_DATA_DIR", "~/tensorflow_datasets"


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset of tensorflow-datasets, as files in a folder.

    Parameters
    ----------
    name, version, data_dir
        As in `snnpipe.data.tfds.TfdsDataModule`.
    """

    name: str
    version: str | None
    data_dir: str | None

    def prepare(self) -> None:
        """Write the files, unless they exist.

        Raises
        ------
        DataError
            If the dataset is unknown, or if it is not prepared and cannot be downloaded from this machine.
        """
        tfds = import_tfds()
        if self._folder() is not None:
            return
        builder = self._builder(self._writable_folder())
        self._check_downloadable(builder)
        tfds.display_progress_bar(sys.stderr.isatty())
        try:
            with _quiet(silent=self.name in _OURS):
                builder.download_and_prepare()
        except Exception as error:
            raise DataError(self._not_available(f"preparing it failed: {one_line(error)}")) from error

    def open(self) -> Any:
        """Return the builder that reads the files.

        Raises
        ------
        DataError
            If the dataset is unknown or not prepared.
        """
        folder = self._folder()
        if folder is None:
            raise DataError(self._not_available())
        return self._builder(folder)

    def _folders(self) -> list[Path]:
        """Return the folders that may hold prepared datasets, in the order of the search."""
        if self.data_dir is not None:
            return [Path(self.data_dir).expanduser()]
        names = [os.environ.get(_FOLDERS_VARIABLE), _DEFAULT_FOLDER]
        return list(dict.fromkeys(Path(name).expanduser() for name in names if name))

    def _folder(self) -> Path | None:
        """Return the first folder that has the dataset; None if no folder has it."""
        for folder in self._folders():
            if folder.is_dir():
                builder = self._builder(folder)
                with _quiet(silent=False):
                    prepared = builder.is_prepared()
                if prepared:
                    return folder
        return None

    def _writable_folder(self) -> Path:
        for folder in self._folders():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError:
                continue
            if os.access(folder, os.W_OK):
                return folder
        raise DataError(self._not_available("none of these folders can be written"))

    def _builder(self, folder: Path) -> Any:
        from google.protobuf.json_format import ParseError

        tfds = import_tfds()
        if module := _OURS.get(self.name):
            import_module(module)
        name = f"{self.name}:{self.version}" if self.version else self.name
        try:
            with _quiet(silent=False):
                return tfds.builder(name, data_dir=str(folder), try_gcs=False)
        except tfds.core.DatasetNotFoundError:
            known = tfds.list_builders(with_community_datasets=False)
            close = did_you_mean(self.name, known).split("known:")[0]
            raise DataError(
                f"data.name: there is no dataset {self.name!r} in tensorflow-datasets "
                f"({close}{len(known)} are known): tfds.list_builders() lists them"
            ) from None
        except (AssertionError, ValueError) as error:
            raise DataError(f"data.version: {self.name} has no version {self.version!r}: {one_line(error)}") from None
        except ParseError as error:
            where = str(folder / self.name)
            raise damaged(f"a dataset_info.json in {where}", one_line(error), where) from None

    def _check_downloadable(self, builder: Any) -> None:
        """Fail at once if the dataset's hosts cannot be reached. tfds would retry for minutes."""
        urls = [urlsplit(str(url)) for url in builder.url_infos or ()]
        proxies = [os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")]
        urls = [urlsplit(proxy) for proxy in proxies if proxy] or urls
        for url in [url for url in urls if url.hostname][:1]:
            try:
                port = url.port or {"http": 80, "ftp": 21}.get(url.scheme, 443)
                socket.create_connection((url.hostname, port), timeout=_HOST_TIMEOUT_S).close()
            except OSError as error:
                raise DataError(self._not_available(f"{url.hostname} cannot be reached ({one_line(error)})")) from None

    def _not_available(self, why: str = "") -> str:
        looked = " and ".join(str(folder) for folder in self._folders())
        problem = f"dataset {self.name!r} is not prepared in {looked}" + (f", and {why}" if why else "")
        where = f"data.data_dir (or {_FOLDERS_VARIABLE})"
        if self.name in _OURS:
            return f"{problem}: set {where} to a folder that can be written"
        build = f"python -m tensorflow_datasets build {self.name} --data_dir=FOLDER"
        return f"{problem}: where there is a network, run `{build}`, then set {where} to that FOLDER"


def damaged_file(builder: Any) -> DataError | None:
    """Return an error that names the first damaged file of a builder; None if all files are intact."""
    for split in builder.info.splits.values():
        for path, records in zip(split.filepaths, split.shard_lengths, strict=True):
            if problem := _damage(str(path), records):
                return damaged(str(path), problem, str(builder.data_dir))
    return None


def damaged(what: str, problem: str, folder: str) -> DataError:
    """Return the error that reports a damaged file in a folder."""
    return DataError(
        f"data: {what} is damaged ({problem}): delete {folder}; the next run prepares it again, as does "
        "`python -m tensorflow_datasets build` where there is a network"
    )


def _damage(path: str, records: int) -> str:
    """Return the damage of a file of records; empty if it is intact."""
    tf = import_tensorflow()
    try:
        readable = sum(1 for _ in tf.data.TFRecordDataset(path))
    except tf.errors.NotFoundError:
        return "it is not there"
    except tf.errors.DataLossError as error:
        return one_line(error).partition("}} ")[2].partition(" [Op:")[0] or "a record is corrupted"
    return "" if readable == records else f"it has {readable} of {records} records"


@contextmanager
def _quiet(silent: bool) -> Iterator[None]:
    """Suppress tfds's warning about a missing folder and, if ``silent``, everything that tfds prints."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()) if silent else nullcontext():
            yield
    finally:
        logger.setLevel(level)


def import_tfds() -> Any:
    """Return ``tensorflow_datasets``, imported after TensorFlow has been set up."""
    import_tensorflow()
    return import_module("tensorflow_datasets")
