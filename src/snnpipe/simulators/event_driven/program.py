"""From a converted network to the flat arrays that the event-driven kernel runs.

Every connection becomes rows (`event_rows`): a spike of neuron i adds ``count * weights[...]`` to a few runs of
consecutive currents, with margins around each buffer of currents for what falls outside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snnpipe.base.errors import SimulationError
from snnpipe.settings.domains import Precision
from snnpipe.simulators.event_driven.kernel import CLIPPED, INPUT, INTEGRATE, LIF, LIF_RATE, OUTPUT, Program, aligned
from snnpipe.simulators.event_driven.maps import Convolution, chained, matrix, unknown
from snnpipe.simulators.event_driven.rows import (
    NOWHERE,
    Place,
    Rows,
    convolution_rows,
    dense_rows,
    matrix_rows,
    on_grid,
    one_place,
)
from snnpipe.simulators.filters import discrete
from snnpipe.simulators.graph import WEIGHTED, Graph, LayerOp
from snnpipe.values.network import NeuronLayer

_MOST_SYNAPSES = 50_000_000
"""That a connection may hold as a sparse matrix: 600 MB."""

_MOST_VALUES = 2**24
"""That a layer may have: they are numbered in single precision."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A program, and what is needed to feed it.

    Attributes
    ----------
    program
        What the kernel runs.
    layers
        Layers of neurons in the order of their neurons in the program, with their indices there.
    seen
        Tensors of the graph, each with a factor, whose flattened values make up the currents that depend
        on the image.
    output_layer
        Index of the layer whose spikes are the output's, -1 where there is none.
    adds_per_spike
        Weights that a spike of each layer adds somewhere, on average, by layer name; None is a changing input.
    """

    program: Program
    layers: Mapping[str, int]
    seen: tuple[tuple[int, float], ...]
    output_layer: int
    adds_per_spike: Mapping[str | None, float]


@dataclass(frozen=True, eq=False)
class _Path:
    """One way from a source to a target: layers before the weights, the layer with weights if any, layers behind."""

    before: sparse.csr_array
    core: LayerOp | None
    behind: tuple[tuple[LayerOp, int], ...]
    core_shape: tuple[int, ...]


def compile_program(graph: Graph, constant: bool, precision: Precision, dt: float) -> Compiled:
    """Return the program of a graph.

    Parameters
    ----------
    graph
        Its weights as the kernel needs them.
    constant
        Whether the image is shown as it is at each step; otherwise it is a source of events.
    precision
        Of all numbers.
    dt
        Seconds per step.

    Raises
    ------
    SimulationError
        If it has a layer, neuron type or synapse that is not known here, by its name.
    """
    return _Compiler(graph, constant, precision, dt).compile()


class _Compiler:
    def __init__(self, graph: Graph, constant: bool, precision: Precision, dt: float):
        self._graph = graph
        self._constant = constant
        self._precision = precision
        self._dt = dt
        self._producers = {op.output: op for op in graph.ops}
        self._out = _Arrays(precision)

    def compile(self) -> Compiled:
        graph, out = self._graph, self._out
        if (most := max(int(np.prod(shape)) for shape in graph.shapes)) > _MOST_VALUES:
            raise _refused(f"a layer has {most:,} values")
        sources: dict[int, int] = {}
        if not self._constant:
            sources[graph.image] = out.input(int(np.prod(graph.shapes[graph.image])))
        seen: list[tuple[int, float]] = []
        names: dict[str, int] = {}
        adds: dict[str | None, float] = {}
        still = self._still_values()
        for op in graph.neurons:
            kind, parameters = self._equation(op.layer)
            incoming = self._incoming(op.current, op.factor, sources)
            names[op.layer.name] = sources[op.output] = out.layer(
                kind, parameters, op.layer.size, incoming, self._base(op.current, op.factor, seen, still), op.layer
            )
        incoming = self._incoming(graph.output, graph.output_unit, sources)
        base = self._base(graph.output, graph.output_unit, seen, still)
        out.layer(OUTPUT, [], int(np.prod(graph.shapes[graph.output])), incoming, base, None)
        numbers = {number: name for name, number in names.items()}
        for source, rows in out.connected:
            name = numbers.get(source)
            adds[name] = adds.get(name, 0.0) + rows
        output_layer = sources.get(graph.output, -1)
        return Compiled(out.program(), names, tuple(seen), output_layer, adds)

    # ------------------------------------------------------------------ currents without spikes

    def _still_values(self) -> dict[int, NDArray[np.float64]]:
        """Return each wanted tensor's values where no neuron spikes and a changing input is 0."""
        graph = self._graph
        wanted = [op.current for op in graph.neurons] + [graph.output]
        known = {
            t: np.zeros((1, *graph.shapes[t]), self._precision)
            for t in (graph.image, *(op.output for op in graph.neurons))
        }
        values = graph.evaluate(known, wanted)
        return {t: np.asarray(v, np.float64).ravel() for t, v in zip(wanted, values, strict=True)}

    def _base(
        self, tensor: int, factor: float, seen: list[tuple[int, float]], still: Mapping[int, NDArray[np.float64]]
    ) -> "NDArray[np.float64] | int":
        """Return a target's current without spikes, or where it begins among those that depend on the image."""
        if not (self._constant and self._graph.from_image[tensor]):
            return still[tensor] * factor
        at = sum(int(np.prod(self._graph.shapes[t])) for t, _ in seen)
        seen.append((tensor, factor))
        return at

    # ------------------------------------------------------------------ neurons and synapses

    def _equation(self, layer: NeuronLayer) -> tuple[int, list[float]]:
        neurons, dt = layer.neuron_type, self._dt
        kind = type(neurons).__name__
        if kind == "RegularSpiking":
            kind = f"RegularSpiking({type(neurons.base_type).__name__})"
        if kind in ("SpikingRectifiedLinear", "RegularSpiking(RectifiedLinear)"):
            begins_above = np.any(layer.initial_state["voltage"].astype(self._precision) >= 1)
            return INTEGRATE, [float(begins_above)]
        if kind == "SpikingClippedRectifiedLinear":
            return CLIPPED, [dt * neurons.max_rate]
        if kind == "RegularSpiking(ClippedRectifiedLinear)":
            return CLIPPED, [dt * neurons.base_type.amplitude * neurons.base_type.max_rate]
        if kind == "RegularSpiking(LIFRate)":
            base = neurons.base_type
            return LIF_RATE, [base.tau_rc, base.tau_ref, dt * base.amplitude]
        if kind == "LIF":
            leak = float(np.expm1(-dt / neurons.tau_rc))
            return LIF, [neurons.tau_rc, neurons.tau_ref, dt, neurons.min_voltage, leak]
        raise _refused(f"layer {layer.name!r} has neurons of type {kind}")

    def _decay(self, source: int) -> tuple[float, bool]:
        """Return what is left of a source's currents a step later, and whether they act in the step of the spike."""
        layer = self._out.neurons[source]
        if layer is None or layer.synapse is None:
            return 0.0, True
        try:
            synapse = discrete(layer.synapse, self._dt)
        except ValueError:
            raise _refused(f"layer {layer.name!r} has the synapse {layer.synapse!r}", "nengo_dl") from None
        if not isinstance(layer.synapse, (int, float)):
            raise _refused(f"layer {layer.name!r} has the synapse {layer.synapse!r}")
        assert synapse is not None
        return float(synapse.a[0, 0]), False

    # ------------------------------------------------------------------ connections

    def _incoming(self, tensor: int, factor: float, sources: Mapping[int, int]) -> "list[_Incoming]":
        """Return the connections that end in a target."""
        found = []
        for source, layers in self._paths(tensor, sources):
            decay, instant = self._decay(sources[source])
            path = self._path(source, layers)
            own = factor * (1 if instant else 1 - decay)
            grid, rows = self._rows(path, own, int(np.prod(self._graph.shapes[tensor])))
            found.append(_Incoming(sources[source], decay, instant, grid, rows, path, own))
        flat = (1, 1, 1, int(np.prod(self._graph.shapes[tensor])))
        grid = next((i.grid for i in found if i.grid != flat), flat)
        for i in found:
            if i.grid != grid:
                if not i.rows.absolute:  # a convolution of another geometry
                    i.rows = self._as_matrix(i.path, i.factor)
                i.rows, i.grid = on_grid(i.rows, grid), grid
        return found

    def _paths(self, tensor: int, sources: Mapping[int, int]) -> list[tuple[int, list[tuple[LayerOp, int]]]]:
        """Return every way from a source to a tensor, as the layers passed and which of their inputs it enters by."""
        if tensor in sources:
            return [(tensor, [])]
        op = self._producers.get(tensor)
        if op is None:  # a constant image
            return []
        assert isinstance(op, LayerOp)
        found = [
            (source, [*layers, (op, slot)])
            for slot, t in enumerate(op.inputs)
            for source, layers in self._paths(t, sources)
        ]
        if found and (why := unknown(op, self._graph.shapes)):
            raise _refused(f"layer {op.layer.name!r} {why}")
        return found

    def _path(self, source: int, layers: Sequence[tuple[LayerOp, int]]) -> _Path:
        shapes = self._graph.shapes
        core = next((i for i, (op, _) in enumerate(layers) if op.kind in WEIGHTED), len(layers))
        size = int(np.prod(shapes[source]))
        before = chained([matrix(op, slot, shapes) for op, slot in layers[:core]], size)
        if core == len(layers):
            return _Path(before, None, (), ())
        op = layers[core][0]
        return _Path(before, op, tuple(layers[core + 1 :]), shapes[op.inputs[0]])

    def _rows(self, path: _Path, factor: float, size: int) -> tuple[Place, Rows]:
        """Return a path's rows in the form that fits it best, and the grid of positions they are on."""
        flat = (1, 1, 1, size)
        scale = None if path.core is None else self._behind(path)
        if scale is None:
            return flat, self._as_matrix(path, factor)
        assert path.core is not None
        if path.core.kind == "Dense":
            if path.before.shape[1] * path.core.layer.units > _MOST_SYNAPSES and one_place(path.before) is None:
                raise _refused(f"layer {path.core.layer.name!r} would have too many synapses")
            kernel = np.asarray(path.core.layer.kernel, np.float64) * (factor * scale)
            return flat, dense_rows(kernel, path.before)
        convolution = Convolution.of(path.core.layer, path.core_shape)
        rows = convolution_rows(convolution, path.before, factor * scale)
        if rows is None:
            return flat, self._as_matrix(path, factor)
        z, y, x, c = convolution.output_shape
        return (z, y, x, c), rows

    def _behind(self, path: _Path) -> "NDArray[np.float64] | float | None":
        """Return what the layers behind the weights multiply each channel with; None if they do more than that."""
        assert path.core is not None
        scale: Any = 1.0
        channels = self._graph.shapes[path.core.output][-1]
        for op, slot in path.behind:
            shape = self._graph.shapes[op.output]
            if op.kind == "BatchNormalization" and op.layer.axis == [len(shape)] and shape[-1] == channels:
                scale = scale * np.asarray(op.layer.gamma, np.float64)
            elif op.kind == "Average":
                scale = scale / len(op.inputs)
            elif op.kind not in ("Add", "Flatten", "Reshape") or (np.ndim(scale) and op.kind != "Add"):
                return None
            scale = scale * op.factors[slot]
        return scale  # type: ignore[no-any-return]

    def _as_matrix(self, path: _Path, factor: float) -> Rows:
        shapes = self._graph.shapes
        found = path.before
        if path.core is not None:
            for op, slot in ((path.core, 0), *path.behind):
                if _entries(op, shapes, found) > _MOST_SYNAPSES:
                    raise _refused(f"layer {op.layer.name!r} stands where too many synapses have to be made of it")
                found = matrix(op, slot, shapes) @ found
        return matrix_rows(sparse.csc_array(found * factor))


def _entries(op: LayerOp, shapes: Sequence[tuple[int, ...]], before: sparse.csr_array) -> int:
    """Return at most how many entries a layer's matrix has, or its product with what stands before it."""
    if op.kind not in WEIGHTED:
        return 0
    n_in, n_out = int(np.prod(shapes[op.inputs[0]])), int(np.prod(shapes[op.output]))
    per_input = int(np.prod(op.layer.kernel.shape)) // shapes[op.inputs[0]][-1]
    if op.kind == "Dense":
        per_input = n_out
    return max(n_in * per_input, min(int(before.nnz) * per_input, int(before.shape[1]) * n_out))


@dataclass(eq=False)
class _Incoming:
    """A connection into a target."""

    source: int
    decay: float
    instant: bool
    grid: Place
    rows: Rows
    path: _Path
    factor: float


def _refused(what: str, cure: str = "clock_driven") -> SimulationError:
    return SimulationError(f"simulator=event_driven: {what}, which it does not know: take simulator={cure}")


class _Arrays:
    """Collects the flat arrays of a program, layer by layer."""

    def __init__(self, precision: Precision):
        self._precision = precision
        self.neurons: list[NeuronLayer | None] = []
        self.connected: list[tuple[int, float]] = []
        self._lists: dict[str, list[Any]] = {name: [] for name in Program._fields}
        for name in ("buffers", "lines_at", "buffer_at", "connections", "rows"):
            self._lists[name].append(0)
        self._n_neurons = self._n_currents = self._n_weights = self._n_tables = self._n_base = 0
        self._first_starts: dict[int, NDArray[np.int64]] = {}

    def input(self, size: int) -> int:
        """Add a changing input; returns its number."""
        return self._layer(INPUT, [], size, 0, 0, 1, size, None)

    def layer(
        self,
        kind: int,
        parameters: list[float],
        size: int,
        incoming: list[_Incoming],
        base: "NDArray[np.float64] | int",
        neurons: NeuronLayer | None,
    ) -> int:
        """Add a layer and the connections into it; returns its number."""
        lists = self._lists
        grid = incoming[0].grid if incoming else (1, 1, 1, size)
        groups: dict[tuple[float, bool], list[_Incoming]] = {}
        for connection in incoming:
            groups.setdefault((connection.decay, connection.instant), []).append(connection)
        if kind == OUTPUT and not groups:
            groups = {(0.0, True): []}
        margins = {}
        for key, connections in groups.items():
            reaches = [c.rows.reach(grid) for c in connections]
            margins[key] = tuple(
                np.max([r[side] for r in reaches], axis=0) if reaches else np.zeros(3, np.int64) for side in range(2)
            )
        flat = not any(np.any(m) for sides in margins.values() for m in sides)
        n_lines, length = (1, size) if flat else (grid[0] * grid[1], grid[2] * grid[3])
        number = self._layer(kind, parameters, size, base, bool(incoming), n_lines, length, neurons)
        for (decay, instant), connections in groups.items():
            low, high = margins[decay, instant]
            padded = np.array(grid[:3]) + low + high
            strides = np.array([padded[1] * padded[2] * grid[3], padded[2] * grid[3], grid[3], 1])
            origin = self._n_currents + int(low @ strides[:3])
            buffer = len(lists["decay"])
            lines = (
                [origin]
                if flat
                else [origin + z * strides[0] + y * strides[1] for z in range(grid[0]) for y in range(grid[1])]
            )
            lists["line_at"] += [int(v) for v in lines]
            lists["lines_at"].append(len(lists["line_at"]))
            lists["decay"].append(decay)
            lists["instant"].append(instant)
            self._n_currents += int(np.prod(padded)) * grid[3]
            lists["buffer_at"].append(self._n_currents)
            for connection in connections:
                self._connection(connection, buffer, origin, strides)
        lists["buffers"].append(len(lists["decay"]))
        lists["connections"].append(len(lists["source"]))
        return number

    def _layer(
        self,
        kind: int,
        parameters: list[float],
        size: int,
        base: "NDArray[np.float64] | int",
        reached: bool | int,
        n_lines: int,
        length: int,
        neurons: NeuronLayer | None,
    ) -> int:
        lists = self._lists
        number = len(lists["kind"])
        lists["kind"].append(kind)
        lists["parameters"].append([*parameters, *[0.0] * (5 - len(parameters))])
        lists["size"].append(size)
        lists["n_lines"].append(n_lines)
        lists["line_length"].append(length)
        lists["base_from_image"].append(isinstance(base, int) and kind != INPUT)
        stride = length
        if isinstance(base, int):
            lists["base_at"].append(base)
        else:
            own, lines = base, base.reshape(n_lines, length)
            if reached and np.all(lines == lines[0]):
                own, stride = lines[0], 0
            lists["base_at"].append(self._n_base)
            lists["base"].append(own)
            self._n_base += own.size
        lists["base_stride"].append(stride)
        lists["first"].append(self._n_neurons)
        if neurons is not None:
            state = neurons.initial_state
            lists["voltage"].append(state["voltage"])
            lists["refractory"].append(state.get("refractory_time", np.zeros(size)))
            self._n_neurons += size
        self.neurons.append(neurons)
        if kind == INPUT:
            lists["buffers"].append(0)
            lists["connections"].append(0)
        return number

    def _connection(self, connection: _Incoming, buffer: int, origin: int, strides: NDArray[np.int64]) -> None:
        lists, rows = self._lists, connection.rows
        here = rows.start[:, 0] > NOWHERE
        start = np.where(here, origin + rows.start @ strides, -1)
        ends = [
            [(int(np.dot(p, strides)), int(np.dot(p, strides)) + n) for p, _, n in r] or [(0, 0)] for r in rows.rows
        ]
        low, high = (np.array([f(e[i] for e in of_class) for of_class in ends]) for i, f in ((0, min), (1, max)))
        numbers = rows.classes[here]
        inside = start[here] + low[numbers] >= lists["buffer_at"][buffer]
        inside &= start[here] + high[numbers] <= self._n_currents
        assert inside.all(), "rows end inside their buffer, for the kernel does not look"
        lists["source"].append(connection.source)
        lists["table"].append(self._n_tables)
        lists["one_class"].append(len(lists["rows"]) - 1 if len(rows.rows) == 1 else -1)
        lists["into"].append(buffer)
        lists["start"].append(start)
        lists["weight_at"].append(np.where(here, rows.weight_at + self._n_weights, 0))
        lists["classes"].append(rows.classes + len(lists["rows"]) - 1)
        for of_class in rows.rows:
            for place, weight, length in of_class:
                lists["row_at"].append(int(np.dot(place, strides)))
                lists["row_weight"].append(weight)
                lists["row_length"].append(length)
            lists["rows"].append(len(lists["row_at"]))
        lists["weights"].append(rows.weights)
        self._n_weights += rows.weights.size
        self._n_tables += len(start)
        self.connected.append((connection.source, rows.adds))
        self._first_starts.setdefault(connection.source, start)

    def program(self) -> Program:
        """Return the arrays."""
        lists = self._lists
        for number, neurons in enumerate(self.neurons):
            if neurons is not None:
                start = self._first_starts.get(number)
                natural = np.arange(neurons.size)
                lists["order"].append(natural if start is None else np.argsort(start, kind="stable"))
        of_type = {"int32": ("order", "start", "weight_at", "classes", "row_at", "row_weight", "row_length")}
        bools = ("base_from_image", "instant")
        joined = ("order", "start", "weight_at", "classes", "weights", "base", "voltage", "refractory")
        floats = ("parameters", "decay", "weights", "base", "voltage", "refractory")
        arrays = {}
        for name, values in lists.items():
            dtype = (
                "int32"
                if name in of_type["int32"]
                else "bool"
                if name in bools
                else self._precision
                if name in floats
                else "int64"
            )
            found = np.concatenate([np.zeros(0), *values]) if name in joined else np.asarray(values)
            if dtype == "int32" and found.max(initial=0) > np.iinfo(np.int32).max:
                raise _refused(f"the network has {self._n_weights:,} weights and {self._n_currents:,} currents")
            arrays[name] = aligned(np.ascontiguousarray(found, dtype)) if name == "weights" else found.astype(dtype)
        return Program(**arrays)
