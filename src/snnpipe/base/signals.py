"""Ctrl-C and SIGTERM end a run in order. A second Ctrl-C ends it at once.

An exception from a signal handler is raised wherever the program happens to be. Inside a library it may be turned into
another exception, or lost. So the signal is remembered. Code that handles an exception, and code at a point where a run
can end, checks for it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from snnpipe.base.exits import INTERRUPTED, TERMINATED

CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
"""Exit code of a process that a signal has ended."""

_TWICE_S = 0.5
"""A second SIGINT within this time, in s, is the same Ctrl-C: the terminal sent one, and a parent process the other."""

_received: int | None = None
_received_at = 0.0
_holds = 0


@contextmanager
def handled() -> Iterator[None]:
    """Within the block, raise `KeyboardInterrupt` for Ctrl-C and `SystemExit` for SIGTERM, so that it ends in order.

    A signal that this process was started to ignore stays ignored.
    """
    global _received  # noqa: PLW0603  signals belong to the process, and so does this
    before = {number: signal.getsignal(number) for number in CODES}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received = None


@contextmanager
def held() -> Iterator[None]:
    """Within the block, delay a signal until the next `check`."""
    global _holds  # noqa: PLW0603
    _holds += 1
    try:
        yield
    finally:
        _holds -= 1


def pending() -> bool:
    """Whether a signal has come, and the run is to end."""
    return _received is not None


def check() -> None:
    """Raise the exception of a signal, if one has come (`handled`)."""
    if _received == signal.SIGINT:
        raise KeyboardInterrupt
    if _received is not None:
        sys.exit(CODES[signal.Signals(_received)])


def _receive(number: int, frame: FrameType | None) -> None:
    global _received, _received_at
    now = time.monotonic()
    if _received is not None:
        if number == signal.SIGINT and now - _received_at > _TWICE_S:
            os._exit(CODES[signal.SIGINT])
        return
    _received, _received_at = number, now
    if _holds:
        os.write(2, b"\nsnnpipe: ending the run in order; Ctrl-C once more leaves at once\n")
    else:
        check()
