"""Hydra's and OmegaConf's errors, rewritten as one line in this project's form: key, problem, cure."""

import inspect
import re
import sys
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError, safe_load

from snnpipe.base.errors import UserError, as_line, closest, did_you_mean, one_line
from snnpipe.config.override_text import as_text, compose_with, key_of, refusal, shortest_text, shown_word, typed
from snnpipe.config.targets import COLLECTIONS, locate
from snnpipe.settings.describe import flatten
from snnpipe.settings.schema import is_node

_CURE = (
    "an override is written key=value, and quoted as a whole where it has blanks, brackets or braces: "
    '"conversion.synapse={conv*: 0.01}"; text with brackets in it is quoted once more: '
    "'data.train_split=\"train[:5000]\"'"
)


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """Return the meaning of an error that occurred when the configuration was composed from some overrides."""
    if isinstance(error, UserError):
        return one_line(error)
    keyless = next((word for word in overrides if re.match(r"[+~]*=", word)), None)
    if isinstance(error, OverrideParseException) or keyless:
        return (
            _no_override(error, overrides)
            if isinstance(error, OverrideParseException)
            else f"{shown_word(keyless or '')} is no override: {_CURE}"
        )
    if not isinstance(error, (HydraException, OmegaConfBaseException, YAMLError)):
        return _of_no_kind(error, overrides)
    if isinstance(error, YAMLError):
        return _no_yaml(error)
    text = _said(error)
    if match := re.search(r"Could not load 'hydra/launcher/(\w+)'", text):
        return f"hydra/launcher: it needs Hydra's launcher for {match[1]}: pip install 'snnpipe[{match[1]}]'"
    if isinstance(error, MissingConfigException):
        return _missing_option(error) if error.options is not None else _missing_config(text)
    if (problem := _of_defaults(error, text, overrides)) is not None:
        return problem
    if match := re.search(r"Error merging override ([^=]+)=(.*)", text):
        return f"{match[1].lstrip('+')}: got {match[2]!r}: {_without_advice(one_line(error.__cause__ or error))}"
    if text.startswith("Additional config directory"):
        return f"--config-dir: {text[0].lower()}{text[1:]}"
    if match := re.match(r"Ambiguous value for argument '(.*)' 1\. To use|Sweep parameters '(.*)' requires", text):
        return _several(match[1] or match[2], overrides)
    if match := re.search(r"does not support sweep type : \w+", text):
        ranges = (o for o in overrides if re.search(r"=(tag\(.*)?interval\(", o))
        return f"{next(ranges, 'hydra/sweeper=basic')}: no list of values: hydra/sweeper=optuna searches intervals"
    if match := _FULL_KEY.search(f"{error} {error.__cause__}"):
        return f"{match[1]}: {text}"
    return text


def _no_yaml(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}, line {mark.line + 1}" if mark else "a configuration file"
    return f"{where}: this is no YAML: {getattr(error, 'problem', None) or _said(error)}"


_FULL_KEY = re.compile(r"\s*full_key: ([\w.\[\]]+)")
_ADVICE = re.compile(
    r" See https\S+( for details)?| Set the environment variable HYDRA_FULL_ERROR.*|, set env var HYDRA_FULL_ERROR=1.*"
    r"| full_key: .*| \^(?= |$)"
)


def _without_advice(text: str) -> str:
    """Return a message of Hydra's without its references to further information."""
    return _ADVICE.sub("", text).strip()


def _said(error: BaseException) -> str:
    """Return the message of an error or, if it has none, the message of its cause."""
    told: BaseException | None = error
    while told is not None and not str(told).strip():
        told = told.__cause__
    return _without_advice(one_line(error if told is None else told))


def _of_no_kind(error: Exception, overrides: Sequence[str]) -> str:
    """Return the meaning of an error that Hydra or OmegaConf did not foresee, such as too deep nesting."""
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
        compose_with([override], words)
    except Exception as error:  # an error of another kind is not the one to explain
        return isinstance(error, kind) and not isinstance(error, HydraException)
    return False


def _no_override(error: OverrideParseException, words: Sequence[str]) -> str:
    word = error.override
    key, equals, value = word.partition("=")
    key = key.lstrip("+~")
    got = f"{key}: got {shown_word(value)}" if equals and key else f"{shown_word(word)} is no override"
    if whole := _split_by_a_shell(word, words):
        return f"{got}: a shell splits words at blanks, so quote the whole: {typed(whole)}"
    if meant := [f"{group}={word.lower()}" for group in _groups_with(word.lower())]:
        return f"{got}: did you mean {' or '.join(meant)}?"
    if not key:
        return f"{got}: {_CURE}"
    if not equals:
        return f"{got}{_cure_of_no_override(word, words)}"
    why = refusal(as_text(key, value), words) if value else ""
    if why is None:
        return f"{got}: a text with such characters is quoted twice: {_as_text_typed(word)}"
    if options := _options(key):
        return f"{got}: a config group takes one of its options: {', '.join(options)}"
    if value and why.startswith(key) and not set("[{(") & set(value):
        return why
    said = _without_advice(one_line(error).removeprefix(f"Error parsing override '{word}' "))
    return f"{got}: {said if 'while evaluating' in said else _CURE}"


def _cure_of_no_override(word: str, words: Sequence[str]) -> str:
    """Return how to type a word without an equals sign, together with the words beside it."""
    if word not in words:
        return f": {_CURE}"
    at = words.index(word)
    behind = words[at + 1] if at + 1 < len(words) else ""
    if _is_key(word) and behind and "=" not in behind:
        return f": write {typed(shortest_text(word, behind))}"
    if at == 0 or "=" not in words[at - 1] or words[at - 1].startswith("-"):
        return f": {_CURE}"
    pieces = [words[at - 1]]
    for piece in words[at:]:
        if "=" in piece or piece.startswith("-"):
            break
        pieces.append(piece)
    key, _, value = " ".join(pieces).partition("=")
    return f"; where it belongs to the word before it, quote both: {typed(shortest_text(key, value))}"


def _several(word: str, words: Sequence[str]) -> str:
    """Return how to type several values where one value was expected, for each of their possible meanings."""
    key, value = key_of(word), word.partition("=")[2]
    several = value if value.startswith(("choice(", "range(", "glob(", "shuffle(", "sort(")) else f"[{value}]"
    ways = [f"several values are for -m: {typed('-m', word)}"]
    if several != value and refusal(f"{key}={several}", words) is None and not _options(key):
        ways.append(f"a list is in brackets: {typed(f'{key}={several}')}")
    if refusal(as_text(key, value), words) is None:
        ways.append(f"a text with such characters is quoted twice: {_as_text_typed(word)}")
    if re.fullmatch(r"-?\d+,\d+", value) and refusal(pointed := f"{key}={value.replace(',', '.')}", words) is None:
        ways.append(f"a decimal point is a point: {typed(pointed)}")
    return f"{key}: got {shown_word(value)}: {'; '.join(ways)}"


def _as_text_typed(override: str) -> str:
    key, _, value = override.partition("=")
    return typed(as_text(key, value))


def _is_key(word: str) -> bool:
    return "." in word or (word.isidentifier() and files("snnpipe.conf").joinpath(word).is_dir())


def _split_by_a_shell(word: str, words: Sequence[str]) -> str:
    """Return the override that a shell has split into a word and its neighbours; empty if it was not split."""
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
    """Return the options of a config group, without Hydra's own. For a subfolder, Hydra lists those of its parent."""
    own = re.fullmatch(r"\w+(/\w+)*", group) and not group.startswith("hydra")
    folder = files("snnpipe.conf").joinpath(group) if own else None
    names = (path.name for path in folder.iterdir()) if folder is not None and folder.is_dir() else ()
    return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml") and not n.startswith("_"))


def _options_with(group: str, key: str) -> list[str]:
    """Return the options of a config group that have a key."""
    folder = files("snnpipe.conf").joinpath(group)
    return [name for name in _options(group) if key in (safe_load(folder.joinpath(f"{name}.yaml").read_text()) or ())]


def _groups_with(option: str) -> list[str]:
    """Return the config groups that have an option of this name."""
    groups = files("snnpipe.conf").iterdir() if option.isidentifier() else ()
    return sorted(group.name for group in groups if group.joinpath(f"{option}.yaml").is_file())


def _of_defaults(error: Exception, text: str, overrides: Sequence[str]) -> str | None:
    """Return a message on an override, or an entry of a defaults list, that does not fit; None for other errors."""
    if match := re.match(r"Multiple values for ([^ ]+)\. To override", text):
        if word := next((o for o in overrides if o.startswith(f"+{match[1]}=")), None):
            return f"{match[1]}: it is chosen already: write {typed(word.lstrip('+'))}, without +"
        return f"{match[1]}: a file's defaults list chooses it once more: write 'override /{match[1]}: ...' there"
    match = re.search(r"(?:In '([^']+)': )?Could not override '([^']*)'", text)
    if match is None:
        return None
    file, whole = match[1] or "", match[2]
    home = file.rpartition("/")[0]
    group, _, package = whole.partition("@")
    if home and package.startswith(home.replace("/", ".")) and not group.startswith(home):
        return f"{file}: it overrides /{group} for itself alone: begin the file with the line '# @package _global_'"
    if home and group.startswith(f"{home}/"):
        meant = group.removeprefix(f"{home}/")
        return f"{file}: there is no {group}: another folder's group begins with a slash: 'override /{meant}: ...'"
    problem = _no_such_key(getattr(error.__cause__, "full_key", None) or whole, text, overrides)
    return f"{file}: {problem}" if file else problem


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
    if n == 1 and parts[0] in COLLECTIONS and (word := next((o for o in overrides if o.startswith(f"{key}.")), "")):
        return f"{key}: no such key; what is not chosen yet is added with +: write +{word}"
    if name in _arguments_of(_node(composed, parts[:n])):
        return f"{key}: the chosen config does not list it: write +{key}=..., or add it to that file"
    settings = flatten({group: node for group, node in composed.items() if group != "hydra"})
    elsewhere = [other for other in settings if n == 0 or other.endswith(f".{name}")]
    found = did_you_mean(name, beside[n], elsewhere if n == len(parts) - 1 else ())
    if n == 0 and "known:" in found:
        return f"{key}: no such key or config group; {found} (--config-dir adds configs of your own)"
    return f"{key}: no such key; {found}"


def report(error: Exception, overrides: Sequence[str] = ()) -> None:
    """Print an error, with one line for each mistake."""
    for problem in getattr(error, "problems", None) or [explain(error, overrides)]:
        print(f"snnpipe: error: {as_line(_with_its_text(problem, overrides))}", file=sys.stderr)


def _with_its_text(problem: str, overrides: Sequence[str]) -> str:
    """Return a problem. If Hydra read a text as another type, add how to type it as a text."""
    wanted = re.match(r"([\w.]+): got .*: should be text(, or null)?(, as in .*)?$", problem)
    if wanted is None:
        return problem
    word = next((o for o in reversed(overrides) if "=" in o and key_of(o) == wanted[1]), None)
    if word is None or not word.partition("=")[2]:
        return problem
    key, _, value = word.partition("=")
    if wanted[1].endswith("names") and re.fullmatch(r"\[[\d\s.,-]+\]", value):
        texts = ",".join(f"'{item.strip()}'" for item in value[1:-1].split(","))
        return f'{problem.removesuffix(wanted[3] or "")}, as in "{key}=[{texts}]"'
    return f"{problem.removesuffix(wanted[3] or '')}, as in {_as_text_typed(word)}"


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


def _composed_without(key: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the chosen configs without the override of a key; empty if they cannot be composed."""
    others = [o for o in overrides if o.partition("=")[0] != key]
    choices = [o for o in others if re.fullmatch(r"[\w/@.]+=\w+", o) and "." not in o.split("@")[0].split("=")[0]]
    try:
        composed: Any = OmegaConf.to_container(compose_with(choices, overrides), resolve=False)
    except HydraException:
        return {}
    return composed  # type: ignore[no-any-return]  # the root of a configuration is a mapping


def _node(config: Any, path: Sequence[str]) -> Any:
    for name in path:
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _arguments_of(node: Any) -> list[str]:
    """Return the arguments of a node's class or function; empty if they cannot be determined."""
    try:
        return list(inspect.signature(locate(node["_target_"])).parameters) if is_node(node) else []
    except (UserError, TypeError, ValueError):
        return []


def _keys_of(config: Any, path: Sequence[str]) -> list[str]:
    """Return the keys of a node of a configuration; empty if there is no such node."""
    config = _node(config, path)
    return [str(key) for key in config if key != "_target_"] if isinstance(config, dict) else []
