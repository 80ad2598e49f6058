"""A converted network as a graph of NIR.

The scales of the layers are folded into the weights as in the fast simulators (`snnpipe.simulators.graph`): a spike is
a 1, and thresholds are 1. A sum is several edges into one node. The weights are written in float64, so that reading
them gives the very weights of the network.
"""

from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import BundleError
from snnpipe.nir_files import neurons
from snnpipe.nir_files.layout import (
    Pads,
    channels_first,
    diagonal,
    flat_order,
    kernel_to_nir,
    plain_name,
    same_pads,
    symmetric,
    without_groups,
)
from snnpipe.simulators.graph import Graph, LayerOp, NeuronOp, PoolingOp
from snnpipe.simulators.graph_of import build_graph
from snnpipe.values.network import SpikingNetwork

if TYPE_CHECKING:
    import nir

_SAME = 1e-12
_CURES = {
    "Concatenate": "NIR adds the inputs of a node up: take Add()",
    "Reshape": "NIR has Flatten only: give the network samples of the shape behind it",
    "Permute": "NIR keeps the order of axes: give the network samples in the order behind it",
    **{f"Cropping{n}D": "NIR has no cropping: crop the samples" for n in (1, 2, 3)},
    **{f"UpSampling{n}D": "NIR has no upsampling: take a smaller stride before it" for n in (1, 2, 3)},
    **{f"{kind}3D": "NIR has layers of two dimensions at most" for kind in ("Conv", "AveragePooling", "ZeroPadding")},
    "GlobalAveragePooling3D": "NIR has layers of two dimensions at most",
}
_POOLINGS = tuple(f"{scope}AveragePooling{n}D" for scope in ("", "Global") for n in (1, 2))


@dataclass(frozen=True)
class Exported:
    """A graph of NIR, and what NIR has no words for, so that only its metadata have it."""

    graph: "nir.NIRGraph"
    unsaid: tuple[str, ...]


def exported(network: SpikingNetwork, dt: float, step: float, portable: bool) -> Exported:
    """Return a converted network as a graph of NIR, without metadata of the graph.

    Parameters
    ----------
    network
        The network.
    dt
        Seconds per step.
    step
        Length of a step in the file's unit of time.
    portable
        Whether pooling and factors are written as convolutions and dense layers.

    Raises
    ------
    BundleError
        If NIR cannot say a layer. The message names the layer and a cure.
    """
    if network.keras_model is None or not network.rectifiers:
        raise BundleError("it is written in Nengo, or by hand, and no conversion of a Keras model's layers")
    graph = build_graph(
        network, "float64", lambda layer: neurons.current_factor(layer, dt), lambda layer: layer.spike_unit(dt)
    )
    return _Writer(graph, network, dt, step, portable).written()


@dataclass(frozen=True, eq=False)
class _Weights:
    """A dense layer (``pads`` is None) or a convolution that is to be written, with its kernel in Keras's layout."""

    kernel: NDArray[np.float64]
    bias: NDArray[np.float64]
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()
    pads: Pads | None = None
    dilation: tuple[int, ...] = ()

    def scaled(self, inputs: float, outputs: float) -> "_Weights":
        return replace(self, kernel=self.kernel * (inputs * outputs), bias=self.bias * outputs)

    def node(self) -> Any:
        import nir

        if self.pads is None:
            return nir.Affine(weight=np.ascontiguousarray(self.kernel.T), bias=self.bias)
        window = symmetric(self.kernel, self.pads, self.dilation, self.shape[:-1], self.strides)
        weight = kernel_to_nir(window.kernel)
        if len(self.pads) == 1:
            (length,), (stride,), (padding,), (dilation,) = (
                self.shape[:-1],
                self.strides,
                window.padding,
                window.dilation,
            )
            return nir.Conv1d(length, weight, stride, padding, dilation, 1, self.bias)
        return nir.Conv2d(self.shape[:-1], weight, self.strides, window.padding, window.dilation, 1, self.bias)


@dataclass(frozen=True, eq=False)
class _Tensor:
    """A tensor of the network: a sum of factors times outputs of nodes.

    ``order`` is the order of the values of a flattened tensor in NIR, and ``pads`` are zeros that the next layer is to
    add, because ``padded_by`` adds them here.
    """

    terms: tuple[tuple[str, float], ...]
    shape: tuple[int, ...]
    order: NDArray[np.int64] | None = None
    pads: Pads | None = None
    padded_by: str = ""


class _Writer:
    """Collects nodes and edges, an operation at a time, and then settles the factors of the edges."""

    def __init__(self, graph: Graph, network: SpikingNetwork, dt: float, step: float, portable: bool):
        self._graph, self._network = graph, network
        self._dt, self._step, self._portable = dt, step, portable
        self._nodes: dict[str, Any] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._edges: dict[tuple[str, str], float] = {}
        self._tensors: dict[int, _Tensor] = {}
        self._reserved = {plain_name(op.layer.name) for op in graph.neurons}
        self._input, self._output = (self._free(name) for name in ("input", "output"))
        self._reserved |= {self._input, self._output}
        self._unsaid: dict[str, None] = {}

    def written(self) -> Exported:
        import nir

        shape = self._graph.shapes[self._graph.image]
        self._add(self._input, nir.Input(np.array(channels_first(shape))), shape)
        self._tensors[self._graph.image] = _Tensor(((self._input, 1.0),), shape)
        for op in self._graph.ops:
            if isinstance(op, PoolingOp):
                raise _refused(
                    op,
                    "NIR has no maximum over time: convert with conversion.max_pooling=average, in Python "
                    "converter=NengoDLConverter(max_pooling='average'), or take average pooling",
                )
            self._tensors[op.output] = self._neurons(op) if isinstance(op, NeuronOp) else self._layer(op)
        output = self._tensors[self._graph.output]
        if output.order is not None or output.pads is not None:
            raise BundleError(
                "the output is a flattened image, whose order is another one in NIR: end with a Dense layer"
            )
        self._add(self._output, nir.Output(np.array(output.shape)), output.shape)
        factors = {factor for _, factor in output.terms}
        of_neurons = not any(isinstance(self._nodes[name], _Weights) for name, _ in output.terms)
        # Spikes of an output are counted: a factor common to all of them says nothing.
        common = of_neurons and len(factors) == 1
        self._connect(output, self._output, 1 / factors.pop() if common else self._graph.output_unit)
        self._settle_factors()
        nodes = {name: node.node() if isinstance(node, _Weights) else node for name, node in self._nodes.items()}
        return Exported(nir.NIRGraph(nodes, list(self._edges), metadata={}), tuple(self._unsaid))

    # ------------------------------------------------------------------ operations

    def _neurons(self, op: NeuronOp) -> _Tensor:
        source, layer = self._plain(op.current), op.layer
        written = neurons.written(layer, self._network.rectifiers[layer.name], self._dt, self._step, source.order)
        self._unsaid |= dict.fromkeys(written.unsaid)
        name = plain_name(layer.name)
        self._add(name, written.nodes[0], layer.shape)
        self._connect(source, name, op.factor)
        for more in written.nodes[1:]:
            before, name = name, self._free(f"{name}_{type(more).__name__.lower()}")
            self._add(name, more, layer.shape)
            self._edges[before, name] = 1.0
        return _Tensor(((name, 1.0),), layer.shape, source.order)

    def _layer(self, op: LayerOp) -> _Tensor:
        kind = op.kind
        if op.activation != "linear":
            raise _refused(op, f"its {op.activation} sends rates, and neurons of NIR send spikes: take a ReLU")
        if kind in ("Add", "Average"):
            return self._sum(op)
        if kind in ("Dense", "Conv1D", "Conv2D", "BatchNormalization"):
            return self._weighted(op)
        if kind in _POOLINGS:
            return self._pooling(op)
        if kind in ("ZeroPadding1D", "ZeroPadding2D"):
            source = self._plain(op.inputs[0])
            pads = np.reshape(op.layer.padding, (-1, 2)).tolist()
            return replace(source, pads=tuple(map(tuple, pads)), padded_by=op.layer.name)
        shape = self._graph.shapes[op.output]
        if kind in ("Flatten", "Reshape") and len(shape) == 1:
            return self._flat(op)
        raise _refused(
            op, _CURES.get(kind, "NIR has no node for it: take convolutions, dense layers and average pooling")
        )

    def _sum(self, op: LayerOp) -> _Tensor:
        sources = [self._plain(tensor) for tensor in op.inputs]
        share = 1 / len(sources) if op.kind == "Average" else 1.0
        if len({None if own.order is None else own.order.tobytes() for own in sources}) > 1:
            raise _refused(op, "it adds flattened and other values: add before you flatten")
        terms: Counter[str] = Counter()
        for source, factor in zip(sources, op.factors, strict=True):
            for name, own in source.terms:
                terms[name] += own * factor * share  # type: ignore[assignment]
        return replace(sources[0], terms=tuple(terms.items()))

    def _weighted(self, op: LayerOp) -> _Tensor:
        layer, source = op.layer, self._tensors[op.inputs[0]]
        values = [own.astype(np.float64) for own in op.weights]
        space = source.shape[:-1]
        if op.kind == "BatchNormalization":
            if list(layer.axis) != [len(source.shape)]:
                raise _refused(op, f"it scales axis {layer.axis[0]}, and NIR channels: put it over the last axis")
            scale, bias = values[0] * op.factors[0], values[1]
            made = self._by_channel(scale, bias, source.shape)
        else:
            kernel, bias = values[0], values[1] if layer.use_bias else np.zeros(values[0].shape[-1])
            made = _Weights(kernel, bias, source.shape)
        if op.kind == "Dense" and space:
            raise _refused(
                op, "NIR's dense layers take vectors: take a convolution with a kernel of 1, or Flatten before it"
            )
        if op.kind.startswith("Conv"):
            strides, dilation = tuple(layer.strides), tuple(layer.dilation_rate)
            pads: Pads = ((0, 0),) * len(space)
            if layer.padding == "same":
                sizes = [n + sum(own) for n, own in zip(space, source.pads or pads, strict=True)]
                pads = same_pads(sizes, layer.kernel_size, strides, dilation)
            pads = _sum_of(pads, source.pads)
            made = _Weights(without_groups(kernel, layer.groups), bias, source.shape, strides, pads, dilation)
            source = replace(source, pads=None)
        if source.pads is not None:
            raise _refused(op, f"{source.padded_by!r} before it adds zeros: put it before a convolution")
        if source.order is not None:
            made = replace(made, kernel=made.kernel[source.order])
            if op.kind == "BatchNormalization":
                raise _refused(op, "it scales flattened values: put it before Flatten")
        return self._with_weights(op, made, source)

    def _with_weights(self, op: LayerOp, made: _Weights, source: _Tensor) -> _Tensor:
        try:
            made.node()
        except ValueError as error:
            raise _refused(op, f"{error}: the type check of NIR takes sides that differ by an even number") from error
        own = plain_name(op.layer.name)
        name = self._free(f"{own}_weights" if own in self._reserved else own)
        shape = self._graph.shapes[op.output]
        self._add(name, made, shape)
        self._connect(source, name)
        return _Tensor(((name, 1.0),), shape)

    def _by_channel(
        self, factors_c: NDArray[np.float64], bias_c: NDArray[np.float64], shape: tuple[int, ...]
    ) -> _Weights:
        """Return the layer that multiplies each channel by a factor and adds a number."""
        n = len(shape) - 1
        ones = (1,) * n
        pads: Pads | None = ((0, 0),) * n if n else None
        return _Weights(diagonal(factors_c, ones), bias_c, shape, ones, pads, ones)

    def _pooling(self, op: LayerOp) -> _Tensor:
        import nir

        layer, source = op.layer, self._tensors[op.inputs[0]]
        space = source.shape[:-1]
        window, strides = (tuple(getattr(layer, name, space)) for name in ("pool_size", "strides"))
        if op.kind == "AveragePooling1D":
            window, strides = (tuple(np.atleast_1d(own).tolist()) for own in (layer.pool_size, layer.strides))
        ones = (1,) * len(space)
        if getattr(layer, "padding", "valid") == "same" and np.any(same_pads(space, window, strides, ones)):
            raise _refused(
                op, "its windows at the border have fewer cells, which NIR has no words for: take padding='valid'"
            )
        pads = _sum_of(((0, 0),) * len(space), source.pads)
        if self._portable:
            kernel = diagonal(np.full(source.shape[-1], 1 / prod(window)), window)
            made = _Weights(kernel, np.zeros(source.shape[-1]), source.shape, strides, pads, ones)
            pooled = self._with_weights(op, made, replace(source, pads=None))
        elif len(space) == 1:
            raise _refused(op, "NIR has no pooling of one dimension: take portable=True, which makes it a convolution")
        elif any(before != behind for before, behind in pads):
            raise _refused(op, f"{source.padded_by!r} adds zeros on one side: take portable=True")
        else:
            sizes = {"kernel_size": window, "stride": strides, "padding": [before for before, _ in pads]}
            node = nir.AvgPool2d(**{name: np.array(own) for name, own in sizes.items()})
            pooled = self._passed_on(op, node, replace(source, pads=None))
        if op.kind.startswith("Global") and not layer.keepdims:
            flat = self._graph.shapes[op.output]
            pooled = replace(pooled, shape=(*ones, flat[-1]))
            self._shapes[pooled.terms[0][0]] = pooled.shape
            pooled = self._flattened(f"{plain_name(op.layer.name)}_flat", pooled, flat)
        return pooled

    def _flat(self, op: LayerOp) -> _Tensor:
        source, shape = self._plain(op.inputs[0]), self._graph.shapes[op.output]
        return source if source.shape == shape else self._flattened(plain_name(op.layer.name), source, shape)

    def _flattened(self, name: str, source: _Tensor, shape: tuple[int, ...]) -> _Tensor:
        import nir

        # Readers disagree on whether axes are counted with the batch: counted from the last, they are the same.
        node = nir.Flatten(np.array(channels_first(source.shape)), start_dim=-len(source.shape), end_dim=-1)
        order = flat_order(source.shape)
        flat = self._through(name, node, source, shape)
        return replace(flat, order=None if np.array_equal(order, np.arange(len(order))) else order)

    def _passed_on(self, op: LayerOp, node: Any, source: _Tensor) -> _Tensor:
        return self._through(plain_name(op.layer.name), node, source, self._graph.shapes[op.output])

    def _through(self, name: str, node: Any, source: _Tensor, shape: tuple[int, ...]) -> _Tensor:
        """Add a node that passes a common factor of its inputs on."""
        name = self._free(name)
        self._add(name, node, shape)
        factors = {factor for _, factor in source.terms}
        common = factors.pop() if len(factors) == 1 else 1.0
        self._connect(source, name, 1 / common)
        return _Tensor(((name, common),), shape)

    # ------------------------------------------------------------------ nodes and edges

    def _plain(self, tensor: int) -> _Tensor:
        """Return a tensor for an operation that adds no zeros to it."""
        own = self._tensors[tensor]
        if own.pads is not None:
            raise BundleError(
                f"layer {own.padded_by!r}: NIR has zeros around the input of a convolution only: put it before one"
            )
        return own

    def _free(self, name: str) -> str:
        while name in self._nodes or name in self._reserved:
            name += "_"
        return name

    def _add(self, name: str, node: Any, shape: tuple[int, ...]) -> None:
        if name in self._nodes:
            raise BundleError(f"two layers would be the node {name!r}: rename one")
        self._nodes[name], self._shapes[name] = node, shape

    def _connect(self, source: _Tensor, target: str, factor: float = 1.0) -> None:
        for name, own in source.terms:
            self._edges[name, target] = own * factor

    def _settle_factors(self) -> None:
        """Move the factors of edges into weights, or into nodes of their own, so that every edge has a factor of 1."""
        for target in list(self._nodes):
            into = {edge: factor for edge, factor in self._edges.items() if edge[1] == target}
            if isinstance(self._nodes[target], _Weights) and len(set(into.values())) == 1:
                self._nodes[target] = self._nodes[target].scaled(next(iter(into.values())), 1.0)
                self._edges |= dict.fromkeys(into, 1.0)
        uses = Counter(source for source, _ in self._edges)
        for (source, target), factor in list(self._edges.items()):
            if abs(factor - 1) < _SAME:
                continue
            if isinstance(self._nodes[source], _Weights) and uses[source] == 1:
                self._nodes[source] = self._nodes[source].scaled(1.0, factor)
            else:
                del self._edges[source, target]
                name = self._free(f"{source}_to_{target}")
                self._add(name, self._factor(factor, self._shapes[source]), self._shapes[source])
                self._edges[source, name] = self._edges[name, target] = 1.0

    def _factor(self, factor: float, shape: tuple[int, ...]) -> Any:
        import nir

        if self._portable:
            return self._by_channel(np.full(shape[-1], factor), np.zeros(shape[-1]), shape)
        return nir.Scale(np.full(channels_first(shape) if len(shape) > 1 else shape, factor))


def _sum_of(pads: Pads, more: Pads | None) -> Pads:
    if more is None:
        return pads
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(pads, more, strict=True))


def _refused(op: LayerOp | PoolingOp, why: str) -> BundleError:
    return BundleError(f"layer {op.layer.name!r} ({type(op.layer).__name__}): {why}")
