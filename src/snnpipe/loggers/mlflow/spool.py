"""Calls that a store has not taken yet: kept in their order, and handed on when it does.

A spool is a folder that is there while something is in it: ``calls.jsonl``, a line that says what the calls belong to
and a line for each call, each behind a checksum, and under ``files/`` the files that they name, as they were at the
time.
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
"""Whatever a store's own sender knows how to send. Calls of one ``stream`` are sent in their order."""


class RefusedError(SnnPipeError):
    """A store does not take a call, and will not."""


@dataclass
class Outcome:
    """What became of calls that were handed on.

    Attributes
    ----------
    taken
        How many were taken.
    refused
        Why others never will be.
    failed
        What kept a stream's calls from being taken now, by the stream.
    """

    taken: int = 0
    refused: list[str] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)


class Spool:
    """The calls of one run that are still to be sent, in memory and in a folder that this process holds.

    Parameters
    ----------
    folder
        Of this spool alone; calls that an earlier process left there come first.
    owner
        What the calls belong to, which whoever sends them needs to know; None takes what stands in the folder.

    Raises
    ------
    UserError
        If what is in the folder cannot be read, or another process holds it.
    """

    def __init__(self, folder: Path, owner: Mapping[str, Any] | None = None):
        self.folder = folder
        self._lock: int | None = None
        self._calls = deque[Call]()
        self._refused: list[Call] = []
        self._checksum = b""
        self._behind = False  # whether the file is to be written anew, for it lacks calls that are in memory
        if (folder / CALLS).exists() or owner is None:
            if not self._hold():
                raise UserError(f"{folder} belongs to a run that is under way, or is being sent: wait for its end")
            try:
                found, calls, whole, self._checksum = _read(folder)
            except ArtifactError:
                self.close()
                raise
            owner = owner or found
            self._calls.extend(calls)
            self._behind = not whole  # what is added is not to be added to half a line
        self.owner = {"format": _FORMAT, **owner}
        self._number = max((call["n"] for call in self._calls), default=0)

    def __len__(self) -> int:
        return len(self._calls)

    def streams(self) -> set[str]:
        """Return the streams of the calls that are to be sent."""
        return {call["stream"] for call in self._calls}

    @property
    def is_safe(self) -> bool:
        """Whether the folder has every call."""
        return not self._behind

    def add(self, call: Call, file: Path | None = None) -> None:
        """Keep a call, and the file that it names."""
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
                warnings.warn(f"what the store does not take is kept in memory only: {one_line(error)}", stacklevel=2)
            self._behind = True

    def hand_on(self, take: Callable[[Call, Path | None], None], streams: Collection[str]) -> "Outcome":
        """Hand on the calls of some streams, each with its file, in their order, and forget those that are taken.

        Where ``take`` raises, the call is kept, and those after it in its stream are not handed on. One that is refused
        (`RefusedError`) stays in the folder, and is not handed on again by this process.
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
            with suppress(StorageError):  # the file then has more calls than are left: sent twice is as sent once
                self._write()
        return outcome

    def _file_of(self, call: Call) -> Path | None:
        """Return the file that a call names, which is in the folder of the run that the spool is in.

        Raises
        ------
        RefusedError
            If it is elsewhere: whoever wrote the folder could have any file sent.
        """
        if "file" not in call:
            return None
        file: Path = (self.folder / call["file"]).resolve()
        if not file.is_relative_to(self.folder.parent.parent.resolve()):
            raise RefusedError(f"the file {file} is not in the run's folder {self.folder.parent.parent}")
        return file

    def close(self) -> None:
        """Let another process have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _hold(self) -> bool:
        """Hold the folder until `close`, or the end of the process; return whether no other process does."""
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
        """Give a file a second name in the folder, which stays when the first is replaced; return it."""
        name = Path(_FILES, str(self._number), file.name)
        kept = self.folder / name
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, kept)
            except OSError:  # another file system, or one without such names
                shutil.copyfile(file, kept)
        except OSError:  # no room for it
            shutil.rmtree(kept.parent, ignore_errors=True)
            return str(file.resolve())
        return str(name)

    def _write(self) -> None:
        before, self._checksum = self._checksum, b""
        try:
            with replace_file(self.folder / CALLS) as calls:
                calls.writelines(self._line(value) for value in (self.owner, *self._refused, *self._calls))
        except BaseException:  # the file is as it was
            self._checksum = before
            raise

    def _line(self, value: Mapping[str, Any]) -> bytes:
        """Return a line of the file: a checksum over it and all before it, and what it says."""
        told = json.dumps(value).encode()
        self._checksum = _chained(self._checksum, told)
        return self._checksum + b" " + told + b"\n"

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # other runs' may be beside it
            self.folder.parent.rmdir()
        self._behind = False
        self.close()


def _read(folder: Path) -> tuple[Mapping[str, Any], list[Call], bool, bytes]:
    """Return what calls belong to, the calls, whether no half line of a killed process follows, and the checksum."""
    checksum, told = b"", list[Any]()
    try:
        *lines, rest = (folder / CALLS).read_bytes().split(b"\n")
        for line in lines:
            expected, _, said = line.partition(b" ")
            checksum = _chained(checksum, said)
            if checksum != expected:
                raise ValueError(f"line {len(told) + 1} or one before it was altered")
            told.append(json.loads(said))
        owner, *calls = told
        require_format(owner["format"], _FORMAT, folder / CALLS, "spool")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / CALLS} cannot be read: {one_line(error)}") from error
    return owner, calls, not rest, checksum


def _chained(before: bytes, told: bytes) -> bytes:
    return hashlib.sha256(before + told).hexdigest()[:16].encode()
