"""The shell command that runs snnpipe with given overrides."""

import shlex
from collections.abc import Sequence

from snnpipe.base.masking import mask

_OF_ONE_RUN = {"paths.output_dir", "run_name"}


def command_line(overrides: Sequence[str]) -> str:
    """Return the command that runs with these overrides, quoted for a shell, with stars in place of passwords."""
    return shlex.join(["python", "-m", "snnpipe", *map(mask, overrides)])


def with_overrides(command: str, added: str) -> str:
    """Return a command with added overrides. Each replaces the earlier overrides of its key and of the keys below it.

    A new neuron also removes the settings of the neuron before. The folder and the name of the command's own run are
    always removed.

    Parameters
    ----------
    command, added
        A command and overrides, quoted for a shell. The command may be empty.
    """
    words = shlex.split(added)
    keys = {_key(word) for word in words} | _OF_ONE_RUN
    above = tuple(f"{key}." for key in keys if "." in key or key == "neuron")
    kept = [word for word in shlex.split(command) if _key(word) not in keys and not _key(word).startswith(above)]
    return shlex.join([*kept, *words])


def config_folder(command: str) -> list[str]:
    """Return the words of a command that add a folder of configs."""
    words = shlex.split(command)
    for n, word in enumerate(words):
        if word.startswith("--config-dir="):
            return [word]
        if word in ("--config-dir", "-cd"):
            return words[n : n + 2]
    return []


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
