"""Bias correction: where offsets go, how large they are, and what still compares with the model as it was trained."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import tf_keras as keras
from tf_keras import layers

from snnpipe import Calibration, ClockDrivenSimulator, EventDrivenSimulator, NengoDLConverter, NengoDLSimulator
from snnpipe.base.errors import ConfigError, ConversionError
from snnpipe.conversion.bias_offsets import moved
from snnpipe.conversion.fidelity import require_same_rates
from snnpipe.diagnosis.hybrids import with_rates
from snnpipe.encoders import ConstantEncoder
from snnpipe.frameworks.compat import start_afresh
from snnpipe.run.bias_correction import activity_of, bias_offsets
from snnpipe.run.trials import respond
from snnpipe.values.simulation import Stimulus

DT = 0.001
RNG = np.random.default_rng(0)
SAMPLES = RNG.uniform(-1, 1, (40, 6, 6, 2)).astype(np.float32)
SLOW_NENGO = pytest.param(NengoDLSimulator, marks=pytest.mark.slow)
NAMES = ["stem", "inner", "sum", "pooled", "hidden"]


def residual(offsets=None):
    """A network with a sum, pooling before a ReLU, and a layer without a bias; with offsets to what rectifiers get."""
    start_afresh(0)
    given = offsets or {}

    def rectified(x, name):
        return layers.ReLU(name=name)(x + np.float32(given[name]) if name in given else x)

    x = inputs = layers.Input((6, 6, 2))
    x = stem = rectified(layers.Conv2D(3, 3, padding="same", use_bias=False)(x), "stem")
    x = rectified(layers.Conv2D(3, 3, padding="same")(x), "inner")
    x = rectified(layers.Add()([stem, layers.Conv2D(3, 3, padding="same")(x)]), "sum")
    x = rectified(layers.AveragePooling2D()(layers.Conv2D(4, 1)(x)), "pooled")
    x = rectified(layers.Dense(5)(layers.Flatten()(x)), "hidden")
    model = keras.Model(inputs, layers.Dense(3)(x))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


MODEL = residual()
OFFSETS = {name: RNG.normal(0, 0.3, n).tolist() for name, n in NengoDLConverter().correctable(MODEL).items()}


LEVELS = NengoDLConverter().levels(MODEL, SAMPLES)
CONVERTER = NengoDLConverter().calibrated(LEVELS, DT, channels=True)


def network(**settings):
    return replace(CONVERTER, **settings).convert(MODEL, 0)


def outputs(of, simulator, samples=SAMPLES[:4]):
    with simulator.open(of) as opened:
        return np.concatenate(
            [c.outputs_btc for c in opened.run(Stimulus(samples, range(len(samples)), ConstantEncoder()))], axis=1
        )


def events(n_steps=8):
    return EventDrivenSimulator(n_steps=n_steps, precision="float64")


# ---------------------------------------------------------------------- where offsets go


def test_every_layer_of_neurons_takes_offsets_of_its_channels():
    assert NengoDLConverter().correctable(MODEL) == dict(zip(NAMES, [3, 3, 3, 4, 5], strict=True))


def test_offsets_are_added_to_what_the_rectifiers_get():
    """The model itself with explicit additions computes what the network does, which the check accepts as right."""
    made = network(bias_offsets=OFFSETS)
    expected = residual(OFFSETS)
    assert not np.allclose(expected.predict(SAMPLES, verbose=0), MODEL.predict(SAMPLES, verbose=0), atol=0.05)
    given = EventDrivenSimulator().rates(made, SAMPLES)
    np.testing.assert_allclose(given.output, expected.predict(SAMPLES, verbose=0), rtol=1e-3, atol=1e-4)
    require_same_rates(made, MODEL, SAMPLES[:4], EventDrivenSimulator())


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_a_layer_that_rectifies_by_itself_takes_offsets(activation):
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3, activation=activation, name="d"), layers.Dense(2)])
    samples = RNG.uniform(-1, 1, (5, 4)).astype(np.float32)
    made = NengoDLConverter(scale_firing_rates=50.0, bias_offsets={"d": [0.5, -0.5, 1.0]}).convert(model, 0)
    require_same_rates(made, model, samples, EventDrivenSimulator())
    kernel, _, *rest = model.get_weights()
    shifted = keras.models.clone_model(model)
    shifted.set_weights([kernel, np.array([0.5, -0.5, 1.0]), *rest])
    np.testing.assert_allclose(EventDrivenSimulator().rates(made, samples).output, shifted(samples), atol=1e-5)


def test_neurons_that_share_a_bias_take_no_offsets():
    x = inputs = layers.Input((4,))
    x = layers.Dense(3)(x)
    both = layers.Concatenate()([layers.ReLU(name="one")(x), layers.ReLU(max_value=1.0, name="other")(x)])
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(4, activation="relu", name="own")(both)))
    assert NengoDLConverter().correctable(model) == {"own": 4}
    with pytest.raises(ConfigError, match="layer 'one' takes no offsets, .* leave it out"):
        NengoDLConverter(scale_firing_rates=1.0, bias_offsets={"one": [0.1] * 3}).convert(model, 0)


@pytest.mark.parametrize("simulator", [ClockDrivenSimulator, SLOW_NENGO])
def test_simulators_agree_on_a_network_with_offsets(simulator):
    made = network(bias_offsets=OFFSETS)
    ours, theirs = outputs(made, events()), outputs(made, simulator(n_steps=8, precision="float64"))
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert not np.allclose(ours, outputs(network(), events()))


@pytest.mark.parametrize("simulator", [EventDrivenSimulator, SLOW_NENGO])
def test_offsets_that_are_added_later_are_those_of_the_conversion(simulator):
    zeros = {name: [0.0] * len(own) for name, own in OFFSETS.items()}
    made, run = network(bias_offsets=zeros), simulator(n_steps=8, precision="float64")
    plain = outputs(made, run)
    with moved(made, {name: np.array(own) for name, own in OFFSETS.items()}):
        np.testing.assert_allclose(outputs(made, run), outputs(network(bias_offsets=OFFSETS), run), atol=1e-9)
    np.testing.assert_array_equal(outputs(made, run), plain)


def test_offsets_can_be_given_back_as_numbers():
    first = replace(CONVERTER, bias_offsets=OFFSETS)
    keys = ("scale_firing_rates", "channel_factors", "bias_offsets")
    given = json.loads(json.dumps({key: getattr(first, key) for key in keys}))
    one, other = (outputs(each.convert(MODEL, 0), events()) for each in (first, NengoDLConverter(**given)))
    np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------------- what must not change


def test_offsets_change_neither_the_model_nor_the_costs():
    before = MODEL.get_weights()
    without, corrected = network(), network(bias_offsets=OFFSETS)
    assert all(np.array_equal(*pair) for pair in zip(before, MODEL.get_weights(), strict=True))
    assert (without.dense_macs, without.first_layer_macs) == (corrected.dense_macs, corrected.first_layer_macs)
    for one, other in zip(without.layers, corrected.layers, strict=True):
        np.testing.assert_array_equal(one.fan_out_n, other.fan_out_n)


def test_a_network_with_other_offsets_than_it_says_is_stopped():
    made = network(bias_offsets=OFFSETS)
    wrong = {"sum": np.array([0.0, 0.1, 0.0])}
    with moved(made, wrong), pytest.raises(ConversionError, match=r"'sum' \(ReLU\) differs by"):
        require_same_rates(made, MODEL, SAMPLES[:4], EventDrivenSimulator())
    require_same_rates(made, MODEL, SAMPLES[:4], EventDrivenSimulator())


@pytest.mark.parametrize("simulator", [ClockDrivenSimulator, SLOW_NENGO])
def test_rates_in_place_of_spikes_are_the_models_own(simulator):
    """A diagnosis compares with the trained model: a layer that does not spike has no error to make up for."""
    made = network(bias_offsets=OFFSETS)
    with with_rates(made, NAMES, DT) as rates:
        given = outputs(rates, simulator(n_steps=1))[:, 0]
    np.testing.assert_allclose(given, MODEL.predict(SAMPLES[:4], verbose=0), rtol=1e-3, atol=1e-4)
    with with_rates(made, NAMES[1:], DT) as first_spikes:
        in_part = outputs(first_spikes, simulator(n_steps=4))
    only = network(bias_offsets={"stem": OFFSETS["stem"]})
    with with_rates(only, NAMES[1:], DT) as same:
        np.testing.assert_allclose(in_part, outputs(same, simulator(n_steps=4)), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------- how large offsets are


def one_layer(kernel):
    model = keras.Sequential([layers.Input((1,)), layers.Dense(2, activation="relu", name="d"), layers.Dense(1)])
    model.set_weights([np.array(kernel), np.zeros(2), np.ones((2, 1)), np.zeros(1)])
    return model


def determined(model, names, samples, n_steps, made=None, **settings):
    zeros = {name: [0.0] * n for name, n in NengoDLConverter().correctable(model).items()}
    made = made or NengoDLConverter(scale_firing_rates=1 / DT, bias_offsets=zeros).convert(model, 0)
    simulator = ClockDrivenSimulator(n_steps=n_steps, **settings)
    respond_to = lambda network: respond(network, simulator, ConstantEncoder(), samples)  # noqa: E731
    return bias_offsets(made, activity_of(model, made, [samples]), names, respond_to)


def test_offsets_worked_out_by_hand():
    """One unit is one spike a step. From a voltage of 0.5, four steps of current 0.3 give round(1.2) = 1 spike.

    The output of the first neuron is 0.25, so its error is 0.05. Half of it is added in each of three passes, and up
    to 0.35 the current still gives one spike. The second sample leaves the second neuron silent. The first sample
    gives it a current of 0.6, round(2.4) = 2 spikes, an output of 0.5 and an error of 0.1: 0.05 as a mean, which is
    doubled because half of the samples activate it. With 0.65, it gives three spikes, an error of -0.15. With 0.575, it
    gives two again.
    """
    (first, _) = determined(one_layer([[0.3, 0.0]]), ["d"], np.ones((1, 1), np.float32), 4)["d"]
    assert first == pytest.approx(3 * 0.5 * 0.05, rel=1e-4)
    samples = np.array([[1.0], [-1.0]], np.float32)
    _, second = determined(one_layer([[0.0, 0.6]]), ["d"], samples, 4)["d"]
    assert second == pytest.approx(0.5 * 2 * (0.05 - 0.075 + 0.05), abs=1e-4)


READOUTS = [("mean", None), ("mean", 2), ("later_three_quarters", None), ("later_half", None), ("last", None)]


@pytest.mark.parametrize(("readout", "steps"), READOUTS)
def test_the_steps_that_the_readout_averages_count(readout, steps):
    """A current of 0.25 spikes at the second of four steps only: a mean of 0.25, and of 0 over the later half."""
    samples, model = np.ones((1, 1), np.float32), one_layer([[0.25, 0.0]])
    (offset, _) = determined(model, ["d"], samples, 4, readout=readout, readout_steps=steps)["d"]
    assert (offset == pytest.approx(0, abs=1e-6)) == (readout == "mean" and steps is None)


def test_corrected_layers_give_nearer_means():
    zeros = {name: [0.0] * len(own) for name, own in OFFSETS.items()}
    made, simulator = network(bias_offsets=zeros), ClockDrivenSimulator(n_steps=4)
    offsets = {name: np.array(own) for name, own in determined(MODEL, NAMES, SAMPLES, 4, made).items()}
    inner = keras.Model(MODEL.inputs, [MODEL.get_layer(name).output for name in NAMES])
    wanted = dict(zip(NAMES, inner.predict(SAMPLES, verbose=0), strict=True))
    errors = []
    for context in (nullcontext(), moved(made, offsets)):
        with context:
            response = respond(made, simulator, ConstantEncoder(), SAMPLES)
        means = {layer.name: response.outputs[layer.name].reshape(layer.shape) for layer in made.layers}
        off = {layer.name: layer.unscaled_c(means[layer.name]) - wanted[layer.name].mean(0) for layer in made.layers}
        errors.append(sum(np.abs(own.reshape(-1, own.shape[-1]).mean(axis=0)).sum() for own in off.values()))
    assert errors[1] < 0.5 * errors[0]


# ---------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ({"inner": [1.0, 2.0]}, "conversion.bias_offsets: layer 'inner' has 3 channels, and gets 2 offsets"),
        ({"iner": [1.0] * 3}, "conversion.bias_offsets: no layer of neurons is called 'iner'; did you mean 'inner'"),
        ({"*": [1.0] * 3}, "conversion.bias_offsets: no layer of neurons is called"),
        ({"inner": ["x", 1.0, 1.0]}, "conversion.bias_offsets: got .* for each layer a list of numbers"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(offsets, words):
    with pytest.raises(ConfigError, match=words):
        NengoDLConverter(scale_firing_rates=1.0, bias_offsets=offsets).convert(MODEL, 0)


@pytest.mark.parametrize("key", ["bias_offsets", "channel_factors"])
def test_offsets_and_factors_belong_to_given_scales(key):
    with pytest.raises(ConfigError, match=rf"conversion.{key}: they belong to scales .*conversion.{key}=null"):
        NengoDLConverter(**{key: {"inner": [1.0] * 3}}).calibrated(LEVELS, DT)


def test_whether_to_correct_is_a_truth_value_or_auto():
    with pytest.raises(ConfigError, match="conversion.calibration.bias_correction"):
        Calibration(bias_correction="always")
