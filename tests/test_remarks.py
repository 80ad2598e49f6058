"""What a run says of its spikes: units that do not spike, several spikes in a step, images of an unusual size."""

from dataclasses import dataclass

import nengo
import numpy as np
import pytest

from snnpipe import AutoSimulator, Calibration, ConstantEncoder, KerasTraining, NengoDLConverter, Trainer
from snnpipe.artifacts.report import run_page
from snnpipe.artifacts.tables import read_plan, write_plan
from snnpipe.conversion.nengo_dl import NengoDLConverter as Converter
from snnpipe.run.summary import closing_table
from snnpipe.testing import SPEC

RELU = nengo.SpikingRectifiedLinear()


@dataclass
class Network:
    """A model that was made before, as an architecture."""

    model: object

    def build(self, spec):
        return self.model


@dataclass
class Enlarged:
    """A data module whose images are so many times as large."""

    data: object
    factor: float

    def __getattr__(self, name):
        return getattr(self.data, name)

    def test_dataset(self, batch_size=None):
        return self.data.test_dataset(batch_size).map(lambda images, labels: (images * self.factor, labels))


def run(data, tmp_path, model, *, diagnosed=0, n_steps=20, factor=1.0, synapse=0.005, **converter):
    """Run a model with its weights as they are."""
    trainer = Trainer(
        data=data if factor == 1 else Enlarged(data, factor),
        architecture=Network(model),
        training=KerasTraining(epochs=0),
        converter=NengoDLConverter(**({"neuron": RELU, "scale_firing_rates": 1.0, "synapse": synapse} | converter)),
        simulator=AutoSimulator(n_steps=n_steps, batch_size=20, max_images=40),
        encoder=ConstantEncoder(),
        diagnosed_images=diagnosed,
        output_dir=tmp_path / "run",
        command="python -m snnpipe",
    )
    result = trainer.run()
    return trainer, result, {remark.label: remark for remark in result.remarks}


def dense(spec, *activations):
    """A model of ten units a layer, a layer for each activation."""
    import tf_keras as keras

    layers = [keras.layers.Dense(10, activation=kind, name=f"h{i}") for i, kind in enumerate(activations)]
    head = [keras.layers.Input(spec.input_shape), keras.layers.Flatten(name="flat")]
    return keras.Sequential([*head, *layers, keras.layers.Dense(spec.n_classes, name="logits")])


# ---------------------------------------------------------------------- what does not spike


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activations", "neuron", "told"),
    [
        (("relu", "tanh", "sigmoid"), RELU, "20 of 30 units stay rate neurons: h1 (tanh), h2 (sigmoid)"),
        (("relu", "relu"), {"h1": RELU}, "10 of 20 units stay rate neurons: h0 (RectifiedLinear)"),
        pytest.param(("relu", "tanh"), None, "all 20 units are rate neurons", marks=pytest.mark.slow),
        (("relu", "relu"), nengo.RectifiedLinear(), "all 20 units are rate neurons"),
        (("relu", "relu"), RELU, None),
    ],
)
def test_units_that_do_not_spike_are_counted(digits, tmp_path, activations, neuron, told):
    data = digits()
    trainer, result, remarks = run(data, tmp_path, dense(data.spec, *activations), neuron=neuron, n_steps=2)
    found = remarks.get("not spiking")
    assert (found.text if found else None) == told
    table, page = closing_table(result), run_page(trainer.state, tmp_path)
    assert ("  not spiking " in table) == ("not spiking</b>" in page) == bool(told)
    if told:
        assert told in " ".join(table.split()) and told in page


@pytest.mark.slow
def test_what_runs_in_software_only_is_named(digits, tmp_path):
    data = digits()
    model = dense(data.spec, "relu", "swish")
    with pytest.warns(UserWarning, match="TensorNode"):
        _, _, remarks = run(data, tmp_path, model, n_steps=2, allow_fallback=True)
    assert remarks["not spiking"].text == "in software only: h1 (Dense)"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sums", "average"])
def test_synops_behind_max_pooling_are_called_an_upper_bound(digits, tmp_path, how):
    import tf_keras as keras

    layers, data = keras.layers, digits()
    first = [layers.Input(data.spec.input_shape), layers.Conv2D(4, 3, activation="relu")]
    model = keras.Sequential(
        [*first, layers.MaxPooling2D(name="pool"), layers.Flatten(), layers.Dense(data.spec.n_classes)]
    )
    _, result, remarks = run(data, tmp_path, model, n_steps=2, max_pooling=how)
    assert "snn/synops_per_image" in result.metrics
    assert ("upper bounds" in remarks) == ("max pooling (pool)" in closing_table(result)) == (how == "sums")


def test_a_plan_keeps_how_many_units_do_not_spike(digits, tmp_path):
    data = digits()
    plan = Converter(neuron={"h0": RELU}).explain(dense(data.spec, "relu", "relu", "tanh"))
    assert {layer.name: layer.rate_units for layer in plan.layers if layer.rate_units} == {"h1": 10, "h2": 10}
    json_path, _ = write_plan(tmp_path, plan)
    assert read_plan(json_path) == plan


# ---------------------------------------------------------------------- rates that do not fit


@pytest.mark.slow
def test_no_word_of_rates_that_fit(fitted, tmp_path):
    model, data = fitted
    _, _, remarks = run(data, tmp_path, model, scale_firing_rates=50.0, n_steps=40)
    assert not remarks


@pytest.mark.slow
def test_with_scales_from_data_several_spikes_a_step_are_no_fault(fitted, tmp_path):
    model, data = fitted
    calibration = Calibration(images=100, spikes_per_step=4.0, channels=False, balance=False)
    settings = {"scale_firing_rates": "auto", "calibration": calibration}
    _, result, remarks = run(data, tmp_path, model, n_steps=8, diagnosed=20, **settings)
    assert "spike more than once a step" in remarks["spikes per step"].text and not remarks["spikes per step"].cure
    assert "warning" not in remarks and result.diagnosis.calmer is None


@pytest.mark.slow
def test_neurons_that_spike_several_times_a_step_are_counted_and_a_cure_is_tried(fitted, tmp_path):
    model, data = fitted
    trainer, result, remarks = run(data, tmp_path, model, scale_firing_rates=3000.0, n_steps=40, diagnosed=40)
    rates = trainer.state.outcome.rates_hz
    for name in ("conv2d", "conv2d_1", "dense"):
        share, busiest = 100 * np.mean(rates[name] > 1000), rates[name].max() / 1000
        assert busiest > 1
        told = f"{name} ({share:.2g} % of its neurons, the busiest {busiest:,.3g} times, scale 3000)"
        assert told in remarks["warning"].text
    cure = result.diagnosis.calmer
    assert remarks["warning"].cure == cure.override and remarks["warning"].expected == cure.expected
    assert "of 40 images right" in cure.expected
    assert closing_table(result).count("  warning ") == 1
    page = run_page(trainer.state, tmp_path)
    assert "spike more than once a step" in page and "python -m snnpipe" in page


@pytest.mark.slow
def test_the_cure_leaves_at_most_one_spike_a_step(fitted, tmp_path):
    model, data = fitted
    _, _, before = run(data, tmp_path, model, scale_firing_rates=3000.0)
    assert before["warning"].expected == "not tried: diagnosis.images=0"
    key, _, scale = before["warning"].cure.partition("=")
    assert key.strip('"') == "conversion.scale_firing_rates"
    pairs = scale.strip('"{}').split(", ") if "{" in scale else [f"*: {scale}"]
    scales = {name: float(value) for name, value in (pair.split(": ") for pair in pairs)}
    trainer, _, after = run(data, tmp_path, model, scale_firing_rates=scales)
    assert max(trainer.state.outcome.busiest_per_step.values()) <= 1
    assert "once a step" not in getattr(after.get("warning"), "text", "")


@pytest.mark.slow
def test_images_far_larger_than_usual_are_named(fitted, tmp_path):
    model, data = fitted
    _, _, remarks = run(data, tmp_path, model, factor=255.0, scale_firing_rates=100.0)
    text = "images reach 255, and scales such as 100 are made for images within -1 to 1; neurons spike more than once"
    assert remarks["warning"].text.startswith(text)
    assert "images of 0 to 1 need another training" in remarks["warning"].expected


@pytest.mark.slow
def test_no_word_of_large_images_whose_scale_fits(fitted, tmp_path):
    model, data = fitted
    _, _, remarks = run(data, tmp_path, model, factor=255.0, scale_firing_rates=0.2, n_steps=40)
    assert not remarks


@pytest.mark.slow
def test_images_far_smaller_than_usual_are_named(fitted, tmp_path):
    import tf_keras as keras

    _, data = fitted
    keras.utils.set_random_seed(0)
    model = dense(data.spec, "relu")
    kernel, bias = model.get_layer("h0").get_weights()
    templates = np.stack([np.mean([x for x, y in _test_images(data) if y == c], axis=0) for c in range(10)], 1)
    model.get_layer("h0").set_weights([100 * (templates - templates.mean(1, keepdims=True)), bias])
    model.get_layer("logits").set_weights([10 * np.eye(10), np.zeros(10)])
    _, result, remarks = run(data, tmp_path, model, factor=0.001, scale_firing_rates=1.0)
    assert result.metrics["snn/accuracy_drop"] > 0.3
    assert remarks["warning"].text.startswith("images reach 0.001, ")
    assert "less than once in 20 ms: h0 (up to " in remarks["warning"].text


def _test_images(data):
    for images, labels in data.test_dataset().as_numpy_iterator():
        yield from zip(images.reshape(len(images), -1), labels, strict=True)


@pytest.mark.slow
def test_activations_too_small_to_spike_are_named_with_a_scale(fitted, tmp_path):
    model, data = fitted
    _, result, remarks = run(data, tmp_path, model, scale_firing_rates=1.0, synapse=None, n_steps=10)
    text, cure = remarks["warning"].text, remarks["warning"].cure
    assert text.startswith("even the strongest activations spike less than once in 10 ms: conv2d (up to ")
    assert remarks["warning"].expected == "not tried: diagnosis.images=0" and "scale_firing_rates=" in cure
    _, result, remarks = run(data, tmp_path, model, scale_firing_rates=1.0, synapse=None, n_steps=10, diagnosed=40)
    assert not remarks["warning"].cure and result.diagnosis.suggestions, "what was tried is told once"


@pytest.mark.slow
def test_layers_in_which_nothing_spikes_are_named(fitted, tmp_path):
    model, data = fitted
    scales = {"*": 100.0, "conv2d_1": 0.01}  # a current below 1 never makes a LIF neuron spike
    _, _, remarks = run(data, tmp_path, model, neuron=nengo.LIF(), scale_firing_rates=scales)
    assert remarks["warning"].text == "no neuron spikes for any image: conv2d_1"


@pytest.mark.slow
def test_neurons_at_their_refractory_limit_are_no_several_spikes_a_step(fitted, tmp_path):
    model, data = fitted
    settings = {"neuron": nengo.LIF(), "scale_firing_rates": 2000.0}
    _, _, remarks = run(data, tmp_path, model, **settings)
    assert "once a step" not in getattr(remarks.get("warning"), "text", "")
    _, _, remarks = run(data, tmp_path, model, factor=255.0, **settings)
    assert "neurons fire at their refractory limit: conv2d" in remarks["warning"].text


# ---------------------------------------------------------------------- a model that was trained elsewhere

COLOURS = ("blue", "green", "red")


@pytest.fixture(scope="module")
def trained_elsewhere():
    """A model of vectors around three centres with the classes red, blue and green, its samples, and their names."""
    import tf_keras as keras

    drawn = np.random.default_rng(0)
    labels = drawn.integers(0, 3, 600)
    samples = (np.eye(3)[labels] * 3 + drawn.normal(size=(600, 3))).astype(np.float32)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(samples, labels, epochs=30, verbose=0)
    assert np.mean(model.predict(samples, verbose=0).argmax(axis=1) == labels) > 0.9
    return model, samples, np.array(["red", "blue", "green"])[labels]


def told(tmp_path, model, samples, labels, **settings):
    """The result of a run that takes the model as it is, and the first remark of each label."""
    from snnpipe import ArraysDataModule, NoTraining

    trainer = Trainer(
        data=ArraysDataModule(train=(samples, labels), name="colours", **settings),
        architecture=Network(model),
        training=NoTraining(),
        converter=NengoDLConverter(scale_firing_rates=50.0, synapse=None),
        simulator=AutoSimulator(n_steps=20),
        encoder=ConstantEncoder(),
        diagnosed_images=0,
        output_dir=tmp_path / "run",
    )
    result = trainer.run()
    return result, {remark.label: remark for remark in reversed(result.remarks)}


def test_a_model_whose_classes_stand_in_another_order(tmp_path, trained_elsewhere):
    result, remarks = told(tmp_path, *trained_elsewhere)
    assert remarks["samples"].text == "values as they are; classes in the order blue, green, red"
    assert result.metrics["ann/test_accuracy"] < 0.1
    assert remarks["warning"].text.startswith(
        "the model's classes seem to stand in the order red, blue, green: the ANN"
    )
    assert remarks["warning"].cure == "'data.class_names=[red,blue,green]'"
    cured, remarks = told(tmp_path / "cured", *trained_elsewhere, class_names=["red", "blue", "green"])
    assert cured.metrics["ann/test_accuracy"] > 0.9 and "warning" not in remarks
    assert f"{100 * cured.metrics['ann/test_accuracy']:.2f} %" in closing_table(result).replace("\n", " ")


def test_a_model_that_was_trained_on_other_values(tmp_path, trained_elsewhere):
    model, samples, labels = trained_elsewhere
    result, remarks = told(tmp_path, model, samples * 0 + 1, labels, class_names=["red", "blue", "green"])
    assert result.metrics["ann/test_accuracy"] < 0.5
    assert "no more often than by always naming one class" in remarks["warning"].text


def test_pixels_that_are_scaled_twice(tmp_path):
    import tf_keras as keras

    drawn = np.random.default_rng(0)
    labels = drawn.integers(0, 2, 200)
    pixels = (drawn.integers(0, 100, (200, 4, 4, 1)) + 150 * labels[:, None, None, None]).astype(np.uint8)
    layers = [keras.layers.Rescaling(1 / 255, name="scaled"), keras.layers.Flatten(), keras.layers.Dense(4, "relu")]
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers, keras.layers.Dense(2)])
    relu, logits = model.layers[-2:]
    relu.set_weights([np.full((16, 4), 1 / 16), np.zeros(4)])
    logits.set_weights([np.array([[0, 1]] * 4), np.array([2, 0])])
    result, remarks = told(tmp_path, model, pixels, labels)
    assert remarks["samples"].text == (
        "values scaled by data.scaling=minus_one_to_one, then by the model's layer scaled; classes in the order 0, 1"
    )
    assert remarks["warning"].cure == "data.scaling=none"
    cured, remarks = told(tmp_path / "cured", model, pixels, labels, scaling="none")
    assert cured.metrics["ann/test_accuracy"] == 1 > result.metrics["ann/test_accuracy"]
    assert "warning" not in remarks


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a", "b", "c"), "[b,c,a]"),
        (("0", "1", "2"), '["1","2","0"]'),
        (("null", "c,d", "it's"), '["c,d","it\'s","null"]'),
        (("[x]", 'a"b', "c\\"), '["a\\"b","c\\\\","[x]"]'),
    ],
)
def test_a_cure_can_be_typed_whatever_the_names(names, words):
    import shlex

    from hydra.core.override_parser.overrides_parser import OverridesParser

    from snnpipe import DataSpec
    from snnpipe.diagnosis.brought import of_brought_model
    from snnpipe.values.network import ConversionPlan

    spec = DataSpec(name="x", input_shape=(3,), n_classes=3, class_names=names, n_train=9, n_test=9)
    confusion = 20 * np.eye(3, dtype=int)[[2, 0, 1]]  # the model's first output is the second class
    remark = list(of_brought_model(ConversionPlan(()), spec, confusion, True))[-1]
    (typed,) = shlex.split(remark.cure)
    assert typed == f"data.class_names={words}"
    value = OverridesParser.create().parse_override(typed).value()
    assert [str(each) for each in value] == [names[1], names[2], names[0]]


@pytest.mark.parametrize("counts", [[[40, 0], [0, 0]], [[99, 0], [1, 0]]], ids=["one class", "nearly one class"])
def test_naming_one_class_may_be_right(counts):
    from snnpipe.diagnosis.brought import of_brought_model
    from snnpipe.values.network import ConversionPlan

    (remark,) = of_brought_model(ConversionPlan(()), SPEC, np.array(counts), True)
    assert remark.label == "samples"


def test_few_samples_say_nothing_of_a_model():
    from snnpipe.diagnosis.brought import of_brought_model
    from snnpipe.values.network import ConversionPlan

    few = [remark.label for remark in of_brought_model(ConversionPlan(()), SPEC, np.eye(3, dtype=int)[[1, 2, 0]], True)]
    assert few == ["samples"]
