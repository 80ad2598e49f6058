"""LLVM's instructions for whole vectors, which Numba has no words for: sums of products stay in the CPU's registers."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LANES = 16
"""Number of values of a vector. LLVM makes as many registers of it as the CPU needs."""

PLACES = np.zeros(256 * 8, np.uint8)
NUMBERS = np.zeros(256, np.uint8)
"""The bits that are set in each byte, ascending, eight entries for each byte, and their number."""

for _byte in range(256):
    _set = [bit for bit in range(8) if _byte >> bit & 1]
    PLACES[8 * _byte : 8 * _byte + len(_set)], NUMBERS[_byte] = _set, len(_set)

TO_BITS = np.uint64(0x0102040810204080)
"""Factor that brings the lowest bits of eight bytes together in the highest byte."""


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
            int32, int64 = ir.IntType(32), ir.IntType(64)

            def data(i: int) -> Any:
                return context.make_array(kinds[i])(context, builder, given[i]).data

            def number(i: int) -> Any:
                return context.cast(builder, given[i], signature.args[i], types.int64)

            into, places, first_weights, values, rows, matrix = (data(i) for i in (0, 2, 3, 6, 7, 10))
            start_at, first_row, behind, start, stop = (number(i) for i in (1, 4, 5, 8, 9))
            vector = ir.VectorType(values.type.pointee, LANES)
            item = values.type.pointee.get_abi_size(context.target_data)

            def element(array: Any, i: Any) -> Any:
                return builder.sext(builder.load(builder.gep(array, [i])), int64)

            def place(array: Any, i: Any) -> Any:
                return builder.bitcast(builder.gep(array, [i]), vector.as_pointer())

            def load(array: Any, i: Any) -> Any:
                return builder.load(place(array, i), align=item)

            def splat(x: Any) -> Any:
                empty = ir.Constant(ir.VectorType(x.type, LANES), ir.Undefined)
                one = builder.insert_element(empty, x, int32(0))
                return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(int32, LANES), [0] * LANES))

            targets, offsets = [], []
            for line in range(lines):
                here = builder.add(first_row, int64(line))
                at = builder.add(builder.add(start_at, element(places, here)), behind)
                weight = builder.add(element(first_weights, here), behind)
                targets += [builder.add(at, int64(v * LANES)) for v in range(vectors)]
                offsets += [builder.add(weight, int64(v * LANES)) for v in range(vectors)]
            before = [load(into, target) for target in targets]
            entry, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
            builder.cbranch(builder.icmp_signed("<", start, stop), loop, after)

            builder.position_at_end(loop)
            e = builder.phi(int64)
            sums = [builder.phi(vector) for _ in targets]
            factor, of_event = splat(builder.load(builder.gep(values, [e]))), element(rows, e)
            added = []
            for total, offset in zip(sums, offsets, strict=True):
                product = builder.fmul(factor, load(matrix, builder.add(of_event, offset)), flags=("contract",))
                added.append(builder.fadd(total, product, flags=("contract",)))
            following = builder.add(e, int64(1))
            e.add_incoming(start, entry)
            e.add_incoming(following, loop)
            for total, first_value, next_value in zip(sums, before, added, strict=True):
                total.add_incoming(first_value, entry)
                total.add_incoming(next_value, loop)
            builder.cbranch(builder.icmp_signed("<", following, stop), loop, after)

            builder.position_at_end(after)
            results = [builder.phi(vector) for _ in targets]
            for result, first_value, last_value in zip(results, before, added, strict=True):
                result.add_incoming(first_value, entry)
                result.add_incoming(last_value, loop)
            if not whole:
                lanes = ir.Constant(ir.VectorType(int64, LANES), list(range(LANES)))
                inside = builder.icmp_signed("<", lanes, splat(number(11)))
                results = [builder.select(inside, *pair) for pair in zip(results, before, strict=True)]
            for target, result in zip(targets, results, strict=True):
                builder.store(result, place(into, target), align=item)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    return cast(Callable[..., None], add)


@intrinsic
def put_eight(typing_context, numbers, at, first, table, entry):
    """Write ``first`` plus each of the eight bytes from ``table[8 * entry]`` on to ``numbers``, from ``at`` on."""
    kinds = (numbers, at, first, table, entry)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
        int8, int32, int64 = (ir.IntType(n) for n in (8, 32, 64))
        into, bytes_at = (context.make_array(kinds[i])(context, builder, given[i]).data for i in (0, 3))
        where, of_table = (context.cast(builder, given[i], signature.args[i], types.int64) for i in (1, 4))
        start = context.cast(builder, given[2], signature.args[2], types.int32)
        source = builder.gep(bytes_at, [builder.mul(of_table, int64(8))])
        eight = builder.load(builder.bitcast(source, ir.VectorType(int8, 8).as_pointer()), align=1)
        wide = ir.VectorType(int32, 8)
        empty = ir.Constant(wide, ir.Undefined)
        starts = builder.shuffle_vector(
            builder.insert_element(empty, start, int32(0)), empty, ir.Constant(wide, [0] * 8)
        )
        target = builder.bitcast(builder.gep(into, [where]), wide.as_pointer())
        builder.store(builder.add(starts, builder.zext(eight, wide)), target, align=4)
        return context.get_dummy_value()

    return types.void(*kinds), generate
