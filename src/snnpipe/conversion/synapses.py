"""Counts the synapses that a spike drives, and the multiply-accumulates of a forward pass.

docs/metrics.md has the definitions. Counting goes from each layer of targets back to the neurons before it, and keeps
track of the targets that the values of a tensor reach. If no target is reached twice, their numbers are enough;
otherwise a sparse boolean matrix holds them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from snnpipe.conversion.connections import WEIGHTED, Link, links, unknown
from snnpipe.frameworks.keras_graph import activation_name, is_neuron_layer, nodes

if TYPE_CHECKING:
    import tf_keras

_ENTRIES = 2**24
"""Highest number of entries of a layer's matrix. If it would have more, the targets are counted in parts."""
_PATHS = 2**26
"""Highest number of paths that a product of matrices may join into its entries."""


@dataclass(frozen=True)
class Costs:
    """The costs of a network's connections, as far as they can be counted.

    Attributes
    ----------
    fan_out
        Number of synapses that each neuron or rate unit drives, by layer.
    dense_macs, first_layer_macs
        Multiply-accumulates of one forward pass: all, and those that the input reaches without passing a neuron.
    rate_units
        Number of units that send a number at every step, by layer: activations that do not become neurons.
    uncountable
        Reason why nothing else is counted; empty if everything is.
    """

    fan_out: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    dense_macs: int = 0
    first_layer_macs: int = 0
    rate_units: Mapping[str, int] = field(default_factory=dict)
    uncountable: str = ""

    @classmethod
    def of_no_synapses(cls, name: str, kind: str) -> "Costs":
        """Return the costs of a network in which a layer runs as a TensorNode, so that synapses cannot be counted."""
        return cls(uncountable=f"layer {name!r} ({kind}) runs as a TensorNode, and not as synapses")


def costs(model: "tf_keras.Model") -> Costs:
    """Return the costs of the connections of a functional Keras model."""
    steps = _steps(model)
    rate_units = {step.name: step.size for step in steps if step.units and not step.neurons}
    for step in steps:
        if why := step.unknown:
            reason = f"layer {step.name!r} {why}, and no sum of weighted inputs"
            return Costs(rate_units=rate_units, uncountable=reason)
    of_input = _macs(steps, input_alone=True)
    return Costs(_fan_out(steps), sum(_macs(steps).values()), sum(of_input.values()), rate_units)


def fan_out(model: "tf_keras.Model") -> dict[str, NDArray[np.int64]]:
    """Return the number of synapses that each neuron or rate unit drives, flattened, by layer."""
    return _fan_out(_steps(model))


def macs(model: "tf_keras.Model", input_alone: bool = False) -> dict[str, int]:
    """Return the multiply-accumulates of each layer with weights.

    Parameters
    ----------
    model
        Functional Keras model.
    input_alone
        Whether to count only values that depend on the input by a path without neurons.
    """
    return _macs(_steps(model), input_alone)


# ---------------------------------------------------------------------- the graph


@dataclass(frozen=True, eq=False)
class _Step:
    """One application of a Keras layer. A tensor has the number of the step whose output it is."""

    layer: Any
    inputs: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    is_output: bool

    @property
    def name(self) -> str:
        return str(self.layer.name)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def is_input(self) -> bool:
        return type(self.layer).__name__ == "InputLayer"

    @property
    def neurons(self) -> bool:
        return is_neuron_layer(self.layer)

    @property
    def units(self) -> bool:
        """Whether an activation ends the linear layers in this step."""
        return self.neurons or activation_name(self.layer) != "linear"

    @property
    def unknown(self) -> str:
        return "" if self.is_input else unknown(self.layer)

    @cached_property
    def links(self) -> tuple[Link, ...]:
        return links(self.layer, self.shapes, self.shape)


def _steps(model: "tf_keras.Model") -> list[_Step]:
    """Return the applications of a model's layers, inputs first."""
    steps: list[_Step] = []
    numbers: dict[int, int] = {}
    for node in nodes(model):
        inputs = [] if type(node.layer).__name__ == "InputLayer" else node.keras_inputs
        steps.append(
            _Step(
                node.layer,
                tuple(numbers[id(tensor)] for tensor in inputs),
                tuple(tuple(tensor.shape[1:]) for tensor in inputs),
                tuple(node.outputs.shape[1:]),
                node.outputs is model.outputs[0],
            )
        )
        numbers[id(node.outputs)] = len(steps) - 1
    return steps


# ---------------------------------------------------------------------- multiply-accumulates


def _macs(steps: list[_Step], input_alone: bool = False) -> dict[str, int]:
    macs_of = {}
    changing: list[NDArray[np.bool_]] = []  # which values are not constants such as the zeros of a padding
    for step in steps:
        values = np.full(step.size, step.is_input)
        for tensor, link in zip(step.inputs, step.links if step.inputs else (), strict=True):
            given = changing[tensor]
            values |= (link.reaching(given) > 0)[link.outputs]
            if type(step.layer).__name__ in WEIGHTED:
                macs_of[step.name] = int(link.reached(np.ones(step.size))[link.inputs] @ given)
        if step.neurons or (step.units and not input_alone):
            values = np.full(step.size, not input_alone)
        changing.append(values)
    return macs_of


# ---------------------------------------------------------------------- fan-out


def _fan_out(steps: list[_Step]) -> dict[str, NDArray[np.int64]]:
    fan_out = {step.name: np.zeros(step.size, np.int64) for step in steps if step.units}
    for number, step in enumerate(steps):
        if step.units or step.is_output:
            for source, counts in _sources(steps, number, np.arange(step.size)):
                fan_out[steps[source].name] += counts
    return fan_out


class _TooManyError(Exception):
    """Raised if a matrix would have too many entries. ``parts`` is the number of parts to count the targets in."""

    def __init__(self, share: float):
        self.parts = int(share) + 2


def _sources(steps: list[_Step], target: int, values: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the layers of neurons that reach some values of a step, and the number that each neuron reaches."""
    try:
        yield from _reaching(steps, target, values).items()
    except _TooManyError as error:
        for part in np.array_split(values, min(error.parts, len(values))):
            yield from _sources(steps, target, part)


def _reaching(steps: list[_Step], target: int, values: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    reached = {}
    reaches = {target: [_Reach.of_targets(steps[target].size, values)]}
    for number in range(target, -1, -1):
        step = steps[number]
        if number not in reaches:
            continue
        reach = _union(reaches.pop(number))
        if number != target and step.units:
            reached[number] = reach.counts_of_values.astype(np.int64)
            continue
        for tensor, link in zip(step.inputs, step.links if step.inputs else (), strict=True):
            reaches.setdefault(tensor, []).append(reach.before(link))
    return reached


@dataclass(frozen=True, eq=False)
class _Reach:
    """The targets that the values of a tensor reach.

    Attributes
    ----------
    rows
        Row of each value; -1 if it reaches no target. Values that reach the same targets may share a row.
    counts
        Number of targets of each row.
    matrix
        Function that returns which targets they are, shape ``(rows, targets)``.
    apart
        Whether no target is reached from two values.
    alone
        Whether there is only one target, so that targets cannot be counted in parts.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.float64]
    matrix: Callable[[], sparse.csr_array]
    apart: bool
    alone: bool

    @classmethod
    def of_targets(cls, size: int, values: NDArray[np.int64]) -> "_Reach":
        """Return the reach of a tensor with some values that are targets. Each of them reaches itself."""
        rows = np.full(size, -1)
        rows[values] = np.arange(len(values))
        targets = sparse.csr_array(sparse.eye_array(len(values), dtype=bool, format="csr"))
        return cls(rows, np.ones(len(values)), lambda: targets, True, len(values) == 1)

    @property
    def counts_of_values(self) -> NDArray[np.float64]:
        """Number of targets that each value reaches."""
        return np.where(self.rows >= 0, np.append(self.counts, 0)[self.rows], 0)

    def before(self, link: Link) -> "_Reach":
        """Return the reach of a layer's input, if this is the reach of its output."""
        if self.apart:
            counts = link.reached(self.counts_of_values)
            return replace(
                self, rows=link.inputs, counts=counts, matrix=cache(lambda: self._through(link)), apart=link.apart
            )
        rows, joined = _distinct(self._joined(link))
        rows = rows[link.inputs]
        if np.all(np.diff(joined.indptr) <= 1):
            own = np.full(joined.shape[0], -1)
            own[np.diff(joined.indptr) == 1] = joined.indices
            return replace(self, rows=own[rows])
        matrix = self._product(joined)
        return replace(self, rows=rows, counts=np.diff(matrix.indptr).astype(np.float64), matrix=lambda: matrix)

    def _through(self, link: Link) -> sparse.csr_array:
        return self._product(self._joined(link))

    def _joined(self, link: Link) -> sparse.csr_array:
        """Return which rows of this reach the classes of a layer's inputs lead to."""
        wanted = self.rows >= 0
        self._check(link.entries(wanted) / _ENTRIES)
        return link.matrix(wanted) @ _indicator(link.outputs, self.rows, link.shape[1], len(self.counts))

    def _product(self, joined: sparse.csr_array) -> sparse.csr_array:
        self._check(float((joined @ self.counts).sum()) / _PATHS)
        return sparse.csr_array(joined @ self.matrix())

    def _check(self, share: float) -> None:
        """Raise `_TooManyError` if a matrix exceeds its limit and fewer targets would make it smaller."""
        if share > 1 and not self.alone:
            raise _TooManyError(share)


def _union(reaches: list[_Reach]) -> _Reach:
    """Return the reach of a tensor that several layers take."""
    one, *others = reaches
    for other in others:
        width = len(other.counts) + 1
        pairs, rows = np.unique((one.rows + 1) * width + other.rows + 1, return_inverse=True)
        parts = (one, pairs // width - 1), (other, pairs % width - 1)
        one._check(sum(float(np.append(r.counts, 0)[own].sum()) for r, own in parts) / _PATHS)
        both = [_indicator(np.arange(len(pairs)), own, len(pairs), len(r.counts)) @ r.matrix() for r, own in parts]
        matrix = sparse.csr_array(both[0] + both[1])
        one = _Reach(
            rows, np.diff(matrix.indptr).astype(np.float64), partial(sparse.csr_array, matrix), False, one.alone
        )
    return one


def _indicator(rows: NDArray[np.int64], columns: NDArray[np.int64], n_rows: int, n_columns: int) -> sparse.csr_array:
    """Return the boolean matrix with an entry for each pair of a row and a column, except columns of -1."""
    there = columns >= 0
    return sparse.csr_array((np.ones(there.sum(), bool), (rows[there], columns[there])), shape=(n_rows, n_columns))


def _distinct(joined: sparse.csr_array) -> tuple[NDArray[np.int64], sparse.csr_array]:
    """Return a matrix without its duplicate rows, and before it the index there of each original row."""
    joined.sort_indices()
    number: dict[bytes, int] = {}
    ends = joined.indptr.tolist()
    rows = np.array([number.setdefault(joined.indices[i:j].tobytes(), len(number)) for i, j in pairwise(ends)])
    first = np.unique(rows, return_index=True)[1]
    return rows, sparse.csr_array(joined[first])
