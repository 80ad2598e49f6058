"""A spiking network in one call: its figures are a run's, and its results are plain values."""

import html
import subprocess
import sys

import nengo
import numpy as np
import pytest
import tf_keras

import snnpipe
from snnpipe import (
    AutoSimulator,
    Calibration,
    ConstantEncoder,
    CsvLogger,
    NengoDLConverter,
    NoTraining,
    PixelScaling,
    TfdsDataModule,
    Trainer,
)
from snnpipe.base.errors import DataError, SimulationError, UserError
from snnpipe.spiking.simulated import settled

CONVERTER = NengoDLConverter(calibration=Calibration(images=300, channels=True, balance=False, spikes_per_step=1.0))


@pytest.fixture(scope="module")
def run(fitted, tmp_path_factory):
    """A run of the fitted model with the default conversion: its result, its folder, its calibration and test data."""
    model, data = fitted
    folder = tmp_path_factory.mktemp("run")
    trainer = Trainer(
        data=data,
        architecture=model,
        training=NoTraining(),
        converter=CONVERTER,
        simulator=AutoSimulator(),
        encoder=ConstantEncoder(),
        loggers=[CsvLogger(str(folder / "csv"))],
        output_dir=folder / "run",
        diagnosed_images=0,
    )
    result = trainer.run()
    batches = list(trainer.data.calibration_dataset().as_numpy_iterator())
    calibration = tuple(np.concatenate(parts)[:300] for parts in zip(*batches, strict=True))
    (x, y), *_ = trainer.data.test_dataset(1000).as_numpy_iterator()
    return trainer, result, folder / "run", calibration, (x, y)


@pytest.fixture(scope="module")
def spiking(run):
    """The same model, converted in one call with the same calibration samples."""
    trainer, _, _, (samples, labels), _ = run
    order = np.random.default_rng(0).permutation(len(samples))
    given = np.empty_like(samples), np.empty_like(labels)
    for whole, part in zip(given, (samples, labels), strict=True):
        whole[order] = part
    names = trainer.data.spec.class_names
    return snnpipe.convert(trainer.model, given[0], labels=given[1], class_names=names, converter=CONVERTER)


@pytest.fixture(scope="module")
def saved(spiking, tmp_path_factory):
    return spiking.save(tmp_path_factory.mktemp("saved") / "net.snn")


# ---------------------------------------------------------------------- the figures of a run


def _different(evaluation, result):
    """The figures that differ from a run's, except for the loss, whose rounding depends on batches."""
    figures = {name: value for name, value in evaluation.metrics.items() if name != "ann/test_loss"}
    return {name: value for name, value in figures.items() if value != result.metrics[name]}


def test_the_figures_are_those_of_a_run_to_the_digit(run, spiking):
    trainer, result, _, _, (x, y) = run
    evaluation = spiking.evaluate(x, y)
    assert dict(spiking.calibration.scales) == trainer.state.calibration.scales
    assert spiking.calibration.digest == trainer.state.calibration.digest
    assert evaluation.metrics["ann/test_loss"] == pytest.approx(result.metrics["ann/test_loss"], rel=1e-6)
    assert not _different(evaluation, result) and "snn/synops_per_image" in evaluation.metrics
    assert evaluation.accuracy_at_step == result.accuracy_at_step
    assert evaluation.agreement_at_step == result.agreement_at_step
    assert evaluation.accuracy == result.metrics["snn/test_accuracy"] and evaluation.simulator == result.simulator
    assert evaluation.latency_ms == result.metrics.get("snn/latency_ms_to_1pt")


def test_a_run_leaves_its_network(run):
    trainer, result, folder, _, (x, y) = run
    model = snnpipe.load(folder / "conversion" / "network.snn")
    assert model.replay.exact and model.replay.samples == 8
    evaluation = model.evaluate(x, y)
    assert not _different(evaluation, result)
    assert model.class_names == trainer.data.spec.class_names
    assert model.pixels == PixelScaling((127.5,), (1.0,))
    assert model.made_from["run"] == trainer.name and model.made_from["data"] == "digits 1.0.0"
    assert model.plan == trainer.state.plan and model.calibration.digest == trainer.state.calibration.digest


def test_pixels_of_8_bits_are_scaled_where_the_scaling_is_known(run, spiking):
    """The digits have pixels from 0 to 255; a network without a scaling refuses them, for it may mean other values."""
    _, _, folder, _, (x, y) = run
    model = snnpipe.load(folder / "conversion" / "network.snn")
    pixels = np.round((x[:20] + 1) * 127.5).astype(np.uint8)
    assert np.array_equal(model.pixels(pixels), x[:20])
    assert model.evaluate(pixels, y[:20]).metrics == model.evaluate(x[:20], y[:20]).metrics
    assert np.array_equal(model.run(pixels).scores, model.run(x[:20]).scores)
    for call in (spiking.run, spiking.predict):
        with pytest.raises(DataError, match=r"x: got pixels of type uint8.*no scaling.*float32"):
            call(pixels)


@pytest.mark.parametrize("kind", ["int64", "float32", "float64"])
def test_pixels_of_another_type_are_not_taken_for_values(run, kind):
    """They would be 100 times as large as what the network was trained with."""
    _, _, folder, _, (x, _) = run
    model = snnpipe.load(folder / "conversion" / "network.snn")
    pixels = np.round((x[:20] + 1) * 127.5).astype(kind)
    cure = (
        r"x: got whole numbers up to 255 of type \w+, as pixels are, and the network takes pixel / 127.5 - 1, at most 1"
    )
    for call in (model.run, model.predict):
        with pytest.raises(DataError, match=cure):
            call(pixels)
    assert np.array_equal(model.run(pixels.astype(np.uint8)).scores, model.run(x[:20]).scores)


def test_values_of_another_range_are_no_pixels(run):
    """Noise on samples, a corner of the range, or what the network was not trained with: the user's to decide."""
    _, _, folder, _, (x, _) = run
    model = snnpipe.load(folder / "conversion" / "network.snn")
    for values in (x[:4] + 0.75, np.round(x[:4]), 3 * np.round(x[:4]), np.full_like(x[:4], 300)):
        assert model.run(values).scores.shape[0] == 4


def test_the_data_modules_scaling_gives_its_own_values_to_the_bit(data_dir):
    for scaling in ("minus_one_to_one", "zero_to_one", "standardised"):
        data = TfdsDataModule("digits", data_dir=str(data_dir), scaling=scaling)
        data.setup()
        (x, _), *_ = data.test_dataset(100).as_numpy_iterator()
        raw = TfdsDataModule("digits", data_dir=str(data_dir), scaling="none")
        raw.setup()
        (pixels, _), *_ = raw.test_dataset(100).as_numpy_iterator()
        assert np.array_equal(data.pixels(pixels.astype(np.uint8)), x)


# ---------------------------------------------------------------------- results


def test_predictions_say_when_a_class_was_settled(spiking, run):
    *_, (x, _) = run
    predictions, recording = spiking.predict(x), spiking.run(x, record=spiking.layers)
    assert np.array_equal(predictions.scores, recording.scores[:, -1])
    for of_sample, step, own in zip(
        recording.scores.argmax(axis=2), predictions.settled_steps, predictions.classes, strict=True
    ):
        assert np.all(of_sample[step - 1 :] == own) and (step == 1 or of_sample[step - 2] != own)
    counts = sum(spikes.reshape(len(x), -1).sum(axis=1) for spikes in recording.spikes.values())
    assert np.array_equal(predictions.spikes, counts)
    assert predictions[0] == spiking.class_names[predictions.classes[0]] and len(predictions[:3]) == 3
    assert np.array_equal(predictions.settled_ms, predictions.settled_steps.astype(float))


def test_settled_steps_of_a_hand_worked_case():
    assert settled(np.array([[1, 1, 1], [0, 1, 1], [0, 1, 2], [1, 0, 1]])).tolist() == [1, 2, 3, 3]


def test_recordings_have_the_shapes_of_layers_and_no_memory_without_end(spiking, run):
    *_, (x, _) = run
    recording = spiking.run(x[:3], record="conv2d")
    assert recording.spikes["conv2d"].shape == (3, 8, *spiking.network.layers[0].shape)
    assert recording.outputs.shape == recording.scores.shape == (3, 8, 10)
    assert recording.times_ms.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    with pytest.raises(UserError, match=r"make arrays of \d MB, and max_mb is 1: give fewer"):
        spiking.run(x, record="conv2d", max_mb=1)
    with pytest.raises(UserError, match="there is no layer of neurons 'conv'; did you mean"):
        spiking.run(x[:3], record="conv")


def test_results_print_themselves_in_a_few_lines(spiking, saved, run):
    *_, (x, y) = run
    loaded = snnpipe.load(saved)
    results = spiking.evaluate(x, y), spiking.predict(x), spiking.run(x[:2], record=spiking.layers)
    for thing in (spiking, loaded, *results):
        lines = repr(thing).splitlines()
        assert 2 <= len(lines) <= 6 and max(map(len, lines)) <= 120, repr(thing)
    assert "to the bit" in repr(loaded) and f"accuracy {100 * results[0].accuracy:.2f} %" in repr(results[0])


def test_the_report_is_one_page(spiking, run, tmp_path):
    *_, (x, y) = run
    with pytest.raises(UserError, match="call evaluate"):
        spiking.with_settings(n_steps=4).report(tmp_path / "none.html")
    evaluation = spiking.evaluate(x, y)
    page = html.unescape(spiking.report(tmp_path / "report.html").read_text())
    assert f"{100 * evaluation.accuracy:.2f} %" in page and "IntegrateAndFire" in page
    assert page.count("data:image/png;base64") >= 4 and not (tmp_path / "plots").exists()


def test_other_settings_give_another_network_and_leave_this_one(spiking, run):
    *_, (x, y) = run
    longer = spiking.with_settings(n_steps=16)
    curve, of_longer = spiking.evaluate(x, y).agreement_at_step, longer.evaluate(x, y).agreement_at_step
    assert of_longer[:8] == curve and of_longer[-1] > curve[-1] and longer.n_steps == 16
    assert spiking.n_steps == 8 and len(spiking.predict(x[:1])) == 1
    with pytest.raises(UserError, match="dt cannot be changed"):
        spiking.with_settings(dt=0.002)
    with pytest.raises(UserError, match="spike_count"):
        spiking.with_settings(readout="spike_count")
    with pytest.raises(UserError, match="n_steps"):
        spiking.with_settings(n_steps=0)


def test_synops_behind_max_pooling_are_called_an_upper_bound():
    layers = tf_keras.layers
    kept = [layers.Conv2D(3, 3, activation="relu"), layers.MaxPooling2D(name="pool")]
    model = tf_keras.Sequential([layers.Input((6, 6, 1)), *kept, layers.Flatten(), layers.Dense(2)])
    samples = np.random.default_rng(0).normal(size=(20, 6, 6, 1)).astype(np.float32)
    converter = NengoDLConverter(neuron=snnpipe.IntegrateAndFire(), scale_firing_rates=500.0)
    evaluation = snnpipe.convert(model, samples, converter=converter, n_steps=2).evaluate(samples, [0] * 20)
    assert evaluation.max_pooling == ["pool"]
    assert f"spikes per sample, at most {evaluation.synops:,.0f} SynOps" in repr(evaluation)


def test_without_labels_the_models_own_classes_stand_for_them(tmp_path):
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((6,)), layers.Dense(20, activation="relu"), layers.Dense(3)])
    samples = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    spiking = snnpipe.convert(model, calibration=samples, max_drop=5.0, n_steps=4)
    assert spiking.calibration.judged == "60 calibration samples" and spiking.calibration.max_drop == 5
    assert spiking.evaluate(samples, model.predict(samples, verbose=0).argmax(axis=1)).ann_accuracy == 1
    chosen = next(t for t in spiking.calibration.tried if t.spikes_per_step == spiking.calibration.spikes_per_step)
    evaluation = spiking.evaluate(samples, model.predict(samples, verbose=0).argmax(axis=1))
    assert evaluation.accuracy == evaluation.agreement == pytest.approx(chosen.accuracy)
    converter = NengoDLConverter(neuron=None, scale_firing_rates=1.0)
    rates = snnpipe.convert(model, samples, converter=converter, n_steps=2)
    model.save(tmp_path / "model.h5")
    from_file = snnpipe.convert(str(tmp_path / "model.h5"), samples, converter=converter, n_steps=2)
    assert np.array_equal(from_file.run(samples).outputs, rates.run(samples).outputs)
    assert from_file.made_from["model"] == str(tmp_path / "model.h5")
    assert rates.calibration is None and rates.predict(samples[:2]).spikes.tolist() == [0, 0]
    assert np.allclose(rates.run(samples).outputs[:, -1], model.predict(samples, verbose=0), atol=1e-4)
    assert "not counted: SynOps" in repr(rates.evaluate(samples, np.zeros(60)))


# ---------------------------------------------------------------------- wrong input


X = np.zeros((4, 8, 8, 1), np.float32)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[..., 0], r"x: got an array of shape \(4, 8, 8\): give samples of shape \(b, 8, 8, 1\)"),
        (X[0], r"give x\[None\] for one sample"),
        (X[:0], "got no sample"),
        (np.where(np.arange(4)[:, None, None, None] == 2, np.nan, X), "sample 2 has a value that is infinite"),
        (np.full((1, 8, 8, 1), 1e300), "sample 0 has a value that is infinite"),
        (np.full((1, 8, 8, 1), "a"), "got values of type <U1: give an array of numbers"),
        ([[1, 2], [3]], "makes no array"),
    ],
)
def test_wrong_samples_are_refused_in_a_line(spiking, x, message):
    for call in (spiking.predict, spiking.run, lambda x: spiking.evaluate(x, np.zeros(len(x)))):
        with pytest.raises(UserError, match=message) as error:
            call(x)
        assert "\n" not in str(error.value)


def test_a_limit_that_is_no_whole_number_of_spikes_is_refused_before_anything_runs():
    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((6,)), layers.Dense(8), layers.ReLU(max_value=1.5), layers.Dense(3)])
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    with pytest.raises(SimulationError, match=r"^conversion.scale_firing_rates: .* 1.5 spikes a step.* by 1.33333"):
        snnpipe.convert(model, x, converter=NengoDLConverter(scale_firing_rates=1000.0))
    fits = NengoDLConverter(scale_firing_rates=1333.33)
    assert len(snnpipe.convert(model, x, converter=fits).predict(x)) == 20


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2], r"y: got shape \(3,\) for 4 samples"),
        ([0, 1, 2, 10], "y: got 10 for sample 3: the classes are 0 to 9"),
        ([0, 1, 2, 0.5], "y: got 0.5 for sample 3"),
        (["a", "b", "c", "d"], "give the number of each sample's class"),
        (np.ones((4, 10)), "not one-hot"),
    ],
)
def test_wrong_labels_are_refused_in_a_line(spiking, y, message):
    with pytest.raises(UserError, match=message):
        spiking.evaluate(X, y)


def test_one_hot_labels_are_taken(spiking, run):
    *_, (x, y) = run
    assert spiking.evaluate(x[:20], np.eye(10)[y[:20]]).metrics == spiking.evaluate(x[:20], y[:20, None]).metrics


def test_what_cannot_be_converted_is_refused_in_a_line(run, tmp_path):
    trainer, _, _, (samples, _), _ = run
    model = trainer.model
    with pytest.raises(UserError, match=r"got a builtins.dict: give a Keras model"):
        snnpipe.convert({}, samples)
    with pytest.raises(UserError, match="there is no file"):
        snnpipe.convert(tmp_path / "none.keras", samples)
    with pytest.raises(UserError, match="they have the shape|samples have the shape"):
        snnpipe.convert(model, samples[:, :4])
    with pytest.raises(UserError, match="calibration: got an array of shape"):
        snnpipe.convert(model, samples[0, :, 0, 0])
    with pytest.raises(UserError, match="converter beside neuron"):
        snnpipe.convert(model, samples, neuron=nengo.LIF(), converter=NengoDLConverter())
    linear = tf_keras.Sequential([tf_keras.layers.Flatten(), tf_keras.layers.Dense(3)])
    with pytest.raises(UserError, match="seed: got -1"):
        snnpipe.convert(model, samples, seed=-1)
    with pytest.raises(UserError, match="settings of a run"):
        snnpipe.convert(model, samples, simulator=AutoSimulator(verify_images=3))
    with pytest.raises(UserError, match="none of its layers becomes neurons"):
        snnpipe.convert(linear, samples)
    with pytest.raises(UserError, match="3 numbers as"):
        snnpipe.convert(model, samples, mean=[1, 2, 3])
    with pytest.raises(UserError, match="readout"):
        snnpipe.convert(model, samples, readout="spike_count")
    with pytest.raises(UserError, match="calibration: all values of all samples are 0: give samples"):
        snnpipe.convert(model, np.zeros_like(samples))
    with pytest.raises(UserError, match="calibration: got nothing: give an array"):
        snnpipe.convert(model, None)
    with pytest.raises(UserError, match="scaling of pixels: got scale='1/255'.*: give numbers"):
        snnpipe.convert(model, samples, scale="1/255")


def test_scalings_are_given_as_people_have_them():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert np.allclose(PixelScaling.standardised()(pixels), pixels / 255)
    assert np.allclose(PixelScaling.standardised(0.5, 0.25)(pixels), (pixels / 255 - 0.5) / 0.25, atol=1e-6)
    assert np.allclose(PixelScaling.standardised(100, 50, scale=1)(pixels), (pixels - 100.0) / 50, atol=1e-6)
    assert str(PixelScaling.standardised()) == "pixel / 255"
    for wrong in ({"deviation": 0}, {"scale": 0}, {"mean": np.nan}):
        with pytest.raises(UserError, match="scaling of pixels"):
            PixelScaling.standardised(**wrong)


# ---------------------------------------------------------------------- other processes


_KERAS_3 = """
import sys, numpy as np, snnpipe, keras
keras.utils.set_random_seed(0)
layers = keras.layers
x = inputs = layers.Input((6, 6, 1))
x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
x = layers.ReLU(max_value=6.0)(x)
x = layers.Concatenate()([layers.MaxPooling2D(2)(x), layers.AveragePooling2D(2)(x)])
model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))
samples = np.random.default_rng(0).normal(size=(60, 6, 6, 1)).astype("float32")
spiking = snnpipe.convert(model, calibration=samples, neuron=snnpipe.IntegrateAndFire(initial_voltage=None))
spiking.save("net.snn")
print(spiking.run(samples).outputs.tobytes().hex())
"""
_LOADED = """
import sys, numpy as np, snnpipe
spiking = snnpipe.load(sys.argv[1])
assert spiking.replay.exact, spiking.replay
samples = np.random.default_rng(0).normal(size=(60, 6, 6, 1)).astype("float32")
assert not {"mlflow", "keras", "tensorflow_datasets"} & set(sys.modules)
print(spiking.run(samples).outputs.tobytes().hex())
"""


@pytest.mark.slow
def test_another_process_in_an_empty_folder_gets_the_same_bits_from_a_keras_3_model(tmp_path):
    made, empty = tmp_path / "made", tmp_path / "empty"
    made.mkdir()
    empty.mkdir()

    def outputs(program, folder, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    assert outputs(_KERAS_3, made) == outputs(_LOADED, empty, str(made / "net.snn"))
    assert not list(empty.iterdir())
