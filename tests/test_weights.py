"""Weights of samples and classes: one meaning on both training paths, in the loss alone."""

import dataclasses
import functools

import numpy as np
import pytest
from data_modules import Arrays

from snnpipe import FiringRateL2, KerasTraining, Mlp, NengoDLTraining
from snnpipe.base.errors import ConfigError
from snnpipe.data.checked_data import CheckedData
from snnpipe.frameworks.compat import start_afresh
from snnpipe.testing import Silent
from snnpipe.training.class_weights import weight_of_each_class
from snnpipe.values.data import DataSpec

PATHS = {"keras": KerasTraining, "nengo_dl": NengoDLTraining}
SPEC = DataSpec(input_shape=(8, 8, 1), n_classes=4, class_names=("cat", "dog", "0", "2"))


def weights_for(images) -> np.ndarray:
    """Return a weight for each image, by what is in it: 0, 1, 2 or 3."""
    return (images.sum(axis=(1, 2, 3)) * 16 % 4).astype(np.float32)


@dataclasses.dataclass
class Weighted(Arrays):
    """Digits with sample weights; the last of 100 training images make a short batch."""

    def stream(self, images, labels, size):
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((images, labels, weights_for(images))).batch(size)


def trained(path, data, **settings):
    checked = CheckedData(data)
    checked.setup()
    start_afresh(0)
    model = Mlp(units=[12]).build(checked.spec)
    settings = {"epochs": 1, "optimizer": "sgd", "learning_rate": 0.1, **settings}
    return model, PATHS[path](**settings).fit(model, checked, Silent())


def by_keras(data, of_labels=None):
    """Return a model that plain Keras trains with the same weights, and the images, labels and weights."""
    import tf_keras

    data.setup()
    order = np.random.default_rng(0).permutation(data.sizes[0])
    images, labels = (part[order] for part in data.parts[0])
    weights = weights_for(images) if isinstance(data, Weighted) else np.ones(len(images), np.float32)
    weights = weights if of_labels is None else weights * of_labels[labels]
    start_afresh(0)
    model = Mlp(units=[12]).build(data.spec)
    before = model.predict(images, verbose=0)
    model.compile(tf_keras.optimizers.SGD(0.1), tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, sample_weight=weights, batch_size=data.batch_size, shuffle=False, verbose=0)
    return model, before, labels, weights


@functools.cache
def weights_by_keras(kind, *of_labels):
    """Return the weights that plain Keras gives for a kind of data."""
    return by_keras(kind(), np.array(of_labels, np.float32) if of_labels else None)[0].get_weights()


def assert_same(model, weights):
    for one, two in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_sample_weights_weigh_the_loss_as_in_keras(path):
    model, _ = trained(path, Weighted())
    assert_same(model, weights_by_keras(Weighted))
    unweighted = weights_by_keras(Arrays)
    assert max(np.abs(a - b).max() for a, b in zip(model.get_weights(), unweighted, strict=True)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("keras", Arrays),
        ("keras", Weighted),
        ("nengo_dl", Weighted),
        pytest.param("nengo_dl", Arrays, marks=pytest.mark.slow),
    ],
)
def test_class_weights_multiply_them(path, data):
    model, _ = trained(path, data(), class_weights={3: 2.5, 7: 0.25})
    of_labels = np.ones(10, np.float32)
    of_labels[[3, 7]] = 2.5, 0.25
    assert_same(model, weights_by_keras(data, *of_labels.tolist()))


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_losses_are_weighted_and_accuracies_are_not(path):
    data = Weighted(sizes=(32, 32, 50))  # a batch each: both paths' means over an epoch are over all images
    model, checkpoint = trained(path, data)
    _, before, labels, weights = by_keras(data)

    def loss(logits, labels, weights):
        """The mean over all images of weight times cross-entropy."""
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return np.mean(weights * -log_p[np.arange(len(labels)), labels])

    assert (weights == 0).any() and weights.mean() != 1
    assert checkpoint.metrics["fit/loss"] == pytest.approx(loss(before, labels, weights), rel=1e-5)
    assert checkpoint.metrics["fit/accuracy"] == pytest.approx(np.mean(before.argmax(axis=1) == labels))
    images, labels = data.parts[1]
    after = model.predict(images, verbose=0)
    assert checkpoint.metrics["fit/val_loss"] == pytest.approx(loss(after, labels, weights_for(images)), rel=1e-5)
    assert checkpoint.metrics["fit/val_accuracy"] == pytest.approx(np.mean(after.argmax(axis=1) == labels))


@pytest.mark.slow
def test_penalties_are_of_every_image_whatever_its_weight():
    @dataclasses.dataclass
    class Nothing(Weighted):
        def stream(self, images, labels, size):
            return super().stream(images, labels, size).map(lambda x, y, w: (x, y, w * 0))

    penalty = FiringRateL2(weight=1e-2, scale_firing_rates=10.0)
    keras, _ = trained("keras", Nothing(), regularizer=penalty)
    nengo_dl, _ = trained("nengo_dl", Nothing(), regularizer=penalty)
    assert_same(keras, nengo_dl.get_weights())
    start_afresh(0)
    untrained = Mlp(units=[12]).build(DataSpec(input_shape=(8, 8, 1), n_classes=10))
    assert np.abs(keras.get_weights()[0] - untrained.get_weights()[0]).max() > 1e-4  # the hidden layer's, penalised
    np.testing.assert_allclose(
        keras.get_weights()[2], untrained.get_weights()[2], atol=1e-7
    )  # the logits', of the loss


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ({}, None),
        ({1: 3}, [1, 3, 1, 1]),
        ({"dog": 0.5, "cat": 2}, [2, 0.5, 1, 1]),
        ({"0": 4.0}, [1, 1, 4, 1]),  # a name counts before a number
        ({"1": 4.0}, [1, 4, 1, 1]),
        ({3: 2.0}, [1, 1, 1, 2]),
    ],
)
def test_classes_by_number_and_name(given, expected):
    found = weight_of_each_class(given, SPEC)
    assert found is None if expected is None else np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({4: 2.0}, r"training\.class_weights: got 4, .*numbers 0 to 3; of their names: known: 0, 2, cat, dog"),
        ({"dogs": 2.0}, r"got 'dogs', .*did you mean 'dog'\?"),
        ({-1: 2.0}, r"got -1"),
        (
            {0: 2.0},
            r"0 is the number of class 'cat' and the name of class 2: .*\{\"cat\": \.\.\.\} or \{\"0\": \.\.\.\}",
        ),
        ({"dog": 2.0, "1": 3.0}, r"class 1 \('dog'\) has two weights"),
    ],
)
def test_classes_that_are_not_there_are_named(given, says):
    with pytest.raises(ConfigError, match=says):
        weight_of_each_class(given, SPEC)
    with pytest.raises(ConfigError, match=says):
        KerasTraining(class_weights=given).check_classes(SPEC)


@pytest.mark.parametrize("given", [{1: 0.0}, {1: -2.0}, {1: "x"}, {1: float("nan")}, [1, 2], {1: 2.0, "dog": 1.0}, 3])
def test_weights_that_are_none_are_refused(given):
    with pytest.raises(ConfigError, match=r"training\.class_weights: got .*"):
        KerasTraining(class_weights=given)


@pytest.mark.slow
def test_on_the_command_line(command):
    wrong = command("training.class_weights={11: 2.0}", "logger=csv", "model=mlp")
    assert (wrong.code, len(wrong.error_lines)) == (2, 1)
    assert "training.class_weights: got 11, which is no class of digits" in wrong.error_lines[0]
    right = command("training.class_weights={1: 2.0}", "logger=csv", "model=mlp", "debug=fast", "diagnosis.images=0")
    assert right.code == 0, right.err
