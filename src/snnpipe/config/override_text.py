"""The text of overrides as a user types them: quoted for Hydra's grammar and for a shell."""

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict, read_write

from snnpipe.base.errors import ConfigError, UserError
from snnpipe.base.masking import HIDDEN, VARIABLE

_PASSWORD = re.compile(rf"\$\{{oc\.env:{VARIABLE}\d+\}}")


def typed(*words: str) -> str:
    """Return words quoted for a shell, with stars in place of the passwords that the command line removed."""
    return shlex.join(_PASSWORD.sub(HIDDEN, word) for word in words)


def as_text(key: str, value: str) -> str:
    """Return the override that sets a key to a text with any characters.

    The text is in Hydra's double quotes. Within them, a backslash escapes each quote and each ``${``, and also each
    backslash before these or at the end.
    """

    def escaped(found: re.Match[str]) -> str:
        slashes, special = found.groups()
        return 2 * slashes + (f"\\{special}" if special else "")

    parts = re.split(f"({_PASSWORD.pattern})", value)
    parts[::2] = [re.sub(r"(\\*)(\"|\$\{|\Z)", escaped, part) for part in parts[::2]]
    return f'{key}="{"".join(parts)}"'


def shortest_text(key: str, value: str) -> str:
    """Return the override that sets a key to a text, without Hydra's quotes if they are not needed."""
    plain = f"{key}={value}"
    try:
        parsed = OverridesParser.create().parse_override(plain)
    except (HydraException, ValueError):
        return as_text(key, value)
    return plain if not parsed.is_sweep_override() and parsed.value() == value else as_text(key, value)


def refusal(override: str, words: Sequence[str]) -> str | None:
    """Return why a configuration is refused because of an override; None if it is not.

    The other overrides of the command line are composed with it, if they do not fail themselves.
    """
    from snnpipe.config.check import check
    from snnpipe.config.compose import interpolated_keys, resolve

    key = key_of(override)
    others = [word for word in words if _is_override(word) and key_of(word) != key]
    for beside in (others, []):
        try:
            composed = compose_with([*beside, override], words)
            with read_write(composed), open_dict(composed):
                del composed["hydra"]
        except Exception:  # another word may be the mistake
            continue
        try:
            check(resolve(composed), interpolated_keys(composed), trusted=None)
        except UserError as error:
            problems = error.problems if isinstance(error, ConfigError) else (str(error),)
            return next((p for p in problems if re.match(rf"{re.escape(key)}[.:]", p)), None)
        return None
    return "it does not compose"


def key_of(override: str) -> str:
    """Return the key of an override."""
    return override.lstrip("+~").partition("=")[0]


def compose_with(overrides: Sequence[str], words: Sequence[str]) -> DictConfig:
    """Return the configuration composed from overrides, with the folders that a command line adds."""
    folders = ",".join(f"'file://{folder}'" for folder in _added_folders(words))
    GlobalHydra.instance().clear()
    with initialize_config_module("snnpipe.conf", version_base="1.3"):
        composed: DictConfig = compose(
            "config", overrides=[*overrides, f"hydra.searchpath=[{folders}]"], return_hydra_config=True
        )
    return composed


def _added_folders(words: Sequence[str]) -> list[Path]:
    given = [folder for option, folder in pairwise(words) if option in ("--config-dir", "-cd")]
    given += [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    return [Path(folder).absolute() for folder in given]


def _is_override(word: str) -> bool:
    if word.startswith("-") or "=" not in word:
        return False
    try:
        parsed: Any = OverridesParser.create().parse_override(word)
    except (HydraException, ValueError, RecursionError):
        return False
    return not parsed.is_sweep_override()


def shown_word(text: str) -> str:
    """Return a word of the command line for a message, with stars in place of passwords."""
    return repr(_PASSWORD.sub(HIDDEN, text))
