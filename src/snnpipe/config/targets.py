"""Import, check and call of the classes and functions that a configuration names with ``_target_``."""

import importlib
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf.errors import OmegaConfBaseException
from pydantic import AfterValidator

from snnpipe.base.errors import ConfigError, SnnPipeError, UserError, did_you_mean, one_line, reason
from snnpipe.base.public import PUBLIC
from snnpipe.models.function import FunctionArchitecture
from snnpipe.protocols import (
    Architecture,
    Callback,
    Converter,
    DataModule,
    Encoder,
    Logger,
    Metric,
    Simulator,
    TrainingPath,
)
from snnpipe.settings.domains import MAX_FLOAT, is_held, is_short
from snnpipe.settings.schema import call_problems, is_node, shown, value_problem, without_nodes

TRUSTED = ("snnpipe", "nengo", "nengo_dl", "tf_keras")
"""Packages whose classes every configuration may name, including one from a run's artifacts."""

_FAMILIES: dict[str, tuple[str, type]] = {
    "data": ("data module", DataModule),
    "model": ("architecture", Architecture),
    "training": ("training path", TrainingPath),
    "conversion": ("converter", Converter),
    "simulator": ("simulator", Simulator),
    "encoder": ("encoder", Encoder),
    "callbacks": ("callback", Callback),
    "logger": ("logger", Logger),
    "metrics": ("metric", Metric),
}
COLLECTIONS = ("callbacks", "logger", "metrics")
"""Groups whose parts have names of their own."""
_SET_LATER = ("spec",)
"""Attributes that a part may have only after its set-up."""
_HYDRAS_KEYS: dict[str, Any] = {
    "_args_": list[Any],
    "_partial_": bool,
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
}
_SHORT_TIMES = ("tau", "tau_rc", "tau_ref")
"""Nengo's names of the time constants of synapses and membranes, s. The time constants of adaptation may be longer."""
_FULL_KEY = re.compile(r"full_key: ([\w.]+)")


def foreign_parts(config: Any, trusted: Collection[str], key: str = "") -> Iterator[str]:
    """Yield a line for each item that a configuration from elsewhere may not have, without importing any of them.

    Such items are a ``_target_`` outside the trusted packages, and an interpolation, which could read the environment.
    """
    if isinstance(config, Mapping):
        if "_target_" in config and not _is_class_of(config["_target_"], trusted):
            yield (
                f"{key}._target_: got {shown(config['_target_'])}, which is no class of {', '.join(trusted)}, and a "
                "configuration from elsewhere runs no others: name its package in trusted= where you know what it does"
            )
        for name, value in config.items():
            yield from foreign_parts(value, trusted, f"{key}.{name}".lstrip("."))
    elif isinstance(config, (list, tuple)):
        for i, value in enumerate(config):
            yield from foreign_parts(value, trusted, f"{key}[{i}]")
    elif isinstance(config, str) and "${" in config:
        yield f"{key}: got {shown(config)}: a configuration from elsewhere takes no interpolations"


def _is_class_of(path: Any, packages: Collection[str]) -> bool:
    """Whether a dotted path leads to a class that trusted packages define, and not only import."""

    def inside(name: str) -> bool:
        return any(name.startswith(f"{package}.") for package in packages)

    if not isinstance(path, str) or not inside(path):
        return False
    try:
        found = locate(path)
    except ConfigError:  # a later check reports what does not exist
        return True
    return inspect.isclass(found) and inside(f"{found.__module__}.")


def locate(path: Any) -> Callable[..., Any]:
    """Return the class or function of a dotted path, and import its module.

    Raises
    ------
    ConfigError
        If there is no such class or function.
    """
    words = path.split(".") if isinstance(path, str) else []
    if len(words) < 2 or not all(word.isidentifier() for word in words):
        raise ConfigError(f"got {shown(path)}: takes the dotted path of a class or function")
    found, owners = _import(path, words)
    for n, word in enumerate(owners):
        try:
            found = getattr(found, word)
        except AttributeError:
            owner = ".".join(words[: len(words) - len(owners) + n])
            if words[0] == "snnpipe" and words[-1] in PUBLIC:
                raise ConfigError(f"got {path!r}: its public name is 'snnpipe.{words[-1]}'") from None
            names = [name for name in dir(found) if not name.startswith("_") and callable(getattr(found, name, None))]
            raise ConfigError(f"got {path!r}: {word!r} is not in {owner}; {did_you_mean(word, names)}") from None
    if not callable(found):
        raise ConfigError(f"got {path!r}: that is no class or function")
    return found  # type: ignore[no-any-return]


def _import(path: str, words: list[str]) -> tuple[Any, list[str]]:
    """Return the innermost module of a dotted path, and the words after it."""
    from snnpipe.frameworks.compat import choose_keras_2

    choose_keras_2()
    for n in range(len(words) - 1, 0, -1):
        module = ".".join(words[:n])
        try:
            return importlib.import_module(module), words[n:]
        except ModuleNotFoundError as error:
            if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
                raise ConfigError(f"got {path!r}: importing {module} failed: {one_line(error)}") from error
        except (Exception, SystemExit) as error:  # a module may raise any error when it is imported
            raise ConfigError(f"got {path!r}: importing {module} failed: {reason(error)}") from error
    raise ConfigError(f"got {path!r}: there is no module {words[0]!r} here; is its package installed?")


def node_problems(node: Any, key: str) -> list[str]:
    """Return the mistakes of a node and of the nodes in it."""
    return _looked_at(node, key)[1]


def value_problems(value: Any, key: str, annotation: Any) -> list[str]:
    """Return the mistakes of a value that is built from nodes, or contains some."""
    found, problems = _looked_at(value, key)
    if problems or is_node(found):
        return problems
    problem = value_problem(key, without_nodes(found), annotation)
    return [problem] if problem else []


def _looked_at(node: Any, key: str) -> tuple[Any, list[str]]:
    """Return a node as its owner will get it, as far as that is known, and the mistakes in it.

    Nengo's objects are built in the process, because only that shows whether they accept their settings. All other
    nodes stay nodes.
    """
    problems: list[str] = []
    if isinstance(node, list):
        items = [_looked_at(item, f"{key}[{i}]") for i, item in enumerate(node)]
        return [item for item, _ in items], [problem for _, found in items for problem in found]
    if not isinstance(node, Mapping):
        return node, []
    values = {}
    for name, value in node.items():
        values[name], found = _looked_at(value, f"{key}.{name}")
        problems += found
    if not is_node(node):
        return values, problems
    try:
        target = locate(node["_target_"])
    except ConfigError as error:
        return node, [f"{key}._target_: {error}"]
    settings = {name: value for name, value in values.items() if name != "_target_"}
    for name, domain in _HYDRAS_KEYS.items():
        if name in settings and (problem := value_problem(f"{key}.{name}", settings[name], domain)):
            problems.append(problem)
    if settings.get("_partial_") and (family := _family_of(key)):
        problems.append(f"{key}._partial_: got {settings['_partial_']!r}: what builds a {family[0]} takes false")
    if not problems:
        problems += family_problems(target, key)
    if not problems:
        own = {name: value for name, value in settings.items() if name == "_args_" or name not in _HYDRAS_KEYS}
        partial = settings.get("_partial_") is True
        problems += call_problems(target, own, key, given=given_arguments(target, key), partial=partial)
        problems += _number_problems(target, own, key)
    if not problems and node["_target_"].startswith("nengo.") and not any(map(_holds_nodes, settings.values())):
        try:
            return build_node(node, key), []
        except UserError as error:
            problems.append(one_line(error))
    return node, problems


def _holds_nodes(value: Any) -> bool:
    if isinstance(value, Mapping):
        return is_node(value) or any(map(_holds_nodes, value.values()))
    return isinstance(value, list) and any(map(_holds_nodes, value))


def family_problems(target: Callable[..., Any], key: str) -> list[str]:
    """Return the reasons why a class is no part of a key's group. A function cannot be checked without a call."""
    family = _family_of(key)
    if family is None or inspect.isfunction(target) or inspect.ismethod(target):
        return []
    word, protocol = family
    if not inspect.isclass(target):
        return [f"{key}._target_: {_name(target)} is no class or function of Python"]
    lacking = [name for name in _methods(protocol) if not hasattr(target, name)]
    if lacking:
        cure = ": derive it from snnpipe.Callback, whose hooks do nothing" if word == "callback" else ""
        return [f"{key}._target_: {_name(target)} is no {word}: it lacks {', '.join(lacking)}{cure}"]
    if word == "callback":
        hooks = _methods(protocol)
        others = [name for name in dir(target) if name.startswith("on_") and name not in hooks]
        return [f"{key}._target_: {_name(target)}.{name} is no hook; {did_you_mean(name, hooks)}" for name in others]
    return []


def require_family(part: Any, key: str) -> None:
    """Raise `ConfigError` if a built object is no part of a key's group."""
    family = _family_of(key)
    if family is None or hasattr(type(part), "__getattr__"):
        return
    word, protocol = family
    absent = object()
    needs = [name for name in _members(protocol) if name not in _SET_LATER]
    lacking = [n for n in needs if inspect.getattr_static(part, n, absent) is absent]
    if lacking:
        raise ConfigError(f"{key}: {_name(type(part))} is no {word}: it lacks {', '.join(lacking)}")


def _family_of(key: str) -> tuple[str, type] | None:
    group, _, name = key.partition(".")
    return _FAMILIES.get(group) if (not name) == (group not in COLLECTIONS) and "." not in name else None


def _methods(protocol: type) -> list[str]:
    return [name for name in _members(protocol) if inspect.isfunction(getattr(protocol, name, None))]


def _members(protocol: type) -> list[str]:
    own = [base for base in protocol.__mro__ if base.__module__.startswith("snnpipe.")]
    names = dict.fromkeys(name for base in own for name in (*vars(base).get("__annotations__", ()), *vars(base)))
    return [name for name in names if not name.startswith("_")]


def _number_problems(target: Callable[..., Any], values: Mapping[str, Any], key: str) -> list[str]:
    """Return the numbers of a Nengo class that are outside their domains. Nengo's classes have no annotations."""
    domains = {name: _domain_of(getattr(target, str(name), None)) for name in values}
    found = (value_problem(f"{key}.{name}", values[name], domain) for name, domain in domains.items() if domain)
    return [problem for problem in found if problem]


def _domain_of(parameter: Any) -> Any:
    """Return the domain that Nengo declares for a number, as an annotation; None for other parameters."""
    if not hasattr(parameter, "low_open"):
        return None
    bounds: list[Any] = [AfterValidator(is_held)]
    if parameter.name in _SHORT_TIMES:
        bounds.append(AfterValidator(is_short))
    if parameter.low is not None:
        bounds.append((Gt if parameter.low_open else Ge)(parameter.low))
    high = MAX_FLOAT if parameter.high is None else parameter.high
    bounds.append((Lt if parameter.high_open else Le)(high))
    domain = Annotated[float, *bounds]
    return domain | None if parameter.optional else domain


def given_arguments(target: Callable[..., Any], key: str) -> list[str]:
    """Return the arguments that a plugin gets from snnpipe. A function that builds a model gets its first argument."""
    if key == "model" and inspect.isfunction(target):
        return list(inspect.signature(target).parameters)[:1]
    return []


def build_node(node: Mapping[str, Any], key: str) -> Any:
    """Return the object that a node describes.

    Raises
    ------
    UserError
        If the object refuses its settings, or is no part of the key's group.
    """
    try:
        if given_arguments(locate(node["_target_"]), key):
            return FunctionArchitecture(instantiate(dict(node), _partial_=True, _convert_="all"))
        part = instantiate(dict(node), _convert_="all")
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__
        if isinstance(cause, SnnPipeError):
            raise cause from None
        inner, told = _FULL_KEY.search(str(error)), str(cause if cause is not None else error)
        where = f"{key}.{inner[1]}" if inner else key
        why = " ".join(_FULL_KEY.sub("", told).split())
        raise UserError(f"{where}: {node['_target_']} does not take these settings: {why}") from error
    require_family(part, key)
    return part


def _name(target: Any) -> str:
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', repr(target))}".lstrip(".")
