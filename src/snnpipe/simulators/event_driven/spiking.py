"""The neurons of the event-driven kernel: they take a step, a line at a time, and their spikes are listed."""

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from snnpipe.simulators.event_driven.compiled import compiled
from snnpipe.simulators.event_driven.layout import CLIPPED, INTEGRATE, LIF, LIF_RATE, SIGNED
from snnpipe.simulators.event_driven.vectors import NUMBERS, PLACES, TO_BITS, put_eight

FUNCTIONS = {
    "integrate": INTEGRATE,
    "integrate_clipped": CLIPPED,
    "integrate_and_fire": SIGNED,
    "lif": LIF,
    "integrate_lif_rate": LIF_RATE,
}
"""Kind of layer of each function below that steps neurons, by its name in `snnpipe.neurons.model.EventRule`."""


@compiled
def _integrate(v, current, base, decay, flags):
    """Spiking rectified linear neurons: v += max(J, 0), and v -= 1 for a spike. `collect` takes further spikes."""
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
def update(kind, v, refractory, current, base, decay, flags, now, parameters):
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


MANY = 16
"""Neurons per spike of the step before, up to which all are looked at, and not only those that spiked."""


@compiled
def collect(words, v, most, first, neuron, count, m, many):
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
            bits = (words[number] * TO_BITS) >> np.uint64(56)
            put_eight(neuron, now, first + 8 * np.int64(number), PLACES, bits)
            now += np.uint64(NUMBERS[bits])
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
