"""Plans, and converted networks against the models they came from."""

import nengo
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from snnpipe import Cnn2d, KerasToSnn, Mlp, NengoDLConverter, NengoDLSimulator, ResNet, Vgg
from snnpipe.base.errors import ConfigError, ConversionError, ModelError
from snnpipe.conversion.synapses import fan_out, macs
from snnpipe.encoders import ConstantEncoder
from snnpipe.frameworks.compat import start_afresh
from snnpipe.models.adapt import adapt
from snnpipe.testing import SPEC, check_converter
from snnpipe.values.simulation import Stimulus

RATE = nengo.RectifiedLinear()
SPIKING = nengo.SpikingRectifiedLinear()
ARCHITECTURES = {
    "mlp": Mlp(units=[20, 10]),
    "mlp without biases": Mlp(units=[20], use_bias=False),
    "mlp with normalization": Mlp(units=[20, 10], batch_normalization=True),
    "cnn2d": Cnn2d(filters=[4, 6], dense=12),
    "cnn2d with everything": Cnn2d(
        filters=[4, 6], dense=12, kernel_regularizer=1e-3, batch_normalization=True, dropout=0.3
    ),
    "keras_to_snn": KerasToSnn(filters=[4, 6]),
    "resnet": ResNet(depth=8, filters=[3, 4, 5]),
    "vgg": Vgg(stages=[[3, 4], [5]], dense=[6]),
    "vgg with biases": Vgg(stages=[[3], [4]], flatten=True, batch_normalization=False),
}


layers = keras.layers


def build(*middle, classes=3):
    image = x = layers.Input(SPEC.input_shape, name="image")
    for layer in middle:
        x = layer(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x))


def with_random_weights(model):
    rng = np.random.default_rng(0)
    for layer in model.layers:
        values = [rng.normal(0, 0.3, w.shape) for w in layer.get_weights()]
        if isinstance(layer, layers.BatchNormalization):
            values[3] = rng.uniform(0.5, 2, values[3].shape)  # a variance
        layer.set_weights(values)
    return model


def images(count=3):
    return np.random.default_rng(1).uniform(-1, 1, (count, *SPEC.input_shape)).astype(np.float32)


def rate_outputs(model, converter, n_steps=1):
    """The converted network's output for rate neurons, after the last step."""
    network = converter.convert(model, seed=0)
    batch = images()
    with NengoDLSimulator(n_steps=n_steps, batch_size=len(batch)).open(network) as simulator:
        chunks = list(simulator.run(Stimulus(batch, range(len(batch)), ConstantEncoder())))
    return chunks[-1].outputs_btc[:, -1]


@pytest.mark.parametrize(("name", "scale"), [*((name, 25.0) for name in ARCHITECTURES), ("cnn2d", 1.0)])
def test_rate_network_equals_the_keras_model(name, scale):
    start_afresh(0)
    model = with_random_weights(ARCHITECTURES[name].build(SPEC))
    outputs = rate_outputs(model, NengoDLConverter(neuron=RATE, scale_firing_rates=scale, synapse=None))
    np.testing.assert_allclose(outputs, model(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_contract(name):
    check_converter(NengoDLConverter(neuron=SPIKING, scale_firing_rates=20.0, synapse=0.005), ARCHITECTURES[name])


@pytest.mark.slow
def test_noise_on_the_relus_is_for_training_only():
    start_afresh(0)
    plain, noisy = (Cnn2d(filters=[4, 4], dense=8, activation_noise=noise).build(SPEC) for noise in (0.0, 5.0))
    noisy.set_weights(plain.get_weights())
    x = images()
    assert not np.allclose(noisy(x, training=True), plain(x, training=True))
    np.testing.assert_array_equal(noisy.predict_on_batch(x), plain.predict_on_batch(x))
    plan = {
        layer.name: layer.status
        for layer in NengoDLConverter(neuron=None, scale_firing_rates=1.0, synapse=None).explain(noisy).layers
    }
    assert [plan[name] for name in ("conv2d_noise", "conv2d_1_noise", "dense_noise")] == ["folded"] * 3
    found = [
        rate_outputs(model, NengoDLConverter(neuron=None, scale_firing_rates=1.0, synapse=None))
        for model in (noisy, plain)
    ]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


def test_what_preparing_changes_is_in_the_plan():
    plan = NengoDLConverter(neuron=SPIKING, scale_firing_rates=1.0, synapse=None).explain(
        ARCHITECTURES["cnn2d with everything"].build(SPEC)
    )
    status = {layer.name: (layer.status, layer.becomes) for layer in plan.layers}
    assert status["image"] == ("passthrough", "input node")
    assert status["conv2d"] == ("native", "linear connection")
    assert status["conv2d_bn"] == ("folded", "weights of conv2d")
    assert status["conv2d_relu"] == ("native", "SpikingRectifiedLinear")
    assert status["flatten"][0] == "passthrough"
    assert status["dense_bn"] == ("folded", "weights of dense")
    assert status["dense_relu"] == ("native", "SpikingRectifiedLinear")
    assert status["dropout"] == ("folded", "nothing")
    assert status["logits"] == ("native", "linear connection")


@pytest.mark.parametrize(
    "end",
    [
        layers.Dense(3, activation="softmax", name="end"),
        lambda x: layers.Softmax(name="end_softmax")(layers.Dense(3, name="end")(x)),
        lambda x: layers.Activation("softmax", name="end_softmax")(layers.Dense(3, name="end")(x)),
    ],
)
def test_a_softmax_at_the_end_is_dropped_and_the_logits_stay(end):
    image = layers.Input(SPEC.input_shape)
    model = with_random_weights(keras.Model(image, end(layers.Flatten()(image))))
    logits = images().reshape(3, -1) @ model.get_layer("end").kernel.numpy() + model.get_layer("end").bias.numpy()
    np.testing.assert_allclose(
        rate_outputs(model, NengoDLConverter(neuron=RATE, scale_firing_rates=1.0, synapse=None)),
        logits,
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "middle",
    [
        lambda: [layers.Conv2D(4, 3, name="conv"), layers.ReLU(name="relu"), layers.Flatten()],
        lambda: [layers.Conv2D(4, 3, name="conv"), tf.nn.relu, layers.Flatten()],
        lambda: [layers.Conv2D(4, 3, activation="relu", name="conv"), layers.GlobalAveragePooling2D()],
        lambda: [
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="after"),
            layers.Flatten(),
        ],
        lambda: [layers.ZeroPadding2D(1), layers.Conv2D(4, 3, strides=2, activation="relu"), layers.Flatten()],
        lambda: [
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
        ],
    ],
)
def test_other_ways_to_write_a_layer(middle):
    start_afresh(0)
    model = with_random_weights(build(*middle()))
    converter = NengoDLConverter(neuron=RATE, scale_firing_rates=1.0, synapse=None)
    assert sum(layer.neurons > 0 for layer in converter.explain(model).layers) == 1
    np.testing.assert_allclose(rate_outputs(model, converter), model(images()), rtol=1e-5, atol=1e-5)


def test_branches():
    image = layers.Input(SPEC.input_shape, name="image")
    one = layers.Conv2D(4, 3, padding="same", activation="relu", name="one")(image)
    two = layers.Conv2D(4, 3, padding="same", activation="relu", name="two")(image)
    x = layers.Concatenate()([layers.Add()([one, two]), two])
    model = with_random_weights(keras.Model(image, layers.Dense(3)(layers.Flatten()(x))))
    np.testing.assert_allclose(
        rate_outputs(model, NengoDLConverter(neuron=RATE, scale_firing_rates=1.0, synapse=None)),
        model(images()),
        rtol=1e-5,
        atol=1e-5,
    )
    # a spike of `one` reaches the logits by the sum alone, one of `two` by the sum and beside it: the same three logits
    found = fan_out(model)
    assert set(found["one"]) == set(found["two"]) == {3}


def test_a_model_of_keras_3_is_told_from_one_of_tf_keras():
    import keras as keras_3

    model = keras_3.Sequential([keras_3.layers.Input((4, 4, 1)), keras_3.layers.Flatten(), keras_3.layers.Dense(3)])
    with pytest.raises(ModelError, match="no model of tf_keras"):
        NengoDLConverter(neuron=None, scale_firing_rates=1.0, synapse=None).explain(model)


def test_a_sequential_model():
    model = keras.Sequential(
        [layers.Input(SPEC.input_shape), layers.Flatten(), layers.Dense(5, activation="relu"), layers.Dense(3)]
    )
    np.testing.assert_allclose(
        rate_outputs(with_random_weights(model), NengoDLConverter(neuron=RATE, scale_firing_rates=1.0, synapse=None)),
        model(images()),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("how", ["sums", "gated", "average"])
def test_max_pooling_computes_what_the_plan_says(how):
    def body(pooling):
        return build(
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            pooling(2, padding="same", name="pool"),
            layers.Flatten(),
        )

    model = body(layers.MaxPooling2D)
    expected = body(layers.AveragePooling2D) if how == "average" else model
    expected.set_weights(model.get_weights())
    converter = NengoDLConverter(neuron=RATE, max_pooling=how, scale_firing_rates=1.0, synapse=None)
    becomes = {layer.name: layer.becomes for layer in converter.explain(model).layers}["pool"]
    assert becomes == {"sums": "max pooling of sums", "gated": "gated max pooling", "average": "average pooling"}[how]
    np.testing.assert_allclose(rate_outputs(model, converter), expected(images()), rtol=1e-5, atol=1e-5)


def test_max_pooling_with_channels_first_is_refused():
    model = build(layers.MaxPooling2D((2, 1), data_format="channels_first", name="pool"), layers.Flatten())
    with pytest.raises(ConversionError, match=r"'pool'.*channels_last"):
        NengoDLConverter(neuron=RATE, scale_firing_rates=1.0, synapse=None).convert(model, seed=0)


@pytest.mark.parametrize(
    ("middle", "says"),
    [
        (lambda: [layers.LayerNormalization(name="odd"), layers.Flatten()], "BatchNormalization"),
        (lambda: [layers.Conv2D(4, 3, activation="elu", name="odd"), layers.Flatten()], "'elu'"),
        (lambda: [layers.ReLU(threshold=1.0, name="odd"), layers.Flatten()], "threshold"),
    ],
)
def test_a_layer_that_cannot_be_converted_is_named(middle, says):
    model = build(*middle())
    plan = NengoDLConverter(neuron=SPIKING, scale_firing_rates=1.0, synapse=None).explain(model)
    assert [layer.name for layer in plan.unsupported] == ["odd"]
    assert says in plan.unsupported[0].reason


def test_a_layer_that_is_applied_twice_is_named():
    twice = layers.Dense(64, activation="relu", name="twice")
    plan = NengoDLConverter(neuron=SPIKING, scale_firing_rates=1.0, synapse=None).explain(
        build(layers.Flatten(), twice, twice)
    )
    assert [layer.name for layer in plan.unsupported] == ["twice"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_with_their_layer(value):
    model = build(layers.Flatten(), layers.Dense(4, activation="relu", name="broken"), layers.Dense(3))
    kernel, bias = model.get_layer("broken").get_weights()
    kernel[0, :2] = value
    model.get_layer("broken").set_weights([kernel, bias])
    with pytest.raises(ModelError, match=r"layer 'broken' has weights that are infinite or no numbers \(2 of "):
        adapt(model, SPEC)


@pytest.mark.parametrize("neuron", ["lif", nengo.LIF, {"dense": "lif"}])
def test_what_is_no_neuron_is_told_what_one_looks_like(neuron):
    with pytest.raises(
        ConfigError, match=r"conversion\.neuron: got .*: should be a Nengo neuron type, such as nengo\.LIF"
    ):
        NengoDLConverter(neuron=neuron, scale_firing_rates=1.0)


def test_models_without_a_static_graph_are_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ModelError, match="functional API"):
        NengoDLConverter(neuron=SPIKING, scale_firing_rates=1.0, synapse=None).explain(Own())


def test_per_layer_settings():
    model = ARCHITECTURES["cnn2d"].build(SPEC)
    converter = NengoDLConverter(
        neuron={"*": SPIKING, "dense": nengo.LIF()},
        scale_firing_rates={"conv*": 10.0, "conv2d_1": 80.0},
        synapse={"dense": 0.01},
    )
    found = {layer.name: layer for layer in converter.convert(model, seed=0).layers}
    assert {n: type(v.neuron_type).__name__ for n, v in found.items()} == {
        "conv2d": "SpikingRectifiedLinear",
        "conv2d_1": "SpikingRectifiedLinear",
        "dense": "LIF",
    }
    assert {n: v.scale_firing_rates for n, v in found.items()} == {"conv2d": 10, "conv2d_1": 80, "dense": 1}
    assert {n: v.neuron_type.amplitude for n, v in found.items()} == {"conv2d": 0.1, "conv2d_1": 1 / 80, "dense": 1}
    assert {n: v.synapse.plain for n, v in found.items()} == {"conv2d": None, "conv2d_1": None, "dense": 0.01}


def test_the_synapse_is_on_neurons_outputs_and_nowhere_else():
    network = NengoDLConverter(neuron=SPIKING, synapse=0.005, scale_firing_rates=1.0).convert(
        ARCHITECTURES["cnn2d"].build(SPEC), seed=0
    )
    neurons = {layer.neurons for layer in network.layers}
    for connection in network.network.all_connections:
        tau = None if connection.synapse is None else connection.synapse.tau
        assert tau == (0.005 if connection.pre_obj in neurons else None)


@pytest.mark.parametrize("key", ["scale_firing_rates", "synapse"])
def test_a_setting_for_a_layer_that_is_not_there_is_named(key):
    with pytest.raises(ConfigError, match=rf"conversion.{key}: .*'conv9'.*conv2d_1"):
        NengoDLConverter(neuron=SPIKING, **{key: {"conv9": 0.5}}).explain(ARCHITECTURES["cnn2d"].build(SPEC))


def test_a_neuron_without_amplitude_cannot_be_scaled():
    with pytest.raises(ConfigError, match="Sigmoid has no amplitude"):
        NengoDLConverter(neuron=nengo.Sigmoid(), scale_firing_rates=2.0, synapse=None).convert(
            Mlp(units=[4]).build(SPEC), seed=0
        )


def test_converting_does_not_change_the_model():
    model = with_random_weights(ARCHITECTURES["cnn2d with everything"].build(SPEC))
    before = [w.copy() for w in model.get_weights()]
    NengoDLConverter(neuron=SPIKING, scale_firing_rates=20.0, synapse=0.005).convert(model, seed=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_fan_out_and_macs_by_hand():
    # 4x4x1 image, 3x3 same convolution to 2 channels, 2x2 pooling to 2x2x2, dense 5 of neurons, 3 logits
    image = layers.Input((4, 4, 1))
    x = layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")(image)
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    x = layers.Dense(5, activation="relu", name="dense")(x)
    model = keras.Model(image, layers.Dense(3, name="logits")(x))
    found = fan_out(model)
    assert set(found["conv"]) == {5}  # one pooled cell, which drives 5 neurons
    assert set(found["dense"]) == {3}
    # of the 16 pixels 4 corners have 4 neighbours (themselves included), 8 edges 6, 4 inner ones 9
    assert macs(model) == {"conv": (4 * 4 + 8 * 6 + 4 * 9) * 2, "dense": 8 * 5, "logits": 15}


@pytest.mark.parametrize(
    "layer",
    [
        layers.Masking(-1.0, name="odd"),
        layers.Lambda(lambda x: tf.clip_by_value(x, -2.5, 2.5), name="odd"),
        layers.Lambda(lambda x: tf.clip_by_value(x, -200, 200), name="odd"),
    ],
    ids=["masking", "clip", "wide clip"],
)
def test_a_layer_that_changes_some_inputs_only_is_no_identity(layer):
    """An input of ordinary size passes through each of them."""
    model = keras.Sequential([layers.Input((6, 3)), layer, layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(3)])
    with pytest.raises(ConversionError, match="odd"):
        NengoDLConverter(scale_firing_rates=100.0).convert(model, seed=0)


def test_masking_whose_mask_a_later_layer_takes_is_no_identity():
    """A mean over steps leaves masked steps out."""
    masked = [layers.Input((6, 3)), layers.Masking(0.0, name="odd"), layers.Dense(5, "relu")]
    model = keras.Sequential([*masked, layers.GlobalAveragePooling1D(), layers.Dense(3)])
    with pytest.raises(ConversionError, match="odd"):
        NengoDLConverter(scale_firing_rates=100.0).convert(model, seed=0)


def test_masking_of_zeros_is_an_identity():
    masked = [layers.Input((6, 3)), layers.Masking(0.0), layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(3)]
    NengoDLConverter(scale_firing_rates=100.0).convert(keras.Sequential(masked), seed=0)


def test_positions_that_pooling_cuts_off_drive_nothing():
    image = layers.Input((5, 5, 1))
    x = layers.Conv2D(1, 1, activation="relu", name="conv")(image)
    model = keras.Model(image, layers.Dense(7)(layers.Flatten()(layers.AveragePooling2D(2)(x))))
    found = fan_out(model)["conv"].reshape(5, 5)
    assert set(found[:4, :4].ravel()) == {7}
    assert not found[4].any() and not found[:, 4].any()


def test_a_zero_weight_is_no_synapse():
    model = build(layers.Flatten(), layers.Dense(4, activation="relu", name="dense"))
    kernel = np.ones((4, 3))
    kernel[0] = 0
    model.get_layer("logits").set_weights([kernel, np.zeros(3)])
    assert fan_out(model)["dense"].tolist() == [0, 3, 3, 3]
