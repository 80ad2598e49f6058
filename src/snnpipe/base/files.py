"""Safe writing of files and folders.

A file appears whole or not at all: it is written under another name, synced and renamed. The name of a file never leads
out of its folder. A folder can be locked, so that only one process at a time writes to it.
"""

import errno
import hashlib
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from snnpipe.base.errors import StorageError, UserError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.ESTALE}

_ASIDE = ".part"

_NAME_LENGTH = 100


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes ``path`` if the block succeeds, and is removed if it fails.

    A missing folder is made.

    Raises
    ------
    StorageError
        If the folder cannot be written to, or is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _aside(path) as file:
            yield file
    except Exception as error:
        if (fault := disk_fault(error)) is None:
            raise
        raise StorageError(_cannot_write(path, fault)) from error


@contextmanager
def _aside(path: Path) -> Iterator[BinaryIO]:
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
    """Return the unfinished files, anywhere in a folder, that a killed process left behind."""
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
    """Lock a folder while the block runs. The lock of a killed process ends with the process.

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


def is_held(folder: Path) -> bool:
    """Whether a process has locked a folder now (`locked`)."""
    try:
        with locked(folder):
            return False
    except UserError:
        return True


def disk_fault(error: BaseException | None) -> OSError | None:
    """Return the cause of an exception if it is a disk that is full or cannot be written to; None for other causes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM | _NOT_WRITABLE:
            return error
        error = error.__cause__ or error.__context__
    return None


def _cannot_write(path: Path, fault: OSError) -> str:
    cure = "make room there" if fault.errno in _NO_ROOM else "make it writable"
    return f"cannot write {path.name} to {path.parent} ({fault.strerror}): {cure}, or take another paths.output_dir"


def new_folder(mlruns: str | Path = "mlruns") -> Path:
    """Return a unique path for the folder of a run's files. The folder is not made."""
    return Path(mlruns) / "outputs" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(3)}"


def make_folder(path: Path, key: str) -> Path:
    """Make a folder that ``key`` of the configuration names, and check that it can be written to.

    Raises
    ------
    UserError
        If the folder cannot be made or written to. The message names the key.
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
    """Return a file name for a name of any characters. It never leads out of a folder.

    A name of only letters, digits, ``_``, ``-`` and ``.`` stays as it is. Any other name gets a digest at its end, so
    that different names give different files.
    """
    plain = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII).lstrip(".")[:_NAME_LENGTH]
    if plain == name and name:
        return name
    return f"{plain}_{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
