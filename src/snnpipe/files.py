"""Files that are whole or absent: written aside, synced and renamed. Folders that one process at a time writes to."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from snnpipe.errors import UserError

_ASIDE = ".part"


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes ``path`` if the block ends well, and vanishes if not."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_ASIDE)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)
        os.replace(aside, path)
        _sync_folder(path.parent)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def leftovers(folder: Path) -> list[Path]:
    """Return the files, anywhere in a folder, that a process was writing aside when it was killed."""
    return sorted(folder.rglob(f".*{_ASIDE}"))


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some file systems cannot
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder while the block runs; the lock of a process that is killed is gone with it.

    Raises
    ------
    UserError
        If another process holds it.
    """
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UserError(
            f"paths.output_dir: {folder} is being written to by another run just now: wait until it is over, or "
            "set paths.output_dir to another folder"
        ) from error
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)


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
