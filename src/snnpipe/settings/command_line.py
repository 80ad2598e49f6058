"""The command that runs some overrides, as a shell takes it."""

import shlex
from collections.abc import Sequence

from snnpipe.base.masking import mask

_OF_ONE_RUN = {"paths.output_dir", "run_name"}


def command_line(overrides: Sequence[str]) -> str:
    """Return the command that runs some overrides, quoted for a shell, with stars for passwords."""
    return shlex.join(["python", "-m", "snnpipe", *map(mask, overrides)])


def with_overrides(command: str, added: str) -> str:
    """Return a command with further overrides, each in place of earlier ones of its key, or of keys below it.

    With another neuron, the settings of the one before go; so do the folder and the name of the command's own run.

    Parameters
    ----------
    command, added
        As a shell takes them; the command may be empty.
    """
    words = shlex.split(added)
    keys = {_key(word) for word in words} | _OF_ONE_RUN
    above = tuple(f"{key}." for key in keys if "." in key or key == "neuron")
    kept = [word for word in shlex.split(command) if _key(word) not in keys and not _key(word).startswith(above)]
    return shlex.join([*kept, *words])


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
