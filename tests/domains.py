"""What values a key takes, read off the annotations that are its schema, and values in and outside of that domain.

`belongs` says by itself whether a value is in a domain; it shares nothing with the library that checks configurations.
"""

import inspect
import math
import re
import types
import typing
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union

import annotated_types
from hypothesis import strategies as st
from pydantic import AfterValidator

from snnpipe.config import check as configuration
from snnpipe.config.targets import locate
from snnpipe.settings.domains import is_held
from snnpipe.settings.schema import unnamed

_LEAST_FLOAT = 1.2e-38

# ---------------------------------------------------------------------- domains


def belongs(value: Any, domain: Any) -> bool:
    """Whether a value, as a configuration file holds it, is in the domain that an annotation describes."""
    domain = unnamed(domain)
    origin, arguments = typing.get_origin(domain), typing.get_args(domain)
    if domain is Any or domain is inspect.Parameter.empty:
        return True
    if isinstance(value, dict) and "_target_" in value:
        return False
    if domain in (None, types.NoneType):
        return value is None
    if origin is Annotated:
        base, *constraints = arguments
        return belongs(value, base) and all(_meets(value, c) for c in _flat(constraints))
    if origin in (Union, types.UnionType):
        return any(belongs(value, branch) for branch in arguments)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if domain is float:
        return type(value) in (int, float) and _is_float(value)
    if domain is str:
        return type(value) is str and not any(unicodedata.category(c) == "Cs" for c in value)
    if domain in (bool, int):
        return type(value) is domain
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key, of = arguments
        return isinstance(value, dict) and all(belongs(k, key) and belongs(v, of) for k, v in value.items())
    if isinstance(origin, type) and issubclass(origin, typing.Sequence):
        return isinstance(value, list) and all(belongs(item, arguments[0]) for item in value)
    raise NotImplementedError(f"say in tests/domains.py what belongs to {domain}")


def _is_float(value: float) -> bool:
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _flat(constraints: Any) -> Iterator[Any]:
    for constraint in constraints:
        if hasattr(constraint, "metadata"):  # pydantic's Field
            yield from constraint.metadata
        else:
            yield constraint


def _meets(value: Any, constraint: Any) -> bool:
    match constraint:
        case annotated_types.Ge(ge=least):
            return value >= least
        case annotated_types.Gt(gt=below):
            return value > below
        case annotated_types.Le(le=most):
            return value <= most
        case annotated_types.Lt(lt=above):
            return value < above
        case annotated_types.MinLen(min_length=least):
            return len(value) >= least
        case annotated_types.MaxLen(max_length=most):
            return len(value) <= most
    if (function := getattr(constraint, "func", None)) is not None:
        return _RULES[function.__name__](value)
    general = vars(constraint)
    assert general.keys() <= {"allow_inf_nan", "pattern"}, general
    if "pattern" in general:
        return bool(re.search(general["pattern"].replace("$", r"\Z"), value))
    return general["allow_inf_nan"] or math.isfinite(value)


def _is_printable(text: str) -> bool:
    return all(c == " " or unicodedata.category(c)[0] not in "CZ" for c in text)


_RULES = {  # of what a file can hold without a _target_
    "is_held": lambda value: not 0 < value < _LEAST_FLOAT,
    "is_short": lambda value: value < 1,
    "_is_printable": _is_printable,
    "_is_channels": lambda value: value in (1, 3),
    "_is_filter": lambda value: False,
    "_is_neuron_type": lambda value: False,
    "_is_calibration": lambda value: False,
    "_is_augmentation": lambda value: value in (None, {}),
    "_is_pair": lambda value: value is None or (type(value) is list and len(value) == 2),
    "_is_size": lambda value: len(value) == 2,
    "_is_known": lambda value: value != "auto",
    "_is_depth": lambda value: value >= 8 and value % 6 == 2,
    "_is_regularizer": lambda value: value in (None, {}),
    "_is_initializer": lambda value: value.keys() == {"class_name", "config"} and type(value["config"]) is dict,
}


# ---------------------------------------------------------------------- the keys of a configuration


def keys(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every key of a composed configuration whose domain is known, and the domain."""
    yield from configuration._SCALARS.items()
    for group, settings in configuration.SETTINGS.items():
        yield from ((f"{group}.{name}", domain) for name, domain in settings.items())
    yield "logger.tracking_uri", configuration.Text | None
    for group in (*configuration.PARTS, "neuron", "callbacks", "logger"):
        yield from _keys_of(config[group], group)


def _keys_of(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, Mapping):
        return
    for name, value in node.items():
        yield from _keys_of(value, f"{path}.{name}")
    if "_target_" in node:
        yield from ((f"{path}.{name}", domain) for name, domain in settings_of(locate(node["_target_"])))


def settings_of(target: Any) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a class, and the domain of each."""
    function = target if hasattr(target, "__dataclass_fields__") else target.__init__
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(target).parameters.items():
        if name in hints:
            yield name, hints[name]
        elif hasattr(of_nengo := getattr(target, name, None), "low_open"):
            yield name, _number_of_nengo(of_nengo)
        else:
            assert target.__module__.startswith("nengo.") or parameter.kind is parameter.VAR_KEYWORD, (target, name)


def _number_of_nengo(parameter: Any) -> Any:
    longest = annotated_types.Lt(1) if parameter.name in ("tau", "tau_rc", "tau_ref") else annotated_types.Le(3.4e38)
    constraints: list[Any] = [longest, AfterValidator(is_held)]
    if parameter.low is not None:
        constraints.append((annotated_types.Gt if parameter.low_open else annotated_types.Ge)(parameter.low))
    if parameter.high is not None:
        constraints.append((annotated_types.Lt if parameter.high_open else annotated_types.Le)(parameter.high))
    return Annotated[float, *constraints]


# ---------------------------------------------------------------------- values

NASTY: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, -0.0, 0.0, 0.5, 1.0, -1.5, 1e-320, 1e-40, 1e39, 1e308, -1e308),
    *(math.inf, -math.inf, math.nan, 2**31 - 1, 2**31, 2**63, 2**64, 10**400, -(10**400)),
    *("", " ", "a", "0", "1", "1.5", "-1", "null", "None", "true", "nan", "inf", "???", "*", "conv*", "conv2d"),
    *("a" * 10_000, "a\nb", "a\0b", "\r", "\t", "\x1b[31m", "\u202eabc", "\ud800", "ä€𝄞", "'", '"', "\\", "$(id)"),
    *("${seed}", "${", "}", "{a: b}", "[a", "a=b", "a: b", "%s%n", "../../x", "/", "~", "-1e5", "1_000", "0x10", "1e3"),
    *([], [1], [0], [-1], [1, 2], [1, 2, 3], [None], ["a"], ["*"], [[]], [[1]], [True], [1.5], ["a", 1], [{}], [""]),
    *({}, {"a": 1}, {"*": 1.0}, {"*": 0}, {"*": None}, {"*": "a"}, {1: 1.0}, {None: 1}, {"a": {"b": {"c": 1}}}),
    *({"conv*": 2.0, "dense": -1.0}, {"": 1.0}, {"class_name": "Zeros", "config": {}}, {"class_name": "Zeros"}),
    *({"_target_": "os.system"}, {"_target_": None}, {"_target_": ""}, {"_target_": "snnpipe"}, {"_target_": "a..b"}),
    *({"_target_": "snnpipe.no.such.Thing"}, {"_target_": "subprocess.run", "args": "id"}, {"_target_": 5}),
    *({"_target_": "snnpipe.frameworks.compat.subprocess.run", "args": "id"}, {"_args_": [1]}, {"_partial_": True}),
]


def values(domain: Any) -> st.SearchStrategy[Any]:
    """Return values in a domain, at its edges, and far outside of it."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    )
    edges = [edge for limit in sorted(set(_limits(domain))) for edge in _around(limit)]
    parts = [st.sampled_from(NASTY), anything, inside(domain)]
    return st.one_of(*parts, *([st.sampled_from(edges)] if edges else []))


def inside(domain: Any) -> st.SearchStrategy[Any]:
    """Return values in a domain; nothing where only what Hydra builds is in it."""
    domain = unnamed(domain)
    origin, arguments = typing.get_origin(domain), typing.get_args(domain)
    if domain is Any:
        strategy: st.SearchStrategy[Any] = st.sampled_from([None, {}])
    elif domain in (None, types.NoneType):
        strategy = st.none()
    elif origin is Annotated:
        strategy = _constrained(arguments[0], list(_flat(arguments[1:])))
    elif origin in (Union, types.UnionType):
        strategy = st.one_of(*map(inside, arguments))
    elif origin is Literal:
        strategy = st.sampled_from(arguments)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        strategy = st.dictionaries(inside(arguments[0]), inside(arguments[1]), max_size=3)
    elif isinstance(origin, type) and issubclass(origin, typing.Sequence):
        strategy = st.lists(inside(arguments[0]), max_size=4)
    else:
        strategy = {bool: st.booleans(), int: st.integers(), float: st.floats(), str: st.text(max_size=20)}[domain]
    return strategy.filter(lambda value: belongs(value, domain))


def _constrained(base: Any, constraints: list[Any]) -> st.SearchStrategy[Any]:
    base = unnamed(base)
    if typing.get_origin(base) is Annotated:
        inner, *own = typing.get_args(base)
        return _constrained(inner, [*constraints, *_flat(own)])
    least, most = (_limit(constraints, *names) for names in (("ge", "gt"), ("le", "lt")))
    if base is int:
        return st.integers(least, most)
    if base is float:
        return st.floats(least, most)
    if base is Any and any(hasattr(c, "func") for c in constraints):
        return st.sampled_from([None, {}])
    if (pattern := _limit(constraints, "pattern")) is not None:
        return st.from_regex(pattern, fullmatch=True)
    if base is str:
        return st.text(st.characters(categories=("L", "N", "P", "S"), codec="utf-8"), min_size=1, max_size=30)
    if base == dict[str, Any]:
        return st.just({"class_name": "Zeros", "config": {}})
    origin = typing.get_origin(base)
    if isinstance(origin, type) and issubclass(origin, typing.Sequence):
        fewest, most = _limit(constraints, "min_length") or 0, _limit(constraints, "max_length") or 4
        return st.lists(inside(typing.get_args(base)[0]), min_size=fewest, max_size=most)
    return inside(base)


def _limit(constraints: list[Any], *names: str) -> Any:
    """Return the limit that constraints give by one of some names, None where they give none."""
    limits = [getattr(c, name) for c in constraints for name in names if getattr(c, name, None) is not None]
    return limits[0] if limits else None


def _limits(domain: Any) -> Iterator[float]:
    domain = unnamed(domain)
    for argument in typing.get_args(domain):
        yield from _limits(argument)
    for constraint in _flat(getattr(domain, "__metadata__", ())):
        limit = _limit([constraint], "ge", "gt", "le", "lt")
        if limit is not None:
            yield limit


def _around(limit: float) -> list[Any]:
    near = [limit, -limit, limit + 1, limit - 1, math.nextafter(limit, math.inf), math.nextafter(limit, -math.inf)]
    return [*near, float(limit), str(limit), [limit], *([int(limit)] if math.isfinite(limit) else [])]
