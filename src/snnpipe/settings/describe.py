"""A part's settings as plain data and as text."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from snnpipe.base.identity import UnknowableError, digest_of, has_address, qualified_name
from snnpipe.base.public import public_name


def describe(value: Any) -> Any:
    """Return a part as plain data: ``_target_`` and its settings, as in a config file that builds it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value]
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return {"_target_": _name_of(value)} | _digest_of(value)
    target: dict[str, Any] = {"_target_": _name_of(type(value))}
    if isinstance(value, functools.partial):
        arguments = {"_args_": describe(value.args)} if value.args else {}
        return {"_target_": _name_of(value.func), "_partial_": True} | arguments | describe(value.keywords)
    if dataclasses.is_dataclass(value):
        fields = [f.name for f in dataclasses.fields(value) if f.init]
        return target | {name: describe(getattr(value, name)) for name in fields}
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        shape = [None if n is None else int(n) for n in value.shape]
        return target | {"shape": shape, "dtype": str(value.dtype)} | _digest_of(value)
    text = repr(value)
    if not has_address(text) and "..." not in text:
        return target | {"repr": text}
    names = _constructor_names(type(value))
    if names and all(hasattr(value, name) for name in names):
        return target | {name: describe(getattr(value, name)) for name in names}
    return target | _digest_of(value)


def _name_of(thing: Any) -> str:
    return public_name(thing) or qualified_name(thing)


def _constructor_names(cls: type) -> list[str]:
    try:
        return list(inspect.signature(cls).parameters)
    except (TypeError, ValueError):
        return []


def _digest_of(value: Any) -> dict[str, str]:
    """Return a value's digest as a setting; no setting for a class, or for a value whose content cannot be read."""
    try:
        return {} if isinstance(value, type) else {"digest": digest_of(value)}
    except UnknowableError:
        return {}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one mapping with dotted keys.

    Lists and empty mappings stay values. So does a mapping with a key that is no identifier, such as a layer pattern.
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and all(str(k).isidentifier() for k in value):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def to_yaml(config: Mapping[str, Any]) -> str:
    """Return settings as YAML, with the keys in their order."""
    text: str = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    return text
