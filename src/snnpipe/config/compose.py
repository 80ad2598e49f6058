"""Conversion of a composed configuration to plain data, with interpolations resolved and an output folder chosen."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from snnpipe.base.errors import ConfigError, one_line
from snnpipe.base.files import new_folder


def resolve(composed: DictConfig, output_dir: str | None = None) -> dict[str, Any]:
    """Return a composed configuration as plain data, with interpolations resolved and an output folder chosen.

    Parameters
    ----------
    composed
        Configuration, as Hydra composed it.
    output_dir
        Folder of the run's files if the configuration names none. If this is None too, a new name is made.

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
    if type(config.get("run_id")) is int:  # a job's number on a cluster is a valid id, but Hydra reads an int
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
    return config  # type: ignore[no-any-return]  # the root of a configuration is a mapping


def plain(composed: DictConfig, key: str) -> Any:
    """Return a node of a composed configuration as plain data, with interpolations resolved."""
    try:
        node = OmegaConf.select(composed, key)
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or key}: {one_line(error).split(' full_key')[0]}") from error


def _circular(composed: DictConfig, key: str) -> str | None:
    """Return a key that takes its value from itself; None if there is none."""
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


def chosen_experiment() -> dict[str, str]:
    """Return the experiment file that this command line chose, as a tag; empty if it chose none."""
    chosen = HydraConfig.get().runtime.choices.get("experiment")
    return {"experiment": str(chosen)} if chosen else {}
