"""The event-driven kernel, in Numba, which runs a `Program` for one image at a time, step by step.

A layer runs over all steps of a block before the next layer does, and passes on the list of its events: pairs
``(neuron, spikes)`` for each step. A synapse's decay is applied to the current, so an event only adds a row of weights.
Nengo's delay of one step follows from the order "update the neurons, then scatter".

The kernel is compiled once and cached. It runs without Python's lock.
"""

from pathlib import Path
from typing import Any

import numba
import numpy as np

from snnpipe.simulators.event_driven.compiled import compiled
from snnpipe.simulators.event_driven.constant import DIRECT_BELOW, constant_layer, drive, fill, spike_times
from snnpipe.simulators.event_driven.layout import FIXED, GATED, GIVEN, IMAGE, INPUT, OUTPUT, STILL, SUMS
from snnpipe.simulators.event_driven.maxima import add_up, pool
from snnpipe.simulators.event_driven.scatter import inputs, scatter
from snnpipe.simulators.event_driven.spiking import MANY, collect, update

_NOTHING = 1e-30
"""Size up to which a current is set to 0, because it would decay to a subnormal number, which is slow."""

_NOTHING_EVERY = 16
"""Steps of a run between two such checks of the currents."""


@compiled
def _copy(target, source):
    for i in range(target.shape[0]):
        target[i] = source[i]


@compiled
def _drop_nothing(currents):
    for i in range(currents.shape[0]):
        currents[i] = currents[i] if abs(currents[i]) > _NOTHING else 0


@compiled
def _input_layer(p, w, layer, signal_tn):
    """List the values of an input that are not zero."""
    m = w.events_at[layer]
    for t in range(signal_tn.shape[0]):
        w.events[layer, t] = m
        for i in range(signal_tn.shape[1]):
            if signal_tn[t, i] != 0:
                w.event_neuron[m] = i
                w.event_count[m] = signal_tn[t, i]
                m += 1
    w.events[layer, signal_tn.shape[0]] = m


@numba.njit(inline="always", _nrt=False)  # program and workspace are too large to pass at every step
def _scatter_step(p, w, layer, t, instant):
    """Scatter a step's events through the connections into a layer that act at once, or through the others."""
    for c in range(p.connections[layer], p.connections[layer + 1]):
        if p.instant[p.into[c]] == instant:
            source, table = p.source[c], p.table[c]
            begin, end = w.events[source, t], w.events[source, t + 1]
            neuron, count = w.event_neuron[begin:end], w.event_count[begin:end]
            if p.n_inputs[c] > 0:
                n = inputs(
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
            scatter(
                neuron,
                count,
                p.start[table:],
                p.weight_at[table:],
                p.classes[table:],
                p.one_class[c],
                p.channels[c],
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
    """Run a layer that events reach: a layer of neurons, max pooling, or the output and currents of an image, which are
    only read.
    """
    kind, first, length, most = p.kind[layer], p.first[layer], p.line_length[layer], p.most_spikes[layer]
    buffers = range(p.buffers[layer], p.buffers[layer + 1])
    one_buffer = p.buffers[layer + 1] - p.buffers[layer] == 1
    m = w.events_at[layer]
    for i in range(length, (length + 7) // 8 * 8):
        w.flags[i] = 0
    flags, zero = w.flags[:length], w.current.dtype.type(0)
    pooling = kind == SUMS or kind == GATED  # noqa: PLR1714  # compiled
    if pooling:
        fill(w.flags, 0)
    for t in range(n_steps):
        _scatter_step(p, w, layer, t, True)
        many = t == 0 or MANY * (m - w.events[layer, t - 1]) >= p.size[layer]
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
                fill(current, 0)
                for b in buffers:
                    where = p.line_at[p.lines_at[b] + line]
                    for i in range(length):
                        current[i] += w.currents[where + i]
                        w.currents[where + i] *= p.decay[b]
            if kind >= OUTPUT:
                for i in range(length):
                    output_tc[t, at + i] = current[i] + base_line[i]
                    current[i] *= decay
            elif pooling:
                touched = add_up(
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
                update(kind, v, refractory, current, base_line, decay, flags, w.now, p.parameters[layer])
                m = collect(w.words, v, most, at, w.event_neuron, w.event_count, m, many)
        if pooling:
            m = pool(
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
def show(p, w, image_1n):
    """Compute the currents that an image causes as long as it stays."""
    for layer in range(p.kind.shape[0]):
        if p.kind[layer] == IMAGE:
            _input_layer(p, w, layer, image_1n)
        elif p.kind[layer] == STILL:
            begin, end = p.buffers[layer], p.buffers[layer + 1]
            fill(w.currents[p.buffer_at[begin] : p.buffer_at[end]], 0)
            at = p.shown_at[layer]
            _layer(p, w, layer, p.base[p.base_at[layer] :], 1, 1, w.shown[:, at : at + p.size[layer]])


@compiled
def advance(p, w, image_base, signal_tn, step, n_steps, output_tc, output_layer, output_spikes_tc, counts_n):
    """Run one image for a block of steps.

    Parameters
    ----------
    p, w
        Program, and workspace, which holds the image's state.
    image_base
        Given currents without any spike of layers that depend on the image.
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
        if kind in (INPUT, IMAGE, STILL):
            continue
        at = p.base_at[layer]
        if p.base_from[layer] == FIXED:
            base = p.base[at:]
        elif p.base_from[layer] == GIVEN:
            base = image_base[at:]
        else:
            base = w.shown[0, at:]
        if p.connections[layer] < p.connections[layer + 1] or kind >= SUMS:
            _layer(p, w, layer, base, step, n_steps, output_tc)
        else:
            direct = False
            if p.direct[layer]:
                direct = drive(base[: p.size[layer]]) < DIRECT_BELOW * p.size[layer]
            if direct:
                spike_times(p, w, layer, base, step, n_steps)
            else:
                constant_layer(p, w, layer, base, n_steps)
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
    image_bn,
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
    image_bn
        Images that stay; without columns if the input changes.
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
            fill(w.currents, 0)
        else:
            _copy(w.voltage, state_bn[b, :n_v])
            _copy(w.refractory, state_bn[b, n_v : n_v + n_r])
            _copy(w.currents, state_bn[b, n_v + n_r :])
        if image_bn.shape[1]:
            show(p, w, image_bn[b : b + 1])
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
    """Whether the kernel has been compiled, in this process or in the cache since its sources last changed."""
    kernel: Any = run_images
    if kernel.signatures:
        return True
    source = Path(__file__)
    changed = max(path.stat().st_mtime for path in source.parent.glob("*.py"))
    indices = Path(kernel.stats.cache_path or "/nowhere").glob(f"{source.stem}.{kernel.__name__}-*.nbi")
    return any(index.stat().st_mtime >= changed for index in indices)
