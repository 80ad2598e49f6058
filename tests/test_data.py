"""The data module, on the digits and on the prepared MNIST where it is."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from snnpipe import TfdsDataModule
from snnpipe.base.errors import ConfigError, DataError
from snnpipe.testing import check_data_module


def images_of(dataset) -> np.ndarray:
    return np.concatenate([images for images, _ in dataset.as_numpy_iterator()])


def labels_of(dataset) -> np.ndarray:
    return np.concatenate([labels for _, labels in dataset.as_numpy_iterator()])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"validation_share": 0.0},
        {"train_split": "train[:100]", "validation_split": "train[100:150]"},
        {"shuffle": False},
    ],
)
def test_contract(data_dir, settings):
    check_data_module(TfdsDataModule("digits", data_dir=str(data_dir), batch_size=32, **settings))


def test_digits_are_scikit_learns(digits):
    from sklearn.datasets import load_digits

    data = digits(scaling="none")
    original = load_digits()
    test = np.arange(1797) % 5 == 4
    assert data.spec.n_test == test.sum() == 359
    assert data.spec.n_train + data.spec.n_validation == 1438
    ours, theirs = images_of(data.test_dataset()).reshape(359, 64), original.images[test].reshape(-1, 64) * 255 / 16
    # tfds orders examples by a hash of their key: compare as sets
    assert np.array_equal(np.unique(ours, axis=0), np.unique(np.round(theirs), axis=0))
    assert sorted(labels_of(data.test_dataset())) == sorted(original.target[test])


def test_scalings(digits):
    raw = images_of(digits(scaling="none").test_dataset())
    assert raw.min() == 0 and raw.max() == 255
    assert np.array_equal(images_of(digits(scaling="minus_one_to_one").test_dataset()), raw / np.float32(127.5) - 1)
    assert np.array_equal(images_of(digits(scaling="zero_to_one").test_dataset()), raw / np.float32(255))


def test_standardised_training_images_have_mean_0_and_deviation_1(digits):
    images = images_of(digits(scaling="standardised").train_dataset())
    assert abs(images.mean()) < 1e-4
    assert abs(images.std() - 1) < 1e-4


def test_given_mean_and_deviation_take_the_place_of_measured_ones(digits):
    raw = images_of(digits(scaling="none").test_dataset())
    images = images_of(digits(scaling="standardised", mean=[33.3], deviation=[80.0]).test_dataset())
    assert np.allclose(images, (raw - 33.3) / 80, atol=1e-6)


def test_scaling_auto_is_that_of_pixels(digits):
    data = digits(scaling="auto")
    assert data.spec.scaling == "minus_one_to_one"
    assert np.array_equal(images_of(data.test_dataset()), images_of(digits().test_dataset()))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mean": [1.0], "deviation": [1.0]}, "data.scaling=minus_one_to_one does not use it: take data.scaling=stand"),
        ({"mean": [1.0], "scaling": "standardised"}, "data.mean: got [1.0], and no deviation: give data.deviation"),
        ({"deviation": [1.0], "scaling": "standardised"}, "data.deviation: got [1.0], and no mean: give data.mean"),
        (
            {"mean": [1.0, 2.0], "deviation": [1.0, 2.0], "scaling": "standardised"},
            "data.mean: got 2 numbers, and digits has 1 channels",
        ),
        (
            {"mean": [0.5], "deviation": [0.25], "scaling": "standardised"},
            "give 255 times as much, data.mean=[127.5], data.deviation=[63.75]",
        ),
        (
            {"mean": [0.0], "deviation": [0.0], "scaling": "standardised"},
            "data.deviation: got [0.0]: should be greater",
        ),
    ],
)
def test_mean_and_deviation_that_cannot_be_meant(digits, settings, says):
    with pytest.raises((ConfigError, DataError)) as error:
        digits(**settings)
    assert says in str(error.value)


def test_order_is_determined_by_seed_and_epoch(digits):
    first = labels_of(digits(seed=0).train_dataset(0))
    assert np.array_equal(first, labels_of(digits(seed=0).train_dataset(0)))
    assert not np.array_equal(first, labels_of(digits(seed=0).train_dataset(1)))
    assert not np.array_equal(first, labels_of(digits(seed=1).train_dataset(0)))
    assert sorted(first) == sorted(labels_of(digits(seed=1).train_dataset(5)))


def test_validation_share_is_held_out_of_training(digits):
    data = digits(validation_share=0.25)
    assert data.spec.n_validation == int(1438 * 0.25)
    train = {image.tobytes() for image in images_of(data.train_dataset())}
    validation = [image.tobytes() for image in images_of(data.validation_dataset())]
    assert len(validation) == data.spec.n_validation
    assert not train & set(validation)


def test_limits_take_the_first_images(digits):
    data = digits(max_test_images=10, max_train_images=50, validation_share=0.0)
    assert (data.spec.n_train, data.spec.n_validation, data.spec.n_test) == (50, 0, 10)
    assert data.validation_dataset() is None
    assert np.array_equal(images_of(data.test_dataset(3)), images_of(digits().test_dataset())[:10])


def test_split_expressions(digits):
    assert digits(train_split="train[:50%]", validation_share=0.0).spec.n_train == 719


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "no_such_dataset"}, "no_such_dataset"),
        ({"version": "9.9.9"}, "9.9.9"),
        ({"train_split": "training"}, "training"),
        ({"batch_size": 5000}, "data.batch_size=1295"),
        ({"name": "kmnist"}, "python -m tensorflow_datasets build kmnist"),
    ],
)
def test_what_cannot_be_had_is_said(data_dir, settings, says):
    data = TfdsDataModule(**{"name": "digits", "data_dir": str(data_dir), **settings})

    def prepare_and_set_up():
        data.prepare_data()
        data.setup()

    with pytest.raises(DataError) as error:
        prepare_and_set_up()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(ConfigError) as error:
        TfdsDataModule("digits", batch_size=0, validation_share=1.5, scaling="half")
    assert len(error.value.problems) == 3


def test_a_read_only_first_folder_is_passed_over(tmp_path, monkeypatch, data_dir):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", "/proc/nowhere")
    data = TfdsDataModule("digits")
    data.prepare_data()
    data.setup()
    assert data.spec.source.startswith(str(tmp_path / "tensorflow_datasets"))


def test_a_dataset_of_snnpipes_own_asks_for_a_folder_that_can_be_written():
    with pytest.raises(DataError) as error:
        TfdsDataModule("digits", data_dir="/proc/nowhere").prepare_data()
    assert str(error.value) == (
        "dataset 'digits' is not prepared in /proc/nowhere, and none of these folders can be written: "
        "set data.data_dir (or TFDS_DATA_DIR) to a folder that can be written"
    )


def test_a_dataset_that_is_opened_before_it_is_prepared(tmp_path):
    with pytest.raises(DataError, match=r"'digits' is not prepared in \S+: set data.data_dir"):
        TfdsDataModule("digits", data_dir=str(tmp_path)).setup()


MNIST = Path(os.environ.get("TFDS_DATA_DIR", "")) / "mnist"


@pytest.mark.long
@pytest.mark.skipif(not MNIST.is_dir(), reason="no prepared MNIST in $TFDS_DATA_DIR")
def test_mnist_streams_in_bounded_memory():
    data = TfdsDataModule("mnist", batch_size=1000, data_dir=str(MNIST.parent))
    check_data_module(data)
    assert (data.spec.n_train, data.spec.n_validation, data.spec.n_test) == (54000, 6000, 10000)
    tracemalloc.start()
    for _ in data.train_dataset().as_numpy_iterator():
        pass
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()
