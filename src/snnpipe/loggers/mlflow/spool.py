"""Keeps calls that a store has not taken yet, and sends them in their order once it does.

A spool is a folder that exists only while it holds calls. The first line of ``calls.jsonl`` names the run and the store
of the calls, and each further line is a call. Each line begins with a checksum. ``files/`` has the files that calls
name, with their content at the time of the call.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snnpipe.base.checked_files import require_format
from snnpipe.base.errors import ArtifactError, SnnPipeError, StorageError, UserError, one_line
from snnpipe.base.files import replace_file

CALLS = "calls.jsonl"
_FILES = "files"
_FORMAT = 1

Call = dict[str, Any]
"""A call to a store, as plain data that the store's sender understands. Calls of one ``stream`` keep their order."""


class RefusedError(SnnPipeError):
    """A store does not take a call, and never will."""


@dataclass
class Outcome:
    """The result of sending calls.

    Attributes
    ----------
    taken
        Number of calls that were taken.
    refused
        For each call that the store will never take, the reason.
    failed
        For each stream that could not be sent now, the error.
    """

    taken: int = 0
    refused: list[str] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)


class Spool:
    """The calls of one run that must still be sent, in memory and in a folder that this process has locked.

    Parameters
    ----------
    folder
        The folder of this spool alone. Calls that an earlier process left there come first.
    owner
        The run and the store of the calls, for the process that sends them. None takes them from the folder.

    Raises
    ------
    UserError
        If the content of the folder cannot be read, or if another process has locked the folder.
    """

    def __init__(self, folder: Path, owner: Mapping[str, Any] | None = None):
        self.folder = folder
        self._lock: int | None = None
        self._calls = deque[Call]()
        self._refused: list[Call] = []
        self._checksum = b""
        self._behind = False  # whether the file lacks calls that are in memory, and must be rewritten
        if (folder / CALLS).exists() or owner is None:
            if not self._hold():
                raise UserError(f"{folder} belongs to a run that is under way, or is being sent: wait for its end")
            try:
                recorded, calls, whole, self._checksum = _read(folder)
            except ArtifactError:
                self.close()
                raise
            owner = owner or recorded
            self._calls.extend(calls)
            self._behind = not whole  # a new line must not follow half a line
        self.owner = {"format": _FORMAT, **owner}
        self._number = max((call["n"] for call in self._calls), default=0)

    def __len__(self) -> int:
        return len(self._calls)

    def streams(self) -> set[str]:
        """Return the streams of the calls that must still be sent."""
        return {call["stream"] for call in self._calls}

    @property
    def is_safe(self) -> bool:
        """Whether the folder holds every call."""
        return not self._behind

    def add(self, call: Call, file: Path | None = None) -> None:
        """Add a call, and the file that it names."""
        self._number += 1
        call = {"n": self._number, **call}
        if file is not None:
            call["file"] = self._keep(file)
        self._calls.append(call)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._hold()
            if self._behind or not (self.folder / CALLS).exists():
                self._write()
            else:
                with (self.folder / CALLS).open("ab") as calls:
                    calls.write(self._line(call))
                    calls.flush()
                    os.fsync(calls.fileno())
            self._behind = False
        except (OSError, StorageError) as error:
            if not self._behind:
                warnings.warn(
                    f"calls that the store does not take are kept in memory only: {one_line(error)}", stacklevel=2
                )
            self._behind = True

    def hand_on(self, take: Callable[[Call, Path | None], None], streams: Collection[str]) -> "Outcome":
        """Pass the calls of some streams to ``take`` in their order, each with its file, and remove those it takes.

        If ``take`` raises, the call stays, and later calls of its stream are not sent. A refused call (`RefusedError`)
        stays in the folder, but this process does not send it again.
        """
        before, kept, outcome = len(self._calls), deque[Call](), Outcome()
        try:
            while self._calls:
                call = self._calls[0]
                if call["stream"] in streams and call["stream"] not in outcome.failed:
                    try:
                        take(call, self._file_of(call))
                        outcome.taken += 1
                    except RefusedError as refusal:
                        self._refused.append(call)
                        outcome.refused.append(one_line(refusal))
                    except Exception as error:
                        outcome.failed[call["stream"]] = error
                        kept.append(call)
                else:
                    kept.append(call)
                self._calls.popleft()
        finally:
            self._calls.extendleft(reversed(kept))
        if not self._calls and not self._refused:
            self._remove()
        elif len(self._calls) < before:
            with suppress(StorageError):  # the file then holds sent calls too: sending a call twice does no harm
                self._write()
        return outcome

    def _file_of(self, call: Call) -> Path | None:
        """Return the file that a call names; None if it names none.

        Raises
        ------
        RefusedError
            If the file is not in the folder of the spool's run. Otherwise a prepared spool could send any file of this
            machine.
        """
        if "file" not in call:
            return None
        file: Path = (self.folder / call["file"]).resolve()
        if not file.is_relative_to(self.folder.parent.parent.resolve()):
            raise RefusedError(f"the file {file} is not in the run's folder {self.folder.parent.parent}")
        return file

    def close(self) -> None:
        """Unlock the folder for other processes."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hold(self) -> bool:
        """Lock the folder until `close` or the end of the process; return False if another process has locked it."""
        import fcntl

        if self._lock is None:
            self._lock = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                return False
            except OSError:  # a file system without locks
                pass
        return True

    def _keep(self, file: Path) -> str:
        """Give a file a second name in the folder and return it. The content stays there if the file is replaced."""
        name = Path(_FILES, str(self._number), file.name)
        kept = self.folder / name
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, kept)
            except OSError:  # another file system, or one without hard links
                shutil.copyfile(file, kept)
        except OSError:  # the disk is full, for example
            shutil.rmtree(kept.parent, ignore_errors=True)
            return str(file.resolve())
        return str(name)

    def _write(self) -> None:
        before, self._checksum = self._checksum, b""
        try:
            with replace_file(self.folder / CALLS) as calls:
                calls.writelines(self._line(value) for value in (self.owner, *self._refused, *self._calls))
        except BaseException:  # the file is unchanged
            self._checksum = before
            raise

    def _line(self, value: Mapping[str, Any]) -> bytes:
        """Return a line of the file: a checksum over this line and all lines before it, then the content."""
        content = json.dumps(value).encode()
        self._checksum = _chained(self._checksum, content)
        return self._checksum + b" " + content + b"\n"

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # it may hold spools of other runs
            self.folder.parent.rmdir()
        self._behind = False
        self.close()


def _read(folder: Path) -> tuple[Mapping[str, Any], list[Call], bool, bytes]:
    """Return a spool's owner, its calls, whether the last line is complete, and the checksum of the last line."""
    checksum, values = b"", list[Any]()
    try:
        *lines, rest = (folder / CALLS).read_bytes().split(b"\n")
        for line in lines:
            expected, _, content = line.partition(b" ")
            checksum = _chained(checksum, content)
            if checksum != expected:
                raise ValueError(f"line {len(values) + 1} or one before it was altered")
            values.append(json.loads(content))
        owner, *calls = values
        require_format(owner["format"], _FORMAT, folder / CALLS, "spool")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / CALLS} cannot be read: {one_line(error)}") from error
    return owner, calls, not rest, checksum


def _chained(before: bytes, content: bytes) -> bytes:
    return hashlib.sha256(before + content).hexdigest()[:16].encode()
