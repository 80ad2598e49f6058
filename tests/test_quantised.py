"""The quantised ReLU: its values and gradient by hand, in training, and what a network of it becomes."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers

from snnpipe import (
    ClockDrivenSimulator,
    Cnn2d,
    EventDrivenSimulator,
    IntegrateAndFire,
    KerasTraining,
    Mlp,
    NengoDLConverter,
    NengoDLSimulator,
    NengoDLTraining,
    QuantisedReLU,
    ResNet,
    Vgg,
)
from snnpipe.base.errors import ModelError, SimulationError, TrainingError
from snnpipe.conversion.fidelity import difference
from snnpipe.encoders import ConstantEncoder
from snnpipe.frameworks.compat import start_afresh
from snnpipe.frameworks.keras_graph import rectifier
from snnpipe.values.simulation import Stimulus

RNG = np.random.default_rng(0)
SAMPLES = RNG.uniform(-1, 1, (20, 6, 6, 2)).astype(np.float32)


def test_values_and_gradients_by_hand():
    layer = QuantisedReLU(levels=4, initial_threshold=2.0)
    x = tf.constant([-1.0, 0.2, 0.3, 0.9, 1.8, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    # shares of the threshold: -0.5, 0.1, 0.15, 0.45, 0.9, 1.5; rounded to quarters: 0, 0, 0.25, 0.5, 1, 1
    np.testing.assert_allclose(y, [0, 0, 0.5, 1.0, 2.0, 2.0], rtol=1e-6)
    of_x, of_threshold = tape.gradient(y, [x, layer.log_threshold])
    np.testing.assert_allclose(of_x, [0, 1, 1, 1, 1, 0], rtol=1e-6)
    # by threshold: the rounding error of a share between 0 and 1, and 1 above; times the threshold for its logarithm
    by_threshold = [0, 0 - 0.1, 0.25 - 0.15, 0.5 - 0.45, 1 - 0.9, 1]
    assert float(of_threshold) == pytest.approx(2.0 * sum(by_threshold), rel=1e-5)


def test_without_rounding_the_gradient_is_that_of_finite_differences():
    layer = QuantisedReLU(levels=2**20, initial_threshold=1.5)
    x = tf.constant(RNG.uniform(-1, 3, 200).astype(np.float32))
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(layer(x) ** 2)
    gradient = float(tape.gradient(y, layer.log_threshold))

    def at(log_threshold):
        threshold = np.exp(log_threshold)
        return np.sum(np.clip(x.numpy().astype(np.float64), 0, threshold) ** 2)

    by_hand = (at(np.log(1.5) + 1e-6) - at(np.log(1.5) - 1e-6)) / 2e-6
    assert gradient == pytest.approx(by_hand, rel=1e-3)


def test_a_penalty_cannot_make_the_threshold_negative():
    layer = QuantisedReLU(levels=4, initial_threshold=0.1)
    layer.build((None, 1))
    optimizer = keras.optimizers.SGD(1.0)
    for _ in range(50):
        with tf.GradientTape() as tape:
            penalty = 10.0 * tf.reduce_sum(layer(tf.constant([[5.0]])))
        optimizer.apply_gradients([(tape.gradient(penalty, layer.log_threshold), layer.log_threshold)])
    assert 0 < layer.threshold < 0.1


@pytest.mark.parametrize("settings", [{"levels": 0}, {"levels": 2.5}, {"initial_threshold": 0.0}])
def test_mistakes_are_named(settings):
    with pytest.raises(ModelError, match=next(iter(settings))):
        QuantisedReLU(**settings)


def network(levels=4):
    """A small network whose thresholds differ, and whose pre-activations go beyond them."""
    start_afresh(0)
    x = inputs = layers.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = layers.BatchNormalization()(x)
    x = QuantisedReLU(levels, 0.5, name="first")(x)
    x = layers.AveragePooling2D()(x)
    x = layers.Flatten()(x)
    x = QuantisedReLU(levels, 0.3, name="second")(layers.Dense(8)(x))
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.fixture(scope="module")
def converted():
    model = network()
    converter = NengoDLConverter()
    converter = converter.calibrated(converter.levels(model, SAMPLES), 0.001, channels=True)
    return model, converter, converter.convert(model, 0)


def test_a_threshold_becomes_one_spike_per_step(converted):
    model, converter, net = converted
    assert converter.scale_firing_rates == pytest.approx({"first": 2000.0, "second": 1 / 0.3 / 0.001}, rel=1e-5)
    assert all(np.all(np.asarray(own) == 1) for own in converter.channel_factors.values()), "thresholds are fixed"
    assert [type(layer.neuron_type) for layer in net.layers] == [IntegrateAndFire, IntegrateAndFire]
    assert [layer.neuron_type.most_spikes(0.001) for layer in net.layers] == [1, 1]
    plan = {layer.name: layer.becomes for layer in converter.explain(model).layers}
    assert plan["first"] == plan["second"] == "IntegrateAndFire"


@pytest.mark.parametrize("simulator", [EventDrivenSimulator, ClockDrivenSimulator, NengoDLSimulator])
def test_rates_of_the_network_are_those_of_the_model(converted, simulator):
    model, _, net = converted
    assert difference(net, model, SAMPLES, simulator()) == ""


def test_the_first_layer_spikes_as_often_as_its_level(converted):
    model, _, net = converted
    first = keras.Model(model.inputs, model.get_layer("first").output).predict(SAMPLES, verbose=0)
    with EventDrivenSimulator(n_steps=4, precision="float64").open(net) as opened:
        (chunk,) = opened.run(Stimulus(SAMPLES, range(len(SAMPLES)), ConstantEncoder()))
    counts = chunk.layers["first"].counts_bn
    np.testing.assert_array_equal(counts, np.round(first.reshape(len(SAMPLES), -1) / 0.5 * 4))
    assert counts.max() == 4, "at most one a step"


def test_a_fixed_scale_must_suit_the_threshold(converted):
    model, _, _ = converted
    net = NengoDLConverter(scale_firing_rates=700.0).convert(model, 0)
    with pytest.raises(SimulationError, match="scale_firing_rates=auto"):
        EventDrivenSimulator().open(net).__enter__()


@pytest.mark.parametrize("simulator", [EventDrivenSimulator, NengoDLSimulator])
def test_values_between_two_steps_are_no_difference(simulator):
    """Half of the values lie exactly between two of the four steps, where rounding decides which they take."""
    start_afresh(0)
    normalization = layers.BatchNormalization(epsilon=0.0, center=False)
    model = keras.Sequential([layers.Input((6,)), layers.Dense(30, use_bias=False), normalization])
    model = keras.Sequential([*model.layers, QuantisedReLU(4, 3.0), layers.Dense(3)])
    model.build((None, 6))
    steps = RNG.integers(-3, 4, (6, 30)).astype(np.float32)
    normalization.set_weights([np.ones(30), np.zeros(30), np.full(30, 1 / 9)])
    model.layers[0].set_weights([steps / 3])
    samples = np.float32(3 / 8) * RNG.integers(-2, 3, (8, 6)).astype(np.float32)
    converter = NengoDLConverter()
    net = converter.calibrated(converter.levels(model, samples), 0.001).convert(model, 0)
    assert difference(net, model, samples, simulator()) == ""
    model.layers[0].set_weights([1.01 * steps / 3])
    assert "'quantised_re_lu" in difference(net, model, samples, simulator()), "what steps would hide is seen"


def test_it_is_saved_and_loaded(tmp_path):
    model = network()
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded.predict(SAMPLES, verbose=0), model.predict(SAMPLES, verbose=0))
    assert rectifier(loaded.get_layer("second")).levels == 4


def test_nengo_dl_refuses_to_train_it():
    inputs = layers.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(QuantisedReLU(name="first")(layers.Dense(8)(inputs))))
    with pytest.raises(TrainingError, match=r"'first' \(QuantisedReLU\).*training=keras"):
        NengoDLTraining().check(model)
    KerasTraining().check(model)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [Cnn2d, Mlp, ResNet, Vgg])
def test_the_built_in_models_take_it(fitted, architecture):
    _, data = fitted
    small = {
        Cnn2d: {"filters": [4], "dense": 8},
        Mlp: {"units": [8]},
        ResNet: {"filters": [2, 4, 4]},
        Vgg: {"stages": [[4]]},
    }
    model = architecture(activation="quantised", levels=3, **small[architecture]).build(data.spec)
    rectifiers = [rectifier(layer) for layer in model.layers]
    assert {own.levels for own in rectifiers if own is not None} == {3}
    plan = NengoDLConverter().explain(model)
    assert not plan.unsupported and sum(layer.neurons > 0 for layer in plan.layers) == sum(map(bool, rectifiers))
    with pytest.raises(ModelError, match=r"model.levels: got 3, .* model.activation=quantised"):
        architecture(levels=3, **small[architecture]).build(data.spec)
