"""The cheaper of the two fast simulators, by how densely the first images spike."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import Self

import numpy as np

from snnpipe.compat import import_tensorflow
from snnpipe.errors import SimulationError
from snnpipe.protocols import OpenSimulator
from snnpipe.simulators.base import BuiltInSimulator
from snnpipe.simulators.clock_driven import TILE_NEURONS, ClockDrivenSimulator
from snnpipe.simulators.event_driven import EventDrivenSimulator, OpenEventDriven
from snnpipe.types import PositiveInt, SimulationChunk, SimulationSettings, SpikingNetwork, Stimulus

_SAMPLE_IMAGES = 8

# Nanoseconds of one core, fitted to docs/benchmarks.md: only their ratios matter.
_EVENT_UPDATE = 0.45  # a neuron in a step
_EVENT_SPIKE = 10.0
_EVENT_ADD = 0.05  # a weight that a spike adds
_CLOCK_UPDATE = 0.9
_CLOCK_MAC = 0.014
_CLOCK_STEP = 180_000.0  # TensorFlow's own cost of a step, shared by the images of a part


@dataclass(frozen=True)
class AutoSimulator(BuiltInSimulator):
    """Take the event-driven simulator where spikes are few, the clock-driven one where they are many.

    The first images are simulated by events; their spikes and the network's size give an estimate of what
    either simulator costs. The choice depends on the network and the images alone, never on a clock. What
    neither knows runs in NengoDL. Other parameters as for `SimulationSettings`.

    Parameters
    ----------
    threads
        Cores for the event-driven simulator; None for all that this process may use.
    """

    threads: PositiveInt | None = None

    def open(self, network: SpikingNetwork) -> "OpenAuto":
        """Find out which simulators know the network."""
        return OpenAuto(network, self)


class OpenAuto:
    """A network whose simulator is chosen when the first batch is seen."""

    def __init__(self, network: SpikingNetwork, settings: AutoSimulator):
        self._network = network
        self._settings = settings
        self._resources = ExitStack()
        self._chosen: OpenSimulator | None = None
        self._why = ""
        shared = {f.name: getattr(settings, f.name) for f in fields(SimulationSettings)}
        self._clock = ClockDrivenSimulator(**shared)
        self._candidate: OpenSimulator | None = None
        refusals = []
        for simulator in (EventDrivenSimulator(**shared, threads=settings.threads), self._clock, settings.reference()):
            try:
                self._candidate = simulator.open(network)
                break
            except SimulationError as refusal:
                refusals.append(str(refusal).removeprefix("simulator=").partition(": take ")[0])
        if refusals:
            self._why = refusals[-1]

    @property
    def used(self) -> str:
        """The simulator that was chosen, and why."""
        if self._chosen is None:
            return "auto"
        return f"{self._chosen.used} (auto: {self._why})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def run(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        """Simulate a batch; the first one decides by which simulator."""
        if self._chosen is None:
            assert self._candidate is not None, "NengoDL takes every network"
            chosen = self._resources.enter_context(self._candidate)
            if isinstance(chosen, OpenEventDriven):
                chosen = self._by_density(chosen, stimulus)
            self._chosen = chosen
        return self._chosen.run(stimulus)

    def _by_density(self, events: OpenEventDriven, stimulus: Stimulus) -> OpenSimulator:
        network = self._network
        if import_tensorflow().config.list_physical_devices("GPU"):
            self._why = "there is a GPU"
            return self._resources.enter_context(self._clock.open(network))
        n = min(_SAMPLE_IMAGES, len(stimulus))
        sample = replace(stimulus, images=stimulus.images[:n], image_ids=list(stimulus.image_ids)[:n], record=())
        spikes = dict.fromkeys((layer.name for layer in network.layers), 0.0)
        for chunk in events.run(sample):
            for name, activity in chunk.layers.items():
                # several spikes of a neuron in a step are one event
                events_bn = np.minimum(activity.counts_bn, chunk.outputs_btc.shape[1])
                spikes[name] += float(events_bn.sum(dtype=np.float64))
        steps = n * self._settings.n_steps
        neurons = sum(layer.size for layer in network.layers)
        total = sum(spikes.values()) / steps
        adds = sum(spikes[name] * weights for name, weights in events.adds_per_spike().items()) / steps
        by_events = _EVENT_UPDATE * neurons + _EVENT_SPIKE * total + _EVENT_ADD * adds
        part = min(len(stimulus), max(1, TILE_NEURONS // neurons))
        macs = network.dense_macs - network.first_layer_macs
        by_clock = _CLOCK_UPDATE * neurons + _CLOCK_MAC * macs + _CLOCK_STEP / part
        density = 100 * total / neurons
        ratio = by_events / by_clock
        self._why = f"{density:.2g} spikes a step per 100 neurons, {ratio:.2g} x clock_driven's cost"
        return events if ratio <= 1 else self._resources.enter_context(self._clock.open(network))
