"""Arrays of one's own: in an .npz, in a folder of .npy, and in Python."""

import json

import numpy as np
import pytest
from data_modules import with_value

from snnpipe import ArraysDataModule, CropAndFlip
from snnpipe.base.errors import ConfigError, DataError
from snnpipe.testing import check_data_module


@pytest.fixture(scope="module")
def grey():
    """The digits of scikit-learn as grey images of 8 bits, and their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target


@pytest.fixture
def vectors():
    """120 vectors of three classes, sorted by class."""
    labels = np.repeat([0, 1, 2], 40)
    return np.random.default_rng(0).normal(labels[:, None], 1, (120, 4)).astype(np.float32), labels


@pytest.fixture(scope="module")
def files(tmp_path_factory, grey):
    """The digits as an .npz and as a folder of .npy."""
    folder = tmp_path_factory.mktemp("arrays")
    x, y = grey
    parts = {"x_train": x[:1400], "y_train": y[:1400], "x_test": x[1400:], "y_test": y[1400:]}
    np.savez_compressed(folder / "digits.npz", **parts)
    (folder / "digits").mkdir()
    for name, array in parts.items():
        np.save(folder / "digits" / f"{name}.npy", array)
    return folder


def opened(**settings):
    data = ArraysDataModule(**{"batch_size": 32, **settings})
    data.setup()
    return data


def arrays_of(dataset):
    samples, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(samples), np.concatenate(labels)


def rows_of(dataset):
    return {sample.tobytes() for sample in arrays_of(dataset)[0]}


# ---------------------------------------------------------------------- where the arrays are


def test_files_and_python_give_the_same_data(files, grey):
    x, y = grey
    archive = opened(path=str(files / "digits.npz"))
    others = [
        opened(path=str(files / "digits")),
        opened(train=(x[:1400], y[:1400].astype(np.int32)), test=(x[1400:], y[1400:].tolist())),
    ]
    for other in others:
        assert other.digests() == archive.digests()
        assert all(map(np.array_equal, arrays_of(other.train_dataset(1)), arrays_of(archive.train_dataset(1))))
    assert isinstance(others[0]._source.splits["train"].samples, np.memmap)
    changed = opened(train=(with_value(x[:1400], (3, 4, 4), 77), y[:1400]), test=(x[1400:], y[1400:]))
    assert changed.digests()["fit"] != archive.digests()["fit"]
    assert changed.digests()["test"] == archive.digests()["test"]


def test_contract(files, vectors):
    check_data_module(ArraysDataModule(path=str(files / "digits"), batch_size=50))
    check_data_module(ArraysDataModule(train=vectors, batch_size=50, shuffle=False, scaling="standardised"))
    check_data_module(ArraysDataModule(train=vectors, validation=vectors, test=vectors, batch_size=50))


def test_names_of_arrays(tmp_path, vectors, capsys):
    x, y = vectors
    np.savez(tmp_path / "named.npz", images=x, labels=y, test_images=x[::2], test_labels=y[::2], more=x)
    names = {"x_train": "images", "y_train": "labels", "x_test": "test_images", "y_test": "test_labels"}
    data = opened(path=str(tmp_path / "named.npz"), **names)
    assert (data.spec.name, data.spec.n_train + data.spec.n_validation, data.spec.n_test) == ("named", 120, 60)
    assert "arrays that are not read: more" in capsys.readouterr().err


def test_values_are_those_of_the_array_under_any_order_of_bytes(vectors):
    x, y = vectors
    for kind in (">f4", "<f8", "<f2", np.longdouble):
        data = opened(train=(np.asfortranarray(x.astype(kind)), y), test=(x.astype(kind), y))
        assert rows_of(data.test_dataset()) == {row.tobytes() for row in x.astype(kind).astype(np.float32)}


# ---------------------------------------------------------------------- shapes and scaling


@pytest.mark.parametrize(
    ("shape", "kind", "axes", "expected"),
    [
        ((30, 5), np.float32, "auto", (5,)),
        ((30, 8, 9), np.uint8, "auto", (8, 9, 1)),
        ((30, 8, 8), np.float32, "auto", (8, 8, 1)),
        ((30, 50, 2), np.float32, "auto", (50, 2)),
        ((30, 8, 8), np.float32, "series", (8, 8)),
        ((30, 50, 2), np.float32, "images", (50, 2, 1)),
        ((30, 8, 8, 3), np.uint8, "auto", (8, 8, 3)),
        ((30, 2, 3, 4, 5), np.float32, "auto", (2, 3, 4, 5)),
    ],
)
def test_shape_of_a_sample(shape, kind, axes, expected, capsys):
    x = np.random.default_rng(0).uniform(0, 9, shape).astype(kind)
    data = opened(train=(x, np.arange(30) % 2), axes=axes, batch_size=8)
    assert data.spec.input_shape == next(iter(data.train_dataset()))[0].shape[1:] == expected
    told = capsys.readouterr().err
    assert ("is taken as" in told) == (len(shape) == 3)


def test_scalings(grey, vectors, capsys):
    x, y = grey
    raw = arrays_of(opened(train=grey, scaling="none").test_dataset())[0]
    assert sorted(map(bytes, raw.astype(np.uint8)))[0] in set(map(bytes, x))
    auto = opened(train=grey)
    assert auto.spec.scaling == "minus_one_to_one"
    assert np.array_equal(arrays_of(auto.test_dataset())[0], raw / np.float32(127.5) - 1)
    capsys.readouterr()
    assert opened(train=(x.astype(np.float64), y)).spec.scaling == "none"
    assert (
        "0 to 255 stay as they are (data.scaling=auto): pixels want data.scaling=zero_to_one" in capsys.readouterr().err
    )
    whole = opened(train=(x.astype(np.float64), y), scaling="zero_to_one")
    assert np.allclose(arrays_of(whole.test_dataset())[0], raw / 255, atol=1e-7)
    assert opened(train=vectors).spec.scaling == "none"
    constant = vectors[0] * [1, 1, 1, 0] + [0, 1e6, 0, 3]
    samples = arrays_of(opened(train=(constant, vectors[1]), scaling="standardised").train_dataset())[0]
    assert np.allclose(samples.mean(axis=0), 0, atol=1e-2)
    assert np.allclose(samples.std(axis=0), [1, 1, 1, 0], atol=1e-2)
    given = {"scaling": "standardised", "mean": [1.0, 2.0, 3.0, 4.0], "deviation": [1.0, 2.0, 4.0, 8.0]}
    plain, scaled = (arrays_of(opened(train=vectors, **kind).test_dataset())[0] for kind in ({}, given))
    assert np.allclose(scaled, (plain - [1, 2, 3, 4]) / [1, 2, 4, 8], atol=1e-6)


# ---------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda y: y, ("0", "1", "2")),
        (lambda y: y[:, None].astype(np.float64), ("0", "1", "2")),
        (lambda y: y.astype(np.uint8), ("0", "1", "2")),
        (lambda y: y * 5 - 3, ("-3", "2", "7")),
        (lambda y: np.array(["ant", "bee", "cat"])[y], ("ant", "bee", "cat")),
        (lambda y: np.array([b"ant", b"bee", b"cat"])[y], ("ant", "bee", "cat")),
        (lambda y: np.array(["ant", "bee", "cat"], object)[y], ("ant", "bee", "cat")),
        (lambda y: np.eye(3)[y], ("0", "1", "2")),
        (lambda y: np.eye(3, dtype=bool)[y], ("0", "1", "2")),
    ],
)
def test_labels_as_people_have_them(vectors, change, names):
    x, y = vectors
    data = opened(train=(x, change(y)), test=(x, change(y)))
    assert data.spec.class_names == names
    samples, labels = arrays_of(data.test_dataset())
    assert [y[np.flatnonzero((x == sample).all(axis=1))[0]] for sample in samples] == labels.tolist()


def test_class_names_give_the_order(vectors):
    x, y = vectors
    words = np.array(["ant", "bee", "cat"])[y]
    data = opened(train=(x, words), test=(x, words), class_names=["dog", "cat", "bee", "ant"])
    assert data.spec.n_classes == 4
    assert np.bincount(arrays_of(data.test_dataset())[1], minlength=4).tolist() == [0, 40, 40, 40]
    assert opened(train=vectors, class_names=["a", "b", "c", "d"]).spec.class_names == ("a", "b", "c", "d")


# ---------------------------------------------------------------------- parts and order


def test_parts_are_drawn_by_seed_disjoint_and_with_all_classes(vectors):
    def parts(seed):
        data = opened(train=vectors, split_seed=seed, validation_share=0.2)
        streams = (data.train_dataset(), data.validation_dataset(), data.test_dataset())
        assert all(np.unique(arrays_of(stream)[1]).size == 3 for stream in streams)
        return list(map(rows_of, streams)), data.digests()

    (train, validation, test), digests = parts(0)
    assert (len(train), len(validation), len(test)) == (77, 19, 24)
    assert len(train | validation | test) == 120
    assert ([train, validation, test], digests) == parts(0)
    assert test != parts(1)[0][2] and digests["test"] != parts(1)[1]["test"]
    assert len(rows_of(opened(train=vectors, test_share=0.5).test_dataset())) == 60


def test_the_first_samples_of_sorted_arrays_are_of_all_classes(vectors):
    data = opened(train=vectors, test=vectors, max_train_images=30, max_test_images=12, batch_size=9)
    assert (data.spec.n_train, data.spec.n_validation, data.spec.n_test) == (27, 3, 12)
    assert np.bincount(arrays_of(data.train_dataset())[1]).tolist() == [9, 9, 9]
    assert np.bincount(arrays_of(data.validation_dataset())[1]).tolist() == [1, 1, 1]
    assert np.bincount(arrays_of(data.test_dataset())[1]).tolist() == [4, 4, 4]


def test_order_follows_from_seed_and_epoch(vectors):
    first = arrays_of(opened(train=vectors).train_dataset(1))[0]
    assert np.array_equal(first, arrays_of(opened(train=vectors).train_dataset(1))[0])
    for other in (opened(train=vectors).train_dataset(2), opened(train=vectors, seed=1).train_dataset(1)):
        assert not np.array_equal(first, arrays_of(other)[0])
        assert sorted(map(bytes, first)) == sorted(map(bytes, arrays_of(other)[0]))


def test_augmentation_is_that_of_other_data(grey):
    plain, augmented = (opened(train=grey, augment=augment) for augment in (None, CropAndFlip(crop=1)))
    images, labels = arrays_of(augmented.train_dataset(1))
    assert np.array_equal(labels, arrays_of(plain.train_dataset(1))[1])
    assert not np.array_equal(images, arrays_of(plain.train_dataset(1))[0])
    assert all(map(np.array_equal, arrays_of(augmented.test_dataset()), arrays_of(plain.test_dataset())))


# ---------------------------------------------------------------------- what cannot be


X, Y = np.random.default_rng(0).normal(0, 1, (20, 4)).astype(np.float32), np.arange(20) % 2
WRONG = {
    "lengths": ((X, Y[:-1]), {}, "data: x of train has 20 samples, and y of train 19 labels: give one for each"),
    "no rows": ((X[:, 0], Y), {}, "data: x of train has shape (20,): give one row for each sample"),
    "nothing": ((X[:0], Y[:0]), {}, "data: x of train has shape (0, 4), and so no values"),
    "no number": ((with_value(X, (7, 1), np.nan), Y), {}, "data: x of train[7] has a value that is nan: leave such"),
    "too large": (
        (X.astype(float) * 1e39, Y),
        {},
        "data: x of train[0] has a value that is 6.40423e+38",
    ),
    "text": ((X.astype(str), Y), {}, "data: x of train holds no numbers, but values of type <U32"),
    "no whole label": ((X, X[:, 0]), {}, "data: y of train[0] is 0.12573: labels are classes, and so whole numbers"),
    "nan label": ((X, with_value(Y.astype(float), 4, np.nan)), {}, "data: y of train[4] is nan: leave samples without"),
    "soft labels": ((X, np.eye(2)[Y] * 0.9 + 0.05), {}, "data: y of train[0] is (0.95, 0.05), and not one-hot"),
    "two classes": (
        (X, np.ones((20, 3))),
        {},
        "data: y of train[0] is (1, 1, 1), and not one-hot",
    ),
    "no name": ((X, np.array(["a", ""])[Y]), {}, "data: y of train[1] is empty: leave samples without a label out"),
    "objects": ((X, np.array([{}, None], object)[Y]), {}, "data: y of train holds Python objects: give whole numbers"),
    "one class": ((X, Y * 0), {}, "data: y of train holds one class, '0': give samples of two classes or more"),
    "one sample": ((X, with_value(Y, 3, 2)), {}, "data.test_share: class '2' has 1 sample in x of train"),
    "few samples": (
        (X, with_value(Y, [3, 4], 2)),
        {},
        "class '2' has 2 samples in x of train, and with a share of 0.2 none is left to test on: add samples of it, "
        "leave the class out, or give a test part of your own, or take data.test_share=0.3",
    ),
    "no test part": ((X, Y), {"test_share": 0.0}, "data: there is no test part beside x of train, and data.test_share"),
    "another shape": ((X, Y), {"test": (X[:, :3], Y)}, "data: x of test has samples of shape (3,), and x of train of"),
    "another type": ((X, Y), {"test": (X.astype(int), Y)}, "data: x of test is of type int64, and x of train of type"),
    "another class": ((X, Y), {"test": (X, Y + 1)}, "data: y of test[1] is '2', a class that y of train has no sample"),
    "another form": (
        (X, Y),
        {"test": (X, np.eye(2)[Y])},
        "data: y of test holds one-hot labels, and y of train numbers",
    ),
    "out of range": (
        (X, Y),
        {"class_names": ["a", "b"], "test": (X, Y + 1)},
        "data: y of test[1] is 2, and with 2 data.class_names labels are 0 to 1",
    ),
    "unknown name": (
        (X, np.array(["ant", "bee"])[Y]),
        {"class_names": ["ants", "bee"]},
        "data: y of train[0] is 'ant', which data.class_names lacks: did you mean 'ants'?",
    ),
    "another width": (
        (X, np.eye(3)[Y]),
        {"class_names": ["ant", "bee"]},
        "data: data.class_names has 2 classes, and y of train has 3 columns",
    ),
    "axes": ((X, Y), {"axes": "series"}, "data.axes: got 'series', which is for arrays of three axes, and x of train"),
    "pixels": (
        (X, Y),
        {"scaling": "zero_to_one"},
        "has values of type float32 from -2.32503 to 2.00239",
    ),
    "batch size": (
        (X, Y),
        {"batch_size": 64},
        "data.batch_size: 64 is larger than the 15 training samples of x of train",
    ),
    "another unit": (
        (X, Y),
        {"scaling": "standardised", "mean": [120.0] * 4, "deviation": [60.0] * 4},
        "data.mean: got [120.0, 120.0, 120.0, 120.0], and the values of arrays are -2.32503 to 2.00239: give data.mean",
    ),
    "moments": (
        (X, Y),
        {"scaling": "standardised", "mean": [0.0], "deviation": [1.0]},
        "data.mean: got 1 numbers, and arrays has 4 channels (samples of shape (4,)): give 4, one per channel",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arrays_are_named_with_their_cure(wrong):
    train, settings, says = WRONG[wrong]
    with pytest.raises(DataError) as error:
        opened(**{"train": train, "batch_size": 4, **settings})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "cure"),
    [
        ("no test part", {"test_share": 0.2}),
        ("few samples", {"test_share": 0.3}),
        ("axes", {"axes": "auto"}),
        ("pixels", {"scaling": "standardised"}),
        ("batch size", {"batch_size": 15}),
        ("another class", {"class_names": ["a", "b", "c"]}),
    ],
)
def test_the_cure_works(wrong, cure):
    train, settings, _ = WRONG[wrong]
    check_data_module(ArraysDataModule(**{"train": train, "batch_size": 4, **settings, **cure}))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "data.path: give the path of an .npz file or of a folder of .npy files, or from Python train=(samples"),
        ({"path": "a", "train": (X, Y)}, "and not both"),
        ({"test": (X, Y)}, "data.path: give the path"),
        ({"train": (X, Y), "x_test": "x"}, "data.x_test: names what is read from files: leave it out"),
        ({"train": X}, "data.train: got array"),
        ({"train": ([[1, 2], [3]], [0, 1])}, "data.train: its values make no array"),
    ],
)
def test_wrong_settings_are_named_with_their_cure(settings, says):
    with pytest.raises(ConfigError) as error:
        ArraysDataModule(**settings)
    assert says in str(error.value)


def test_wrong_files_are_named_with_their_cure(tmp_path):
    def message(path, **settings):
        with pytest.raises(DataError) as error:
            opened(path=str(tmp_path / path), **settings)
        assert "\n" not in str(error.value)
        return str(error.value)

    np.savez(tmp_path / "no_labels.npz", x_train=X)
    np.savez(tmp_path / "half.npz", x_train=X, y_train=Y, x_test=X)
    np.savez(tmp_path / "objects.npz", x_train=X, y_train=np.array(["a", 3] * 10, object))
    (tmp_path / "data.csv").write_text("1,2\n")
    np.save(tmp_path / "x.npy", X)
    for name in ("empty", "objects", "cut"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "objects" / "x.npy", np.array([{}] * 20, object))
    np.save(tmp_path / "objects" / "y.npy", Y)
    np.save(tmp_path / "cut" / "y.npy", Y)
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "cut" / "x.npy").write_bytes(whole[:-40])

    assert "there is no " in message("nowhere.npz") and "give an .npz file, or a folder" in message("nowhere.npz")
    assert "data.csv is no .npz file" in message("data.csv")
    assert "is one array: give the folder" in message("x.npy")
    assert "holds no .npy files" in message("empty")
    assert "has no array 'y_train' nor 'y' beside 'x_train'; it has x_train: add it to the arrays" in message(
        "no_labels.npz"
    )
    assert "data.y_test: " in message("half.npz") and "beside 'x_test'" in message("half.npz")
    assert "data.x_test: " in message("half.npz", x_test="x_tset") and "has no array 'x_tset'" in message(
        "half.npz", x_test="x_tset"
    )
    for path in ("objects.npz", "objects"):
        assert "holds Python objects: save numbers as" in message(path)
    assert "'x' of" in message("cut") and "cannot be read" in message("cut")


# ---------------------------------------------------------------------- a whole run


@pytest.mark.slow
def test_a_series_through_a_whole_run(command, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    waves = np.sin(np.linspace(0, 6, 20) * (1 + labels[:, None]))[..., None] + rng.normal(0, 0.2, (300, 20, 2))
    np.savez(tmp_path / "waves.npz", x=waves, y=np.array(["slow", "fast"])[labels])
    done = command(
        *("data=arrays", f"data.path={tmp_path / 'waves.npz'}", "data.scaling=standardised", "data.batch_size=32"),
        *("model=mlp", "model.units=[16]", "training.epochs=3", "training.learning_rate=0.01", "simulator.n_steps=8"),
        *("callbacks=none", "logger=csv", "diagnosis.images=0", "experiment_name=own"),
    )
    assert done.code == 0, done.err
    assert "x of shape (300, 20, 2) is taken as series of 20 time steps and 2 channels (data.axes=images" in done.err
    (tags,) = [json.loads(path.read_text()) for path in (tmp_path / "work").rglob("tags.json")]
    assert tags["data"] == "waves"
    assert json.loads(tags["dataset"])["source"] == str(tmp_path / "waves.npz")
