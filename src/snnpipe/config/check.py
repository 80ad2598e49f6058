"""The check of a configuration: one pass that reports all mistakes at once, before TensorFlow is imported.

The constructor of a plugin determines the contents of its node (`snnpipe.settings.schema`).
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import Field

from snnpipe.base.errors import ConfigError, did_you_mean
from snnpipe.config.targets import COLLECTIONS, TRUSTED, foreign_parts, node_problems, value_problems
from snnpipe.settings.describe import flatten
from snnpipe.settings.domains import ExperimentName, Neuron, NonNegativeInt, PositiveInt, Seed, Text
from snnpipe.settings.schema import is_node, shown, value_problem

PARTS = {
    "data": "data",
    "model": "architecture",
    "training": "training",
    "conversion": "converter",
    "simulator": "simulator",
    "encoder": "encoder",
}
"""Config groups that hold one plugin each, with the trainer's names for them."""


_RunId = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=250, description="one word of A to z, 0 to 9, '_', '-' and '.'")
]
_SCALARS: dict[str, Any] = {
    "seed": Seed,
    "experiment_name": ExperimentName | None,
    "run_name": Text | None,
    "run_id": _RunId | None,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "paths": {"mlruns": Text, "output_dir": Text},
    "sweep": {
        **{"resume": bool, "parent": Text | None, "durations": list[PositiveInt]},
        **{"jobs": PositiveInt | None, "keys": list[Text]},
    },
    "diagnosis": {"images": NonNegativeInt},
}
"""Groups that hold snnpipe's own settings and no plugin."""
_OF_FILES = "no key; a file of that group begins with the line '# @package _global_', and sets the keys of all"
_CHOSEN_WITH = {
    "data.augment": "data/augment",
    "training.regularizer": "training/regularizer",
    "training.neuron": "neuron@training.neuron",
    "conversion.neuron": "neuron",
    "neuron": "neuron",
}


def check(
    config: Mapping[str, Any], interpolated: Collection[str] = (), *, trusted: Collection[str] | None = TRUSTED
) -> None:
    """Raise `ConfigError` with every mistake of a resolved configuration.

    Parameters
    ----------
    config
        Configuration, as `snnpipe.config.compose.resolve` returns it.
    interpolated
        Keys that take their value from another key. A mistake is reported only at the key where it was made.
    trusted
        Packages whose classes the configuration may name. A configuration that came with a run, or from elsewhere, is
        built from these packages alone. None allows all packages, for a user's own configuration, as on the command
        line.

    Raises
    ------
    ConfigError
        If there are mistakes. Each problem begins with its key.
    """
    require_trusted(config, trusted)
    known = [*_SCALARS, *SETTINGS, *PARTS, "neuron", *COLLECTIONS]
    problems = _unknown_keys(config, known)
    for key in known:
        problems += _problems(config.get(key), key)
    if not problems:
        problems += fit_problems(config)
    if problems:
        at_source = [p for p in problems if not _is_under(p.partition(": ")[0], interpolated)]
        raise ConfigError(*dict.fromkeys(at_source or problems))


def check_simulator(config: Mapping[str, Any]) -> None:
    """Raise `ConfigError` with every mistake of the simulator's settings. The other settings must be valid."""
    if problems := _problems(config["simulator"], "simulator") or fit_problems(config):
        raise ConfigError(*problems)


def require_trusted(config: Mapping[str, Any], trusted: Collection[str] | None) -> None:
    """Raise `ConfigError` if a configuration names classes outside the trusted packages. None trusts all packages."""
    if trusted is not None and (problems := list(foreign_parts(config, trusted))):
        raise ConfigError(*problems)


def _problems(node: Any, key: str) -> list[str]:
    """Return the mistakes in the value of a top-level key."""
    if key in _SCALARS:
        problem = value_problem(key, node, _SCALARS[key])
        return [problem] if problem else []
    if key in SETTINGS:
        return settings_problems(node, key, SETTINGS[key])
    if key in COLLECTIONS:
        problems = collection_problems(node, key)
    elif key == "neuron":
        problems = value_problems(node, key, Neuron | dict[str, Neuron])
    elif is_node(node):
        problems = node_problems(node, key)
    else:
        return [f"{key}: got {shown(node)}: needs a _target_ to build; choose a config of the group {key}="]
    return [_with_choice(problem) for problem in problems]


def _with_choice(problem: str) -> str:
    """Add the group of choices to a problem, if its value is chosen from a group."""
    key = problem.partition(": got ")[0]
    return (
        f"{problem}; choose one with {_CHOSEN_WITH[key]}=" if key in _CHOSEN_WITH and ": got " in problem else problem
    )


def _unknown_keys(config: Mapping[str, Any], known: Collection[str]) -> list[str]:
    inside = flatten({key: node for key, node in config.items() if isinstance(node, Mapping)})
    unknown = {key: f"no such key; {did_you_mean(str(key), known, inside)}" for key in config if key not in known}
    unknown |= dict.fromkeys(unknown.keys() & {"experiment", "debug", "local"}, _OF_FILES)
    return [f"{key}: {why}" for key, why in unknown.items()]


def settings_problems(node: Any, group: str, known: Mapping[str, Any]) -> list[str]:
    """Return the mistakes of a group that holds snnpipe's own settings and no plugin."""
    if not isinstance(node, Mapping):
        hint = "; choose a sweep with sweep=" if group == "sweep" else ""
        return [f"{group}: got {shown(node)}: set {' or '.join(f'{group}.{key}' for key in known)}{hint}"]
    problems = [f"{group}.{key}: missing: it takes {', '.join(known)}" for key in known if key not in node]
    for key, value in node.items():
        if key not in known:
            why = _OF_FILES if key == "hydra" else f"no such key; {did_you_mean(str(key), known)}"
            problems.append(f"{group}.{key}: {why}")
        elif problem := value_problem(f"{group}.{key}", value, known[key]):
            problems.append(problem)
    return problems


def collection_problems(nodes: Any, group: str) -> list[str]:
    """Return the mistakes of a group that holds several plugins by name. Null means no plugins."""
    if nodes is not None and not isinstance(nodes, Mapping):
        return [f"{group}: got {shown(nodes)}: takes plugins by name; choose a config with {group}="]
    problems = []
    for name, node in (nodes or {}).items():
        if (group, name) == ("logger", "tracking_uri"):
            if problem := value_problem("logger.tracking_uri", node, Text | None):
                problems.append(problem)
        elif node is not None and not is_node(node):
            known = "; choose callbacks=early_stopping first" if name == "early_stopping" else ""
            problems.append(
                f"{group}.{name}: got {shown(node)}: no such {group.rstrip('s')}, and no _target_ to build{known}"
            )
        else:
            problems += node_problems(node, f"{group}.{name}")
    return problems


def fit_problems(config: Mapping[str, Any]) -> list[str]:
    """Return mistakes in combinations of keys that are valid by themselves."""
    problems = []
    simulator, encoder = config["simulator"], config["encoder"]
    steps, window = simulator.get("n_steps"), simulator.get("readout_steps")
    if simulator.get("readout") in ("auto", "mean") and steps and window and window > steps:
        problems.append(
            f"simulator.readout_steps: got {window}, which is more than simulator.n_steps={steps}: "
            "the mean can take at most all steps"
        )
    data = config["data"]
    for name, node in (config.get("callbacks") or {}).items():
        monitored = str(node.get("monitor", "")) if isinstance(node, Mapping) else ""
        if monitored.startswith("fit/val_") and data.get("validation_share") == 0 and not data.get("validation_split"):
            problems.append(
                f"callbacks.{name}.monitor: got {monitored!r}, but nothing is held out for validation: set "
                "data.validation_share, or monitor fit/loss"
            )
    if "dt" in encoder and "dt" in simulator and encoder["dt"] != simulator["dt"]:
        problems.append(
            f"encoder.dt: got {encoder['dt']}, and simulator.dt is {simulator['dt']}: they must be the same"
        )
    return problems


def _is_under(key: str, parents: Collection[str]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)
