"""Python's search for garbage in a command: it looks through all objects, of which TensorFlow makes a million."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 10_000
"""Number of new objects that a search waits for; Python's is 700."""


def search_seldom() -> None:
    """Let this process search ten times less often, and not at its end, where a search takes two seconds."""
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)


@contextmanager
def importing() -> Iterator[None]:
    """Search for no garbage in a block that imports; later searches, which take 0.3 seconds, skip what is there then.

    Only the first such block of a process does so: what is garbage at its end stays.
    """
    if gc.get_freeze_count() or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
