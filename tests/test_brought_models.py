"""Models as people bring them: what is taken computes what it did, in every simulator; what is not says what to do."""

import dataclasses

import nengo
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from brought import CLASSES, LINEAR, SHAPE, TAKEN, Jitter, Standardised, Swish, after, base, conv, model
from data_modules import Arrays

from snnpipe import (
    AutoSimulator,
    ClockDrivenSimulator,
    ConstantEncoder,
    EventDrivenSimulator,
    KerasTraining,
    NengoDLConverter,
    NengoDLSimulator,
    Trainer,
)
from snnpipe.base.errors import ConfigError, ConversionError, ModelError, SimulationError
from snnpipe.callbacks.base import Callback
from snnpipe.conversion.fidelity import FEW, difference, require_same_rates
from snnpipe.models.adapt import adapt, build
from snnpipe.testing import SPEC
from snnpipe.values.simulation import Stimulus

L = keras.layers
IMAGES = np.random.default_rng(0).uniform(-1, 1, (FEW, *SHAPE)).astype(np.float32)
OURS = dataclasses.replace(SPEC, input_shape=SHAPE, n_classes=CLASSES)
SPIKING = NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=200.0, synapse=0.002)


def converted(built, converter=SPIKING):
    adapted = adapt(built, OURS).model
    return adapted, converter.convert(adapted, 0)


OTHER_SPELLINGS = {  # of what the source treats as it does another
    "augmented: flip",
    "augmented: rotation, zoom and contrast",
    "augmented: spatial dropout",
    "augmented: noise behind neurons",
    "scaled: operations",
    "scaled: rescaling with an offset",
    "scaled: rescaling of channels",
    "scaled: normalization, padded",
    "scaled: normalization of all",
    "scaled: normalization inverted",
    "scaled: an operation",
    "scaled: an operation on channels",
    "scaled: a cast",
    "rectified: a function of TensorFlow",
    "rectified: slope 0",
    "rectified: an operation on a tensor",
    "rectified: a layer of one's own",
    "leaky: an instance",
    "leaky: a ReLU with a slope",
    "leaky: an operation",
    "clipped: by name",
    "clipped: a partial",
    "clipped: an operation",
    "clipped: ReLU6",
    "linear: depthwise",
    "linear: depthwise 1-D",
    "linear: separable",
    "linear: causal",
    "linear: causal, dilated",
    "linear: dilated",
    "linear: pooling, padded",
    "linear: pooling, dimensions kept",
    "linear: padded",
    "linear: dense on channels",
    "linear: concatenated along the last",
    "linear: upsampled",
    "linear: averaged",
    "linear: pooling 1-D, padded",
    "nested: a sequence",
    "nested: frozen",
}
assert set(TAKEN) > OTHER_SPELLINGS


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in OTHER_SPELLINGS else name for name in TAKEN]
)
def test_what_is_taken_computes_what_it_did(name):
    built = model(name)
    adapted, network = converted(built)
    assert not np.allclose(built.predict_on_batch(IMAGES), 0)
    if "called as in training" not in name:
        np.testing.assert_allclose(
            adapted.predict_on_batch(IMAGES), built.predict_on_batch(IMAGES), rtol=1e-5, atol=1e-6
        )
    assert not difference(network, adapted, IMAGES, AutoSimulator())
    assert all(layer.spiking for layer in network.layers)


SIMULATED = [
    "clipped: low",
    "leaky: a layer",
    "linear: separable, normalised, dilated",
]
SIMULATED_TOO = [
    "scaled: normalization, padded",
    "scaled: behind neurons",
    "leaky: a partial",
    "clipped: by name",
    *(f"linear: {name}" for name in LINEAR if "separable, normalised, dilated" not in name),
    "nested: two with the same names",
]


@pytest.mark.long  # 2 minutes
@pytest.mark.parametrize("name", [name for name in TAKEN if name not in (*SIMULATED, *SIMULATED_TOO)])
def test_what_is_taken_computes_it_in_nengo_too(name):
    adapted, network = converted(model(name))
    require_same_rates(network, adapted, IMAGES, NengoDLSimulator())


def spikes_of(simulator, network):
    settings = {"n_steps": 12, "batch_size": len(IMAGES), "precision": "float64"}
    everyone = tuple(range(len(IMAGES)))
    stimulus = Stimulus(IMAGES, everyone, ConstantEncoder(), record=everyone)
    with simulator(**settings).open(network, True) as opened:
        (chunk,) = opened.run(stimulus)
    for layer in network.layers:
        activity = chunk.layers[layer.name]
        assert np.abs(activity.events.count).sum() == activity.counts_bn.sum()
        assert activity.events.count.sum() == activity.net_bn.sum()
        assert np.all(np.abs(activity.net_bn) <= activity.counts_bn) and (layer.signed or activity.signed_bn is None)
    return {name: activity.net_bn for name, activity in chunk.layers.items()}, chunk.outputs_btc


@pytest.mark.parametrize("name", [*SIMULATED, *(pytest.param(n, marks=pytest.mark.long) for n in SIMULATED_TOO)])
def test_all_simulators_give_the_same_spikes(name):
    _, network = converted(model(name))
    expected, output = spikes_of(NengoDLSimulator, network)
    assert sum(np.abs(counts).sum() for counts in expected.values()) > 20
    for simulator in (ClockDrivenSimulator, EventDrivenSimulator):
        try:
            counts, ours = spikes_of(simulator, network)
        except SimulationError:
            assert simulator is EventDrivenSimulator and ("leaky" in name or "causal, with strides" in name)
            continue
        for layer, values in expected.items():
            np.testing.assert_array_equal(counts[layer], values, f"{simulator.__name__}: {layer}")
        np.testing.assert_allclose(ours, output, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------- what is said of it


def plan_of(body, converter=SPIKING, shape=SHAPE):
    return converter.explain(adapt(after(body, shape), OURS).model)


def test_augmentation_is_left_out_of_test_passes_and_networks():
    adapted, network = converted(after(lambda x: conv(Jitter()(L.RandomFlip()(x)))))
    first, second = (adapted.predict_on_batch(IMAGES) for _ in range(2))
    assert np.array_equal(first, second)
    planned = {layer.kind: layer for layer in SPIKING.explain(adapted).layers}
    assert planned["Jitter"].status == planned["RandomFlip"].status == "folded"
    assert planned["Jitter"].reason == planned["RandomFlip"].reason == "acts in training only"
    assert not any(type(layer).__name__ in planned for layer in network.keras_model.layers if layer.name in ("jitter",))


def test_a_layer_that_is_trained_is_not_taken_for_one_that_passes_on():
    class Gain(L.Layer):
        def build(self, shape):
            self.gain = self.add_weight("gain", (1,), initializer="ones")

        def call(self, x):
            return self.gain * x

    plan = plan_of(lambda x: conv(Gain(name="gain")(x)))
    assert [layer.name for layer in plan.unsupported] == ["gain"]


def test_names_of_neurons_are_those_of_the_model():
    settings = {"conv": 50.0, "conv_1": 10.0}
    converter = dataclasses.replace(SPIKING, scale_firing_rates=settings)
    body = lambda x: conv(conv(x, activation=L.LeakyReLU(0.2)), "conv_1", activation="relu6")  # noqa: E731
    _, network = converted(after(body), converter)
    assert {layer.name: layer.scale_firing_rates for layer in network.layers} == settings
    leaky, clipped = (layer.neuron_type for layer in network.layers)
    assert (leaky.negative_slope, leaky.amplitude) == (0.2, 1 / 50)
    assert (clipped.max_rate, clipped.amplitude) == (60.0, 1 / 10)


def test_a_clipped_neuron_fires_at_most_so_often():
    _, network = converted(after(lambda x: L.ReLU(0.25, name="low")(conv(x, activation=None) * 100.0)))
    counts, _ = spikes_of(ClockDrivenSimulator, network)
    assert counts["low"].max() == pytest.approx(0.25 * 200 * 0.012, abs=1)
    assert np.mean(counts["low"] > 0) > 0.2


def test_a_leaky_neuron_has_spikes_of_either_sign():
    _, network = converted(model("leaky: a layer"), dataclasses.replace(SPIKING, scale_firing_rates=2000.0))
    counts, _ = spikes_of(ClockDrivenSimulator, network)
    (values,) = counts.values()
    assert values.min() < 0 < values.max()


@pytest.mark.parametrize("name", ["leaky: a layer", "clipped: ReLU6"])
def test_neurons_that_cannot_do_it_stay_rate_neurons_and_the_plan_says_so(name):
    converter = NengoDLConverter(neuron=nengo.LIF(), scale_firing_rates=100.0, synapse=None)
    adapted, network = converted(model(name), converter)
    (own,) = (layer for layer in converter.explain(adapted).layers if layer.neurons)
    assert own.rate_units == own.neurons > 0 and "neuron=spiking_relu" in own.reason
    assert not network.layers[0].spiking
    require_same_rates(network, adapted, IMAGES, AutoSimulator())
    spiking = SPIKING.explain(adapted)  # the cure
    assert all(not layer.rate_units for layer in spiking.layers)


@pytest.mark.parametrize("neuron", [nengo.RegularSpiking, nengo.PoissonSpiking, nengo.StochasticSpiking])
def test_drawn_and_regular_spikes_are_clipped_too(neuron):
    converter = NengoDLConverter(neuron=neuron(nengo.RectifiedLinear()), scale_firing_rates=400.0, synapse=None)
    _, network = converted(after(lambda x: L.ReLU(0.25, name="low")(conv(x, activation=None) * 100.0)), converter)
    counts, _ = spikes_of(ClockDrivenSimulator, network)
    assert 0.25 * 400 * 0.012 <= counts["low"].mean(axis=0).max() < 3 * 0.25 * 400 * 0.012
    assert type(network.layers[0].neuron_type) is neuron


REFUSED = {
    "add": (lambda x: conv(x, activation=None) + conv(x, "b"), r"take Add\(\)\(\[x, y\]\)"),
    "product": (lambda x: conv(x) * conv(x, "b"), "leave it out"),
    "concatenation": (lambda x: tf.concat([conv(x), conv(x, "b")], -1), r"Concatenate\(\)"),
    "slice": (lambda x: conv(x)[:, 1:], "Cropping"),
    "mean": (lambda x: tf.reduce_mean(conv(x), [1, 2]), "GlobalAveragePooling"),
    "own activation": (lambda x: Swish(name="odd")(conv(x)), "Nengo has nothing for a layer of type Swish"),
    "elu": (lambda x: conv(x, activation="elu"), "take 'relu' or LeakyReLU"),
    "elu layer": (lambda x: L.ELU()(conv(x, activation=None)), "take ReLU or LeakyReLU"),
    "recurrent": (lambda x: L.LSTM(4)(L.Reshape((7, 12))(x)), "recurrent"),
    "threshold": (lambda x: L.ReLU(threshold=0.5)(conv(x, activation=None)), "threshold"),
    "multiply": (lambda x: L.Multiply()([conv(x), conv(x, "b")]), "leave the product out"),
    "layer normalisation": (lambda x: L.LayerNormalization()(conv(x)), "BatchNormalization"),
    "transposed": (lambda x: L.Conv2DTranspose(3, 3, activation="relu")(conv(x)), "UpSampling"),
    "straight near 0": (lambda x: L.Activation("hard_sigmoid", name="odd")(conv(x)), "hard_sigmoid"),
    "straight near 0, as a Lambda": (lambda x: L.Lambda(lambda v: v / (1 + abs(v) / 1e3))(conv(x)), "Lambda"),
    "a convolution of one's own": (lambda x: Standardised(3, 3, name="odd")(conv(x)), "Standardised"),
    "shapes": (lambda x: L.Add()([conv(x), L.GlobalAveragePooling2D(keepdims=True)(conv(x, "b"))]), "give them one"),
    "axes": (lambda x: L.BatchNormalization(axis=[1, 2])(conv(x)), "axis=-1"),
    "channels first": (lambda x: L.AveragePooling2D(2, data_format="channels_first")(conv(x)), "channels_last"),
    "places": (lambda x: conv(x) * np.arange(42.0, dtype="float32").reshape(7, 6, 1), "place to place"),
    "steps": (lambda x: L.TimeDistributed(L.Conv1D(2, 3, name="inner"))(conv(x)), "kernel of 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_what_to_build(name, capfd):
    body, says = REFUSED[name]
    plan = plan_of(body)
    assert capfd.readouterr().out == "", "NengoDL's progress, where it tries TensorNodes"
    assert len(plan.unsupported) == 1
    with pytest.raises(ConversionError, match=says) as refused:
        plan.require_convertible()
    first, *cure = refused.value.problems
    assert "allow_fallback" not in first and plan.unsupported[0].name in first
    assert bool(cure) == bool(plan.cure) == (name in FALLBACK)


def follow_fallback(body, *others):
    """Follow the cure that names TensorNodes: it has to work, and compute what the model does."""
    adapted, network = converted(after(body), dataclasses.replace(SPIKING, allow_fallback=True))
    for simulator in (AutoSimulator(), *others):
        require_same_rates(network, adapted, IMAGES, simulator)


FALLBACK = ["own activation", "straight near 0", "straight near 0, as a Lambda", "layer normalisation", "transposed"]
FALLBACK += ["a convolution of one's own"]


@pytest.mark.parametrize(
    "name", [name if name in FALLBACK[:2] else pytest.param(name, marks=pytest.mark.slow) for name in FALLBACK]
)
def test_where_fallback_is_named_it_works(name):
    follow_fallback(REFUSED[name][0])


@pytest.mark.long
@pytest.mark.parametrize("name", FALLBACK)
def test_fallback_computes_it_in_nengo_too(name):
    follow_fallback(REFUSED[name][0], NengoDLSimulator())


def test_several_refusals_are_a_line_each_and_their_cure_one_more():
    plan = plan_of(lambda x: L.LayerNormalization(name="norm")(L.ELU(name="odd")(conv(x, activation=None))))
    with pytest.raises(ConversionError, match="a layer with a ReLU|cannot be converted") as refused:
        plan.require_convertible()
    assert [problem.split("'")[1] for problem in refused.value.problems[:2]] == ["odd", "norm"]
    assert len({*refused.value.problems}) == len(refused.value.problems) <= 3


def test_fallback_is_no_cure_where_it_fails():
    body, _ = REFUSED["multiply"]
    with pytest.raises(ConversionError, match="takes 2 inputs") as refused:
        converted(after(body), dataclasses.replace(SPIKING, allow_fallback=True))
    assert "allow_fallback" not in str(refused.value)


# ---------------------------------------------------------------------- inputs, outputs, models inside


@pytest.mark.parametrize("shape", [(84,), (7, 6, 2, 1), (1, 7, 6, 2), (None, None, 2)])
def test_images_are_given_the_shape_of_the_input(shape):
    def body(x):
        return L.GlobalAveragePooling2D()(conv(x)) if None in shape else L.Dense(4, activation="relu")(L.Flatten()(x))

    built = after(body, shape)
    adapted = adapt(built, OURS)
    assert adapted.model.input_shape == (None, *SHAPE) and len(adapted.notes) == 1
    given = IMAGES if None in shape else IMAGES.reshape(len(IMAGES), *shape)
    np.testing.assert_allclose(adapted.model.predict_on_batch(IMAGES), built.predict_on_batch(given), rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 7, 2), (85,), (2, 7, 6), (12, 7)])
def test_another_input_is_refused_with_the_shape_to_build(shape):
    with pytest.raises(ModelError, match=r"Input\(\(7, 6, 2\)\)"):
        adapt(after(lambda x: L.Flatten()(x), shape), OURS)


SOFTMAX = {
    "in the last layer": lambda x: L.Dense(CLASSES, activation="softmax", name="out")(x),
    "a layer": lambda x: L.Softmax(name="out")(L.Dense(CLASSES)(x)),
    "an activation": lambda x: L.Activation("softmax", name="out")(L.Dense(CLASSES)(x)),
    "an operation": lambda x: tf.nn.softmax(L.Dense(CLASSES)(x)),
    "of a model inside": lambda x: keras.Sequential(
        [L.Input((84,)), L.Dense(CLASSES, activation="softmax", name="out")], name="head"
    )(x),
}


@pytest.mark.parametrize("name", SOFTMAX)
def test_a_softmax_at_the_end_leaves_its_logits(name):
    image = L.Input(SHAPE)
    built = keras.Model(image, SOFTMAX[name](L.Flatten()(image)))
    adapted = adapt(built, OURS)
    logits = adapted.model.predict_on_batch(IMAGES).astype(np.float64)
    exponentials = np.exp(logits)
    np.testing.assert_allclose(
        exponentials / exponentials.sum(axis=1, keepdims=True), built.predict_on_batch(IMAGES), rtol=1e-4
    )
    assert any("softmax" in note for note in adapted.notes)


@pytest.mark.parametrize(
    "end",
    [
        lambda x: L.Activation(lambda v: keras.activations.softmax(-v))(L.Dense(CLASSES)(x)),
        lambda x: L.Softmax()(L.Dense(CLASSES, activation="softmax")(x)),
        lambda x: L.Reshape((CLASSES,))(L.Softmax()(L.Dense(CLASSES)(x))),
        lambda x: L.Lambda(lambda v: v / tf.reduce_sum(v, axis=-1, keepdims=True))(
            L.Dense(CLASSES, activation="exponential")(x)
        ),
    ],
)
def test_probabilities_are_no_logits(end):
    image = L.Input(SHAPE)
    with pytest.raises(ModelError, match="its outputs are probabilities"):
        adapt(keras.Model(image, end(L.Flatten()(image))), OURS)


def test_a_softmax_of_ones_own_is_one():
    image = L.Input(SHAPE)
    built = keras.Model(
        image,
        L.Lambda(lambda v: tf.exp(v) / tf.reduce_sum(tf.exp(v), -1, keepdims=True))(
            L.Dense(CLASSES)(L.Flatten()(image))
        ),
    )
    assert "softmax" in adapt(built, OURS).notes[0]


def test_a_sigmoid_at_the_end_gets_a_warning():
    image = L.Input(SHAPE)
    with pytest.warns(UserWarning, match="'out' is a sigmoid"):
        adapt(keras.Model(image, L.Dense(CLASSES, activation="sigmoid", name="out")(L.Flatten()(image))), OURS)


REFUSED_MODELS = {
    "two parts": (lambda x: tf.split(conv(x), 2, axis=-1)[0], "gives several outputs"),
    "a batch's own statistics": (
        lambda x: L.BatchNormalization(name="bn")(conv(x), training=True),
        "'bn'.*training=True",
    ),
}


@pytest.mark.parametrize("name", REFUSED_MODELS)
def test_models_that_no_network_stands_for_are_refused(name):
    body, says = REFUSED_MODELS[name]
    with pytest.raises(ModelError, match=says):
        adapt(after(body), OURS)


def test_a_dict_of_outputs_is_refused():
    image = L.Input(SHAPE)
    built = keras.Model(image, {"logits": L.Dense(CLASSES)(L.Flatten()(image))})
    with pytest.raises(ModelError, match="dict with logits"):
        adapt(built, OURS)


def test_architectures_are_objects_functions_or_models():
    built = after(conv)

    class Own:
        def build(self, spec):
            return built

    assert build(Own(), OURS) is build(lambda spec: built, OURS) is build(built, OURS) is built
    for wrong in (Own, None, "cnn2d"):
        with pytest.raises(ModelError, match="architecture: got"):
            build(wrong, OURS)


def test_parts_of_a_trainer_are_objects_of_their_family():
    parts = {"data": Arrays(), "architecture": after, "encoder": ConstantEncoder(), "simulator": AutoSimulator()}
    parts |= {"training": KerasTraining(), "converter": SPIKING}
    for key, wrong in {
        "training": None,
        "simulator": "auto",
        "encoder": ConstantEncoder,
        "callbacks": Callback(),
    }.items():
        with pytest.raises(ConfigError, match=f"{key}: got"):
            Trainer(**(parts | {key: wrong}))


def test_half_precision_is_taken():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        built = after(lambda x: conv(L.BatchNormalization()(conv(conv(x), "b")), "c"))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    adapted, network = converted(built)
    require_same_rates(network, adapted, IMAGES, AutoSimulator())


def test_a_layer_in_software_keeps_its_relu():
    body = lambda x: L.Conv2DTranspose(3, 3, activation="relu", name="odd")(conv(x))  # noqa: E731
    follow_fallback(body, NengoDLSimulator())


def test_a_model_that_fits_is_itself():
    built = after(conv)
    assert adapt(built, OURS).model is built


def test_one_value_for_two_classes_is_refused():
    image = L.Input(SHAPE)
    built = keras.Model(image, L.Dense(1, activation="sigmoid")(L.Flatten()(image)))
    with pytest.raises(ModelError, match=r"Dense\(2\)"):
        adapt(built, dataclasses.replace(OURS, n_classes=2, class_names=()))


def test_a_model_applied_twice_is_refused():
    inner = base("base")
    with pytest.raises(ModelError, match="'base' inside it is applied more than once"):
        adapt(after(lambda x: L.Add()([inner(x), inner(x)])), OURS)


def test_a_frozen_model_stays_frozen():
    adapted = adapt(after(lambda x: base("base", frozen=True)(x)), OURS).model
    assert [w.name for w in adapted.trainable_weights] == ["logits/kernel:0", "logits/bias:0"]


def test_a_sequence_without_an_input_gets_the_images_shape():
    built = keras.Sequential([L.Conv2D(4, 3, activation="relu"), L.Flatten(), L.Dense(CLASSES)])
    assert adapt(built, OURS).model.input_shape == (None, *SHAPE)


def test_a_network_that_computes_something_else_is_stopped():
    adapted, network = converted(model("linear: averaged"))
    layer = network.keras_model.get_layer("conv_1")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * 1.5, bias])  # as a conversion would that takes a setting for another
    with pytest.raises(ConversionError, match=r"'conv_1' \(Conv2D\) differs by .* % .*through Auto"):
        require_same_rates(network, adapted, IMAGES, AutoSimulator())
