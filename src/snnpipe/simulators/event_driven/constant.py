"""Layers of the event-driven kernel under a constant current, which no spike reaches."""

from typing import Any

import numpy as np

from snnpipe.simulators.event_driven.compiled import compiled, of_sources
from snnpipe.simulators.event_driven.spiking import MANY, collect, update

DIRECT_FROM = 40
"""Steps of a run from which on spike times under a constant current may be computed directly. A few steps of all
neurons take less than one division."""

DIRECT_BELOW = 0.04
"""Mean spikes per neuron and step under a constant current, below which they are."""


@compiled
def fill(target, value):
    """Set all of an array to a value: a slice would allocate."""
    for i in range(target.shape[0]):
        target[i] = value


def _reordered(function: Any) -> Any:
    return of_sources({"nogil": True, "_nrt": False, "fastmath": True}, function)


@_reordered
def drive(base):
    """Return about how many neurons spike in a step under a constant current."""
    total, zero, one = base.dtype.type(0), base.dtype.type(0), base.dtype.type(1)
    for i in range(base.shape[0]):
        total += min(max(base[i], zero), one)
    return total


@compiled
def spike_times(p, w, layer, base, step, n_steps):
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
def constant_layer(p, w, layer, base, n_steps):
    """Run a layer with a constant current. Where few neurons can spike, only those are updated."""
    first, size, threshold = p.first[layer], p.size[layer], p.threshold[layer]
    able = 0  # by the current alone: the order of the events must not depend on where a chunk begins
    for i in range(size):
        able += base[i] > threshold
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
    fill(none, 0)
    flags, zero = w.flags[:n], none.dtype.type(0)
    for i in range(n, (n + 7) // 8 * 8):
        w.flags[i] = 0
    m = w.events_at[layer]
    for t in range(n_steps):
        many = t == 0 or MANY * (m - w.events[layer, t - 1]) >= n
        w.events[layer, t] = m
        update(kind, v, refractory, none, base, zero, flags, w.now, p.parameters[layer])
        m = collect(w.words, v, most, 0, w.event_neuron, w.event_count, m, many)
    w.events[layer, n_steps] = m
