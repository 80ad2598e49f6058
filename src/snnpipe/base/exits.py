"""How every command ends: its exit codes."""

import atexit
import gc

FAULT = 1
"""The program failed, or something it depends on."""
MISTAKE = 2
"""The command asked for something that cannot be done."""
INTERRUPTED = 130
"""Ctrl-C, or SIGINT."""
TERMINATED = 143
"""SIGTERM."""


def end_soon() -> None:
    """Let this process end at once when it ends: Python would look through all objects for garbage, for two seconds."""
    atexit.register(gc.freeze)
