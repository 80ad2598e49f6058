"""A configuration as the command line composes it."""

from typing import Any

from hydra import compose, initialize_config_module

from snnpipe.config import resolve


def composed(*overrides: str) -> dict[str, Any]:
    """Return the configuration of a command line, resolved and not yet checked."""
    with initialize_config_module("snnpipe.conf", version_base="1.3"):
        return resolve(compose("config", overrides=list(overrides)))
