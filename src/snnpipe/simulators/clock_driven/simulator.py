"""The clock-driven simulator: one compiled TensorFlow loop computes every neuron at every step, on CPU or GPU.

Axes: b = image of the batch, t = step, n = neuron, c = class. If k steps are merged into the batch, they are its outer
axis: ``(k * b, ...)``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import SimulationError
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.neurons.table import name_of, registered
from snnpipe.settings.domains import PositiveInt
from snnpipe.simulators.base import FastSimulator, filtered, output_filter, require_layers
from snnpipe.simulators.chunks import chunks
from snnpipe.simulators.clock_driven.loop import Loop, State, States
from snnpipe.simulators.clock_driven.parts import first_images, joined, part_of
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import LayerActivity, SimulationChunk, SpikeEvents, Stimulus

TILE_NEURONS = 600_000
"""Number of neurons that are simulated together on a CPU: the data of one step fits the second-level cache."""

_FEW_UPDATES = 400
"""Number of updates of a layer that take less time one by one than compiling: about half a second."""


@dataclass(frozen=True)
class ClockDrivenSimulator(FastSimulator):
    """Run every neuron at every step in TensorFlow. The other parameters are those of `SimulationSettings`.

    Parameters
    ----------
    merge_steps
        Number of consecutive steps that a layer computes as one batch before the next layer runs. 1 is fastest on a
        CPU; more steps need more memory and may fill a GPU better. Apart from rounding, spikes do not depend on it.
    xla
        Whether XLA compiles the steps into one program, which fuses the updates of the neurons. It is made for GPUs;
        compiling takes seconds for each number of steps in a chunk and each number of images. Batches whose spikes are
        recorded run without it. Apart from rounding, spikes do not depend on it; neurons that draw their spikes are
        refused, because XLA draws other ones.
    """

    merge_steps: PositiveInt = 1
    xla: bool = False

    def open(self, network: SpikingNetwork, constant_input: bool = True) -> "OpenClockDriven":
        """Compile the network.

        Raises
        ------
        SimulationError
            If the network has neurons or synapses that only NengoDL can run, or cannot be read as layers; with ``xla``,
            if neurons draw their spikes.
        """
        return OpenClockDriven(network, self)


class OpenClockDriven:
    """A network compiled for TensorFlow."""

    used = "clock_driven"

    def __init__(self, network: SpikingNetwork, settings: ClockDrivenSimulator):
        require_layers(network, "clock_driven")
        if settings.xla:
            _require_no_draws(network)
        self._settings = settings
        self._tf = import_tensorflow()
        self._gpus = _gpus(self._tf)
        self._strategy = self._tf.distribute.MirroredStrategy(self._gpus) if len(self._gpus) > 1 else None
        with self._strategy.scope() if self._strategy else nullcontext():
            self._loop = Loop(network, settings.dt, settings.precision, settings.xla)
        self._output_filter = output_filter(network, settings.dt)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.forget()

    def run(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        """Simulate a batch from the network's initial state, part by part."""
        return filtered(self._chunks(stimulus), self._output_filter)

    def _chunks(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        tf, settings = self._tf, self._settings
        rows_of_parts = self._rows(len(stimulus))
        parts = [part_of(stimulus, rows) for rows in rows_of_parts]
        constant = stimulus.encoder.constant
        states = [self._loop.initial_states(len(part)) for part in parts]
        still = [self._loop.still_values(self._images(p)) if constant else None for p in parts]
        rows = [(tf.constant(p.image_ids, tf.int64), tf.constant(p.record, tf.int32)) for p in parts]
        for first, n_steps in chunks(settings, stimulus):
            signals: list[Any] = [None if constant else self._signal(part, first, n_steps) for part in parts]
            recorded: list[list[Any]] = [[] for _ in parts]
            for done, k, blocks in _blocks(n_steps, settings.merge_steps):
                span = slice(done, done + k * blocks)
                arguments = [
                    (
                        tf.constant(first + done),
                        tf.constant(blocks),
                        still[i],
                        None if signals[i] is None else signals[i][span],
                        states[i],
                        *rows[i],
                    )
                    for i in range(len(parts))
                ]
                function = self._function(k, blocks, stimulus, len(parts))
                with self._explained():
                    results = self._on_devices(function, arguments)
                states = [result[0] for result in results]
                for of_part, result in zip(recorded, results, strict=True):
                    of_part.append(result[1:])
            yield joined(
                [
                    first_images(self._chunk(part, first, states[i], recorded[i]), len(rows_of_parts[i]))
                    for i, part in enumerate(parts)
                ]
            )
            states = [of_part.counted(tf) for of_part in states]

    def _function(self, k: int, blocks: int, stimulus: Stimulus, parts: int) -> Any:
        """Return the loop; compiled, unless these are all images and compiling would take longer than running them."""
        settings, record = self._settings, bool(stimulus.record)
        all_images = settings.max_images is not None and settings.max_images <= len(stimulus)
        few = settings.n_steps * parts * len(self._loop.layers) <= _FEW_UPDATES
        if all_images and few and not settings.xla and self._strategy is None:
            return self._loop.uncompiled(k, record)
        return self._loop.function(k, record, blocks)

    def _rows(self, images: int) -> list[NDArray[np.int64]]:
        """Return the rows of a batch's parts: one part per GPU; on a CPU, parts whose state fits the cache."""
        n = len(self._gpus)
        if not n:
            neurons = sum(layer.op.layer.size for layer in self._loop.layers)
            n = min(-(-images * neurons // TILE_NEURONS), max(1, images // 2))
        return [rows for rows in np.array_split(np.arange(images), n) if len(rows)]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what XLA cannot compile into a `SimulationError`."""
        errors = self._tf.errors
        try:
            yield
        except (errors.InvalidArgumentError, errors.UnimplementedError) as error:
            if not self._settings.xla:
                raise
            line = next((line.strip() for line in str(error).splitlines() if "supported" in line), str(error))
            raise SimulationError(
                f"simulator.xla=true: XLA cannot compile this network ({line[:200]}): take simulator.xla=false"
            ) from error

    def _on_devices(self, function: Any, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a function for each part: for one part after the other, or for each part on its own GPU."""
        if self._strategy is None or len(arguments) != self._strategy.num_replicas_in_sync:
            return [function(*of_part) for of_part in arguments]
        tf, strategy = self._tf, self._strategy
        flat = [tf.nest.flatten(of_part) for of_part in arguments]

        def of_replica(leaf: int) -> Any:
            if flat[0][leaf] is None:
                return None
            return strategy.experimental_distribute_values_from_function(
                lambda context: tf.convert_to_tensor(flat[context.replica_id_in_sync_group][leaf])
            )

        values = tf.nest.pack_sequence_as(arguments[0], [of_replica(leaf) for leaf in range(len(flat[0]))])
        results = strategy.run(function, args=values)
        replicas = len(arguments)
        leaves = [
            (None,) * replicas if leaf is None else strategy.experimental_local_results(leaf)
            for leaf in tf.nest.flatten(results)
        ]
        return [tf.nest.pack_sequence_as(results, [leaf[i] for leaf in leaves]) for i in range(replicas)]

    def _images(self, stimulus: Stimulus) -> Any:
        shape = (len(stimulus), *self._loop.graph.shapes[self._loop.graph.image])
        return self._tf.constant(stimulus.still().reshape(shape), self._settings.precision)

    def _signal(self, stimulus: Stimulus, first: int, n_steps: int) -> Any:
        """Return the input of a chunk, shape ``(t, b, ...)``, where ``...`` is an image's shape."""
        signal_btn = stimulus.steps(first, n_steps)
        shape = (n_steps, len(stimulus), *self._loop.graph.shapes[self._loop.graph.image])
        return self._tf.constant(signal_btn.transpose(1, 0, 2).reshape(shape), self._settings.precision)

    # ------------------------------------------------------------------ results

    def _chunk(self, stimulus: Stimulus, first: int, states: States, results: Sequence[Any]) -> SimulationChunk:
        def over_time(parts: Sequence[Any]) -> NDArray[Any]:
            return np.concatenate([part.numpy() for part in parts]).swapaxes(0, 1)

        outputs, output_spikes, events = zip(*results, strict=True)
        self._require_numbers(first, states.layers)
        spiking = [layer.op.layer.name for layer in self._loop.layers if layer.op.layer.spiking]
        events_of = {
            name: _events(stimulus, first, [part[i] for part in events])
            if stimulus.record
            else SpikeEvents.concatenate([])
            for i, name in enumerate(spiking)
        }
        return SimulationChunk(
            first_step=first,
            outputs_btc=over_time(outputs),
            layers={
                layer.op.layer.name: LayerActivity(
                    state.counts.numpy().reshape(len(stimulus), -1),
                    events_of.get(layer.op.layer.name, SpikeEvents.concatenate([])),
                    state.signed.numpy().reshape(len(stimulus), -1) if layer.op.layer.signed else None,
                )
                for layer, state in zip(self._loop.layers, states.layers, strict=True)
            },
            output_spikes_btc=over_time(output_spikes) if self._loop.output_layer is not None else None,
        )

    def _require_numbers(self, first: int, states: Sequence[State]) -> None:
        """Raise `SimulationError` if the state of a user's own neurons is infinite or not a number."""
        for layer, state in zip(self._loop.layers, states, strict=True):
            own = layer.op.layer
            if registered(own.neuron_type) is None:
                continue
            for name, values in zip(layer.equation.state, state.neurons, strict=True):
                if not np.all(np.isfinite(values)):
                    raise SimulationError(
                        f"layer {own.name!r}: the {name} of its {name_of(own.neuron_type)} neurons is infinite or no "
                        f"number in the steps from {first} on: mend the step of the equation"
                    )


def _gpus(tf: Any) -> list[str]:
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def _blocks(n_steps: int, k: int) -> Iterator[tuple[int, int, int]]:
    """Yield first step, steps per block and number of blocks: first blocks of k steps, then single steps."""
    whole, rest = divmod(n_steps, k)
    if whole:
        yield 0, k, whole
    if rest:
        yield whole * k, 1, rest


def _require_no_draws(network: SpikingNetwork) -> None:
    for layer in network.layers:
        if layer.random:
            raise SimulationError(
                f"layer {layer.name!r} has neurons of type {name_of(layer.neuron_type)}, which draw their spikes, and "
                "XLA draws other ones: take simulator.xla=false"
            )


def _events(stimulus: Stimulus, first: int, parts: Sequence[tuple[Any, Any]]) -> SpikeEvents:
    values = np.concatenate([rows.numpy() for rows, _ in parts])
    sizes = np.concatenate([counts.numpy() for _, counts in parts])
    ids = np.asarray([stimulus.image_ids[row] for row in stimulus.record], np.int32)
    return SpikeEvents(
        ids[values[:, 0].astype(np.int64)],
        np.repeat(np.arange(first, first + len(sizes), dtype=np.int32), sizes),
        values[:, 1].astype(np.int32),
        values[:, 2].astype(np.int32),
    )
