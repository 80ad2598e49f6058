"""The reference: NengoDL's own simulator, which is called step by step and keeps its state in between.

Axes: b = image of the batch, t = step, n = neuron, c = class.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import SimulationError
from snnpipe.frameworks.compat import import_nengo_dl, import_tensorflow, without_build_notes
from snnpipe.neurons.amplitude import amplitude_of
from snnpipe.neurons.choice import neurons_for
from snnpipe.simulators.chunks import chunks
from snnpipe.synapses import NO_SYNAPSE
from snnpipe.values.network import NeuronLayer, SpikingNetwork
from snnpipe.values.simulation import LayerActivity, Rates, SimulationChunk, SimulationSettings, SpikeEvents, Stimulus


@dataclass(frozen=True)
class NengoDLSimulator(SimulationSettings):
    """Run the network in NengoDL. It is slow, and is the reference that every other simulator is compared with."""

    def open(self, network: SpikingNetwork, constant_input: bool = True) -> "OpenNengoDL":
        """Build the network's simulator."""
        return OpenNengoDL(network, self)

    def reference(self) -> "NengoDLSimulator":
        """Return this simulator, which is the reference."""
        return self

    def rates(self, network: SpikingNetwork, images: NDArray[np.float32]) -> Rates:
        """Return the outputs of a converted network with rates in place of spikes, computed by NengoDL.

        Quantised rectifiers have no rate neurons. With them, NumPy and TensorFlow compute the rates.
        """
        if any(own.levels for own in network.rectifiers.values()):
            from snnpipe.simulators.graph_of import graph_rates

            return graph_rates(network, images, self.dt)
        once = replace(self, n_steps=1, batch_size=len(images), chunk_steps=None)
        stimulus = Stimulus(images, range(len(images)), _Shown())
        with _with_rates(network) as of_rates, once.open(of_rates) as opened:
            (chunk,) = opened.run(stimulus)
        layers = {
            layer.name: chunk.layers[layer.name].counts_bn * layer.spike_unit(self.dt) for layer in of_rates.layers
        }
        return Rates(layers, chunk.outputs_btc[:, 0])


class _Shown:
    """Encoder that shows images unchanged."""

    constant: ClassVar[bool] = True

    def encode(
        self, images: NDArray[np.float32], image_ids: Sequence[int], first_step: int, n_steps: int
    ) -> NDArray[np.float32]:
        return np.broadcast_to(images.reshape(len(images), 1, -1), (len(images), n_steps, images[0].size))


@contextmanager
def _with_rates(network: SpikingNetwork) -> Iterator[SpikingNetwork]:
    """Yield a converted network with rate neurons for its model's rectifiers and without filters."""
    with ExitStack() as undo:
        layers = []
        for layer in network.layers:
            neurons, _ = neurons_for(network.rectifiers[layer.name], None, layer.scale_firing_rates)
            ensemble = layer.neurons.ensemble
            undo.callback(setattr, ensemble, "neuron_type", ensemble.neuron_type)
            ensemble.neuron_type = neurons
            layers.append(replace(layer, neuron_type=neurons, synapse=NO_SYNAPSE, initial_state={}))
        for filtering in (*network.network.all_connections, *network.network.all_probes):
            undo.callback(setattr, filtering, "synapse", filtering.synapse)
            filtering.synapse = None
        yield replace(network, layers=tuple(layers), output_synapse=NO_SYNAPSE)


class OpenNengoDL:
    """A network loaded in NengoDL's simulator, with one batch size for all batches.

    After a batch has failed, the simulator is built again for at most as many images as the next batch has.
    """

    used = "nengo_dl"

    def __init__(self, network: SpikingNetwork, settings: SimulationSettings):
        self._network = network
        self._settings = settings
        self._batch_size = settings.batch_size
        self._simulator: Any = None
        self._built, self._probes = ExitStack(), ExitStack()

    def __enter__(self) -> Self:
        nengo_dl = import_nengo_dl()
        import nengo

        network = self._network.network
        with network:
            nengo_dl.configure_settings(dtype=self._settings.precision)
            self._spikes = {layer.name: nengo.Probe(layer.neurons) for layer in self._network.layers}
        for probe in self._spikes.values():  # removes the probes from the network at the end
            self._probes.callback(network.probes.remove, probe)
        with suppress(MemoryError, import_tensorflow().errors.ResourceExhaustedError):  # a smaller batch may fit
            self._build()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._built.close()
        self._probes.close()

    def _build(self) -> None:
        with without_build_notes():
            simulator = import_nengo_dl().Simulator(
                self._network.network, dt=self._settings.dt, minibatch_size=self._batch_size, progress_bar=False
            )
        # the simulator's own context is not entered: it would have to be left before contexts that were entered earlier
        self._built.callback(simulator.close)
        self._simulator = simulator

    def run(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        """Simulate a batch from the network's initial state. A short batch is padded, and its results are cut.

        Only one run can be under way at a time, because the simulator holds the state.

        Raises
        ------
        SimulationError
            If the batch has more images than the batch size that the simulator was built for.
        """
        if self._simulator is None:
            self._batch_size = min(self._batch_size, len(stimulus))
            self._build()
        if len(stimulus) > self._batch_size:
            raise SimulationError(
                f"simulator=nengo_dl was built for {self._batch_size} samples at once and got {len(stimulus)}: "
                "raise simulator.batch_size"
            )
        try:
            self._simulator.reset(include_trainable=False, include_probes=False, include_processes=False)
            for first, n_steps in chunks(self._settings, stimulus):
                yield self._chunk(stimulus, first, n_steps)
        except Exception:
            self._simulator = None
            self._built.close()
            raise

    def _chunk(self, stimulus: Stimulus, first: int, n_steps: int) -> SimulationChunk:
        network, b = self._network, len(stimulus)
        signal_btn = stimulus.steps(first, n_steps)
        counts = {layer.name: np.zeros((b, layer.size), np.float32) for layer in network.layers}
        signed = {layer.name: np.zeros((b, layer.size), np.float32) for layer in network.layers if layer.signed}
        events = {layer.name: _EventRecorder(stimulus) for layer in network.layers}
        outputs, output_spikes = [], []
        for t in range(n_steps):
            probed = self._step(signal_btn[:, t : t + 1])
            outputs.append(probed[network.output][:b, 0])
            for layer in network.layers:
                spikes_bn = self._in_spikes(probed[self._spikes[layer.name]][:b, 0], layer)
                counts[layer.name] += np.abs(spikes_bn) if layer.signed else spikes_bn
                if layer.signed:
                    signed[layer.name] += spikes_bn
                if layer.spiking:
                    events[layer.name].add(first + t, spikes_bn)
                if layer.name == network.output_layer:
                    output_spikes.append(spikes_bn)
        return SimulationChunk(
            first_step=first,
            outputs_btc=np.stack(outputs, axis=1),
            layers={name: LayerActivity(counts[name], events[name].events(), signed.get(name)) for name in counts},
            output_spikes_btc=np.stack(output_spikes, axis=1) if output_spikes else None,
        )

    def _step(self, signal_b1n: NDArray[np.float32]) -> dict[Any, NDArray[np.floating[Any]]]:
        padding = self._batch_size - len(signal_b1n)
        signal = np.pad(signal_b1n, [(0, padding), (0, 0), (0, 0)])
        probed: dict[Any, NDArray[np.floating[Any]]] = self._simulator.predict_on_batch(
            {self._network.input: signal}, n_steps=1, stateful=True
        )
        return probed

    def _in_spikes(self, output_bn: NDArray[np.floating[Any]], layer: NeuronLayer) -> NDArray[np.floating[Any]]:
        """Return spikes per step from outputs of amplitude / dt per spike; for rate neurons, the rate times dt."""
        counts = output_bn * (self._settings.dt / amplitude_of(layer.neuron_type))
        return np.rint(counts) if layer.spiking else counts


class _EventRecorder:
    """Collects the spikes of one layer for a stimulus's recorded images, step by step."""

    def __init__(self, stimulus: Stimulus):
        self._rows = list(stimulus.record)
        self._ids = np.asarray([stimulus.image_ids[row] for row in self._rows], np.int32)
        self._parts: list[SpikeEvents] = []

    def add(self, step: int, spikes_bn: NDArray[np.floating[Any]]) -> None:
        """Keep the recorded images' spikes of one step, out of those of all images of the batch."""
        if self._rows:
            spikes = spikes_bn[self._rows]
            row, neuron = np.nonzero(spikes)
            self._parts.append(
                SpikeEvents(
                    self._ids[row],
                    np.full(len(row), step, np.int32),
                    neuron.astype(np.int32),
                    np.rint(spikes[row, neuron]).astype(np.int32),
                )
            )

    def events(self) -> SpikeEvents:
        """Return the collected spikes."""
        return SpikeEvents.concatenate(self._parts)
