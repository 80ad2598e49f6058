"""The event-driven simulator: a kernel compiled by Numba follows the spikes, on all cores.

Axes: b = image of the batch, t = step, n = neuron, c = class.
"""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from snnpipe.base.cores import cores
from snnpipe.settings.domains import PositiveInt
from snnpipe.simulators.base import FastSimulator, equation, filtered, output_filter, require_layers
from snnpipe.simulators.chunks import chunks
from snnpipe.simulators.event_driven.compiled import aligned
from snnpipe.simulators.event_driven.kernel import is_compiled, run_images
from snnpipe.simulators.event_driven.layout import IMAGE, OUTPUT, STILL, SUMS, Program, Workspace
from snnpipe.simulators.event_driven.memory import Reused
from snnpipe.simulators.event_driven.program import Compiled, compile_program
from snnpipe.simulators.graph_of import build_graph
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import LayerActivity, SimulationChunk, SpikeEvents, Stimulus

_BLOCK_STEPS = 64
_EVENT_BYTES = 64 * 2**20
"""Memory for the events of one thread, if every neuron spikes in every step."""


@dataclass(frozen=True)
class EventDrivenSimulator(FastSimulator):
    """Run the network by following its spikes. The other parameters are those of `SimulationSettings`.

    Parameters
    ----------
    threads
        Number of cores; None for all cores that this process may use. The result does not depend on it.
    """

    threads: PositiveInt | None = None

    def open(self, network: SpikingNetwork, constant_input: bool = True) -> "OpenEventDriven":
        """Lay the network out for the kernel.

        Raises
        ------
        SimulationError
            If the network cannot be read as layers, or has a layer, a neuron type or a synapse that only another
            simulator can run. The message names it.
        """
        return OpenEventDriven(network, self, constant_input)


class OpenEventDriven:
    """A network laid out as rows of weights."""

    used = "event_driven"

    def __init__(self, network: SpikingNetwork, settings: EventDrivenSimulator, constant_input: bool):
        require_layers(network, "event_driven")
        self._network = network
        self._settings = settings
        self._graph = build_graph(
            network,
            settings.precision,
            current_factor=lambda layer: equation(layer, settings.dt).current_factor,
            spike_unit=lambda layer: layer.spike_unit(settings.dt),
        )
        self._compiled: dict[bool, Compiled] = {}
        self._spare: dict[bool, list[Workspace]] = {True: [], False: []}
        self._counts = Reused(np.float32)
        self._threads = settings.threads or cores()
        self._output_filter = output_filter(network, settings.dt)
        self._program(constant_input)

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="snnpipe-events")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._counts.clear()
        for workspaces in self._spare.values():
            workspaces.clear()

    def adds_per_spike(self, constant_input: bool) -> dict[str | None, float]:
        """Return the mean number of weights that a spike of each layer adds; a changing input has the key None."""
        return dict(self._program(constant_input).adds_per_spike)

    def run(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        """Simulate a batch from the network's initial state."""
        return filtered(self._chunks(stimulus), self._output_filter)

    def _chunks(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        compiled = self._program(stimulus.encoder.constant)
        spans = list(chunks(self._settings, stimulus))
        images = self._images(stimulus)
        base = self._base(compiled, images, len(stimulus))
        program = compiled.program
        carried = len(spans) > 1
        n_state = program.voltage.size + program.refractory.size + int(program.buffer_at[-1])
        state_bn = np.empty((len(stimulus) if carried else 0, n_state), self._settings.precision)
        if not is_compiled():
            said = "snnpipe: compiling the event-driven simulator for this machine, which is done once"
            tqdm.write(said, file=sys.stderr)
        for first, n_steps in spans:
            yield self._chunk(compiled, stimulus, images, base, state_bn, first, n_steps)

    def _program(self, constant: bool) -> Compiled:
        if constant not in self._compiled:
            self._compiled[constant] = compile_program(
                self._graph, constant, self._settings.precision, self._settings.dt, self._settings.n_steps
            )
        return self._compiled[constant]

    def _images(self, stimulus: Stimulus) -> NDArray[Any]:
        """Return the images of a constant input, shape ``(b, n)``; n is 0 for a changing one."""
        if not stimulus.encoder.constant:
            return _read_only(np.empty((len(stimulus), 0), self._settings.precision))
        images = stimulus.still().reshape(len(stimulus), -1)
        return _read_only(np.ascontiguousarray(images, self._settings.precision))

    def _base(self, compiled: Compiled, images_bn: NDArray[Any], b: int) -> NDArray[Any]:
        """Return the currents of a constant input that TensorFlow has to compute, shape ``(b, n)``."""
        graph = self._graph
        if not compiled.seen:
            return _read_only(np.empty((b, 0), self._settings.precision))
        images = images_bn.reshape(b, *graph.shapes[graph.image])
        if b == 1:  # TensorFlow's kernels for one image round differently
            images = np.repeat(images, 2, axis=0)
        known = {op.output: np.zeros((len(images), *graph.shapes[op.output]), images.dtype) for op in graph.sources}
        values = graph.evaluate(known | {graph.image: images}, [tensor for tensor, _ in compiled.seen])
        parts = [
            _times(np.asarray(value).reshape(len(images), -1)[:b], factor)
            for value, (_, factor) in zip(values, compiled.seen, strict=True)
        ]
        return _read_only(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))

    def _chunk(
        self,
        compiled: Compiled,
        stimulus: Stimulus,
        images_bn: NDArray[Any],
        base_bn: NDArray[Any],
        state_bn: NDArray[Any],
        first: int,
        n_steps: int,
    ) -> SimulationChunk:
        network, b, precision = self._network, len(stimulus), self._settings.precision
        program, sizes = compiled.program, {layer.name: layer.size for layer in network.layers}
        n_classes = int(program.size[-1])
        output_btc = np.zeros((b, n_steps, n_classes), precision)
        spikes_btc = np.zeros((b, n_steps, n_classes if compiled.output_layer >= 0 else 0), np.float32)
        counts_bn = self._counts.zeros(b, program.voltage.size)
        signal_btn = np.zeros((b, n_steps, 0), precision)
        if not stimulus.encoder.constant:
            signal_btn = np.ascontiguousarray(stimulus.steps(first, n_steps), precision)
        block, spare = self._block_steps(program), self._spare[stimulus.encoder.constant]

        def run(
            rows: Sequence[int] | NDArray[np.int64], t: int, n: int, state: NDArray[Any], harvest: bool = False
        ) -> dict[str, SpikeEvents]:
            try:
                workspace = spare.pop()
            except IndexError:
                workspace = _workspace(program, block)
            run_images(
                program,
                workspace,
                block,
                base_bn,
                images_bn,
                signal_btn,
                state,
                first,
                t,
                n,
                np.asarray(rows, np.int64),
                output_btc,
                compiled.output_layer,
                spikes_btc,
                counts_bn,
            )
            events = {}
            if harvest:
                for name, number in compiled.layers.items():
                    events[name] = _events(workspace, number, stimulus.image_ids[rows[0]], first + t, n)
            spare.append(workspace)
            return events

        def record(row: int) -> list[dict[str, SpikeEvents]]:
            # a recorded image runs block by block, so that the events of each block can be copied
            state = state_bn if len(state_bn) else np.empty((row + 1, state_bn.shape[1]), precision)
            return [run([row], t, min(block, n_steps - t), state, harvest=True) for t in range(0, n_steps, block)]

        others = np.setdiff1d(np.arange(b), stimulus.record)
        tasks = np.array_split(others, min(len(others), 4 * self._threads)) if len(others) else []
        recorded = [self._pool.submit(record, row) for row in stimulus.record]
        _finish([*recorded, *(self._pool.submit(run, rows, 0, n_steps, state_bn) for rows in tasks)])
        events = [of_block for done in recorded for of_block in done.result()]
        layers = {}
        for name, number in compiled.layers.items():
            here = slice(int(program.first[number]), int(program.first[number]) + sizes[name])
            layers[name] = LayerActivity(
                counts_bn[:, here], SpikeEvents.concatenate([of_block[name] for of_block in events])
            )
        return SimulationChunk(
            first_step=first,
            outputs_btc=output_btc,
            layers=layers,
            output_spikes_btc=spikes_btc if compiled.output_layer >= 0 else None,
        )

    def _block_steps(self, program: Program) -> int:
        bytes_per_step = int(_event_sizes(program).sum()) * (4 + np.dtype(self._settings.precision).itemsize)
        return max(1, min(_BLOCK_STEPS, self._settings.n_steps, _EVENT_BYTES // bytes_per_step))


def _finish(tasks: Sequence[Future[Any]]) -> None:
    """Wait for all tasks. If one fails, the tasks that have not begun are cancelled."""
    try:
        for task in tasks:
            task.result()
    except BaseException:
        for task in tasks:
            task.cancel()
        wait(tasks)
        raise


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view that cannot be written to: for arrays of both kinds, Numba would compile the kernel twice."""
    array = array.view()
    array.setflags(write=False)
    return array


def _times(values: NDArray[Any], factor: float) -> NDArray[Any]:
    return values if factor == 1 else values * values.dtype.type(factor)


def _event_sizes(program: Program) -> NDArray[np.int64]:
    """Return the highest number of events of each layer in a step."""
    return np.where(program.kind >= OUTPUT, 0, program.size)


def _workspace(program: Program, block: int) -> Workspace:
    dtype = program.weights.dtype
    sizes = _event_sizes(program) * np.where(program.kind == IMAGE, 1, block) + 8  # `collect` overwrites up to 7 more
    widest = int(program.size.max(initial=1))
    line = (widest + 7) // 8 * 8
    words = np.zeros(line // 8, np.uint64)
    without_connections = (program.connections[1:] == program.connections[:-1]) & (program.kind < SUMS)
    without_connections &= program.kind > IMAGE
    still = int(program.size[without_connections].max(initial=0))
    n_inputs = int(program.n_inputs.max(initial=0))
    sum_words = np.zeros((n_inputs + 7) // 8, np.uint64)
    return Workspace(
        voltage=aligned(program.voltage),
        refractory=np.empty_like(program.refractory),
        currents=aligned(np.zeros(int(program.buffer_at[-1]), dtype)),
        event_neuron=np.empty(int(sizes.sum()), np.int32),
        event_count=np.empty(int(sizes.sum()), dtype),
        events_at=np.concatenate([[0], np.cumsum(sizes)[:-1]]),
        events=np.zeros((len(sizes), block + 1), np.int64),
        shown=np.empty((1, int(program.size[program.kind == STILL].sum())), dtype),
        flags=words.view(np.uint8),
        words=words,
        current=np.empty(line, dtype),
        now=np.empty(line, dtype),
        touched=np.empty(line, np.int64),
        active=np.empty(still, np.int32),
        active_current=np.empty(still, dtype),
        active_voltage=np.empty(still, dtype),
        active_refractory=np.empty(still, dtype),
        found_step=np.empty(still * block, np.int32),
        found_neuron=np.empty(still * block, np.int32),
        found_count=np.empty(still * block, dtype),
        row=np.empty(max(n_inputs, widest), np.int32),
        sums=np.zeros(n_inputs, dtype),
        sum_flags=sum_words.view(np.uint8),
        sum_words=sum_words,
        input=np.empty(max(n_inputs, widest) + 8, np.int32),
        input_count=np.empty(max(n_inputs, widest), dtype),
    )


def _events(workspace: Workspace, layer: int, image_id: int, first: int, n_steps: int) -> SpikeEvents:
    """Return a layer's events of a block of steps."""
    at = workspace.events[layer, : n_steps + 1]
    here = slice(int(at[0]), int(at[-1]))
    neuron = workspace.event_neuron[here].copy()
    return SpikeEvents(
        np.full(len(neuron), image_id, np.int32),
        np.repeat(np.arange(first, first + n_steps, dtype=np.int32), np.diff(at)),
        neuron,
        np.rint(workspace.event_count[here]).astype(np.int32),
    )
