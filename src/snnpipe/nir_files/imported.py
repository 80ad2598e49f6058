"""A graph of NIR as a Keras model, channels last, with the settings of its layers of neurons.

Each node's output has a unit: the value here is unit * value in the file. Neurons have the unit that the conversion
gave them; weights take in the unit of their input and give the unit that the next node needs. So the weights of a
network that was exported here are the very ones that it had.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import BundleError, SnnPipeError, one_line
from snnpipe.conversion.layer_settings import LayerSettings
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.nir_files.fields import Mean, checked_shape, mean_of, numbers, whole_numbers
from snnpipe.nir_files.layout import channels_last, flat_order, kernel_to_keras, plain_name
from snnpipe.nir_files.neurons import ReadNeurons, read_if, read_lif, read_synapse

if TYPE_CHECKING:
    import nir
    import tf_keras

_WEIGHTS = ("Affine", "Linear", "Conv1d", "Conv2d")
_NEURONS = ("IF", "LIF")
_BEHIND_NEURONS = ("LI", "Delay")
_PASSING = ("Flatten", "AvgPool2d", "SumPool2d", "Scale")
_CURES = {
    "NIRGraph": "a graph inside a graph is not read: put its nodes into the outer one",
    "CubaLIF": "its filter smooths biases too: take a LIF, with an LI behind the neurons before it",
    "CubaLI": "a leaky integrator stands behind neurons only: take an LI there",
    "I": "an integrator never spikes: take an IF",
    "Threshold": "neurons here have a state: take an IF",
}
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class Imported:
    """A model, and the settings of its layers of neurons by name, from input to output."""

    model: "tf_keras.Model"
    settings: Mapping[str, LayerSettings]


def imported(graph: "nir.NIRGraph", dt: float, step: float, default: Any) -> Imported:
    """Return the network of a graph.

    Parameters
    ----------
    graph
        The graph.
    dt
        Seconds per step.
    step
        Length of a step in the file's unit of time.
    default
        `snnpipe.IntegrateAndFire` for ``IF`` nodes whose metadata do not say how they reset; None to refuse them.

    Raises
    ------
    BundleError
        If a node, or how nodes are connected, has nothing here that computes the same. The message names the node.
    """
    return _Reader(graph, dt, step, default).read()


@dataclass(frozen=True, eq=False)
class _Value:
    """A tensor here, with the order of its values in the file if it was flattened."""

    tensor: Any
    unit: float
    order: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape[1:])


class _Reader:
    def __init__(self, graph: "nir.NIRGraph", dt: float, step: float, default: Any):
        self._dt, self._step, self._default = dt, step, default
        self._nodes: dict[str, Any] = dict(graph.nodes)
        self._edges = list(dict.fromkeys(tuple(edge) for edge in graph.edges))
        self._order = self._checked_order()
        self._neurons: dict[str, ReadNeurons] = {}
        self._means: dict[str, Mean] = {}
        self._wishes: dict[str, float | None] = {}
        self._values: dict[str, _Value] = {}
        self._names: set[str] = set()
        self._settings: dict[str, LayerSettings] = {}

    def read(self) -> Imported:
        for name in self._order:
            self._each(name, self._read_node)
        if not self._neurons:
            raise BundleError("it has no neurons: give a graph with IF or LIF nodes")
        for name in reversed(self._order):
            self._each(name, self._wish)
        for name in self._order:
            self._each(name, self._build)
        (first,), (last,) = (self._of_kind(kind) for kind in ("Input", "Output"))
        model = import_tf_keras().Model(self._values[first].tensor, self._values[last].tensor, name="network")
        return Imported(model, self._settings)

    def _each(self, name: str, act: Callable[[str, Any], None]) -> None:
        """Do something with a node; an error names it."""
        node = self._nodes[name]
        try:
            act(name, node)
        except BundleError:
            raise
        except SnnPipeError as error:
            raise BundleError(f"node {name!r} ({type(node).__name__}): {one_line(error)}") from error
        except Exception as error:  # a file may hold anything, and Keras refuses it with errors of many kinds
            raise BundleError(f"node {name[:100]!r} ({type(node).__name__}): {one_line(error)[:300]}") from error

    # ------------------------------------------------------------------ the graph

    def _checked_order(self) -> list[str]:
        """Return the names of all nodes, each behind those that it depends on."""
        kinds = {name: type(node).__name__ for name, node in self._nodes.items()}
        known = (*_WEIGHTS, *_NEURONS, *_BEHIND_NEURONS, *_PASSING, "Input", "Output")
        for name, kind in kinds.items():
            if kind not in known:
                raise BundleError(f"node {name!r} ({kind}): {_CURES.get(kind, 'there is no such layer here')}")
        for kind in ("Input", "Output"):
            if (n := sum(own == kind for own in kinds.values())) != 1:
                raise BundleError(f"it has {n} nodes of type {kind}: give a graph with one")
        for edge in self._edges:
            if missing := [name for name in edge if name not in kinds]:
                raise BundleError(f"an edge leads to {missing[0]!r}, and there is no such node")
        sorter = TopologicalSorter({name: self._before(name) for name in kinds})
        try:
            order = list(sorter.static_order())
        except CycleError as error:
            nodes = " -> ".join(error.args[1])
            raise BundleError(f"its nodes form a circle ({nodes}): recurrent networks are not read") from error
        for name, kind in kinds.items():
            if (not self._before(name) and kind != "Input") or (not self._behind(name) and kind != "Output"):
                raise BundleError(f"node {name!r} ({kind}): it has no input or no output: connect it, or leave it out")
        return order

    def _before(self, name: str) -> list[str]:
        return [source for source, target in self._edges if target == name]

    def _behind(self, name: str) -> list[str]:
        return [target for source, target in self._edges if source == name]

    def _of_kind(self, *kinds: str) -> list[str]:
        return [name for name, node in self._nodes.items() if type(node).__name__ in kinds]

    # ------------------------------------------------------------------ neurons and units

    def _read_node(self, name: str, node: Any) -> None:
        """Note what needs no input to be known: neurons, filters behind them, factors and means."""
        kind = type(node).__name__
        if kind == "IF":
            self._neurons[name] = read_if(node, self._dt, self._step, self._default)
        elif kind == "LIF":
            self._neurons[name] = read_lif(node, self._dt, self._step)
        elif kind in _BEHIND_NEURONS:
            (source, *more) = self._before(name)
            if more or source not in self._neurons or len(self._behind(source)) > 1:
                raise ValueError("it must be the only node behind a node of neurons")
            own = self._neurons[source]
            self._neurons[source] = replace(own, synapse=read_synapse(node, self._dt, self._step))
        elif kind not in ("Input", "Output") and (mean := mean_of(node, kind)) is not None:
            self._means[name] = mean

    def _wish(self, name: str, node: Any) -> None:
        """Note the unit that a node's input should have, from those behind it; None for any."""
        kind = type(node).__name__
        wish: float | None = None
        if name in self._neurons:
            wish = self._neurons[name].takes
        elif kind == "Output":
            wish = 1.0
        elif name in self._means and (behind := self._wished(name)) is not None:
            wish = behind * self._means[name].gain
        self._wishes[name] = wish

    def _wished(self, name: str) -> float | None:
        """Return the unit that all nodes behind a node wish; None if they wish none, or different ones."""
        wishes = [wish for target in self._behind(name) if (wish := self._wishes[target]) is not None]
        return wishes[0] if wishes and all(_same(wish, wishes[0]) for wish in wishes) else None

    # ------------------------------------------------------------------ layers

    def _build(self, name: str, node: Any) -> None:
        kind = type(node).__name__
        if kind == "Input":
            shape = tuple(int(n) for n in np.atleast_1d(node.input_type["input"]))
            shape = channels_last(checked_shape(shape)) if len(shape) > 1 else checked_shape(shape)
            self._values[name] = _Value(import_tf_keras().Input(shape, name=self._name(name)), 1.0)
        elif kind in _BEHIND_NEURONS:
            self._values[name] = self._values[self._before(name)[0]]
        elif name in self._means:
            self._values[name] = self._passing(name, node, self._means[name])
        elif name in self._neurons:
            self._values[name] = self._spiking(name)
        elif kind == "Output":
            self._values[name] = self._output(name)
        else:
            self._values[name] = self._weighted(name, node, kind)

    def _input_of(self, name: str, unit: float | None) -> _Value:
        """Return the sum of a node's inputs in a unit; None for the unit of the first."""
        values = [self._values[source] for source in self._before(name)]
        unit = values[0].unit if unit is None else unit
        converted = [
            self._in_unit(name, source, value, unit) for source, value in zip(self._before(name), values, strict=True)
        ]
        if len(converted) == 1:
            return converted[0]
        if len({None if own.order is None else own.order.tobytes() for own in converted}) > 1:
            raise ValueError("it adds flattened and other values")
        if len({own.shape for own in converted}) > 1:
            raise ValueError(f"its inputs have the shapes {', '.join(str(own.shape) for own in converted)}")
        tensors = [own.tensor for own in converted]
        added = self._applied(import_tf_keras().layers.Add(name=self._name(f"{name}_sum")), tensors)
        return _Value(added, unit, converted[0].order)

    def _in_unit(self, name: str, source: str, value: _Value, unit: float) -> _Value:
        if _same(value.unit, unit):
            return replace(value, unit=unit)
        scaling = import_tf_keras().layers.Rescaling(unit / value.unit, name=self._name(f"{source}_to_{name}"))
        return _Value(self._applied(scaling, value.tensor), unit, value.order)

    def _applied(self, layer: Any, tensors: Any, weights: Sequence[NDArray[Any]] = ()) -> Any:
        shapes = [tuple(tensor.shape) for tensor in tensors] if isinstance(tensors, list) else tuple(tensors.shape)
        checked_shape(layer.compute_output_shape(shapes)[1:])
        result = layer(tensors)
        given, needed = [own.shape for own in weights], [tuple(own.shape) for own in layer.weights]
        if given != needed:
            raise ValueError(f"its weights have the shapes {given} here, and its input needs {needed}")
        layer.set_weights([own.astype(np.float32) for own in weights])
        return result

    def _weighted(self, name: str, node: Any, kind: str) -> _Value:
        layers = import_tf_keras().layers
        source = self._input_of(name, None)
        wished = self._wished(name)
        unit = 1.0 if wished is None else wished
        weight = numbers(node.weight, "weight")
        bias = np.zeros(weight.shape[0]) if kind == "Linear" else numbers(node.bias, "bias")
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"its bias has the shape {bias.shape}, and its weight has {weight.shape}")
        own = self._name(name)
        use_bias = bool(np.any(bias))
        tensor = source.tensor
        if kind in ("Affine", "Linear"):
            if weight.ndim != 2 or len(source.shape) != 1 or weight.shape[1] != source.shape[0]:
                raise ValueError(f"its weight has the shape {weight.shape}, and its input has {source.shape}")
            kernel = weight.T if source.order is None else weight.T[np.argsort(source.order)]
            layer = layers.Dense(len(weight), use_bias=use_bias, name=own)
        else:
            n = weight.ndim - 2
            if n != int(kind[4]) or len(source.shape) != n + 1:
                raise ValueError(f"its weight has the shape {weight.shape}, and its input has {source.shape}")
            window, groups = weight.shape[2:], int(node.groups)
            strides, dilation = whole_numbers(node.stride, n, 1), whole_numbers(node.dilation, n, 1)
            checked_shape([(cells - 1) * apart + 1 for cells, apart in zip(window, dilation, strict=True)])
            kernel, padding = kernel_to_keras(weight), "valid"
            if isinstance(node.padding, (str, bytes)):
                padding = node.padding if isinstance(node.padding, str) else node.padding.decode()
                if padding == "same" and set(strides) != {1}:
                    raise ValueError("padding 'same' is for strides of 1 only")
            elif any(zeros := whole_numbers(node.padding, n, 0)):
                tensor = self._padded(name, tensor, zeros)
            settings = {"padding": padding, "dilation_rate": dilation, "groups": groups, "use_bias": use_bias}
            layer = getattr(layers, f"Conv{n}D")(len(weight), window, strides, name=own, **settings)
        given = [kernel * unit / source.unit, bias * unit] if use_bias else [kernel * unit / source.unit]
        return _Value(self._applied(layer, tensor, given), unit)

    def _padded(self, name: str, tensor: Any, zeros: tuple[int, ...]) -> Any:
        keras, n = import_tf_keras(), len(zeros)
        amounts = zeros[0] if n == 1 else tuple((own, own) for own in zeros)
        return self._applied(
            getattr(keras.layers, f"ZeroPadding{n}D")(amounts, name=self._name(f"{name}_padding")), tensor
        )

    def _passing(self, name: str, node: Any, mean: Mean) -> _Value:
        layers = import_tf_keras().layers
        source = self._input_of(name, self._wishes[name])
        value = replace(source, unit=source.unit / mean.gain)
        if type(node).__name__ == "Flatten":
            return self._flattened(name, node, value)
        n = len(mean.window)
        if n and len(source.shape) != n + 1:
            raise ValueError(f"it pools {n} dimensions, and its input has the shape {source.shape}")
        if prod(mean.window) == 1 and set(mean.strides) <= {1} and not any(mean.zeros):
            return value
        tensor = self._padded(name, source.tensor, mean.zeros) if any(mean.zeros) else source.tensor
        pooling = getattr(layers, f"AveragePooling{n}D")(mean.window, mean.strides, name=self._name(name))
        return replace(value, tensor=self._applied(pooling, tensor))

    def _flattened(self, name: str, node: Any, value: _Value) -> _Value:
        rank = len(value.shape)
        start, end = int(node.start_dim), int(node.end_dim)
        # 1 counts the batch, as PyTorch does; the others count from the first or the last axis of a sample.
        if start not in (0, 1, -rank) or end not in (-1, rank - 1, rank):
            raise ValueError(f"it flattens the axes {start} to {end}: here all axes of a sample are flattened")
        if rank == 1:
            return value
        order = flat_order(value.shape)
        trivial = np.array_equal(order, np.arange(len(order)))
        tensor = self._applied(import_tf_keras().layers.Flatten(name=self._name(name)), value.tensor)
        return _Value(tensor, value.unit, None if trivial else order)

    def _spiking(self, name: str) -> _Value:
        own, source = self._neurons[name], self._input_of(name, self._wishes[name])
        layer_name = self._name(name)
        relu = import_tf_keras().layers.ReLU(own.rectifier.max_value, name=layer_name)
        self._settings[layer_name] = LayerSettings(
            layer_name, own.scale, own.synapse, own.rectifier, own.of(source.shape, source.order), ""
        )
        return _Value(self._applied(relu, source.tensor), own.unit, source.order)

    def _output(self, name: str) -> _Value:
        weighted = set(self._of_kind(*_WEIGHTS)) - set(self._means)
        of_weights = not weighted.isdisjoint(self._before(name))
        value = self._input_of(name, 1.0 if of_weights else None)
        if len(value.shape) != 1 or value.order is not None:
            raise ValueError("the output must be a vector with a number for each class: end with an Affine node")
        return value

    def _name(self, name: str) -> str:
        """Return a name for a layer that no other has: the node's, as TensorFlow takes it."""
        plain = plain_name(name)
        while plain in self._names:
            plain += "_"
        self._names.add(plain)
        return plain


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= _SAME * abs(b)
