"""Networks written in Nengo: read as layers, trained, simulated, and refused where they cannot be."""

import re
from pathlib import Path

import nengo
import numpy as np
import pytest
import tf_keras
from test_equality import run

from snnpipe import KerasTraining, Mlp, NengoDLConverter, NengoDLSimulator, NengoDLTraining, Pretrained
from snnpipe.base.errors import ConfigError, ConversionError, ModelError, SimulationError, TrainingError
from snnpipe.conversion.lif_by_hand import LifByHand
from snnpipe.conversion.native import IdentityConverter
from snnpipe.encoders import ConstantEncoder, PoissonEncoder
from snnpipe.frameworks.compat import import_nengo_dl, start_afresh
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.models.lif_cnn import LifCnn
from snnpipe.simulators.clock_driven.simulator import ClockDrivenSimulator
from snnpipe.simulators.event_driven.simulator import EventDrivenSimulator
from snnpipe.testing import SPEC, Silent, check_architecture, check_converter
from snnpipe.values.checkpoint import Checkpoint
from snnpipe.values.simulation import Stimulus

nengo_dl = import_nengo_dl()
FAST = (ClockDrivenSimulator, EventDrivenSimulator)
LAYERS = tf_keras.layers


def native(write, pixels=6, classes=3, **network):
    """Return a native network: ``write`` takes the input node and returns what the output is read from."""
    start_afresh(0)
    with nengo.Network(**network) as net:
        net.config[nengo.Connection].synapse = None
        image = nengo.Node(np.zeros(pixels), label="image")
        found = write(image)
        output = found if isinstance(found, nengo.Probe) else nengo.Probe(found)
    return NativeNetwork(net, image, output)


def neurons(size, kind=None, label=None, **settings):
    return nengo.Ensemble(size, 1, neuron_type=kind or nengo.LIF(), label=label, **settings).neurons


def weights(seed, *shape):
    return np.random.default_rng(seed).normal(0, 1.5, shape)


def all_kinds(image):
    """Every kind of connection and object that can be read, with gains and biases of Nengo's choosing."""
    first = neurons(12, nengo.LIF(tau_rc=0.01, amplitude=0.02), "first", max_rates=nengo.dists.Uniform(50, 120))
    second = neurons(8, nengo.SpikingRectifiedLinear(amplitude=0.02), "second")
    third = neurons(16, nengo.LIF(), "third", gain=np.full(16, 2.0), bias=np.full(16, 0.5))
    relay = nengo.Node(size_in=8)
    logits = nengo.Node(size_in=3)
    nengo.Connection(image, first, transform=weights(0, 12, 6))
    convolution = nengo.Convolution(4, (6, 2), kernel_size=(3,), strides=(1,), init=weights(1, 3, 2, 4))
    nengo.Connection(first, third, transform=convolution, synapse=0.005)
    nengo.Connection(first, relay, transform=weights(2, 8, 12), synapse=0.005)
    nengo.Connection(image, relay, transform=weights(3, 8, 6))
    nengo.Connection(relay, second, transform=0.7)
    nengo.Connection(second, logits, transform=weights(4, 3, 8), synapse=nengo.Lowpass(0.01))
    nengo.Connection(third, logits, transform=weights(5, 3, 16))
    return nengo.Probe(logits, synapse=0.02)


def images(count=3, pixels=6):
    return np.random.default_rng(9).uniform(-1, 1, (count, pixels, 1, 1)).astype(np.float32)


def stimulus(x=None, encoder=None):
    x = images() if x is None else x
    return Stimulus(x, range(len(x)), encoder or ConstantEncoder(), tuple(range(len(x))))


def converted(model):
    network = IdentityConverter().convert(model, seed=0)
    assert network.unreadable == ""
    return network


def test_the_example_in_the_documentation():
    page = (Path(__file__).parent.parent / "docs" / "native.md").read_text()
    space: dict = {}
    exec(compile(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], "native.md", "exec"), space)
    check_architecture(space["MyNetwork"]())
    network = check_converter(IdentityConverter(), space["MyNetwork"]())
    assert [layer.name for layer in network.layers] == ["first"]


# ---------------------------------------------------------------------- simulated


@pytest.mark.parametrize("encoder", [ConstantEncoder(), PoissonEncoder(max_rate_hz=200.0)], ids=["constant", "poisson"])
def test_every_spike_is_nengo_dls(encoder):
    network = converted(native(all_kinds, seed=3))
    shown = stimulus(encoder=encoder)
    expected = run(NengoDLSimulator, network, shown, 40, batch_size=3, precision="float64")
    assert {name: spikes.sum() > 20 for name, spikes in expected.spikes_btn.items()} == dict.fromkeys(
        ("first", "second", "third"), True
    )
    for simulator in FAST:
        found = run(simulator, network, shown, 40, batch_size=3, precision="float64", chunk_steps=7)
        for name, spikes_btn in expected.spikes_btn.items():
            assert np.array_equal(found.spikes_btn[name], spikes_btn), (simulator, name)
        np.testing.assert_allclose(found.outputs_btc, expected.outputs_btc, rtol=1e-6, atol=1e-6)
    assert np.abs(expected.outputs_btc[:, -1]).max() > 0.1


def test_neurons_at_the_output():
    def write(image):
        hidden, last = neurons(10, label="hidden"), neurons(3, label="last")
        nengo.Connection(image, hidden, transform=weights(0, 10, 6))
        nengo.Connection(hidden, last, transform=weights(1, 3, 10) / 100, synapse=0.01)
        return last

    network = converted(native(write, seed=1))
    assert (network.output_layer, network.output_synapse.plain) == ("last", None)
    expected = run(NengoDLSimulator, network, stimulus(), 40, batch_size=3, precision="float64")
    assert expected.output_spikes_btc.sum() > 20
    for simulator in FAST:
        found = run(simulator, network, stimulus(), 40, batch_size=3, precision="float64")
        assert np.array_equal(found.output_spikes_btc, expected.output_spikes_btc), simulator


def test_a_filter_on_the_output_does_not_depend_on_chunks():
    network = converted(native(all_kinds, seed=3))
    whole, pieces = (
        run(EventDrivenSimulator, network, stimulus(), 30, chunk_steps=chunk).outputs_btc for chunk in (None, 4)
    )
    assert np.array_equal(whole, pieces)


def test_synapses_and_layers_are_read():
    network = converted(native(all_kinds, seed=3))
    assert {layer.name: (layer.shape, layer.synapse.plain) for layer in network.layers} == {
        "first": ((12,), 0.005),
        "second": ((8,), 0.01),
        "third": ((4, 4), None),
    }
    assert network.output_synapse.plain == 0.02
    found = {layer.name: layer.fan_out_n for layer in network.layers}
    assert set(found["second"]) == set(found["third"]) == {3}
    places = np.array([1, 2, 3, 3, 2, 1])  # of the convolution's output, that each place of its input reaches
    assert np.array_equal(found["first"].reshape(6, 2), 8 + 4 * np.stack([places, places], axis=1))
    assert network.first_layer_macs == 12 * 6 + 8 * 6
    assert network.dense_macs == 12 * 6 + 8 * 6 + 8 * 12 + 4 * 3 * 2 * 4 + 3 * 8 + 3 * 16


# ---------------------------------------------------------------------- as an ANN, and trained


def lif(current, amplitude=0.01, tau_rc=0.02, tau_ref=0.002):
    above = np.maximum(current - 1, 1e-12)
    return np.where(current > 1, amplitude / (tau_ref + tau_rc * np.log1p(1 / above)), 0)


def test_the_ann_is_the_rate_approximation():
    start_afresh(0)
    model = LifCnn(filters=[3], output_synapse=0.1).build(SPEC)
    x = np.random.default_rng(0).uniform(0, 1, (3, *SPEC.input_shape)).astype(np.float32)
    kernel, bias, dense, offset = (weight.numpy() for weight in model.weights)
    (gain,), (constant,) = nengo.LIF().gain_bias(np.array([100.0]), np.array([0.0]))
    currents = gain * (np.asarray(tf_keras.backend.conv2d(x, kernel)) + bias) + constant
    expected = lif(currents).reshape(3, -1) @ dense + offset
    np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.predict_on_batch(x[:1]), expected[:1], rtol=1e-4, atol=1e-5)
    assert [connection.synapse for connection in model.network.all_connections] == [None] * 3
    assert len(model.network.all_probes) == 1


@pytest.mark.slow
def test_training_checkpoint_and_pretrained(digits, tmp_path):
    data = digits(max_train_images=320, validation_share=0.1)
    start_afresh(0)
    model = LifCnn(filters=[6], max_rates=200.0).build(data.spec)
    training = NengoDLTraining(epochs=2, learning_rate=3e-3)
    before = [weight.numpy() for weight in model.weights]
    checkpoint = training.fit(model, data, Silent())
    assert checkpoint.metrics["fit/accuracy"] > 0.3
    assert checkpoint.metrics["fit/val_accuracy"] > 0.3
    assert any(np.abs(a - w.numpy()).max() > 1e-3 for a, w in zip(before, model.weights, strict=True))
    folder = checkpoint.save(tmp_path / "checkpoint")
    start_afresh(1)
    other = LifCnn(filters=[6], max_rates=200.0).build(data.spec)
    x = next(iter(data.test_dataset().as_numpy_iterator()))[0]
    assert not np.allclose(other.predict_on_batch(x), model.predict_on_batch(x))
    pretrained = Pretrained(str(folder))
    pretrained.check(other)
    pretrained.fit(other, data, Silent())
    np.testing.assert_array_equal(other.predict_on_batch(x), model.predict_on_batch(x))


@pytest.mark.slow
def test_nengos_own_objects_are_trained_and_kept(digits):
    """Connections and biases that NengoDL trains are those that are simulated, and those in the checkpoint."""
    data = digits(max_train_images=320, validation_share=0.0)

    def write(image):
        hidden, logits = neurons(24, nengo.SpikingRectifiedLinear(), "hidden"), nengo.Node(size_in=10)
        nengo.Connection(image, hidden, transform=nengo_dl.dists.Glorot(), synapse=None)
        nengo.Connection(hidden, logits, transform=weights(1, 10, 24) / 1000, synapse=0.02)
        return logits

    model = native(write, pixels=64)
    before = converted(model).keras_model.get_weights()
    checkpoint = NengoDLTraining(epochs=3, learning_rate=1e-2).fit(model, data, Silent())
    network = converted(model)
    after = network.keras_model.get_weights()
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(before, after, strict=True))
    x, _ = next(iter(data.test_dataset().as_numpy_iterator()))
    ann = model.predict_on_batch(x).argmax(axis=-1)
    spiking = run(EventDrivenSimulator, network, stimulus(x[:20]), 200).outputs_btc[:, -1].argmax(axis=-1)
    assert np.mean(spiking == ann[:20]) > 0.8
    restored = native(write, pixels=64)
    checkpoint.apply(restored)
    np.testing.assert_allclose(restored.predict_on_batch(x), model.predict_on_batch(x), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------- what cannot be


def simple(image):
    hidden = neurons(4, label="hidden")
    nengo.Connection(image, hidden, transform=weights(0, 4, 6))
    return hidden


def with_learning_rule(image):
    hidden, logits = simple(image), nengo.Node(size_in=3)
    nengo.Connection(hidden, logits, transform=np.ones((3, 4)), learning_rule_type=nengo.PES())
    return logits


def with_loop(image):
    hidden, logits = simple(image), nengo.Node(size_in=3)
    nengo.Connection(hidden, hidden, transform=np.eye(4), synapse=0.01)
    nengo.Connection(hidden, logits, transform=np.ones((3, 4)), synapse=0.01)
    return logits


def with_a_slice(image):
    return simple(image)[:3]


def with_decoders(image):
    ensemble = nengo.Ensemble(20, 6, label="decoded")
    nengo.Connection(image, ensemble)
    return ensemble


def with_two_synapses(image):
    hidden, logits = simple(image), nengo.Node(size_in=3)
    nengo.Connection(hidden, logits, transform=np.ones((3, 4)), synapse=0.01)
    nengo.Connection(hidden, logits, transform=np.ones((3, 4)), synapse=0.02)
    return logits


def with_filtered_image(image):
    hidden = neurons(4, label="hidden")
    nengo.Connection(image, hidden, transform=weights(0, 4, 6), synapse=0.01)
    return hidden


def with_function(image):
    hidden = simple(image)
    return nengo_dl.Layer(lambda x: x[:, :3] ** 2)(hidden)


def with_keras_relu(image):
    return nengo_dl.Layer(LAYERS.Dense(3, activation="relu", name="relu_inside"))(simple(image))


def with_a_node_that_computes(image):
    hidden, node = simple(image), nengo.Node(lambda t, x: x[:3] + 1, size_in=4, size_out=3, label="computes")
    nengo.Connection(hidden, node)
    return node


def with_an_idle_ensemble(image):
    idle = neurons(5, label="idle")
    nengo.Connection(image, idle, transform=weights(0, 5, 6))
    return simple(image)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (with_learning_rule, "has a function or a learning rule"),
        (with_loop, "ensemble 'hidden' takes its own output"),
        (with_a_slice, "a slice of it"),
        (with_decoders, "Ensemble 'decoded' is no neurons"),
        (with_two_synapses, "several synapses: 0.01, 0.02"),
        (with_filtered_image, "has a synapse, but does not begin at neurons"),
        (with_function, "a function of TensorFlow's and no Keras layer"),
        (with_keras_relu, "'relu_inside' applies a ReLU of its own"),
        (with_a_node_that_computes, "Node 'computes' is no neurons"),
        (with_an_idle_ensemble, "'idle' does not lead to the output"),
    ],
)
def test_what_cannot_be_read_is_named_and_nengo_dl_runs_it(write, says):
    network = IdentityConverter().convert(native(write, seed=0), seed=0)
    for simulator in FAST:
        with pytest.raises(SimulationError, match=f"cannot be read as layers: .*({says}).*take simulator=nengo_dl"):
            simulator(n_steps=5).open(network)
    found = run(NengoDLSimulator, network, stimulus(), 5, batch_size=3)
    assert found.outputs_btc.shape[:2] == (3, 5)


@pytest.mark.parametrize(
    ("input_of", "output_of", "says"),
    [
        (lambda net: nengo.Node(np.zeros(6), add_to_container=False), None, "is no input node of the network"),
        (lambda net: net.all_nodes[1], None, "is no input node of the network"),
        (None, lambda net: nengo.Probe(net.all_nodes[0], add_to_container=False), "is no probe of the network"),
    ],
)
def test_input_and_output_are_the_networks(input_of, output_of, says):
    with nengo.Network() as net:
        image, node = nengo.Node(np.zeros(6)), nengo.Node(size_in=6)
        nengo.Connection(image, node)
        output = nengo.Probe(node)
    with pytest.raises(ModelError, match=says):
        NativeNetwork(net, input_of(net) if input_of else image, output_of(net) if output_of else output)


def test_layers_that_act_otherwise_in_training_are_refused():
    with pytest.raises(ModelError, match="'drop' .Dropout. acts otherwise in training"):
        native(lambda image: nengo_dl.Layer(LAYERS.Dropout(0.5, name="drop"))(simple(image)))


def test_a_network_that_has_no_rate_approximation_is_told():
    with pytest.raises(ModelError, match="cannot build the network's rate approximation, one step without synapses"):
        native(with_loop).predict_on_batch(images())


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"scale_firing_rates": 25.0}, ConfigError, "training.scale_firing_rates: got 25.0"),
        ({"neuron": nengo.LIF()}, ConfigError, "training.neuron: got LIF"),
    ],
)
def test_settings_that_a_native_network_does_not_take(settings, error, says):
    with pytest.raises(error, match=says):
        NengoDLTraining(epochs=1, **settings).check(native(simple))


def test_keras_training_does_not_take_it():
    with pytest.raises(TrainingError, match="take training=nengo_dl"):
        KerasTraining(epochs=1).check(native(simple))


def test_converters_tell_native_from_keras():
    keras_model, native_network = Mlp(units=[4], use_bias=False).build(SPEC), native(simple)
    for converter, model, says in [
        (
            NengoDLConverter(neuron=None, scale_firing_rates=1.0, synapse=None),
            native_network,
            "take conversion=identity",
        ),
        (LifByHand(), native_network, "take conversion=identity"),
        (IdentityConverter(), keras_model, "take conversion=nengo_dl"),
    ]:
        with pytest.raises(ConversionError, match=says):
            converter.explain(model)


def test_a_lif_cnn_that_does_not_fit_its_images():
    check_architecture(LifCnn(filters=[4]))
    with pytest.raises(ModelError, match="give fewer filters"):
        LifCnn(filters=[2, 2, 2, 2]).build(SPEC)
    with pytest.raises(ModelError, match=r"model.max_rates: got 600.0: with model.tau_ref=0.002 .* below 500 Hz"):
        LifCnn(max_rates=600.0)


# ---------------------------------------------------------------------- weights put in by hand


def test_lif_by_hand_spikes_as_in_nengo_dl():
    check_converter(LifByHand(), Mlp(units=[8], use_bias=False))
    start_afresh(2)
    model = Mlp(units=[16, 12], use_bias=False).build(SPEC)
    network = LifByHand(scale_firing_rates={"dense*": 20.0, "logits": 5.0}, synapse=0.005).convert(model, seed=0)
    assert network.output_layer == "logits"
    assert [layer.synapse.plain for layer in network.layers] == [0.005, 0.005, None]
    x = np.random.default_rng(0).uniform(0, 1, (3, *SPEC.input_shape)).astype(np.float32)
    shown = stimulus(x, PoissonEncoder(max_rate_hz=300.0))
    expected = run(NengoDLSimulator, network, shown, 60, batch_size=3, precision="float64")
    assert expected.output_spikes_btc.sum() > 10
    for simulator in FAST:
        found = run(simulator, network, shown, 60, batch_size=3, precision="float64")
        for name, spikes_btn in expected.spikes_btn.items():
            assert np.array_equal(found.spikes_btn[name], spikes_btn), (simulator, name)


def test_lif_by_hand_takes_no_biases_and_dense_layers_only():
    plan = LifByHand().explain(Mlp(units=[4]).build(SPEC))
    assert [layer.name for layer in plan.unsupported] == ["dense", "logits"]
    assert "model.use_bias=false" in plan.unsupported[0].reason


def test_gains_of_nengos_choosing_are_kept_for_comparison():
    model = Mlp(units=[4], use_bias=False).build(SPEC)
    network = LifByHand(gains="nengo", input_neurons=True, amplitude=1.0).convert(model, seed=0)
    assert [layer.name for layer in network.layers] == ["input", "dense", "logits"]
    assert [type(layer.neuron_type).__name__ for layer in network.layers] == ["PoissonSpiking", "LIF", "LIF"]
    assert all(layer.neuron_type.amplitude == 1 for layer in network.layers[1:])
    given = LifByHand(scale_firing_rates=4.0).convert(model, seed=0)
    assert [layer.neuron_type.amplitude for layer in given.layers] == [0.25, 0.25]


def test_a_checkpoint_of_another_native_network_is_told():
    with pytest.raises(Exception, match="is of another architecture"):
        Checkpoint.of(LifCnn(filters=[2]).build(SPEC)).apply(LifCnn(filters=[3]).build(SPEC))
