"""Networks in files of NIR: round trips to the bit, graphs of others, what NIR cannot say, files that are no NIR."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import h5py
import nengo
import nir
import numpy as np
import pytest
import tf_keras as keras
from hypothesis import HealthCheck, Phase, given, settings
from networks import Drawn, networks
from tf_keras import layers

import snnpipe
from snnpipe import ClockDrivenSimulator, IntegrateAndFire, NengoDLConverter, PoissonEncoder, SpikingModel
from snnpipe.base.errors import BundleError, ConfigError, UserError
from snnpipe.bundle.converted import Converted
from snnpipe.frameworks.compat import start_afresh
from snnpipe.nir_files.layout import same_pads, symmetric
from snnpipe.values.simulation import SimulationSettings

pytestmark = pytest.mark.filterwarnings("ignore:.*NIR has no words for")

SAYABLE = IntegrateAndFire(max_spikes=1, initial_voltage=0)


def spiking(model, converter=None, encoder=None, **simulation):
    """A model with drawn weights, converted, and samples for it."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        drawn = [rng.normal(0.1, 0.4, w.shape) for w in layer.get_weights()]
        if isinstance(layer, layers.BatchNormalization):
            drawn[-1] = rng.uniform(0.5, 2, drawn[-1].shape)
        layer.set_weights(drawn)
    samples = rng.uniform(-1, 1, (10, *model.input_shape[1:])).astype(np.float32)
    converter = converter or NengoDLConverter()
    if converter.needs_calibration:
        converter = converter.calibrated(converter.levels(model, samples), 0.001, channels=True)
    own = Converted(
        name="drawn",
        network=converter.convert(model, 3),
        settings=SimulationSettings(**{"n_steps": 6, **simulation}),
        encoder=encoder or snnpipe.ConstantEncoder(),
        seed=5,
        input_shape=model.input_shape[1:],
        class_names=tuple(map(str, range(model.output_shape[-1]))),
        plan=converter.explain(model),
    )
    return SpikingModel(own), samples


def stacked(shape, *middle, last=3):
    start_afresh(0)
    x = inputs = layers.Input(shape, name="sample")
    for layer in middle:
        x = layer(x)
    return keras.Model(inputs, layers.Dense(last, name="logits")(x))


def dense(**settings):
    return spiking(stacked((4,), layers.Dense(6, activation="relu", name="hidden")), **settings)


def convolutions():
    return stacked(
        (9, 8, 2),
        layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="stem"),
        layers.Conv2D(4, 3, padding="same", groups=2, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(name="grouped"),
        layers.ZeroPadding2D(((1, 1), (0, 2))),
        layers.Conv2D(4, (3, 1), dilation_rate=2, activation="relu", name="dilated"),
        layers.AveragePooling2D(2, (1, 2)),
        layers.Flatten(),
        layers.Dense(5, activation="relu", name="dense"),
    )


def residual():
    start_afresh(0)
    x = inputs = layers.Input((6, 6, 2))
    x = first = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(x)
    x = layers.Conv2D(4, 3, padding="same")(layers.Conv2D(4, 3, padding="same", activation="relu", name="second")(x))
    x = third = layers.ReLU(name="third")(layers.Add()([x, first]))
    x = layers.ReLU(6.0, name="fourth")(layers.Average()([layers.Conv2D(4, 1)(x), third, third]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3)(x))


def series():
    return stacked(
        (12, 2),
        layers.Conv1D(4, 3, strides=2, padding="same", activation="relu", name="a"),
        layers.Conv1D(3, 3, padding="causal", dilation_rate=2, activation="relu", name="b"),
        layers.Flatten(),
        layers.Dense(4, activation="relu", name="c"),
    )


def spiking_output():
    start_afresh(0)
    inputs = layers.Input((4, 4, 2))
    x = layers.Dense(5)(layers.ReLU(name="input")(layers.Flatten()(inputs)))
    return keras.Model(inputs, layers.ReLU(name="output")(x))


def require_same(ours, theirs, samples, precision="float32"):
    """Require the same outputs and spikes from two networks, to the bit."""
    assert theirs.layers == ours.layers
    one, other = (own.with_settings(precision=precision).run(samples, own.layers) for own in (ours, theirs))
    assert np.array_equal(one.outputs, other.outputs)
    for name in ours.layers:
        assert one.spikes[name].sum() > 0, name
        assert np.array_equal(one.spikes[name], other.spikes[name]), name


def require_same_weights(ours, theirs):
    assert theirs.layers == ours.layers
    for one, other in zip(*(own.network.keras_model.get_weights() for own in (ours, theirs)), strict=True):
        assert np.array_equal(one, other)


# ---------------------------------------------------------------------- round trips


@pytest.mark.parametrize("make", [convolutions, residual, spiking_output])
def test_a_network_that_is_exported_and_imported_gives_the_same_to_the_bit(make, tmp_path):
    model, samples = spiking(make())
    paths = [model.to_nir(tmp_path / f"{portable}.nir", portable=portable) for portable in (False, True)]
    graphs = [nir.read(path) for path in paths]  # with the type check of NIR itself
    kinds = [{type(node).__name__ for node in graph.nodes.values()} for graph in graphs]
    assert make is spiking_output or "AvgPool2d" in kinds[0]
    assert not kinds[1] & {"AvgPool2d", "SumPool2d", "Scale"}
    again, portable = map(snnpipe.from_nir, paths)
    assert again.n_steps == 6 and again.class_names == model.class_names
    require_same(model, again, samples)
    require_same_weights(again, portable)
    require_same_weights(again, snnpipe.from_nir(again.to_nir(tmp_path / "again.nir")))


def test_an_imported_network_has_the_figures_of_the_exported_one(tmp_path):
    """Zeros in the kernels, in place of groups and of paddings on one side, count no SynOps."""
    offsets = {"stem": [0.1, 0.2, 0.0, -0.1]}
    model, samples = spiking(convolutions(), NengoDLConverter(bias_offsets=offsets, scale_firing_rates=300))
    labels = model.predict(samples).classes
    again = snnpipe.from_nir(model.to_nir(tmp_path / "net.nir"))
    ours, theirs = (own.evaluate(samples, labels).metrics for own in (model, again))
    assert ours["snn/synops_per_image"] > 0 and ours == pytest.approx(theirs, rel=1e-6)


def test_the_weights_are_the_very_ones_that_were_exported(tmp_path):
    model, samples = dense()
    again = snnpipe.from_nir(model.to_nir(tmp_path / "net.nir", dt=0.001))
    require_same_weights(model, again)
    require_same(model, again, samples, "float64")
    for ours, theirs in zip(model.network.layers, again.network.layers, strict=True):
        assert ours.scale_firing_rates == theirs.scale_firing_rates
        assert ours.neuron_type.amplitude == theirs.neuron_type.amplitude
    assert model.network.rectifiers == again.network.rectifiers


def test_an_imported_network_can_be_saved_and_evaluated(tmp_path):
    model, samples = dense()
    again = snnpipe.from_nir(model.to_nir(tmp_path / "net.nir"), n_steps=9, readout="last")
    labels = again.predict(samples).classes
    assert again.n_steps == 9 and again.evaluate(samples, labels).metrics["snn/test_accuracy"] == 1
    assert snnpipe.load(again.save(tmp_path / "net.snn", samples)).replay.exact


CONVERSIONS = {
    "one spike a step": {"neuron": SAYABLE},
    "limits": {"neuron": IntegrateAndFire(max_spikes=3, min_voltage=-0.5)},
    "drawn voltages": {
        "neuron": IntegrateAndFire(initial_voltage=None),
        "scale_firing_rates": {"*": 300, "hidden": 500},
    },
    "an amplitude": {"neuron": IntegrateAndFire(amplitude=0.5), "scale_firing_rates": 300},
    "a filter": {"synapse": 0.002},
    "a delay": {"synapse": nengo.LinearFilter([1], [1, 0, 0], analog=False)},
    "leaky": {"neuron": nengo.LIF(tau_rc=0.005, tau_ref=0), "scale_firing_rates": 20},
    "leaky from 0": {"neuron": nengo.LIF(tau_ref=0, min_voltage=-1e30), "initial_voltage": 0, "scale_firing_rates": 20},
}


@pytest.mark.parametrize(("kind", "dt"), list(zip(CONVERSIONS, (1.0, 0.001) * 4, strict=True)))
def test_every_kind_of_neurons_is_the_same_to_the_bit(kind, dt, tmp_path):
    middle = [layers.Dense(8, activation="relu", name=name) for name in ("hidden", "second")]
    model, samples = spiking(stacked((4,), *middle), NengoDLConverter(**CONVERSIONS[kind]), n_steps=20)
    again = snnpipe.from_nir(model.to_nir(tmp_path / "net.nir", dt=dt))
    require_same(model, again, samples)


def test_series_are_exported_if_nothing_pools_them(tmp_path):
    model, samples = spiking(series())
    require_same(model, snnpipe.from_nir(model.to_nir(tmp_path / "net.nir")), samples)
    pooled = stacked((12, 2), layers.AveragePooling1D(2), layers.Conv1D(4, 3, activation="relu"), layers.Flatten())
    model, samples = spiking(pooled)
    with pytest.raises(
        BundleError, match=r"\(AveragePooling1D\): NIR has no pooling of one dimension: .*portable=True"
    ):
        model.to_nir(tmp_path / "pooled.nir")
    again = snnpipe.from_nir(model.to_nir(tmp_path / "pooled.nir", portable=True))
    require_same(model, again, samples)


def test_filtered_spikes_of_an_output_have_their_unit(tmp_path):
    model, samples = spiking(spiking_output(), NengoDLConverter(synapse=0.002, scale_firing_rates=300))
    require_same(model, snnpipe.from_nir(model.to_nir(tmp_path / "net.nir")), samples)


def test_an_encoder_and_the_scaling_of_pixels_are_kept(tmp_path):
    model, samples = dense(encoder=PoissonEncoder(max_rate_hz=300.0), readout="last")
    again = snnpipe.from_nir(model.to_nir(tmp_path / "net.nir"))
    assert np.array_equal(model.run(abs(samples)).outputs, again.run(abs(samples)).outputs)


@pytest.mark.parametrize("seed", range(8))
def test_a_window_with_any_padding_computes_the_same_with_symmetric_padding(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        sizes, strides, dilation = rng.integers(5, 12, 2), rng.integers(1, 4, 2), rng.integers(1, 3, 2)
        kernel = rng.normal(size=(*rng.integers(1, 4, 2), 1, 1))
        pads = tuple(map(tuple, rng.integers(0, 3, (2, 2)).tolist()))
        if rng.random() < 0.5:
            pads = same_pads(sizes, kernel.shape[:2], strides, dilation)
        image = rng.normal(size=sizes)
        expected = _convolved(np.pad(image, pads), kernel[..., 0, 0], strides, dilation)
        try:
            window = symmetric(kernel, pads, dilation, sizes, strides)
        except ValueError:
            assert (kernel.shape[0] - kernel.shape[1]) % 2 or pads != tuple((a, a) for a, _ in pads)
            continue
        padded = np.pad(image, [(own, own) for own in window.padding])
        assert np.allclose(_convolved(padded, window.kernel[..., 0, 0], strides, window.dilation), expected)
        assert window.kernel.shape[0] == window.kernel.shape[1]


def _convolved(image, kernel, strides, dilation):
    """The plain sum over cells, for each place of the window."""
    extent = [(cells - 1) * apart + 1 for cells, apart in zip(kernel.shape, dilation, strict=True)]
    places = [range(0, n - long + 1, stride) for n, long, stride in zip(image.shape, extent, strides, strict=True)]
    cut = [slice(None, None, apart) for apart in dilation]
    return np.array(
        [
            [np.sum(image[i : i + extent[0], j : j + extent[1]][tuple(cut)] * kernel) for j in places[1]]
            for i in places[0]
        ]
    )


@pytest.mark.slow
def test_drawn_networks_have_the_same_spikes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    kinds = IntegrateAndFire(), IntegrateAndFire(max_spikes=1, initial_voltage=None), nengo.LIF(tau_ref=0)
    exported = []

    @settings(
        max_examples=20,
        deadline=None,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(networks())
    def same(drawn: Drawn) -> None:
        neurons = {i: replace(own, type=kinds[i % 3]) for i, own in drawn.neurons.items()}
        network = replace(drawn, max_pooling="average", neurons=neurons).network()
        shape, outputs = (own[1:] for own in (network.keras_model.input_shape, network.keras_model.output_shape))
        own = Converted(
            name="drawn",
            network=network,
            settings=SimulationSettings(n_steps=drawn.n_steps, dt=drawn.dt, precision="float64"),
            encoder=snnpipe.ConstantEncoder(),
            seed=0,
            input_shape=shape,
            class_names=tuple(map(str, range(*outputs))),
            plan=snnpipe.ConversionPlan(()),
        )
        model, samples = SpikingModel(own), np.random.default_rng(0).uniform(-1, 1, (2, *shape)).astype(np.float32)
        for portable in (False, True):
            try:
                path = model.to_nir(folder / "net.nir", portable=portable)
            except BundleError:
                continue
            nir.read(path)
            again = snnpipe.from_nir(path)
            ours, theirs = (network.run(samples, model.layers) for network in (model, again))
            assert all(np.array_equal(ours.spikes[name], theirs.spikes[name]) for name in model.layers)
            assert np.allclose(ours.outputs, theirs.outputs, rtol=1e-6, atol=1e-6)
            exported.append(path)

    same()
    assert len(exported) > 5, len(exported)


# ---------------------------------------------------------------------- what the file says


def test_a_file_has_spikes_of_1_and_thresholds_of_1_and_channels_first(tmp_path):
    model, samples = spiking(stacked((5, 5, 2), layers.Conv2D(3, 2, activation="relu", name="c"), layers.Flatten()))
    graph = nir.read(model.with_settings(n_steps=7).to_nir(tmp_path / "net.nir", dt=0.5))
    neurons = graph.nodes["c"]
    with h5py.File(tmp_path / "net.nir") as file:  # nir before 1.0.6 reads fields that it knows only
        assert set(file["node/nodes/c"]) == {"type", "r", "v_threshold", "metadata"}
    assert graph.nodes["input"].input_type["input"].tolist() == [2, 5, 5]
    assert neurons.r.shape == (3, 4, 4) and np.all(neurons.r == 2) and np.all(neurons.v_threshold == 1)
    assert neurons.metadata["reset"] == "subtract" and neurons.metadata["initial_voltage"] == 0.5
    assert graph.metadata["dt"] == 0.5 and graph.metadata["n_steps"] == 7 and graph.metadata["readout"] == "mean"
    assert graph.nodes["flatten"].start_dim == -3 and graph.nodes["flatten"].end_dim == -1
    # a step by hand, in NIR's layout
    weights, logits = graph.nodes["c_weights"], graph.nodes["logits"]
    x = np.moveaxis(samples[0].astype(np.float64), -1, 0)
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(1, 2))
    current = np.einsum("cijkl,ockl->oij", windows, weights.weight) + weights.bias[:, None, None]
    spikes = np.maximum(np.floor(current + 0.5), 0)
    output = logits.weight @ spikes.ravel() + logits.bias
    assert np.allclose(model.with_settings(precision="float64").run(samples[:1]).outputs[0, 0], output)


def test_a_step_by_hand_of_leaky_neurons_that_begin_anywhere(tmp_path):
    """All voltages of the file are given from the first one on, so that a reader that begins at 0 is right."""
    converter = NengoDLConverter(neuron=nengo.LIF(tau_rc=0.005, tau_ref=0), scale_firing_rates=20)
    model, samples = dense(converter=converter, n_steps=12)
    graph = nir.read(model.to_nir(tmp_path / "net.nir"))
    lif, weights = graph.nodes["hidden"], graph.nodes["hidden_weights"]
    current = weights.weight @ samples[0].astype(np.float64) + weights.bias
    v, total, lowest = np.zeros(6), np.zeros(6), lif.v_leak  # Nengo's lowest voltage is its 0
    for _ in range(12):
        v += (lif.v_leak + lif.r * current - v) * (1 - np.exp(-1 / lif.tau))
        spiked = v > lif.v_threshold
        total += spiked
        v = np.where(spiked, lif.v_reset, np.maximum(v, lowest))
    spikes = model.with_settings(precision="float64").run(samples[:1], "hidden").spikes["hidden"]
    assert total.sum() > 0 and np.array_equal(spikes[0].sum(axis=0).ravel(), total)


def test_what_nir_has_no_words_for_is_a_warning(tmp_path, recwarn):
    model, _ = dense()
    with pytest.warns(UserWarning, match=r"several spikes in a step, the voltage before the first step of 0.5: only"):
        model.to_nir(tmp_path / "net.nir")
    recwarn.clear()
    dense(converter=NengoDLConverter(neuron=SAYABLE))[0].to_nir(tmp_path / "net.nir")
    assert not [own for own in recwarn if "no words" in str(own.message)]


def _middle(*middle):
    return lambda: spiking(stacked((4, 4, 2), *middle), NengoDLConverter(scale_firing_rates=100))[0]


def _with(**conversion):
    return lambda: dense(converter=NengoDLConverter(**{"scale_firing_rates": 100, **conversion}))[0]


def _concatenated():
    start_afresh(0)
    x = inputs = layers.Input((4,))
    x = layers.Concatenate(name="both")([layers.Dense(3, activation="relu")(x), layers.Dense(2, activation="relu")(x)])
    return spiking(keras.Model(inputs, layers.Dense(3)(x)))[0]


FLAT = layers.Flatten
REFUSED = {
    "rates": (_with(neuron=None), r"layer 'hidden' \(RectifiedLinear\): it sends rates"),
    "other neurons": (
        _with(neuron=nengo.SpikingRectifiedLinear()),
        r"'hidden' \(SpikingRectifiedLinear\): NIR has no node",
    ),
    "a refractory time": (_with(neuron=nengo.LIF()), r"no refractory time: take nengo.LIF\(tau_ref=0\)"),
    "another filter": (_with(synapse=nengo.Alpha(0.01)), r"the synapse Alpha\(tau=0.01\): take a time constant"),
    "maximum": (
        _middle(layers.Conv2D(2, 1, activation="relu"), layers.MaxPooling2D(2, name="pool"), FLAT()),
        r"layer 'pool' \(MaxPooling2D\): NIR has no maximum over time: convert with conversion.max_pooling=average",
    ),
    "leaky": (
        _middle(FLAT(), layers.Dense(3), layers.LeakyReLU(0.1, name="leaky")),
        r"layer 'leaky'.* NIR has no spikes below 0: train the model with ReLU",
    ),
    "a sigmoid": (
        _middle(FLAT(), layers.Dense(3, "sigmoid", name="s"), layers.Dense(3, activation="relu")),
        r"layer 's' \(Dense\): its sigmoid sends rates",
    ),
    "a concatenation": (_concatenated, r"layer 'both' \(Concatenate\): NIR adds the inputs of a node up: take Add\(\)"),
    "a permutation": (
        _middle(layers.Permute((2, 1, 3), name="p"), layers.Conv2D(2, 1, activation="relu"), FLAT()),
        r"layer 'p' \(Permute\)",
    ),
    "an axis": (
        _middle(layers.Conv2D(2, 1, activation="relu"), layers.BatchNormalization(1, name="n"), layers.ReLU(), FLAT()),
        r"layer 'n' \(BatchNormalization\): it scales axis 1, and NIR channels",
    ),
    "a border": (
        _middle(layers.Conv2D(2, 1, activation="relu"), layers.AveragePooling2D(3, padding="same", name="a"), FLAT()),
        r"layer 'a' \(AveragePooling2D\): its windows at the border have fewer cells",
    ),
    "a dense layer on images": (
        _middle(layers.Conv2D(3, 1), layers.ReLU(), layers.ZeroPadding2D(1, name="z"), FLAT()),
        r"layer 'z': NIR has zeros around the input of a convolution only",
    ),
    "a window": (
        _middle(layers.Conv2D(2, (2, 3), activation="relu", name="w"), FLAT()),
        r"layer 'w' \(Conv2D\): its window of 2 x 3 cells",
    ),
    "Nengo": (
        lambda: SpikingModel(_native()),
        "it is written in Nengo, or by hand",
    ),
}


def _native():
    own = dense()[0]._converted
    return replace(own, network=replace(own.network, keras_model=None))


@pytest.mark.parametrize("what", REFUSED)
def test_what_nir_cannot_say_is_refused_by_name(what, tmp_path):
    make, says = REFUSED[what]
    model = make()
    with pytest.raises(BundleError, match=says) as error:
        model.to_nir(tmp_path / "net.nir")
    assert "\n" not in str(error.value) and not (tmp_path / "net.nir").exists()


# ---------------------------------------------------------------------- graphs of others


def by_hand(**changes):
    """A graph that was not made here: pooled sums, flattened, dense, a scale, and thresholds of 2."""
    rng = np.random.default_rng(0)
    nodes = {
        "in": nir.Input(np.array([2, 4, 4])),
        "conv.0": nir.Conv2d((4, 4), rng.normal(0.2, 0.4, (3, 2, 3, 3)), 1, 1, 1, 1, rng.normal(size=3)),
        "if.0": nir.IF(np.full((3, 4, 4), 0.5), np.full((3, 4, 4), 2.0)),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten(np.array([3, 2, 2]), start_dim=0, end_dim=-1),
        "lin": nir.Linear(rng.normal(0.1, 0.4, (5, 12))),
        "scale": nir.Scale(np.full(5, 0.5)),
        "if.1": nir.IF(np.ones(5), np.ones(5)),
        "fc": nir.Affine(rng.normal(size=(3, 5)), rng.normal(size=3)),
        "out": nir.Output(np.array([3])),
    } | changes
    nodes = {name: node for name, node in nodes.items() if node is not None}
    return nodes, list(pairwise(nodes))


def written(path, nodes, edges, metadata=None):
    nir.write(path, nir.NIRGraph(nodes, edges, metadata=metadata or {}, type_check=False))
    return path


def run_by_hand(nodes, sample, n_steps, most=1):
    """The graph's equations with subtraction, for one sample with its channels first."""
    conv, lin, fc = nodes["conv.0"], nodes["lin"], nodes["fc"]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(sample, ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2))
    current = np.einsum("cijkl,ockl->oij", windows, conv.weight) + conv.bias[:, None, None]
    v, u, outputs = np.zeros((3, 4, 4)), np.zeros(5), []
    for _ in range(n_steps):
        v += 0.5 * current
        spikes = np.clip(np.floor(v / 2), 0, most)
        v -= 2 * spikes
        pooled = spikes.reshape(3, 2, 2, 2, 2).sum(axis=(2, 4))
        u += 0.5 * (lin.weight @ pooled.ravel())
        fired = np.clip(np.floor(u), 0, most)
        u -= fired
        outputs.append(fc.weight @ fired + fc.bias)
    return np.array(outputs)


@pytest.mark.parametrize("most", [1, None])
def test_a_graph_that_was_not_made_here_gives_what_its_equations_give(most, tmp_path):
    nodes, edges = by_hand()
    path = written(tmp_path / "hand.nir", nodes, edges)
    neuron = IntegrateAndFire(max_spikes=most, initial_voltage=0)
    model = snnpipe.from_nir(path, dt=1, n_steps=12, neuron=neuron).with_settings(precision="float64")
    samples = np.random.default_rng(2).uniform(0, 1, (4, 4, 4, 2)).astype(np.float32)
    outputs = model.run(samples).outputs
    assert model.name == "hand" and model.layers == ("if.0", "if.1")
    for sample, output in zip(samples, outputs, strict=True):
        expected = run_by_hand(nodes, np.moveaxis(sample.astype(np.float64), -1, 0), 12, most or np.inf)
        assert np.ptp(expected, axis=0).max() > 0
        assert np.allclose(output, expected, atol=1e-4)  # its weights are rounded to float32 here


def test_sums_of_nodes_with_spikes_of_other_sizes(tmp_path):
    """Edges from neurons and weights into one node, which wants another unit than both."""
    weight = np.eye(3)
    nodes = {
        "in": nir.Input(np.array([3])),
        "a": nir.IF(np.ones(3), np.ones(3)),
        "b": nir.Affine(2 * weight, np.zeros(3)),
        "c": nir.IF(np.full(3, 0.25), np.full(3, 4.0)),
        "out": nir.Output(np.array([3])),
    }
    edges = [("in", "a"), ("a", "b"), ("b", "c"), ("a", "c"), ("in", "c"), ("c", "out")]
    neuron = IntegrateAndFire(initial_voltage=0)
    model = snnpipe.from_nir(written(tmp_path / "net.nir", nodes, edges), dt=1, n_steps=40, neuron=neuron)
    samples = np.array([[0.5, 1.0, 0.25]], np.float32)
    assert np.array_equal(model.run(samples, "c").spikes["c"].sum(axis=1).ravel(), np.floor(40 * 4 * samples[0] / 16))


@pytest.mark.parametrize("simulator", [ClockDrivenSimulator(), None])
def test_leaky_neurons_of_others(simulator, tmp_path):
    nodes = {
        "in": nir.Input(np.array([2])),
        "w": nir.Linear(np.array([[1.0, 0.5], [2.0, -1.0], [3.0, 1.0]])),
        "lif": nir.LIF(np.full(3, 5.0), np.full(3, 2.0), np.full(3, -0.5), np.full(3, 1.5), np.full(3, -0.5)),
        "filter": nir.LI(np.full(3, 3.0), np.ones(3), np.zeros(3)),
        "fc": nir.Linear(np.eye(3)),
        "out": nir.Output(np.array([3])),
    }
    edges = list(pairwise(nodes))
    model = snnpipe.from_nir(written(tmp_path / "net.nir", nodes, edges), dt=1, n_steps=30)
    model = SpikingModel(model._converted, simulator=simulator).with_settings(precision="float64")
    sample = np.array([1.0, 0.6])
    result = model.run(sample[None], "lif")
    v, y, spikes, outputs = np.zeros(3), np.zeros(3), [], []
    for _ in range(30):
        v += (-0.5 + 2 * (nodes["w"].weight @ sample) - v) * (1 - np.exp(-1 / 5))
        spikes.append(v > 1.5)
        v[spikes[-1]] = -0.5
        outputs.append(y.copy())
        y += (spikes[-1] - y) * (1 - np.exp(-1 / 3))
    assert np.array_equal(result.spikes["lif"][0], spikes) and np.sum(spikes) > 10
    assert np.allclose(result.outputs[0], outputs, atol=1e-6)


def _edges(*edges):
    return lambda nodes, own: (nodes, [*own, *edges])


def _changed(name, node):
    return lambda nodes, edges: (nodes | {name: node}, edges)


IF5 = np.ones(5)
UNREAD = {
    "no reset": (
        lambda n, e: (n, e),
        {"neuron": None},
        r"node 'if.0' \(IF\): it does not say that it subtracts .*neuron=",
    ),
    "no dt": (lambda n, e: (n, e), {"dt": None}, "its metadata have no dt: give dt"),
    "a circle": (_edges(("if.1", "lin")), {}, "its nodes form a circle"),
    "no such node": (_edges(("if.1", "nobody")), {}, "an edge leads to 'nobody'"),
    "two outputs": (_changed("more", nir.Output(np.array([3]))), {}, "it has 2 nodes of type Output"),
    "alone": (_changed("alone", nir.IF(IF5, IF5)), {}, r"node 'alone' \(IF\): it has no input or no output"),
    "recurrent": (
        _changed("if.1", nir.CubaLIF(IF5, IF5, IF5, IF5, IF5)),
        {},
        r"'if.1' \(CubaLIF\): its filter smooths",
    ),
    "a threshold": (_changed("if.1", nir.Threshold(IF5)), {}, r"'if.1' \(Threshold\): neurons here have a state"),
    "thresholds": (_changed("if.1", nir.IF(IF5, np.arange(1.0, 6))), {}, "its v_threshold differs between neurons"),
    "a voltage": (_changed("if.1", nir.IF(IF5, IF5, -IF5)), {}, r"it resets to v_reset=-1"),
    "a negative threshold": (_changed("if.1", nir.IF(IF5, -IF5)), {}, "a number above 0"),
    "no number": (
        _changed("fc", nir.Affine(np.full((3, 5), np.nan), np.zeros(3))),
        {},
        r"'fc' \(Affine\): its weight has",
    ),
    "a shape": (
        _changed("fc", nir.Affine(np.ones((3, 4)), np.zeros(3))),
        {},
        r"weight has the shape \(3, 4\), and its inp",
    ),
    "a bias": (_changed("fc", nir.Affine(np.ones((3, 5)), np.zeros(2))), {}, r"its bias has the shape \(2,\)"),
    "factors": (_changed("scale", nir.Scale(np.arange(1.0, 6))), {}, r"'scale' \(Scale\): its factors differ"),
    "axes": (_changed("flat", nir.Flatten(np.array([3, 2, 2]), 2, -1)), {}, "it flattens the axes 2 to -1"),
    "a stride": (
        _changed("pool", nir.SumPool2d(np.array([2, 2]), np.array([0, 0]), np.array([0, 0]))),
        {},
        "whole numbers of at least 1",
    ),
    "a huge padding": (
        _changed("conv.0", nir.Conv2d((4, 4), np.ones((3, 2, 3, 3)), 1, (2**30, 1), 1, 1, np.ones(3))),
        {},
        "takes 2 whole numbers|allowed are at most",
    ),
    "a filter of currents": (
        _changed("scale", nir.LI(IF5, IF5, 0 * IF5)),
        {},
        "the only node behind a node of neurons",
    ),
    "part of a step": (_changed("if.1", nir.LIF(IF5, IF5, IF5, 2 * IF5)), {}, "its v_leak is not its v_reset"),
}


@pytest.mark.parametrize("what", UNREAD)
def test_what_is_not_read_is_named(what, tmp_path):
    change, settings, says = UNREAD[what]
    path = written(tmp_path / "net.nir", *change(*by_hand()))
    with pytest.raises(BundleError, match=says) as error:
        snnpipe.from_nir(path, **{"dt": 1, "neuron": SAYABLE, **settings})
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_layers_whose_names_are_the_same_in_a_file_are_refused(tmp_path):
    middle = [layers.Dense(3, activation="relu", name=name) for name in ("a/b", "a_b")]
    with pytest.raises(BundleError, match="two layers would be the node 'a_b': rename one"):
        spiking(stacked((4,), *middle))[0].to_nir(tmp_path / "net.nir")


def test_neurons_are_those_that_a_file_may_have(tmp_path):
    path = written(tmp_path / "net.nir", *by_hand())
    for neuron in (nengo.LIF(), IntegrateAndFire(initial_voltage=None), "integrate_and_fire"):
        with pytest.raises(ConfigError, match=r"neuron: got .*: takes IntegrateAndFire\(max_spikes=1"):
            snnpipe.from_nir(path, dt=1, neuron=neuron)
    with pytest.raises(ConfigError, match="the file has the highest rates"):
        snnpipe.from_nir(path, dt=1, neuron=IntegrateAndFire(amplitude=2))


# ---------------------------------------------------------------------- files


def test_files_that_are_no_nir_have_clear_errors(tmp_path):
    path = tmp_path / "net.nir"
    with pytest.raises(BundleError, match=r"net.nir is no file of NIR"):
        snnpipe.from_nir(path)
    path.write_bytes(b"PK not HDF5")
    with pytest.raises(BundleError, match=r"net.nir is no file of NIR"):
        snnpipe.from_nir(path)
    with h5py.File(path, "w") as file:
        file["weights"] = np.ones(3)
    with pytest.raises(BundleError, match=r"net.nir cannot be read as a file of NIR"):
        snnpipe.from_nir(path)
    nir.write(path, nir.IF(np.ones(3), np.ones(3)))
    with pytest.raises(BundleError, match=r"net.nir cannot be read as a file of NIR"):
        snnpipe.from_nir(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("node/huge", (2**20, 2**20), chunks=True)
    with pytest.raises(BundleError, match=r"huge: it has .* values, and .* are allowed"):
        snnpipe.from_nir(path)


def test_leaky_neurons_of_a_version_in_which_they_subtract_are_refused(tmp_path):
    nodes, edges = by_hand(**{"if.1": nir.LIF(IF5, IF5, 0 * IF5, IF5)})
    path = written(tmp_path / "net.nir", nodes, edges)
    with h5py.File(path, "r+") as file:
        del file["node/nodes/if.1/v_reset"]
    with pytest.raises(BundleError, match=r"net.nir: node 'if.1' \(LIF\): it is of nir before 1.0.6"):
        snnpipe.from_nir(path, dt=1, neuron=SAYABLE)
    nir.write(path, nir.read(path, type_check=False))
    assert snnpipe.from_nir(path, dt=1, neuron=SAYABLE).layers == ("if.0", "if.1")


DAMAGED = {
    "no JSON": ("{", "metadata are damaged"),
    "no mapping": ("[]", "are no mapping"),
    "no settings": ("{}", "metadata are damaged"),
    "too few channels": (None, "hidden: a finite number for each channel"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_metadata_are_refused(how, tmp_path):
    text, says = DAMAGED[how]
    graph = nir.read(dense()[0].to_nir(tmp_path / "net.nir"))
    graph.metadata["snnpipe"] = text or json.dumps(
        json.loads(graph.metadata["snnpipe"]) | {"bias_offsets": {"hidden": [0.5]}}
    )
    nir.write(tmp_path / "net.nir", graph)
    with pytest.raises(BundleError, match=says):
        snnpipe.from_nir(tmp_path / "net.nir")


@pytest.mark.parametrize(("key", "value"), [("scale_firing_rates", -1), ("amplitude", "much"), ("max_value", [])])
def test_damaged_metadata_of_neurons_are_refused(key, value, tmp_path):
    graph = nir.read(dense()[0].to_nir(tmp_path / "net.nir"))
    own = json.loads(graph.nodes["hidden"].metadata["snnpipe"])
    graph.nodes["hidden"].metadata["snnpipe"] = json.dumps(own | {key: value})
    nir.write(tmp_path / "net.nir", graph)
    with pytest.raises(BundleError, match=r"node 'hidden' \(IF\)"):
        snnpipe.from_nir(tmp_path / "net.nir")


def test_a_step_must_be_above_0(tmp_path):
    model, _ = dense()
    with pytest.raises(UserError, match="dt: got 0"):
        model.to_nir(tmp_path / "net.nir", dt=0)


def test_without_the_package_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    model, _ = dense()
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(UserError, match=r"pip install 'snnpipe\[nir\]'"):
        model.to_nir(tmp_path / "net.nir")


@pytest.mark.slow
def test_the_command_writes_the_file_and_says_what_nir_has_no_words_for(tmp_path):
    model, samples = dense()
    model.save(tmp_path / "net.snn", samples)
    command = [sys.executable, "-m", "snnpipe.export", "net.snn"]
    done = subprocess.run([*command, "net.nir"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == "net.nir\n" and "several spikes in a step" in done.stderr
    require_same(model, snnpipe.from_nir(tmp_path / "net.nir"), samples)
    wrong = subprocess.run([*command, "net.onnx"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert wrong.returncode == 2 and "ends in .nir" in wrong.stderr
