"""Hydra's and OmegaConf's errors in one line, in this project's form: key, what is wrong, the cure."""

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from snnpipe.errors import UserError, as_line, did_you_mean, one_line

_CURE = (
    "an override is written key=value, and quoted as a whole where it has brackets or braces: "
    '"conversion.synapse={conv*: 0.01}"; text with brackets in it is quoted once more: '
    "'data.train_split=\"train[:5000]\"'"
)


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """Return what an error of composing the configuration from some overrides means."""
    if isinstance(error, UserError):
        return one_line(error)
    if not isinstance(error, (HydraException, OmegaConfBaseException, YAMLError)):
        return _of_no_kind(error, overrides)
    text = _said(error)
    if isinstance(error, OverrideParseException):
        return _no_override(error)
    if isinstance(error, YAMLError):
        mark = getattr(error, "problem_mark", None)
        where = f"{mark.name}, line {mark.line + 1}" if mark else "a configuration file"
        return f"{where}: this is no YAML: {getattr(error, 'problem', None) or text}"
    if match := re.search(r"Could not load 'hydra/launcher/(\w+)'", text):
        return f"hydra/launcher: it needs Hydra's launcher for {match[1]}: pip install 'snnpipe[{match[1]}]'"
    if isinstance(error, MissingConfigException):
        return _missing_option(error) if error.options is not None else _missing_config(text)
    if match := re.search(r"Could not override '([^']*)'", text):
        return _no_such_key(getattr(error.__cause__, "full_key", None) or match[1], text, overrides)
    if match := re.search(r"Error merging override ([^=]+)=(.*)", text):
        return f"{match[1].lstrip('+')}: got {match[2]!r}: {_without_advice(one_line(error.__cause__ or error))}"
    if text.startswith("Additional config directory"):
        return f"--config-dir: {text[0].lower()}{text[1:]}"
    if match := re.search(r"does not support sweep type : \w+", text):
        ranges = (o for o in overrides if re.search(r"=(tag\(.*)?interval\(", o))
        return f"{next(ranges, 'hydra/sweeper=basic')}: no list of values: hydra/sweeper=optuna searches intervals"
    if match := _FULL_KEY.search(f"{error} {error.__cause__}"):
        return f"{match[1]}: {text}"
    return text


_FULL_KEY = re.compile(r"\s*full_key: ([\w.\[\]]+)")
_ADVICE = re.compile(
    r" See https\S+( for details)?| Set the environment variable HYDRA_FULL_ERROR.*|, set env var HYDRA_FULL_ERROR=1.*"
    r"| full_key: .*| \^(?= |$)"
)


def _without_advice(text: str) -> str:
    """Return what Hydra says without where it says more of it."""
    return _ADVICE.sub("", text).strip()


def _said(error: BaseException) -> str:
    """Return what an error says, or what the one says that it came from."""
    told: BaseException | None = error
    while told is not None and not str(told).strip():
        told = told.__cause__
    return _without_advice(one_line(error if told is None else told))


def _of_no_kind(error: Exception, overrides: Sequence[str]) -> str:
    """Return what an error means that Hydra or OmegaConf did not foresee: what was nested too deep, for example."""
    text = _without_advice(one_line(error))
    if isinstance(error, RecursionError):
        text = "nested too deep, or it contains itself"
    elif isinstance(error, UnicodeDecodeError):
        text = "that file is no text in UTF-8"
    elif text.startswith("Config group override must be"):
        text = "a config group takes one of its options, and --help lists them"
    culprits = (o for o in overrides if "=" in o and not o.startswith("-") and _fails_alone(o, overrides, type(error)))
    if culprit := next(culprits, None):
        key, _, value = culprit.partition("=")
        return f"{key.lstrip('+~')}: got {value!r}: {text}"
    inside = _FULL_KEY.search(str(error))
    return f"{inside[1] if inside else 'configuration'}: {text}"


def _fails_alone(override: str, words: Sequence[str], kind: type[Exception]) -> bool:
    try:
        _compose([override], words)
    except HydraException:
        return False
    except kind:
        return True
    except Exception:
        return False
    return False


def _no_override(error: OverrideParseException) -> str:
    key, equals, value = error.override.partition("=")
    got = f"{key.lstrip('+~')}: got {value!r}" if equals else f"{error.override!r} is no override"
    why = _without_advice(one_line(error).removeprefix(f"Error parsing override '{error.override}' "))
    return f"{got}: {'' if 'LexerNoViable' in why else f'{why}: '}{_CURE}"


def _no_such_key(key: str, text: str, overrides: Sequence[str]) -> str:
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


def report(error: Exception, overrides: Sequence[str] = ()) -> None:
    """Print what went wrong, a line a mistake."""
    for problem in getattr(error, "problems", None) or [explain(error, overrides)]:
        print(f"snnpipe: error: {as_line(problem)}", file=sys.stderr)


def _missing_option(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    options = sorted(o for o in error.options or [] if not o.startswith("_"))
    folder = files("snnpipe.conf").joinpath(group)
    in_group = "/" in group and ".." not in group and not group.startswith("hydra/")
    if in_group and folder.is_dir():  # of a folder within a group, Hydra has the group's options
        options = sorted(path.name.removesuffix(".yaml") for path in folder.iterdir())
    if not group:
        return f"there is no config {name!r}"
    if not options:
        return f"{group}: there is no config {name!r}, nor any other in this group; --config-dir adds a folder of yours"
    close = get_close_matches(name, options, n=1)
    hint = f"did you mean {group}={close[0]}? " if close else ""
    return f"{group}: there is no config {name!r}; {hint}it takes {', '.join(options)}"


def _missing_config(text: str) -> str:
    text = text.partition(" Config search path")[0]
    if text.startswith("Cannot find primary config"):
        return f"--config-name: {text[0].lower()}{text[1:]}"
    return text


def _added_folders(words: Sequence[str]) -> list[Path]:
    return [Path(folder).absolute() for option, folder in pairwise(words) if option in ("--config-dir", "-cd")]


def _compose(overrides: Sequence[str], words: Sequence[str]) -> DictConfig:
    """Return what overrides compose to, with the folders that a command line adds."""
    folders = ",".join(f"'file://{folder}'" for folder in _added_folders(words))
    GlobalHydra.instance().clear()
    with initialize_config_module("snnpipe.conf", version_base="1.3"):
        composed: DictConfig = compose(
            "config", overrides=[*overrides, f"hydra.searchpath=[{folders}]"], return_hydra_config=True
        )
    return composed


def _keys_beside(key: str, overrides: Sequence[str]) -> list[str]:
    """Return the keys that stand where ``key`` was looked for, with the chosen config groups."""
    others = [o for o in overrides if o.partition("=")[0] != key]
    choices = [o for o in others if re.fullmatch(r"[\w/@.]+=\w+", o) and "." not in o.split("@")[0].split("=")[0]]
    try:
        composed = _compose(choices, overrides)
        parent = OmegaConf.select(composed, key.rpartition(".")[0]) if "." in key else composed
    except HydraException:  # a choice that only the failing command line knows, such as a --config-dir
        return []
    return [str(k) for k in parent if k != "_target_"] if isinstance(parent, DictConfig) else []
