"""The event-driven kernel, in Numba, which runs a `Program` for one image at a time, step by step.

A layer runs over all steps of a block before the next layer does, and passes on the list of its events: pairs
``(neuron, spikes)`` for each step. A synapse's decay is applied to the current, so an event only adds a row of weights.
Nengo's delay of one step follows from the order "update the neurons, then scatter".

The kernel is compiled once and cached. It runs without Python's lock.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from snnpipe.frameworks.pooling import EQUAL_SUMS

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

_LINE_BYTES = 64
_NOTHING = 1e-30
"""Size up to which a current is set to 0, because it would decay to a subnormal number, which is slow."""

_NOTHING_EVERY = 16
"""Steps of a run between two such checks of the currents."""

F = TypeVar("F", bound=Callable[..., Any])


def _prefer_wide_vectors() -> None:
    """Let LLVM use 512-bit vectors if the CPU has them. By default it uses 256 bits, which is a fifth slower here.

    The setting has an effect only if Numba has compiled nothing yet in this process. A CPU that the user has chosen for
    Numba is kept.
    """
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f") and not numba.config.CPU_NAME and not numba.config.CPU_FEATURES:
        numba.config.CPU_NAME = llvmlite.binding.get_host_cpu_name()
        numba.config.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"


_prefer_wide_vectors()


def _compiled(function: F) -> F:
    # "contract" lets a product and a sum become one instruction, and nothing may be reordered. No function here
    # allocates, so Numba's runtime, which counts references to arrays, is switched off: it took a third of the time
    options = {"nogil": True, "_nrt": False, "error_model": "numpy", "fastmath": {"contract", "nnan", "nsz"}}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return cast(F, numba.njit(**options)(function))


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that begins on a cache line, so that no vector of a row straddles two cache lines."""
    room = np.empty(array.nbytes + _LINE_BYTES, np.uint8)
    first = -room.ctypes.data % _LINE_BYTES
    copy = room[first : first + array.nbytes].view(array.dtype)
    copy[:] = array
    return copy


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
        Layer that each connection comes from, the index where that layer's neurons begin in ``start``, the class of all
        its neurons (-1: they have several), and the buffer that the connection adds to.
    start, weight_at, classes
        Index among the currents where the rows of each neuron of each connection begin (-1: it has none), the index of
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


# ---------------------------------------------------------------------- loops in place of slices, which would allocate


@_compiled
def _copy(target, source):
    for i in range(target.shape[0]):
        target[i] = source[i]


@_compiled
def _fill(target, value):
    for i in range(target.shape[0]):
        target[i] = value


@_compiled
def _drop_nothing(currents):
    for i in range(currents.shape[0]):
        currents[i] = currents[i] if abs(currents[i]) > _NOTHING else 0


# ---------------------------------------------------------------------- neurons, a line at a time


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
def _collect(words, v, most, first, neuron, count, m):
    """List the spikes of a line's neurons, at most ``most`` of each, behind ``m`` events; return the number of events
    after that.
    """
    one = v.dtype.type(1)
    for number in range((v.shape[0] + 7) // 8):
        word = words[number]
        while word != 0:
            i = number * 8 + np.int64(trailing_zeros(word) >> 3)  # the lowest byte is first in memory
            word &= word - np.uint64(1)
            neuron[m] = first + i
            count[m] = one
            if v[i] >= one:  # it spiked more than once
                more = min(np.floor(v[i]), most - one)
                count[m] += more
                v[i] -= more
            m += 1
    return m


# ---------------------------------------------------------------------- connections


@_compiled
def _scatter(
    neuron, count, start, weight_at, classes, one_class, rows, row_at, row_weight, row_length, weights, currents
):
    """Add the rows of weights of a connection's events to the currents.

    Up to three consecutive events whose rows begin in the same place are added at once, which saves memory traffic.
    """
    end = neuron.shape[0]
    e = 0
    while e < end:
        # unsigned, so that Numba does not check for negative indices
        i = np.uint32(neuron[e])
        origin = start[i]
        if origin < 0:
            e += 1
            continue
        group = np.uint32(one_class if one_class >= 0 else classes[i])
        k, w = count[e], weight_at[i]
        together, second, third = 1, i, i
        if e + 1 < end:
            second = np.uint32(neuron[e + 1])
            if start[second] == origin and (one_class >= 0 or np.uint32(classes[second]) == group):
                together = 2
                if e + 2 < end:
                    third = np.uint32(neuron[e + 2])
                    if start[third] == origin and (one_class >= 0 or np.uint32(classes[third]) == group):
                        together = 3
        first_row, behind = np.uint32(rows[group]), np.uint32(rows[group + np.uint32(1)])
        if together == 1:
            for r in range(first_row, behind):
                at, a = np.uint64(origin + row_at[r]), np.uint64(w + row_weight[r])
                for j in range(np.uint64(row_length[r])):
                    currents[at + j] += k * weights[a + j]
        elif together == 2:
            k2, w2 = count[e + 1], weight_at[second]
            for r in range(first_row, behind):
                at, of_row = np.uint64(origin + row_at[r]), row_weight[r]
                a, b = np.uint64(w + of_row), np.uint64(w2 + of_row)
                for j in range(np.uint64(row_length[r])):
                    currents[at + j] = (currents[at + j] + k * weights[a + j]) + k2 * weights[b + j]
        else:
            k2, w2, k3, w3 = count[e + 1], weight_at[second], count[e + 2], weight_at[third]
            for r in range(first_row, behind):
                at, of_row = np.uint64(origin + row_at[r]), row_weight[r]
                a, b, c = np.uint64(w + of_row), np.uint64(w2 + of_row), np.uint64(w3 + of_row)
                for j in range(np.uint64(row_length[r])):
                    of_two = (currents[at + j] + k * weights[a + j]) + k2 * weights[b + j]
                    currents[at + j] = of_two + k3 * weights[c + j]
        e += together


# ---------------------------------------------------------------------- max pooling over time


@_compiled
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


@_compiled
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


@_compiled
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


@numba.njit(cache=True, nogil=True, _nrt=False, fastmath=True)
def _drive(base):
    """Return about how many neurons spike in a step under a constant current."""
    total, zero, one = base.dtype.type(0), base.dtype.type(0), base.dtype.type(1)
    for i in range(base.shape[0]):
        total += min(max(base[i], zero), one)
    return total


@_compiled
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


@_compiled
def _constant_layer(p, w, layer, base, n_steps):
    """Run a layer with a constant current. Only the neurons that can spike are updated."""
    kind, first, threshold, most = p.kind[layer], p.first[layer], p.threshold[layer], p.most_spikes[layer]
    n = 0
    for o in range(first, first + p.size[layer]):
        i = p.order[o]
        if base[i] > threshold or w.voltage[first + i] >= 1:
            w.active[n] = i
            w.active_current[n] = base[i]
            w.active_voltage[n] = w.voltage[first + i]
            w.active_refractory[n] = w.refractory[first + i]
            n += 1
    v, refractory, base_line = w.active_voltage[:n], w.active_refractory[:n], w.active_current[:n]
    none = w.current[:n]
    _fill(none, 0)
    flags, zero = w.flags[:n], none.dtype.type(0)
    for i in range(n, (n + 7) // 8 * 8):
        w.flags[i] = 0
    m = w.events_at[layer]
    for t in range(n_steps):
        w.events[layer, t] = m
        _step(kind, v, refractory, none, base_line, zero, flags, w.now, p.parameters[layer])
        m = _collect(w.words, v, most, 0, w.event_neuron, w.event_count, m)
    w.events[layer, n_steps] = m
    for e in range(w.events_at[layer], m):
        w.event_neuron[e] = w.active[w.event_neuron[e]]
    for a in range(n):
        w.voltage[first + w.active[a]] = v[a]
        w.refractory[first + w.active[a]] = refractory[a]


@numba.njit(inline="always", _nrt=False)  # program and workspace are too large to pass at every step
def _scatter_step(p, w, layer, t, instant):
    """Scatter a step's events through the connections into a layer that act at once, or through the others."""
    for c in range(p.connections[layer], p.connections[layer + 1]):
        if p.instant[p.into[c]] == instant:
            source, table = p.source[c], p.table[c]
            begin, end = w.events[source, t], w.events[source, t + 1]
            _scatter(
                w.event_neuron[begin:end],
                w.event_count[begin:end],
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
            )


@_compiled
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
                m = _collect(w.words, v, most, at, w.event_neuron, w.event_count, m)
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


@_compiled
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
        for e in range(w.events[layer, 0], w.events[layer, n_steps]):
            counts_n[first + w.event_neuron[e]] += w.event_count[e]
        if layer == output_layer:
            for t in range(n_steps):
                for e in range(w.events[layer, t], w.events[layer, t + 1]):
                    output_spikes_tc[t, w.event_neuron[e]] = w.event_count[e]


@_compiled
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
