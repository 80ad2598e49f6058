"""The simulators one by one: chunks, batches, counts, seeds, refusals, and the choice between them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nengo
import numpy as np
import pytest

from snnpipe import (
    AutoSimulator,
    ClockDrivenSimulator,
    Cnn2d,
    ConstantEncoder,
    EventDrivenSimulator,
    Mlp,
    NengoDLConverter,
    NengoDLSimulator,
    PoissonEncoder,
)
from snnpipe.base.errors import SimulationError
from snnpipe.frameworks.compat import import_nengo_dl, start_afresh
from snnpipe.testing import SPEC, check_encoder, check_simulator
from snnpipe.values.simulation import Stimulus

NEURONS = {
    "SpikingRectifiedLinear": nengo.SpikingRectifiedLinear(),
    "LIF": nengo.LIF(),
    "RegularSpiking": nengo.RegularSpiking(nengo.RectifiedLinear()),
    "PoissonSpiking": nengo.PoissonSpiking(nengo.RectifiedLinear()),
    "StochasticSpiking": nengo.StochasticSpiking(nengo.RectifiedLinear()),
    "rate": nengo.RectifiedLinear(),
}
IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, *SPEC.input_shape)).astype(np.float32)


def network(neuron="SpikingRectifiedLinear", synapse=0.005, scale=50.0, seed=0, architecture=None):
    start_afresh(0)
    model = (architecture or Cnn2d(filters=[4], dense=8)).build(SPEC)
    converter = NengoDLConverter(neuron=NEURONS[neuron], scale_firing_rates=scale, synapse=synapse)
    return converter.convert(model, seed=seed)


def simulate(net, images=IMAGES, n_steps=20, batch_size=4, encoder=None, kind=NengoDLSimulator, **settings):
    """Outputs of all steps, spike counts of each layer, and events of all images."""
    stimulus = Stimulus(images, range(len(images)), encoder or ConstantEncoder(), record=tuple(range(len(images))))
    with kind(n_steps=n_steps, batch_size=batch_size, **settings).open(net) as simulator:
        chunks = list(simulator.run(stimulus))
    outputs = np.concatenate([c.outputs_btc for c in chunks], axis=1)
    counts = {layer.name: sum(c.layers[layer.name].counts_bn for c in chunks) for layer in net.layers}
    events = {
        layer.name: np.concatenate(
            [np.stack([e.image, e.step, e.neuron, e.count]) for c in chunks for e in [c.layers[layer.name].events]],
            axis=1,
        )
        for layer in net.layers
    }
    return outputs, counts, events


def same_for_all(net, *kinds, **settings):
    """What NengoDL gives in double precision, of which each kind of simulator must give the same spike counts."""
    expected = simulate(net, precision="float64", **settings)
    for kind in kinds:
        found = simulate(net, kind=kind, precision="float64", **settings)
        for name, counts in expected[1].items():
            assert np.array_equal(found[1][name], counts), f"{kind.__name__}: {name}"
        np.testing.assert_allclose(found[0], expected[0], atol=1e-6 * np.abs(expected[0]).max(), err_msg=kind.__name__)
    return expected


def mixed(names, synapses):
    """A network with a layer of each neuron type, one after the other."""
    from tf_keras import layers

    dense = [layers.Dense(12, activation="relu", name=name) for name in names]
    return converted(
        layers.Flatten(),
        *dense,
        layers.Dense(3),
        neuron={name: NEURONS[name] for name in names},
        synapse=dict(zip(names, synapses, strict=True)),
        scale_firing_rates=200.0,
    )


class Reference:
    """A network and what NengoDL gives for it, which several tests compare with."""

    def __init__(self):
        self.net = network()
        self.probes = list(self.net.network.probes)
        self.outputs, self.counts, self.events = simulate(self.net)


@pytest.fixture(scope="module")
def reference():
    return Reference()


@pytest.fixture(scope="module")
def of_all_types():
    """A network with a filter on every other of its neuron types, and its simulation in one chunk."""
    net = mixed(["SpikingRectifiedLinear", "rate", "LIF", "RegularSpiking"], [0.005, 0.005, None, None])
    return net, simulate(net)


@pytest.mark.parametrize("chunk_steps", [1, 7])
def test_chunks_equal_one_run(of_all_types, chunk_steps):
    net, whole = of_all_types
    chunked = simulate(net, chunk_steps=chunk_steps)
    assert np.array_equal(whole[0], chunked[0])
    for layer in net.layers:
        assert whole[1][layer.name].sum() > 0
        if layer.spiking:
            assert np.array_equal(whole[1][layer.name], chunked[1][layer.name])
        else:
            np.testing.assert_allclose(whole[1][layer.name], chunked[1][layer.name], rtol=1e-5)
        key = np.lexsort(whole[2][layer.name]), np.lexsort(chunked[2][layer.name])
        assert np.array_equal(whole[2][layer.name][:, key[0]], chunked[2][layer.name][:, key[1]])


@pytest.fixture(scope="module")
def of_drawn_types():
    net = mixed(["PoissonSpiking", "StochasticSpiking"], [0.005, None])
    return net, simulate(net)


@pytest.mark.parametrize("networks", ["of_all_types", "of_drawn_types"])
def test_every_neuron_type_runs_and_spikes(networks, request):
    _, (outputs, counts, events) = request.getfixturevalue(networks)
    assert np.all(np.isfinite(outputs))
    assert all(c.sum() > 0 for c in counts.values())
    for name, count in counts.items():
        if name != "rate":
            assert np.array_equal(count, np.rint(count))
            assert events[name][3].sum() == count.sum()


def test_simulation_equals_nengo_dl_used_directly(reference):
    net = network()
    nengo_dl = import_nengo_dl()
    with net.network:
        probe = nengo.Probe(net.layers[0].neurons)
    with nengo_dl.Simulator(net.network, minibatch_size=4, progress_bar=False) as simulator:
        data = simulator.predict({net.input: np.tile(IMAGES.reshape(4, 1, -1), (1, 20, 1))})
    assert np.array_equal(reference.outputs, data[net.output])
    spikes = data[probe] * 0.001 * net.layers[0].scale_firing_rates
    np.testing.assert_allclose(reference.counts[net.layers[0].name], spikes.sum(axis=1), atol=1e-3)


def test_spikes_follow_the_closed_form():
    # a constant current J gives floor(v0 + J t) spikes after t, whatever the step
    net = network(scale=200.0, synapse=None, architecture=Mlp(units=[16]))
    model = net.keras_model
    current = np.maximum(IMAGES.reshape(4, -1) @ model.get_layer("dense").kernel.numpy(), 0) * 200
    nengo_dl = import_nengo_dl()
    with nengo_dl.Simulator(net.network, minibatch_size=4, progress_bar=False) as simulator:
        v0 = simulator.model.sig[net.layers[0].neurons]["voltage"].initial_value
    _, counts, _ = simulate(net, n_steps=50)
    expected = np.floor(v0 + current * 0.05)
    assert np.mean(counts["dense"] != expected) < 0.02  # a spike on the last step's threshold
    assert np.abs(counts["dense"] - expected).max() <= 1


def test_a_short_batch_is_padded_and_cut_again(reference):
    short, _, _ = simulate(reference.net, images=IMAGES[:1])
    assert short.shape[0] == 1
    assert np.array_equal(reference.outputs[:1], short)


def test_the_network_is_left_as_it_was(reference):
    assert reference.net.network.probes == reference.probes


def test_seeds_determine_initial_voltages(reference):
    again, other = network(seed=0), network(seed=1)
    assert np.array_equal(reference.outputs, simulate(again)[0])
    for one, same, changed in zip(reference.net.layers, again.layers, other.layers, strict=True):
        assert np.array_equal(one.initial_state["voltage"], same.initial_state["voltage"])
        assert not np.array_equal(one.initial_state["voltage"], changed.initial_state["voltage"])


def test_neurons_at_the_output_are_counted():
    import tf_keras as keras

    image = keras.Input(SPEC.input_shape)
    model = keras.Model(image, keras.layers.Dense(3, activation="relu", name="out")(keras.layers.Flatten()(image)))
    net = NengoDLConverter(neuron=NEURONS["SpikingRectifiedLinear"], scale_firing_rates=50.0, synapse=0.01).convert(
        model, 0
    )
    assert net.output_layer == "out"
    assert net.output.synapse.tau == 0.01
    with NengoDLSimulator(n_steps=20, batch_size=4).open(net) as simulator:
        chunk = next(iter(simulator.run(Stimulus(IMAGES, range(4), ConstantEncoder()))))
    assert np.array_equal(chunk.output_spikes_btc.sum(axis=1), chunk.layers["out"].counts_bn)


@pytest.mark.parametrize(
    ("kind", "neurons"),
    [
        (NengoDLSimulator, ["SpikingRectifiedLinear", "rate", "LIF"]),
        (ClockDrivenSimulator, ["SpikingRectifiedLinear", "rate", "LIF"]),
        (EventDrivenSimulator, ["SpikingRectifiedLinear", "LIF"]),  # it refuses rate neurons, which is tested below
        (AutoSimulator, ["SpikingRectifiedLinear", "rate", "LIF"]),
        (AutoSimulator, ["SpikingRectifiedLinear", "LIF"]),
    ],
)
def test_simulator_contract(kind, neurons):
    net = mixed(neurons, [0.005] * len(neurons))
    check_simulator(kind(n_steps=10, batch_size=3, chunk_steps=4), net)


@pytest.mark.parametrize(
    ("says", "settings"),
    [
        (r"layer 'conv2d'.*RectifiedLinear", {"neuron": "rate"}),
        (r"layer 'conv2d'.*PoissonSpiking", {"neuron": "PoissonSpiking"}),
        (r"layer 'conv2d'.*Alpha", {"synapse": nengo.Alpha(0.005)}),
    ],
)
def test_what_events_cannot_do_is_refused_by_name(says, settings):
    with pytest.raises(SimulationError, match=says + r".*simulator=clock_driven"):
        EventDrivenSimulator().open(network(**settings))


def test_a_layer_that_events_cannot_pass_is_refused_by_name():
    import tf_keras as keras

    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input(SPEC.input_shape),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dense(8, activation="sigmoid", name="odd"),
            layers.Dense(3),
        ]
    )
    net = NengoDLConverter(neuron=NEURONS["SpikingRectifiedLinear"], scale_firing_rates=1.0, synapse=None).convert(
        model, 0
    )
    with pytest.raises(SimulationError, match=r"layer 'odd'.*'sigmoid'.*simulator=clock_driven"):
        EventDrivenSimulator().open(net)
    found, expected = (simulate(net, kind=kind)[0] for kind in (ClockDrivenSimulator, NengoDLSimulator))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_neurons_that_only_nengo_dl_knows_are_refused_by_name():
    net = NengoDLConverter(neuron=nengo.AdaptiveLIF(), scale_firing_rates=1.0, synapse=None).convert(
        Mlp(units=[4]).build(SPEC), 0
    )
    for kind in (ClockDrivenSimulator, EventDrivenSimulator):
        with pytest.raises(SimulationError, match=r"layer 'dense'.*AdaptiveLIF.*simulator="):
            kind().open(net)


@pytest.mark.parametrize(
    ("settings", "used"),
    [
        ({"scale": 20.0}, "event_driven (auto: "),
        ({"synapse": nengo.Alpha(0.005)}, "clock_driven (auto: event_driven: layer 'conv2d' has the synapse Alpha"),
        ({"neuron": "PoissonSpiking"}, "clock_driven (auto: event_driven: layer 'conv2d' has neurons of type Poisson"),
    ],
)
def test_auto_takes_what_is_cheaper_or_possible_and_says_why(settings, used):
    stimulus = Stimulus(IMAGES, range(4), ConstantEncoder())
    with AutoSimulator(n_steps=20).open(network(**settings)) as simulator:
        assert simulator.used == "auto"
        list(simulator.run(stimulus))
        assert simulator.used.startswith(used)


def test_auto_takes_the_clock_where_spikes_are_many():
    # convolutions in which nearly every active neuron spikes at every step
    net = network(scale=2e4, architecture=Cnn2d(filters=[16, 32], dense=32))
    images = np.repeat(IMAGES, 64, axis=0)
    stimulus = Stimulus(images, range(len(images)), ConstantEncoder())
    with AutoSimulator(n_steps=10).open(net) as simulator:
        list(simulator.run(stimulus))
        assert simulator.used.startswith("clock_driven (auto: ")
        assert "spikes a step per 100 neurons" in simulator.used
    with AutoSimulator(n_steps=10, max_images=100).open(net) as simulator:
        list(simulator.run(stimulus))
        assert simulator.used.startswith("event_driven (auto: "), (
            "compiling would take longer than following the spikes"
        )


def test_auto_falls_back_to_nengo_dl():
    net = NengoDLConverter(neuron=nengo.AdaptiveLIF(), scale_firing_rates=1.0, synapse=None).convert(
        Mlp(units=[4]).build(SPEC), 0
    )
    with AutoSimulator(n_steps=3, batch_size=4).open(net) as simulator:
        list(simulator.run(Stimulus(IMAGES, range(4), ConstantEncoder())))
        assert simulator.used.startswith("nengo_dl (auto: ")
        assert "AdaptiveLIF" in simulator.used


def test_hundreds_of_spikes_in_a_step():
    _, expected, _ = same_for_all(network(scale=1e7, synapse=0.002), ClockDrivenSimulator, EventDrivenSimulator)
    assert all(counts.max() > 256 * 20 for counts in expected.values())


@pytest.mark.long
def test_input_that_ends_leaves_currents_that_fade():
    class Flash:
        """An image for three steps, then nothing: currents decay through the smallest numbers there are."""

        constant = False

        def encode(self, images, image_ids, first_step, n_steps):
            flat = images.reshape(len(images), 1, -1)
            return flat * (np.arange(first_step, first_step + n_steps) < 3)[:, None].astype(np.float32)

    net = network(scale=300.0, synapse=0.0002)
    settings = {"n_steps": 160, "encoder": Flash()}
    expected, _, _ = same_for_all(net, ClockDrivenSimulator, EventDrivenSimulator, **settings)
    assert expected[:, :10].any()


def test_random_neurons_have_the_rates_that_nengo_dl_gives_them():
    import tf_keras as keras

    start_afresh(0)
    drawn = ("PoissonSpiking", "StochasticSpiking")
    image = keras.Input(SPEC.input_shape)
    flat = keras.layers.Flatten()(image)
    side_by_side = [keras.layers.Dense(60, activation="relu", name=name)(flat) for name in drawn]
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Concatenate()(side_by_side)))
    neurons = {name: NEURONS[name] for name in drawn}
    net = NengoDLConverter(neuron=neurons, scale_firing_rates=1000.0, synapse=None).convert(model, 0)
    images = np.repeat(IMAGES, 16, axis=0)
    ours, expected = (
        simulate(net, images, n_steps=50, batch_size=64, kind=kind)[1]
        for kind in (ClockDrivenSimulator, NengoDLSimulator)
    )
    for name in drawn:
        means = ours[name].mean(axis=0), expected[name].mean(axis=0)
        assert np.corrcoef(*means)[0, 1] > 0.98
        assert abs(means[0].sum() / means[1].sum() - 1) < 0.03


def test_random_neurons_do_not_depend_on_batches():
    with ClockDrivenSimulator(n_steps=20).open(network("PoissonSpiking")) as simulator:
        together, alone = (
            list(simulator.run(Stimulus(IMAGES[ids], ids, ConstantEncoder()))) for ids in ([0, 1, 2, 3], [2])
        )
    for one, other in zip(together, alone, strict=True):
        for name, activity in one.layers.items():
            assert activity.counts_bn.sum() > 0
            assert np.array_equal(activity.counts_bn[2:3], other.layers[name].counts_bn)


def test_several_steps_merged_into_the_batch_change_no_spike():
    net = network()
    one, merged = (simulate(net, kind=ClockDrivenSimulator, merge_steps=k) for k in (1, 6))
    for name in one[1]:
        assert np.array_equal(one[1][name], merged[1][name])
    np.testing.assert_allclose(one[0], merged[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("neuron", ["SpikingRectifiedLinear", "PoissonSpiking", "rate"])
def test_few_images_run_without_compiling_and_spike_alike(neuron):
    net = network(neuron, synapse=nengo.Alpha(0.005))
    compiled, at_once = (
        simulate(net, kind=ClockDrivenSimulator, chunk_steps=8, precision="float64", max_images=n) for n in (None, 4)
    )
    np.testing.assert_allclose(at_once[0], compiled[0], rtol=1e-12, atol=1e-12)
    for name, counts in compiled[1].items():
        np.testing.assert_allclose(at_once[1][name], counts, rtol=1e-12)
        assert np.array_equal(at_once[2][name], compiled[2][name])
    assert compiled[1]["conv2d"].sum() > 0


@pytest.mark.parametrize("neuron", ["SpikingRectifiedLinear", "LIF", "rate"])
def test_xla_changes_no_spike(neuron):
    """Chunks of 8, 8 and 4 steps are programs of their own; batches with records run without XLA."""
    stimulus = Stimulus(IMAGES, range(4), ConstantEncoder())
    found = []
    for xla in (False, True):
        settings = {"n_steps": 20, "chunk_steps": 8, "precision": "float64", "xla": xla}
        with ClockDrivenSimulator(**settings).open(network(neuron, synapse=nengo.Alpha(0.005))) as simulator:
            found.append([*simulator.run(stimulus), *simulator.run(replace(stimulus, record=(1,)))])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other.outputs_btc, one.outputs_btc, rtol=1e-12, atol=1e-12)
        for name, activity in one.layers.items():
            np.testing.assert_allclose(other.layers[name].counts_bn, activity.counts_bn, rtol=1e-12)
        assert one.layers["conv2d"].counts_bn.sum() > 0


@pytest.mark.parametrize("neuron", ["PoissonSpiking", "StochasticSpiking"])
def test_xla_refuses_neurons_that_draw_their_spikes(neuron):
    with pytest.raises(SimulationError, match=f"'conv2d' has neurons of type {neuron}.*simulator.xla=false"):
        ClockDrivenSimulator(xla=True).open(network(neuron))


@pytest.mark.long  # 10 s: a process that imports TensorFlow
def test_a_batch_is_shared_out_over_devices():
    # two logical CPUs stand in for two GPUs, in a process of their own: devices are set once
    program = """
import numpy as np
from snnpipe.frameworks.compat import import_tensorflow, import_nengo_dl
tf = import_tensorflow()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import_nengo_dl()
import test_simulation as t
from snnpipe.simulators.clock_driven import simulator as clock_driven
net = t.network(architecture=t.Mlp(units=[8]))
one = t.simulate(net, kind=t.ClockDrivenSimulator)
clock_driven._gpus = lambda tf: [device.name for device in tf.config.list_logical_devices("CPU")]
two = t.simulate(net, kind=t.ClockDrivenSimulator)
odd = t.simulate(net, kind=t.ClockDrivenSimulator, images=t.IMAGES[:1])
assert all(np.array_equal(one[1][name], two[1][name]) for name in one[1])
assert all(np.array_equal(one[1][name][:1], odd[1][name]) for name in one[1])
np.testing.assert_allclose(one[0], two[0], rtol=1e-5, atol=1e-5)
print("SHARED")
"""
    folder = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["SHARED"], done.stderr[-2000:]


@pytest.mark.parametrize("encoder", [ConstantEncoder(), PoissonEncoder(max_rate_hz=200.0)])
def test_encoder_contract(encoder):
    check_encoder(encoder)


def test_poisson_trains_have_the_pixels_mean_and_height():
    encoder = PoissonEncoder(max_rate_hz=100.0).seeded(0)
    image = np.array([[[[0.5]], [[-1.0]], [[0.0]]]], np.float32).reshape(1, 3, 1, 1)
    signal = encoder.encode(image, [0], 0, 4000)[0]
    np.testing.assert_allclose(signal.mean(axis=0), [0.5, -1, 0], atol=0.1)
    assert set(np.unique(np.round(signal[:, 0] * 0.1))) <= {0, 1, 2, 3, 4}


# ---------------------------------------------------------------------- rare networks, and wrong use


def converted(*layers, shape=SPEC.input_shape, **settings):
    import tf_keras as keras

    start_afresh(0)
    model = keras.Sequential([keras.layers.Input(shape), *layers])
    own = {"neuron": NEURONS["SpikingRectifiedLinear"], "scale_firing_rates": 1.0, "synapse": 0.005} | settings
    return NengoDLConverter(**own).convert(model, 0)


def test_a_convolution_that_reaches_beyond_a_target_of_one_position():
    from tf_keras import layers

    net = converted(
        layers.Flatten(),
        layers.Dense(6, activation="relu"),
        layers.Reshape((1, 6)),
        layers.ZeroPadding1D((1, 0)),
        layers.Conv1D(5, 2, activation="relu"),
        layers.Flatten(),
        layers.Dense(3),
        scale_firing_rates=300.0,
    )
    same_for_all(net, EventDrivenSimulator)


def test_neurons_that_begin_above_their_threshold():
    from tf_keras import layers

    start = {"voltage": nengo.dists.Uniform(0, 3)}
    neurons = {
        "integrates": nengo.SpikingRectifiedLinear(initial_state=start),
        "regular": nengo.RegularSpiking(nengo.RectifiedLinear(), initial_state=start),
        "regular_lif": nengo.RegularSpiking(nengo.LIFRate(), initial_state=start),
    }
    dense = [layers.Dense(9, activation="relu", name=name) for name in neurons]
    net = converted(layers.Flatten(), *dense, layers.Dense(3), neuron=neurons)
    assert all(layer.initial_state["voltage"].max() > 2 for layer in net.layers)
    _, counts, _ = same_for_all(net, ClockDrivenSimulator, EventDrivenSimulator)
    assert all(c.sum() > 0 for c in counts.values())


@pytest.mark.parametrize("kind", [ClockDrivenSimulator, NengoDLSimulator])
def test_a_pooling_in_three_dimensions_that_pads_is_the_mean_of_what_is_inside(kind):
    from tf_keras import layers

    net = converted(
        layers.Reshape((2, 4, 4, 2)),
        layers.Conv3D(3, 1, activation="relu"),
        layers.AveragePooling3D(3, 2, padding="same"),
        layers.Flatten(),
        layers.Dense(3),
        shape=(8, 8, 1),
        allow_fallback=True,
        neuron=None,
        synapse=None,
    )
    outputs, _, _ = simulate(net, kind=kind, n_steps=2)
    np.testing.assert_allclose(outputs[:, -1], net.keras_model.predict(IMAGES, verbose=0), rtol=1e-4, atol=1e-5)
    if kind is ClockDrivenSimulator:
        outputs, _, _ = simulate(net, kind=kind, n_steps=2, precision="float64")
        np.testing.assert_allclose(outputs[:, -1], net.keras_model.predict(IMAGES, verbose=0), rtol=1e-4, atol=1e-5)


def test_what_events_know_may_depend_on_the_input():
    from tf_keras import layers

    net = converted(
        layers.Flatten(),
        layers.Dense(9, activation="tanh", name="odd"),
        layers.Dense(9, activation="relu"),
        layers.Dense(3),
        scale_firing_rates=100.0,
    )
    same_for_all(net, EventDrivenSimulator)
    with pytest.raises(SimulationError, match=r"layer 'odd'.*simulator=clock_driven"):
        EventDrivenSimulator().open(net, constant_input=False)
    encoder = PoissonEncoder(max_rate_hz=200.0).seeded(0)
    with AutoSimulator(n_steps=20).open(net, constant_input=False) as simulator:
        list(simulator.run(Stimulus(IMAGES, range(4), encoder)))
        assert simulator.used.startswith("clock_driven (auto: event_driven: layer 'odd'")


def test_auto_counts_the_events_of_a_changing_input():
    encoder = PoissonEncoder(max_rate_hz=200.0).seeded(0)
    with AutoSimulator(n_steps=20, batch_size=4).open(network(), constant_input=False) as simulator:
        list(simulator.run(Stimulus(IMAGES, range(4), encoder)))
        assert "following them takes" in simulator.used


def test_too_many_synapses_are_refused(monkeypatch):
    from tf_keras import layers

    from snnpipe.simulators.event_driven import connections

    net = converted(
        layers.Conv2D(4, 3, activation="relu"),
        layers.Conv2D(4, 1),
        layers.Conv2D(4, 3, activation="relu", name="c"),
        layers.Flatten(),
        layers.Dense(3),
    )
    EventDrivenSimulator().open(net)
    monkeypatch.setattr(connections, "_MOST_SYNAPSES", 5_000)
    with pytest.raises(SimulationError, match=r"layer 'c'.*too many synapses.*simulator=clock_driven"):
        EventDrivenSimulator().open(net)


def test_a_synapse_that_neither_fast_simulator_knows_names_the_one_that_does():
    direct = nengo.synapses.LinearFilter([0.001, 1.0], [0.002, 1.0], analog=True)
    for kind in (EventDrivenSimulator, ClockDrivenSimulator):
        with pytest.raises(SimulationError, match=r"LinearFilter.*simulator=nengo_dl"):
            kind().open(network(synapse=direct))


@pytest.mark.parametrize("kind", [NengoDLSimulator, ClockDrivenSimulator, EventDrivenSimulator])
def test_an_encoder_that_gives_another_shape_is_told(kind):
    class Short:
        constant = False

        def encode(self, images, image_ids, first_step, n_steps):
            return np.zeros((len(images), n_steps - 1, images[0].size), np.float32)

    with pytest.raises(SimulationError, match=r"encoder Short gave an array of shape \(4, 19, 64\).*\(4, 20, 64\)"):
        simulate(network(), kind=kind, encoder=Short())


def test_more_images_than_nengo_dl_was_built_for():
    with pytest.raises(SimulationError, match=r"3 samples at once and got 4: raise simulator.batch_size"):
        simulate(network(), batch_size=3)


@pytest.mark.parametrize("record", [(0, 0), (-1,), (4,)])
def test_rows_to_record_are_rows(record):
    with pytest.raises(ValueError, match=r"rows of 4 samples, each once"):
        Stimulus(IMAGES, range(4), ConstantEncoder(), record=record)


def test_a_fault_in_a_thread_ends_the_run(monkeypatch):
    from snnpipe.simulators.event_driven import simulator as event_driven

    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(event_driven, "run_images", fail)
    with pytest.raises(MemoryError, match="no room"):
        simulate(network(), kind=EventDrivenSimulator)
