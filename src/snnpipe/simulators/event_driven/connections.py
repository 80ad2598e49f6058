"""The connections into a layer of the event-driven kernel: each path from a source of events to the layer, as rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snnpipe.base.errors import SimulationError
from snnpipe.frameworks.keras_graph import WEIGHTED
from snnpipe.simulators.event_driven.maps import Convolution, chained, matrix, unknown
from snnpipe.simulators.event_driven.rows import (
    Place,
    Rows,
    convolution_rows,
    dense_rows,
    matrix_rows,
    on_grid,
    one_place,
    single_rows,
)
from snnpipe.simulators.graph import Graph, LayerOp
from snnpipe.values.network import NeuronLayer

_MOST_SYNAPSES = 50_000_000
"""Highest number of synapses of a connection that is a sparse matrix: 600 MB."""


def refused(what: str, cure: str = "clock_driven") -> SimulationError:
    """Return the error that names what the kernel cannot run, and the simulator that can."""
    return SimulationError(f"simulator=event_driven: {what}, which it does not know: take simulator={cure}")


@dataclass(frozen=True, eq=False)
class _Path:
    """A path from a source to a target: layers before the weights, the layer with weights if any, layers behind."""

    before: sparse.csr_array
    core: LayerOp | None
    behind: tuple[tuple[LayerOp, int], ...]
    core_shape: tuple[int, ...]


@dataclass(eq=False)
class Incoming:
    """A connection into a target.

    Attributes
    ----------
    source
        Number of the layer that the connection comes from.
    decay, instant
        Factor by which its currents decay in a step, and whether they act in the step of the spike.
    grid, rows
        Positions of the target, and the rows in these positions.
    path, factor
        Path and factor that the rows were made from.
    """

    source: int
    decay: float
    instant: bool
    grid: Place
    rows: Rows
    path: _Path
    factor: float


class Connections:
    """The connections of a graph, for steps of ``dt`` s."""

    def __init__(self, graph: Graph, dt: float):
        self._graph = graph
        self._dt = dt
        self._producers = {op.output: op for op in graph.ops}

    def into(
        self,
        tensor: int,
        factor: float,
        sources: Mapping[int, int],
        layers: Sequence[NeuronLayer | None],
        most_synapses: int | None = None,
    ) -> list[Incoming]:
        """Return the connections that end in a target.

        Parameters
        ----------
        tensor, factor
            Target, and the factor on its values.
        sources
            Number in the program of each layer that gives events, by the number of its tensor.
        layers
            Layer of neurons of each number; None for an input.
        most_synapses
            Highest number of synapses of a connection that needs a matrix; None for `_MOST_SYNAPSES`.

        Raises
        ------
        SimulationError
            If a layer on the way cannot be run, or a connection would have too many synapses. The message names it.
        """
        most = _MOST_SYNAPSES if most_synapses is None else most_synapses
        incoming: list[Incoming] = []
        for source, passed in self._paths(tensor, sources):
            decay, instant = self._decay(layers[sources[source]])
            path = self._path(source, passed)
            own = factor * (1 if instant else 1 - decay)
            grid, rows = self._rows(path, own, int(np.prod(self._graph.shapes[tensor])), most)
            incoming.append(Incoming(sources[source], decay, instant, grid, rows, path, own))
        flat = (1, 1, 1, int(np.prod(self._graph.shapes[tensor])))
        grid = next((i.grid for i in incoming if i.grid != flat), flat)
        for i in incoming:
            if i.grid != grid:
                if not i.rows.absolute:  # a convolution with another geometry
                    i.rows = self._as_matrix(i.path, i.factor, most)
                i.rows, i.grid = on_grid(i.rows, grid), grid
        return incoming

    def _decay(self, layer: NeuronLayer | None) -> tuple[float, bool]:
        """Return the factor by which a source's currents decay in a step, and whether they act in the spike's step."""
        synapse = None if layer is None else layer.synapse.discrete(self._dt, f"layer {layer.name!r}")
        if layer is None or synapse is None:
            return 0.0, True
        if not layer.synapse.is_low_pass:
            raise refused(f"layer {layer.name!r} has the synapse {layer.synapse}")
        return float(synapse.a[0, 0]), False

    def _paths(self, tensor: int, sources: Mapping[int, int]) -> list[tuple[int, list[tuple[LayerOp, int]]]]:
        """Return each path from a source to a tensor: the layers on it, with the index of the input that it enters."""
        if tensor in sources:
            return [(tensor, [])]
        op = self._producers.get(tensor)
        if not isinstance(op, LayerOp):  # an image, neurons or max pooling over time that are not asked for
            return []
        ways = [
            (source, [*layers, (op, slot)])
            for slot, t in enumerate(op.inputs)
            for source, layers in self._paths(t, sources)
        ]
        if ways and (why := unknown(op, self._graph.shapes)):
            raise refused(f"layer {op.layer.name!r} {why}")
        return ways

    def _path(self, source: int, layers: Sequence[tuple[LayerOp, int]]) -> _Path:
        shapes = self._graph.shapes
        core = next((i for i, (op, _) in enumerate(layers) if op.kind in WEIGHTED), len(layers))
        size = int(np.prod(shapes[source]))
        before = chained([matrix(op, slot, shapes) for op, slot in layers[:core]], size)
        if core == len(layers):
            return _Path(before, None, (), ())
        op = layers[core][0]
        return _Path(before, op, tuple(layers[core + 1 :]), shapes[op.inputs[0]])

    def _rows(self, path: _Path, factor: float, size: int, most_synapses: int) -> tuple[Place, Rows]:
        """Return the grid of a path's positions, and its rows in the form that suits it best."""
        flat = (1, 1, 1, size)
        scale = None if path.core is None else self._behind(path)
        if path.core is None and (single := one_place(path.before)) is not None:
            return flat, single_rows(single[0], single[1] * factor)
        if scale is None:
            return flat, self._as_matrix(path, factor, most_synapses)
        assert path.core is not None
        if path.core.kind == "Dense":
            if path.before.shape[1] * path.core.layer.units > most_synapses and one_place(path.before) is None:
                raise refused(f"layer {path.core.layer.name!r} would have too many synapses")
            kernel = path.core.weights[0].astype(np.float64) * (factor * scale)
            return flat, dense_rows(kernel, path.before)
        convolution = Convolution.of(path.core, path.core_shape)
        rows = convolution_rows(convolution, path.before, factor * scale)
        if rows is None:
            return flat, self._as_matrix(path, factor, most_synapses)
        z, y, x, c = convolution.output_shape
        return (z, y, x, c), rows

    def _behind(self, path: _Path) -> "NDArray[np.float64] | float | None":
        """Return the factor on each channel from the layers behind the weights; None if they do more than scale."""
        assert path.core is not None
        scale: Any = 1.0
        channels = self._graph.shapes[path.core.output][-1]
        for op, slot in path.behind:
            shape = self._graph.shapes[op.output]
            if op.kind == "BatchNormalization" and op.layer.axis == [len(shape)] and shape[-1] == channels:
                scale = scale * op.weights[0].astype(np.float64)
            elif op.kind == "Average":
                scale = scale / len(op.inputs)
            elif op.kind not in ("Add", "Flatten", "Reshape") or (np.ndim(scale) and op.kind != "Add"):
                return None
            scale = scale * op.factors[slot]
        return scale  # type: ignore[no-any-return]

    def _as_matrix(self, path: _Path, factor: float, most_synapses: int) -> Rows:
        shapes = self._graph.shapes
        product = path.before
        if path.core is not None:
            for op, slot in ((path.core, 0), *path.behind):
                if _entries(op, shapes, product) > most_synapses:
                    raise refused(f"layer {op.layer.name!r} stands where too many synapses have to be made of it")
                product = matrix(op, slot, shapes) @ product
        return matrix_rows(sparse.csc_array(product * factor))


def _entries(op: LayerOp, shapes: Sequence[tuple[int, ...]], before: sparse.csr_array) -> int:
    """Return an upper bound on the entries of a layer's matrix and of its product with the matrix before it."""
    if op.kind not in WEIGHTED:
        return 0
    n_in, n_out = int(np.prod(shapes[op.inputs[0]])), int(np.prod(shapes[op.output]))
    per_input = op.weights[0].size // shapes[op.inputs[0]][-1]
    if op.kind == "Dense":
        per_input = n_out
    return max(n_in * per_input, min(int(before.nnz) * per_input, int(before.shape[1]) * n_out))
