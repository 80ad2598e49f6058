"""Random crops and flips: of training images alone, and determined by seed, epoch and index."""

import dataclasses

import numpy as np
import pytest
from configs import composed

from snnpipe import CropAndFlip, KerasTraining, Mlp
from snnpipe.base.errors import ConfigError, DataError
from snnpipe.config.build import build
from snnpipe.config.check import check
from snnpipe.data.checked_data import CheckedData
from snnpipe.run.fingerprint import fit_fingerprint
from snnpipe.settings.describe import describe
from snnpipe.testing import SPEC, Silent, check_data_module

AUGMENT = CropAndFlip(crop=2)
FEW = {"max_train_images": 100, "max_test_images": 20}


def arrays_of(dataset):
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_crops_and_flips_of_an_image_by_hand():
    images = np.arange(1.0, 13).reshape(1, 3, 4, 1).repeat(3, axis=0).astype(np.float32)
    drawn = np.array([[1, 1, 0], [0, 2, 0], [2, 1, 1]], np.int32)  # first row, first column, mirrored
    same, lower_left, upper_mirrored = CropAndFlip(crop=1).apply(images, drawn).numpy()[..., 0]
    assert np.array_equal(same, images[0, ..., 0])
    assert np.array_equal(lower_left, [[0, 0, 0, 0], [2, 3, 4, 0], [6, 7, 8, 0]])
    assert np.array_equal(upper_mirrored, [[8, 7, 6, 5], [12, 11, 10, 9], [0, 0, 0, 0]])


def test_all_shifts_and_flips_are_drawn_and_nothing_else():
    drawn = {tuple(AUGMENT.draw(0, 1, index).numpy().tolist()) for index in range(600)}
    assert drawn == {(row, column, flip) for row in range(5) for column in range(5) for flip in (0, 1)}
    assert any((AUGMENT.draw(0, 1, i) != AUGMENT.draw(1, 1, i)).numpy().any() for i in range(5)), "the seed counts"
    assert {CropAndFlip(crop=0).draw(0, 0, i).numpy()[:2].any() for i in range(20)} == {False}
    assert {CropAndFlip(flip=False).draw(0, 0, i).numpy()[2] for i in range(20)} == {0}


def test_what_is_drawn_follows_from_seed_epoch_and_index(digits):
    images, labels = arrays_of(digits(augment=AUGMENT, **FEW).train_dataset(1))
    plain, in_order = arrays_of(digits(**FEW).train_dataset(1))
    assert np.array_equal(labels, in_order) and not np.array_equal(images, plain)
    again = arrays_of(digits(augment=AUGMENT, **FEW, batch_size=50).train_dataset(1))
    assert np.array_equal(images, again[0])
    in_file_order = digits(augment=AUGMENT, **FEW, shuffle=False)
    first, second = (arrays_of(in_file_order.train_dataset(epoch))[0] for epoch in (1, 2))
    assert sorted(map(bytes, first)) == sorted(map(bytes, images)), "the order changes no draw"
    assert not np.array_equal(first, second)
    check_data_module(digits(augment=AUGMENT, **FEW))


def test_only_the_training_stream_is_augmented(digits):
    plain, augmented = digits(**FEW), digits(augment=AUGMENT, **FEW)
    for name in ("calibration_dataset", "validation_dataset", "test_dataset"):
        pair = (arrays_of(getattr(CheckedData(data), name)()) for data in (plain, augmented))
        assert all(map(np.array_equal, *pair)), name
    assert np.array_equal(arrays_of(plain.calibration_dataset())[0], arrays_of(plain.train_dataset(0))[0])


def test_the_fingerprint_of_a_training_includes_it(digits):
    def fingerprint(augment):
        return fit_fingerprint({"data": describe({"data": digits(augment=augment)})["data"]}, SPEC, {}, ())

    assert len({fingerprint(augment) for augment in (None, AUGMENT, CropAndFlip(crop=1))}) == 3


def test_networks_train_on_it(digits):
    data = digits(augment=AUGMENT, **FEW)
    sink = Silent()
    KerasTraining(epochs=2).fit(Mlp(units=[8]).build(data.spec), data, sink)
    assert len(sink.epochs) == 2


def test_what_it_cannot_do_is_said(digits):
    with pytest.raises(ConfigError, match="crop=0 with flip=false changes nothing: take data/augment=none"):
        CropAndFlip(crop=0, flip=False)
    with pytest.raises(DataError, match=r"data.augment.crop: got 9, .* 8x8 pixels, .*: take data.augment.crop=1"):
        digits(augment=CropAndFlip(crop=9))
    with pytest.raises(DataError, match=r"data.augment: .* have shape \(30,\): take data/augment=none"):
        AUGMENT.check(dataclasses.replace(SPEC, input_shape=(30,)))
    with pytest.raises(ConfigError, match="should be a snnpipe.CropAndFlip, or null"):
        digits(augment=4)


def test_a_configuration_chooses_it():
    assert build(composed("data/augment=crop_flip", "data.augment.crop=1")).data.augment == CropAndFlip(crop=1)
    assert not build(composed()).data.augment
    with pytest.raises(ConfigError, match="data.augment.crop: got -1"):
        check(composed("data/augment=crop_flip", "data.augment.crop=-1"))
