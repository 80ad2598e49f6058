"""Diagnosis: figures worked out by hand, hybrids, planted faults, and suggestions that are followed."""

import csv
import json
import re
import shlex
import shutil
from dataclasses import replace
from math import log

import nengo
import numpy as np
import pytest
from configs import composed

from snnpipe import (
    AutoSimulator,
    ClockDrivenSimulator,
    ConstantEncoder,
    EventDrivenSimulator,
    IntegrateAndFire,
    Mlp,
    NengoDLConverter,
    NengoDLSimulator,
)
from snnpipe.config.build import build
from snnpipe.config.check import check
from snnpipe.conversion.native import IdentityConverter
from snnpipe.diagnosis.diagnose import diagnose
from snnpipe.diagnosis.hybrids import with_rates
from snnpipe.diagnosis.measures import LayerMeter, loss_p_value, settling_step
from snnpipe.frameworks.compat import start_afresh
from snnpipe.metrics.passes import SpikingPass
from snnpipe.models.lif_cnn import LifCnn
from snnpipe.neurons.mean_rectified import MeanRectifiedLinear
from snnpipe.neurons.table import rate_version
from snnpipe.run.summary import WIDTH, closing_table, description
from snnpipe.testing import SPEC
from snnpipe.values.diagnosis import Diagnosis, Loss, Suggestion
from snnpipe.values.network import NeuronLayer
from snnpipe.values.result import RunResult
from snnpipe.values.simulation import LayerActivity, SpikeEvents, Stimulus

# ---------------------------------------------------------------------- by hand (docs/metrics.md)


def measured(neuron, counts_tbn, activation_bn, synapse=None, scale=100.0, factors_c=None):
    """Figures of a layer of one batch, from its spikes at each step of 1 ms."""
    counts = np.asarray(counts_tbn, np.float32)
    layer = NeuronLayer("layer", counts.shape[2:], None, neuron, scale, synapse, None, channel_factors_c=factors_c)
    meter = LayerMeter(layer, len(counts), dt=0.001, images=counts.shape[1])
    meter.begin(counts.shape[1], np.asarray(activation_bn, np.float32))
    for counts_bn in counts:
        meter.add(LayerActivity(counts_bn, SpikeEvents.concatenate([])), 1)
    meter.end()
    return meter.result()


RELU = nengo.SpikingRectifiedLinear(amplitude=0.01)
TWO_SPIKES = [[[1, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]]


def test_figures_of_a_layer_without_a_filter():
    # two images, two neurons; the ANN says 4 and 0, 3 and 0; two spikes of 0.01 / dt in 4 ms are 5 on average
    found = measured(RELU, TWO_SPIKES, [[4, 0], [3, 0]])
    assert found.rate_hz == pytest.approx(2 / (4 * 0.004))
    assert found.error == pytest.approx(np.sqrt((1 + 9) / (16 + 9)), abs=1e-6)
    assert found.correlation == pytest.approx(2.8125 / np.sqrt(3.1875 * 4.6875), abs=1e-6)
    assert (found.active_spikes, found.sparsity, found.under_activated) == (1, 0.75, 0.5)
    assert sorted(zip(found.ann.tolist(), found.snn.tolist(), strict=True)) == [(0, 0), (0, 0), (3, 0), (4, 5)]


def test_figures_of_a_layer_with_scales_of_channels_are_in_the_units_of_the_model():
    """The second channel is 100 times as weak in the model: what is wrong in it hardly counts."""
    counts = [[[1, 1], [0, 1]], [[0, 0], [0, 0]], [[1, 1], [0, 1]], [[0, 0], [0, 0]]]
    found = measured(RELU, counts, [[4, 1], [3, 1]], factors_c=np.array([1, 0.01]))
    off = np.array([5 - 4, 0.05 - 0.01, 0 - 3, 0.05 - 0.01])
    there = np.array([4, 0.01, 3, 0.01])
    assert found.error == pytest.approx(np.sqrt(off @ off / (there @ there)), abs=1e-6)
    assert found.correlation == pytest.approx(np.corrcoef(there, there + off)[0, 1], abs=1e-6)
    assert found.under_activated == 0.5, "the second channel is not active beside the first"


def test_the_filtered_rate_is_what_the_next_layer_receives():
    # tau = dt / ln 2 halves it at each step: 0, 5, 2.5, 6.25 at the steps' beginnings
    found = measured(RELU, TWO_SPIKES, [[4, 0], [3, 0]], synapse=0.001 / log(2))
    assert found.snn.max() == pytest.approx(6.25)


def test_a_chunk_of_several_steps_is_spread_over_them():
    layer = NeuronLayer("layer", (1,), None, RELU, 100.0, 0.001 / log(2), None)
    meter = LayerMeter(layer, 4, 0.001, images=1)
    meter.begin(1, np.ones((1, 1), np.float32))
    meter.add(LayerActivity(np.full((1, 1), 4, np.float32), SpikeEvents.concatenate([])), 4)
    meter.end()
    assert meter.result().snn.tolist() == [10 * (0.5 + 0.25 + 0.125)]


@pytest.mark.parametrize(
    ("neuron", "spikes", "saturated"),
    [(nengo.LIF(), 10, 1), (nengo.LIF(), 9, 0), (RELU, 20, 0), (RELU, 21, 1), (nengo.RectifiedLinear(), 21, 0)],
)
def test_saturated_is_at_the_refractory_limit_or_beyond_a_spike_a_step(neuron, spikes, saturated):
    # 20 ms: a LIF with tau_ref of 2 ms fires at most 10 times, and 9 are 90 % of that
    counts = np.zeros((20, 1, 1))
    counts[0] = spikes
    assert measured(neuron, counts, [[1.0]]).saturated == saturated


@pytest.mark.parametrize(
    ("levels", "step"),
    [
        ([0, 5, 9.5, 10.5, 10, 10, 10, 10], 3),
        ([10, 5, 10, 10], 3),
        ([10, 10, 5, 10], None),
        ([1, 2, 3, 4], None),
        ([0, 0, 0, 0], None),
        ([7], 1),
    ],
)
def test_a_layer_has_settled_where_its_output_stays(levels, step):
    assert settling_step(levels) == step


def test_a_loss_is_weighed_against_chance():
    # 10 of 20 images differ, 9 of them lost: (10 + 1) / 2^10
    before, after = np.ones(20, bool), np.ones(20, bool)
    after[:9] = before[9] = False
    assert loss_p_value(before, after) == 11 / 1024
    assert loss_p_value(after, before) == 1023 / 1024
    assert loss_p_value(before, before) == 1


# ---------------------------------------------------------------------- hybrids


def network(neuron=None, synapse=0.005):
    start_afresh(0)
    model = Mlp(units=[12, 8]).build(SPEC)
    converter = NengoDLConverter(
        neuron=neuron or nengo.SpikingRectifiedLinear(), scale_firing_rates=50.0, synapse=synapse
    )
    return converter.convert(model, 0), model


DT = 0.001
IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, *SPEC.input_shape)).astype(np.float32)


def outputs(net, kind, n_steps=20):
    with kind(n_steps=n_steps, batch_size=3, precision="float64").open(net) as simulator:
        return np.concatenate([c.outputs_btc for c in simulator.run(Stimulus(IMAGES, range(3), ConstantEncoder()))], 1)


@pytest.mark.parametrize(
    "neuron",
    [nengo.LIF(), nengo.RegularSpiking(nengo.LIFRate()), IntegrateAndFire(), IntegrateAndFire(max_spikes=1)],
    ids=["LIF", "regular", "integrate and fire", "at most one spike"],
)
def test_every_simulator_runs_the_same_hybrid(neuron):
    net, _ = network(neuron)

    def parts():
        return [e.neuron_type for e in net.network.all_ensembles] + [c.synapse for c in net.network.all_connections]

    before = parts()
    with with_rates(net, ["dense_1"], DT) as hybrid:
        assert [layer.spiking for layer in hybrid.layers] == [True, False]
        assert parts() != before
        found, expected = outputs(hybrid, ClockDrivenSimulator), outputs(hybrid, NengoDLSimulator)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert not np.allclose(expected, outputs(net, EventDrivenSimulator))
    assert parts() == before, "the network is as it was"


@pytest.mark.parametrize("most", [None, 1])
def test_behind_spikes_of_signed_neurons_the_mean_current_is_rectified(most):
    """By hand: a current whose sign changes with the spikes is none of the layer's doing, nor of the one before."""
    net, model = network(IntegrateAndFire(max_spikes=most), synapse=None)
    with ClockDrivenSimulator(n_steps=20, precision="float64").open(net) as simulator:
        (chunk,) = simulator.run(Stimulus(IMAGES, range(3), ConstantEncoder()))
    first, second = net.layers
    (kernel, bias), (into, offset) = (layer.get_weights() for layer in model.layers[-2:])
    sent = chunk.layers["dense"].counts_bn * first.spike_unit(DT) / 20
    highest = np.inf if most is None else most / DT / second.scale_firing_rates
    expected = np.clip(sent @ kernel + bias, 0, highest) @ into + offset
    with with_rates(net, ["dense_1"], DT) as hybrid:
        found = outputs(hybrid, ClockDrivenSimulator)
    np.testing.assert_allclose(found.mean(axis=1), expected, atol=1e-6)


def test_rate_neurons_without_filters_are_the_ann():
    net, model = network()
    with with_rates(net, ["dense", "dense_1"], DT, filters=False) as plain:
        for kind in (ClockDrivenSimulator, NengoDLSimulator):
            np.testing.assert_allclose(outputs(plain, kind, 1)[:, 0], model.predict_on_batch(IMAGES), atol=1e-5)
    assert any(connection.synapse is not None for connection in net.network.all_connections)


def test_rate_versions_have_the_mean_output():
    assert rate_version(nengo.SpikingRectifiedLinear(amplitude=0.1), 0.001) == nengo.RectifiedLinear(amplitude=0.1)
    assert rate_version(nengo.LIF(tau_rc=0.03, amplitude=2), 0.001) == nengo.LIFRate(tau_rc=0.03, amplitude=2)
    assert rate_version(nengo.PoissonSpiking(nengo.LIFRate(amplitude=2), amplitude=3), 0.001) == nengo.LIFRate(
        amplitude=6
    )
    assert rate_version(IntegrateAndFire(amplitude=2), 0.001) == MeanRectifiedLinear(amplitude=2)
    assert rate_version(IntegrateAndFire(max_spikes=3), 0.001) == MeanRectifiedLinear(3000.0)
    assert rate_version(nengo.AdaptiveLIF(), 0.001) is None


# ---------------------------------------------------------------------- planted faults


def residual(spec, filters: int = 8, blocks: int = 2):
    """A residual network with batch normalisation."""
    from tf_keras import Model, layers

    def convolution(name, x):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(x)
        return layers.BatchNormalization(name=f"{name}_norm")(x)

    image = layers.Input(spec.input_shape)
    x = layers.ReLU(name="stem_relu")(convolution("stem", image))
    for i in range(blocks):
        inner = layers.ReLU(name=f"relu_{i}a")(convolution(f"conv_{i}a", x))
        x = layers.ReLU(name=f"relu_{i}b")(layers.Add(name=f"add_{i}")([x, convolution(f"conv_{i}b", inner)]))
    return Model(image, layers.Dense(spec.n_classes, name="logits")(layers.GlobalAveragePooling2D(name="mean")(x)))


def pooled(spec):
    """A network whose maxima over half of the image averages do not replace."""
    from tf_keras import Sequential, layers

    convolution = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")
    head = [
        layers.MaxPooling2D(4, name="max"),
        layers.Flatten(name="flat"),
        layers.Dense(spec.n_classes, name="logits"),
    ]
    return Sequential([layers.Input(spec.input_shape), convolution, *head])


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """Run a network as the command line does, trained the first time and then no more."""
    folder = tmp_path_factory.mktemp("runs")
    networks = {
        "mlp": ["model=mlp", "model.units=[64, 32]"],
        "cnn": ["model=cnn2d", "model.filters=[8, 16]", "model.dense=32"],
        "pooled": ["~model", "+model={_target_: test_diagnosis.pooled}", "conversion.max_pooling=average"],
        "residual": ["~model", "+model={_target_: test_diagnosis.residual}"],
    }

    def go(network, *overrides, trained=True, logged=False, name="last"):
        checkpoint = folder / network / "checkpoint"
        if trained and not checkpoint.exists():
            go(network, "diagnosis.images=0", f"paths.output_dir={folder / network}", trained=False, logged=True)
        training = ["training=pretrained", f"training.checkpoint={checkpoint}"] if trained else ["training.epochs=8"]
        fixed = [
            f"data.data_dir={data_dir}",
            "data.max_test_images=200",
            "data.validation_share=0",
            "callbacks=none",
            "logger=csv",
        ]
        shutil.rmtree(folder / name, ignore_errors=True)
        fixed += [f"paths.output_dir={folder / name}"]
        config = composed(*networks[network], *fixed, *NENGO, *training, *overrides)
        config = config if logged else {**config, "logger": {}}
        check(config, trusted=None)
        return build(config, trusted=None).run()

    go.folder = folder
    return go


NENGO = [
    "neuron=spiking_relu",
    "conversion.scale_firing_rates=100.0",
    "conversion.synapse=0.01",
    "simulator.n_steps=60",
    "simulator.readout=last",
]
"""Settings without a fault, in which faults are planted."""

FAULTS = {
    "one layer's scale is too low": (
        "cnn",
        ["conversion.scale_firing_rates={conv2d: 100.0, conv2d_1: 0.5, dense: 100.0}"],
        "conv2d_1",
        ["conversion.scale_firing_rates={conv2d: 100.0, conv2d_1: "],
    ),
    "all scales are too low": (
        "mlp",
        ["conversion.scale_firing_rates=2.0"],
        "dense",
        ["conversion.scale_firing_rates=", "conversion.synapse=0.04 simulator.n_steps=240"],
    ),
    "the run is too short": ("mlp", ["simulator.n_steps=7"], "dense", ["simulator.n_steps="]),
    "there is no filter": (
        "mlp",
        ["conversion.synapse=null", "conversion.scale_firing_rates=50.0"],
        "dense",
        ["conversion.synapse=0.005"],
    ),
    "there is no filter before the readout": (
        "mlp",
        ["conversion.synapse={dense: 0.01}", "conversion.scale_firing_rates=50.0"],
        "dense_1",
        ["simulator.readout=mean", "conversion.synapse=0.01"],
    ),
    "a filter is too long for the run": (
        "mlp",
        ["conversion.synapse=0.2"],
        "filters",
        ["conversion.synapse=0.005", "simulator.n_steps="],
    ),
    "LIF neurons at their limit": (
        "mlp",
        ["neuron=lif", "conversion.scale_firing_rates=1000.0"],
        "rate neurons",
        ["neuron=integrate_and_fire", "conversion.scale_firing_rates={"],
    ),
    "neurons draw their spikes": (
        "mlp",
        ["neuron=poisson", "conversion.scale_firing_rates=20.0"],
        "dense",
        ["neuron=integrate_and_fire"],
    ),
    "the input is noisy": ("mlp", ["encoder=poisson", "encoder.max_rate_hz=20.0"], "input", ["encoder.max_rate_hz="]),
}


TOO_LOW = "all scales are too low"


@pytest.fixture(scope="module")
def too_low(run):
    """A run with a fault, and with its files."""
    return run(FAULTS[TOO_LOW][0], *FAULTS[TOO_LOW][1], logged=True, name="too_low")


def words_of(diagnosis, beginning):
    """The words of the suggestion that begins so, as a shell hands them on."""
    return next(
        words
        for words in (shlex.split(suggestion.override) for suggestion in diagnosis.suggestions)
        if " ".join(words).startswith(beginning)
    )


_SHORT = (TOO_LOW, "there is no filter")


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [name if name in _SHORT else pytest.param(name, marks=pytest.mark.long) for name in FAULTS],
)
def test_a_planted_fault_is_found_and_what_is_suggested_mends_it(run, too_low, fault):
    network, overrides, source, cures = FAULTS[fault]
    before = too_low if fault == TOO_LOW else run(network, *overrides)
    assert before.diagnosis.first_bad.source == source
    for beginning in cures:
        after = run(network, *overrides, "diagnosis.images=0", *words_of(before.diagnosis, beginning))
        assert after.diagnosis is None
        assert after.metrics["snn/test_accuracy"] > before.metrics["snn/test_accuracy"] + 0.05, beginning


TOGETHER = {
    "the defaults of NengoDL's converter, ten steps": (
        "mlp",
        ["conversion.scale_firing_rates=1.0", "conversion.synapse=null", "simulator.n_steps=10"],
    ),
    "too few spikes, and filters that do not settle": (
        "residual",
        ["conversion.scale_firing_rates=5.0", "conversion.synapse=0.01", "simulator.n_steps=30"],
    ),
    "the same with a scale for each layer": (
        "cnn",
        [
            "conversion.scale_firing_rates={conv*: 2.0, dense: 1.0}",
            "conversion.synapse={*: 0.02}",
            "simulator.n_steps=20",
        ],
    ),
    "LIF neurons with a gain of one": (
        "mlp",
        ["neuron=lif", "conversion.scale_firing_rates=1.0", "conversion.synapse=null", "simulator.n_steps=10"],
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("faults", TOGETHER)
def test_several_faults_at_once_are_mended_by_several_changes_at_once(run, faults):
    network, overrides = TOGETHER[faults]
    before = run(network, *overrides)
    diagnosis = before.diagnosis
    assert diagnosis.accuracy < diagnosis.ann_accuracy - 0.3
    first = diagnosis.suggestions[0]
    assert len({word.partition("=")[0] for word in shlex.split(first.override)}) > 1
    reached = []
    for suggestion in dict.fromkeys((first, diagnosis.suggestions[-1])):
        words = shlex.split(suggestion.override)
        after = run(network, *overrides, "diagnosis.images=0", "simulator.max_images=100", *words)
        (told,) = re.findall(r"-> (\d+\.\d) % of 100 images", suggestion.expected)
        reached.append(after.metrics["snn/test_accuracy"])
        assert 100 * reached[-1] == pytest.approx(float(told), abs=1.01), "it is what was tried"
    assert reached[0] > diagnosis.ann_accuracy - 0.08
    tried = diagnosis.tried
    assert len(diagnosis.suggestions) <= tried.helped <= tried.settings <= 32 and not tried.cut
    assert 0 < tried.seconds < before.metrics["diagnosis/seconds"]
    assert before.metrics["diagnosis/settings_tried"] == tried.settings
    assert f"tried             {tried.settings} settings in " in closing_table(before)


@pytest.mark.long
def test_where_nothing_helps_it_says_what_was_measured_and_tried(run):
    result = run("pooled", logged=True)
    diagnosis = result.diagnosis
    assert diagnosis.first_bad.source == "rate neurons" and not diagnosis.suggestions
    assert "rate neurons without filters and noise lose it already" in diagnosis.measured
    best, tried = diagnosis.tried.best_right, diagnosis.tried
    assert tried.helped == 0 < tried.settings <= 32
    table = " ".join(closing_table(result).split())
    assert f"none helps; the best has {best} of 100 images right {tried.best_override}".replace(
        '"', ""
    ) in table.replace('"', "")
    assert diagnosis.measured in table
    written = json.loads((run.folder / "last" / "diagnosis" / "diagnosis.json").read_text())
    assert written["measured"] == diagnosis.measured and written["tried"]["best_right"] == best
    words = shlex.split(tried.best_override)
    after = run("pooled", "diagnosis.images=0", "simulator.max_images=100", *words)
    assert 100 * after.metrics["snn/test_accuracy"] == pytest.approx(best, abs=1.01)


@pytest.mark.slow
def test_a_search_that_takes_too_long_is_ended_and_says_so(run, monkeypatch):
    monkeypatch.setattr("snnpipe.diagnosis.search._SECONDS", 1e-9)
    monkeypatch.setattr("snnpipe.diagnosis.search._TIMES", 1e-9)
    result = run("mlp", "conversion.scale_firing_rates=2.0")
    assert result.diagnosis.tried.cut and result.diagnosis.tried.settings == 0
    assert "ended for its time" in closing_table(result)


@pytest.mark.long
@pytest.mark.parametrize(
    ("overrides", "cure"),
    [
        (["conversion.scale_firing_rates=10.0"], "model.logits_initializer=zeros"),
        (["neuron=lif", "conversion.scale_firing_rates=20.0"], "training=nengo_dl neuron@training.neuron=lif"),
    ],
)
def test_what_would_need_another_training_is_suggested_where_the_run_trains(run, overrides, cure):
    before = run("mlp", *overrides, trained=False)
    assert not any(cure in s.override for s in run("mlp", *overrides).diagnosis.suggestions), "it does not train"
    (suggestion,) = [s for s in before.diagnosis.suggestions if s.override.startswith(cure)]
    assert suggestion.expected == "not tried: it needs another training"
    after = run("mlp", *overrides, "diagnosis.images=0", *shlex.split(suggestion.override), trained=False)
    assert after.metrics["snn/test_accuracy"] > before.metrics["snn/test_accuracy"] + 0.05


# ---------------------------------------------------------------------- in a run


def test_a_run_without_a_fault_says_so_and_its_losses_add_up(run):
    result = run("mlp", "simulator.max_images=80", "simulator.batch_size=30")
    diagnosis = result.diagnosis
    assert diagnosis.images == 80
    assert diagnosis.accuracy == result.metrics["snn/test_accuracy"]
    drop = 100 * result.metrics["snn/accuracy_drop"]
    assert sum(loss.points for loss in diagnosis.losses) == pytest.approx(drop, abs=1e-9)
    assert [loss.source for loss in diagnosis.losses] == ["rate neurons", "filters", "dense", "dense_1"]
    assert diagnosis.first_bad is None and not diagnosis.suggestions
    assert "none: no layer loses more than sampling noise" in closing_table(result)
    for layer in diagnosis.layers:
        assert layer.correlation > 0.95 and layer.error < 0.3
        assert 0 < len(layer.ann) == len(layer.snn) <= 1000
        assert result.metrics[f"diagnosis/error/{layer.name}"] == layer.error
        assert layer.rate_hz == pytest.approx(result.metrics[f"rate_hz/{layer.name}"])


@pytest.mark.slow
def test_files_and_closing_table_of_a_run_with_a_fault(run, too_low):
    result = too_low
    folder = run.folder / "too_low" / "diagnosis"
    with (folder / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == ["(rate neurons)", "(filters)", "dense", "dense_1"]
    assert float(rows[2]["points_lost"]) == result.metrics["diagnosis/points_lost/dense"] > 10
    written = json.loads((folder / "diagnosis.json").read_text())
    assert written["first_bad"] == "dense"
    assert [s["override"] for s in written["suggestions"]] == [s.override for s in result.diagnosis.suggestions]
    table = closing_table(result)
    assert "  first bad layer   dense: +" in table
    assert max(map(len, table.splitlines())) <= WIDTH


def test_a_long_override_is_cut_between_its_words(too_low):
    names = [f"convolution_of_block_{i}" for i in range(6)]
    override = '"conversion.scale_firing_rates={' + ", ".join(f"{name}: 100.0" for name in names) + '}"'
    losses = tuple(Loss(name, True, 0.5, 10.0, 0.001) for name in names)
    diagnosis = Diagnosis(100, 0.9, 0.5, losses, (), losses[0], (Suggestion(override, "", "x"),), ("a note",), 1.0)
    table = closing_table(RunResult(too_low.metrics, [], [], diagnosis=diagnosis, sample_word="image"))
    assert max(map(len, table.splitlines())) <= WIDTH
    assert "a note" in table and override in " ".join(table.split())
    assert "(100 images)" in table
    assert all(f"{name} +10.0" in table for name in names), "no figure is parted from its layer"

    rows = [
        line.strip("| ").split(" | ") for line in description(replace(too_low, diagnosis=diagnosis)).splitlines()[2:]
    ]
    assert all(len(row) == 2 and row[0] for row in rows), "every row has its label"
    assert ["try", f"`{override}`; x"] in rows


@pytest.mark.slow
@pytest.mark.parametrize("readable", [True, False])
def test_a_network_written_in_nengo_is_diagnosed(digits, readable):
    data = digits()
    start_afresh(0)
    model = LifCnn(filters=[2]).build(data.spec)
    if not readable:
        with model.network:
            nengo.Connection(nengo.Node([0.0]), nengo.Ensemble(2, 1, label="aside"), synapse=0.01)
    net = IdentityConverter().convert(model, 0)
    assert (net.keras_model is not None) == readable
    simulator = AutoSimulator(n_steps=10, batch_size=10)
    parts = {"conversion": IdentityConverter(), "simulator": simulator, "encoder": ConstantEncoder()}
    found = diagnose(SpikingPass(data, simulator, ConstantEncoder(), 0, net), model, parts, 10)
    ann = np.argmax(model.predict_on_batch(next(data.test_dataset(10).as_numpy_iterator())[0]), axis=-1)
    labels = next(data.test_dataset(10).as_numpy_iterator())[1]
    assert found.ann_accuracy == np.mean(ann == labels)
    assert found.losses[0].points == 0, "its ANN is its own rates"
    assert sum(loss.points for loss in found.losses) == pytest.approx(100 * (found.ann_accuracy - found.accuracy))
    assert all(layer.error is not None for layer in found.layers if layer.name != "aside")


def test_neurons_without_a_rate_version_are_named(digits):
    data = digits()
    start_afresh(0)
    model = Mlp(units=[8]).build(data.spec)
    converter = NengoDLConverter(neuron=nengo.AdaptiveLIF(), scale_firing_rates=50.0, synapse=None)
    net = converter.convert(model, 0)
    simulator = NengoDLSimulator(n_steps=5, batch_size=10)
    parts = {"conversion": converter, "simulator": simulator, "encoder": ConstantEncoder()}
    found = diagnose(SpikingPass(data, simulator, ConstantEncoder(), 0, net), model, parts, 10)
    assert found.losses == () and found.first_bad is None
    assert found.notes == ("layer 'dense': AdaptiveLIF neurons have no rate version here to compare their spikes with",)
    assert found.layers[0].error > 0
