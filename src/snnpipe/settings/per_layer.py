"""Settings that have one value for all layers, or one value per layer by name or pattern."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from snnpipe.base.errors import ConfigError, did_you_mean

T = TypeVar("T")


def per_layer(value: T | Mapping[str, T], layer_names: Sequence[str], default: T, key: str) -> dict[str, T]:
    """Return each layer's value.

    Parameters
    ----------
    value
        One value for every layer, or a mapping from layer names or shell patterns (``conv*``) to
        values. A layer's own name counts before patterns, and later patterns before earlier ones.
    layer_names
        Names of all layers.
    default
        The value of layers that a mapping does not name.
    key
        Key of the setting in the configuration, for the message.

    Raises
    ------
    ConfigError
        If a name or pattern of the mapping fits no layer.
    """
    if not isinstance(value, Mapping):
        return dict.fromkeys(layer_names, value)
    check_patterns(list(value), layer_names, key)
    values = dict.fromkeys(layer_names, default)
    for pattern, own in value.items():
        values |= {name: own for name in layer_names if fnmatchcase(name, pattern)}
    return values | {name: value[name] for name in layer_names if name in value}


def check_patterns(patterns: Sequence[str], layer_names: Sequence[str], key: str) -> None:
    """Raise `ConfigError` if a name or pattern fits no layer."""
    _refuse([p for p in patterns if not any(fnmatchcase(name, p) for name in layer_names)], layer_names, key)


def check_names(names: Iterable[str], layer_names: Sequence[str], key: str) -> None:
    """Raise `ConfigError` if a name is not a layer's own."""
    _refuse([name for name in names if name not in layer_names], layer_names, key)


def _refuse(unknown: Sequence[str], layer_names: Sequence[str], key: str) -> None:
    problems = [f"{key}: no layer of neurons is called {name!r}; {did_you_mean(name, layer_names)}" for name in unknown]
    if problems:
        raise ConfigError(*problems)


def matching(patterns: Sequence[str], layer_names: Sequence[str], key: str) -> list[str]:
    """Return the layers that a list of names or patterns chooses, in the model's order.

    Raises
    ------
    ConfigError
        If a name or pattern fits no layer.
    """
    check_patterns(patterns, layer_names, key)
    return [name for name in layer_names if any(fnmatchcase(name, pattern) for pattern in patterns)]
