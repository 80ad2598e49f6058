"""The network over time as one compiled TensorFlow loop.

Axes: b = image of the batch, n = neuron. If k steps are merged into the batch, they are its outer axis:
``(k * b, ...)``.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.neurons.model import Equation
from snnpipe.settings.domains import Precision
from snnpipe.simulators.base import equation
from snnpipe.simulators.graph import HOMOGENEOUS, Graph, LayerOp, NeuronOp, PoolingOp
from snnpipe.simulators.graph_of import build_graph
from snnpipe.simulators.pooling import grown, passed
from snnpipe.synapses import Filter
from snnpipe.values.network import NeuronLayer, SpikingNetwork


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of neurons in the loop. Its filter stands behind the layers in ``then``, where the output is smallest."""

    op: NeuronOp
    equation: Equation
    filter: Filter | None
    then: tuple[LayerOp, ...]

    @property
    def output(self) -> int:
        """Number of the layer's output tensor, behind ``then``."""
        return self.then[-1].output if self.then else self.op.output


class Still(NamedTuple):
    """What an input determines without neurons: tensors by number, and layers' drives by number of their outputs."""

    values: dict[int, Any]
    drives: dict[int, Any]


class State(NamedTuple):
    """The state that a layer carries from step to step."""

    neurons: tuple[Any, ...]
    filter: tuple[Any, ...]
    counts: Any
    signed: Any
    """Sum of the spikes with their sign; an empty tensor if the layer's spikes are never negative."""

    def counted(self, tf: Any) -> "State":
        """Return the state with its counts of spikes set to 0, for the next chunk."""
        return self._replace(counts=tf.zeros_like(self.counts), signed=tf.zeros_like(self.signed))


class States(NamedTuple):
    """The state of a network: that of each layer of neurons, and the sums of the inputs of each max pooling."""

    layers: list[State]
    sums: list[Any]

    def counted(self, tf: Any) -> "States":
        """Return the state with all counts of spikes set to 0, for the next chunk."""
        return self._replace(layers=[state.counted(tf) for state in self.layers])


class Loop:
    """A network's loop, which is compiled when it is first called.

    Parameters
    ----------
    network
        Network that has a ``keras_model``.
    dt
        Seconds per step.
    precision
        Precision of all numbers.
    xla
        Whether XLA compiles the loop. It needs fixed shapes, which records of spikes do not have.

    Raises
    ------
    SimulationError
        If the network has neurons or synapses that only NengoDL can run.
    """

    def __init__(self, network: SpikingNetwork, dt: float, precision: Precision, xla: bool = False):
        self._tf = import_tensorflow()
        self._network = network
        self._precision = precision
        self._xla = xla
        equations = {layer.name: equation(layer, dt) for layer in network.layers}
        filters = {layer.name: _filter(layer, dt) for layer in network.layers}
        graph = self.graph = build_graph(
            network,
            precision,
            current_factor=lambda layer: equations[layer.name].current_factor,
            spike_unit=lambda layer: layer.spike_unit(dt) * filters[layer.name][1],
        )
        graph.prepare()
        self.layers = [
            _place_filter(graph, op, equations[op.layer.name], filters[op.layer.name][0]) for op in graph.neurons
        ]
        behind = {op for layer in self.layers for op in layer.then}
        self._moving = [op for op in graph.ops if graph.from_neurons[op.output] and op not in behind]
        taken = {t for op in self._moving for t in op.inputs}
        self._still = sorted(t for t in taken | {graph.output} if not graph.from_neurons[t])
        self._functions: dict[tuple[int, bool, int | None], Any] = {}

    def forget(self) -> None:
        """Release the compiled functions."""
        self._functions.clear()

    @cached_property
    def output_layer(self) -> int | None:
        """Index of the layer that the output is read from; None if the output is linear."""
        names = [layer.op.layer.name for layer in self.layers]
        return None if self._network.output_layer is None else names.index(self._network.output_layer)

    def still_values(self, images: Any) -> Still:
        """Return what images determine without neurons. For constant images, this is computed only once."""
        tensors = self.graph.evaluate({self.graph.image: images}, self._still)
        values = dict(zip(self._still, tensors, strict=True))
        drives = {
            layer.op.output: self._drive(layer, values[layer.op.current])
            for layer in self.layers
            if layer.op.current in values
        }
        return Still(values, drives)

    def initial_states(self, images: int) -> States:
        """Return the state before the first step."""
        tf, precision = self._tf, self._precision

        def repeated(values: NDArray[np.float64], shape: Sequence[int]) -> Any:
            return tf.tile(tf.constant(values.reshape(1, *shape), precision), [images] + [1] * len(shape))

        def zeros(tensor: int) -> Any:
            return tf.zeros((images, *self.graph.shapes[tensor]), precision)

        layers = [
            State(
                tuple(repeated(op.layer.initial_state[name], op.layer.shape) for name in own.state),
                tuple(zeros(layer.output) for _ in range(layer.filter.order if layer.filter else 0)),
                zeros(op.output),
                zeros(op.output) if op.layer.signed else tf.zeros((images, 0), precision),
            )
            for layer in self.layers
            for op, own in [(layer.op, layer.equation)]
        ]
        return States(layers, [zeros(op.input) for op in self.graph.ops if isinstance(op, PoolingOp)])

    def function(self, k: int, record: bool, blocks: int) -> Any:
        """Return the compiled loop for blocks of k steps, with or without recording spikes.

        XLA compiles it for this number of blocks alone.
        """
        fixed = blocks if self._xla and not record else None
        if (k, record, fixed) not in self._functions:
            self._functions[k, record, fixed] = self._tf.function(
                self.uncompiled(k, record, fixed), reduce_retracing=True, jit_compile=None if fixed is None else True
            )
        return self._functions[k, record, fixed]

    def uncompiled(self, k: int, record: bool, fixed: int | None = None) -> Any:
        """Return the loop as a function that runs one operation of TensorFlow after the other.

        ``fixed`` is a number of blocks in place of the one that the function gets.
        """

        def advance(first: Any, blocks: Any, still: Any, signal: Any, states: Any, ids: Any, rows: Any) -> Any:
            n = blocks if fixed is None else fixed
            return self._loop(k, first, n, still, signal, states, ids, rows if record else None)

        return advance

    def _loop(self, k: int, first: Any, blocks: Any, still: Any, signal: Any, states: Any, ids: Any, rows: Any) -> Any:
        """Return the states after ``blocks`` blocks of k steps, the outputs and output spikes of each step, and events.

        The events of each spiking layer are rows ``(row, neuron, count)``, and the number of rows of each step.
        """
        tf = self._tf
        n_steps = blocks * k

        def steps_array(size: Any = n_steps) -> Any:
            return tf.TensorArray(self._precision, size, element_shape=None, infer_shape=False)

        spiking = [i for i, layer in enumerate(self.layers) if layer.op.layer.spiking]
        events = [(steps_array(), tf.TensorArray(tf.int32, n_steps)) for _ in spiking] if rows is not None else []
        arrays = (steps_array(), steps_array() if self.output_layer is not None else steps_array(0), events)

        def block(index: Any, states: Any, arrays: Any) -> Any:
            here, repeat = still, k
            if signal is not None:
                batch = -1 if signal.shape[1] is None else k * signal.shape[1]
                images = tf.reshape(signal[index * k : index * k + k], [batch, *self.graph.shapes[self.graph.image]])
                here, repeat = self.still_values(images), 1
            new_states, spikes, output = self._block(k, first + index * k, here, repeat, states, ids)
            outputs, output_spikes, events = arrays
            scores = _split(tf, output * _as(self.graph.output_unit, self._precision), k)
            for j in range(k):
                t = index * k + j
                outputs = outputs.write(t, scores[j])
                if self.output_layer is not None:
                    output_spikes = output_spikes.write(t, spikes[self.output_layer][j])
                if rows is not None:
                    events = [
                        _record(tf, recorded, t, tf.gather(spikes[i][j], rows))
                        for i, recorded in zip(spiking, events, strict=True)
                    ]
            return index + 1, new_states, (outputs, output_spikes, events)

        _, states, (outputs, output_spikes, events) = tf.while_loop(
            lambda index, *_: index < blocks, block, (0, states, arrays), parallel_iterations=1
        )
        return (
            states,
            outputs.stack(),
            output_spikes.stack() if self.output_layer is not None else None,
            [(recorded.concat(), sizes.stack()) for recorded, sizes in events],
        )

    def _block(
        self, k: int, step: Any, still: Still, repeat: int, states: States, ids: Any
    ) -> tuple[States, list[list[Any]], Any]:
        """Run k steps, layer by layer; return the new states, each layer's spikes and the output of all steps."""
        tf = self._tf
        values = dict(still.values)
        new_states: list[State] = []
        spikes: list[list[Any]] = []
        new_sums: list[Any] = []
        layers, sums = iter(zip(self.layers, states.layers, strict=True)), iter(states.sums)

        def value(tensor: int) -> Any:
            if tensor in still.values and repeat > 1:
                return tf.tile(values[tensor], [repeat] + [1] * len(self.graph.shapes[tensor]))
            return values[tensor]

        for op in self._moving:
            if isinstance(op, LayerOp):
                values[op.output] = op([value(i) for i in op.inputs])
                continue
            if isinstance(op, PoolingOp):
                values[op.output], of_inputs = self._pooled(op, _split(tf, value(op.input), k), next(sums))
                new_sums.append(of_inputs)
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
            new_states.append(State(neurons, carried, counts, signed))
            spikes.append(out)
        return States(new_states, new_sums), spikes, value(self.graph.output)

    def _pooled(self, op: PoolingOp, inputs: list[Any], sums: Any) -> tuple[Any, Any]:
        """Return the output of max pooling over time in all steps of a block, and the new sums of its inputs."""
        outputs = []
        for x in inputs:
            if op.gated:
                output, sums = passed(op.windows, self.graph.shapes[op.output], x, sums)
            else:
                output, sums = grown(op.maximum, x, sums)
            outputs.append(output)
        return self._tf.concat(outputs, 0) if len(outputs) > 1 else outputs[0], sums

    def _drive(self, layer: Layer, current: Any) -> Any:
        """Return the drive of a layer's neurons, computed from their current."""
        if layer.op.factor != 1:
            current = current * _as(layer.op.factor, self._precision)
        return layer.equation.drive(current)

    def _filtered(self, synapse: Filter | None, inputs: list[Any], state: tuple[Any, ...]) -> Any:
        """Return a filter's output of each step, read before the step's input arrives, and its new state."""
        if synapse is None:
            return inputs, state
        outputs = []
        for u in inputs:
            outputs.append(self._weighted(synapse.c, state))
            state = tuple(self._weighted([*row, b], (*state, u)) for row, b in zip(synapse.a, synapse.b, strict=True))
        return outputs, state

    def _weighted(self, weights: Iterable[float], values: Sequence[Any]) -> Any:
        terms = [v if w == 1 else v * _as(w, self._precision) for w, v in zip(weights, values, strict=True) if w != 0]
        return sum(terms[1:], terms[0])

    def _seeds(self, layer: int, ids: Any, step: Any) -> Callable[[], Any]:
        """Return the function that makes the seeds of each image's draws, shape ``(b, 2)``."""
        tf, run = self._tf, int(self._network.network.seed or 0)

        def make() -> Any:
            of_image = ids * 2**24 + tf.cast(step, tf.int64)
            return tf.stack([tf.fill(tf.shape(ids), tf.constant(run * 1024 + layer, tf.int64)), of_image], axis=1)

        return make


def _filter(layer: NeuronLayer, dt: float) -> tuple[Filter | None, float]:
    """Return a layer's filter and a factor taken out of it: first-order filters get input and output factors of 1."""
    synapse = layer.synapse.discrete(dt, f"layer {layer.name!r}")
    if synapse is None or synapse.order > 1:
        return synapse, 1.0
    return Filter(synapse.a, np.ones(1), np.ones(1)), float(synapse.b[0] * synapse.c[0])


def _place_filter(graph: Graph, op: NeuronOp, own: Equation, synapse: Filter | None) -> Layer:
    """Put a layer's filter where the output is smallest: linear layers and filters commute."""
    chain: list[LayerOp] = []
    tensor = op.output
    while len(users := graph.users(tensor)) == 1 and isinstance(users[0], LayerOp) and users[0].kind in HOMOGENEOUS:
        chain.append(users[0])
        tensor = users[0].output
    sizes = [int(np.prod(graph.shapes[t])) for t in (op.output, *(o.output for o in chain))]
    return Layer(op, own, synapse, tuple(chain[: sizes.index(min(sizes))]))


def _split(tf: Any, value: Any, k: int) -> list[Any]:
    return tf.split(value, k) if k > 1 else [value]


def _as(value: float, precision: str) -> Any:
    return np.asarray(value, precision)


def _record(tf: Any, recorded: tuple[Any, Any], t: Any, spikes: Any) -> tuple[Any, Any]:
    spikes = tf.reshape(spikes, [tf.shape(spikes)[0], -1])
    where = tf.where(spikes != 0)
    values, sizes = recorded
    rows = tf.concat([tf.cast(where, spikes.dtype), tf.gather_nd(spikes, where)[:, None]], axis=1)
    return values.write(t, rows), sizes.write(t, tf.shape(where)[0])
