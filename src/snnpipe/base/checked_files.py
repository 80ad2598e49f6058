"""Files that are checked when they are read: JSON and NumPy archives with a format and a checksum.

The checksum covers the whole file, so that a file that was cut off or altered anywhere is refused as a whole.
Nothing in a file is executed: it holds JSON or plain arrays, and no pickles.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ArtifactError, one_line
from snnpipe.base.files import replace_file

_FORMAT, _CHECKSUM = "format", "sha256"
_DIGEST_LENGTH = 64
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
"""Errors that the readers of JSON, zip archives and arrays raise for damaged bytes."""


def write_json(path: Path, content: Mapping[str, Any], fmt: int) -> Path:
    """Write a mapping as JSON, with its format and checksum. A missing folder is made."""
    whole = {_FORMAT: fmt, **content}
    with replace_file(path) as file:
        file.write((json.dumps({**whole, _CHECKSUM: _digest_of(whole)}, indent=1) + "\n").encode())
    return path


def read_json(path: Path, fmt: int, what: str) -> dict[str, Any]:
    """Return what `write_json` wrote.

    Parameters
    ----------
    path
        Path of the file.
    fmt
        The format that the file must have.
    what
        Kind of the file, for the message.

    Raises
    ------
    ArtifactError
        If the file is missing, has another format, or was altered or cut off.
    """
    try:
        content = json.loads(_bytes(path, what))
        require_format(content[_FORMAT], fmt, path, what)
        checksum = content.pop(_CHECKSUM, None)
        digest = _digest_of(content)
    except _UNREADABLE as error:
        raise ArtifactError(f"{what} {path} is damaged: {one_line(error)}") from error
    if digest != checksum:
        raise ArtifactError(f"{what} {path} is damaged: it does not match its checksum")
    del content[_FORMAT]
    return content  # type: ignore[no-any-return]  # it has a format, so it is a mapping


def write_arrays(path: Path, arrays: Mapping[str, Any], fmt: int, *, compressed: bool = True) -> Path:
    """Write arrays as an ``.npz`` with their format. A missing folder is made.

    The checksum is the archive's comment, at the end of the file. So it covers all other bytes, and ``numpy.load`` can
    read the file too.
    """
    archive = io.BytesIO()
    contents: dict[str, Any] = {_FORMAT: np.int64(fmt), **arrays}
    (np.savez_compressed if compressed else np.savez)(archive, **contents)
    return write_sealed(path, archive)


def read_arrays(path: Path, fmt: int, what: str) -> dict[str, NDArray[Any]]:
    """Return what `write_arrays` wrote. Parameters and errors are those of `read_json`."""
    data = _bytes(path, what)
    if not is_sealed(data):
        raise ArtifactError(f"{what} {path} is damaged: it does not match its checksum")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            require_format(int(archive[_FORMAT]), fmt, path, what)
            return {name: archive[name] for name in archive.files if name != _FORMAT}
    except _UNREADABLE as error:
        raise ArtifactError(f"{what} {path} is damaged: {one_line(error)}") from error


def write_sealed(path: Path, archive: io.BytesIO) -> Path:
    """Write a zip archive with the checksum of all its bytes as its comment, which is at the end of the file."""
    with zipfile.ZipFile(archive, "a") as commented:
        commented.comment = bytes(_DIGEST_LENGTH)
    data = archive.getbuffer()[:-_DIGEST_LENGTH]
    with replace_file(path) as file:
        file.write(data)
        file.write(hashlib.sha256(data).hexdigest().encode())
    return path


def is_sealed(data: bytes) -> bool:
    """Whether the bytes of a file end with their checksum, as `write_sealed` writes them."""
    return hashlib.sha256(memoryview(data)[:-_DIGEST_LENGTH]).hexdigest().encode() == data[-_DIGEST_LENGTH:]


def checksum_of(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(f"there is no {what} {path}") from error
    except OSError as error:
        raise ArtifactError(f"{what} {path} cannot be read: {error.strerror}") from error


def require_format(actual: Any, wanted: int, path: Path, what: str) -> None:
    """Raise `ArtifactError` if a file has another format than the wanted one."""
    if actual != wanted:
        raise ArtifactError(
            f"{what} {path} has format {actual}, and this snnpipe reads format {wanted}: use the snnpipe that wrote it"
        )


def _digest_of(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
