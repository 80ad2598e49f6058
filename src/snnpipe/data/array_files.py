"""Arrays in files of NumPy: an ``.npz``, or a folder of ``.npy``, which are mapped and not read as a whole."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError, one_line

_FORMS = "an .npz file, or a folder of .npy files"
_CURE_OF_OBJECTS = (
    "save numbers as numpy.stack(x).astype('float32'), and names as y.astype('str'): Python objects are never loaded, "
    "because they could run code"
)


class ArrayFiles:
    """The arrays of an ``.npz`` file or of a folder of ``.npy`` files, by their names.

    Parameters
    ----------
    path
        The file or folder. An array of a folder is mapped into memory: only rows that are used are read.

    Raises
    ------
    DataError
        If there is nothing of the kind.
    """

    def __init__(self, path: Path):
        self._path = path
        self._paths: dict[str, Path] | None = None
        if path.is_dir():
            self._paths = {file.stem: file for file in sorted(path.glob("*.npy"))}
            self.names = tuple(self._paths)
        elif not path.exists():
            raise DataError(f"data.path: there is no {path}: give {_FORMS}")
        elif path.suffix == ".npy":
            raise DataError(f"data.path: {path} is one array: give the folder that holds it and its labels, or an .npz")
        else:
            self.names = self._names_in_archive()
        if not self.names:
            raise DataError(f"data.path: {path} holds no {'.npy files' if path.is_dir() else 'arrays'}: give {_FORMS}")

    def read(self, name: str) -> NDArray[Any]:
        """Return an array.

        Raises
        ------
        DataError
            If the array cannot be read, or holds Python objects.
        """
        try:
            if self._paths is not None:
                array: NDArray[Any] = np.load(self._paths[name], mmap_mode="r", allow_pickle=False)
                return array
            with np.load(self._path, allow_pickle=False) as archive:
                return archive[name]  # type: ignore[no-any-return]
        except MemoryError:
            raise
        except Exception as error:  # readers of files may raise any error
            where = f"{name!r} of {self._path}"
            if "bject" in str(error) or "pickle" in str(error):
                raise DataError(f"data.path: array {where} holds Python objects: {_CURE_OF_OBJECTS}") from None
            raise DataError(
                f"data.path: array {where} cannot be read ({one_line(error)[:200]}): save it again"
            ) from error

    def _names_in_archive(self) -> tuple[str, ...]:
        try:
            if zipfile.is_zipfile(self._path):
                with np.load(self._path, allow_pickle=False) as archive:
                    return tuple(archive.files)
        except (ValueError, OSError, zipfile.BadZipFile):
            pass
        raise DataError(
            f"data.path: {self._path} is no .npz file: give {_FORMS}; numpy.savez(path, x_train=..., y_train=...) "
            "writes one"
        )
