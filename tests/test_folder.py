"""Pictures of one's own, in a folder for each class."""

import numpy as np
import pytest
from PIL import Image

from snnpipe import FolderDataModule
from snnpipe.base.errors import ConfigError, DataError
from snnpipe.testing import check_data_module

N_CLASSES, N_TRAIN, N_TEST = 3, 20, 5


@pytest.fixture(scope="module")
def grey():
    """Pictures of 8x8 by class: the first zeros, ones and twos of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    levels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return {f"digit {i}": levels[digits.target == i][: N_TRAIN + N_TEST] for i in range(N_CLASSES)}


@pytest.fixture
def folder(tmp_path, grey):
    """A folder with a folder for each class."""
    write(tmp_path / "digits", grey)
    return tmp_path / "digits"


@pytest.fixture
def split_folder(tmp_path, grey):
    """A folder with the folders ``train`` and ``test``, and in each a folder for each class."""
    write(tmp_path / "split" / "train", {name: images[:N_TRAIN] for name, images in grey.items()})
    write(tmp_path / "split" / "test", {name: images[N_TRAIN:] for name, images in grey.items()})
    return tmp_path / "split"


def write(folder, pictures):
    for name, images in pictures.items():
        (folder / name).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{i:03}.png")


def opened(folder, **settings):
    data = FolderDataModule(str(folder), **{"batch_size": 16, **settings})
    data.setup()
    return data


def arrays_of(dataset):
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def rows_of(dataset):
    return {image.tobytes() for image in arrays_of(dataset)[0]}


def test_pictures_and_classes_are_those_of_the_files(split_folder, grey):
    data = opened(split_folder, scaling="none", validation_share=0.0)
    assert data.spec.class_names == tuple(grey)
    assert (data.spec.input_shape, data.spec.n_train, data.spec.n_test) == ((8, 8, 1), 60, 15)
    for stream, part in ((data.train_dataset(), slice(N_TRAIN)), (data.test_dataset(), slice(N_TRAIN, None))):
        images, labels = arrays_of(stream)
        for label, name in enumerate(grey):
            expected = sorted(image.tobytes() for image in grey[name][part])
            assert sorted(bytes(image) for image in images[labels == label, ..., 0].astype(np.uint8)) == expected


def test_classes_stand_in_the_order_that_is_given(split_folder, grey):
    names = ("digit 2", "none of it", "digit 0", "digit 1")
    data = opened(split_folder, class_names=names, shuffle=False, scaling="none")
    assert (data.spec.class_names, data.spec.n_classes) == (names, 4)
    images, labels = arrays_of(data.test_dataset())
    assert sorted(labels.tolist()) == [0] * N_TEST + [2] * N_TEST + [3] * N_TEST
    for image, label in zip(images, labels, strict=True):
        assert any(np.array_equal(image[..., 0], own) for own in grey[names[label]])
    plain = opened(split_folder)
    assert data.digests()["test"] != plain.digests()["test"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["digit 0", "digit 1"], "'digit 2', which is none of them: name all classes (digit 0, digit 1, digit 2)"),
        (["digit 0", "digit 1", "digit 2", "digit 0"], "with a name twice"),
        (["digit 0", "digit 1", "digit 2", "digit 0/"], "'digit 0/' is no name of a folder"),
        (["digit 0", "digit 1", "digit 2", "../train"], "'../train' is no name of a folder"),
    ],
)
def test_names_that_do_not_fit_the_folders(split_folder, names, says):
    with pytest.raises(DataError) as error:
        opened(split_folder, class_names=names)
    assert str(error.value).startswith("data.class_names: ") and says in str(error.value)


def test_contract(split_folder, folder):
    check_data_module(FolderDataModule(str(split_folder), batch_size=16))
    check_data_module(FolderDataModule(str(folder), batch_size=16, size=[6, 7], channels=3, scaling="standardised"))


def test_a_folder_of_classes_has_its_parts_drawn(folder, capsys):
    def parts(seed):
        data = opened(folder, split_seed=seed)
        streams = (data.train_dataset(), data.validation_dataset(), data.test_dataset())
        assert np.bincount(arrays_of(streams[2])[1]).tolist() == [5, 5, 5]
        return list(map(rows_of, streams)), data.digests()

    (train, validation, test), digests = parts(0)
    assert (len(train), len(validation), len(test), len(train | validation | test)) == (54, 6, 15, 75)
    assert ([train, validation, test], digests) == parts(0)
    assert test != parts(1)[0][2]
    assert "has no splits: 15 of its 75 pictures are drawn for testing" in capsys.readouterr().err


def test_order_follows_from_seed_and_epoch(folder):
    first = arrays_of(opened(folder).train_dataset(1))[0]
    assert np.array_equal(first, arrays_of(opened(folder).train_dataset(1))[0])
    for other in (opened(folder).train_dataset(2), opened(folder, seed=1).train_dataset(1)):
        assert not np.array_equal(first, arrays_of(other)[0])


def test_a_folder_of_validation_pictures(split_folder, grey, capsys):
    write(split_folder / "val", {name: images[:4] for name, images in grey.items()})
    data = opened(split_folder, validation_split="val")
    assert (data.spec.n_train, data.spec.n_validation, data.spec.n_test) == (60, 12, 15)
    assert not capsys.readouterr().err
    opened(split_folder)
    assert "that are not read: val (data.validation_split=val would read it)" in capsys.readouterr().err


def test_pictures_are_resized_and_their_colours_converted(split_folder, grey):
    path = split_folder / "train" / "digit 0" / "000.png"
    Image.fromarray(np.zeros((20, 30, 4), np.uint8)).save(path)
    data = opened(split_folder, size=[4, 6], channels=3, scaling="zero_to_one")
    images = arrays_of(data.train_dataset())[0]
    assert images.shape[1:] == data.spec.input_shape == (4, 6, 3)
    assert images.min() == 0 and 0.5 < images.max() <= 1
    assert np.array_equal(images[..., 0], images[..., 2])
    jpeg = path.with_suffix(".JPG")
    path.rename(jpeg)
    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(jpeg, "JPEG")
    bright = arrays_of(opened(split_folder, size=[4, 6], channels=1, scaling="none").train_dataset())[0]
    assert abs(bright.reshape(len(bright), -1) - 200).max(axis=1).min() < 3


def test_the_digest_is_of_the_content(folder, split_folder):
    first, split = opened(folder).digests(), opened(split_folder).digests()
    assert first["fit"] != first["test"]
    moved = folder.rename(folder.with_name("moved"))
    assert opened(moved).digests() == first
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(split_folder / "test" / "digit 0" / "000.png")
    changed = opened(split_folder).digests()
    assert changed["fit"] == split["fit"] and changed["test"] != split["test"]


def test_what_cannot_be_is_named_with_its_cure(split_folder, folder, tmp_path, grey):
    def message(path, **settings):
        with pytest.raises(DataError) as error:
            opened(path, **settings)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "nowhere does not exist: give a folder" in message(tmp_path / "nowhere")
    assert "000.png is no folder" in message(folder / "digit 0" / "000.png")
    assert "has 0 folders, and each class is one" in message(folder / "digit 0")
    assert "data.test_share is 0: give one, or a share to draw" in message(folder, test_share=0.0)
    assert "data.batch_size: 64 is larger than the 54 training samples of" in message(folder, batch_size=64)
    assert "data.validation_split: " in message(split_folder, validation_split="val")

    (split_folder / "test").rename(split_folder / "tests")
    assert message(split_folder).endswith(
        "split has no folder 'test': name the one that is meant, as in data.test_split=tests, or have a test part "
        f"drawn with data.path={split_folder / 'train'}"
    )
    assert opened(split_folder, test_split="tests").spec.n_test == 15
    assert opened(split_folder / "train").spec.n_test == 12
    (split_folder / "tests").rename(split_folder / "test")
    (split_folder / "test" / "digit 7").mkdir()
    assert "has a folder 'digit 7', a class that there are no pictures of to train on" in message(split_folder)

    (split_folder / "train").rename(split_folder / "training")
    assert "but only folders: " in message(split_folder) and "(data.train_split)" in message(split_folder)
    (split_folder / "training").rename(split_folder / "train")
    (split_folder / "none").mkdir()
    assert "none has no folders: put one of pictures into it for each class" in message(split_folder, test_split="none")

    path = folder / "digit 1" / "003.png"
    whole = path.read_bytes()
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(path)
    told = message(folder)
    assert told.startswith("data.size: pictures have different sizes, ") and told.endswith("data.size=[8,8]")
    assert f"{path} 9x8" in told
    assert opened(folder, size=[8, 8]).spec.input_shape == (8, 8, 1)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    assert "001.png L and" not in message(folder) and f"{path} RGB: take data.channels=1 (grey)" in message(folder)
    assert [opened(folder, channels=channels).spec.input_shape[2] for channels in (1, 3)] == [1, 3]
    path.write_bytes(b"no picture")
    assert f"data.path: {path} cannot be read as a picture" in message(folder)
    path.write_bytes(whole)
    (folder / "empty").mkdir()
    assert "has no pictures (.png, .jpg, .jpeg), but nothing at all: put some into it" in message(folder)
    (folder / "empty" / "a.tif").touch()
    assert "but only .tif" in message(folder)
    Image.fromarray(grey["digit 0"][0]).save(folder / "empty" / "a.png")
    assert "data.test_share: class 'empty' has 1 sample in " in message(folder)
    with pytest.raises(ConfigError, match=r"data.size: got \[8\]: should be \[height, width\], such as"):
        FolderDataModule("x", size=[8])


def test_a_damaged_picture_is_named_when_it_is_read(split_folder):
    path = split_folder / "train" / "digit 1" / "003.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(AssertionError, match=f"data.path: {path} cannot be read as a picture"):
        check_data_module(FolderDataModule(str(split_folder), batch_size=16))


@pytest.mark.slow
def test_a_whole_run(command, split_folder):
    done = command(
        *("data=folder", f"data.path={split_folder}", "data.batch_size=16", "data.size=[6,6]", "model=mlp"),
        *("training.epochs=2", "simulator.n_steps=4", "diagnosis.images=0", "callbacks=none", "logger=csv"),
    )
    assert done.code == 0, done.err
    assert "15 test images" in done.out
