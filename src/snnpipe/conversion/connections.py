"""The dependence of a layer's output values on its input values: layers without activations, as boolean matrices.

One value depends on another if a weight other than 0, a copy, a sum, a mean or a maximum joins them. Tensors are
flattened in C order. Channels with the same dependences form one class, so that the matrix of a convolution without
zeros is as small as its positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.frameworks.keras_graph import is_op, rectifier

Shape = tuple[int, ...]

WEIGHTED = (
    "Dense",
    *(f"Conv{n}D{more}" for n in (1, 2, 3) for more in ("", "Transpose")),
    "DepthwiseConv1D",
    "DepthwiseConv2D",
)
"""Layers that have a weight for each pair of an input value and an output value that they join."""

_POOLING = tuple(f"{kind}Pooling{n}D" for kind in ("Average", "Max") for n in (1, 2, 3))
_GLOBAL_POOLING = tuple(f"Global{kind}" for kind in _POOLING)
_MOVING = (
    *("Flatten", "Reshape", "Permute", "RepeatVector", "Concatenate"),
    *(f"{kind}{n}D" for kind in ("ZeroPadding", "Cropping", "UpSampling") for n in (1, 2, 3)),
)
_SCALING = ("BatchNormalization", "Rescaling", "Normalization")
_ONE_TO_ONE = ("Add", "Average", "Activation", "ReLU", "LeakyReLU", "Softmax", *_SCALING)
_KNOWN = (*WEIGHTED, *_POOLING, *_GLOBAL_POOLING, *_MOVING, *_ONE_TO_ONE)
_FLOATS = 2**24


def unknown(layer: Any) -> str:
    """Return why a layer without its activation has no `Link`; empty if it has one."""
    kind = type(layer).__name__
    if kind not in _KNOWN and not (is_op(layer) and rectifier(layer)):
        return f"is a {kind}"
    if kind.startswith("UpSampling") and getattr(layer, "interpolation", "nearest") != "nearest":
        return f"interpolates ({layer.interpolation})"
    return ""


@dataclass(frozen=True, eq=False)
class Link:
    """The dependence of a layer's output on one of its inputs.

    Attributes
    ----------
    inputs, outputs
        Class of each value. A class is a position and a class of channels:
        ``position * channel classes + channel class``.
    parts
        Disjoint parts of the dependence. Each part has a sparse matrix of positions, shape
        ``(input positions, output positions)``, and a dense matrix of channel classes, shape
        ``(input channel classes, output channel classes)``. Two classes of values are joined if a part joins both their
        positions and their channel classes.
    """

    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    parts: tuple[tuple[sparse.csr_array, NDArray[np.bool_]], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of classes of inputs, and number of classes of outputs."""
        positions, channels = self.parts[0]
        return positions.shape[0] * channels.shape[0], positions.shape[1] * channels.shape[1]

    def reached(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of the numbers of the outputs that depend on an input, for each class of inputs."""
        of_class = np.bincount(self.outputs, numbers, self.shape[1])
        of_parts = [p @ _times(of_class.reshape(p.shape[1], -1), c.T) for p, c in self.parts]
        return np.asarray(np.sum(of_parts, axis=0)).ravel()

    def reaching(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of the numbers of the inputs that an output depends on, for each class of outputs."""
        of_class = np.bincount(self.inputs, numbers, self.shape[0])
        of_parts = [_times(p.T @ of_class.reshape(p.shape[0], -1), c) for p, c in self.parts]
        return np.asarray(np.sum(of_parts, axis=0)).ravel()

    @cached_property
    def apart(self) -> bool:
        """Whether no output depends on two inputs."""
        return bool(np.all(self.reaching(np.ones(len(self.inputs))) <= 1))

    def entries(self, wanted: NDArray[np.bool_]) -> int:
        """Return the number of entries that `matrix` would have."""
        return sum(int(p.nnz) * int(np.count_nonzero(c)) for p, c in self._wanted(wanted))

    def matrix(self, wanted: NDArray[np.bool_]) -> sparse.csr_array:
        """Return which classes of outputs depend on which classes of inputs, shape ``(inputs, outputs)``.

        Parameters
        ----------
        wanted
            Whether each output matters. The dependences of other outputs may be left out.
        """
        parts = [sparse.kron(p, sparse.csr_array(c), format="csr") for p, c in self._wanted(wanted)]
        return sparse.csr_array(reduce(lambda total, part: total + part, parts))

    def _wanted(self, wanted: NDArray[np.bool_]) -> Iterator[tuple[sparse.csr_array, NDArray[np.bool_]]]:
        positions, channels = self.parts[0]
        keep = np.zeros(positions.shape[1], bool)
        keep[self.outputs[wanted] // channels.shape[1]] = True
        for p, c in self.parts:
            yield (p if keep.all() else sparse.csr_array(p @ sparse.diags_array(keep, dtype=bool))), c


def _times(numbers: NDArray[Any], joined: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the product of a matrix of numbers and a boolean matrix, without a large copy of the latter."""
    step = max(1, _FLOATS // max(1, len(joined)))
    pieces = [numbers @ joined[:, i : i + step].astype(np.float64) for i in range(0, joined.shape[1], step)]
    return np.concatenate(pieces, axis=1)


# ---------------------------------------------------------------------- layers


def links(layer: Any, shapes: Sequence[Shape], output: Shape) -> tuple[Link, ...]:
    """Return the dependence of a layer's output on each of its inputs.

    Parameters
    ----------
    layer
        Built Keras layer for which `unknown` is empty. Its activation is ignored.
    shapes, output
        Shapes of its inputs and its output, without the batch.
    """
    kind = type(layer).__name__
    if kind in WEIGHTED:
        return (_weighted(layer, shapes[0], output),)
    if kind in (*_POOLING, *_GLOBAL_POOLING):
        return (_pooled(layer, shapes[0], output),)
    if kind in _MOVING:
        return tuple(_moved(layer, shapes, slot) for slot in range(len(shapes)))
    scale = _scale(layer, output)
    return tuple(_plain(sparse.csr_array(sparse.diags_array(scale, format="csr", dtype=bool))) for _ in shapes)


def _plain(joined: sparse.csr_array) -> Link:
    joined.eliminate_zeros()
    return Link(np.arange(joined.shape[0]), np.arange(joined.shape[1]), ((joined, np.ones((1, 1), bool)),))


def _scale(layer: Any, shape: Shape) -> NDArray[np.bool_]:
    """Return which values a layer multiplies by a factor other than 0."""
    kind = type(layer).__name__
    if kind == "Rescaling":
        return np.broadcast_to(np.asarray(layer.scale) != 0, shape).ravel()
    if kind == "BatchNormalization" and layer.scale:
        along = [size if axis in layer.axis else 1 for axis, size in enumerate(shape, 1)]
        return np.broadcast_to((np.asarray(layer.gamma) != 0).reshape(along), shape).ravel()
    return np.ones(prod(shape), bool)


def _moved(layer: Any, shapes: Sequence[Shape], slot: int) -> Link:
    """Return the dependence of a layer that moves values, from the output that it gives for numbered values."""
    size = prod(shapes[slot])
    numbered = [np.zeros((1, *shape)) for shape in shapes]
    numbered[slot] = np.arange(1.0, size + 1).reshape(1, *shapes[slot])
    tensors = [import_tensorflow().constant(values) for values in numbered]
    moved = np.asarray(layer.call(tensors if len(tensors) > 1 else tensors[0])).ravel().astype(np.int64)
    columns = np.flatnonzero(moved)
    joined = (np.ones(len(columns), bool), (moved[columns] - 1, columns))
    return _plain(sparse.csr_array(joined, shape=(size, len(moved))))


def _pooled(layer: Any, shape: Shape, output: Shape) -> Link:
    first = layer.data_format == "channels_first"
    space, channels = _split(shape, first)
    if type(layer).__name__ in _GLOBAL_POOLING:
        positions = sparse.csr_array(np.ones((prod(space), 1), bool))
    else:
        taps = _taps(space, _split(output, first)[0], layer.pool_size, layer.strides, 1, layer.padding)
        positions = _together(taps)
    places = np.arange(channels)
    inputs = _classes(prod(space), places, first)
    return Link(inputs, _classes(positions.shape[1], places, first), ((positions, np.eye(channels, dtype=bool)),))


def _weighted(layer: Any, shape: Shape, output: Shape) -> Link:
    joined = _weights(layer, shape)
    if type(layer).__name__ == "Dense":
        first = False
        positions = [sparse.csr_array(sparse.eye_array(prod(shape[:-1]), dtype=bool))]
    else:
        first = layer.data_format == "channels_first"
        large, small = _split(shape, first)[0], _split(output, first)[0]
        settings = (layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding)
        if type(layer).__name__.endswith("Transpose"):
            positions = [sparse.csr_array(p.T) for p in _taps(small, large, *settings)]
        else:
            positions = _taps(large, small, *settings)
    input_classes, representatives = _alike(joined.transpose(1, 0, 2))
    joined = joined[:, representatives]
    output_classes, representatives = _alike(joined.transpose(2, 0, 1))
    joined = joined[:, :, representatives]
    parts: dict[bytes, list[int]] = {}
    for tap, channels in enumerate(joined):
        parts.setdefault(channels.tobytes(), []).append(tap)
    return Link(
        _classes(positions[0].shape[0], input_classes, first),
        _classes(positions[0].shape[1], output_classes, first),
        tuple((_together(positions[t] for t in alike), joined[alike[0]]) for alike in parts.values()),
    )


def _weights(layer: Any, shape: Shape) -> NDArray[np.bool_]:
    """Return where a layer has weights other than 0, shape ``(taps, input channels, output channels)``."""
    kind = type(layer).__name__
    kernel: NDArray[np.bool_] = np.asarray(layer.depthwise_kernel if "Depthwise" in kind else layer.kernel) != 0
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    if kind.endswith("Transpose"):
        return kernel.transpose(0, 2, 1)
    if kind == "Dense":
        return kernel
    channels = shape[0] if layer.data_format == "channels_first" else shape[-1]
    if kind.startswith("Depthwise"):
        groups, kernel = channels, kernel.reshape(len(kernel), 1, -1)
    else:
        groups = layer.groups
    joined = np.zeros((len(kernel), channels, kernel.shape[-1]), bool)
    taken, given = channels // groups, kernel.shape[-1] // groups
    for g in range(groups):
        own = slice(g * given, (g + 1) * given)
        joined[:, g * taken : (g + 1) * taken, own] = kernel[:, :, own]
    return joined


# ---------------------------------------------------------------------- positions and channels


def _split(shape: Shape, channels_first: bool) -> tuple[Shape, int]:
    """Return the positions and the number of channels of a shape."""
    return (shape[1:], shape[0]) if channels_first else (shape[:-1], shape[-1])


def _classes(positions: int, of_channel: NDArray[np.int64], channels_first: bool) -> NDArray[np.int64]:
    """Return the class of each value of a tensor, from the classes of its channels."""
    classes: NDArray[np.int64] = np.arange(positions)[:, None] * (of_channel.max() + 1) + of_channel
    return (classes.T if channels_first else classes).ravel()


def _alike(joined: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the class of each entry of the first axis, where equal entries share one, and an entry of each class."""
    number: dict[bytes, int] = {}
    rows = np.packbits(joined.reshape(len(joined), -1), axis=1)
    classes = np.array([number.setdefault(row.tobytes(), len(number)) for row in rows])
    return classes, np.unique(classes, return_index=True)[1]


def _taps(
    large: Shape, small: Shape, window: Sequence[int], strides: Sequence[int], dilation: Any, padding: str
) -> list[sparse.csr_array]:
    """Return the position that each tap of a window reads for each output, shape ``(large, small)``, taps in C order.

    The window is repeated over leading axes that it does not have.
    """
    rank = len(window)
    repeated = sparse.eye_array(prod(large[:-rank]), dtype=bool)
    dilations = [int(d) for d in np.broadcast_to(dilation, rank)]
    axes: list[list[Any]] = []
    for n, n_out, k, stride, apart in zip(large[-rank:], small[-rank:], window, strides, dilations, strict=True):
        span = (k - 1) * apart + 1
        before = {"same": max((n_out - 1) * stride + span - n, 0) // 2, "causal": span - 1}.get(padding, 0)
        axes.append([_read(n, n_out, stride, t * apart - before) for t in range(k)])
    return [
        sparse.csr_array(reduce(lambda a, b: sparse.kron(a, b, format="csr"), tap, repeated)) for tap in product(*axes)
    ]


def _read(n: int, n_out: int, stride: int, first: int) -> sparse.csr_array:
    """Return which of n places each output reads: ``first`` for the first output, ``stride`` more for each next."""
    outputs = np.arange(n_out)
    places = first + stride * outputs
    inside = (places >= 0) & (places < n)
    return sparse.csr_array((np.ones(inside.sum(), bool), (places[inside], outputs[inside])), shape=(n, n_out))


def _together(matrices: Any) -> sparse.csr_array:
    return sparse.csr_array(reduce(lambda total, matrix: total + matrix, matrices))
