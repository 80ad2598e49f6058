"""The metric plugins of a run, which measure the simulated test images for each duration.

Axes: b = image of the batch, t = simulation step, c = class.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from snnpipe.base.errors import ConfigError, SimulationError
from snnpipe.metrics.catalogue import CATALOGUE, built_in
from snnpipe.protocols import Metric, Simulator
from snnpipe.settings.domains import is_whole
from snnpipe.values.metric import MetricSpec, is_number, name_problem, spec_of
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.run import SimulatedBatch
from snnpipe.values.simulation import SpikeEvents


def require_metrics(metrics: Sequence[Metric]) -> tuple[MetricSpec, ...]:
    """Return the specs of some metrics.

    Raises
    ------
    ConfigError
        If one of them is not a metric, or logs a name that another metric or snnpipe itself logs.
    """
    problems = [problem for problem in map(_problem, metrics) if problem] or list(_clashes(metrics))
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return tuple(spec for metric in metrics for spec in metric.specs)


def _problem(metric: Any) -> str:
    """Return why an object is not a metric, with the cure; empty if it is one."""
    if isinstance(metric, type):
        return f"metrics: got the class {metric.__name__}: give an object of it, made with ()"
    kind = type(metric).__name__
    if not isinstance(metric, Metric):
        return f"metrics: {kind} is no metric: give it what snnpipe.protocols.Metric says"
    specs: Any = metric.specs
    if not isinstance(specs, (list, tuple)) or not specs or not all(isinstance(spec, MetricSpec) for spec in specs):
        return f"metrics: {kind}.specs: got {_shown(specs)}: give a list of snnpipe.MetricSpec, one or more"
    images = getattr(metric, "sample_images", 0)
    if images is not None and (not is_whole(images) or images < 0):
        return f"metrics: {kind}.sample_images: got {images!r}: give a whole number, or None for all images"
    every_step = getattr(metric, "every_step", False)
    if not isinstance(every_step, bool):
        return f"metrics: {kind}.every_step: got {every_step!r}: give True for chunks of one step, or False"
    prepare = getattr(metric, "prepare", print)
    if not callable(prepare):
        return f"metrics: {kind}.prepare: got {_shown(prepare)}: give a method that takes a SimulatedBatch"
    return ""


def _clashes(metrics: Sequence[Metric]) -> Iterator[str]:
    """Yield a problem for each name that snnpipe or another metric logs too."""
    taken = [(spec, "snnpipe") for spec in CATALOGUE]
    for metric in metrics:
        kind = type(metric).__name__
        for spec in metric.specs:
            owner = next((owner for other, owner in taken if spec.overlaps(other)), None)
            if owner is not None:
                yield f"metrics: {kind}: {spec.name!r} is logged by {owner} already: give it another name"
            taken.append((spec, kind))


def require_own(name: str, value: float, step: int | None, specs: Sequence[MetricSpec]) -> float:
    """Return a number that a callback logs, after checking it.

    Raises
    ------
    ConfigError
        If the name is not valid or is logged by snnpipe or a metric, the value is not a finite number, or the step is
        not a whole number of 0 or more.
    """
    if cure := name_problem(name):
        raise ConfigError(f"log_metric: got the name {name!r}: {cure}")
    if built_in(name) is not None or spec_of(name, specs) is not None:
        owner = "snnpipe" if built_in(name) is not None else "a metric of the run"
        raise ConfigError(f"log_metric: {name!r} is logged by {owner} already: give it another name")
    if not is_number(value):
        raise ConfigError(f"log_metric: got {name}={_shown(value)}: give one finite number")
    if step is not None and (not is_whole(step) or step < 0):
        raise ConfigError(f"log_metric: got step={step!r} of {name}: give a whole number of 0 or more, or None")
    return float(value)


class Measurements:
    """The values of a run's metric plugins, as if each duration had been simulated by itself.

    Each duration has a copy of each metric, which gets the steps of that duration only. The longest duration has the
    metrics themselves.

    Parameters
    ----------
    metrics
        Metric plugins of the run.
    network
        Network that is simulated.
    simulator
        Simulator's settings, with the longest duration.
    durations
        Numbers of steps, in ascending order. A simulation's chunks end at each of them.
    """

    def __init__(
        self, metrics: Sequence[Metric], network: SpikingNetwork, simulator: Simulator, durations: Sequence[int]
    ):
        self._by_duration = {n_steps: [deepcopy(metric) for metric in metrics] for n_steps in durations[:-1]}
        self._by_duration[durations[-1]] = list(metrics)
        for n_steps, copies in self._by_duration.items():
            for metric in copies:
                settings: Any = simulator.with_settings(n_steps=n_steps)
                metric.start(network, settings)

    def __bool__(self) -> bool:
        """Whether there is any metric."""
        return bool(self._all)

    @property
    def _all(self) -> list[Metric]:
        return [metric for metrics in self._by_duration.values() for metric in metrics]

    def sample_images(self, n_images: int) -> int:
        """Return the number of first images whose single spikes the metrics need; ``n_images`` stands for all."""
        wanted = [getattr(metric, "sample_images", 0) for metric in self._all]
        return max((n_images if images is None else images for images in wanted), default=0)

    @property
    def every_step(self) -> bool:
        """Whether a metric needs chunks of one step."""
        return any(getattr(metric, "every_step", False) for metric in self._all)

    def prepare(self, batch: SimulatedBatch) -> None:
        """Give a simulated batch of validation images to every metric that is prepared with them."""
        scores_only = replace(batch, events={}, chunks=())
        for n_steps, metrics in self._by_duration.items():
            for metric in metrics:
                if hasattr(metric, "prepare"):
                    metric.prepare(replace(scores_only, scores_btc=batch.scores_btc[:, :n_steps]))

    def add(self, batch: SimulatedBatch) -> None:
        """Give every metric a batch that has been simulated to the end, with its chunks.

        Raises
        ------
        SimulationError
            If a metric needs chunks of one step, and the simulator has given others.
        """
        longest = batch.scores_btc.shape[1]
        if self.every_step and len(batch.chunks) != longest:
            raise SimulationError(
                f"metrics: every_step needs chunks of one step, and {longest} steps came as {len(batch.chunks)}: "
                "let the simulator keep to its chunk_steps"
            )
        for n_steps, metrics in self._by_duration.items():
            shown = batch if n_steps == longest else _until(batch, n_steps)
            for metric in metrics:
                images = getattr(metric, "sample_images", 0)
                metric.add(shown if images is None else _with_spikes_of(shown, images))

    def values(self, n_steps: int | None = None) -> dict[str, float]:
        """Return the values for one of the durations (None: the longest), by name.

        Raises
        ------
        SimulationError
            If a metric returns a value that is not a finite number, or a name that its specs lack.
        """
        values: dict[str, float] = {}
        for metric in self._by_duration[max(self._by_duration) if n_steps is None else n_steps]:
            values |= checked_values(metric)
        return values


def prepared(metrics: Sequence[Metric]) -> tuple[str, ...]:
    """Return the names of the classes of those metrics that are prepared with validation images."""
    return tuple(type(metric).__name__ for metric in metrics if hasattr(metric, "prepare"))


def checked_values(metric: Metric) -> dict[str, float]:
    """Return the values of a metric, after checking them.

    Raises
    ------
    SimulationError
        If the metric returns a value that is not a finite number, or a name that its specs lack.
    """
    kind, values = type(metric).__name__, metric.values()
    if not isinstance(values, Mapping):
        raise SimulationError(
            f"metrics: {kind}.values() gave {_shown(values)}: it must return numbers by name, as a dict"
        )
    for name, value in values.items():
        if not isinstance(name, str) or name.endswith("*") or spec_of(name, metric.specs) is None:
            raise SimulationError(
                f"metrics: {kind}.values() gave {name!r}, which its specs lack: add a MetricSpec for it"
            )
        if not is_number(value):
            raise SimulationError(
                f"metrics: {kind}.values() gave {name}={_shown(value)}: give one finite number, or leave the name out "
                "where there is no value"
            )
    return {name: float(value) for name, value in values.items()}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__} {text[:50]}..."


def _until(batch: SimulatedBatch, n_steps: int) -> SimulatedBatch:
    """Return a batch cut to its first steps."""
    chunks = [chunk for chunk in batch.chunks if chunk.first_step < n_steps]
    events = {name: SpikeEvents.concatenate([chunk.layers[name].events for chunk in chunks]) for name in batch.events}
    return replace(batch, scores_btc=batch.scores_btc[:, :n_steps], events=events, chunks=chunks)


def _with_spikes_of(batch: SimulatedBatch, images: int) -> SimulatedBatch:
    """Return a batch with the single spikes of the first test images only; other plugins may need more of them."""
    if all(image_id < images for image_id in batch.image_ids) or not any(map(len, batch.events.values())):
        return batch
    chunks = [
        replace(chunk, layers={n: replace(a, events=_first(a.events, images)) for n, a in chunk.layers.items()})
        for chunk in batch.chunks
    ]
    return replace(batch, events={n: _first(e, images) for n, e in batch.events.items()}, chunks=chunks)


def _first(events: SpikeEvents, images: int) -> SpikeEvents:
    """Return the events of the first test images."""
    mine = events.image < images
    return SpikeEvents(events.image[mine], events.step[mine], events.neuron[mine], events.count[mine])
