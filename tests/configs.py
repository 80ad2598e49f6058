"""The configurations that there are, and one as the command line composes it."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from snnpipe.config.compose import resolve

CONF = Path(__file__).parent.parent / "conf"


def options() -> dict[str, list[str]]:
    """Return the config groups, and the options of each."""
    found: dict[str, list[str]] = {}
    for path in sorted(CONF.glob("*/**/*.yaml")):
        file = path.relative_to(CONF)
        group = file.parts[0] if file.parts[0] in ("hydra", "experiment") else str(file.parent)  # both have folders
        if group != "hydra" and not file.stem.startswith("_"):
            found.setdefault(group, []).append(str(file.relative_to(group).with_suffix("")))
    return found


def composed(*overrides: str) -> dict[str, Any]:
    """Return the configuration of a command line, resolved and not yet checked."""
    return resolve(copy.deepcopy(_composed(*overrides)))


@cache
def _composed(*overrides: str) -> DictConfig:
    with initialize_config_module("snnpipe.conf", version_base="1.3"):
        return compose("config", overrides=list(overrides))
