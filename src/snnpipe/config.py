"""From a composed configuration to a trainer: check all of it, then build the parts.

What a plugin's node may hold is what its constructor takes (`snnpipe.schema`). All mistakes are
reported at once, before TensorFlow is imported.
"""

import importlib
import inspect
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import Field

from snnpipe.errors import ConfigError, SnnPipeError, UserError, did_you_mean, one_line
from snnpipe.models.function import FunctionArchitecture
from snnpipe.schema import call_problems, value_problem
from snnpipe.types import NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from snnpipe.protocols import SweepStore
    from snnpipe.trainer import Trainer

PARTS = {
    "data": "data",
    "model": "architecture",
    "training": "training",
    "conversion": "converter",
    "simulator": "simulator",
    "encoder": "encoder",
}
"""Config groups that hold one plugin each, and the trainer's name for it."""

_RunId = Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=250)]
_SCALARS: dict[str, Any] = {
    "seed": NonNegativeInt,
    "experiment_name": str,
    "run_name": str | None,
    "run_id": _RunId | None,
}
_PATHS = {"mlruns", "output_dir"}
_SWEEP: dict[str, Any] = {"resume": bool, "parent": str | None, "durations": list[PositiveInt]}
_DIAGNOSIS: dict[str, Any] = {"images": NonNegativeInt}
_CHOSEN_WITH = {
    ("training", "regularizer"): "training/regularizer",
    ("training", "neuron"): "neuron@training.neuron",
    ("conversion", "neuron"): "neuron",
}
_MAX_SEED = 2**31 - 1 - 10**6  # NengoDL and tf.data add to it and hold it in 32 bits


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
    paths = config.get("paths")
    if isinstance(paths, dict) and paths.get("output_dir") is None and isinstance(paths.get("mlruns"), str):
        unique = f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(3)}"
        folder = output_dir or str(Path(paths["mlruns"]) / "outputs" / unique)
        paths["output_dir"] = folder
        for node in (config.get("logger") or {}).values():
            for key in ("folder", "spool"):
                if isinstance(node, dict) and node.get(key, "") is None:
                    node[key] = folder
    return config  # type: ignore[no-any-return]  # a configuration's root is a mapping


def interpolated_keys(composed: Any, prefix: str = "") -> set[str]:
    """Return the keys of a composed configuration that take their value from another key."""
    found: set[str] = set()
    for key in composed if OmegaConf.is_dict(composed) else ():
        if OmegaConf.is_interpolation(composed, key):
            found.add(f"{prefix}{key}")
        elif not OmegaConf.is_missing(composed, key) and OmegaConf.is_dict(composed[key]):
            found |= interpolated_keys(composed[key], f"{prefix}{key}.")
    return found


def check(config: Mapping[str, Any], interpolated: Collection[str] = ()) -> None:
    """Raise `ConfigError` with every mistake of a resolved configuration.

    Parameters
    ----------
    config
        As `resolve` returns it.
    interpolated
        Keys that take their value from another key: a mistake is told once, where it was made.

    Raises
    ------
    ConfigError
        One problem per mistake, each beginning with its key.
    """
    problems = _root_problems(config)
    for group in PARTS:
        node = config.get(group)
        if not isinstance(node, Mapping) or "_target_" not in node:
            problems.append(f"{group}: got {node!r}: needs a _target_ to build; choose a config of the group {group}=")
        else:
            problems += _node_problems(node, group)
    problems += _node_problems(config.get("neuron"), "neuron")
    for group in ("callbacks", "logger"):
        problems += _collection_problems(config.get(group), group)
    for (group, key), choice in _CHOSEN_WITH.items():
        value = (config.get(group) or {}).get(key)
        if value is not None and not isinstance(value, Mapping):
            problems.append(f"{group}.{key}: got {value!r}: takes a config; choose one with {choice}=")
    if not problems:
        problems += _cross_problems(config)
    if problems:
        at_source = [p for p in problems if not _is_under(p.partition(": ")[0], interpolated)]
        raise ConfigError(*dict.fromkeys(at_source or problems))


def chosen_experiment() -> dict[str, str]:
    """Return the experiment file that this command line chose, as a tag; empty where it chose none."""
    chosen = HydraConfig.get().runtime.choices.get("experiment")
    return {"experiment": str(chosen)} if chosen else {}


def check_engines(hydra: DictConfig) -> None:
    """Raise `ConfigError` with every mistake in Hydra's sweeper and launcher, where those are snnpipe's."""
    problems = []
    for name in ("sweeper", "launcher"):
        node: Any = OmegaConf.to_container(hydra[name], resolve=True)
        if str(node.get("_target_")).startswith("hydra_plugins.snnpipe."):
            problems += _node_problems(node, f"hydra.{name}")
    if problems:
        raise ConfigError(*problems)


def _is_under(key: str, parents: Collection[str]) -> bool:
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def _root_problems(config: Mapping[str, Any]) -> list[str]:
    known = {*_SCALARS, *PARTS, "neuron", "callbacks", "logger", "diagnosis", "paths", "sweep"}
    problems = [f"{key}: no such key; {did_you_mean(str(key), known)}" for key in config if key not in known]
    for key, annotation in _SCALARS.items():
        if problem := value_problem(key, config.get(key), annotation):
            problems.append(problem)
    if isinstance(config.get("seed"), int) and config["seed"] > _MAX_SEED:
        problems.append(f"seed: got {config['seed']}: should be less than or equal to {_MAX_SEED}")
    if config.get("experiment_name") == "":
        problems.append("experiment_name: got '': should not be empty")
    problems += _settings_problems(config.get("sweep"), "sweep", _SWEEP, "; choose a sweep with sweep=")
    problems += _settings_problems(config.get("diagnosis"), "diagnosis", _DIAGNOSIS)
    paths = config.get("paths")
    if not isinstance(paths, Mapping):
        return [*problems, f"paths: got {paths!r}: takes {', '.join(sorted(_PATHS))}"]
    problems += [f"paths.{key}: no such key; {did_you_mean(str(key), _PATHS)}" for key in paths if key not in _PATHS]
    for key in sorted(_PATHS):
        if not isinstance(paths.get(key), str) or not paths[key]:
            problems.append(f"paths.{key}: got {paths.get(key)!r}: should be the path of a folder")
    return problems


def _settings_problems(node: Any, group: str, known: Mapping[str, Any], hint: str = "") -> list[str]:
    """Return the mistakes of a group that holds settings of snnpipe's own, and no plugin."""
    if not isinstance(node, Mapping):
        return [f"{group}: got {node!r}: takes {', '.join(known)}{hint}"]
    problems = []
    for key, value in node.items():
        if key not in known:
            problems.append(f"{group}.{key}: no such key; {did_you_mean(str(key), known)}")
        elif problem := value_problem(f"{group}.{key}", value, known[key]):
            problems.append(problem)
    return problems


def _collection_problems(nodes: Any, group: str) -> list[str]:
    """Return the mistakes of a group that holds any number of plugins by name; null is none."""
    if nodes is not None and not isinstance(nodes, Mapping):
        return [f"{group}: got {nodes!r}: takes plugins by name; choose a config with {group}="]
    problems = []
    for name, node in (nodes or {}).items():
        if (group, name) == ("logger", "tracking_uri"):
            if problem := value_problem("logger.tracking_uri", node, str | None):
                problems.append(problem)
        elif node is not None and not (isinstance(node, Mapping) and "_target_" in node):
            known = "; choose callbacks=early_stopping first" if name == "early_stopping" else ""
            problems.append(
                f"{group}.{name}: got {node!r}: no such {group.rstrip('s')}, and no _target_ to build{known}"
            )
        else:
            problems += _node_problems(node, f"{group}.{name}")
    return problems


def _node_problems(node: Any, key: str) -> list[str]:
    """Return the mistakes of a node and of the nodes in it."""
    if isinstance(node, list):
        return [problem for i, item in enumerate(node) for problem in _node_problems(item, f"{key}[{i}]")]
    if not isinstance(node, Mapping):
        return []
    problems = []
    if "_target_" in node:
        values = {k: v for k, v in node.items() if not (k.startswith("_") and k.endswith("_"))}
        try:
            target = _locate(node["_target_"])
        except ConfigError as error:
            return [f"{key}._target_: {error}"]
        problems += call_problems(target, values, key, given=_given(target, key))
    for name, value in node.items():
        problems += _node_problems(value, f"{key}.{name}")
    return problems


def _given(target: Callable[..., Any], key: str) -> list[str]:
    """Return the arguments that a plugin gets from elsewhere: of a function that builds a model, the first."""
    if key == "model" and inspect.isfunction(target):
        return list(inspect.signature(target).parameters)[:1]
    return []


def _locate(path: Any) -> Callable[..., Any]:
    """Return the class or function of a dotted path, importing the module it is in."""
    if not isinstance(path, str) or "." not in path:
        raise ConfigError(f"got {path!r}: takes the dotted path of a class or function")
    module, _, name = path.rpartition(".")
    owners: list[str] = []
    while module:
        try:
            found: Any = importlib.import_module(module)
            break
        except ModuleNotFoundError as error:
            if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
                raise ConfigError(f"got {path!r}: importing {module} failed: {one_line(error)}") from error
            module, _, owner = module.rpartition(".")
            owners.insert(0, owner)
    else:
        raise ConfigError(f"got {path!r}: there is no module {path.split('.')[0]!r} here; is its package installed?")
    try:
        for attribute in (*owners, name):
            found = getattr(found, attribute)
    except AttributeError:
        names = [n for n, v in vars(found).items() if callable(v) and not n.startswith("_")]
        raise ConfigError(
            f"got {path!r}: {attribute!r} is not in {found.__name__}; {did_you_mean(name, names)}"
        ) from None
    if not (inspect.isclass(found) or callable(found)):
        raise ConfigError(f"got {path!r}: that is no class or function")
    return found  # type: ignore[no-any-return]


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

    Raises
    ------
    UserError
        If a part refuses its settings.
    """
    from snnpipe.trainer import Trainer

    parts = {name: _instantiate(config[group], group) for group, name in PARTS.items()}
    loggers = [
        _instantiate(node, f"logger.{name}")
        for name, node in (config.get("logger") or {}).items()
        if isinstance(node, Mapping)
    ]
    callbacks = [
        _instantiate(node, f"callbacks.{name}")
        for name, node in (config.get("callbacks") or {}).items()
        if isinstance(node, Mapping)
    ]
    return Trainer(
        **parts,
        callbacks=callbacks,
        loggers=loggers,
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


def build_sweep_store(composed: DictConfig) -> "SweepStore | None":
    """Return the first logger of a composed configuration that keeps the runs of a multi-run, if one does.

    Raises
    ------
    ConfigError
        If it cannot be built.
    """
    loggers: Any = OmegaConf.to_container(composed.logger, resolve=True) if composed.get("logger") else {}
    for name, node in loggers.items():
        if isinstance(node, Mapping) and hasattr(_locate(node.get("_target_")), "start_sweep"):
            if problems := _node_problems(node, f"logger.{name}"):
                raise ConfigError(*problems)
            store: SweepStore = _instantiate(node, f"logger.{name}")
            return store
    return None


def _instantiate(node: Mapping[str, Any], key: str) -> Any:
    if "neuron" in str(node):  # Nengo's neuron types are built with the part that holds them
        from snnpipe.compat import import_tensorflow

        import_tensorflow()
    try:
        if _given(_locate(node["_target_"]), key):
            return FunctionArchitecture(instantiate(dict(node), _partial_=True, _convert_="all"))
        return instantiate(dict(node), _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, SnnPipeError):
            raise cause from None
        reason = one_line(cause) if cause is not None else one_line(error)
        raise UserError(f"{key}: {node['_target_']} does not take these settings: {reason}") from error
