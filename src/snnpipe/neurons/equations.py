"""The equations of the built-in neuron types in TensorFlow. Each runs a step of all neurons of a layer at once.

The equations of Nengo's types are Nengo's own (nengo/neurons.py, version 4.1), and those of leaky types are NengoDL's.
The random types have Nengo's distributions, but their draws depend on the run's seed, the image and the step, so that
a result does not depend on how images are batched.

Axes: b = image, n = neuron.
"""

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.neurons.model import Equation, Seeds, Step


def _tf() -> Any:
    return import_tensorflow()


# ---------------------------------------------------------------------- from current to drive


def relu(current: Any) -> Any:
    """Return the currents, with 0 in place of negative ones."""
    return _tf().nn.relu(current)


def clipped(highest: float) -> Callable[[Any], Any]:
    """Return the drive of rectified linear neurons, with an upper limit."""
    return lambda current: _tf().minimum(_tf().nn.relu(current), np.asarray(highest, current.dtype.as_numpy_dtype))


def leaky(slope: float) -> Callable[[Any], Any]:
    """Return the drive of rectified linear neurons with a slope for currents below 0."""

    def drive(current: Any) -> Any:
        tf = _tf()
        return tf.nn.relu(current) - np.asarray(slope, current.dtype.as_numpy_dtype) * tf.nn.relu(-current)

    return drive


def lif_rate(tau_rc: float, tau_ref: float, amplitude: float, dt: float) -> Equation:
    """Return the equation of LIF rates: ``amplitude / (tau_ref + tau_rc ln(1 + 1 / (J - 1)))`` where J > 1."""

    def drive(current: Any) -> Any:
        tf = _tf()
        above = current - 1.0
        tiny = np.asarray(1e-15, current.dtype.as_numpy_dtype)
        rate = amplitude / (tau_ref + tau_rc * tf.math.log1p(1.0 / tf.maximum(above, tiny)))
        return dt * tf.where(above > 0, rate, tf.zeros_like(rate))

    return Equation(drive=drive)


def sigmoid(tau_ref: float, dt: float) -> Equation:
    """Return the equation of sigmoid rates."""
    return Equation(drive=lambda current: _tf().nn.sigmoid(current) * (dt / tau_ref))


def tanh(tau_ref: float, dt: float) -> Equation:
    """Return the equation of hyperbolic tangent rates."""
    return Equation(drive=lambda current: _tf().nn.tanh(current) * (dt / tau_ref))


# ---------------------------------------------------------------------- steps


def integrate(spikes_per_step: Any, state: tuple[Any, ...], seeds: Seeds) -> tuple[Any, tuple[Any, ...]]:
    """Integrate, spike once for each whole unit and keep the rest (reset by subtraction)."""
    voltage = state[0] + spikes_per_step
    spikes = _tf().floor(voltage)
    return spikes, (voltage - spikes,)


def integrate_signed(spikes_per_step: Any, state: tuple[Any, ...], seeds: Seeds) -> tuple[Any, tuple[Any, ...]]:
    """Integrate and spike as `integrate` does, with negative spikes below -1 (NengoDL's SpikingLeakyReLU)."""
    tf = _tf()
    voltage = state[0] + spikes_per_step
    spikes = tf.floor(voltage) + tf.cast(voltage < 0, voltage.dtype)
    return spikes, (voltage - spikes,)


def integrate_and_fire(most: float, lowest: float) -> Step:
    """Return the step of signed integrate-and-fire neurons, with limits on the spikes per step and on the voltage."""

    def step(current: Any, state: tuple[Any, ...], seeds: Seeds) -> tuple[Any, tuple[Any, ...]]:
        tf = _tf()
        voltage = state[0] + current
        spikes = tf.nn.relu(tf.floor(voltage))
        if most < inf:
            spikes = tf.minimum(spikes, np.asarray(most, voltage.dtype.as_numpy_dtype))
        voltage -= spikes
        return spikes, (
            voltage if lowest == -inf else tf.maximum(voltage, np.asarray(lowest, voltage.dtype.as_numpy_dtype)),
        )

    return step


def rectify_the_sum(most: float) -> Step:
    """Return the step of neurons that send the growth of the rectified sum of their drives, which ``most`` limits."""

    def step(drive: Any, state: tuple[Any, ...], seeds: Seeds) -> tuple[Any, tuple[Any, ...]]:
        tf = _tf()
        total, limit = state
        now, most_now = total + drive, limit + np.asarray(most, limit.dtype.as_numpy_dtype)
        # TensorFlow's optimiser prints an error where a sum that is also a state goes into `relu`.
        none = np.asarray(0, now.dtype.as_numpy_dtype)
        before = tf.minimum(tf.maximum(total, none), limit)
        return tf.minimum(tf.maximum(now, none), most_now) - before, (now, most_now)

    return step


def lif(tau_rc: float, tau_ref: float, min_voltage: float, dt: float) -> Step:
    """Return the step of leaky integrate-and-fire neurons, which computes the time of a spike within the step."""

    def step(current: Any, state: tuple[Any, ...], seeds: Seeds) -> tuple[Any, tuple[Any, ...]]:
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


def poisson(mean_bn: Any, state: tuple[Any, ...], seeds: Seeds) -> tuple[Any, tuple[Any, ...]]:
    """Draw the numbers of spikes from Poisson distributions with the given means."""
    tf = _tf()

    def draw(pair: Any) -> Any:
        mean, seed = pair
        return tf.random.stateless_poisson(tf.shape(mean), seed, tf.abs(mean), mean.dtype) * tf.sign(mean)

    drawn = tf.map_fn(draw, (mean_bn, seeds()), fn_output_signature=mean_bn.dtype)
    return tf.ensure_shape(drawn, mean_bn.shape), state


def stochastic(mean_bn: Any, state: tuple[Any, ...], seeds: Seeds) -> tuple[Any, tuple[Any, ...]]:
    """Round the means to whole numbers of spikes: away from 0 with a probability of their fractional part."""
    tf = _tf()
    size = tf.abs(mean_bn)
    whole = tf.floor(size)

    def draw(pair: Any) -> Any:
        part, seed = pair
        return tf.random.stateless_uniform(tf.shape(part), seed, dtype=part.dtype)

    uniform = tf.map_fn(draw, (size, seeds()), fn_output_signature=size.dtype)
    return (whole + tf.cast(uniform < size - whole, size.dtype)) * tf.sign(mean_bn), state
