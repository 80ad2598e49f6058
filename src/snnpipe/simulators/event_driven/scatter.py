"""The connections of the event-driven kernel: a step's spikes add rows of weights to the currents that they reach."""

import numpy as np

from snnpipe.simulators.event_driven.compiled import WIDE, compiled, inlined
from snnpipe.simulators.event_driven.vectors import LANES, NUMBERS, PLACES, TO_BITS, adding, put_eight, sliding

LINES = 3
"""Lines of a convolution's rows that are added at once. Most convolutions have three."""

_VECTORS, _LANES = (2, LANES) if WIDE else (1, 8)
"""Largest number of vectors of a position, and their width. In single precision, three positions of three lines of
these fit in registers."""

WIDTH = _VECTORS * _LANES
"""Channels of a position that are added at once."""

_FEW = 8
"""Inputs per spike from which on spikes are not added up before they are scattered: few meet at an input."""


@compiled
def inputs(neuron, count, input_of, n_inputs, sums, flags, words, arrived, arrived_count):
    """List the inputs of a connection at which spikes arrive, with their sums; return the length of the list.

    With few spikes, an input may be listed several times.
    """
    n, zero = np.uint64(0), sums.dtype.type(0)
    if neuron.shape[0] * _FEW < n_inputs:
        for e in range(np.uint64(neuron.shape[0])):
            i = input_of[np.uint32(neuron[e])]
            arrived[n] = i
            arrived_count[n] = count[e]
            n += np.uint64(i >= 0)
        return np.int64(n)
    for e in range(np.uint64(neuron.shape[0])):
        at = input_of[np.uint32(neuron[e])]
        if at >= 0:
            i = np.uint64(at)
            sums[i] += count[e]
            flags[i] = 1
    for number in range(np.uint64((n_inputs + 7) // 8)):
        bits = (words[number] * TO_BITS) >> np.uint64(56)
        words[number] = 0
        put_eight(arrived, n, 8 * np.int64(number), PLACES, bits)
        n += np.uint64(NUMBERS[bits])
    for e in range(n):
        i = np.uint64(arrived[e])
        arrived_count[e] = sums[i]
        sums[i] = zero
    return np.int64(n)


_add_6, _add_3, _add_2, _add_1, _add_some = adding(6), adding(3), adding(2), adding(1), adding(1, whole=False)
_THREE = LINES if WIDE else 1  # only wide registers hold three rows of six vectors
_add_6_of_3, _add_3_of_3, _add_2_of_3 = adding(6, _THREE), adding(3, _THREE), adding(2, _THREE)
_add_1_of_3, _add_some_of_3 = adding(1, _THREE), adding(1, _THREE, whole=False)
_slide_lines, _slide_line = sliding(_VECTORS, LINES, _LANES), sliding(_VECTORS, 1, _LANES)
_slide_rest_of_lines, _slide_rest_of_line = sliding(1, LINES, _LANES), sliding(1, 1, _LANES)


@inlined
def _add_rows(currents, origin, row_at, row_weight, row_length, r, behind, count, row, first, end, weights):
    """Add the rows from ``r`` on of a group of events, whose rows all begin at ``origin``."""
    while r < behind:
        done, n = 0, np.int64(row_length[r])
        while n >= 6 * LANES:
            _add_6(currents, origin, row_at, row_weight, r, done, count, row, first, end, weights, n)
            done, n = done + 6 * LANES, n - 6 * LANES
        if n >= 3 * LANES:
            _add_3(currents, origin, row_at, row_weight, r, done, count, row, first, end, weights, n)
            done, n = done + 3 * LANES, n - 3 * LANES
        if n >= 2 * LANES:
            _add_2(currents, origin, row_at, row_weight, r, done, count, row, first, end, weights, n)
            done, n = done + 2 * LANES, n - 2 * LANES
        if n >= LANES:
            _add_1(currents, origin, row_at, row_weight, r, done, count, row, first, end, weights, n)
            done, n = done + LANES, n - LANES
        if n > 0:
            _add_some(currents, origin, row_at, row_weight, r, done, count, row, first, end, weights, n)
        r += 1


@inlined
def _add_three_rows(currents, origin, row_at, row_weight, n, r, count, row, first, end, weights):
    """Add three rows of the length n of a group of events, whose rows all begin at ``origin``."""
    done = 0
    while n >= 6 * LANES:
        _add_6_of_3(currents, origin, row_at, row_weight, r, done, count, row, first, end, weights, n)
        done, n = done + 6 * LANES, n - 6 * LANES
    if n >= 3 * LANES:
        _add_3_of_3(currents, origin, row_at, row_weight, r, done, count, row, first, end, weights, n)
        done, n = done + 3 * LANES, n - 3 * LANES
    if n >= 2 * LANES:
        _add_2_of_3(currents, origin, row_at, row_weight, r, done, count, row, first, end, weights, n)
        done, n = done + 2 * LANES, n - 2 * LANES
    if n >= LANES:
        _add_1_of_3(currents, origin, row_at, row_weight, r, done, count, row, first, end, weights, n)
        done, n = done + LANES, n - LANES
    if n > 0:
        _add_some_of_3(currents, origin, row_at, row_weight, r, done, count, row, first, end, weights, n)


@compiled
def _apart(row_at, row_length, r):
    """Whether three rows from ``r`` on are equally long, and none reaches another, with the rest of its last vector."""
    n = (row_length[r] + LANES - 1) // LANES * LANES
    alike = row_length[r] == row_length[r + 1] and row_length[r] == row_length[r + 2]
    return alike and row_at[r + 1] - row_at[r] >= n and row_at[r + 2] - row_at[r + 1] >= n


@compiled
def _slide(neuron, count, start, weight_at, channels, r, behind, row_at, weights, currents):
    """Add the rows from ``r`` on of events, whose rows have three positions of ``channels`` currents.

    The weights of a neuron are listed in the order in which they are added here (`arrays.py`).
    """
    begin, end, weight = np.int64(0), neuron.shape[0], 0
    while begin < end and start[np.uint32(neuron[begin])] < 0:
        begin += 1
    if begin == end:
        return
    lines = LINES if (behind - r) % LINES == 0 else 1
    while r < behind:
        done = 0
        while done < channels:
            whole = channels - done >= WIDTH
            if lines == LINES:
                if whole:
                    _slide_lines(
                        currents,
                        row_at,
                        r,
                        done,
                        channels,
                        neuron,
                        count,
                        start,
                        weight_at,
                        begin,
                        end,
                        weights,
                        weight,
                    )
                else:
                    _slide_rest_of_lines(
                        currents,
                        row_at,
                        r,
                        done,
                        channels,
                        neuron,
                        count,
                        start,
                        weight_at,
                        begin,
                        end,
                        weights,
                        weight,
                    )
            elif whole:
                _slide_line(
                    currents, row_at, r, done, channels, neuron, count, start, weight_at, begin, end, weights, weight
                )
            else:
                _slide_rest_of_line(
                    currents, row_at, r, done, channels, neuron, count, start, weight_at, begin, end, weights, weight
                )
            width = WIDTH if whole else _LANES
            done += width
            weight += 3 * lines * width
        r += lines


@compiled
def scatter(
    neuron,
    count,
    start,
    weight_at,
    classes,
    one_class,
    channels,
    rows,
    row_at,
    row_weight,
    row_length,
    weights,
    currents,
    row,
):
    """Add the rows of weights of a connection's events to the currents.

    Consecutive events whose rows begin in the same place are added together: the currents that they reach are loaded
    and stored once, and the events cost a load and a product for each weight.
    """
    # unsigned, so that Numba does not check for negative indices
    e, end, one = np.uint64(0), np.uint64(neuron.shape[0]), np.uint64(1)
    group = np.uint32(max(one_class, 0))
    r, behind = np.int64(rows[group]), np.int64(rows[group + np.uint32(1)])
    if channels:
        _slide(neuron, count, start, weight_at, channels, r, behind, row_at, weights, currents)
        return
    n = np.int64(row_length[r]) if behind > r else 0
    if one_class >= 0 and behind - r == 1 and n == 1:
        at, weight = np.int64(row_at[r]), np.int64(row_weight[r])
        for e in range(end):
            i = np.uint32(neuron[e])
            if start[i] >= 0:
                currents[np.uint64(start[i] + at)] += count[e] * weights[np.uint64(weight_at[i] + weight)]
        return
    three = _THREE == LINES and one_class >= 0 and behind - r == LINES and _apart(row_at, row_length, r)
    while e < end:
        i = np.uint32(neuron[e])
        origin, first = np.int64(start[i]), e
        if origin < 0:
            e += one
            continue
        if one_class >= 0:
            while e < end:
                i = np.uint32(neuron[e])
                if start[i] != origin:
                    break
                row[e] = weight_at[i]
                e += one
            if three:
                _add_three_rows(currents, origin, row_at, row_weight, n, r, count, row, first, e, weights)
                continue
        else:
            group = np.uint32(classes[i])
            r, behind = np.int64(rows[group]), np.int64(rows[group + np.uint32(1)])
            while e < end:
                i = np.uint32(neuron[e])
                if start[i] != origin or np.uint32(classes[i]) != group:
                    break
                row[e] = weight_at[i]
                e += one
        _add_rows(currents, origin, row_at, row_weight, row_length, r, behind, count, row, first, e, weights)
