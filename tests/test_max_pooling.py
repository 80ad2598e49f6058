"""Max pooling over time: what each way sends, in every simulator."""

import nengo
import numpy as np
import pytest
import tf_keras as keras

from snnpipe import IntegrateAndFire, NengoDLConverter, NengoDLTraining
from snnpipe.base.errors import SimulationError, TrainingError
from snnpipe.conversion.max_pooling import PooledOverTime
from snnpipe.encoders import ConstantEncoder
from snnpipe.frameworks.pooling import padded_windows, pooling_windows
from snnpipe.simulators.clock_driven.simulator import ClockDrivenSimulator
from snnpipe.simulators.event_driven.simulator import EventDrivenSimulator
from snnpipe.simulators.nengo_dl import NengoDLSimulator
from snnpipe.values.simulation import Stimulus

layers = keras.layers
SIMULATORS = (NengoDLSimulator, ClockDrivenSimulator, EventDrivenSimulator)
N_STEPS = 12


def pooled(spikes_tn, gated):
    """Run pooling by 2 over time with a stride of 2."""
    layer = layers.MaxPooling1D(2)
    process = PooledOverTime(pooling_windows(layer, (spikes_tn.shape[1], 1)), gated)
    step = process.make_step((4,), (2,), 0.001, None, process.make_state((4,), (2,), 0.001, np.float64))
    return np.array([step(0.0, x) for x in spikes_tn])


SPIKES_TN = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 2, 1, 1], [1, 0, 0, 3], [3, 0, 1, 0]], np.float64)


def test_sums_send_the_growth_of_the_largest_sum():
    sent_tn = pooled(SPIKES_TN, gated=False)
    assert sent_tn.tolist() == [[1, 0], [0, 0], [2, 1], [0, 3], [2, 0]]
    largest_tn = np.cumsum(SPIKES_TN, axis=0).reshape(len(SPIKES_TN), 2, 2).max(axis=2)
    assert np.array_equal(np.cumsum(sent_tn, axis=0), largest_tn)


def test_a_gate_passes_on_the_input_with_the_largest_sum_and_the_first_of_equal_ones():
    assert pooled(SPIKES_TN, gated=True).tolist() == [[1, 0], [0, 0], [2, 1], [0, 3], [3, 0]]


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_windows_are_those_of_keras(channels, padding):
    layer = layers.MaxPooling2D(3, 2, padding=padding)
    values = np.random.default_rng(0).normal(size=(1, 6, 7, channels)).astype(np.float32)
    windows = padded_windows(pooling_windows(layer, values.shape[1:]))
    expected = layer(values).numpy()
    of_windows = np.append(values.ravel(), -np.inf)[windows]
    assert np.array_equal(of_windows.max(axis=1).reshape(expected.shape), expected)


@pytest.fixture(scope="module")
def maxima():
    """Pooling on the image, behind weights and behind neurons."""
    keras.utils.set_random_seed(0)
    x = image = layers.Input((6, 6, 2))
    x = layers.MaxPooling2D(2, strides=1, padding="same", name="of_image")(x)
    x = layers.MaxPooling2D(2, name="of_weights")(layers.Conv2D(6, 3, padding="same", name="conv")(x))
    x = layers.MaxPooling2D(2, padding="same", name="of_neurons")(layers.ReLU(name="relu")(x))
    return keras.Model(image, layers.Dense(3, name="logits")(layers.Flatten()(x)))


IMAGES = np.random.default_rng(1).uniform(-1, 1, (4, 6, 6, 2)).astype(np.float32)


def outputs(simulator, model, precision="float64", n_steps=N_STEPS, **settings):
    network = NengoDLConverter(**{"neuron": IntegrateAndFire(), "scale_firing_rates": 2000.0} | settings).convert(
        model, 0
    )
    stimulus = Stimulus(IMAGES, range(len(IMAGES)), ConstantEncoder())
    with simulator(n_steps=n_steps, batch_size=len(IMAGES), precision=precision).open(network) as opened:
        return np.concatenate([chunk.outputs_btc for chunk in opened.run(stimulus)], axis=1)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_the_mean_of_sums_is_what_the_model_computes(simulator, maxima, precision):
    logits = maxima.predict_on_batch(IMAGES)
    mean_bc = outputs(simulator, maxima, precision, n_steps=50).mean(axis=1)
    np.testing.assert_allclose(mean_bc, logits, atol=0.02 * np.abs(logits).max())


@pytest.mark.parametrize("how", ["sums", "gated"])
@pytest.mark.parametrize("simulator", SIMULATORS[:2])
def test_rate_neurons_give_it_from_the_first_step(simulator, maxima, how):
    rates = outputs(simulator, maxima, neuron=nengo.RectifiedLinear(), max_pooling=how)
    logits = maxima.predict_on_batch(IMAGES)
    np.testing.assert_allclose(rates, np.repeat(logits[:, None], N_STEPS, axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["sums", "gated"])
@pytest.mark.parametrize("settings", [{"merge_steps": 5}, {"xla": True}])
def test_merged_steps_and_xla_give_the_same(maxima, settings, how):
    one = outputs(ClockDrivenSimulator, maxima, max_pooling=how)
    other = outputs(lambda **more: ClockDrivenSimulator(**settings, **more), maxima, max_pooling=how)
    np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12)


def test_events_refuse_an_alpha_synapse_in_front_of_it(maxima):
    with pytest.raises(SimulationError, match="'relu' has the synapse.*simulator=clock_driven"):
        outputs(EventDrivenSimulator, maxima, synapse=nengo.Alpha(0.005))


def test_training_in_nengo_dl_is_refused(maxima):
    with pytest.raises(TrainingError, match="'of_image'.*NengoDL has no max pooling.*training=keras"):
        NengoDLTraining().check(maxima)
