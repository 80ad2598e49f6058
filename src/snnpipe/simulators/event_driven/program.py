"""Compiles a converted network to the flat arrays that the event-driven kernel runs.

Each connection becomes rows (`snnpipe.simulators.event_driven.rows`): a spike of neuron i adds
``count * weights[...]`` to a few runs of consecutive currents. Each buffer of currents has margins, which take what
falls outside the target.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import SimulationError
from snnpipe.neurons.model import EventRule
from snnpipe.neurons.table import name_of, neuron_model
from snnpipe.settings.domains import Precision
from snnpipe.simulators.event_driven.arrays import Arrays
from snnpipe.simulators.event_driven.connections import Connections, refused
from snnpipe.simulators.event_driven.layout import GIVEN, Base, Program
from snnpipe.simulators.graph import Graph, PoolingOp
from snnpipe.values.network import NeuronLayer

_MOST_VALUES = 2**24
"""Highest number of values of a layer, because single precision numbers them exactly up to here."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A program, and what is needed to give it input.

    Attributes
    ----------
    program
        Program that the kernel runs.
    layers
        Index of each layer of neurons in the program, by name, in the order of their neurons there.
    seen
        Tensors of the graph, each with a factor, whose flattened values make up the currents that depend on the image
        and that the kernel cannot compute.
    output_layer
        Index of the layer whose spikes are the output; -1 if there is none.
    adds_per_spike
        Mean number of weights that a spike of each layer adds, by layer name; None is the key of a changing input. Max
        pooling is counted as if it passed on every spike.
    """

    program: Program
    layers: Mapping[str, int]
    seen: tuple[tuple[int, float], ...]
    output_layer: int
    adds_per_spike: Mapping[str | None, float]


def compile_program(graph: Graph, constant: bool, precision: Precision, dt: float, n_steps: int) -> Compiled:
    """Return the program of a graph.

    Parameters
    ----------
    graph
        Graph whose weights are in the units that the kernel needs.
    constant
        Whether the image is shown unchanged at each step; otherwise it is a source of events.
    precision
        Precision of all numbers.
    dt
        Seconds per step.
    n_steps
        Number of steps of a run.

    Raises
    ------
    SimulationError
        If the graph has a layer, neuron type or synapse that the kernel cannot run. The message names it.
    """
    return _Compiler(graph, constant, precision, dt, n_steps).compile()


class _Compiler:
    def __init__(self, graph: Graph, constant: bool, precision: Precision, dt: float, n_steps: int):
        self._graph = graph
        self._constant = constant
        self._precision = precision
        self._dt = dt
        self._connections = Connections(graph, dt)
        self._out = Arrays(precision, dt, n_steps)

    def compile(self) -> Compiled:
        graph, out = self._graph, self._out
        if (most := max(int(np.prod(shape)) for shape in graph.shapes)) > _MOST_VALUES:
            raise refused(f"a layer has {most:,} values")
        sources: dict[int, int] = {}
        self._image = out.input(int(np.prod(graph.shapes[graph.image])), self._constant)
        if not self._constant:
            sources[graph.image] = self._image
        seen: list[tuple[int, float]] = []
        names: dict[str, int] = {}
        still = self._still_values()
        for op in graph.sources:
            if isinstance(op, PoolingOp):
                sources[op.output] = self._pooling(op, sources, seen, still)
                continue
            rule = self._rule(op.layer)
            incoming = self._connections.into(op.current, op.factor, sources, out.neurons)
            base = self._base(op.current, op.factor, seen, still)
            names[op.layer.name] = sources[op.output] = out.layer(op.layer.size, incoming, base, op.layer, rule)
        incoming = self._connections.into(graph.output, graph.output_unit, sources, out.neurons)
        base = self._base(graph.output, graph.output_unit, seen, still)
        out.layer(int(np.prod(graph.shapes[graph.output])), incoming, base)
        output_layer = sources.get(graph.output, -1)
        return Compiled(out.program(), names, tuple(seen), output_layer, self._adds(names))

    def _pooling(
        self,
        op: PoolingOp,
        sources: Mapping[int, int],
        seen: list[tuple[int, float]],
        still: Mapping[int, NDArray[np.float64]],
    ) -> int:
        """Add max pooling over time, and return its number."""
        size = int(np.prod(self._graph.shapes[op.input]))
        incoming = self._connections.into(op.input, 1.0, sources, self._out.neurons)
        base = self._base(op.input, 1.0, seen, still)
        return self._out.layer(size, incoming, base, pooling=op)

    def _adds(self, names: Mapping[str, int]) -> dict[str | None, float]:
        """Return the mean number of weights that a spike of each layer adds, if max pooling passed on every spike."""
        numbers: dict[int, str | None] = {number: name for name, number in names.items()}
        adds_of: dict[int, float] = {}
        for source, target, rows in reversed(self._out.connected):
            behind = adds_of.get(target, 0.0) if target in self._out.pooling else 0.0
            adds_of[source] = adds_of.get(source, 0.0) + rows + behind
        if self._constant:
            adds_of.pop(self._image, None)
        return {numbers.get(number): adds for number, adds in adds_of.items() if number not in self._out.pooling}

    # ------------------------------------------------------------------ currents without spikes

    def _still_values(self) -> dict[int, NDArray[np.float64]]:
        """Return the values of currents and output when no neuron spikes and the input is 0."""
        graph = self._graph
        wanted = [tensor for op in graph.sources for tensor in op.inputs] + [graph.output]
        return dict(zip(wanted, graph.at_zero(wanted), strict=True))

    def _base(
        self, tensor: int, factor: float, seen: list[tuple[int, float]], still: Mapping[int, NDArray[np.float64]]
    ) -> "NDArray[np.float64] | Base":
        """Return a target's current without spikes, or its place among the currents that depend on the image."""
        if not (self._constant and self._graph.from_image[tensor]):
            return still[tensor] * factor
        shown = {self._graph.image: self._image}
        try:
            incoming = self._connections.into(tensor, factor, shown, self._out.neurons, most_synapses=0)
        except SimulationError:  # TensorFlow computes what has no rows
            at = sum(int(np.prod(self._graph.shapes[t])) for t, _ in seen)
            seen.append((tensor, factor))
            return Base(GIVEN, at)
        return self._out.still(int(np.prod(self._graph.shapes[tensor])), incoming, still[tensor] * factor)

    def _rule(self, layer: NeuronLayer) -> EventRule:
        rule = neuron_model(layer.neuron_type).events(layer.neuron_type, self._dt)
        if rule is None:
            raise refused(f"layer {layer.name!r} has neurons of type {name_of(layer.neuron_type)}")
        return rule
