"""Scales from data: the percentiles that they come from, channels scaled alike, and what a run records of them."""

import json
from dataclasses import replace
from pathlib import Path

import nengo
import numpy as np
import pytest
import tf_keras as keras
from hypothesis import HealthCheck, Phase, given, settings
from networks import Drawn, networks
from tf_keras import layers

import snnpipe
from snnpipe import Calibration, EventDrivenSimulator, IntegrateAndFire, NengoDLConverter
from snnpipe.base.errors import ConfigError
from snnpipe.conversion.calibration import Limits, levels_of
from snnpipe.conversion.equalise import Channels
from snnpipe.conversion.fidelity import require_same_rates
from snnpipe.conversion.rewrite import prepare, rewrite
from snnpipe.encoders import ConstantEncoder
from snnpipe.frameworks.compat import start_afresh
from snnpipe.frameworks.rectifiers import Rectifier
from snnpipe.run.spikes_search import best, search
from snnpipe.run.trials import Trial
from snnpipe.values.calibration import CalibrationOutcome, Tried
from snnpipe.values.simulation import Stimulus

DT = 0.001
RNG = np.random.default_rng(0)
SAMPLES = RNG.uniform(-1, 1, (50, 8, 8, 3)).astype(np.float32)
AUTO = NengoDLConverter(neuron=IntegrateAndFire(), scale_firing_rates="auto", synapse=None)


def residual():
    """A network with normalisation, a sum, a concatenation and pooling, whose channels differ in size by far."""
    start_afresh(0)
    x = inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = stem = layers.ReLU(name="stem")(x)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="inner")(x)
    x = layers.Conv2D(4, 3, padding="same", name="second")(x)
    x = layers.ReLU(name="sum")(layers.Add()([x, stem]))
    y = layers.Conv2D(2, 1, activation="relu", name="side")(stem)
    x = layers.AveragePooling2D()(layers.Concatenate()([x, y]))
    x = layers.Dense(5, activation="relu", name="hidden")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    rng = np.random.default_rng(1)
    for layer in model.layers:
        values = [rng.normal(0, 0.4, w.shape) for w in layer.get_weights()]
        if layer.name == "norm":
            values[0], values[3] = rng.uniform(0.05, 3, 4), rng.uniform(0.5, 2, 4)
        layer.set_weights(values)
    return model


MODEL = residual()
NEURONS = ["stem", "inner", "sum", "side", "hidden"]
RECTIFIERS = dict.fromkeys(NEURONS, Rectifier())


def activations(model, samples=SAMPLES):
    outputs = keras.Model(model.inputs, [model.get_layer(name).output for name in NEURONS]).predict(samples, verbose=0)
    return dict(zip(NEURONS, outputs, strict=True))


def calibrated(converter, model=MODEL, samples=SAMPLES, dt=DT, channels=False):
    return converter.calibrated(converter.levels(model, samples), dt, channels)


def simulated(network, samples, n_steps=8):
    with EventDrivenSimulator(n_steps=n_steps, precision="float64").open(network) as opened:
        chunks = list(opened.run(Stimulus(samples, range(len(samples)), ConstantEncoder())))
    counts = {layer.name: sum(c.layers[layer.name].counts_bn for c in chunks) for layer in network.layers}
    return np.concatenate([c.outputs_btc for c in chunks], axis=1), counts


# ---------------------------------------------------------------------- percentiles


@pytest.mark.parametrize("percentile", [10, 50, 99, 99.9, 100])
def test_levels_are_the_percentiles_of_what_is_above_zero(percentile):
    levels = levels_of(MODEL, RECTIFIERS, SAMPLES, percentile)
    for name, values in activations(MODEL).items():
        positive = values[values > 0]
        assert levels.layer[name] == pytest.approx(np.percentile(positive, percentile), rel=5e-3)
        assert levels.channels_c[name].shape == values.shape[-1:]
    of_stem = activations(MODEL)["stem"]
    for channel, level in enumerate(levels.channels_c["stem"]):
        own = of_stem[..., channel]
        assert level == pytest.approx(np.percentile(own[own > 0], percentile), rel=2e-2)


def test_the_hundredth_percentile_is_the_largest_activation():
    levels = levels_of(MODEL, RECTIFIERS, SAMPLES, 100)
    for name, values in activations(MODEL).items():
        assert levels.layer[name] == pytest.approx(values.max(), rel=1e-6)


def test_a_layer_that_is_silent_gets_a_scale_too():
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3, activation="relu"), layers.Dense(2)])
    model.layers[0].set_weights([np.zeros((4, 3)), -np.ones(3)])
    converter = calibrated(AUTO, model, np.ones((5, 4), np.float32), channels=True)
    outputs, counts = simulated(converter.convert(model, 0), np.ones((5, 4), np.float32))
    assert not any(values.any() for values in counts.values()) and np.isfinite(outputs).all()


# ---------------------------------------------------------------------- scales


@pytest.mark.parametrize("spikes", [0.5, 1.0, 3.0])
def test_the_level_becomes_so_many_spikes_a_step(spikes):
    """A constant current: a neuron whose activation is the level spikes so often a step, at any time step."""
    converter = replace(AUTO, calibration=Calibration(percentile=100, spikes_per_step=spikes))
    for dt in (0.001, 0.0025):
        scales = calibrated(converter, dt=dt).scale_firing_rates
        for name, values in activations(MODEL).items():
            assert scales[name] * values.max() * dt == pytest.approx(spikes, rel=1e-5)


def test_the_strongest_neuron_spikes_as_often_as_was_asked_for():
    model = keras.Sequential([layers.Input((3,)), layers.Dense(4, activation="relu", name="first"), layers.Dense(2)])
    samples = RNG.uniform(-1, 1, (30, 3)).astype(np.float32)
    converter = calibrated(replace(AUTO, calibration=Calibration(percentile=100, spikes_per_step=2.0)), model, samples)
    _, counts = simulated(converter.convert(model, 0), samples, n_steps=10)
    assert counts["first"].max() == 20


def test_a_clipped_activation_is_a_whole_number_of_spikes():
    model = keras.Sequential([layers.Input((3,)), layers.Dense(4), layers.ReLU(6.0, name="clipped"), layers.Dense(2)])
    model.layers[0].set_weights([8 * np.ones((3, 4)), np.arange(4.0)])
    samples = RNG.uniform(0, 1, (30, 3)).astype(np.float32)
    for spikes, whole in ((1.0, 1), (2.2, 2), (0.1, 1)):
        converter = calibrated(replace(AUTO, calibration=Calibration(spikes_per_step=spikes)), model, samples)
        assert converter.scale_firing_rates["clipped"] * 6 * DT == pytest.approx(whole)
        _, counts = simulated(converter.convert(model, 0), samples, n_steps=10)
        assert counts["clipped"].max() == 10 * whole


# ---------------------------------------------------------------------- the read-out


def converted(synapse=None, readout=None, **settings):
    """A shallow network whose outputs have large biases, which are there before the filtered spikes are."""
    start_afresh(0)
    model = keras.Sequential([layers.Input((16,)), layers.Dense(32, activation="relu"), layers.Dense(4)])
    kernel, _ = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, np.array([1.0, -1, 2, -2])])
    samples = np.random.default_rng(0).normal(size=(150, 16)).astype(np.float32)
    converter = NengoDLConverter(synapse=synapse, calibration=Calibration(bias_correction=False, **settings))
    return snnpipe.convert(model, samples, n_steps=16, readout=readout, converter=converter)


def test_later_steps_are_read_out_where_they_have_clearly_less_error():
    """Without a filter, all steps count; with a slow one, the first steps lack what is on its way."""
    for synapse, readout in ((None, "mean"), (0.005, "later_half")):
        spiking = converted(synapse)
        outcome = spiking.calibration
        *_, mean, most, half = outcome.candidates
        assert [one.readout for one in (mean, most, half)] == ["mean", "later_three_quarters", "later_half"]
        later = min(most, half, key=lambda one: one.error)
        assert outcome.readout == readout == (later.readout if later.error <= 0.9 * mean.error else "mean")
        assert outcome.params()["readout"] == readout and f"read-out {readout}" in repr(spiking)
        chosen = next(one for one in outcome.tried if one.spikes_per_step == outcome.spikes_per_step)
        assert chosen.error <= min(mean.error, later.error) or chosen.error <= outcome.max_error


def test_a_readout_that_is_given_stays():
    for readout in ("mean", "later_half", "last"):
        outcome = converted(0.005, readout, spikes_per_step=1.0).calibration
        assert outcome.readout == readout and {one.readout for one in outcome.candidates} == {readout}


def trial(errors):
    return lambda spikes: Trial(Tried(spikes, spikes, 0.5, 0.0, errors(spikes)), {})


def tried(errors, first=1.0, max_error=0.1):
    make = trial(errors)
    return [one.tried.spikes_per_step for one in search(make, lambda *_: False, make(first), Limits(max_error))]


# ---------------------------------------------------------------------- first voltages


def wide(activation):
    """A layer of 2,000 neurons with the same activation, and its sum as logits of two classes."""
    start_afresh(0)
    inputs = layers.Input((1,))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(2000, activation="relu", name="wide")(inputs)))
    first, _, last, _ = model.get_weights()
    model.set_weights([0 * first, np.full(2000, activation), np.abs(last) * [1, -1], np.zeros(2)])
    return model


@pytest.mark.parametrize(("drawn", "expected"), [(False, 0.0), (True, 0.4)])
def test_weak_activations_are_rounded_to_0_or_on_average_right(drawn, expected):
    """0.05 spikes a step are 0.4 in 8 steps: with 0.5 for all nobody spikes, with drawn voltages two in five do."""
    converter = NengoDLConverter(neuron=IntegrateAndFire(), scale_firing_rates=50.0, synapse=None)
    if drawn:
        converter = replace(converter, initial_voltage="drawn")
    network = converter.convert(wide(1.0), 0)
    _, counts = simulated(network, np.zeros((1, 1), np.float32))
    assert counts["wide"].mean() == pytest.approx(expected, abs=4 * (0.4 * 0.6 / 2000) ** 0.5)


def test_drawn_voltages_are_taken_where_they_need_fewer_spikes_and_can_be_given_back():
    settings = {"bias_correction": False, "channels": False, "balance": False, "spikes_per_step": 0.5}
    found = {}
    for drawn in (False, True, "auto"):
        own = Calibration(drawn_voltages=drawn, **settings)
        spiking = snnpipe.convert(MODEL, SAMPLES, n_steps=4, readout="mean", converter=replace(AUTO, calibration=own))
        found[drawn] = spiking.calibration, spiking.run(SAMPLES[:5]).outputs
    outcome, _ = found["auto"]
    tried = {one.drawn_voltages: one for one in outcome.candidates}
    assert set(tried) == {False, True}
    cheaper = min(tried.values(), key=lambda one: one.error * one.synops).drawn_voltages
    assert outcome.drawn_voltages == outcome.params()["drawn_voltages"] == cheaper
    assert np.array_equal(found["auto"][1], found[cheaper][1]) and not np.array_equal(found[False][1], found[True][1])
    given = replace(AUTO, scale_firing_rates=dict(found[True][0].scales), initial_voltage="drawn")
    again = snnpipe.convert(MODEL, SAMPLES, n_steps=4, readout="mean", converter=given)
    assert np.array_equal(again.run(SAMPLES[:5]).outputs, found[True][1])


def test_voltages_that_are_given_or_trained_for_are_not_drawn():
    assert sorted(AUTO.drawable(MODEL)) == sorted(NEURONS)
    assert replace(AUTO, initial_voltage=0.5).drawable(MODEL) == []
    assert replace(AUTO, neuron=IntegrateAndFire(initial_voltage=0)).drawable(MODEL) == []
    assert replace(AUTO, neuron=nengo.LIF()).drawable(MODEL) == []
    start_afresh(0)
    inputs = layers.Input((3,))
    quantised = keras.Model(inputs, layers.Dense(2)(snnpipe.QuantisedReLU(4)(layers.Dense(5)(inputs))))
    assert AUTO.drawable(quantised) == []
    given = replace(AUTO, neuron=nengo.LIF(), calibration=Calibration(drawn_voltages=True))
    with pytest.raises(ConfigError, match=r"drawn_voltages: got True, but no layer .*take auto"):
        snnpipe.convert(MODEL, SAMPLES, n_steps=2, converter=given)


# ---------------------------------------------------------------------- the search


def test_spikes_are_doubled_while_few_give_no_idea():
    """In a deep network with few spikes a step, nothing comes through, and twice the spikes are no better."""
    assert tried(lambda n: 1.0 if n < 4 else 0.2 / n) == pytest.approx([1, 2, 4, 2**1.5, 2**1.75, 2**1.875])
    assert tried(lambda n: 1.0) == [1, 2, 4, 8, 16]


def test_an_interval_is_halved_once_more_where_the_error_leaves_room():
    """The error is c / n: after two halvings it is c, which is 0.86 or 0.95 of the limit."""
    assert tried(lambda n: 0.086 / n) == pytest.approx([1, 1 / 2, 2**-0.5, 2**-0.25, 2**-0.125])
    assert tried(lambda n: 0.095 / n) == pytest.approx([1, 1 / 2, 2**-0.5, 2**-0.25])


def test_more_steps_allow_less_error():
    limits = [Calibration().limits(n).max_error for n in (1, 16, 100)]
    assert limits == pytest.approx([0.22, 0.055, 0.022])
    assert Calibration(max_error=0.3, max_drop=1.0).limits(64) == Limits(0.3, 1.0)


def test_spikes_are_not_doubled_where_the_error_is_not_theirs():
    """An error that more spikes do not make smaller comes from the first steps, or from a limit."""
    assert tried(lambda n: 0.3 + 0.1 / n) == [1, 2, 4]
    least = best([trial(lambda n: 0.3 + 0.1 / n)(n) for n in (1.0, 2.0, 4.0)], Limits(0.1))
    assert least.tried.spikes_per_step == 2


# ---------------------------------------------------------------------- channels


def ready(model):
    return prepare(model, rewrite(model, False))


def test_equalised_channels_leave_the_outputs_as_they_are():
    changed = ready(MODEL)
    channels = Channels(changed)
    wanted = {name: RNG.uniform(0.1, 10, values.shape[-1]) for name, values in activations(MODEL).items()}
    factors = channels.factors(wanted)
    channels.apply(factors, "key")
    np.testing.assert_allclose(
        changed.predict(SAMPLES, verbose=0), MODEL.predict(SAMPLES, verbose=0), rtol=1e-3, atol=1e-4
    )
    for name, values in activations(changed).items():
        np.testing.assert_allclose(values * factors[name], activations(MODEL)[name], rtol=1e-3, atol=1e-4)
    assert np.array_equal(factors["stem"], factors["sum"]), "channels that are added share their factor"
    assert np.array_equal(factors["inner"], wanted["inner"]) and np.array_equal(factors["side"], wanted["side"])


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(networks())
def test_equalised_channels_leave_the_outputs_of_drawn_networks_as_they_are(drawn: Drawn):
    model = drawn.model()
    changed = prepare(model, rewrite(model, True))
    names = [drawn.name(i) for i in drawn.neurons]
    rng = np.random.default_rng(drawn.seed)
    images = rng.uniform(-1, 1, (3, *drawn.shape)).astype(np.float32)
    before = changed.predict(images, verbose=0)
    channels = Channels(changed)
    wanted = {name: rng.uniform(0.2, 5, changed.get_layer(name).output.shape[-1]) for name in names}
    channels.apply(channels.factors(wanted), "key")
    np.testing.assert_allclose(changed.predict(images, verbose=0), before, rtol=2e-3, atol=1e-3 * np.abs(before).max())


def test_each_channel_gets_the_level_of_its_layer():
    converter = calibrated(AUTO, channels=True)
    changed = ready(MODEL)
    Channels(changed).apply({n: np.array(f) for n, f in converter.channel_factors.items()}, "key")
    levels = levels_of(changed, {name: Rectifier() for name in ("inner", "side")}, SAMPLES, 99.9)
    for of_layer in levels.channels_c.values():
        np.testing.assert_allclose(of_layer / of_layer.max(), 1, rtol=0.02)


def test_a_channel_without_an_activation_keeps_its_scale():
    model = keras.models.clone_model(MODEL)
    model.set_weights(MODEL.get_weights())
    kernel, bias = model.get_layer("inner").get_weights()
    bias[1] = -1e3
    model.get_layer("inner").set_weights([kernel, bias])
    levels = AUTO.levels(model, SAMPLES)
    assert levels.channels_c["inner"][1] == 0 and levels.factors_c["inner"][1] == 1
    assert np.all(levels.factors_c["inner"] > 0.01)


def test_what_a_calibration_gave_can_be_given_back():
    converter = calibrated(AUTO, channels=True)
    given = json.loads(json.dumps([converter.scale_firing_rates, converter.channel_factors]))
    again = NengoDLConverter(
        neuron=IntegrateAndFire(), synapse=None, scale_firing_rates=given[0], channel_factors=given[1]
    )
    one, other = (simulated(each.convert(MODEL, 0), SAMPLES[:5])[0] for each in (converter, again))
    assert np.array_equal(one, other)
    network = again.convert(MODEL, 0)
    require_same_rates(network, MODEL, SAMPLES[:4], EventDrivenSimulator())
    assert not np.allclose(network.layers[0].channel_factors_c, 1)


@pytest.mark.parametrize("neuron", [IntegrateAndFire(), nengo.LIF(), nengo.SpikingRectifiedLinear()])
def test_a_network_with_other_scales_is_the_one_that_is_converted_with_them(neuron):
    converter = replace(AUTO, neuron=neuron, initial_voltage=0.25)
    levels = converter.levels(MODEL, SAMPLES)
    first, other = (converter.calibrated(levels, DT, True, spikes) for spikes in (1.0, 3.0))
    networks = [other.rescaled(first.convert(MODEL, 0)), other.convert(MODEL, 0)]
    (one, counts), (same, of_converted) = (simulated(network, SAMPLES[:5]) for network in networks)
    assert np.array_equal(one, same) and all(np.array_equal(counts[name], of_converted[name]) for name in NEURONS)


def test_more_steps_bring_the_mean_output_to_the_logits():
    logits = MODEL.predict(SAMPLES[:8], verbose=0)
    for channels in (False, True):
        network = calibrated(AUTO, channels=channels).convert(MODEL, 0)
        off = [
            np.abs(simulated(network, SAMPLES[:8], n)[0][:, n // 2 :].mean(axis=1) - logits).max() for n in (10, 400)
        ]
        assert off[1] < 0.1 * np.abs(logits).max() and off[1] < off[0]


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"inner": [1.0, 2.0]}, "layer 'inner' has 4 channels, and gets 2 factors"),
        ({"sum": [1.0, 2.0, 3.0, 4.0], "stem": [1.0] * 4}, "are added to others"),
        ({"iner": [1.0] * 4}, "no layer of neurons is called 'iner'"),
    ],
)
def test_factors_that_do_not_fit_are_refused(factors, words):
    with pytest.raises(ConfigError, match=words):
        replace(AUTO, scale_firing_rates=1.0, channel_factors=factors).convert(MODEL, 0)


def test_scales_from_data_need_data():
    with pytest.raises(ConfigError, match="calibrated"):
        AUTO.convert(MODEL, 0)
    assert all(layer.scale_firing_rates is None for layer in AUTO.explain(MODEL).layers)


# ---------------------------------------------------------------------- initial voltages


def test_nengos_neurons_begin_where_they_are_asked_to():
    converter = NengoDLConverter(
        neuron={"*": nengo.SpikingRectifiedLinear(), "hidden": nengo.LIF()},
        scale_firing_rates=100.0,
        initial_voltage={"stem": 0.5, "hidden": 0.25},
    )
    voltages = {layer.name: layer.initial_state["voltage"] for layer in converter.convert(MODEL, 0).layers}
    assert np.all(voltages["stem"] == 0.5) and np.all(voltages["hidden"] == 0.25)
    assert len(np.unique(voltages["inner"])) > 100, "Nengo draws the others"
    with pytest.raises(ConfigError, match=r"conversion.initial_voltage: got 0.5, but PoissonSpiking .* take null"):
        replace(converter, neuron=nengo.PoissonSpiking(nengo.RectifiedLinear())).explain(MODEL)


# ---------------------------------------------------------------------- a run


def test_a_run_records_where_its_scales_come_from(command):
    small = ("debug=fast", "model=mlp", "model.units=[8]", "logger=csv", "callbacks=none")
    auto = ("neuron=integrate_and_fire", "conversion.scale_firing_rates=auto", "conversion.synapse=null")
    result = command(*small, *auto, "conversion.calibration.images=30")
    assert result.code == 0, result.err
    (plan,) = Path("mlruns/outputs").glob("*/conversion/plan.json")
    scales = [layer["scale_firing_rates"] for layer in json.loads(plan.read_text())["layers"] if layer["neurons"]]
    calibration = json.loads(plan.with_name("calibration.json").read_text())
    assert scales == list(calibration["scale_firing_rates"].values()) and scales[0] > 0
    params = json.loads((plan.parent.parent / "params.json").read_text())
    assert [params[f"calibration.scale_firing_rates.{name}"] for name in calibration["scale_firing_rates"]] == scales
    assert params["calibration.digest"] == calibration["digest"]
    assert calibration["samples"] == 30 and len(calibration["digest"]) == 64
    ways = [[candidate[key] for key in ("channels", "bias_correction")] for candidate in calibration["candidates"]]
    assert ways[:2] == [[False, False], [True, False]] and ways[2][1] is True
    assert not any(candidate["balance"] for candidate in calibration["candidates"]), "one layer has nothing to balance"
    assert params["calibration.bias_correction"] == calibration["bias_correction"]
    assert (calibration["bias_offsets"] is not None) == calibration["bias_correction"]


@pytest.mark.parametrize(
    ("max_drop", "samples", "tried", "says"),
    [
        (0.5, 143, 1, "(0.5 allowed, 1 number tried); a single one is 0.7 points, so that this allows no loss"),
        (0.5, 200, 2, "(0.5 allowed, 2 numbers tried)"),
        (
            -1.0,
            200,
            1,
            "tried): no other number changes a scale; take more steps (simulator.n_steps)",
        ),
        (-1.0, 200, 2, "(-1 allowed, 2 numbers tried): none came nearer; take more steps (simulator.n_steps)"),
        (0.0, 143, 2, "(0 allowed, 2 numbers tried)"),
        (None, 100, 2, "(10 % allowed, 2 numbers tried)"),
    ],
)
def test_what_a_search_could_not_promise_is_said(max_drop, samples, tried, says):
    trials = tuple(Tried(spikes, 10.0, 0.9, 0.0, 0.05) for spikes in (1.0, 2.0)[:tried])
    outcome = CalibrationOutcome(
        samples=samples,
        digest="",
        channels=False,
        balance=False,
        spikes_per_step=1.0,
        spikes_of_layers={},
        scales={},
        max_error=0.1,
        max_drop=max_drop,
        tried=trials,
        judged="validation images",
        judged_samples=samples,
    )
    (remark,) = outcome.remarks()
    assert remark.text.endswith(says)


@pytest.mark.slow
def test_the_fewest_spikes_are_searched_for_that_lose_little(command):
    """The same training with two promises: the stricter one costs more spikes, and each is kept where it can be."""
    small = ("debug=fast", "data.max_train_images=600", "data.validation_share=0.3", "training.epochs=6", "logger=csv")
    auto = ("neuron=integrate_and_fire", "conversion.scale_firing_rates=auto", "conversion.synapse=null")
    more = ("callbacks=none", "simulator.readout=mean", "simulator.n_steps=6", "conversion.calibration.channels=false")
    found = {}
    for max_drop in (0, 20):
        result = command(*small, *auto, *more, f"conversion.calibration.max_drop={max_drop}", f"run_name=a{max_drop}")
        assert result.code == 0, result.err
        assert f"({max_drop} allowed, " in " ".join(result.out.split())
    for path in Path("mlruns/outputs").glob("*/conversion/calibration.json"):
        calibration = json.loads(path.read_text())
        tried = calibration["tried"]
        chosen = next(one for one in tried if one["spikes_per_step"] == calibration["spikes_per_step"])
        enough = [one["spikes_per_step"] for one in tried if one["drop"] <= calibration["max_drop"]]
        assert not enough or chosen["spikes_per_step"] == min(enough)
        assert calibration["judged"] == "180 validation images"
        found[calibration["max_drop"]] = chosen
    assert found[0]["spikes"] > found[20]["spikes"]
