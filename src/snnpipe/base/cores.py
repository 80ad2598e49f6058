"""The cores that this process computes on.

A job that runs beside others uses only its share of the machine's cores, but as many threads as it would have alone.
The number of threads must not change, because TensorFlow's order of additions depends on it, and with it the last bits
of the results.
"""

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

_held: list[int] = []
"""The lock on this process's share, for as long as the process lives."""


def cores() -> int:
    """Return how many cores this process computes on."""
    return len(_allowed())


def threads() -> int:
    """Return the number of threads of TensorFlow. It does not depend on what runs beside this process."""
    return len(_present())


def limit_cores(limit: int) -> None:
    """Keep this process to ``limit`` cores, so that other processes can use the rest.

    This has no effect on macOS, which cannot do it, nor on TensorFlow if TensorFlow is imported already.
    """
    present, size = _present(), max(1, limit)
    if size >= len(present) or cores() == size or not hasattr(os, "sched_setaffinity"):
        return
    shares = [present[i : i + size] for i in range(0, len(present) - size + 1, size)]
    os.sched_setaffinity(0, _take(shares))


@cache
def _present() -> Sequence[int]:
    """Return the cores that this process was started on."""
    return _allowed()


def _allowed() -> Sequence[int]:
    affinity = getattr(os, "sched_getaffinity", None)
    return sorted(affinity(0)) if affinity else range(os.cpu_count() or 1)


def _take(shares: Sequence[Sequence[int]]) -> Sequence[int]:
    """Return a share that no other process of this user has taken; if all are taken, any share."""
    import fcntl

    for share in shares:
        path = Path(tempfile.gettempdir()) / f"snnpipe-{os.getuid()}-{len(share)}-cores-from-{share[0]}.lock"
        with suppress(OSError):
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                continue
            _held.append(handle)
            return share
    return shares[os.getpid() % len(shares)]
