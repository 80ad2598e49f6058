"""The rows of a connection: the weights that a spike of each neuron adds, and their places in the target.

A convolution's kernel is flipped, so that the outputs that a spike reaches in one line are consecutive. Pooling,
padding and reshaping before the convolution only change where a neuron's rows begin. Any other connection becomes a
sparse matrix, whose runs of consecutive targets are the rows.
"""

from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snnpipe.simulators.event_driven.maps import Convolution

NOWHERE = -(2**30)
"""Start of a neuron that has no rows."""

Place = tuple[int, int, int, int]
"""Position along z, y and x, and channel."""


@dataclass(eq=False)
class Rows:
    """The rows of a connection, in coordinates of its target.

    Attributes
    ----------
    start
        Place where the rows of each source begin, shape ``(n, 4)``, or NOWHERE; it may lie outside the target.
    weight_at, classes
        Index of the first weight of each source, and its class.
    rows
        Rows of each class: the place relative to the source's start, the index of the first weight relative to the
        source's, and the length.
    weights
        Weights of all rows.
    absolute
        Whether the rows' places are places in the target itself, so that all rows lie inside it.
    input_of
        The source that each neuron is added to (-1: none), as pooling adds them; None if each neuron is a source.
    """

    start: NDArray[np.int64]
    weight_at: NDArray[np.int64]
    classes: NDArray[np.int64]
    rows: list[list[tuple[Place, int, int]]]
    weights: NDArray[np.float64]
    absolute: bool = False
    input_of: NDArray[np.int64] | None = None

    def reach(self, grid: Place) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how far the rows reach before and behind the target's positions, along each axis."""
        low, high = np.zeros(3, np.int64), np.zeros(3, np.int64)
        if self.absolute:
            return low, high
        for number, rows in enumerate(self.rows):
            starts = self.start[(self.classes == number) & (self.start[:, 0] > NOWHERE)][:, :3]
            if not len(starts):
                continue
            for (*place, channel), _, length in rows:
                first = starts + place
                last = first.max(axis=0)
                last[2] += (channel + length - 1) // grid[3]
                low = np.maximum(low, -first.min(axis=0))
                high = np.maximum(high, last - np.array(grid[:3]) + 1)
        return low, high

    def added(self, target: NDArray[np.int64]) -> "Rows":
        """Return rows for neurons that are each added to one of the sources (-1: to none), ``target``."""
        used = target[target >= 0]
        if len(np.unique(used)) < len(used):
            return replace(self, input_of=target)
        start = np.where(target[:, None] >= 0, self.start[target], NOWHERE)
        return replace(self, start=start, weight_at=self.weight_at[target], classes=self.classes[target])

    @property
    def adds(self) -> float:
        """Mean number of weights that a spike of a neuron adds."""
        of_class = np.array([sum(length for _, _, length in rows) for rows in self.rows])
        of_source = np.where(self.start[:, 0] > NOWHERE, of_class[self.classes], 0)
        if self.input_of is not None:
            of_source = np.where(self.input_of >= 0, of_source[self.input_of], 0)
        return float(np.mean(of_source))


def _columns(before: sparse.csr_array) -> sparse.csc_array:
    """Return a matrix by its columns, without entries that are 0."""
    columns = sparse.csc_array(before)
    columns.eliminate_zeros()
    return columns


def one_place(before: sparse.csr_array) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Return the target of each source (-1: none) and its factor, or None if a source has several targets."""
    columns = _columns(before)
    per_source = np.diff(columns.indptr)
    if per_source.max(initial=0) > 1:
        return None
    target = np.full(columns.shape[1], -1)
    factor = np.zeros(columns.shape[1])
    target[per_source == 1], factor[per_source == 1] = columns.indices, columns.data
    return target, factor


def dense_rows(kernel: NDArray[np.float64], before: sparse.csr_array) -> Rows:
    """Return a dense layer's rows, one for each source."""
    n_in, n_out = kernel.shape
    single = one_place(before)
    if single is not None:
        target, factor = single
        used = target >= 0
        of_input = np.zeros(n_in)
        of_input[target[used]] = factor[used]
        if np.array_equal(of_input[target[used]], factor[used]):
            start, weights = np.zeros((n_in, 4), np.int64), kernel * of_input[:, None]
            rows = [[((0, 0, 0, 0), 0, n_out)]]
            one = np.zeros(n_in, np.int64)
            return Rows(start, np.arange(n_in) * n_out, one, rows, weights.ravel(), absolute=True).added(target)
    weights = before.T @ kernel
    n = len(weights)
    return Rows(
        np.zeros((n, 4), np.int64),
        np.arange(n) * n_out,
        np.zeros(n, np.int64),
        [[((0, 0, 0, 0), 0, n_out)]],
        np.ascontiguousarray(weights).ravel(),
        absolute=True,
    )


def convolution_rows(convolution: Convolution, before: sparse.csr_array, scale: Any) -> Rows | None:
    """Return a convolution's rows, or None if the layers before it give values of one channel different factors."""
    c_in = convolution.input_shape[3]
    columns = _columns(before)
    of_channel = np.zeros(c_in)
    of_channel[columns.indices % c_in] = columns.data
    if not np.array_equal(of_channel[columns.indices % c_in], columns.data):
        return None
    kernel = convolution.kernel * scale
    start, weight_at, classes, rows, weights = _convolution_table(convolution, kernel, of_channel)
    if (single := one_place(before)) is not None:
        return Rows(start, weight_at, classes, rows, weights).added(single[0])
    return _several_places(columns, start, weight_at, classes, rows, weights)


def _convolution_table(
    convolution: Convolution, kernel: NDArray[np.float64], of_channel: NDArray[np.float64]
) -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[list[tuple[Place, int, int]]], NDArray[np.float64]
]:
    """Return start, first weight and class of each of a convolution's inputs, the classes' rows, and all weights."""
    (nz, ny, nx, c_in), c_out, groups = convolution.input_shape, convolution.output_shape[3], convolution.groups
    per_group = c_out // groups
    patterns: list[dict[tuple[tuple[int, int], ...], int]] = []
    kinds, firsts = [], []
    for axis in range(3):
        known: dict[tuple[tuple[int, int], ...], int] = {}
        kind, first = [], []
        for taps in convolution.taps(axis):
            origin = taps[0][0] if taps else NOWHERE
            kind.append(known.setdefault(tuple((o - origin, t) for o, t in taps), len(known)))
            first.append(origin)
        patterns.append(known)
        kinds.append(np.array(kind))
        firsts.append(np.array(first))
    rows: list[list[tuple[Place, int, int]]] = []
    weights: list[NDArray[np.float64]] = []
    base, block = [], []
    for z_taps, y_taps, x_taps in product(*patterns):
        consecutive = groups == 1 and all(o == i for i, (o, _) in enumerate(x_taps))
        runs: list[tuple[Place, int, int]] = []
        parts: list[NDArray[np.float64]] = []  # for each row: shape (input channels, length)
        at = 0
        for (dz, tz), (dy, ty) in product(z_taps, y_taps):
            lines = [(0, [t for _, t in x_taps])] if consecutive else [(dx, [t]) for dx, t in x_taps]
            for dx, tx in lines:
                if not tx:
                    continue
                part = np.stack([_by_channel(kernel[tz, ty, t], groups, c_in) for t in tx], axis=1)
                part = part.reshape(c_in, -1) * of_channel[:, None]
                runs.append(((dz, dy, dx, 0), at, part.shape[1]))
                parts.append(part)
                at += part.shape[1]
        rows.append(runs)
        base.append(sum(w.size for w in weights))
        block.append(at)
        weights.append(np.concatenate(parts, axis=1).ravel() if parts else np.zeros(0))
    z, y, x, c = (v.ravel() for v in np.meshgrid(*map(np.arange, (nz, ny, nx, c_in)), indexing="ij"))
    classes = (kinds[0][z] * len(patterns[1]) + kinds[1][y]) * len(patterns[2]) + kinds[2][x]
    start = np.stack([firsts[0][z], firsts[1][y], firsts[2][x], c // (c_in // groups) * per_group], axis=1)
    start[(start == NOWHERE).any(axis=1)] = NOWHERE
    weight_at = np.array(base)[classes] + c * np.array(block)[classes]
    return start, weight_at, classes, rows, np.concatenate(weights)


def _by_channel(tap: NDArray[np.float64], groups: int, c_in: int) -> NDArray[np.float64]:
    """Return one tap's weights from each input channel to the output channels of its group."""
    per_group = tap.shape[1] // groups
    return np.concatenate([tap[:, g * per_group : (g + 1) * per_group] for g in range(groups)]).reshape(c_in, per_group)


def _several_places(
    columns: sparse.csc_array,
    start: NDArray[np.int64],
    weight_at: NDArray[np.int64],
    classes: NDArray[np.int64],
    rows: list[list[tuple[Place, int, int]]],
    weights: NDArray[np.float64],
) -> Rows:
    """Return the rows of sources that each reach several inputs, for example through overlapping windows."""
    known: dict[tuple[tuple[Place, int, int], ...], int] = {}
    n = columns.shape[1]
    new_start, new_weight, new_class = np.full((n, 4), NOWHERE), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for i in range(n):
        targets = [j for j in columns.indices[columns.indptr[i] : columns.indptr[i + 1]] if start[j, 0] > NOWHERE]
        if not targets:
            continue
        origin = targets[0]
        union: list[tuple[Place, int, int]] = []
        for j in targets:
            shift, more = start[j] - start[origin], int(weight_at[j] - weight_at[origin])
            union += [
                (tuple(int(v) for v in shift + place), more + w, length)  # type: ignore[misc]
                for place, w, length in rows[classes[j]]
            ]
        new_start[i], new_weight[i] = start[origin], weight_at[origin]
        new_class[i] = known.setdefault(tuple(union), len(known))
    return Rows(new_start, new_weight, new_class, [list(union) for union in known] or [[]], weights)


def single_rows(places: NDArray[np.int64], factors: NDArray[np.float64]) -> Rows:
    """Return the rows of sources that each reach at most one place, as a shortcut does.

    Parameters
    ----------
    places
        Place of each source in the flattened target; -1 for none.
    factors
        Weight of each source.
    """
    weights, weight_at = np.unique(factors, return_inverse=True)
    start = np.where(places[:, None] < 0, NOWHERE, 0) * np.ones((1, 4), np.int64)
    start[:, 3] = np.where(places < 0, NOWHERE, places)
    return Rows(start, weight_at, np.zeros(len(places), np.int64), [[((0, 0, 0, 0), 0, 1)]], weights, absolute=True)


def matrix_rows(weights: sparse.csc_array) -> Rows:
    """Return a matrix's rows: the runs of consecutive targets in each of its columns."""
    weights.eliminate_zeros()
    weights.sort_indices()
    n = weights.shape[1]
    rows: list[list[tuple[Place, int, int]]] = []
    for i in range(n):
        targets = weights.indices[weights.indptr[i] : weights.indptr[i + 1]]
        breaks = np.flatnonzero(np.diff(targets) != 1) + 1
        edges = [0, *breaks.tolist(), len(targets)] if len(targets) else [0]
        rows.append([((0, 0, 0, int(targets[a])), a, b - a) for a, b in pairwise(edges)])
    start = np.where(np.diff(weights.indptr)[:, None] > 0, 0, NOWHERE) * np.ones((1, 4), np.int64)
    return Rows(start, weights.indptr[:-1].astype(np.int64), np.arange(n), rows, weights.data, absolute=True)


def on_grid(flat: Rows, grid: Place) -> Rows:
    """Return rows in a flat target as rows in a target with lines of positions."""
    line = grid[2] * grid[3]
    if np.any(flat.start[:, 3] > 0):  # single places
        start = flat.start.copy()
        here = start[:, 0] > NOWHERE
        (start[here, 0], start[here, 1]), start[here, 3] = (
            np.divmod(flat.start[here, 3] // line, grid[1]),
            flat.start[here, 3] % line,
        )
        return replace(flat, start=start)

    def cut(row: tuple[Place, int, int]) -> list[tuple[Place, int, int]]:
        (_, _, _, at), w, length = row
        pieces = []
        while length:
            n = min(length, line - at % line)
            z, y = divmod(at // line, grid[1])
            pieces.append(((z, y, 0, at % line), w, n))
            at, w, length = at + n, w + n, length - n
        return pieces

    rows = [[piece for row in of_class for piece in cut(row)] for of_class in flat.rows]
    return replace(flat, rows=rows)
