"""Building of the parts that a checked configuration names."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from snnpipe.base.errors import ConfigError
from snnpipe.config.check import PARTS, collection_problems, require_trusted
from snnpipe.config.compose import plain
from snnpipe.config.targets import TRUSTED, build_node, locate, node_problems

if TYPE_CHECKING:
    from snnpipe.protocols import SweepStore
    from snnpipe.trainer import Trainer
    from snnpipe.values.metric import MetricSpec


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
        Configuration, as `snnpipe.config.compose.resolve` returns it.
    tags, parent, durations
        Tags, parent run and durations of a job of a multi-run.
    command
        Command that repeats the run.
    resumed
        Id of an earlier run to resume.
    trusted
        Trusted packages, as for `snnpipe.config.check.check`.

    Raises
    ------
    UserError
        If a part refuses its settings.
    """
    from snnpipe.trainer import Trainer

    require_trusted(config, trusted)
    parts = {name: build_node(config[group], group) for group, name in PARTS.items()}
    return Trainer(
        **parts,
        callbacks=_built(config, "callbacks"),
        loggers=_built(config, "logger"),
        metrics=_built(config, "metrics"),
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


def _built(config: Mapping[str, Any], group: str) -> list[Any]:
    """Return the plugins of a group that holds several of them by name."""
    nodes = (config.get(group) or {}).items()
    return [build_node(node, f"{group}.{name}") for name, node in nodes if isinstance(node, Mapping)]


def metric_specs(composed: DictConfig) -> "Sequence[MetricSpec]":
    """Return the specs of the metrics that the configuration of a multi-run names.

    Raises
    ------
    ConfigError
        If a metric cannot be built, or is no metric.
    """
    from snnpipe.metrics.measurements import require_metrics

    nodes = plain(composed, "metrics")
    if problems := collection_problems(nodes, "metrics"):
        raise ConfigError(*problems)
    return require_metrics(_built({"metrics": nodes}, "metrics"))


def build_sweep_store(composed: DictConfig) -> "SweepStore | None":
    """Return the first logger of a composed configuration that stores the runs of a multi-run; None without one.

    Raises
    ------
    ConfigError
        If the logger cannot be built.
    """
    loggers: Any = OmegaConf.to_container(composed.logger, resolve=True) if composed.get("logger") else {}
    for name, node in loggers.items():
        if isinstance(node, Mapping) and hasattr(locate(node.get("_target_")), "start_sweep"):
            if problems := node_problems(node, f"logger.{name}"):
                raise ConfigError(*problems)
            store: SweepStore = build_node(node, f"logger.{name}")
            return store
    return None
