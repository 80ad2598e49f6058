"""The name of a run, and the tags that runs are filtered by."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_NAME_LENGTH = 100
_BY_LAYER = "by_layer"
_DIGITS = 4
"""Length of the digest of the settings that a name has no room for."""
_ORDINARY = {
    "converter": "NengoDLConverter",
    "activation": "relu",
    "max_pooling": "sums",
    "encoder": "ConstantEncoder",
    "dt": 0.001,
    "readout": "auto",
    "simulator": "AutoSimulator",
    "seed": 0,
}
"""Ordinary values, which a run's name leaves out."""
_CALIBRATION = {
    "images": 1000,
    "percentile": 99.9,
    "spikes_per_step": "auto",
    "max_error": "auto",
    "channels": "auto",
    "balance": "auto",
    "bias_correction": "auto",
    "drawn_voltages": "auto",
    "max_drop": None,
}
"""Ordinary values of a calibration, in the same sense."""


def run_name(config: Mapping[str, Any], dataset: str = "") -> str:
    """Return a name that describes a run, at most 100 characters long.

    It always has dataset, network, training, neuron, scale, synapse and steps. It has other settings only if they are
    not the ordinary ones. For settings per layer it has the smallest and the largest value, and a digest of them all.
    """
    conversion, simulator, training = (_node(config, group) for group in ("conversion", "simulator", "training"))
    fitted_at, dt = training.get("scale_firing_rates", 1), simulator.get("dt", _ORDINARY["dt"])
    tags = filter_tags(config, dataset)
    words = [
        tags.get("data"),
        _class(_node(config, "data").get("augment")),
        tags.get("model"),
        tags.get("training"),
        _setting(fitted_at, "fit_x{:g}") if fitted_at != 1 else None,
        _class(training.get("regularizer")),
        _unless_ordinary("converter", _class(conversion)),
        _setting(conversion["neuron"], "") if tags.get("neuron") == _BY_LAYER else tags.get("neuron"),
        _scale(conversion),
        _setting(conversion.get("synapse"), "{:g}ms", 1000),
        _unless_ordinary("activation", _node(config, "model").get("activation", _ORDINARY["activation"])),
        _unless_ordinary("max_pooling", conversion.get("max_pooling", _ORDINARY["max_pooling"])),
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
    """Return the tags that runs are filtered by, one word each: dataset, network, training path and neuron.

    ``dataset`` is the name in the dataset's spec, if it is known. Otherwise the tag is the data module's setting
    ``name``, or its class.
    """
    conversion, data = _node(config, "conversion"), _node(config, "data")
    tags = {
        "data": dataset or data.get("name") or _class(data),
        "model": _class(config.get("model")),
        "training": (_class(config.get("training")) or "").removesuffix("Training"),
        "neuron": _neuron(conversion["neuron"]) if "neuron" in conversion else None,
    }
    return {name: str(value) for name, value in tags.items() if value}


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
    """Return a setting as a part of a name, a number in the format ``form``.

    An object, or a setting per layer, also has a digest that distinguishes it from others.
    """
    if isinstance(value, (int, float)):
        return form.format(factor * value)
    if not isinstance(value, Mapping):
        return None
    if name := _class(value):
        return f"{name}_{_digest(value)}" if len(value) > 1 else name
    numbers = [factor * each for each in value.values() if isinstance(each, (int, float))]
    ends = dict.fromkeys([min(numbers), max(numbers)]) if numbers else ()
    span = form.replace(":g", "").format("to".join(f"{end:g}" for end in ends)) if ends else _BY_LAYER
    return f"{span}_{_digest(value)}"


def _scale(conversion: Mapping[str, Any]) -> str | None:
    """Return the scale, or for a scale from data what it is made from, if that is not the ordinary."""
    if conversion.get("scale_firing_rates") != "auto":
        return _setting(conversion.get("scale_firing_rates"), "x{:g}")
    given = _node(conversion, "calibration")
    changed = {key: given[key] for key in _CALIBRATION if key in given and given[key] != _CALIBRATION[key]}
    drop, spikes = changed.pop("max_drop", None), changed.pop("spikes_per_step", None)
    words = ["auto", _setting(spikes, "r{:g}"), _setting(drop, "drop{:g}")]
    return "_".join(filter(None, [*words, _digest(changed) if changed else None]))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:_DIGITS]


def _unless_ordinary(what: str, value: Any) -> Any:
    return None if value == _ORDINARY[what] else value
