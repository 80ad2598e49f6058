"""Max pooling over time in the event-driven kernel: sums of inputs, and what each window sends."""

from snnpipe.frameworks.pooling import EQUAL_SUMS
from snnpipe.simulators.event_driven.compiled import compiled
from snnpipe.simulators.event_driven.layout import SUMS


@compiled
def add_up(sums, current, base, decay, now, windows_at, window, flags, touched, n):
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
def pool(kind, sums, largest, now, cells_at, cell, flags, touched, neuron, count, m):
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
