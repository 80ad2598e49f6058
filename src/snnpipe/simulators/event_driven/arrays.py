"""Collects the flat arrays that the event-driven kernel runs, layer by layer."""

from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snnpipe.neurons.model import EventRule
from snnpipe.neurons.table import neuron_model
from snnpipe.settings.domains import Precision
from snnpipe.simulators.event_driven.compiled import aligned
from snnpipe.simulators.event_driven.connections import Incoming, refused
from snnpipe.simulators.event_driven.constant import DIRECT_FROM
from snnpipe.simulators.event_driven.layout import (
    FIXED,
    GATED,
    IMAGE,
    INPUT,
    OUTPUT,
    SHOWN,
    STILL,
    SUMS,
    Base,
    Program,
)
from snnpipe.simulators.event_driven.rows import NOWHERE, Rows
from snnpipe.simulators.event_driven.scatter import LINES, WIDTH
from snnpipe.simulators.event_driven.spiking import FUNCTIONS
from snnpipe.simulators.event_driven.vectors import LANES
from snnpipe.simulators.graph import PoolingOp
from snnpipe.values.network import NeuronLayer


class Arrays:
    """The arrays of a program, while they are collected."""

    def __init__(self, precision: Precision, dt: float, n_steps: int):
        self._precision = precision
        self._dt = dt
        self._n_steps = n_steps
        self.pooling: dict[int, sparse.csr_array] = {}
        self.neurons: list[NeuronLayer | None] = []
        self.connected: list[tuple[int, int, float]] = []
        self._lists: dict[str, list[Any]] = {name: [] for name in Program._fields}
        for name in ("buffers", "lines_at", "buffer_at", "connections", "rows"):
            self._lists[name].append(0)
        self._n_cells = 0
        self._n_neurons = self._n_currents = self._n_weights = self._n_tables = self._n_base = self._n_shown = 0
        self._first_starts: dict[int, NDArray[np.int64]] = {}

    def input(self, size: int, constant: bool) -> int:
        """Add an input and return its number."""
        return self._layer(IMAGE if constant else INPUT, None, size, Base(FIXED, 0), 0, 1, size, None)

    def still(self, size: int, incoming: list[Incoming], base: NDArray[np.float64]) -> Base:
        """Add currents that a constant image causes, and return their place."""
        self.layer(size, incoming, base, still=True)
        return Base(SHOWN, self._n_shown - size)

    def layer(
        self,
        size: int,
        incoming: list[Incoming],
        base: "NDArray[np.float64] | Base",
        neurons: NeuronLayer | None = None,
        rule: EventRule | None = None,
        pooling: PoolingOp | None = None,
        still: bool = False,
    ) -> int:
        """Add a layer and the connections into it, and return its number.

        A layer without a rule is max pooling if there is one, currents of a constant image, or else the output.
        """
        if still:
            kind = STILL
        elif pooling is not None:
            kind = GATED if pooling.gated else SUMS
            self.pooling[len(self.neurons)] = pooling.windows
        else:
            kind = OUTPUT if rule is None else FUNCTIONS[rule.function]
        lists = self._lists
        grid = incoming[0].grid if incoming else (1, 1, 1, size)
        groups: dict[tuple[float, bool], list[Incoming]] = {}
        for connection in incoming:
            groups.setdefault((connection.decay, connection.instant), []).append(connection)
        if kind >= SUMS and not groups:
            groups = {(0.0, True): []}
        margins = {}
        for key, connections in groups.items():
            reaches = [c.rows.reach(grid) for c in connections]
            margins[key] = tuple(
                np.max([r[side] for r in reaches], axis=0) if reaches else np.zeros(3, np.int64) for side in range(2)
            )
        flat = not any(np.any(m) for sides in margins.values() for m in sides)
        n_lines, length = (1, size) if flat else (grid[0] * grid[1], grid[2] * grid[3])
        number = self._layer(kind, rule, size, base, bool(incoming), n_lines, length, neurons)
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
            n_currents = int(np.prod(padded)) * grid[3] + LANES  # a vector may reach behind the last current
            self._n_currents += n_currents + -n_currents % LANES
            lists["buffer_at"].append(self._n_currents)
            for connection in connections:
                self._connection(number, connection, buffer, origin, strides)
        lists["buffers"].append(len(lists["decay"]))
        lists["connections"].append(len(lists["source"]))
        return number

    def _layer(
        self,
        kind: int,
        rule: EventRule | None,
        size: int,
        base: "NDArray[np.float64] | Base",
        reached: bool | int,
        n_lines: int,
        length: int,
        neurons: NeuronLayer | None,
    ) -> int:
        lists = self._lists
        number = len(lists["kind"])
        lists["kind"].append(kind)
        parameters = rule.parameters if rule is not None else ()
        lists["parameters"].append([*parameters, *[0.0] * (5 - len(parameters))])
        lists["threshold"].append(rule.threshold if rule is not None else 0.0)
        lists["size"].append(size)
        lists["n_lines"].append(n_lines)
        lists["line_length"].append(length)
        stride = length
        if isinstance(base, Base):
            source, at = base
        else:
            source, at = FIXED, self._n_base
            own, lines = base, base.reshape(n_lines, length)
            if reached and np.all(lines == lines[0]):
                own, stride = lines[0], 0
            lists["base"].append(own)
            self._n_base += own.size
        lists["base_from"].append(source)
        lists["base_at"].append(at)
        lists["base_stride"].append(stride)
        lists["shown_at"].append(self._n_shown)
        self._n_shown += size if kind == STILL else 0
        lists["first"].append(self._n_neurons)
        neuron = None if neurons is None else neurons.neuron_type
        most = inf if neuron is None else neuron_model(neuron).most_spikes(neuron, self._dt)
        direct = False
        if neurons is not None:
            state = neurons.initial_state
            below = np.all(state["voltage"].astype(self._precision) < 1)
            direct = rule is not None and rule.direct and most == inf and bool(below) and self._n_steps >= DIRECT_FROM
            lists["voltage"].append(state["voltage"])
            lists["refractory"].append(state.get("refractory_time", np.zeros(size)))
            self._n_neurons += size
        self._windows(number, size)
        lists["most_spikes"].append(most)
        lists["direct"].append(direct)
        self.neurons.append(neurons)
        if kind in (INPUT, IMAGE):
            lists["buffers"].append(0)
            lists["connections"].append(0)
        return number

    def _windows(self, number: int, size: int) -> None:
        lists = self._lists
        windows = self.pooling.get(number)
        lists["windows"].append(sum(map(len, lists["cells_at"])))
        lists["cells"].append(sum(map(len, lists["windows_at"])))
        if windows is not None:
            by_input = sparse.csr_array(windows.T)
            by_input.sort_indices()
            for places, values, matrix in (("cells_at", "cell", windows), ("windows_at", "window", by_input)):
                lists[places].append(matrix.indptr.astype(np.int64) + self._n_cells)
                lists[values].append(matrix.indices)
            self._n_cells += windows.nnz
            lists["voltage"].append(np.zeros(size))
            lists["refractory"].append(np.zeros(size))
            self._n_neurons += size

    def _connection(
        self, target: int, connection: Incoming, buffer: int, origin: int, strides: NDArray[np.int64]
    ) -> None:
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
        lists["n_inputs"].append(0 if rows.input_of is None else len(start))
        lists["inputs_at"].append(sum(map(len, lists["input_of"])))
        if rows.input_of is not None:
            lists["input_of"].append(rows.input_of)
        lists["one_class"].append(len(lists["rows"]) - 1 if len(rows.rows) == 1 else -1)
        channels = _channels(rows, strides)
        lists["channels"].append(channels)
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
        weights = _by_position(rows, channels) if channels else rows.weights
        lists["weights"].append(np.pad(weights, (0, -weights.size % LANES)))  # the next connection's begin a vector
        self._n_weights += lists["weights"][-1].size
        self._n_tables += len(start)
        self.connected.append((connection.source, target, rows.adds))
        if rows.input_of is not None:
            start = np.where(rows.input_of >= 0, start[rows.input_of], -1)
        self._first_starts.setdefault(connection.source, start)

    def program(self) -> Program:
        """Return the collected arrays as a program."""
        lists = self._lists
        for number, neurons in enumerate(self.neurons):
            if number in self.pooling:
                lists["order"].append(np.arange(self.pooling[number].shape[1]))
            elif neurons is not None:
                start = self._first_starts.get(number)
                natural = np.arange(neurons.size)
                lists["order"].append(natural if start is None else np.argsort(start, kind="stable"))
        numbers = ("order", "input_of", "start", "weight_at", "classes", "row_at", "row_weight", "row_length")
        bools = ("instant", "direct")
        at = ("cells_at", "cell", "windows_at", "window")
        lists["weights"].append(np.zeros(LANES))
        joined = ("order", "input_of", "start", "weight_at", "classes", "weights", "base", "voltage", "refractory", *at)
        floats = ("parameters", "threshold", "most_spikes", "decay", "weights", "base", "voltage", "refractory")
        kinds = dict.fromkeys(numbers, "int32") | dict.fromkeys(bools, "bool") | dict.fromkeys(floats, self._precision)
        arrays = {}
        for name, values in lists.items():
            dtype = kinds.get(name, "int64")
            array = np.concatenate([np.zeros(0), *values]) if name in joined else np.asarray(values)
            if dtype == "int32" and array.max(initial=0) > np.iinfo(np.int32).max:
                raise refused(f"the network has {self._n_weights:,} weights and {self._n_currents:,} currents")
            arrays[name] = aligned(np.ascontiguousarray(array, dtype)) if name == "weights" else array.astype(dtype)
        return Program(**arrays)


def _channels(rows: Rows, strides: NDArray[np.int64]) -> int:
    """Return the number of currents of a position if the rows can be added position by position; 0 otherwise.

    They can in convolutions of width three, stride and dilation one, and a multiple of 16 filters: all rows have three
    positions of whole vectors, their weights follow one another, and no row reaches the next.
    """
    channels = int(strides[2])
    if len(rows.rows) > 1 or not rows.rows[0] or rows.absolute or channels % LANES:
        return 0
    length = 3 * channels
    if any((at, n) != (length * r, length) for r, (_, at, n) in enumerate(rows.rows[0])):
        return 0
    block = length * len(rows.rows[0])
    places = np.array([place for place, *_ in rows.rows[0]]) @ strides
    whole = rows.weights.size % block == 0 and not np.any(rows.weight_at[rows.start[:, 0] > NOWHERE] % block)
    return channels if whole and np.all(np.diff(places) >= length) else 0


def _by_position(rows: Rows, channels: int) -> NDArray[np.float64]:
    """Return the weights in the order in which `_slide` adds them: by lines, vectors of channels, line and position."""
    n_rows = len(rows.rows[0])
    lines = LINES if n_rows % LINES == 0 else 1
    weights = rows.weights.reshape(-1, n_rows // lines, lines, 3, channels)
    parts = [weights[..., at : at + WIDTH] for at in range(0, channels, WIDTH)]
    return np.concatenate([part.reshape(*weights.shape[:2], -1) for part in parts], axis=2).ravel()
