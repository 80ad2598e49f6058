"""Multi-runs over the time that images are shown: each job simulates the longest duration and answers for all."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

KEY = "simulator.n_steps"
_CALIBRATION = "conversion.calibration"
_LIMIT = f"{_CALIBRATION}.max_error"
"""The one key of a calibration whose ``auto`` is not chosen by simulations."""
_WITHOUT = {f"{_CALIBRATION}.bias_correction": "false", f"{_CALIBRATION}.max_drop": "null"}
"""Keys with simulations for all values but one."""


def task_overrides(hydra: DictConfig) -> list[str]:
    """Return the overrides of a composed configuration as they were written, with their interpolations."""
    overrides: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return list(map(str, overrides))


def merge_durations(config: DictConfig) -> None:
    """Remove ``simulator.n_steps`` from the keys of a grid, so that each job answers for all of its values.

    A step does not depend on later steps, so the longest simulation contains all shorter ones. A grid stays as it is if
    another key takes its value from ``simulator.n_steps``, or if a calibration may: what it finds by simulating its
    samples is for one number of steps. It also stays as it is if a value is no duration: the check of the configuration
    then reports the mistake.

    Parameters
    ----------
    config
        Configuration of a multi-run, before its sweeper is made. The overrides are changed in place.
    """
    if not str(config.hydra.sweeper.get("_target_")).endswith(".BasicSweeper"):
        return
    if re.search(r"\$\{[^}]*\bn_steps\s*\}", OmegaConf.to_yaml(config)):
        return
    words = [*as_overrides(config.hydra.sweeper.get("params") or {}), *task_overrides(config.hydra)]
    overrides = OverridesParser.create().parse_overrides(words)
    swept = [override for override in overrides if override.key_or_group == KEY]
    durations = _durations(swept[-1]) if swept else []
    if len(durations) > 1 and not _calibrates_for_steps(config, overrides):
        kept = [word for word in task_overrides(config.hydra) if word.lstrip("+").partition("=")[0] != KEY]
        config.hydra.overrides.task = [*kept, f"{KEY}={durations[-1]}"]
        config.hydra.overrides.hydra.append(f"sweep.durations={durations[:-1]}")


def _calibrates_for_steps(config: DictConfig, overrides: Sequence[Override]) -> bool:
    """Whether a job may take settings from samples that it simulates for its number of steps."""
    swept = {o.key_or_group.lstrip("+"): o for o in overrides if o.is_sweep_override()}

    def possible(key: str) -> set[str]:
        if key not in swept:
            value = OmegaConf.select(config, key)
            return {"null" if value is None else str(value).lower()}
        listed = swept[key].is_discrete_sweep()
        return {value.lower() for value in swept[key].sweep_string_iterator()} if listed else {"a number"}

    if "conversion" in swept:
        return True
    if "auto" not in possible("conversion.scale_firing_rates"):
        return False
    keys = [f"{_CALIBRATION}.{name}" for name in OmegaConf.select(config, _CALIBRATION) or ()]
    chosen = [key for key in (*keys, "simulator.readout") if key != _LIMIT]
    return any("auto" in possible(key) for key in chosen) or any(
        possible(key) != {without} for key, without in _WITHOUT.items()
    )


def what_varies(config: DictConfig) -> tuple[list[str], int | None]:
    """Return the keys that a multi-run varies, and its number of jobs; None if the number is not known beforehand."""
    words = [*as_overrides(config.hydra.sweeper.get("params") or {}), *task_overrides(config.hydra)]
    latest = {o.get_key_element(): o for o in OverridesParser.create().parse_overrides(words)}
    swept = [override for override in latest.values() if override.is_sweep_override()]
    jobs: int | None = 1
    for override in swept:
        listed = override.is_choice_sweep() or override.is_range_sweep()
        jobs = jobs * sum(1 for _ in override.sweep_iterator()) if listed and jobs else None
    basic = str(config.hydra.sweeper.get("_target_")).endswith(".BasicSweeper")
    return [override.get_key_element().lstrip("+") for override in swept], jobs if basic else None


def as_overrides(params: Mapping[str, Any]) -> list[str]:
    """Return a sweeper's ``params`` as overrides."""
    return [f"{key}={'null' if value is None else value}" for key, value in params.items()]


def _durations(override: Override) -> Sequence[int]:
    """Return the numbers of steps that an override lists, in ascending order; none if a value is no number of steps."""
    if not override.is_discrete_sweep():
        return []
    values = list(override.sweep_string_iterator())
    return sorted({int(value) for value in values}) if all(v.isdecimal() and int(v) > 0 for v in values) else []
