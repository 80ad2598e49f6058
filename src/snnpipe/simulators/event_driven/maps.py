"""Keras layers as linear maps between flattened tensors: sparse matrices and convolutions.

Tensors are flattened in C order, with channels last. Axes: z, y, x = positions (1-D and 2-D layers have leading axes of
size 1), c = channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snnpipe.frameworks.keras_graph import MOVING, POOLING, WEIGHTED, channels_last
from snnpipe.frameworks.pooling import pooling_matrix
from snnpipe.simulators.graph import LayerOp

KNOWN = (*MOVING, *POOLING, *WEIGHTED, "Add", "Average", "Concatenate", "BatchNormalization")


def unknown(op: LayerOp, shapes: Sequence[tuple[int, ...]]) -> str | None:
    """Return why a layer is not a linear map that this module knows; None if it is one."""
    layer, kind = op.layer, op.kind
    if kind not in KNOWN:
        return f"is a {kind}"
    if op.activation != "linear":
        return f"has the activation {op.activation!r}"
    if not channels_last(layer):
        return "has its channels first"
    if kind.startswith("UpSampling") and getattr(layer, "interpolation", "nearest") != "nearest":
        return f"interpolates ({layer.interpolation})"
    if getattr(layer, "padding", "valid") == "causal":
        return "pads causally"
    if kind == "Dense" and len(shapes[op.inputs[0]]) != 1:
        return "is a dense layer on more than one axis"
    return None


def matrix(op: LayerOp, slot: int, shapes: Sequence[tuple[int, ...]]) -> sparse.csr_array:
    """Return a layer as a matrix from one of its inputs to its output, without its constant part.

    Parameters
    ----------
    op
        Layer for which `unknown` is None.
    slot
        Index of the input.
    shapes
        Shapes of all tensors, by number.
    """
    shape, factor = shapes[op.inputs[slot]], op.factors[slot]
    size = int(np.prod(shape))
    layer, kind = op.layer, op.kind
    if kind in (*MOVING, "Concatenate"):
        linear = _moved(op, slot, shapes)
    elif kind in POOLING:
        linear = pooling_matrix(layer, shape)
    elif kind == "Add":
        linear = sparse.eye_array(size, format="csr")
    elif kind == "Average":
        linear = sparse.eye_array(size, format="csr") / len(op.inputs)
    elif kind == "BatchNormalization":
        linear = sparse.diags_array(_normalization(op, shape), format="csr")
    elif kind == "Dense":
        linear = sparse.csr_array(op.weights[0].astype(np.float64).T)
    else:
        linear = _convolution_matrix(Convolution.of(op, shape))
    return sparse.csr_array(linear * factor)


def _moved(op: LayerOp, slot: int, shapes: Sequence[tuple[int, ...]]) -> sparse.csr_array:
    """Return the matrix of a layer that moves values, from the output that it gives for numbered values."""
    size = int(np.prod(shapes[op.inputs[slot]]))
    numbered = [
        np.arange(1, size + 1, dtype=op.dtype).reshape(1, *shapes[t])
        if i == slot
        else np.zeros((1, *shapes[t]), op.dtype)
        for i, t in enumerate(op.inputs)
    ]
    output = np.asarray(op.apply(numbered if len(numbered) > 1 else numbered[0])).ravel().astype(np.int64)
    rows = np.flatnonzero(output)
    return sparse.csr_array((np.ones(len(rows)), (rows, output[rows] - 1)), shape=(len(output), size))


def _normalization(op: LayerOp, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the factor of a batch normalisation on each value."""
    along = [size if axis + 1 in op.layer.axis else 1 for axis, size in enumerate(shape)]
    return np.broadcast_to(op.weights[0].astype(np.float64).reshape(along), shape).ravel()


def _tuple(value: Any, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(int(v) for v in value)


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with three position axes.

    Attributes
    ----------
    kernel
        Shape ``(z, y, x, input channels of a group, output channels)``.
    input_shape, output_shape
        ``(z, y, x, c)``.
    strides, dilation, before
        Stride, dilation and leading padding of each position axis.
    groups
        Number of groups of channels.
    """

    kernel: NDArray[np.float64]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    groups: int

    @classmethod
    def of(cls, op: LayerOp, shape: tuple[int, ...]) -> "Convolution":
        """Return the convolution of a layer with inputs of a given shape, without the batch."""
        missing = 4 - len(shape)
        ones = (1,) * missing
        layer, kernel = op.layer, op.weights[0].astype(np.float64)
        kernel = kernel.reshape(*ones, *kernel.shape)
        strides, dilation = (ones + _tuple(v, 3 - missing) for v in (layer.strides, layer.dilation_rate))
        input_shape = ones + tuple(shape)
        before, output = [], []
        for size, k, s, d in zip(input_shape[:3], kernel.shape[:3], strides, dilation, strict=True):
            reach = (k - 1) * d + 1
            if layer.padding == "same":
                n = -(-size // s)
                before.append(max((n - 1) * s + reach - size, 0) // 2)
            else:
                n = (size - reach) // s + 1
                before.append(0)
            output.append(n)
        return cls(
            kernel, input_shape, (*output, kernel.shape[-1]), strides, dilation, tuple(before), int(layer.groups)
        )

    def taps(self, axis: int) -> list[list[tuple[int, int]]]:
        """Return, for each position of an axis, the outputs that it reaches and the tap of each, outputs ascending.

        Outputs may lie outside the axis, before 0 or behind the last one.
        """
        s, d, p = self.strides[axis], self.dilation[axis], self.before[axis]
        return [
            [((x + p - t * d) // s, t) for t in reversed(range(self.kernel.shape[axis])) if (x + p - t * d) % s == 0]
            for x in range(self.input_shape[axis])
        ]


def _convolution_matrix(convolution: Convolution) -> sparse.csr_array:
    """Return a convolution as a matrix. It has many entries, and is meant for cases that have no other form."""
    c_in, c_out, groups = convolution.input_shape[3], convolution.output_shape[3], convolution.groups
    inputs = np.arange(int(np.prod(convolution.input_shape))).reshape(convolution.input_shape)
    outputs = np.arange(int(np.prod(convolution.output_shape))).reshape(convolution.output_shape)
    pairs = [
        [(x, o, t) for x, taps in enumerate(convolution.taps(axis)) for o, t in taps if 0 <= o < size]
        for axis, size in enumerate(convolution.output_shape[:3])
    ]
    rows, columns, values = [], [], []
    for (z, oz, tz), (y, oy, ty), (x, ox, tx) in product(*pairs):
        for g in range(groups):
            i = inputs[z, y, x, g * c_in // groups : (g + 1) * c_in // groups]
            o = outputs[oz, oy, ox, g * c_out // groups : (g + 1) * c_out // groups]
            rows.append(np.tile(o, len(i)))
            columns.append(np.repeat(i, len(o)))
            values.append(convolution.kernel[tz, ty, tx, :, g * c_out // groups : (g + 1) * c_out // groups].ravel())
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(entries, shape=(outputs.size, inputs.size))


def chained(matrices: Sequence[sparse.csr_array], size: int) -> sparse.csr_array:
    """Return the product of matrices; the first matrix is applied first, to a vector of length ``size``."""
    return sparse.csr_array(reduce(lambda product, m: m @ product, matrices, sparse.eye_array(size, format="csr")))
