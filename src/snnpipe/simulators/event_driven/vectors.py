"""LLVM's instructions for whole vectors, which Numba has no words for: sums of products stay in the CPU's registers."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LANES = 16
"""Number of values of a vector. LLVM makes as many registers of it as the CPU needs."""

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)

PLACES = np.zeros(256 * 8, np.uint8)
NUMBERS = np.zeros(256, np.uint8)
"""The bits that are set in each byte, ascending, eight entries for each byte, and their number."""

for _byte in range(256):
    _set = [bit for bit in range(8) if _byte >> bit & 1]
    PLACES[8 * _byte : 8 * _byte + len(_set)], NUMBERS[_byte] = _set, len(_set)

TO_BITS = np.uint64(0x0102040810204080)
"""Factor that brings the lowest bits of eight bytes together in the highest byte."""


class _Code:
    """Emits LLVM's instructions for the arguments of one call."""

    def __init__(
        self, context: Any, builder: ir.IRBuilder, kinds: Sequence[Any], given: Sequence[Any], lanes: int = LANES
    ):
        self.context, self.builder, self.kinds, self.given, self.lanes = context, builder, kinds, given, lanes

    def values_as(self, i: int) -> Any:
        """Make vectors of the type of values of the array that argument i is; return its data."""
        data = self.data(i)
        self.vector = ir.VectorType(data.type.pointee, self.lanes)
        self.item = data.type.pointee.get_abi_size(self.context.target_data)
        return data

    def data(self, i: int) -> Any:
        return self.context.make_array(self.kinds[i])(self.context, self.builder, self.given[i]).data

    def number(self, i: int) -> Any:
        return self.context.cast(self.builder, self.given[i], self.kinds[i], types.int64)

    def element(self, array: Any, i: Any) -> Any:
        return self.builder.sext(self.builder.load(self.builder.gep(array, [i])), _INT64)

    def place(self, array: Any, i: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(array, [i]), self.vector.as_pointer())

    def load(self, array: Any, i: Any) -> Any:
        return self.builder.load(self.place(array, i), align=self.item)

    def store(self, values: Iterable[Any], array: Any, places: Iterable[Any]) -> None:
        for value, i in zip(values, places, strict=True):
            self.builder.store(value, self.place(array, i), align=self.item)

    def splat(self, x: Any) -> Any:
        empty = ir.Constant(ir.VectorType(x.type, self.lanes), ir.Undefined)
        one = self.builder.insert_element(empty, x, _INT32(0))
        return self.builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(_INT32, self.lanes), [0] * self.lanes))

    def added(self, sums: Iterable[Any], factor: Any, matrix: Any, places: Iterable[Any]) -> list[Any]:
        """Return sums plus a factor times the vectors of a matrix."""
        build, some = self.builder, ("contract",)
        products = (build.fmul(factor, self.load(matrix, i), flags=some) for i in places)
        return [build.fadd(total, product, flags=some) for total, product in zip(sums, products, strict=True)]

    def either(self, *origins: tuple[Any, Sequence[Any]]) -> list[Any]:
        """Return the values that the block which came before has: pairs of a block and its values."""
        phis = [self.builder.phi(value.type) for value in origins[0][1]]
        for block, values in origins:
            join(phis, block, values)
        return phis


def join(phis: Iterable[Any], block: Any, values: Iterable[Any]) -> None:
    """Give phis the values that they have behind a block."""
    for phi, value in zip(phis, values, strict=True):
        phi.add_incoming(value, block)


def adding(vectors: int, lines: int = 1, whole: bool = True) -> Callable[..., None]:
    """Return a function that adds rows of weights, each times a value, to some vectors of currents.

    ``add(currents, origin, row_at, row_weight, r, done, value, weight_at, begin, end, weights, n)`` adds
    ``value[e] * weights[weight_at[e] + row_weight[r] + done + i]`` to ``currents[origin + row_at[r] + done + i]``:
    for each e from ``begin`` to ``end`` in this order, for ``lines`` rows from r on, and for all values i of the
    vectors. The currents are loaded and stored once. If not ``whole``, only the first n values of a row change, but all
    of its vector must lie inside the arrays.
    """

    @intrinsic
    def add(typing_context, currents, origin, row_at, row_weight, r, done, value, weight_at, begin, end, weights, n):
        kinds = (currents, origin, row_at, row_weight, r, done, value, weight_at, begin, end, weights, n)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
            code = _Code(context, builder, signature.args, given)
            values = code.values_as(6)
            into, places, first_weights, rows, matrix = (code.data(i) for i in (0, 2, 3, 7, 10))
            start_at, row, behind, start, stop = (code.number(i) for i in (1, 4, 5, 8, 9))
            targets, offsets = [], []
            for line in range(lines):
                here = builder.add(row, _INT64(line))
                at = builder.add(builder.add(start_at, code.element(places, here)), behind)
                weight = builder.add(code.element(first_weights, here), behind)
                targets += [builder.add(at, _INT64(v * LANES)) for v in range(vectors)]
                offsets += [builder.add(weight, _INT64(v * LANES)) for v in range(vectors)]
            before = [code.load(into, target) for target in targets]
            entry, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
            builder.cbranch(builder.icmp_signed("<", start, stop), loop, after)

            builder.position_at_end(loop)
            e, *sums = code.either((entry, [start, *before]))
            of_event = code.element(rows, e)
            factor = code.splat(builder.load(builder.gep(values, [e])))
            added = code.added(sums, factor, matrix, [builder.add(of_event, offset) for offset in offsets])
            following = builder.add(e, _INT64(1))
            join([e, *sums], loop, [following, *added])
            builder.cbranch(builder.icmp_signed("<", following, stop), loop, after)

            builder.position_at_end(after)
            results = code.either((entry, before), (loop, added))
            if not whole:
                lanes = ir.Constant(ir.VectorType(_INT64, LANES), list(range(LANES)))
                inside = builder.icmp_signed("<", lanes, code.splat(code.number(11)))
                results = [builder.select(inside, *pair) for pair in zip(results, before, strict=True)]
            code.store(results, into, targets)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    return cast(Callable[..., None], add)


def sliding(vectors: int, lines: int, lanes: int) -> Callable[..., None]:  # noqa: PLR0915  # one piece of code
    """Return a function that adds the weights of a convolution of width three, for events sorted by position.

    ``add(currents, row_at, r, done, stride, neuron, value, start, weight_at, begin, end, weights, first)`` adds
    ``value[e]`` times weights to the currents from ``start[i] + row_at[r] + done`` on: for each event e of a neuron i
    from ``begin`` to ``end``, for ``lines`` rows from r on, for three positions of each row, which are ``stride``
    currents apart, and for some vectors of ``lanes`` values of each position. The weights begin at
    ``weight_at[i] + first`` and follow one another in this order. Events whose start is below 0 are left out; the first
    may not be one of them.

    The currents of three positions stay in registers. When the events go on to the next position, one position of each
    line is stored and one is loaded. No position of a line may be one of another line.
    """
    per_line = 3 * vectors

    @intrinsic
    def add(  # noqa: PLR0915
        typing_context,
        currents,
        row_at,
        r,
        done,
        stride,
        neuron,
        value,
        start,
        weight_at,
        begin,
        end,
        weights,
        first,
    ):
        kinds = (currents, row_at, r, done, stride, neuron, value, start, weight_at, begin, end, weights, first)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
            code = _Code(context, builder, signature.args, given, lanes)
            values = code.values_as(6)
            into, places, neurons, starts, rows, matrix = (code.data(i) for i in (0, 1, 5, 7, 8, 11))
            row, behind, step, begin, stop, first_weight = (code.number(i) for i in (2, 3, 4, 9, 10, 12))
            matrix = builder.gep(matrix, [first_weight])
            positions = [_INT64(0), step, builder.add(step, step)]
            line_at = [builder.add(code.element(places, builder.add(row, _INT64(n))), behind) for n in range(lines)]

            def window(at: Any, positions: Sequence[Any] = positions) -> list[Any]:
                """Return the indices of the vectors of some positions of each line."""
                first_ones = [builder.add(builder.add(at, line), place) for line in line_at for place in positions]
                return [builder.add(i, _INT64(v * lanes)) for i in first_ones for v in range(vectors)]

            entry = builder.block
            add_event, go_on, leave, slide, look, skip, jump, finish = (builder.append_basic_block() for _ in range(8))
            i = code.element(neurons, begin)
            at = code.element(starts, i)
            opened = [begin, i, at, *(code.load(into, i) for i in window(at))]
            builder.branch(add_event)

            builder.position_at_end(add_event)
            e, i, at, *sums = state = code.either((entry, opened))
            factor = code.splat(builder.load(builder.gep(values, [e])))
            weight = code.element(rows, i)
            added = code.added(
                sums, factor, matrix, [builder.add(weight, _INT64(n * lanes)) for n in range(lines * per_line)]
            )
            following = builder.add(e, _INT64(1))
            builder.cbranch(builder.icmp_signed("<", following, stop), go_on, finish)

            builder.position_at_end(go_on)
            (e,) = code.either((add_event, [following]))
            i = code.element(neurons, e)
            there = code.element(starts, i)
            join(state, go_on, [e, i, at, *added])
            builder.cbranch(builder.icmp_signed("==", there, at), add_event, leave)

            builder.position_at_end(leave)
            builder.cbranch(builder.icmp_signed("==", there, builder.add(at, step)), slide, look)

            builder.position_at_end(slide)
            old = [added[n : n + per_line] for n in range(0, lines * per_line, per_line)]
            code.store([v for line in old for v in line[:vectors]], into, window(at, positions[:1]))
            new = iter([code.load(into, i) for i in window(there, positions[2:])])
            moved = [v for line in old for v in [*line[vectors:], *islice(new, vectors)]]
            join(state, slide, [e, i, there, *moved])
            builder.branch(add_event)

            builder.position_at_end(look)
            builder.cbranch(builder.icmp_signed("<", there, _INT64(0)), skip, jump)

            builder.position_at_end(skip)
            following = builder.add(e, _INT64(1))
            join([e], skip, [following])
            builder.cbranch(builder.icmp_signed("<", following, stop), go_on, finish)

            builder.position_at_end(jump)
            code.store(added, into, window(at))
            join(state, jump, [e, i, there, *(code.load(into, i) for i in window(there))])
            builder.branch(add_event)

            builder.position_at_end(finish)
            code.store(added, into, window(at))
            return context.get_dummy_value()

        return types.void(*kinds), generate

    return cast(Callable[..., None], add)


@intrinsic
def put_eight(typing_context, numbers, at, first, table, entry):
    """Write ``first`` plus each of the eight bytes from ``table[8 * entry]`` on to ``numbers``, from ``at`` on."""
    kinds = (numbers, at, first, table, entry)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
        into, bytes_at = (context.make_array(kinds[i])(context, builder, given[i]).data for i in (0, 3))
        where, of_table = (context.cast(builder, given[i], signature.args[i], types.int64) for i in (1, 4))
        start = context.cast(builder, given[2], signature.args[2], types.int32)
        source = builder.gep(bytes_at, [builder.mul(of_table, _INT64(8))])
        eight = builder.load(builder.bitcast(source, ir.VectorType(ir.IntType(8), 8).as_pointer()), align=1)
        wide = ir.VectorType(_INT32, 8)
        empty = ir.Constant(wide, ir.Undefined)
        starts = builder.shuffle_vector(
            builder.insert_element(empty, start, _INT32(0)), empty, ir.Constant(wide, [0] * 8)
        )
        target = builder.bitcast(builder.gep(into, [where]), wide.as_pointer())
        builder.store(builder.add(starts, builder.zext(eight, wide)), target, align=4)
        return context.get_dummy_value()

    return types.void(*kinds), generate
