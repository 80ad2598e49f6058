"""Files that are whole or absent: written aside, synced and renamed; and names that stay in their folder."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from snnpipe.errors import UserError

_NAME_LENGTH = 100


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes ``path`` if the block ends well, and vanishes if not."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def make_folder(path: Path, key: str) -> Path:
    """Make a folder, or say which key of the configuration names one that cannot be written.

    Raises
    ------
    UserError
        If the folder cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{key}: cannot write to {path} ({error.strerror}): set {key} to a folder that can be written"
        ) from error
    return path


def file_name(name: str) -> str:
    """Return what a file is called after something with a name: itself, if that is letters, digits, ``_-.`` alone.

    Another has a digest behind it, so that different names stay different files. None leads out of a folder.
    """
    plain = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII).lstrip(".")[:_NAME_LENGTH]
    if plain == name and name:
        return name
    return f"{plain}_{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
