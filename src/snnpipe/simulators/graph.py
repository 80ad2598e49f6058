"""A converted network as linear layers and layers of neurons, with every scale folded into the weights.

Inside the fast simulators, a layer of neurons passes on its number of spikes in a step, n, and not the physical output
``amplitude / dt * n``. It takes its current in the unit that its equation needs (spikes per step for spiking rectified
linear neurons). Each tensor has a unit: the physical value is unit * tensor. Pooling, padding and reshaping keep the
unit, and the next layer with weights takes it into its weights.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.frameworks.keras_graph import MAX_POOLING, MOVING, POOLING, WEIGHTED, channels_last
from snnpipe.frameworks.pooling import Windows
from snnpipe.values.network import NeuronLayer

if TYPE_CHECKING:
    import tensorflow as tf

HOMOGENEOUS = (*MOVING, *POOLING)
"""Linear layers with one input and no weights: a factor on the input is the same factor on the output."""

SCALABLE = (*HOMOGENEOUS, *MAX_POOLING, "Add", "Average", "Concatenate")
"""Layers without weights: a factor on all inputs is the same factor on the output, for max pooling a positive one."""


@dataclass(frozen=True, eq=False)
class LayerOp:
    """One application of a Keras layer, without the neurons in it.

    Attributes
    ----------
    layer
        The Keras layer, whose settings hold but for ``activation``, and whose weights do not.
    activation
        Name of the activation.
    weights
        The weights, with scales folded in. Of a batch normalisation: factor, offset, mean 0 and variance 1.
    inputs, output
        Numbers of its input tensors and its output tensor.
    factors
        Factor on each input.
    dtype
        Type of all values.
    make
        Makes the function that computes the layer.
    """

    layer: Any
    activation: str
    weights: tuple[NDArray[Any], ...]
    inputs: tuple[int, ...]
    factors: tuple[float, ...]
    output: int
    dtype: np.dtype[Any]
    make: Callable[[], Callable[[Any], Any]]

    @cached_property
    def apply(self) -> Callable[[Any], Any]:
        """The function that computes the layer. It is made when it is first asked for, with TensorFlow's variables."""
        return self.make()

    @property
    def kind(self) -> str:
        """The Keras layer's class."""
        return type(self.layer).__name__

    def __call__(self, values: "Sequence[tf.Tensor]") -> "tf.Tensor":
        """Return the layer's output."""
        scaled = [v if f == 1 else v * self.dtype.type(f) for v, f in zip(values, self.factors, strict=True)]
        return self.apply(scaled if len(scaled) > 1 else scaled[0])


@dataclass(frozen=True, eq=False)
class NeuronOp:
    """A layer of neurons.

    Attributes
    ----------
    layer
        The network's description of the layer.
    current, output
        Numbers of its input tensor and its output tensor.
    factor
        Factor on the current.
    """

    layer: NeuronLayer
    current: int
    factor: float
    output: int

    @property
    def inputs(self) -> tuple[int, ...]:
        """Number of its input tensor."""
        return (self.current,)


@dataclass(frozen=True, eq=False)
class PoolingOp:
    """Max pooling over time (`snnpipe.conversion.max_pooling`), which keeps the sum of each input.

    Attributes
    ----------
    layer
        Copy of the Keras layer.
    maximum
        Function that returns the maximum of each window.
    input, output
        Numbers of its input tensor and its output tensor.
    windows
        The windows.
    gated
        Whether a window passes on its input with the largest sum; otherwise it sends the growth of the largest sum.
    """

    layer: Any
    maximum: Callable[[Any], Any]
    input: int
    output: int
    windows: Windows
    gated: bool

    @property
    def inputs(self) -> tuple[int, ...]:
        """Number of its input tensor."""
        return (self.input,)


Op = LayerOp | NeuronOp | PoolingOp


@dataclass(frozen=True, eq=False)
class Graph:
    """A network's operations in an order in which they can run.

    Attributes
    ----------
    ops
        Keras layers, layers of neurons and max pooling over time.
    image, output
        Numbers of the network's input tensor and output tensor.
    output_unit
        Unit of the output: the physical output is unit * output.
    shapes
        Shape of each tensor, without the batch.
    from_image, from_neurons
        Whether each tensor depends on the image by a path without neurons, and whether it depends on neurons. Max
        pooling over time counts as neurons here.
    """

    ops: tuple[Op, ...]
    image: int
    output: int
    output_unit: float
    shapes: tuple[tuple[int, ...], ...]
    from_image: tuple[bool, ...]
    from_neurons: tuple[bool, ...]

    @property
    def neurons(self) -> tuple[NeuronOp, ...]:
        """The layers of neurons."""
        return tuple(op for op in self.ops if isinstance(op, NeuronOp))

    @property
    def sources(self) -> "tuple[NeuronOp | PoolingOp, ...]":
        """The layers of neurons and the max pooling over time, whose outputs start the linear layers behind them."""
        return tuple(op for op in self.ops if not isinstance(op, LayerOp))

    def prepare(self) -> None:
        """Make the functions of all layers, for TensorFlow's variables cannot be made within a compiled function."""
        for op in self.ops:
            if isinstance(op, LayerOp):
                _ = op.apply

    def users(self, tensor: int) -> list[Op]:
        """Return the operations that take a tensor."""
        return [op for op in self.ops if tensor in op.inputs]

    def evaluate(self, known: "Mapping[int, tf.Tensor]", wanted: Sequence[int]) -> "list[tf.Tensor]":
        """Return the wanted tensors, computed from known ones through linear layers alone."""
        return self._computed(known, wanted, LayerOp.__call__)

    def at_zero(self, wanted: Sequence[int]) -> list[NDArray[np.float64]]:
        """Return the wanted tensors, flat, where the image and all outputs of neurons and of max pooling are 0."""
        known = dict.fromkeys((self.image, *(op.output for op in self.sources)))
        return [
            np.zeros(int(np.prod(self.shapes[tensor]))) if still is None else np.asarray(still, np.float64).ravel()
            for tensor, still in zip(wanted, self._computed(known, wanted, self._of_still), strict=True)
        ]

    def _computed(
        self, known: Mapping[int, Any], wanted: Sequence[int], compute: Callable[[LayerOp, list[Any]], Any]
    ) -> list[Any]:
        """Return the wanted tensors, from known ones and a function that computes a layer from its inputs."""
        values = dict(known)
        producers = {op.output: op for op in self.ops if isinstance(op, LayerOp)}

        def value(tensor: int) -> Any:
            if tensor not in values:
                op = producers[tensor]
                values[tensor] = compute(op, [value(i) for i in op.inputs])
            return values[tensor]

        return [value(tensor) for tensor in wanted]

    def _of_still(self, op: LayerOp, inputs: Sequence[Any]) -> Any:
        """Return a layer's output for some inputs, of which None stands for zeros, in the same form."""
        if all(own is None for own in inputs):
            if op.kind in SCALABLE:
                return None
            if op.kind in WEIGHTED and op.activation == "linear" and channels_last(op.layer):
                return np.broadcast_to(op.weights[1], (1, *self.shapes[op.output])) if op.layer.use_bias else None
        zeros = [
            np.zeros((1, *self.shapes[i]), op.dtype) if own is None else own
            for i, own in zip(op.inputs, inputs, strict=True)
        ]
        return op(zeros)
