"""The reference: the network in NengoDL's own simulator, in chunks of steps with carried state."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from snnpipe.compat import import_nengo_dl, without_build_notes
from snnpipe.schema import check_fields
from snnpipe.types import (
    LayerActivity,
    NeuronLayer,
    PositiveInt,
    SimulationChunk,
    SimulationSettings,
    SpikeEvents,
    SpikingNetwork,
    Stimulus,
)

_CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class NengoDLSimulator(SimulationSettings):
    """Run the network as NengoDL does. Other parameters as for `SimulationSettings`.

    Parameters
    ----------
    chunk_steps
        Steps simulated at a time, which bounds memory; None takes as many as fit 256 MiB. The result
        does not depend on it.
    """

    chunk_steps: PositiveInt | None = None

    def __post_init__(self) -> None:
        check_fields(self, "simulator")

    def open(self, network: SpikingNetwork) -> "OpenNengoDL":
        """Build the network's simulator."""
        return OpenNengoDL(network, self)


class OpenNengoDL:
    """A network loaded in NengoDL's simulator, one batch size for all batches."""

    def __init__(self, network: SpikingNetwork, settings: NengoDLSimulator):
        self._network = network
        self._settings = settings
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        nengo_dl = import_nengo_dl()
        import nengo

        network, settings = self._network.network, self._settings
        with network:
            self._spikes = {layer.name: nengo.Probe(layer.neurons) for layer in self._network.layers}
        for probe in self._spikes.values():  # the network is left as it was found
            self._resources.callback(network.probes.remove, probe)
        with without_build_notes():
            simulator = nengo_dl.Simulator(
                network, dt=settings.dt, minibatch_size=settings.batch_size, progress_bar=False
            )
        self._simulator = self._resources.enter_context(simulator)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()

    def run(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        """Simulate a batch from the network's initial state; a short batch is padded and cut again."""
        settings, real = self._settings, len(stimulus)
        self._simulator.reset(include_trainable=False, include_probes=False, include_processes=False)
        chunk_steps = min(settings.n_steps, settings.chunk_steps or self._default_chunk_steps())
        for first in range(0, settings.n_steps, chunk_steps):
            n_steps = min(chunk_steps, settings.n_steps - first)
            signal = stimulus.steps(first, n_steps)
            padding = [(0, settings.batch_size - real), (0, 0), (0, 0)]
            if real < settings.batch_size:
                signal = np.pad(signal, padding)
            probed = self._simulator.predict_on_batch({self._network.input: signal}, n_steps=n_steps, stateful=True)
            spikes = {
                layer.name: self._in_spikes(probed[self._spikes[layer.name]][:real], layer)
                for layer in self._network.layers
            }
            output_layer = self._network.output_layer
            yield SimulationChunk(
                first_step=first,
                outputs_btc=probed[self._network.output][:real],
                layers={
                    name: LayerActivity(counts.sum(axis=1), _events(counts, stimulus, first))
                    for name, counts in spikes.items()
                },
                output_spikes_btc=None if output_layer is None else spikes[output_layer],
            )

    def _in_spikes(self, output_btn: np.ndarray, layer: NeuronLayer) -> np.ndarray:
        """Return spikes per step from a neuron's output, amplitude / dt a spike; for a rate neuron, rate times dt."""
        amplitude = getattr(layer.neuron_type, "amplitude", 1.0)
        counts = output_btn * (self._settings.dt / amplitude)
        return np.rint(counts) if layer.spiking else counts

    def _default_chunk_steps(self) -> int:
        values = sum(layer.size for layer in self._network.layers) + self._network.input.size_out
        return int(max(1, _CHUNK_BYTES // (8 * values * self._settings.batch_size)))


def _events(counts_btn: np.ndarray, stimulus: Stimulus, first_step: int) -> SpikeEvents:
    rows = list(stimulus.record)
    row, step, neuron = np.nonzero(counts_btn[rows])
    ids = np.asarray([stimulus.image_ids[r] for r in rows], np.int32)
    count = counts_btn[rows][row, step, neuron]
    return SpikeEvents(
        ids[row] if rows else row.astype(np.int32),
        (step + first_step).astype(np.int32),
        neuron.astype(np.int32),
        np.rint(count).astype(np.int32),
    )
