"""How every command ends: its exit codes."""

FAULT = 1
"""The program failed, or something it depends on."""
MISTAKE = 2
"""The command asked for something that cannot be done."""
INTERRUPTED = 130
"""Ctrl-C, or SIGINT."""
TERMINATED = 143
"""SIGTERM."""
