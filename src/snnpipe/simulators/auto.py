"""The choice of the cheaper of the two fast simulators, from the spike density of the first images."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from snnpipe.base.errors import SimulationError
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.protocols import OpenSimulator
from snnpipe.settings.domains import PositiveInt
from snnpipe.simulators.base import FastSimulator, require_limits
from snnpipe.simulators.clock_driven.simulator import TILE_NEURONS, ClockDrivenSimulator
from snnpipe.simulators.event_driven.simulator import EventDrivenSimulator, OpenEventDriven
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import SimulationChunk, Stimulus

_SAMPLE_IMAGES = 8
_SAMPLE_STEPS = 50  # of an input that changes

# Nanoseconds on one core of an AMD EPYC, fitted to 24 networks and densities (1 to 50 %). Only their ratios matter.
_EVENT_UPDATE = 1.3  # per neuron and step
_EVENT_SPIKE = 0.95
_EVENT_ADD = 0.022  # per weight that a spike adds
_CLOCK_UPDATE = 1.2
_CLOCK_MAC = 0.025
_CLOCK_STEP = 65_000.0  # TensorFlow's own cost of a step, shared by the images of a part
_CLOCK_START = 0.4e9  # building and compiling the loop, shared by all images where their number is known


@dataclass(frozen=True)
class AutoSimulator(FastSimulator):
    """Take the event-driven simulator if spikes are few, and the clock-driven one if they are many.

    The event-driven simulator runs the first images. Their spikes and the network's size give an estimate of the cost
    of both simulators. With few images (``max_images``), compiling the clock-driven one counts too. The choice depends
    on the network, the images, the settings and the presence of a GPU, and never on a clock. The clock-driven simulator
    runs networks that the event-driven one cannot, and NengoDL runs networks that neither can. The other parameters are
    those of `SimulationSettings`.

    Parameters
    ----------
    threads
        Number of cores for the event-driven simulator; None for all cores that this process may use.
    """

    threads: PositiveInt | None = None

    def open(self, network: SpikingNetwork, constant_input: bool = True) -> "OpenAuto":
        """Open the first simulator that can run the network: event-driven, clock-driven, NengoDL."""
        return OpenAuto(network, self, constant_input)


class OpenAuto:
    """A network whose simulator is chosen when the first batch is seen."""

    def __init__(self, network: SpikingNetwork, settings: AutoSimulator, constant_input: bool):
        require_limits(network, settings.dt)
        self._network = network
        self._settings = settings
        self._resources = ExitStack()
        self._chosen: OpenSimulator | None = None
        self._why = ""
        shared = settings.shared
        self._clock = ClockDrivenSimulator(**shared)
        self._candidate: OpenSimulator | None = None
        refusals = []
        for simulator in (EventDrivenSimulator(**shared, threads=settings.threads), self._clock, settings.reference()):
            try:
                self._candidate = simulator.open(network, constant_input)
                break
            except SimulationError as refusal:
                refusals.append(str(refusal).removeprefix("simulator=").partition(": take ")[0])
        if refusals:
            self._why = refusals[-1]

    @property
    def used(self) -> str:
        """The simulator that was chosen, and the reason."""
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
        """Simulate a batch. The first batch decides which simulator runs."""
        if self._chosen is None:
            assert self._candidate is not None, "NengoDL takes every network"
            chosen = self._candidate
            if isinstance(chosen, OpenEventDriven) and not self._events_are_cheaper(chosen, stimulus):
                chosen = self._clock.open(self._network, stimulus.encoder.constant)
            self._chosen, self._candidate = self._resources.enter_context(chosen), None
        return self._chosen.run(stimulus)

    def _events_are_cheaper(self, events: OpenEventDriven, stimulus: Stimulus) -> bool:
        network, settings, constant = self._network, self._settings, stimulus.encoder.constant
        if import_tensorflow().config.list_physical_devices("GPU"):
            self._why = "there is a GPU"
            return False
        if not network.dense_macs:
            self._why = "what its layers outside Nengo's objects cost at each step is not known"
            return True
        n = min(_SAMPLE_IMAGES, len(stimulus))
        sample = replace(stimulus, images=stimulus.images[:n], image_ids=list(stimulus.image_ids)[:n], record=())
        spikes = dict.fromkeys((layer.name for layer in network.layers), 0.0)
        with events:
            for chunk in events.run(sample):
                for name, activity in chunk.layers.items():
                    # several spikes of a neuron in one step are one event
                    events_bn = np.minimum(activity.counts_bn, chunk.outputs_btc.shape[1])
                    spikes[name] += float(events_bn.sum(dtype=np.float64))
        steps = n * settings.n_steps
        per_step: dict[str | None, float] = {name: count / steps for name, count in spikes.items()}
        neurons = sum(layer.size for layer in network.layers)
        density = 100 * sum(per_step.values()) / neurons
        macs = network.dense_macs
        if constant:
            macs -= network.first_layer_macs
        else:
            shown = sample.steps(0, min(settings.n_steps, _SAMPLE_STEPS))
            per_step[None] = np.count_nonzero(shown) / (n * shown.shape[1])
        weights = events.adds_per_spike(constant)
        adds = sum(count * weights.get(name, 0.0) for name, count in per_step.items())
        by_events = _EVENT_UPDATE * neurons + _EVENT_SPIKE * sum(per_step.values()) + _EVENT_ADD * adds
        part = min(settings.batch_size, max(1, TILE_NEURONS // neurons))
        by_clock = _CLOCK_UPDATE * neurons + _CLOCK_MAC * macs + _CLOCK_STEP / part
        few = settings.max_images
        start = 0.0 if few is None else _CLOCK_START / (few * settings.n_steps)
        self._why = (
            f"at {density:.2g} spikes a step per 100 neurons, following them takes about {by_events / by_clock:.2g} "
            "times as long as computing every neuron"
        )
        if by_clock < by_events <= by_clock + start:
            self._why += f", which would have to be compiled first, for {few:,} samples"
        return by_events <= by_clock + start
