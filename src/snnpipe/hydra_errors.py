"""Hydra's and OmegaConf's errors in one line, in this project's form: key, value, what it takes, the cure."""

import re
from difflib import get_close_matches

from hydra.errors import MissingConfigException

from snnpipe.errors import UserError, one_line


def explain(error: Exception) -> str:
    """Return what an error of composing the configuration means."""
    if isinstance(error, UserError):
        return one_line(error)
    text = one_line(error)
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _missing_option(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match[1]
        if "is not in struct" in text:
            return f"{key}: no such key; --cfg job prints those there are (+{key}=... adds one to a plugin of your own)"
        if "No match in the defaults list" in text:
            return f"{key}: no such config group; --help lists those there are"
        return f"{key}: {text}"
    return text.split(" Set the environment variable HYDRA_FULL_ERROR")[0]


def _missing_option(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    close = get_close_matches(name, options, n=1)
    hint = f"did you mean {group}={close[0]}? " if close else ""
    return f"{group}: there is no config {name!r}; {hint}it takes {', '.join(options)}"
