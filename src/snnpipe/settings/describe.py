"""A run's settings as text: described, flattened, named."""

import dataclasses
import functools
import hashlib
import inspect
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from snnpipe.base.identity import UnknowableError, digest_of, has_address, qualified_name
from snnpipe.base.masking import mask
from snnpipe.base.public import public_name

_NAME_LENGTH = 100
_OF_ONE_RUN = {"paths.output_dir", "run_name"}
_BY_LAYER = "by_layer"
_DIGITS = 4
"""Of the digest of what a name has no room for."""

_ORDINARY = {
    "converter": "NengoDLConverter",
    "encoder": "ConstantEncoder",
    "dt": 0.001,
    "readout": "last",
    "simulator": "AutoSimulator",
    "seed": 0,
}
"""What a run's name passes over."""


def describe(value: Any) -> Any:
    """Return a part as plain data: ``_target_`` and its settings, as a config file would build it."""
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
    found: dict[str, Any] = {"_target_": _name_of(type(value))}
    if isinstance(value, functools.partial):
        arguments = {"_args_": describe(value.args)} if value.args else {}
        return {"_target_": _name_of(value.func), "_partial_": True} | arguments | describe(value.keywords)
    if dataclasses.is_dataclass(value):
        fields = [f.name for f in dataclasses.fields(value) if f.init]
        return found | {name: describe(getattr(value, name)) for name in fields}
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        shape = [None if n is None else int(n) for n in value.shape]
        return found | {"shape": shape, "dtype": str(value.dtype)} | _digest_of(value)
    text = repr(value)
    if not has_address(text) and "..." not in text:
        return found | {"repr": text}
    names = _constructor_names(type(value))
    if names and all(hasattr(value, name) for name in names):
        return found | {name: describe(getattr(value, name)) for name in names}
    return found | _digest_of(value)


def _name_of(thing: Any) -> str:
    return public_name(thing) or qualified_name(thing)


def _constructor_names(cls: type) -> list[str]:
    try:
        return list(inspect.signature(cls).parameters)
    except (TypeError, ValueError):
        return []


def _digest_of(value: Any) -> dict[str, str]:
    """Return a digest of what a value holds as a setting; of a class, and of what cannot be known, none."""
    try:
        return {} if isinstance(value, type) else {"digest": digest_of(value)}
    except UnknowableError:
        return {}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one mapping with dotted keys; lists and empty mappings stay values.

    A mapping whose keys are no identifiers (layer patterns) stays a value too.
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
    """Return settings as YAML, keys in their order."""
    text: str = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    return text


def percent(share: float, digits: int = 2) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"


def ann_accuracy(metrics: Mapping[str, float]) -> float:
    """Return the ANN's accuracy on the images that were simulated, from which a drop is counted."""
    return metrics["snn/test_accuracy"] + metrics["snn/accuracy_drop"]


def points(share: float, digits: int = 2) -> str:
    """Return a difference of shares in percentage points, with its sign: a drop that is positive is a loss."""
    return f"{round(100 * share, digits) + 0.0:+.{digits}f}"  # adding zero leaves no -0.00


def command_line(overrides: Sequence[str]) -> str:
    """Return the command that runs some overrides, quoted for a shell, with stars for passwords."""
    return shlex.join(["python", "-m", "snnpipe", *map(mask, overrides)])


def with_overrides(command: str, added: str) -> str:
    """Return a command with further overrides, each in place of earlier ones of its key, or of keys below it.

    With another neuron, the settings of the one before go; so do the folder and the name of the command's own run.

    Parameters
    ----------
    command, added
        As a shell takes them; the command may be empty.
    """
    words = shlex.split(added)
    keys = {_key(word) for word in words} | _OF_ONE_RUN
    above = tuple(f"{key}." for key in keys if "." in key or key == "neuron")
    kept = [word for word in shlex.split(command) if _key(word) not in keys and not _key(word).startswith(above)]
    return shlex.join([*kept, *words])


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def run_name(config: Mapping[str, Any], dataset: str = "") -> str:
    """Return a name that says what a run is, at most 100 characters long.

    Dataset, network, training, neuron, scale, synapse and steps always; other settings where they are not the ordinary.
    Of settings for each layer it has the least and the most, and a digest that tells them from others.
    """
    conversion, simulator, training = (_node(config, group) for group in ("conversion", "simulator", "training"))
    fitted_at, dt = training.get("scale_firing_rates", 1), simulator.get("dt", _ORDINARY["dt"])
    tags = filter_tags(config, dataset)
    words = [
        tags.get("data"),
        tags.get("model"),
        tags.get("training"),
        _setting(fitted_at, "fit_x{:g}") if fitted_at != 1 else None,
        _class(training.get("regularizer")),
        _unless_ordinary("converter", _class(conversion)),
        _setting(conversion["neuron"], "") if tags.get("neuron") == _BY_LAYER else tags.get("neuron"),
        _setting(conversion.get("scale_firing_rates"), "x{:g}"),
        _setting(conversion.get("synapse"), "{:g}ms", 1000),
        _unless_ordinary("encoder", _class(config.get("encoder"))),
        _setting(simulator.get("n_steps"), "{}steps"),
        _setting(_unless_ordinary("dt", dt), "of_{:g}ms", 1000),
        _unless_ordinary("readout", simulator.get("readout")),
        _unless_ordinary("simulator", _class(simulator)),
        _setting(simulator.get("max_images"), "{}images"),
        _setting(_unless_ordinary("seed", config.get("seed")), "seed{}"),
    ]
    name = "-".join(str(word) for word in words if word) or "run"
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - _DIGITS - 1]}_{_digest(name)}"


def filter_tags(config: Mapping[str, Any], dataset: str = "") -> dict[str, str]:
    """Return what runs are looked for by, in a word each: dataset, network, training path and neuron.

    ``dataset`` is the name that the dataset's spec has, where it is known; else the data module's setting ``name``
    counts, or its class.
    """
    conversion, data = _node(config, "conversion"), _node(config, "data")
    found = {
        "data": dataset or data.get("name") or _class(data),
        "model": _class(config.get("model")),
        "training": (_class(config.get("training")) or "").removesuffix("Training"),
        "neuron": _neuron(conversion["neuron"]) if "neuron" in conversion else None,
    }
    return {name: str(value) for name, value in found.items() if value}


def _node(config: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    node = config.get(group)
    return node if isinstance(node, Mapping) else {}


def _class(node: Any) -> str | None:
    if not isinstance(node, Mapping) or "_target_" not in node:
        return None
    return str(node["_target_"]).rpartition(".")[2]


def _neuron(node: Any) -> str:
    if node is None:
        return "rate"
    return (_class(node) or _BY_LAYER).replace("RectifiedLinear", "ReLU")


def _setting(value: Any, form: str, factor: int = 1) -> str | None:
    """Return a number in some form; of an object, or of a setting for each layer, what tells it from others too."""
    if isinstance(value, (int, float)):
        return form.format(factor * value)
    if not isinstance(value, Mapping):
        return None
    if name := _class(value):
        return f"{name}_{_digest(value)}" if len(value) > 1 else name
    numbers = [factor * each for each in value.values() if isinstance(each, (int, float))]
    ends = dict.fromkeys([min(numbers), max(numbers)]) if numbers else ()
    told = form.replace(":g", "").format("to".join(f"{end:g}" for end in ends)) if ends else _BY_LAYER
    return f"{told}_{_digest(value)}"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:_DIGITS]


def _unless_ordinary(what: str, value: Any) -> Any:
    return None if value == _ORDINARY[what] else value
