"""A run's settings as text: described, flattened, named."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml


def describe(value: Any) -> Any:
    """Return a part as plain data: ``_target_`` and its settings, as a config file would build it."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value]
    found: dict[str, Any] = {"_target_": f"{type(value).__module__}.{type(value).__qualname__}"}
    if dataclasses.is_dataclass(value):
        fields = [f.name for f in dataclasses.fields(value) if f.init]
        return found | {name: describe(getattr(value, name)) for name in fields}
    return found | {"repr": repr(value)}


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


def command_line(overrides: Sequence[str]) -> str:
    """Return the command that runs some overrides, quoted for a shell."""
    return shlex.join(["python", "-m", "snnpipe", *overrides])


def run_name(config: Mapping[str, Any]) -> str:
    """Return a name that says what a run is: dataset, network, training, neuron, scale, synapse, steps."""
    conversion, simulator = config.get("conversion", {}), config.get("simulator", {})
    scale, synapse = conversion.get("scale_firing_rates"), conversion.get("synapse")
    words = [
        config.get("data", {}).get("name"),
        _kind(config.get("model")),
        _kind(config.get("training")),
        (_kind(conversion["neuron"]) or "rate") if "neuron" in conversion else None,
        f"x{scale:g}" if isinstance(scale, (int, float)) else None,
        f"{1000 * synapse:g}ms" if isinstance(synapse, (int, float)) else None,
        f"{simulator.get('n_steps')}steps" if simulator.get("n_steps") else None,
    ]
    return "-".join(str(word) for word in words if word) or "run"


def _kind(node: Any) -> str | None:
    if not isinstance(node, Mapping) or "_target_" not in node:
        return None
    return str(node["_target_"]).rpartition(".")[2]
