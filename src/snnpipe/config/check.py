"""From a composed configuration to a trainer: check all of it, then build the parts.

What a plugin's node may hold is what its constructor takes (`snnpipe.settings.schema`). All mistakes are
reported at once, before TensorFlow is imported.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import Field

from snnpipe.base.errors import ConfigError, did_you_mean, one_line
from snnpipe.base.files import new_folder
from snnpipe.config.targets import (
    COLLECTIONS,
    TRUSTED,
    build_node,
    foreign_parts,
    locate,
    node_problems,
    value_problems,
)
from snnpipe.settings.describe import flatten
from snnpipe.settings.domains import ExperimentName, Neuron, NonNegativeInt, PositiveFloat, PositiveInt, Seed, Text
from snnpipe.settings.schema import is_node, shown, value_problem

if TYPE_CHECKING:
    from snnpipe.protocols import SweepStore
    from snnpipe.trainer import Trainer
    from snnpipe.values.metric import MetricSpec

PARTS = {
    "data": "data",
    "model": "architecture",
    "training": "training",
    "conversion": "converter",
    "simulator": "simulator",
    "encoder": "encoder",
}
"""Config groups that hold one plugin each, and the trainer's name for it."""

_RunId = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=250, description="one word of A to z, 0 to 9, '_', '-' and '.'")
]
_SCALARS: dict[str, Any] = {
    "seed": Seed,
    "experiment_name": ExperimentName | None,
    "run_name": Text | None,
    "run_id": _RunId | None,
}
_GROUPS: dict[str, dict[str, Any]] = {
    "paths": {"mlruns": Text, "output_dir": Text},
    "sweep": {
        **{"resume": bool, "parent": Text | None, "durations": list[PositiveInt]},
        **{"jobs": PositiveInt | None, "keys": list[Text]},
    },
    "diagnosis": {"images": NonNegativeInt},
}
"""Groups that hold settings of snnpipe's own, and no plugin."""
_OF_FILES = "no key; a file of that group begins with the line '# @package _global_', and sets the keys of all"
_CHOSEN_WITH = {
    "training.regularizer": "training/regularizer",
    "training.neuron": "neuron@training.neuron",
    "conversion.neuron": "neuron",
    "neuron": "neuron",
}
_ENGINES: dict[str, dict[str, Any]] = {
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper": {"max_batch_size": PositiveInt | None},
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher": {
        "n_jobs": PositiveInt | Literal[-1],
        "prefer": Literal["processes", "threads"] | None,
        "require": None,
        "verbose": NonNegativeInt,
        "timeout": PositiveFloat | None,
        "pre_dispatch": Annotated[str, Field(pattern=r"^(all|n_jobs|[1-9]\d*(\*n_jobs)?)$")],
        "batch_size": Annotated[str, Field(pattern=r"^(auto|[1-9]\d*)$")],
        "max_nbytes": Annotated[str, Field(pattern=r"^\d+[KMG]?$")] | None,
        "mmap_mode": Literal["r", "r+", "w+", "c"] | None,
    },
}
"""What settings of Hydra's own sweeper and launcher may be: it looks at their types only."""


def resolve(composed: DictConfig, output_dir: str | None = None) -> dict[str, Any]:
    """Return a composed configuration as plain data, interpolations resolved, output folder chosen.

    Parameters
    ----------
    composed
        As Hydra composed it.
    output_dir
        Folder for the run's files where the configuration names none; None makes a name.

    Raises
    ------
    ConfigError
        If a value is missing or an interpolation leads nowhere.
    """
    try:
        config: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: missing, and it has no default: give {error.full_key}=...") from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'configuration'}: {one_line(error).split(' full_key')[0]}") from error
    except RecursionError as error:
        circular = filter(None, (_circular(composed, key) for key in sorted(interpolated_keys(composed))))
        key = next(circular, "configuration")
        raise ConfigError(f"{key}: it takes its value from itself, by way of others") from error
    if type(config.get("run_id")) is int:  # a job's number on a cluster, which is a word like any other
        config["run_id"] = str(config["run_id"])
    paths = config.get("paths")
    if isinstance(paths, dict) and paths.get("output_dir") is None and isinstance(paths.get("mlruns"), str):
        folder = output_dir or str(new_folder(paths["mlruns"]))
        paths["output_dir"] = folder
        loggers = config.get("logger")
        for node in loggers.values() if isinstance(loggers, dict) else ():
            for key in ("folder", "spool"):
                if isinstance(node, dict) and node.get(key, "") is None:
                    node[key] = folder
    return config  # type: ignore[no-any-return]  # a configuration's root is a mapping


def _circular(composed: DictConfig, key: str) -> str | None:
    """Return a key if it takes its value from itself."""
    try:
        OmegaConf.select(composed, key)
    except RecursionError:
        return key
    except OmegaConfBaseException:
        pass
    return None


def interpolated_keys(composed: Any, prefix: str = "") -> set[str]:
    """Return the keys of a composed configuration that take their value from another key."""
    found: set[str] = set()
    for key in composed if OmegaConf.is_dict(composed) else ():
        if OmegaConf.is_interpolation(composed, key):
            found.add(f"{prefix}{key}")
        elif not OmegaConf.is_missing(composed, key) and OmegaConf.is_dict(composed[key]):
            found |= interpolated_keys(composed[key], f"{prefix}{key}.")
    return found


def check(
    config: Mapping[str, Any], interpolated: Collection[str] = (), *, trusted: Collection[str] | None = TRUSTED
) -> None:
    """Raise `ConfigError` with every mistake of a resolved configuration.

    Parameters
    ----------
    config
        As `resolve` returns it.
    interpolated
        Keys that take their value from another key: a mistake is told once, where it was made.
    trusted
        Packages whose classes it may name: those of a configuration that came with a run, or from elsewhere, are built
        from these alone. None for any, where it is the user's own, as on the command line.

    Raises
    ------
    ConfigError
        One problem per mistake, each beginning with its key.
    """
    _require_trusted(config, trusted)
    problems = _root_problems(config)
    for group in PARTS:
        node = config.get(group)
        if is_node(node):
            problems += node_problems(node, group)
        else:
            problems.append(
                f"{group}: got {shown(node)}: needs a _target_ to build; choose a config of the group {group}="
            )
    problems += value_problems(config.get("neuron"), "neuron", Neuron | dict[str, Neuron])
    for group in COLLECTIONS:
        problems += _collection_problems(config.get(group), group)
    for key, choice in _CHOSEN_WITH.items():
        problems = [f"{p}; choose one with {choice}=" if p.startswith(f"{key}: got ") else p for p in problems]
    if not problems:
        problems += _cross_problems(config)
    if problems:
        at_source = [p for p in problems if not _is_under(p.partition(": ")[0], interpolated)]
        raise ConfigError(*dict.fromkeys(at_source or problems))


def chosen_experiment() -> dict[str, str]:
    """Return the experiment file that this command line chose, as a tag; empty where it chose none."""
    chosen = HydraConfig.get().runtime.choices.get("experiment")
    return {"experiment": str(chosen)} if chosen else {}


def check_sweep(composed: DictConfig) -> None:
    """Raise `ConfigError` with every mistake of a multi-run's own: in its settings, folders, sweeper and launcher.

    What its jobs are told is checked job by job. Of Hydra's own engines, domains are known as far as they stand here.
    """
    hydra = composed.hydra
    problems = _settings_problems(_plain(composed, "sweep"), "sweep", _GROUPS["sweep"], "; choose a sweep with sweep=")
    problems += _folder_problems(hydra)
    for name in ("sweeper", "launcher"):
        key = f"hydra.{name}"
        node = _plain(composed, key)
        if not isinstance(node, dict):
            problems.append(f"{key}: got {shown(node)}: takes a config; choose one with hydra/{name}=")
            continue
        target = str(node.get("_target_"))
        if target.startswith("hydra_plugins.snnpipe."):
            problems += node_problems(node, key)
        for setting, domain in _ENGINES.get(target, {}).items():
            if problem := value_problem(f"{key}.{setting}", node.get(setting), domain):
                problems.append(problem)
    if not problems:
        problems += [*_unreadable_values(hydra), *_empty_ranges(hydra)]
    if problems:
        raise ConfigError(*problems)


def _plain(composed: DictConfig, key: str) -> Any:
    """Return a node of a composed configuration as plain data, interpolations resolved."""
    try:
        node = OmegaConf.select(composed, key)
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or key}: {one_line(error).split(' full_key')[0]}") from error


def _folder_problems(hydra: DictConfig) -> list[str]:
    """Return what is wrong with the folders of a multi-run's jobs: each has its own, in that of the multi-run."""
    subdir = str(OmegaConf.to_container(hydra.sweep, resolve=False)["subdir"])  # type: ignore[call-overload, index]
    if re.search(r"\$\{hydra\.job\.(num|id)\}", subdir) and not {"/", "\\"} & set(subdir):
        return []
    wants = "each job needs a folder of its own in hydra.sweep.dir: give a name with ${hydra.job.num} in it"
    return [f"hydra.sweep.subdir: got {shown(subdir)}: {wants}"]


def _unreadable_values(hydra: DictConfig) -> list[str]:
    """Return what a sweeper is to go through that is not written as values of an override are."""
    problems = []
    for key, value in (hydra.sweeper.get("params") or {}).items():
        try:
            OverridesParser.create().parse_override(f"{key}={'null' if value is None else value}")
        except HydraException:
            cure = "takes values as an override has them: 1,2 or range(1,5)"
            problems.append(f"hydra.sweeper.params.{key}: got {shown(value)}: {cure}")
    return problems


def _empty_ranges(hydra: DictConfig) -> list[str]:
    """Return the overrides that sweep over no value at all, so that there would be no job."""
    parsed = OverridesParser.create().parse_overrides(OmegaConf.to_container(hydra.overrides.task, resolve=False))
    return [
        f"{o.get_key_element()}: got {(o.input_line or '').partition('=')[2]}: there is no value in that range"
        for o in parsed
        if o.is_range_sweep() and next(o.sweep_iterator(), None) is None
    ]


def _is_under(key: str, parents: Collection[str]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _require_trusted(config: Mapping[str, Any], trusted: Collection[str] | None) -> None:
    if trusted is not None and (problems := list(foreign_parts(config, trusted))):
        raise ConfigError(*problems)


def _root_problems(config: Mapping[str, Any]) -> list[str]:
    known = {*_SCALARS, *PARTS, *_GROUPS, *COLLECTIONS, "neuron"}
    inside = flatten({key: node for key, node in config.items() if isinstance(node, Mapping)})
    unknown = {key: f"no such key; {did_you_mean(str(key), known, inside)}" for key in config if key not in known}
    unknown |= dict.fromkeys(unknown.keys() & {"experiment", "debug", "local"}, _OF_FILES)
    problems = [f"{key}: {why}" for key, why in unknown.items()]
    for key, annotation in _SCALARS.items():
        if problem := value_problem(key, config.get(key), annotation):
            problems.append(problem)
    for group, settings in _GROUPS.items():
        hint = "; choose a sweep with sweep=" if group == "sweep" else ""
        problems += _settings_problems(config.get(group), group, settings, hint)
    return problems


def _settings_problems(node: Any, group: str, known: Mapping[str, Any], hint: str = "") -> list[str]:
    """Return the mistakes of a group that holds settings of snnpipe's own, and no plugin."""
    if not isinstance(node, Mapping):
        return [f"{group}: got {shown(node)}: set {' or '.join(f'{group}.{key}' for key in known)}{hint}"]
    problems = [f"{group}.{key}: missing: it takes {', '.join(known)}" for key in known if key not in node]
    for key, value in node.items():
        if key not in known:
            why = _OF_FILES if key == "hydra" else f"no such key; {did_you_mean(str(key), known)}"
            problems.append(f"{group}.{key}: {why}")
        elif problem := value_problem(f"{group}.{key}", value, known[key]):
            problems.append(problem)
    return problems


def _collection_problems(nodes: Any, group: str) -> list[str]:
    """Return the mistakes of a group that holds any number of plugins by name; null is none."""
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


def _cross_problems(config: Mapping[str, Any]) -> list[str]:
    """Return where keys that are right by themselves do not fit each other."""
    problems = []
    simulator, encoder = config["simulator"], config["encoder"]
    steps, window = simulator.get("n_steps"), simulator.get("readout_steps")
    if simulator.get("readout") == "mean" and steps and window and window > steps:
        problems.append(
            f"simulator.readout_steps: got {window}, which is more than simulator.n_steps={steps}: "
            "the mean can take at most all steps"
        )
    data = config["data"]
    for name, node in (config.get("callbacks") or {}).items():
        monitored = str(node.get("monitor", "")) if isinstance(node, Mapping) else ""
        if monitored.startswith("fit/val_") and data.get("validation_share") == 0 and not data.get("validation_split"):
            problems.append(
                f"callbacks.{name}.monitor: got {monitored!r}, but no images are held out for validation: set "
                "data.validation_share, or monitor fit/loss"
            )
    if "dt" in encoder and "dt" in simulator and encoder["dt"] != simulator["dt"]:
        problems.append(
            f"encoder.dt: got {encoder['dt']}, and simulator.dt is {simulator['dt']}: they must be the same"
        )
    return problems


def build(
    config: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    parent: str | None = None,
    durations: Sequence[int] = (),
    command: str = "",
    resumed: str | None = None,
    trusted: Collection[str] | None = TRUSTED,
) -> "Trainer":
    """Return the trainer of a checked configuration.

    Parameters
    ----------
    config
        As `resolve` returns it.
    tags, parent, durations
        Of a job of a multi-run.
    command
        That has the run again.
    resumed
        Id of an earlier run to go on with.
    trusted
        As for `check`.

    Raises
    ------
    UserError
        If a part refuses its settings.
    """
    from snnpipe.trainer import Trainer

    _require_trusted(config, trusted)
    parts = {name: build_node(config[group], group) for group, name in PARTS.items()}
    return Trainer(
        **parts,
        callbacks=_build_collection(config.get("callbacks"), "callbacks"),
        loggers=_build_collection(config.get("logger"), "logger"),
        metrics=_build_collection(config.get("metrics"), "metrics"),
        diagnosed_images=config["diagnosis"]["images"],
        seed=config["seed"],
        output_dir=config["paths"]["output_dir"],
        name=config.get("run_name"),
        config=config,
        tags=tags,
        parent=parent,
        durations=durations,
        command=command,
        resumed=resumed,
    )


def _build_collection(nodes: Mapping[str, Any] | None, group: str) -> list[Any]:
    """Return the plugins of a group that holds any number of them."""
    return [build_node(node, f"{group}.{name}") for name, node in (nodes or {}).items() if isinstance(node, Mapping)]


def metric_specs(composed: DictConfig) -> "Sequence[MetricSpec]":
    """Return what describes the metrics that a multi-run's configuration names.

    Raises
    ------
    ConfigError
        If one cannot be built, or is no metric.
    """
    from snnpipe.metrics.measurements import require_metrics

    nodes = _plain(composed, "metrics")
    if problems := _collection_problems(nodes, "metrics"):
        raise ConfigError(*problems)
    return require_metrics(_build_collection(nodes, "metrics"))


def build_sweep_store(composed: DictConfig) -> "SweepStore | None":
    """Return the first logger of a composed configuration that keeps the runs of a multi-run, if one does.

    Raises
    ------
    ConfigError
        If it cannot be built.
    """
    loggers: Any = OmegaConf.to_container(composed.logger, resolve=True) if composed.get("logger") else {}
    for name, node in loggers.items():
        if isinstance(node, Mapping) and hasattr(locate(node.get("_target_")), "start_sweep"):
            if problems := node_problems(node, f"logger.{name}"):
                raise ConfigError(*problems)
            store: SweepStore = build_node(node, f"logger.{name}")
            return store
    return None
