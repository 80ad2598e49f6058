"""The equations of the neuron types, for a step of all neurons of a layer at once, in TensorFlow.

All are Nengo's (nengo/neurons.py, version 4.1), those with randomness apart: they have its distributions,
drawn from the run's seed, the image and the step, so that a result does not depend on how images are batched.
A layer's output is its spikes in the step, for a rate neuron its rate times dt.

Axes: b = image, n = neuron.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from snnpipe.base.errors import SimulationError
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.values.network import NeuronLayer

Step = Callable[[Any, tuple[Any, ...], Any], tuple[Any, tuple[Any, ...]]]
"""From drive, state and what makes random seeds (one pair per image) to output and new state."""


@dataclass(frozen=True, eq=False)
class Equation:
    """A neuron type's step, in two parts: what depends on the current alone is computed once where that is constant.

    Attributes
    ----------
    current_factor
        What the physical input current is multiplied with before anything else.
    state
        Names of its state variables.
    drive
        From current to what the step takes.
    step
        From drive, state and seeds to output and new state.
    """

    current_factor: float
    state: tuple[str, ...]
    drive: Callable[[Any], Any]
    step: Step


def spike_unit(layer: NeuronLayer, dt: float) -> float:
    """Return a neuron's physical output when it spikes once in a step: amplitude / dt."""
    return float(getattr(layer.neuron_type, "amplitude", 1.0)) / dt


def equation(layer: NeuronLayer, dt: float) -> Equation:
    """Return the step of a layer's neurons.

    Raises
    ------
    SimulationError
        If the neuron type has no equation here.
    """
    kind = type(layer.neuron_type).__name__
    gain = layer.scale_firing_rates
    if kind == "LIF":
        return Equation(gain, ("voltage", "refractory_time"), lambda current: current, _lif(layer.neuron_type, dt))
    if kind == "SpikingRectifiedLinear":
        return Equation(gain * dt, ("voltage",), _tf().nn.relu, _integrate)
    if kind == "SpikingClippedRectifiedLinear":
        return Equation(gain * dt, ("voltage",), _clipped(dt * layer.neuron_type.max_rate), _integrate)
    if kind == "SpikingLeakyReLU":
        return Equation(gain * dt, ("voltage",), _leaky(layer.neuron_type.negative_slope), _integrate_signed)
    if kind in ("RegularSpiking", "PoissonSpiking", "StochasticSpiking"):
        factor, rate = _rate(layer.neuron_type.base_type, layer, dt)
        if kind == "RegularSpiking":
            return Equation(gain * factor, ("voltage",), rate, _integrate)
        draw = _poisson if kind == "PoissonSpiking" else _stochastic
        return Equation(gain * factor, (), rate, lambda mean, state, seeds: (draw(mean, seeds()), state))
    factor, rate = _rate(layer.neuron_type, layer, dt, by_amplitude=True)
    return Equation(gain * factor, (), rate, lambda rates, state, seeds: (rates, state))


def _tf() -> Any:
    return import_tensorflow()


def _integrate(spikes_per_step: Any, state: tuple[Any, ...], seeds: Any) -> tuple[Any, tuple[Any, ...]]:
    """Integrate, spike for each whole unit and keep the rest: a reset by subtraction."""
    voltage = state[0] + spikes_per_step
    spikes = _tf().floor(voltage)
    return spikes, (voltage - spikes,)


def _integrate_signed(spikes_per_step: Any, state: tuple[Any, ...], seeds: Any) -> tuple[Any, tuple[Any, ...]]:
    """Integrate and spike as `_integrate` does, with spikes of sign -1 below -1 (NengoDL's SpikingLeakyReLU)."""
    tf = _tf()
    voltage = state[0] + spikes_per_step
    spikes = tf.floor(voltage) + tf.cast(voltage < 0, voltage.dtype)
    return spikes, (voltage - spikes,)


def _clipped(highest: float) -> Callable[[Any], Any]:
    return lambda current: _tf().minimum(_tf().nn.relu(current), np.asarray(highest, current.dtype.as_numpy_dtype))


def _leaky(slope: float) -> Callable[[Any], Any]:
    def leaky(current: Any) -> Any:
        tf = _tf()
        return tf.nn.relu(current) - np.asarray(slope, current.dtype.as_numpy_dtype) * tf.nn.relu(-current)

    return leaky


def _lif(neurons: Any, dt: float) -> Step:
    """Leaky integrate-and-fire, the spike's time within the step solved for (Nengo's LIF)."""
    tau_rc, tau_ref, min_voltage = float(neurons.tau_rc), float(neurons.tau_ref), float(neurons.min_voltage)

    def step(current: Any, state: tuple[Any, ...], seeds: Any) -> tuple[Any, tuple[Any, ...]]:
        tf = _tf()
        voltage, refractory = state
        time = tf.clip_by_value(dt - refractory, 0.0, dt)
        voltage += (voltage - current) * tf.math.expm1(-time / tau_rc)
        spiked = voltage > 1.0
        since = -tau_rc * tf.math.log1p((1.0 - voltage) / (current - 1.0))
        refractory = tf.where(spiked, tau_ref - since, refractory - dt)
        voltage = tf.where(spiked, tf.zeros_like(voltage), tf.maximum(voltage, min_voltage))
        return tf.cast(spiked, voltage.dtype), (voltage, refractory)

    return step


def _rate(
    neurons: Any, layer: NeuronLayer, dt: float, by_amplitude: bool = False
) -> tuple[float, Callable[[Any], Any]]:
    """Return what a rate neuron's current is multiplied with, and its rate times dt.

    With ``by_amplitude`` the rate is in units of the neuron's own amplitude, as its layer's output is.
    """
    kind = type(neurons).__name__
    amplitude = 1.0 if by_amplitude else float(getattr(neurons, "amplitude", 1.0))
    if kind == "RectifiedLinear":
        return dt * amplitude, _tf().nn.relu
    if kind == "ClippedRectifiedLinear":
        return dt * amplitude, _clipped(dt * amplitude * neurons.max_rate)
    if kind == "LeakyReLU":
        return dt * amplitude, _leaky(neurons.negative_slope)
    if kind == "LIFRate":
        tau_rc, tau_ref = float(neurons.tau_rc), float(neurons.tau_ref)

        def lif_rate(current: Any) -> Any:
            tf = _tf()
            above = current - 1.0
            tiny = np.asarray(1e-15, current.dtype.as_numpy_dtype)
            rate = amplitude / (tau_ref + tau_rc * tf.math.log1p(1.0 / tf.maximum(above, tiny)))
            return dt * tf.where(above > 0, rate, tf.zeros_like(rate))

        return 1.0, lif_rate
    if kind == "Sigmoid":
        return 1.0, lambda c: _tf().nn.sigmoid(c) * (dt / float(neurons.tau_ref))
    if kind == "Tanh":
        return 1.0, lambda c: _tf().nn.tanh(c) * (dt / float(neurons.tau_ref))
    raise SimulationError(
        f"layer {layer.name!r} has neurons of type {kind}, whose equations only NengoDL knows here: "
        "take simulator=nengo_dl"
    )


def _poisson(mean_bn: Any, seeds_b2: Any) -> Any:
    tf = _tf()

    def draw(pair: Any) -> Any:
        mean, seed = pair
        return tf.random.stateless_poisson(tf.shape(mean), seed, tf.abs(mean), mean.dtype) * tf.sign(mean)

    return tf.ensure_shape(tf.map_fn(draw, (mean_bn, seeds_b2), fn_output_signature=mean_bn.dtype), mean_bn.shape)


def _stochastic(mean_bn: Any, seeds_b2: Any) -> Any:
    """Round up with the probability of the fraction."""
    tf = _tf()
    size = tf.abs(mean_bn)
    whole = tf.floor(size)

    def draw(pair: Any) -> Any:
        part, seed = pair
        return tf.random.stateless_uniform(tf.shape(part), seed, dtype=part.dtype)

    uniform = tf.map_fn(draw, (size, seeds_b2), fn_output_signature=size.dtype)
    return (whole + tf.cast(uniform < size - whole, size.dtype)) * tf.sign(mean_bn)
