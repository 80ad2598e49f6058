"""Every neuron at every step: the network as one compiled TensorFlow loop over time, on CPU or GPU.

Axes: b = image of the batch, t = step, n = neuron, c = class; k steps merged into the batch are its
outer part, ``(k * b, ...)``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import SimulationError
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.settings.domains import PositiveInt
from snnpipe.simulators.base import FastSimulator, filtered, output_filter, require_layers
from snnpipe.simulators.chunks import chunks
from snnpipe.simulators.filters import Filter, discrete
from snnpipe.simulators.graph import HOMOGENEOUS, Graph, LayerOp, NeuronOp, build_graph
from snnpipe.simulators.neurons import Equation, equation, spike_unit
from snnpipe.values.network import NeuronLayer, SpikingNetwork
from snnpipe.values.simulation import LayerActivity, SimulationChunk, SpikeEvents, Stimulus

TILE_NEURONS = 600_000
"""Neurons that are simulated together on a CPU: what a step touches of them fits its second-level cache."""


@dataclass(frozen=True)
class ClockDrivenSimulator(FastSimulator):
    """Run every neuron at every step in TensorFlow. Other parameters as for `SimulationSettings`.

    Parameters
    ----------
    merge_steps
        Consecutive steps that a layer computes as one batch before the next layer does. 1 is fastest on
        a CPU; more needs more memory and may fill a GPU better. Spikes do not depend on it, rounding apart.
    """

    merge_steps: PositiveInt = 1

    def open(self, network: SpikingNetwork, constant_input: bool = True) -> "OpenClockDriven":
        """Compile the network.

        Raises
        ------
        SimulationError
            If it has neurons or synapses that only NengoDL knows, or did not come from a Keras model.
        """
        return OpenClockDriven(network, self)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer of neurons in the loop: its filter sits behind ``then``, where its output is smallest."""

    op: NeuronOp
    equation: Equation
    filter: Filter | None
    then: tuple[LayerOp, ...]

    @property
    def output(self) -> int:
        return self.then[-1].output if self.then else self.op.output


class _Still(NamedTuple):
    """What does not change while an image is shown: tensors by number, and layers' drives by their outputs."""

    values: dict[int, Any]
    drives: dict[int, Any]


class _State(NamedTuple):
    """What a layer carries from step to step."""

    neurons: tuple[Any, ...]
    filter: tuple[Any, ...]
    counts: Any
    signed: Any
    """Spikes with their sign; nothing where all have one."""


class OpenClockDriven:
    """A network compiled for TensorFlow."""

    used = "clock_driven"

    def __init__(self, network: SpikingNetwork, settings: ClockDrivenSimulator):
        require_layers(network, "clock_driven")
        self._network = network
        self._settings = settings
        self._tf = import_tensorflow()
        self._gpus = _gpus(self._tf)
        self._strategy = self._tf.distribute.MirroredStrategy(self._gpus) if len(self._gpus) > 1 else None
        equations = {layer.name: equation(layer, settings.dt) for layer in network.layers}
        filters = {layer.name: _filter(layer, settings.dt) for layer in network.layers}
        with self._strategy.scope() if self._strategy else nullcontext():
            graph = self._graph = build_graph(
                network,
                settings.precision,
                current_factor=lambda layer: equations[layer.name].current_factor,
                spike_unit=lambda layer: spike_unit(layer, settings.dt) * filters[layer.name][1],
            )
        self._layers = [
            _place_filter(graph, op, equations[op.layer.name], filters[op.layer.name][0]) for op in graph.neurons
        ]
        behind = {op for layer in self._layers for op in layer.then}
        self._moving = [op for op in graph.ops if graph.from_neurons[op.output] and op not in behind]
        taken = {t for op in self._moving for t in (op.inputs if isinstance(op, LayerOp) else (op.current,))}
        self._still = sorted(t for t in taken | {graph.output} if not graph.from_neurons[t])
        self._functions: dict[tuple[int, bool], Any] = {}
        self._output_filter = output_filter(network, settings.dt)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._functions.clear()

    def run(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        """Simulate a batch from the network's initial state, part by part."""
        return filtered(self._chunks(stimulus), self._output_filter)

    def _chunks(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        tf, settings = self._tf, self._settings
        rows_of_parts = self._rows(len(stimulus))
        parts = [_part(stimulus, rows) for rows in rows_of_parts]
        constant = stimulus.encoder.constant
        states = [self._initial_states(len(part)) for part in parts]
        still = [self._still_values(self._images(p)) if constant else None for p in parts]
        rows = [(tf.constant(p.image_ids, tf.int64), tf.constant(p.record, tf.int32)) for p in parts]
        for first, n_steps in chunks(settings, stimulus):
            signals: list[Any] = [None if constant else self._signal(part, first, n_steps) for part in parts]
            found: list[list[Any]] = [[] for _ in parts]
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
                results = self._on_devices(self._function(k, bool(stimulus.record)), arguments)
                states = [list(result[0]) for result in results]
                for recorded, result in zip(found, results, strict=True):
                    recorded.append(result[1:])
            yield _joined(
                [
                    _cut(self._chunk(part, first, states[i], found[i]), len(rows_of_parts[i]))
                    for i, part in enumerate(parts)
                ]
            )
            states = [[_counted(tf, s) for s in of_part] for of_part in states]

    def _rows(self, images: int) -> list[NDArray[np.int64]]:
        """Return the rows of a batch's parts: one per GPU, on a CPU as many as make a part's state fit its caches."""
        n = len(self._gpus)
        if not n:
            neurons = sum(layer.op.layer.size for layer in self._layers)
            n = min(-(-images * neurons // TILE_NEURONS), max(1, images // 2))
        return [rows for rows in np.array_split(np.arange(images), n) if len(rows)]

    def _on_devices(self, function: Any, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a function for each part: one after the other, or each on a GPU of its own."""
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
        shape = (len(stimulus), *self._graph.shapes[self._graph.image])
        return self._tf.constant(stimulus.still().reshape(shape), self._settings.precision)

    def _still_values(self, images: Any) -> _Still:
        """Return what images alone determine, without the neurons: of a constant image it is computed once."""
        tensors = self._graph.evaluate({self._graph.image: images}, self._still)
        values = dict(zip(self._still, tensors, strict=True))
        drives = {
            layer.op.output: self._drive(layer, values[layer.op.current])
            for layer in self._layers
            if layer.op.current in values
        }
        return _Still(values, drives)

    def _signal(self, stimulus: Stimulus, first: int, n_steps: int) -> Any:
        """Return the input of a chunk, shape ``(t, b, ...)`` with an image's shape."""
        signal_btn = stimulus.steps(first, n_steps)
        shape = (n_steps, len(stimulus), *self._graph.shapes[self._graph.image])
        return self._tf.constant(signal_btn.transpose(1, 0, 2).reshape(shape), self._settings.precision)

    def _initial_states(self, images: int) -> list[_State]:
        tf, precision = self._tf, self._settings.precision

        def repeated(values: NDArray[np.float64], shape: Sequence[int]) -> Any:
            return tf.tile(tf.constant(values.reshape(1, *shape), precision), [images] + [1] * len(shape))

        def zeros(tensor: int) -> Any:
            return tf.zeros((images, *self._graph.shapes[tensor]), precision)

        return [
            _State(
                tuple(repeated(op.layer.initial_state[name], op.layer.shape) for name in own.state),
                tuple(zeros(layer.output) for _ in range(layer.filter.order if layer.filter else 0)),
                zeros(op.output),
                zeros(op.output) if op.layer.signed else tf.zeros((images, 0), precision),
            )
            for layer in self._layers
            for op, own in [(layer.op, layer.equation)]
        ]

    # ------------------------------------------------------------------ the loop

    def _function(self, k: int, record: bool) -> Any:
        """Return the compiled loop for blocks of k steps, with or without recording of spikes."""
        if (k, record) not in self._functions:
            tf = self._tf

            @tf.function(reduce_retracing=True)
            def advance(first: Any, blocks: Any, still: Any, signal: Any, states: Any, ids: Any, rows: Any) -> Any:
                return self._loop(k, first, blocks, still, signal, states, ids, rows if record else None)

            self._functions[k, record] = advance
        return self._functions[k, record]

    def _loop(self, k: int, first: Any, blocks: Any, still: Any, signal: Any, states: Any, ids: Any, rows: Any) -> Any:
        """Return the states after ``blocks`` blocks of k steps, the outputs and output spikes of each step, and events.

        Events are, per layer, rows ``(row, neuron, count)`` and how many there are of each step.
        """
        tf = self._tf
        n_steps = blocks * k

        def steps_array(size: Any = n_steps) -> Any:
            return tf.TensorArray(self._settings.precision, size, element_shape=None, infer_shape=False)

        spiking = [i for i, layer in enumerate(self._layers) if layer.op.layer.spiking]
        events = [(steps_array(), tf.TensorArray(tf.int32, n_steps)) for _ in spiking] if rows is not None else []
        arrays = (steps_array(), steps_array() if self._output_layer is not None else steps_array(0), events)

        def block(index: Any, states: Any, arrays: Any) -> Any:
            here, repeat = still, k
            if signal is not None:
                batch = -1 if signal.shape[1] is None else k * signal.shape[1]
                images = tf.reshape(signal[index * k : index * k + k], [batch, *self._graph.shapes[self._graph.image]])
                here, repeat = self._still_values(images), 1
            new_states, spikes, output = self._block(k, first + index * k, here, repeat, states, ids)
            outputs, output_spikes, events = arrays
            scores = _split(tf, output * _as(self._graph.output_unit, self._settings.precision), k)
            for j in range(k):
                t = index * k + j
                outputs = outputs.write(t, scores[j])
                if self._output_layer is not None:
                    output_spikes = output_spikes.write(t, spikes[self._output_layer][j])
                if rows is not None:
                    events = [
                        _record(tf, found, t, tf.gather(spikes[i][j], rows))
                        for i, found in zip(spiking, events, strict=True)
                    ]
            return index + 1, new_states, (outputs, output_spikes, events)

        _, states, (outputs, output_spikes, events) = tf.while_loop(
            lambda index, *_: index < blocks, block, (0, states, arrays), parallel_iterations=1
        )
        return (
            states,
            outputs.stack(),
            output_spikes.stack() if self._output_layer is not None else None,
            [(found.concat(), sizes.stack()) for found, sizes in events],
        )

    def _block(
        self, k: int, step: Any, still: _Still, repeat: int, states: Sequence[_State], ids: Any
    ) -> tuple[list[_State], list[list[Any]], Any]:
        """Run k steps, layer by layer; returns the new states, each layer's spikes and the output of all steps."""
        tf = self._tf
        values = dict(still.values)
        new_states: list[_State] = []
        spikes: list[list[Any]] = []
        layers = iter(zip(self._layers, states, strict=True))

        def value(tensor: int) -> Any:
            if tensor in still.values and repeat > 1:
                return tf.tile(values[tensor], [repeat] + [1] * len(self._graph.shapes[tensor]))
            return values[tensor]

        for op in self._moving:
            if isinstance(op, LayerOp):
                values[op.output] = op([value(i) for i in op.inputs])
                continue
            layer, state = next(layers)
            if op.output in still.drives:
                drive = still.drives[op.output]
                drives = [drive] * k if repeat == k else _split(tf, drive, k)
            else:
                drives = _split(tf, self._drive(layer, values[op.current]), k)
            neurons, counts, signed, out = state.neurons, state.counts, state.signed, []
            with_sign = layer.op.layer.signed
            for j in range(k):
                seeds = self._seeds(len(new_states), ids, step + j)
                n, neurons = layer.equation.step(drives[j], neurons, seeds)
                counts += tf.abs(n) if with_sign else n
                signed = signed + n if with_sign else signed
                out.append(n)
            passed = tf.concat(out, 0) if k > 1 else out[0]
            for behind in layer.then:
                passed = behind([passed])
            filtered, carried = self._filtered(layer.filter, _split(tf, passed, k), state.filter)
            values[layer.output] = tf.concat(filtered, 0) if k > 1 else filtered[0]
            new_states.append(_State(neurons, carried, counts, signed))
            spikes.append(out)
        return new_states, spikes, value(self._graph.output)

    def _drive(self, layer: _Layer, current: Any) -> Any:
        """Return what a layer's current makes of its neurons, apart from their state."""
        if layer.op.factor != 1:
            current = current * _as(layer.op.factor, self._settings.precision)
        return layer.equation.drive(current)

    def _filtered(self, synapse: Filter | None, inputs: list[Any], state: tuple[Any, ...]) -> Any:
        """Return a filter's output of each step and its new state: it is read before the step's input arrives."""
        if synapse is None:
            return inputs, state
        outputs = []
        for u in inputs:
            outputs.append(self._weighted(synapse.c, state))
            state = tuple(self._weighted([*row, b], (*state, u)) for row, b in zip(synapse.a, synapse.b, strict=True))
        return outputs, state

    def _weighted(self, weights: Iterable[float], values: Sequence[Any]) -> Any:
        terms = [
            v if w == 1 else v * _as(w, self._settings.precision)
            for w, v in zip(weights, values, strict=True)
            if w != 0
        ]
        return sum(terms[1:], terms[0])

    def _seeds(self, layer: int, ids: Any, step: Any) -> Callable[[], Any]:
        """Return what makes the seed of each image's draws, shape ``(b, 2)``."""
        tf, run = self._tf, int(self._network.network.seed or 0)

        def make() -> Any:
            of_image = ids * 2**24 + tf.cast(step, tf.int64)
            return tf.stack([tf.fill(tf.shape(ids), tf.constant(run * 1024 + layer, tf.int64)), of_image], axis=1)

        return make

    # ------------------------------------------------------------------ what comes out

    @cached_property
    def _output_layer(self) -> int | None:
        names = [layer.op.layer.name for layer in self._layers]
        return None if self._network.output_layer is None else names.index(self._network.output_layer)

    def _chunk(self, stimulus: Stimulus, first: int, states: Sequence[_State], found: Sequence[Any]) -> SimulationChunk:
        def joined(parts: Sequence[Any]) -> NDArray[Any]:
            return np.concatenate([part.numpy() for part in parts]).swapaxes(0, 1)

        outputs, output_spikes, events = zip(*found, strict=True)
        spiking = [layer.op.layer.name for layer in self._layers if layer.op.layer.spiking]
        recorded = {
            name: _events(stimulus, first, [part[i] for part in events])
            if stimulus.record
            else SpikeEvents.concatenate([])
            for i, name in enumerate(spiking)
        }
        return SimulationChunk(
            first_step=first,
            outputs_btc=joined(outputs),
            layers={
                layer.op.layer.name: LayerActivity(
                    state.counts.numpy().reshape(len(stimulus), -1),
                    recorded.get(layer.op.layer.name, SpikeEvents.concatenate([])),
                    state.signed.numpy().reshape(len(stimulus), -1) if layer.op.layer.signed else None,
                )
                for layer, state in zip(self._layers, states, strict=True)
            },
            output_spikes_btc=joined(output_spikes) if self._output_layer is not None else None,
        )


def _part(stimulus: Stimulus, rows: NDArray[np.int64]) -> Stimulus:
    """Return some images of a batch; a single one twice, for TensorFlow's kernels for one image round differently."""
    record = tuple(row - int(rows[0]) for row in stimulus.record if rows[0] <= row <= rows[-1])
    if len(rows) == 1:
        rows = np.repeat(rows, 2)
    ids = [stimulus.image_ids[row] for row in rows]
    return Stimulus(stimulus.images[rows], ids, stimulus.encoder, record)


def _counted(tf: Any, state: _State) -> _State:
    """Return a state whose spikes have been handed on."""
    return state._replace(counts=tf.zeros_like(state.counts), signed=tf.zeros_like(state.signed))


def _cut(chunk: SimulationChunk, images: int) -> SimulationChunk:
    """Return a chunk of the first images."""

    def cut(own: LayerActivity) -> LayerActivity:
        signed = None if own.signed_bn is None else own.signed_bn[:images]
        return LayerActivity(own.counts_bn[:images], own.events, signed)

    spikes = chunk.output_spikes_btc
    return replace(
        chunk,
        outputs_btc=chunk.outputs_btc[:images],
        layers={name: cut(own) for name, own in chunk.layers.items()},
        output_spikes_btc=None if spikes is None else spikes[:images],
    )


def _joined(parts: Sequence[SimulationChunk]) -> SimulationChunk:
    """Return the chunks of a batch's parts as one."""
    if len(parts) == 1:
        return parts[0]
    spikes = [part.output_spikes_btc for part in parts if part.output_spikes_btc is not None]

    def joined(activities: Sequence[LayerActivity]) -> LayerActivity:
        signed = [own.signed_bn for own in activities if own.signed_bn is not None]
        return LayerActivity(
            np.concatenate([own.counts_bn for own in activities]),
            SpikeEvents.concatenate([own.events for own in activities]),
            np.concatenate(signed) if signed else None,
        )

    return SimulationChunk(
        first_step=parts[0].first_step,
        outputs_btc=np.concatenate([part.outputs_btc for part in parts]),
        layers={name: joined([part.layers[name] for part in parts]) for name in parts[0].layers},
        output_spikes_btc=np.concatenate(spikes) if spikes else None,
    )


def _gpus(tf: Any) -> list[str]:
    return [device.name for device in tf.config.list_logical_devices("GPU")]


def _filter(layer: NeuronLayer, dt: float) -> tuple[Filter | None, float]:
    """Return a layer's filter with an input factor of 1, and the factor that was taken out of it."""
    try:
        synapse = discrete(layer.synapse, dt)
    except ValueError as error:
        raise SimulationError(
            f"layer {layer.name!r} has the synapse {layer.synapse!r}, which {error}: take another synapse, or "
            "simulator=nengo_dl"
        ) from None
    if synapse is None or synapse.order > 1:
        return synapse, 1.0
    return Filter(synapse.a, np.ones(1), np.ones(1)), float(synapse.b[0] * synapse.c[0])


def _place_filter(graph: Graph, op: NeuronOp, own: Equation, synapse: Filter | None) -> _Layer:
    """Put a layer's filter where its output is smallest: linear layers and the filter commute."""
    chain: list[LayerOp] = []
    tensor = op.output
    while len(users := graph.users(tensor)) == 1 and isinstance(users[0], LayerOp) and users[0].kind in HOMOGENEOUS:
        chain.append(users[0])
        tensor = users[0].output
    sizes = [int(np.prod(graph.shapes[t])) for t in (op.output, *(o.output for o in chain))]
    return _Layer(op, own, synapse, tuple(chain[: sizes.index(min(sizes))]))


def _blocks(n_steps: int, k: int) -> Iterator[tuple[int, int, int]]:
    """Yield first step, steps per block and number of blocks: blocks of k, and the rest step by step."""
    whole, rest = divmod(n_steps, k)
    if whole:
        yield 0, k, whole
    if rest:
        yield whole * k, 1, rest


def _split(tf: Any, value: Any, k: int) -> list[Any]:
    return tf.split(value, k) if k > 1 else [value]


def _as(value: float, precision: str) -> Any:
    return np.asarray(value, precision)


def _record(tf: Any, found: tuple[Any, Any], t: Any, spikes: Any) -> tuple[Any, Any]:
    spikes = tf.reshape(spikes, [tf.shape(spikes)[0], -1])
    where = tf.where(spikes != 0)
    values, sizes = found
    rows = tf.concat([tf.cast(where, spikes.dtype), tf.gather_nd(spikes, where)[:, None]], axis=1)
    return values.write(t, rows), sizes.write(t, tf.shape(where)[0])


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
