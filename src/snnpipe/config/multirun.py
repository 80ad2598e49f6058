"""The settings of a multi-run: its sweeper, its launcher and its folders."""

import re
from typing import Annotated, Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from snnpipe.base.errors import ConfigError
from snnpipe.config.check import SETTINGS, settings_problems
from snnpipe.config.compose import plain
from snnpipe.config.targets import node_problems
from snnpipe.settings.domains import NonNegativeInt, PositiveFloat, PositiveInt
from snnpipe.settings.schema import shown, value_problem

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
"""Domains of the settings of Hydra's own sweeper and launcher. Hydra checks their types only."""


def check_sweep(composed: DictConfig) -> None:
    """Raise `ConfigError` with every mistake of a multi-run itself: in its settings, folders, sweeper and launcher.

    The settings of the jobs are checked job by job. ``_ENGINES`` holds the domains of Hydra's own engines.
    """
    hydra = composed.hydra
    problems = settings_problems(plain(composed, "sweep"), "sweep", SETTINGS["sweep"])
    problems += _folder_problems(hydra)
    for name in ("sweeper", "launcher"):
        key = f"hydra.{name}"
        node = plain(composed, key)
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


def _folder_problems(hydra: DictConfig) -> list[str]:
    """Return the mistakes in the folders of the jobs. Each job needs its own folder in that of the multi-run."""
    subdir = str(OmegaConf.to_container(hydra.sweep, resolve=False)["subdir"])  # type: ignore[call-overload, index]
    if re.search(r"\$\{hydra\.job\.(num|id)\}", subdir) and not {"/", "\\"} & set(subdir):
        return []
    wants = "each job needs a folder of its own in hydra.sweep.dir: give a name with ${hydra.job.num} in it"
    return [f"hydra.sweep.subdir: got {shown(subdir)}: {wants}"]


def _unreadable_values(hydra: DictConfig) -> list[str]:
    """Return the values of a sweeper that do not follow the syntax of overrides."""
    problems = []
    for key, value in (hydra.sweeper.get("params") or {}).items():
        try:
            OverridesParser.create().parse_override(f"key={value if isinstance(value, str) else 'null'}")
        except HydraException:
            cure = "takes values as an override has them: 1,2 or range(1,5)"
            problems.append(f"hydra.sweeper.params.{key}: got {shown(value)}: {cure}")
    return problems


def _empty_ranges(hydra: DictConfig) -> list[str]:
    """Return the overrides that sweep over an empty range, because there would be no job."""
    parsed = OverridesParser.create().parse_overrides(OmegaConf.to_container(hydra.overrides.task, resolve=False))
    return [
        f"{o.get_key_element()}: got {(o.input_line or '').partition('=')[2]}: there is no value in that range"
        for o in parsed
        if o.is_range_sweep() and next(o.sweep_iterator(), None) is None
    ]
