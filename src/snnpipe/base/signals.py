"""Ctrl-C and SIGTERM end a run in order; a second Ctrl-C ends it at once.

An exception that a signal's handler raises comes up wherever the program happens to be: inside a library's own code it
may be turned into another one, or lost. So the signal is remembered, and whoever handles an exception, or comes to a
point at which a run can end, asks for it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""What a process that a signal has ended exits with."""

_TWICE_S = 0.5
"""Sooner than this nobody presses Ctrl-C again: it came from the terminal and from a parent that passes it on."""

_received: int | None = None
_received_at = 0.0
_holds = 0


@contextmanager
def handled() -> Iterator[None]:
    """Let both signals end the block in order: Ctrl-C as `KeyboardInterrupt`, SIGTERM as `SystemExit`.

    One that this process was told to ignore is ignored.
    """
    global _received  # noqa: PLW0603  of the process, as its signals are
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
    """Let a signal wait, within the block, for the next `check`."""
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
    """Raise what a signal asks for, if one has come."""
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
