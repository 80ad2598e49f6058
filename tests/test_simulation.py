"""The reference simulator: chunks, batches, counts, seeds."""

import nengo
import numpy as np
import pytest

from snnpipe import Cnn2d, ConstantEncoder, Mlp, NengoDLConverter, NengoDLSimulator, PoissonEncoder
from snnpipe.compat import import_nengo_dl, start_afresh
from snnpipe.testing import SPEC, check_encoder, check_simulator
from snnpipe.types import Stimulus

NEURONS = {
    "SpikingRectifiedLinear": nengo.SpikingRectifiedLinear(),
    "LIF": nengo.LIF(),
    "RegularSpiking": nengo.RegularSpiking(nengo.RectifiedLinear()),
    "PoissonSpiking": nengo.PoissonSpiking(nengo.RectifiedLinear()),
    "StochasticSpiking": nengo.StochasticSpiking(nengo.RectifiedLinear()),
    "rate": nengo.RectifiedLinear(),
}
IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, *SPEC.image_shape)).astype(np.float32)


def network(neuron="SpikingRectifiedLinear", synapse=0.005, scale=50.0, seed=0, architecture=None):
    start_afresh(0)
    model = (architecture or Cnn2d(filters=[4], dense=8)).build(SPEC)
    converter = NengoDLConverter(neuron=NEURONS[neuron], scale_firing_rates=scale, synapse=synapse)
    return converter.convert(model, seed=seed)


def simulate(net, images=IMAGES, n_steps=20, batch_size=4, encoder=None, **settings):
    """Outputs of all steps, spike counts of each layer, and events of all images."""
    stimulus = Stimulus(images, range(len(images)), encoder or ConstantEncoder(), record=tuple(range(len(images))))
    with NengoDLSimulator(n_steps=n_steps, batch_size=batch_size, **settings).open(net) as simulator:
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


@pytest.mark.parametrize("synapse", [None, 0.005])
@pytest.mark.parametrize("neuron", ["SpikingRectifiedLinear", "LIF", "RegularSpiking", "rate"])
@pytest.mark.parametrize("chunk_steps", [1, 7])
def test_chunks_equal_one_run(synapse, neuron, chunk_steps):
    net = network(neuron, synapse)
    whole, chunked = simulate(net), simulate(net, chunk_steps=chunk_steps)
    assert np.array_equal(whole[0], chunked[0])
    for layer in net.layers:
        if layer.spiking:
            assert np.array_equal(whole[1][layer.name], chunked[1][layer.name])
        else:
            np.testing.assert_allclose(whole[1][layer.name], chunked[1][layer.name], rtol=1e-5)
        key = np.lexsort(whole[2][layer.name]), np.lexsort(chunked[2][layer.name])
        assert np.array_equal(whole[2][layer.name][:, key[0]], chunked[2][layer.name][:, key[1]])


def test_the_default_chunk_is_bounded_by_memory():
    net = network()
    settings = NengoDLSimulator(n_steps=10**6, batch_size=100_000)
    with NengoDLSimulator(batch_size=1).open(net) as simulator:
        simulator._settings = settings
        neurons = sum(layer.size for layer in net.layers) + 64
        assert simulator._default_chunk_steps() * neurons * 8 * 100_000 <= 256 * 2**20


@pytest.mark.parametrize("neuron", NEURONS)
def test_every_neuron_type_runs_and_spikes(neuron):
    outputs, counts, events = simulate(network(neuron))
    assert np.all(np.isfinite(outputs))
    assert all(c.sum() > 0 for c in counts.values())
    for name, count in counts.items():
        if neuron != "rate":
            assert np.array_equal(count, np.rint(count))
            assert events[name][3].sum() == count.sum()


def test_simulation_equals_nengo_dl_used_directly():
    net = network()
    outputs, counts, _ = simulate(net)
    nengo_dl = import_nengo_dl()
    with net.network:
        probe = nengo.Probe(net.layers[0].neurons)
    with nengo_dl.Simulator(net.network, minibatch_size=4, progress_bar=False) as simulator:
        data = simulator.predict({net.input: np.tile(IMAGES.reshape(4, 1, -1), (1, 20, 1))})
    assert np.array_equal(outputs, data[net.output])
    spikes = data[probe] * 0.001 * net.layers[0].scale_firing_rates
    np.testing.assert_allclose(counts[net.layers[0].name], spikes.sum(axis=1), atol=1e-3)


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


def test_a_short_batch_is_padded_and_cut_again():
    net = network()
    whole, short = simulate(net), simulate(net, images=IMAGES[:1])
    assert short[0].shape[0] == 1
    assert np.array_equal(whole[0][:1], short[0])


def test_the_network_is_left_as_it_was():
    net = network()
    probes = list(net.network.probes)
    simulate(net)
    assert net.network.probes == probes


def test_seeds_determine_initial_voltages():
    same, again, other = simulate(network(seed=1)), simulate(network(seed=1)), simulate(network(seed=2))
    assert np.array_equal(same[0], again[0])
    assert not np.array_equal(same[0], other[0])


def test_neurons_at_the_output_are_counted():
    import tf_keras as keras

    image = keras.Input(SPEC.image_shape)
    model = keras.Model(image, keras.layers.Dense(3, activation="relu", name="out")(keras.layers.Flatten()(image)))
    net = NengoDLConverter(neuron=NEURONS["SpikingRectifiedLinear"], scale_firing_rates=50.0, synapse=0.01).convert(
        model, 0
    )
    assert net.output_layer == "out"
    assert net.output.synapse.tau == 0.01
    with NengoDLSimulator(n_steps=20, batch_size=4).open(net) as simulator:
        chunk = next(iter(simulator.run(Stimulus(IMAGES, range(4), ConstantEncoder()))))
    assert np.array_equal(chunk.output_spikes_btc.sum(axis=1), chunk.layers["out"].counts_bn)


@pytest.mark.parametrize("neuron", ["SpikingRectifiedLinear", "LIF", "rate"])
def test_simulator_contract(neuron):
    check_simulator(NengoDLSimulator(n_steps=10, batch_size=3, chunk_steps=4), network(neuron))


@pytest.mark.parametrize("encoder", [ConstantEncoder(), PoissonEncoder(max_rate_hz=200.0)])
def test_encoder_contract(encoder):
    check_encoder(encoder)


def test_poisson_trains_have_the_pixels_mean_and_height():
    encoder = PoissonEncoder(max_rate_hz=100.0).seeded(0)
    image = np.array([[[[0.5]], [[-1.0]], [[0.0]]]], np.float32).reshape(1, 3, 1, 1)
    signal = encoder.encode(image, [0], 0, 4000)[0]
    np.testing.assert_allclose(signal.mean(axis=0), [0.5, -1, 0], atol=0.1)
    assert set(np.unique(np.round(signal[:, 0] * 0.1))) <= {0, 1, 2, 3, 4}
