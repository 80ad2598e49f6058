"""Python's search for garbage in a command: it looks through all objects, of which TensorFlow makes a million."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def end_soon() -> None:
    """Let this process end at once when it ends: Python would look through all objects for garbage, for two seconds."""
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
