"""The event-driven kernel, in Numba, which runs a `Program` for one image at a time, step by step.

A layer runs over all steps of a block before the next layer does, and passes on the list of its events: pairs
``(neuron, spikes)`` for each step. A synapse's decay is applied to the current, so an event only adds a row of weights.
Nengo's delay of one step follows from the order "update the neurons, then scatter".

The kernel is compiled once and cached. It runs without Python's lock.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from snnpipe.frameworks.pooling import EQUAL_SUMS
from snnpipe.simulators.event_driven.compiled import WIDE, compiled, of_sources
from snnpipe.simulators.event_driven.vectors import LANES, adding, put_eight

INPUT, INTEGRATE, CLIPPED, SIGNED, LIF, LIF_RATE, SUMS, GATED, OUTPUT = range(9)
"""Kinds of layers: a changing input, spiking rectified linear neurons, the same with a highest current, signed
integrate-and-fire neurons, LIF neurons, neurons that integrate LIF rates, max pooling over time that sends the growth
of the largest sum, the same that passes on the input with the largest sum, and the output.

The inputs of a max pooling take the place of neurons: their voltages are the sums, and the first of their refractory
times are the largest sums of the windows."""

FUNCTIONS = {
    "integrate": INTEGRATE,
    "integrate_clipped": CLIPPED,
    "integrate_and_fire": SIGNED,
    "lif": LIF,
    "integrate_lif_rate": LIF_RATE,
}
"""Kind of layer of each function below that steps neurons, by its name in `snnpipe.neurons.model.EventRule`."""

_DIRECT_BELOW = 0.1
"""Mean spikes per neuron and step under a constant current, below which spike times are computed directly."""

_NOTHING = 1e-30
"""Size up to which a current is set to 0, because it would decay to a subnormal number, which is slow."""

_NOTHING_EVERY = 16
"""Steps of a run between two such checks of the currents."""


class Program(NamedTuple):
    """A network as flat arrays.

    Attributes
    ----------
    kind, parameters
        Kind of each layer, and the constants of its equation.
    threshold, most_spikes
        Constant current up to which a neuron of each layer never spikes if its voltage is below a spike, and the
        highest number of spikes of a neuron in a step.
    direct
        Whether the spike times of each layer under a constant current may be computed directly.
    first, size
        Index of each layer's first neuron among all neurons, and the number of its neurons.
    n_lines, line_length
        Number and length of each layer's lines. A line is a run of consecutive neurons whose currents are consecutive
        too; a layer is updated line by line.
    order
        Order in which the events of each layer's neurons are listed if no connection ends in the layer.
    base_at, base_stride, base_from_image
        Index where each layer's current without any spike begins, the stride between lines (0: all lines are alike),
        and whether this current depends on the image.
    windows, cells
        Index of each layer's first window in ``cells_at``, and the index of its first input in ``windows_at``.
    cells_at, cell
        Index in ``cell`` where the inputs that each window covers begin (a layer has one more entry for the end), and
        these inputs, ascending.
    windows_at, window
        The same for the windows that cover each input.
    buffers
        Index of each layer's first buffer of currents, and one more entry for the end.
    lines_at
        Index of each buffer's first line in ``line_at``, and one more entry for the end.
    line_at
        Index among the currents where each line of each buffer begins.
    buffer_at
        Index among the currents where each buffer begins, and one more entry for the end.
    decay, instant
        Factor by which the currents of each buffer decay in a step, and whether they act in the step of the spike.
    connections
        Index of the first connection into each layer, and one more entry for the end.
    source, table, one_class, into
        Layer that each connection comes from, the index where its inputs begin in ``start``, the class of all its
        inputs (-1: they have several), and the buffer that the connection adds to.
    n_inputs, inputs_at
        Number of inputs of each connection that the layer's neurons are added to, and the index where these neurons
        begin in ``input_of``. If the number is 0, each neuron is an input.
    input_of
        The input that each neuron is added to (-1: none).
    start, weight_at, classes
        Index among the currents where the rows of each input of each connection begin (-1: it has none), the index of
        its first weight, and its class.
    rows
        Index of the first row of each class, and one more entry for the end.
    row_at, row_weight, row_length
        Place of each row relative to the neuron's start, its first weight relative to the neuron's, and its length.
    weights, base, voltage, refractory
        Weights, currents without any spike, and initial states.
    """

    kind: NDArray[np.int64]
    parameters: NDArray[Any]
    threshold: NDArray[Any]
    most_spikes: NDArray[Any]
    direct: NDArray[np.bool_]
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    n_lines: NDArray[np.int64]
    line_length: NDArray[np.int64]
    order: NDArray[np.int32]
    base_at: NDArray[np.int64]
    base_stride: NDArray[np.int64]
    base_from_image: NDArray[np.bool_]
    windows: NDArray[np.int64]
    cells: NDArray[np.int64]
    cells_at: NDArray[np.int64]
    cell: NDArray[np.int64]
    windows_at: NDArray[np.int64]
    window: NDArray[np.int64]
    buffers: NDArray[np.int64]
    lines_at: NDArray[np.int64]
    line_at: NDArray[np.int64]
    buffer_at: NDArray[np.int64]
    decay: NDArray[Any]
    instant: NDArray[np.bool_]
    connections: NDArray[np.int64]
    source: NDArray[np.int64]
    table: NDArray[np.int64]
    one_class: NDArray[np.int64]
    into: NDArray[np.int64]
    n_inputs: NDArray[np.int64]
    inputs_at: NDArray[np.int64]
    input_of: NDArray[np.int32]
    start: NDArray[np.int32]
    weight_at: NDArray[np.int32]
    classes: NDArray[np.int32]
    rows: NDArray[np.int64]
    row_at: NDArray[np.int32]
    row_weight: NDArray[np.int32]
    row_length: NDArray[np.int32]
    weights: NDArray[Any]
    base: NDArray[Any]
    voltage: NDArray[Any]
    refractory: NDArray[Any]


class Workspace(NamedTuple):
    """The memory that one thread works on: an image's state, and the events of a block of steps.

    Attributes
    ----------
    voltage, refractory, currents
        State of the image: voltage and refractory time of each neuron, and all currents.
    event_neuron, event_count
        Events of all layers. Each layer has its own part of these arrays.
    events_at
        Index where each layer's part of the events begins.
    events
        Index where the events of each layer and each step of the block begin; one more column holds their end.
    flags, words
        One byte for each neuron of a line that is not 0 if the neuron spikes, and the same memory as eight-byte words.
    current, now
        Sum of several buffers for a line, and a line's currents within a step; for max pooling, those of all inputs.
    touched
        Windows of a max pooling whose inputs are not all 0 in a step.
    active, active_current, active_voltage, active_refractory
        Neurons under a constant current that may spike, packed.
    found_step, found_neuron, found_count
        Spikes computed neuron by neuron, before they are sorted by step.
    row
        First weights of a connection's events whose rows begin in the same place.
    sums, sum_flags, sum_words
        Sum of the spikes that arrive at each input of a connection, one byte for each input that is not 0 if some do,
        and the same memory as eight-byte words. All are 0 between two connections.
    input, input_count
        The inputs at which spikes arrive, and their number.
    """

    voltage: NDArray[Any]
    refractory: NDArray[Any]
    currents: NDArray[Any]
    event_neuron: NDArray[np.int32]
    event_count: NDArray[Any]
    events_at: NDArray[np.int64]
    events: NDArray[np.int64]
    flags: NDArray[np.uint8]
    words: NDArray[np.uint64]
    current: NDArray[Any]
    now: NDArray[Any]
    touched: NDArray[np.int64]
    active: NDArray[np.int32]
    active_current: NDArray[Any]
    active_voltage: NDArray[Any]
    active_refractory: NDArray[Any]
    found_step: NDArray[np.int32]
    found_neuron: NDArray[np.int32]
    found_count: NDArray[Any]
    row: NDArray[np.int32]
    sums: NDArray[Any]
    sum_flags: NDArray[np.uint8]
    sum_words: NDArray[np.uint64]
    input: NDArray[np.int32]
    input_count: NDArray[Any]


# ---------------------------------------------------------------------- loops in place of slices, which would allocate


@compiled
def _copy(target, source):
    for i in range(target.shape[0]):
        target[i] = source[i]


@compiled
def _fill(target, value):
    for i in range(target.shape[0]):
        target[i] = value


@compiled
def _drop_nothing(currents):
    for i in range(currents.shape[0]):
        currents[i] = currents[i] if abs(currents[i]) > _NOTHING else 0


# ---------------------------------------------------------------------- neurons, a line at a time


@compiled
def _integrate(v, current, base, decay, flags):
    """Spiking rectified linear neurons: v += max(J, 0), and v -= 1 for a spike. `_collect` takes further spikes."""
    zero, one = v.dtype.type(0), v.dtype.type(1)
    for i in range(v.shape[0]):
        now = current[i]
        x = v[i] + max(now + base[i], zero)
        current[i] = now * decay
        spikes = x >= one
        v[i] = x - one if spikes else x
        flags[i] = np.uint8(spikes)


@compiled
def _integrate_clipped(v, current, base, decay, flags, parameters):
    """Spiking rectified linear neurons with a highest current: v += min(max(J, 0), highest), else as `_integrate`."""
    zero, one, highest = v.dtype.type(0), v.dtype.type(1), parameters[0]
    for i in range(v.shape[0]):
        now = current[i]
        x = v[i] + min(max(now + base[i], zero), highest)
        current[i] = now * decay
        spikes = x >= one
        v[i] = x - one if spikes else x
        flags[i] = np.uint8(spikes)


@compiled
def _integrate_and_fire(v, current, base, decay, flags, parameters):
    """Signed integrate-and-fire neurons: v += J. Without a spike, v is kept at the lowest voltage or above."""
    one, lowest = v.dtype.type(1), parameters[0]
    for i in range(v.shape[0]):
        now = current[i]
        x = v[i] + (now + base[i])
        current[i] = now * decay
        spikes = x >= one
        v[i] = x - one if spikes else max(x, lowest)
        flags[i] = np.uint8(spikes)


@compiled
def _integrate_lif_rate(v, current, base, decay, flags, parameters):
    """Neurons that integrate LIF rates, 1 / (tau_ref + tau_rc log(1 + 1 / (J - 1))), else as `_integrate`."""
    tau_rc, tau_ref, step = parameters[0], parameters[1], parameters[2]
    one = v.dtype.type(1)
    for i in range(v.shape[0]):
        now = current[i] + base[i]
        current[i] *= decay
        x = v[i]
        if now > one:
            x += step / (tau_ref + tau_rc * np.log1p(one / (now - one)))
        spikes = x >= one
        v[i] = x - one if spikes else x
        flags[i] = np.uint8(spikes)


@compiled
def _lif(v, refractory, current, base, decay, flags, now, parameters):
    """LIF neurons: first all that neither spike nor are refractory, as vectors, then the others one by one."""
    tau_rc, tau_ref, dt, min_voltage, leak = parameters[0], parameters[1], parameters[2], parameters[3], parameters[4]
    zero, one = v.dtype.type(0), v.dtype.type(1)
    for i in range(v.shape[0]):
        now[i] = current[i] + base[i]
        current[i] *= decay
        x = v[i] + (v[i] - now[i]) * leak
        special = (x > one) | (refractory[i] > zero)
        flags[i] = np.uint8(special)
        v[i] = v[i] if special else max(x, min_voltage)
    for i in range(v.shape[0]):
        if flags[i] != 0:
            time = min(max(dt - refractory[i], zero), dt)
            x = v[i] + (v[i] - now[i]) * np.expm1(-time / tau_rc)
            if x > one:
                refractory[i] = tau_ref + tau_rc * np.log1p((one - x) / (now[i] - one))
                v[i] = zero
            else:
                refractory[i] -= dt
                v[i] = max(x, min_voltage)
                flags[i] = 0


@compiled
def _step(kind, v, refractory, current, base, decay, flags, now, parameters):
    """Update a line of neurons. ``flags`` marks those that spiked, and ``now`` is memory for their currents."""
    if kind == INTEGRATE:
        _integrate(v, current, base, decay, flags)
    elif kind == CLIPPED:
        _integrate_clipped(v, current, base, decay, flags, parameters)
    elif kind == SIGNED:
        _integrate_and_fire(v, current, base, decay, flags, parameters)
    elif kind == LIF:
        _lif(v, refractory, current, base, decay, flags, now, parameters)
    else:
        _integrate_lif_rate(v, current, base, decay, flags, parameters)


_PLACES = np.zeros(256 * 8, np.uint8)
_NUMBERS = np.zeros(256, np.uint8)
"""The bits that are set in each byte, ascending, eight entries for each byte, and their number."""

for _byte in range(256):
    _set = [bit for bit in range(8) if _byte >> bit & 1]
    _PLACES[8 * _byte : 8 * _byte + len(_set)], _NUMBERS[_byte] = _set, len(_set)

_TO_BITS = np.uint64(0x0102040810204080)
"""Factor that brings the lowest bits of eight bytes together in the highest byte."""

_MANY = 16
"""Neurons per spike of the step before, up to which all are looked at, and not only those that spiked."""


@compiled
def _collect(words, v, most, first, neuron, count, m, many):
    """List the spikes of a line's neurons, at most ``most`` of each, behind ``m`` events; return the number of events
    after that. Up to 7 entries behind them may be overwritten.

    With ``many`` spikes, the time does not depend on where they are: a branch that the CPU cannot foresee costs more
    than eight entries.
    """
    # unsigned, so that Numba does not check for negative indices
    zero, one = v.dtype.type(0), v.dtype.type(1)
    begin, now = np.uint64(m), np.uint64(m)
    if many:
        for number in range(np.uint64((v.shape[0] + 7) // 8)):
            bits = (words[number] * _TO_BITS) >> np.uint64(56)
            put_eight(neuron, now, first + 8 * np.int64(number), _PLACES, bits)
            now += np.uint64(_NUMBERS[bits])
    else:
        for number in range(np.uint64((v.shape[0] + 7) // 8)):
            word = words[number]
            while word != 0:
                # the lowest byte is first in memory
                neuron[now] = first + np.int64(number) * 8 + np.int64(trailing_zeros(word) >> 3)
                word &= word - np.uint64(1)
                now += np.uint64(1)
    for e in range(begin, now):
        i = np.uint64(neuron[e] - first)
        more = max(min(np.floor(v[i]), most - one), zero)
        count[e] = one + more
        v[i] -= more
    return np.int64(now)


# ---------------------------------------------------------------------- connections


_THREE = 3 if WIDE else 1
"""Rows of weights that are added at once. Most convolutions have three, and only wide registers hold so many."""

_FEW = 8
"""Inputs per spike from which on spikes are not added up before they are scattered: few meet at an input."""


@compiled
def _inputs(neuron, count, input_of, n_inputs, sums, flags, words, arrived, arrived_count):
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
        bits = (words[number] * _TO_BITS) >> np.uint64(56)
        words[number] = 0
        put_eight(arrived, n, 8 * np.int64(number), _PLACES, bits)
        n += np.uint64(_NUMBERS[bits])
    for e in range(n):
        i = np.uint64(arrived[e])
        arrived_count[e] = sums[i]
        sums[i] = zero
    return np.int64(n)


_add_6, _add_3, _add_2, _add_1, _add_some = adding(6), adding(3), adding(2), adding(1), adding(1, whole=False)
_add_6_of_3, _add_3_of_3, _add_2_of_3 = adding(6, _THREE), adding(3, _THREE), adding(2, _THREE)
_add_1_of_3, _add_some_of_3 = adding(1, _THREE), adding(1, _THREE, whole=False)


@compiled
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


@compiled
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
def _scatter(
    neuron, count, start, weight_at, classes, one_class, rows, row_at, row_weight, row_length, weights, currents, row
):
    """Add the rows of weights of a connection's events to the currents.

    Consecutive events whose rows begin in the same place are added together: the currents that they reach are loaded
    and stored once, and the events cost a load and a product for each weight.
    """
    # unsigned, so that Numba does not check for negative indices
    e, end, one = np.uint64(0), np.uint64(neuron.shape[0]), np.uint64(1)
    group = np.uint32(max(one_class, 0))
    r, behind = np.int64(rows[group]), np.int64(rows[group + np.uint32(1)])
    n = np.int64(row_length[r]) if behind > r else 0
    if one_class >= 0 and behind - r == 1 and n == 1:
        for e in range(end):
            i = np.uint32(neuron[e])
            if start[i] >= 0:
                at, weight = np.uint64(start[i] + row_at[r]), np.uint64(weight_at[i] + row_weight[r])
                currents[at] += count[e] * weights[weight]
        return
    three = _THREE == 3 and one_class >= 0 and behind - r == 3 and n == row_length[r + 1] and n == row_length[r + 2]
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


# ---------------------------------------------------------------------- max pooling over time


@compiled
def _add_up(sums, current, base, decay, now, windows_at, window, flags, touched, n):
    """Add a line of inputs to their sums, and list the windows that they touch behind ``n``; return the new number."""
    for i in range(sums.shape[0]):
        x = current[i] + base[i]
        current[i] *= decay
        now[i] = x
        if x != 0:
            sums[i] += x
            for at in range(windows_at[i], windows_at[i + 1]):
                w = window[at]
                if flags[w] == 0:
                    flags[w] = 1
                    touched[n] = w
                    n += 1
    return n


@compiled
def _pool(kind, sums, largest, now, cells_at, cell, flags, touched, neuron, count, m):
    """List the outputs of the touched windows that are not 0, behind ``m`` events; return the new number of events."""
    for t in range(touched.shape[0]):
        w = touched[t]
        flags[w] = 0
        most = sums[cell[cells_at[w]]]
        for at in range(cells_at[w] + 1, cells_at[w + 1]):
            most = max(most, sums[cell[at]])
        if kind == SUMS:
            output = most - largest[w]
            largest[w] = most
        else:
            at, least = cells_at[w], most - sums.dtype.type(EQUAL_SUMS) * abs(most)
            while sums[cell[at]] < least:
                at += 1
            output = now[cell[at]]
        if output != 0:
            neuron[m] = w
            count[m] = output
            m += 1
    return m


# ---------------------------------------------------------------------- layers


def _reordered(function: Any) -> Any:
    return of_sources({"nogil": True, "_nrt": False, "fastmath": True}, function)


@compiled
def _input_layer(p, w, layer, signal_tn):
    """List the values of a changing input that are not zero."""
    m = w.events_at[layer]
    for t in range(signal_tn.shape[0]):
        w.events[layer, t] = m
        for i in range(signal_tn.shape[1]):
            if signal_tn[t, i] != 0:
                w.event_neuron[m] = i
                w.event_count[m] = signal_tn[t, i]
                m += 1
    w.events[layer, signal_tn.shape[0]] = m


@_reordered
def _drive(base):
    """Return about how many neurons spike in a step under a constant current."""
    total, zero, one = base.dtype.type(0), base.dtype.type(0), base.dtype.type(1)
    for i in range(base.shape[0]):
        total += min(max(base[i], zero), one)
    return total


@compiled
def _direct(p, w, layer, base, step, n_steps):
    """List the spikes under a constant current: N(t) = floor(v0 + (t + 1) J) is their number up to the end of step t.

    The times are computed in double precision neuron by neuron, and are then sorted by step.
    """
    first, size = p.first[layer], p.size[layer]
    m, last = 0, step + n_steps
    for t in range(n_steps + 1):
        w.events[layer, t] = 0
    for o in range(first, first + size):
        i = p.order[o]
        current = np.float64(base[i])
        if current <= 0:
            continue
        v = np.float64(p.voltage[first + i])
        if v + last * current < 1:
            continue
        so_far = np.floor(v + step * current)
        if current < 0.5:
            k, period = so_far + 1, 1 / current
            t = np.int64(np.ceil((k - v) * period))
            while True:
                while v + t * current < k:
                    t += 1
                while v + (t - 1) * current >= k:
                    t -= 1
                if t > last:
                    break
                w.found_step[m] = t - 1 - step
                w.found_neuron[m] = i
                w.found_count[m] = 1
                w.events[layer, t - step] += 1
                m += 1
                k += 1
                t = np.int64(np.ceil((k - v) * period))
        else:
            for t in range(n_steps):
                now = np.floor(v + (step + t + 1) * current)
                if now > so_far:
                    w.found_step[m] = t
                    w.found_neuron[m] = i
                    w.found_count[m] = now - so_far
                    w.events[layer, t + 1] += 1
                    m += 1
                    so_far = now
    w.events[layer, 0] = w.events_at[layer]
    for t in range(n_steps):
        w.events[layer, t + 1] += w.events[layer, t]
    for e in range(m):
        at = w.events[layer, w.found_step[e]]
        w.event_neuron[at] = w.found_neuron[e]
        w.event_count[at] = w.found_count[e]
        w.events[layer, w.found_step[e]] = at + 1
    for t in range(n_steps, 0, -1):
        w.events[layer, t] = w.events[layer, t - 1]
    w.events[layer, 0] = w.events_at[layer]


_PACKED_BELOW = 0.25
"""Share of the neurons that can spike, below which these are packed together under a constant current."""


@compiled
def _constant_layer(p, w, layer, base, n_steps):
    """Run a layer with a constant current. Where few neurons can spike, only those are updated."""
    first, size, threshold = p.first[layer], p.size[layer], p.threshold[layer]
    able = 0
    for i in range(size):
        able += (base[i] > threshold) | (w.voltage[first + i] >= 1)
    if able >= _PACKED_BELOW * size:
        v, refractory = w.voltage[first : first + size], w.refractory[first : first + size]
        _constant_steps(p, w, layer, base[:size], v, refractory, n_steps)
        return
    n = 0
    for o in range(first, first + size):
        i = p.order[o]
        if base[i] > threshold or w.voltage[first + i] >= 1:
            w.active[n] = i
            w.active_current[n] = base[i]
            w.active_voltage[n] = w.voltage[first + i]
            w.active_refractory[n] = w.refractory[first + i]
            n += 1
    v, refractory = w.active_voltage[:n], w.active_refractory[:n]
    _constant_steps(p, w, layer, w.active_current[:n], v, refractory, n_steps)
    for e in range(w.events[layer, 0], w.events[layer, n_steps]):
        w.event_neuron[e] = w.active[w.event_neuron[e]]
    for a in range(n):
        w.voltage[first + w.active[a]] = v[a]
        w.refractory[first + w.active[a]] = refractory[a]


@compiled
def _constant_steps(p, w, layer, base, v, refractory, n_steps):
    """Run neurons under a constant current, and number their events by their places in the arrays."""
    kind, most, n = p.kind[layer], p.most_spikes[layer], v.shape[0]
    none = w.current[:n]
    _fill(none, 0)
    flags, zero = w.flags[:n], none.dtype.type(0)
    for i in range(n, (n + 7) // 8 * 8):
        w.flags[i] = 0
    m = w.events_at[layer]
    for t in range(n_steps):
        many = t == 0 or _MANY * (m - w.events[layer, t - 1]) >= n
        w.events[layer, t] = m
        _step(kind, v, refractory, none, base, zero, flags, w.now, p.parameters[layer])
        m = _collect(w.words, v, most, 0, w.event_neuron, w.event_count, m, many)
    w.events[layer, n_steps] = m


@numba.njit(inline="always", _nrt=False)  # program and workspace are too large to pass at every step
def _scatter_step(p, w, layer, t, instant):
    """Scatter a step's events through the connections into a layer that act at once, or through the others."""
    for c in range(p.connections[layer], p.connections[layer + 1]):
        if p.instant[p.into[c]] == instant:
            source, table = p.source[c], p.table[c]
            begin, end = w.events[source, t], w.events[source, t + 1]
            neuron, count = w.event_neuron[begin:end], w.event_count[begin:end]
            if p.n_inputs[c] > 0:
                n = _inputs(
                    neuron,
                    count,
                    p.input_of[p.inputs_at[c] :],
                    p.n_inputs[c],
                    w.sums,
                    w.sum_flags,
                    w.sum_words,
                    w.input,
                    w.input_count,
                )
                neuron, count = w.input[:n], w.input_count[:n]
            _scatter(
                neuron,
                count,
                p.start[table:],
                p.weight_at[table:],
                p.classes[table:],
                p.one_class[c],
                p.rows,
                p.row_at,
                p.row_weight,
                p.row_length,
                p.weights,
                w.currents,
                w.row,
            )


@compiled
def _layer(p, w, layer, base, step, n_steps, output_tc):
    """Run a layer that events reach: a layer of neurons, max pooling, or the output, whose currents are only read."""
    kind, first, length, most = p.kind[layer], p.first[layer], p.line_length[layer], p.most_spikes[layer]
    buffers = range(p.buffers[layer], p.buffers[layer + 1])
    one_buffer = p.buffers[layer + 1] - p.buffers[layer] == 1
    m = w.events_at[layer]
    for i in range(length, (length + 7) // 8 * 8):
        w.flags[i] = 0
    flags, zero = w.flags[:length], w.current.dtype.type(0)
    pooling = kind == SUMS or kind == GATED  # noqa: PLR1714  # compiled
    if pooling:
        _fill(w.flags, 0)
    for t in range(n_steps):
        _scatter_step(p, w, layer, t, True)
        many = t == 0 or _MANY * (m - w.events[layer, t - 1]) >= p.size[layer]
        w.events[layer, t] = m
        touched = 0
        for line in range(p.n_lines[layer]):
            at = line * length
            base_line = base[line * p.base_stride[layer] : line * p.base_stride[layer] + length]
            if one_buffer:
                b = p.buffers[layer]
                where = p.line_at[p.lines_at[b] + line]
                current, decay = w.currents[where : where + length], p.decay[b]
            else:
                current, decay = w.current[:length], zero
                _fill(current, 0)
                for b in buffers:
                    where = p.line_at[p.lines_at[b] + line]
                    for i in range(length):
                        current[i] += w.currents[where + i]
                        w.currents[where + i] *= p.decay[b]
            if kind == OUTPUT:
                for i in range(length):
                    output_tc[t, at + i] = current[i] + base_line[i]
                    current[i] *= decay
            elif pooling:
                touched = _add_up(
                    w.voltage[first + at : first + at + length],
                    current,
                    base_line,
                    decay,
                    w.now[at:],
                    p.windows_at[p.cells[layer] + at :],
                    p.window,
                    w.flags,
                    w.touched,
                    touched,
                )
            else:
                v = w.voltage[first + at : first + at + length]
                refractory = w.refractory[first + at : first + at + length]
                _step(kind, v, refractory, current, base_line, decay, flags, w.now, p.parameters[layer])
                m = _collect(w.words, v, most, at, w.event_neuron, w.event_count, m, many)
        if pooling:
            m = _pool(
                kind,
                w.voltage[first:],
                w.refractory[first:],
                w.now,
                p.cells_at[p.windows[layer] :],
                p.cell,
                w.flags,
                w.touched[:touched],
                w.event_neuron,
                w.event_count,
                m,
            )
        _scatter_step(p, w, layer, t, False)
        if (step + t) % _NOTHING_EVERY == 0:
            for b in buffers:
                _drop_nothing(w.currents[p.buffer_at[b] : p.buffer_at[b + 1]])
    w.events[layer, n_steps] = m


@compiled
def advance(p, w, image_base, signal_tn, step, n_steps, output_tc, output_layer, output_spikes_tc, counts_n):
    """Run one image for a block of steps.

    Parameters
    ----------
    p, w
        Program, and workspace, which holds the image's state.
    image_base
        Currents without any spike of the layers that depend on the image.
    signal_tn
        Changing input, shape ``(t, n)``; n is 0 if the input is constant.
    step, n_steps
        First step of the block, and number of its steps.
    output_tc, output_spikes_tc
        Arrays that take the output of each step, and the spikes of the layer ``output_layer`` (-1: there is none).
    counts_n
        Array to which the spikes of each neuron are added.
    """
    for layer in range(p.kind.shape[0]):
        kind = p.kind[layer]
        if kind == INPUT:
            _input_layer(p, w, layer, signal_tn)
            continue
        at = p.base_at[layer]
        base = image_base[at:] if p.base_from_image[layer] else p.base[at:]
        if p.connections[layer] < p.connections[layer + 1] or kind >= SUMS:
            _layer(p, w, layer, base, step, n_steps, output_tc)
        else:
            direct = False
            if p.direct[layer]:
                direct = _drive(base[: p.size[layer]]) < _DIRECT_BELOW * p.size[layer]
            if direct:
                _direct(p, w, layer, base, step, n_steps)
            else:
                _constant_layer(p, w, layer, base, n_steps)
        if kind >= SUMS:
            continue
        first = p.first[layer]
        for e in range(np.uint64(w.events[layer, 0]), np.uint64(w.events[layer, n_steps])):
            counts_n[np.uint64(first + w.event_neuron[e])] += w.event_count[e]
        if layer == output_layer:
            for t in range(n_steps):
                for e in range(w.events[layer, t], w.events[layer, t + 1]):
                    output_spikes_tc[t, w.event_neuron[e]] = w.event_count[e]


@compiled
def run_images(
    p,
    w,
    block,
    image_base_b,
    signal_btn,
    state_bn,
    step,
    begin,
    n_steps,
    rows,
    output_btc,
    output_layer,
    output_spikes_btc,
    counts_bn,
):
    """Run images one after the other, each for some steps of a chunk, block by block.

    The chunk's arrays are given whole: for a part of one, which has another type, Numba would compile all this again.

    Parameters
    ----------
    block
        Number of steps of a block.
    state_bn
        State of each image before the steps; without rows if the run is one chunk.
    step
        First step of the chunk.
    begin, n_steps
        First of the steps to run, counted from the chunk's first, and their number.
    rows
        The images of the batch to run.
    """
    n_v, n_r = w.voltage.shape[0], w.refractory.shape[0]
    for b in rows:
        if step + begin == 0:
            _copy(w.voltage, p.voltage)
            _copy(w.refractory, p.refractory)
            _fill(w.currents, 0)
        else:
            _copy(w.voltage, state_bn[b, :n_v])
            _copy(w.refractory, state_bn[b, n_v : n_v + n_r])
            _copy(w.currents, state_bn[b, n_v + n_r :])
        for t in range(begin, begin + n_steps, block):
            n = min(block, begin + n_steps - t)
            advance(
                p,
                w,
                image_base_b[b],
                signal_btn[b, t : t + n],
                step + t,
                n,
                output_btc[b, t : t + n],
                output_layer,
                output_spikes_btc[b, t : t + n],
                counts_bn[b],
            )
        if state_bn.shape[0]:
            _copy(state_bn[b, :n_v], w.voltage)
            _copy(state_bn[b, n_v : n_v + n_r], w.refractory)
            _copy(state_bn[b, n_v + n_r :], w.currents)


def is_compiled() -> bool:
    """Whether the kernel has been compiled, in this process or in the cache since its source last changed."""
    kernel: Any = run_images
    if kernel.signatures:
        return True
    source = Path(__file__)
    indices = Path(kernel.stats.cache_path or "/nowhere").glob(f"{source.stem}.{kernel.__name__}-*.nbi")
    return any(index.stat().st_mtime >= source.stat().st_mtime for index in indices)
