"""Keeps the lines that TensorFlow always prints at its start off the terminal, and no others."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_CHATTER = re.compile(
    r"All log messages before absl::InitializeLog"
    r"|oneDNN custom operations are on"
    r"|Could not find cuda drivers|Unable to register cu|failed call to cuInit|cudart_stub"
    r"|This TensorFlow binary is optimized|To enable the following instructions"
)


@contextmanager
def without_startup_chatter() -> Iterator[None]:
    """Hold back stderr within the block, including the lines of C++ libraries, and drop the known start-up lines.

    All other lines are written when the block ends. If the block fails, every line is written.
    """
    try:
        stderr = sys.__stderr__.fileno() if sys.__stderr__ else 2
        kept = os.dup(stderr)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), stderr)
        failed = True
        try:
            yield
            failed = False
        finally:
            if sys.stderr:
                sys.stderr.flush()
            os.dup2(kept, stderr)
            os.close(kept)
            held.seek(0)
            lines = held.read().decode(errors="replace").splitlines(keepends=True)
            os.write(stderr, "".join(line for line in lines if failed or not _CHATTER.search(line)).encode())
