"""Hydra's and OmegaConf's errors in one line, in this project's form: key, what is wrong, the cure."""

import re
import shlex
import sys
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError, safe_load

from snnpipe.describe import flatten
from snnpipe.errors import UserError, as_line, closest, did_you_mean, one_line

_CURE = (
    "an override is written key=value, and quoted as a whole where it has blanks, brackets or braces: "
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
        return _no_override(error, overrides)
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
    if match := re.match(r"Ambiguous value for argument '([^=]*)=(.*?)' 1\. To use", text):
        key, values = match.groups()
        return f"{key}: got {values!r}: several values are for -m, a list is in brackets: {key}=[{values}]"
    if match := re.search(r"does not support sweep type : \w+", text):
        ranges = (o for o in overrides if re.search(r"=(tag\(.*)?interval\(", o))
        return f"{next(ranges, 'hydra/sweeper=basic')}: no list of values: hydra/sweeper=optuna searches intervals"
    if match := _FULL_KEY.search(f"{error} {error.__cause__}"):
        return f"{match[1]}: {text}"
    return text


_TEXT_WITH_BRACKETS = re.compile(r"\w+(\[[^\[\]{}()'\"]*\][^\[\]{}()'\"]*)+")
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
        text = "a config group takes one of its options"
    culprits = (o for o in overrides if "=" in o and not o.startswith("-") and _fails_alone(o, overrides, type(error)))
    if culprit := next(culprits, None):
        key, _, value = culprit.partition("=")
        key = key.lstrip("+~")
        if "one of its options" in text and (options := _options(key)):
            text += f": {', '.join(options)}"
        return f"{key}: got {value!r}: {text}"
    inside = _FULL_KEY.search(str(error))
    return f"{inside[1] if inside else 'configuration'}: {text}"


def _fails_alone(override: str, words: Sequence[str], kind: type[Exception]) -> bool:
    try:
        _compose([override], words)
    except Exception as error:  # one of another kind is not the error that is explained
        return isinstance(error, kind) and not isinstance(error, HydraException)
    return False


def _no_override(error: OverrideParseException, words: Sequence[str]) -> str:
    word = error.override
    key, equals, value = word.partition("=")
    got = f"{key.lstrip('+~')}: got {value!r}" if equals else f"{word!r} is no override"
    if whole := _split_by_a_shell(word, words):
        return f"{got}: a shell splits words at blanks, so quote the whole: {shlex.quote(whole)}"
    if meant := [f"{group}={word.lower()}" for group in _groups_with(word.lower())]:
        return f"{got}: did you mean {' or '.join(meant)}?"
    if _TEXT_WITH_BRACKETS.fullmatch(value):
        return f"{got}: text with brackets in it is quoted twice: '{key}=\"{value}\"'"
    why = _without_advice(one_line(error).removeprefix(f"Error parsing override '{word}' "))
    if "while evaluating" in why:
        return f"{got}: {why}"
    before, after = _neighbours(word, words)
    if not equals and _is_key(word) and after and "=" not in after:
        return f"{got}: write {shlex.quote(f'{word}={after}')}"
    if not equals and "=" in before:
        return f"{got}; where it belongs to the word before it, quote both: {shlex.quote(f'{before} {word}')}"
    return f"{got}: {_CURE}"


def _neighbours(word: str, words: Sequence[str]) -> tuple[str, str]:
    """Return the words before and behind one on the command line; empty where there is none."""
    at = words.index(word) if word in words else len(words)
    return words[at - 1] if 0 < at < len(words) else "", words[at + 1] if at + 1 < len(words) else ""


def _is_key(word: str) -> bool:
    return "." in word or (word.isidentifier() and files("snnpipe.conf").joinpath(word).is_dir())


def _split_by_a_shell(word: str, words: Sequence[str]) -> str:
    """Return the override that a word is a piece of, where a shell has split it; empty where it has not."""
    if word not in words:
        return ""
    at = words.index(word)
    first = at - 1 if at and words[at - 1].endswith("=") else at
    whole = words[first]
    for piece in words[first + 1 :]:
        if _is_whole(whole) or ("=" in whole) == piece.startswith("="):
            break
        whole += f" {piece}" if set("[{(") & set(whole) else piece
    return whole if whole != word and _is_whole(whole) else ""


def _is_whole(override: str) -> bool:
    _, equals, value = override.partition("=")
    return bool(equals and value) and all(value.count(a) == value.count(b) for a, b in ("[]", "{}", "()"))


def _options(group: str) -> list[str]:
    """Return the options of a config group, none of Hydra's own; of a folder in one, Hydra has those of the group."""
    own = re.fullmatch(r"\w+(/\w+)*", group) and not group.startswith("hydra")
    folder = files("snnpipe.conf").joinpath(group) if own else None
    names = (path.name for path in folder.iterdir()) if folder is not None and folder.is_dir() else ()
    return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml") and not n.startswith("_"))


def _options_with(group: str, key: str) -> list[str]:
    """Return the options of a config group that have a key."""
    folder = files("snnpipe.conf").joinpath(group)
    return [name for name in _options(group) if key in (safe_load(folder.joinpath(f"{name}.yaml").read_text()) or ())]


def _groups_with(option: str) -> list[str]:
    """Return the config groups that have an option of some name."""
    groups = files("snnpipe.conf").iterdir() if option.isidentifier() else ()
    return sorted(group.name for group in groups if group.joinpath(f"{option}.yaml").is_file())


def _no_such_key(key: str, text: str, overrides: Sequence[str]) -> str:
    if "No match in the defaults list" in text:
        return f"{key}: no such config group; --help lists those there are"
    if "@" in key:
        group, _, place = key.partition("@")
        return f"{key}: the chosen configs have no {place} that takes an option of {group}; --cfg job shows them"
    parts = key.split(".")
    composed = _composed_without(key, overrides)
    beside = [_keys_of(composed, parts[:n]) for n in range(len(parts))]
    n = next((n for n, known in enumerate(beside) if known and parts[n] not in known), len(parts) - 1)
    key, name = ".".join(parts[: n + 1]), parts[n]
    if n == 1 and parts[0] in _groups_with(name):
        return f"{key}: no such key; choose {parts[0]}={name} first"
    if n == 1 and (having := [f"{parts[0]}={option}" for option in _options_with(parts[0], name)]):
        return f"{key}: no such key; {' and '.join(having)} {'has' if len(having) == 1 else 'have'} it"
    settings = flatten({group: node for group, node in composed.items() if group != "hydra"})
    elsewhere = [other for other in settings if n == 0 or other.endswith(f".{name}")]
    found = did_you_mean(name, beside[n], elsewhere if n == len(parts) - 1 else ())
    if n == 0 and "known:" in found:
        return f"{key}: no such key or config group; {found} (--config-dir adds configs of your own)"
    return f"{key}: no such key; {found}"


def report(error: Exception, overrides: Sequence[str] = ()) -> None:
    """Print what went wrong, a line a mistake."""
    for problem in getattr(error, "problems", None) or [explain(error, overrides)]:
        print(f"snnpipe: error: {as_line(problem)}", file=sys.stderr)


def _missing_option(error: MissingConfigException) -> str:
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    options = sorted(o for o in error.options or [] if not o.startswith("_"))
    if "/" in group:
        options = _options(group) or options
    if not group:
        return f"there is no config {name!r}"
    if not options:
        return f"{group}: there is no config {name!r}, nor any other in this group; --config-dir adds a folder of yours"
    close = closest(name, options)
    choice = f"experiment={group.partition('/')[2]}/{close}" if group.startswith("experiment/") else f"{group}={close}"
    hint = f"did you mean {choice}? " if close else ""
    more = "" if group.startswith("hydra") else "; --config-dir adds configs of your own"
    if group == "data":
        more = f"; data.name=NAME takes any other of tensorflow-datasets{more}"
    return f"{group}: there is no config {name!r}; {hint}it takes {', '.join(options)}{more}"


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


def _composed_without(key: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the chosen configs but for the override of a key; empty where only the command line knows them."""
    others = [o for o in overrides if o.partition("=")[0] != key]
    choices = [o for o in others if re.fullmatch(r"[\w/@.]+=\w+", o) and "." not in o.split("@")[0].split("=")[0]]
    try:
        composed: Any = OmegaConf.to_container(_compose(choices, overrides), resolve=False)
    except HydraException:
        return {}
    return composed  # type: ignore[no-any-return]  # a configuration's root is a mapping


def _keys_of(config: Any, path: Sequence[str]) -> list[str]:
    """Return the keys of a node of a configuration; none where there is no such node."""
    for name in path:
        config = config.get(name) if isinstance(config, dict) else None
    return [str(key) for key in config if key != "_target_"] if isinstance(config, dict) else []
