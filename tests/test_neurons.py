"""The equations of neurons and synapses, step by step, against Nengo's own in NumPy."""

import re

import nengo
import numpy as np
import pytest

from snnpipe import IntegrateAndFire
from snnpipe.base.errors import ConfigError, SimulationError
from snnpipe.frameworks.compat import import_nengo_dl, import_tensorflow
from snnpipe.simulators.base import equation
from snnpipe.synapses import Synapse, in_milliseconds
from snnpipe.values.network import NeuronLayer, PlannedLayer

tf, nengo_dl = import_tensorflow(), import_nengo_dl()
N_STEPS = 120
DT = 0.001
DRAWS = 20_000


def layer_of(neuron, gain=1.0, size=1):
    initial = {name: np.zeros(size) for name in neuron.state}
    return NeuronLayer("dense", (size,), None, neuron, gain, None, None, initial)


def no_seeds():
    raise AssertionError("these neurons draw nothing")


def nengo_steps(neuron, currents_tn, dt, state):
    """Nengo's output of each step; leaves the state after them."""
    outputs = np.empty_like(currents_tn)
    for current, output in zip(currents_tn, outputs, strict=True):
        rate = current.copy()
        if hasattr(neuron, "base_type"):
            neuron.base_type.step(dt, current, rate)
        neuron.step(dt, rate, output, **state)
    return outputs


def our_steps(layer, currents_tn, dt, state, seeds=no_seeds):
    """Our output of each step, and the state after them, by name."""
    own = equation(layer, dt)
    assert set(own.state) == set(state)
    values = tuple(tf.constant(state[name][None]) for name in own.state)
    outputs = []
    for current in currents_tn:
        output, values = own.step(own.drive(tf.constant(current[None] * own.current_factor)), values, seeds)
        outputs.append(output.numpy()[0])
    return np.stack(outputs), {name: value.numpy()[0] for name, value in zip(own.state, values, strict=True)}


def currents_of(typical, size=40):
    """Constant currents of all sizes, none, and one at the threshold; and as many that change, also below 0."""
    rng = np.random.default_rng(0)
    constant = np.concatenate([[0.0, 1.0, -typical], typical * np.geomspace(0.01, 30, size - 3)])
    changing = rng.normal(0.6 * typical, typical, (N_STEPS, size))
    return np.concatenate([np.tile(constant, (N_STEPS, 1)), changing], axis=1)


LIF = {"tau_rc": 0.013, "tau_ref": 0.0042}
SPIKING = {
    "rectified linear": (lambda a: nengo.SpikingRectifiedLinear(amplitude=a), 300.0),
    "LIF": (lambda a: nengo.LIF(**LIF, amplitude=a), 2.0),
    "LIF that may fall below 0": (lambda a: nengo.LIF(**LIF, min_voltage=-0.4, amplitude=a), 2.0),
    "LIF that rests for less than a step": (lambda a: nengo.LIF(tau_rc=0.02, tau_ref=0.0003, amplitude=a), 4.0),
    "integrate-and-fire": (lambda a: IntegrateAndFire(amplitude=a), 300.0),
    "integrate-and-fire, limited": (lambda a: IntegrateAndFire(max_spikes=2, min_voltage=-0.3, amplitude=a), 300.0),
    "regular": (lambda a: nengo.RegularSpiking(nengo.RectifiedLinear(amplitude=0.7), amplitude=a), 300.0),
    "regular LIF": (lambda a: nengo.RegularSpiking(nengo.LIFRate(**LIF, amplitude=3.0), amplitude=a), 2.0),
    "regular sigmoid": (lambda a: nengo.RegularSpiking(nengo.Sigmoid(tau_ref=0.0017), amplitude=a), 2.0),
    "regular tanh": (lambda a: nengo.RegularSpiking(nengo.Tanh(tau_ref=0.0017), amplitude=a), 2.0),
}
RATES = {
    "rectified linear": (lambda a: nengo.RectifiedLinear(amplitude=a), 300.0),
    "LIF": (lambda a: nengo.LIFRate(**LIF, amplitude=a), 2.0),
    "sigmoid": (lambda a: nengo.Sigmoid(tau_ref=0.0017), 2.0),
    "tanh": (lambda a: nengo.Tanh(tau_ref=0.0017), 2.0),
}


@pytest.mark.parametrize("dt", [0.001, 0.0025])
@pytest.mark.parametrize("gain", [1.0, 2.5])
@pytest.mark.parametrize("kind", SPIKING)
def test_spiking_neurons_step_as_nengos_do(kind, gain, dt):
    make, typical = SPIKING[kind]
    neuron, currents = make(1 / gain), currents_of(typical) / gain
    n = currents.shape[1]
    state = {"voltage": np.random.default_rng(1).uniform(0, 1, n)}
    theirs = {}
    if isinstance(neuron, nengo.LIF):
        # what is left of the rest when a step ends: Nengo takes a step off before it looks, and so has one more
        state["refractory_time"] = np.random.default_rng(2).uniform(0, 0.004, n)
        state["voltage"][0], state["refractory_time"][0] = 1, 0.02  # at the threshold, and not above it
        theirs["refractory_time"] = state["refractory_time"] + dt
    theirs["voltage"] = state["voltage"].copy()
    expected = nengo_steps(neuron, currents * gain, dt, theirs)
    layer = layer_of(neuron, gain, n)
    found, state = our_steps(layer, currents, dt, state)
    assert expected.any()
    np.testing.assert_array_equal(found, np.rint(found), "a whole number of spikes")
    np.testing.assert_allclose(found * layer.spike_unit(dt), expected, rtol=1e-12)
    np.testing.assert_allclose(state["voltage"], theirs["voltage"], rtol=0, atol=1e-9)
    if isinstance(neuron, nengo.LIF):
        np.testing.assert_allclose(state["refractory_time"], theirs["refractory_time"] - dt, rtol=0, atol=1e-9)


# ---------------------------------------------------------------------- integrate-and-fire with signed currents


def spikes_of(neuron, currents_t, dt=DT):
    """How often one neuron spikes in each step, and its voltage behind the last."""
    state = neuron.make_state(1)
    outputs = nengo_steps(neuron, np.array(currents_t, float)[:, None] / dt, dt, state)
    return (outputs[:, 0] * dt / neuron.amplitude).tolist(), state["voltage"][0]


def test_a_current_whose_mean_is_below_zero_makes_no_spike():
    currents = [3.0, -5.0] * 10
    assert spikes_of(IntegrateAndFire(), currents[::-1])[0] == [0] * 20
    assert sum(spikes_of(nengo.SpikingRectifiedLinear(), currents)[0]) == 30


def test_the_number_of_spikes_is_the_rounded_sum():
    for current in np.linspace(-0.3, 2.7, 31) + 1e-6:
        spikes, left = spikes_of(IntegrateAndFire(), [current] * 8)
        assert sum(spikes) == max(0, round(8 * current)), current
        if current > 0:
            assert left == pytest.approx(0.5 + 8 * current - sum(spikes))


def test_limits_of_spikes_and_of_the_voltage():
    assert spikes_of(IntegrateAndFire(max_spikes=1), [2.5, 0, 0, 0])[0] == [1, 1, 1, 0]
    assert spikes_of(IntegrateAndFire(max_spikes=2), [4.5, 0, 0, 0])[0] == [2, 2, 1, 0]
    assert spikes_of(IntegrateAndFire(), [-3, 1, 1, 1])[0] == [0, 0, 0, 0]
    assert spikes_of(IntegrateAndFire(min_voltage=-1), [-3, 1, 1, 1])[0] == [0, 0, 1, 1]
    assert spikes_of(IntegrateAndFire(max_rate=2000), [4.5, 0, 0, 0])[0] == [2, 2, 1, 0]
    assert spikes_of(IntegrateAndFire(initial_voltage=0), [0.6, 0.6])[0] == [0, 1]
    assert len(np.unique(IntegrateAndFire(initial_voltage=None).make_state(50)["voltage"])) == 50


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_spikes": 0}, "max_spikes: got 0"),
        ({"max_spikes": 1.5}, "max_spikes: got 1.5"),
        ({"min_voltage": 0.1}, "min_voltage: got 0.1"),
    ],
)
def test_limits_that_mean_nothing_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        IntegrateAndFire(**settings)


def test_a_highest_rate_that_is_no_whole_number_of_spikes_names_the_factor():
    with pytest.raises(SimulationError, match="would be 1.5 spikes a step.* scale by 1.33333"):
        IntegrateAndFire(max_rate=1500).most_spikes(DT)
    assert IntegrateAndFire(max_rate=1500 * 1.33333).most_spikes(DT) == 2


@pytest.mark.parametrize("dt", [0.001, 0.0025])
@pytest.mark.parametrize("gain", [1.0, 2.5])
@pytest.mark.parametrize("kind", RATES)
def test_rate_neurons_have_nengos_rates(kind, gain, dt):
    make, typical = RATES[kind]
    neuron, currents = make(1 / gain), currents_of(typical) / gain
    expected = nengo_steps(neuron, currents * gain, dt, {})
    layer = layer_of(neuron, gain, currents.shape[1])
    found, _ = our_steps(layer, currents, dt, {})
    np.testing.assert_allclose(found * layer.spike_unit(dt), expected, rtol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_rate_at_and_just_above_the_threshold(precision):
    neuron = nengo.LIFRate(**LIF)
    currents = np.array([[1, 1 + (1e-12 if precision == "float64" else 2e-7)]], precision)
    expected = nengo_steps(neuron, currents.astype(np.float64), 0.001, {})
    own = equation(layer_of(neuron, size=2), 0.001)
    assert expected[0, 0] == 0 < expected[0, 1]
    np.testing.assert_allclose(own.drive(tf.constant(currents)).numpy() / 0.001, expected, rtol=1e-6)


# ---------------------------------------------------------------------- neurons that draw

MEANS = (-2.3, -2.0, -0.4, 0.0, 0.3, 1.0, 2.6)
"""Spikes per step; a neuron with a negative rate gives negative ones."""


def drawn(kind, dt=0.001, seeds=((5, 1), (5, 2))):
    """Spikes of each image, mean and draw, of neurons whose mean spikes per step are ``MEANS``."""
    neuron = kind(nengo.Tanh(tau_ref=dt / 3), amplitude=0.5)
    own = equation(layer_of(neuron, 2.0, len(MEANS) * DRAWS), dt)
    current = np.repeat(np.arctanh(np.array(MEANS) / 3), DRAWS) / 2.0
    drive = own.drive(tf.constant(np.tile(current, (len(seeds), 1)) * own.current_factor))
    spikes, state = own.step(drive, (), lambda: tf.constant(seeds, tf.int64))
    assert own.state == state == () and spikes.shape == drive.shape
    return spikes.numpy().reshape(len(seeds), len(MEANS), DRAWS)


@pytest.mark.parametrize(
    ("kind", "variance"),
    [
        (nengo.PoissonSpiking, abs),
        (nengo.StochasticSpiking, lambda mean: (abs(mean) % 1) * (1 - abs(mean) % 1)),
    ],
)
def test_drawn_spikes_have_their_distribution(kind, variance):
    spikes = drawn(kind)
    np.testing.assert_array_equal(spikes, np.rint(spikes))
    for image in spikes:
        for mean, draws in zip(MEANS, image, strict=True):
            assert np.all(draws * np.sign(mean) >= 0)
            assert draws.mean() == pytest.approx(mean, abs=1e-9 + 5 * np.sqrt(variance(mean) / DRAWS))
            assert draws.var() == pytest.approx(variance(mean), rel=0.06, abs=1e-9)


@pytest.mark.parametrize("base", RATES)
@pytest.mark.parametrize("kind", [nengo.PoissonSpiking, nengo.StochasticSpiking])
def test_the_mean_of_what_is_drawn_is_the_rate_of_the_base(kind, base):
    make, typical = RATES[base]
    neuron, dt, gain = make(0.7), 0.0025, 2.5
    currents = currents_of(typical)[:2]
    own = equation(layer_of(kind(neuron, amplitude=1 / gain), gain, currents.shape[1]), dt)
    expected = nengo_steps(neuron, currents, dt, {}) * dt
    found = own.drive(tf.constant(currents / gain * own.current_factor)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_stochastic_rounding_is_never_further_than_the_next_whole_number():
    for mean, draws in zip(MEANS, drawn(nengo.StochasticSpiking)[0], strict=True):
        assert set(np.abs(draws)) <= {np.floor(abs(mean)), np.ceil(abs(mean))}


def test_a_whole_number_of_spikes_is_not_rounded_up_whatever_is_drawn():
    seed, size = tf.constant([5, 8], tf.int64), (1, 2**22)
    assert np.any(tf.random.stateless_uniform(size[1:], seed) == 0), "take a seed that draws a 0"
    own = equation(layer_of(nengo.StochasticSpiking(nengo.RectifiedLinear()), size=size[1]), 0.001)
    spikes, _ = own.step(tf.ones(size), (), lambda: seed[None])
    assert np.all(spikes == 1)


@pytest.mark.parametrize("kind", [nengo.PoissonSpiking, nengo.StochasticSpiking])
def test_draws_depend_on_the_seed_of_the_image_alone(kind):
    first, second = drawn(kind)
    assert not np.array_equal(first, second)
    again = drawn(kind, seeds=((6, 1), (5, 2), (5, 1)))
    assert np.array_equal(again[2], first) and np.array_equal(again[1], second)
    assert not np.array_equal(again[0], first)


@pytest.mark.parametrize("kind", [nengo.PoissonSpiking, nengo.StochasticSpiking])
def test_the_shape_of_what_is_drawn_is_known_while_a_graph_is_made(kind):
    own, shapes = equation(layer_of(kind(nengo.RectifiedLinear()), size=3), 0.001), []

    @tf.function
    def step(drive):
        spikes, _ = own.step(drive, (), lambda: tf.constant([[5, 1], [5, 2]], tf.int64))
        shapes.append(spikes.shape)
        return spikes

    assert step(tf.ones((2, 3))).shape == shapes[0] == (2, 3)


@pytest.mark.parametrize(
    ("neuron", "signed"),
    [
        (nengo.LIF(), False),
        (nengo.Tanh(), False),  # it has no spikes
        (nengo_dl.SpikingLeakyReLU(0.1), True),
        (nengo_dl.SpikingLeakyReLU(0.0), False),
        (nengo.RegularSpiking(nengo_dl.LeakyReLU(0.1)), True),
        (nengo.RegularSpiking(nengo.RectifiedLinear()), False),
        (nengo.PoissonSpiking(nengo.Tanh()), True),
        (nengo.AdaptiveLIF(), True),  # not registered: it may have
    ],
)
def test_whether_spikes_have_either_sign(neuron, signed):
    assert layer_of(neuron).signed == signed


class Derived(nengo.SpikingRectifiedLinear):
    """Not registered: it may step otherwise than what it is derived from."""


@pytest.mark.parametrize(
    ("neuron", "name"),
    [
        (nengo.AdaptiveLIF(), "AdaptiveLIF"),
        (nengo.RegularSpiking(nengo.AdaptiveLIFRate()), "RegularSpiking(AdaptiveLIFRate)"),
        (Derived(), "Derived"),
    ],
)
def test_neurons_without_an_equation_are_refused_by_name(neuron, name):
    with pytest.raises(SimulationError, match=rf"^layer 'dense' has neurons of type {re.escape(name)}, .*nengo_dl$"):
        equation(layer_of(neuron), 0.001)


# ---------------------------------------------------------------------- synapses

TWO_POLES = nengo.LinearFilter([3.0], [4e-5, 0.012, 1.0])
SYNAPSES = {
    "time constant": 0.0071,
    "whole time constant": 1,
    "short time constant": 0.0001,
    "low-pass": nengo.Lowpass(0.0071),
    "alpha": nengo.Alpha(0.004),
    "two poles and a gain": TWO_POLES,
    "three poles": nengo.LinearFilter([1.0], [1e-7, 6e-5, 0.012, 1.0]),
}
INPUTS = np.random.default_rng(3).uniform(-1, 3, (2, 50, 3))
"""Of two images, fifty steps and three neurons."""


@pytest.mark.parametrize("dt", [0.001, 0.0004])
@pytest.mark.parametrize("kind", SYNAPSES)
def test_a_filter_gives_what_nengos_synapse_does_a_step_later(kind, dt):
    synapse = SYNAPSES[kind]
    own, theirs = (
        Synapse.of(synapse).discrete(dt, ""),
        nengo.Lowpass(synapse) if isinstance(synapse, (int, float)) else synapse,
    )
    assert own.a.shape == (own.order, own.order) and own.c.shape == own.b.shape == (own.order,)
    expected = np.stack([theirs.filt(image, dt=dt, y0=0) for image in INPUTS])
    found = own.over(INPUTS, np.zeros((2, 3, own.order)))
    assert not found[:, 0].any()
    np.testing.assert_allclose(found[:, 1:], expected[:, :-1], rtol=1e-9, atol=1e-12)


def test_a_filter_goes_on_from_the_state_that_it_left():
    own = Synapse.of(nengo.Alpha(0.004)).discrete(0.001, "")
    whole, state = own.over(INPUTS, np.zeros((2, 3, 2))), np.zeros((2, 3, 2))
    parts = [own.over(INPUTS[:, first : first + 20], state) for first in (0, 20, 40)]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)


def test_a_filter_computes_in_the_precision_of_its_state():
    own, inputs = Synapse.of(0.0071).discrete(0.001, ""), INPUTS.astype(np.float32)
    a, b, expected, value = np.float32(own.a.item()), np.float32(own.b.item()), [], np.zeros((2, 3), np.float32)
    for t in range(inputs.shape[1]):
        expected.append(value)
        value = value * a + inputs[:, t] * b
    state = np.zeros((2, 3, 1), np.float32)
    assert np.array_equal(own.over(inputs, state), np.stack(expected, axis=1))
    assert np.array_equal(state[..., 0], value)


@pytest.mark.parametrize(("steps", "decay"), [(0.029, 0), (0.03, 0), (0.0301, np.exp(-1 / 0.0301)), (1.0, np.exp(-1))])
def test_a_very_short_time_constant_is_a_delay_as_it_is_in_nengo_dl(steps, decay):
    dt = 0.001
    own = Synapse.of(steps * dt).discrete(dt, "")
    assert own.a.item() == pytest.approx(decay, rel=1e-9, abs=0)
    assert own.b.item() == 1 - own.a.item() and own.c.item() == 1


def test_no_synapse_is_no_filter():
    assert not Synapse.of(None) and Synapse.of(None).discrete(0.001, "") is None


@pytest.mark.parametrize("synapse", [nengo.LinearFilter([0.001, 1.0], [0.002, 1.0]), nengo.LinearFilter([2.0], [1.0])])
def test_a_synapse_without_delay_is_refused(synapse):
    whole = (
        rf"^layer 'a' has the synapse {re.escape(str(synapse))}, which passes its input on without delay: .*=nengo_dl$"
    )
    with pytest.raises(SimulationError, match=whole):
        Synapse.of(synapse).discrete(0.001, "layer 'a'")


def test_a_synapse_that_is_no_linear_filter_is_refused():
    synapse = Synapse.of(nengo.synapses.Triangle(0.01))
    with pytest.raises(ConfigError, match=r"^conversion.synapse: got Triangle\(t=0.01\): takes a time constant in s, "):
        synapse.linear("conversion.synapse")


@pytest.mark.parametrize(
    ("given", "tau", "plain", "shown"),
    [
        (None, None, None, ""),
        (0.0071, 0.0071, 0.0071, "7.1"),
        (nengo.Lowpass(0.0071), 0.0071, 0.0071, "7.1"),
        (nengo.Alpha(0.004), 0.004, "Alpha(tau=0.004)", "Alpha(tau=0.004)"),
        (TWO_POLES, None, str(TWO_POLES), str(TWO_POLES)),
    ],
)
def test_what_is_given_for_a_synapse_is_one_value(given, tau, plain, shown):
    synapse = Synapse.of(given)
    assert (synapse.tau, synapse.plain, bool(synapse)) == (tau, plain, given is not None)
    assert in_milliseconds(plain) == shown
    layer = NeuronLayer("dense", (1,), None, nengo.LIF(), 1.0, given, None)
    assert layer.synapse == synapse == Synapse.of(synapse)
    assert PlannedLayer("dense", "Dense", "native", "LIF", synapse=given).synapse == plain


@pytest.mark.parametrize("given", ["10 ms", True, [0.01]])
def test_what_is_no_synapse_is_refused_with_the_layer(given):
    with pytest.raises(ConfigError, match=rf"^synapse of layer 'dense': got {re.escape(repr(given))}: takes a time "):
        NeuronLayer("dense", (1,), None, nengo.LIF(), 1.0, given, None)
