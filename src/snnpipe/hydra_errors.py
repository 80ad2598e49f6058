"""Hydra's and OmegaConf's errors in one line, in this project's form: key, what is wrong, the cure."""

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from snnpipe.errors import UserError, did_you_mean, one_line


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """Return what an error of composing the configuration from some overrides means."""
    if isinstance(error, UserError):
        return one_line(error)
    text = one_line(error)
    if match := re.search(r"Could not load 'hydra/launcher/(\w+)'", text):
        return f"hydra/launcher: it needs Hydra's launcher for {match[1]}: pip install 'snnpipe[{match[1]}]'"
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _missing_option(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match[1]
        if "No match in the defaults list" in text:
            return f"{key}: no such config group; --help lists those there are"
        if "@" in key:
            group, _, place = key.partition("@")
            return f"{key}: the chosen configs have no {place} that takes an option of {group}; --cfg job shows them"
        parts = key.split(".")
        beside = [_keys_beside(".".join(parts[: n + 1]), overrides) for n in range(len(parts))]
        n = next((n for n, known in enumerate(beside) if known and parts[n] not in known), len(parts) - 1)
        key, found = ".".join(parts[: n + 1]), did_you_mean(parts[n], beside[n])
        if "." not in key:
            return f"{key}: no such key or config group; {found} (--config-dir adds configs of your own)"
        return f"{key}: no such key; {found}"
    if text.startswith(("Error parsing override", "mismatched input", "extraneous input", "no viable alternative")):
        return (
            f"{text.split(' See https')[0].strip()}: an override is written key=value, and quoted as a whole where it "
            'has brackets or braces: "conversion.synapse={conv*: 0.01}"; text with brackets in it is quoted once more: '
            "'data.train_split=\"train[:5000]\"'"
        )
    if "Config group override must be" in text:
        group = text.partition(" ")[0] if "=" in text else next((o for o in overrides if o.endswith("=null")), "null")
        return f"{group}: a config group takes one of its options, and --help lists them"
    return text.split(" Set the environment variable HYDRA_FULL_ERROR")[0]


def report(error: Exception, overrides: Sequence[str] = ()) -> None:
    """Print what went wrong, a line a mistake."""
    for problem in getattr(error, "problems", None) or [explain(error, overrides)]:
        print(f"snnpipe: error: {' '.join(str(problem).split())}", file=sys.stderr)


def _missing_option(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    options = sorted(o for o in error.options or [] if not o.startswith("_"))
    folder = files("snnpipe.conf").joinpath(group)
    if "/" in group and folder.is_dir():  # of a folder within a group, Hydra has the group's options
        options = sorted(path.name.removesuffix(".yaml") for path in folder.iterdir())
    if not group:
        return f"there is no config {name!r}"
    if not options:
        return f"{group}: there is no config {name!r}, nor any other in this group; --config-dir adds a folder of yours"
    close = get_close_matches(name, options, n=1)
    hint = f"did you mean {group}={close[0]}? " if close else ""
    return f"{group}: there is no config {name!r}; {hint}it takes {', '.join(options)}"


def _keys_beside(key: str, overrides: Sequence[str]) -> list[str]:
    """Return the keys that stand where ``key`` was looked for, with the chosen config groups."""
    others = [o for o in overrides if o.partition("=")[0] != key]
    choices = [o for o in others if re.fullmatch(r"[\w/@.]+=\w+", o) and "." not in o.split("@")[0].split("=")[0]]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("snnpipe.conf", version_base="1.3"):
            composed = compose("config", overrides=choices, return_hydra_config=True)
        parent = OmegaConf.select(composed, key.rpartition(".")[0]) if "." in key else composed
    except HydraException:  # a choice that only the failing command line knows, such as a --config-dir
        return []
    return [str(k) for k in parent if k != "_target_"] if isinstance(parent, DictConfig) else []
