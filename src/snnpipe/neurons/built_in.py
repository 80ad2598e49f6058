"""The built-in neuron types: Nengo's, NengoDL's and snnpipe's own. Importing this module enters them in the table."""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

import nengo
import numpy as np

from snnpipe.frameworks.compat import import_nengo_dl
from snnpipe.neurons import equations
from snnpipe.neurons.amplitude import amplitude_of, has_amplitude, with_amplitude
from snnpipe.neurons.clipped import ClippedRectifiedLinear, SpikingClippedRectifiedLinear
from snnpipe.neurons.integrate_and_fire import IntegrateAndFire
from snnpipe.neurons.mean_rectified import MeanRectifiedLinear
from snnpipe.neurons.model import (
    TABLE,
    Equation,
    EventRule,
    NeuronModel,
    Step,
    entry_of,
    lif_half_limit_current,
)

_nengo_dl = import_nengo_dl()


# ---------------------------------------------------------------------- rectified linear neurons


def _integrate(drive: Callable[[Any], Any], dt: float, step: Step = equations.integrate) -> Equation:
    return Equation(step=step, state=("voltage",), drive=drive, current_factor=dt)


def _spiking_leaky(amplitude: float, slope: float, initial_state: Any) -> Any:
    return _nengo_dl.SpikingLeakyReLU(slope, amplitude=amplitude, initial_state=initial_state)


_ADDED_UP = EventRule(function="integrate", direct=True)

RECTIFIED_LINEAR = {
    nengo.RectifiedLinear: NeuronModel(
        equation=lambda n, dt: Equation(drive=equations.relu, current_factor=dt * amplitude_of(n)),
        integrated=lambda n, dt: _ADDED_UP,
        clipped=lambda n, max_rate: ClippedRectifiedLinear(max_rate, amplitude=n.amplitude),
        config="rate",
    ),
    nengo.SpikingRectifiedLinear: NeuronModel(
        equation=lambda n, dt: _integrate(equations.relu, dt),
        events=lambda n, dt: _ADDED_UP,
        rate_version=lambda n, dt: nengo.RectifiedLinear(amplitude=n.amplitude),
        clipped=lambda n, max_rate: SpikingClippedRectifiedLinear(
            max_rate, amplitude=n.amplitude, initial_state=n.initial_state
        ),
        leaky=lambda n, slope: _spiking_leaky(n.amplitude, slope, n.initial_state),
        config="spiking_relu",
    ),
    ClippedRectifiedLinear: NeuronModel(
        equation=lambda n, dt: Equation(
            drive=equations.clipped(dt * amplitude_of(n) * n.max_rate), current_factor=dt * amplitude_of(n)
        ),
        integrated=lambda n, dt: EventRule(function="integrate_clipped", parameters=(dt * n.amplitude * n.max_rate,)),
    ),
    SpikingClippedRectifiedLinear: NeuronModel(
        equation=lambda n, dt: _integrate(equations.clipped(dt * n.max_rate), dt),
        events=lambda n, dt: EventRule(function="integrate_clipped", parameters=(dt * n.max_rate,)),
        rate_version=lambda n, dt: ClippedRectifiedLinear(n.max_rate, amplitude=n.amplitude),
    ),
    _nengo_dl.LeakyReLU: NeuronModel(
        equation=lambda n, dt: Equation(drive=equations.leaky(n.negative_slope), current_factor=dt * amplitude_of(n)),
        signed=lambda n: bool(n.negative_slope),
    ),
    _nengo_dl.SpikingLeakyReLU: NeuronModel(
        equation=lambda n, dt: _integrate(equations.leaky(n.negative_slope), dt, equations.integrate_signed),
        rate_version=lambda n, dt: _nengo_dl.LeakyReLU(n.negative_slope, amplitude=n.amplitude),
        signed=lambda n: bool(n.negative_slope),
    ),
}


# ---------------------------------------------------------------------- integrate-and-fire with signed currents


def _lowest(n: IntegrateAndFire) -> float:
    return -inf if n.min_voltage is None else float(n.min_voltage)


def _mean_rate(n: IntegrateAndFire, dt: float) -> Any:
    most = n.most_spikes(dt)
    return MeanRectifiedLinear(None if most == inf else most / dt, amplitude=n.amplitude)


def _leaky_integrate(n: IntegrateAndFire, slope: float) -> Any:
    limits = n.max_spikes, n.min_voltage, n.max_rate
    return _spiking_leaky(n.amplitude, slope, n.initial_state) if limits == (None, None, None) else None


INTEGRATE_AND_FIRE = {
    IntegrateAndFire: NeuronModel(
        equation=lambda n, dt: Equation(
            step=equations.integrate_and_fire(n.most_spikes(dt), _lowest(n)), state=("voltage",), current_factor=dt
        ),
        events=lambda n, dt: EventRule(function="integrate_and_fire", parameters=(_lowest(n),), direct=True),
        rate_version=_mean_rate,
        most_spikes=lambda n, dt: n.most_spikes(dt),
        clipped=lambda n, max_rate: n.limited(max_rate),
        leaky=_leaky_integrate,
        config="integrate_and_fire",
    ),
    MeanRectifiedLinear: NeuronModel(
        equation=lambda n, dt: Equation(
            step=equations.rectify_the_sum(n.most(dt) * amplitude_of(n)),
            state=("total", "limit"),
            current_factor=dt * amplitude_of(n),
        ),
    ),
}


# ---------------------------------------------------------------------- leaky integrate-and-fire, and other rates


def _lif_events(n: Any, dt: float) -> EventRule:
    parameters = (n.tau_rc, n.tau_ref, dt, n.min_voltage, float(np.expm1(-dt / n.tau_rc)))
    return EventRule(function="lif", parameters=parameters, threshold=1.0)


LEAKY_INTEGRATE_AND_FIRE = {
    nengo.LIF: NeuronModel(
        equation=lambda n, dt: Equation(
            step=equations.lif(float(n.tau_rc), float(n.tau_ref), float(n.min_voltage), dt),
            state=("voltage", "refractory_time"),
        ),
        events=_lif_events,
        rate_version=lambda n, dt: nengo.LIFRate(tau_rc=n.tau_rc, tau_ref=n.tau_ref, amplitude=n.amplitude),
        half_limit_current=lif_half_limit_current,
        most_spikes=lambda n, dt: 1,
        config="lif",
    ),
    nengo.LIFRate: NeuronModel(
        equation=lambda n, dt: equations.lif_rate(float(n.tau_rc), float(n.tau_ref), amplitude_of(n), dt),
        integrated=lambda n, dt: EventRule(
            function="integrate_lif_rate", parameters=(n.tau_rc, n.tau_ref, dt * n.amplitude), threshold=1.0
        ),
        half_limit_current=lif_half_limit_current,
    ),
    nengo.Sigmoid: NeuronModel(equation=lambda n, dt: equations.sigmoid(float(n.tau_ref), dt)),
    nengo.Tanh: NeuronModel(equation=lambda n, dt: equations.tanh(float(n.tau_ref), dt)),
}


# ---------------------------------------------------------------------- neurons that spike at the rates of another type


def _by_rate(step: Step, state: tuple[str, ...] = ()) -> Callable[[Any, float], Equation | None]:
    """Return what makes the equation of neurons whose step takes the mean spikes per step of their base type."""

    def equation(n: Any, dt: float) -> Equation | None:
        mean = entry_of(n.base_type).equation(n.base_type, dt)
        return None if mean is None else replace(mean, step=step, state=state)

    return equation


def _mean_output(n: Any, dt: float) -> Any:
    base = n.base_type
    known = entry_of(base).equation(base, dt) is not None
    return with_amplitude(base, base.amplitude * n.amplitude) if known and has_amplitude(base) else None


def _with_clipped_rate(n: Any, max_rate: float) -> Any:
    rates = entry_of(n.base_type).clipped(n.base_type, max_rate)
    return None if rates is None else type(n)(rates, amplitude=n.amplitude, initial_state=n.initial_state)


def _regular_leaky(n: Any, slope: float) -> Any:
    if type(n.base_type) is not nengo.RectifiedLinear:
        return None
    return _spiking_leaky(float(n.amplitude * n.base_type.amplitude), slope, n.initial_state)


_BY_RATE = NeuronModel(
    rate_version=_mean_output,
    refractory=lambda n: entry_of(n.base_type).refractory(n.base_type),
    half_limit_current=lambda n: entry_of(n.base_type).half_limit_current(n.base_type),
    signed=lambda n: bool(n.negative) or entry_of(n.base_type).signed(n.base_type),
    clipped=_with_clipped_rate,
)

SPIKING_BY_RATE = {
    nengo.RegularSpiking: replace(
        _BY_RATE,
        equation=_by_rate(equations.integrate, ("voltage",)),
        events=lambda n, dt: entry_of(n.base_type).integrated(n.base_type, dt),
        leaky=_regular_leaky,
    ),
    nengo.PoissonSpiking: replace(_BY_RATE, equation=_by_rate(equations.poisson), random=True),
    nengo.StochasticSpiking: replace(_BY_RATE, equation=_by_rate(equations.stochastic), random=True),
}

_ENTRIES = RECTIFIED_LINEAR | INTEGRATE_AND_FIRE | LEAKY_INTEGRATE_AND_FIRE | SPIKING_BY_RATE
TABLE.update(_ENTRIES)
BUILT_IN = frozenset(_ENTRIES)
