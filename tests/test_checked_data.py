"""Data modules of one's own: what is taken gives the same run, what is refused is one line before training."""

import dataclasses
import re

import nengo
import numpy as np
import pytest
from data_modules import HABITS, READ_OTHERWISE, Arrays, digits, with_value

from snnpipe import CsvLogger, EventDrivenSimulator, KerasTraining, Mlp, NengoDLTraining, Trainer
from snnpipe.base.errors import DataError, TrainingError
from snnpipe.conversion.nengo_dl import NengoDLConverter
from snnpipe.data.checked_data import CheckedData
from snnpipe.encoders import ConstantEncoder
from snnpipe.frameworks.compat import start_afresh
from snnpipe.metrics.evaluation import Evaluation
from snnpipe.metrics.passes import AnnPass
from snnpipe.testing import Silent, check_data_module
from snnpipe.values.data import DataSpec

TAKEN = [
    *list(HABITS)[: list(HABITS).index("labels from 1")],
    *list(READ_OTHERWISE)[: list(READ_OTHERWISE).index("not batched")],
]
REFUSED = {
    "labels from 1": r"train split: labels\[\d+\] is 10, .* 0 to 9: they seem to count from 1: subtract 1",
    "labels of -1": r"labels\[0\] is -1, .*: leave images without a label out",
    "labels of 20": r"labels\[0\] is 20, .*: give n_classes=21",
    "labels as text": r"but 'digit \d': give the number of the class, 0 to 9",
    "labels of a half": r"labels\[0\] is \d\.5: labels are .* whole",
    "labels that are no number": r"labels\[0\] is nan",
    "soft labels": r"labels\[0\] is \(0\.01, .*not one-hot: give each image one class",
    "several classes": r"labels\[0\] is \(.*1.*1.*not one-hot",
    "labels of three columns": r"labels have shape \(32, 3\), and n_classes is 10",
    "pixels that are no number": r"images\[0\] has a pixel that is nan.*nan_to_num",
    "pixels without end": r"images\[0\] has a pixel that is inf",
    "pixels too large": r"has a pixel that is inf",
    "images as text": r"no numbers, but 'image\.png': decode them",
    "channels first": r"have shape \(3, 8, 8\), and DataSpec.input_shape is \(8, 8, 1\)",
    "flat images": r"reshape the images to \(-1, 8, 8, 1\), or give input_shape=\(64,\)",
    "images of another size": r"have shape \(7, 8, 1\).*give input_shape=\(7, 8, 1\)",
    "negative weights": r"weight of images\[0\] is -1: give a number of 0 or more",
    "weights that are no number": r"weight of images\[0\] is nan",
    "weights of another shape": r"\(32, 8, 8\): give one number per image",
    "a mapping": r"a mapping with 'image', 'label'.*lambda row: \(row\['image'\], row\['label'\]\)",
    "images alone": r"one array of shape \(32, 8, 8, 1\): yield \(samples, labels\)",
    "four parts": r"has 4 parts: yield",
    "two inputs": r"its samples are a tuple",
    "not batched": r"one image of shape \(8, 8, 1\) .* \.batch\(self\.batch_size\)",
    "without an end": r"never ends: leave out \.repeat\(\)",
    "a generator without an end": r"beyond the 100 images of DataSpec\.n_train: leave out \.repeat\(\)",
    "the last batch dropped": r"ends after 96 images, and DataSpec\.n_train is 100: .*drop_remainder",
    "larger batches": r"it has 39 images, and Arrays\.batch_size is 32",
    "batches of any size": r"batch 1 of the train split: it has 30 images",
    "arrays": r"returned whole arrays: return batches",
    "an array": r"returned a ndarray: return a stream of batches",
    "a function": r"returned a function: return a stream",
    "a number": r"returned a int: return a stream",
    "ragged": r"its samples make no array: .* the same shape",
    "fewer labels": r"32 images and 31 labels",
}


def ready(data: object) -> CheckedData:
    """Return a data module as a run has it when training begins."""
    checked = CheckedData(data)
    checked.prepare_data()
    checked.setup()
    checked.look()
    return checked


def read(stream) -> list[np.ndarray]:
    return [np.concatenate(part) for part in zip(*stream.as_numpy_iterator(), strict=True)]


def trainer_of(data, folder, **parts):
    settings = {
        "architecture": Mlp(units=[16]),
        "training": KerasTraining(epochs=1),
        "converter": NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=100.0, synapse=None),
        "simulator": EventDrivenSimulator(n_steps=5),
        "encoder": ConstantEncoder(),
        "diagnosed_images": 0,
        "loggers": [CsvLogger(folder=str(folder / "run"))],
        "output_dir": folder / "run",
    }
    return Trainer(data=data, **(settings | parts))


# ---------------------------------------------------------------------- what is taken


def test_every_habit_is_in_one_of_the_lists():
    assert {*TAKEN, *REFUSED} == {*HABITS, *READ_OTHERWISE}


@pytest.mark.parametrize("habit", TAKEN)
def test_what_is_taken_gives_the_documented_streams(habit):
    data, plain = ready(Arrays(habit)), Arrays()
    plain.setup()
    scale = 16 if habit == "images of uint8" else 1
    for stream, (images, labels) in zip(
        (data.train_dataset(3), data.validation_dataset(), data.test_dataset(7)), plain.parts, strict=True
    ):
        found = read(stream)
        order = np.random.default_rng(3).permutation(100) if len(images) == 100 else slice(None)
        assert [part.dtype for part in found[:2]] == [np.float32, np.int64]
        np.testing.assert_array_equal(found[0], images[order] * scale)
        np.testing.assert_array_equal(found[1], labels[order])
        assert len(found) == (3 if habit in ("weights of one", "weights as a column") else 2)
        assert all(part.shape == (len(images),) and part.dtype == np.float32 for part in found[2:])


@pytest.mark.slow
@pytest.mark.parametrize("habit", ["column labels", pytest.param("one-hot", marks=pytest.mark.slow)])
def test_labels_of_another_shape_give_the_same_run(habit, tmp_path):
    plain, found = (trainer_of(Arrays(each), tmp_path / each).run().metrics for each in ("none", habit))
    differ = {name for name in found if found[name] != plain[name]}
    assert found.keys() == plain.keys() and all("_per_s" in name or "memory" in name for name in differ)
    assert all(0 <= found[name] <= 1 for name in found if name.endswith("accuracy"))


@pytest.mark.parametrize("habit", ["none", "column labels", "one-hot"])
def test_an_ann_pass_by_itself_counts_each_image_once(habit):
    data = Arrays(habit)
    data.setup()
    start_afresh(0)
    model = Mlp(units=[8]).build(data.spec)
    images, labels = data.parts[2]
    right = np.mean(np.argmax(model.predict(images, verbose=0), axis=-1) == labels)
    assert AnnPass.of(model, data).metrics["ann/test_accuracy"] == pytest.approx(right)


def test_an_evaluation_refuses_column_labels():
    data = Arrays()
    data.setup()
    model = Mlp(units=[8]).build(data.spec)
    evaluation = Evaluation(
        NengoDLConverter(neuron=None, scale_firing_rates=1.0, synapse=None).convert(model, 0),
        [3],
        0.001,
        "last",
        1,
        data.spec.n_classes,
    )
    with pytest.raises(DataError, match=r"labels of shape \(4, 1\) .* of shape \(b,\)"):
        evaluation.batch(np.zeros((4, 1), np.int64), np.zeros(4, np.int64))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(64,), (1, 8, 8, 1)])
def test_images_of_any_rank(shape, tmp_path):
    @dataclasses.dataclass
    class Shaped(Arrays):
        def stream(self, images, labels, size):
            return super().stream(images.reshape(-1, *shape), labels, size)

    untrained = KerasTraining(epochs=0)
    result = trainer_of(Shaped(fields={"input_shape": shape}), tmp_path, training=untrained).run()
    assert 0 <= result.metrics["snn/test_accuracy"] <= 1


def test_test_batches_have_the_size_that_was_asked_for_whatever_the_module_does():
    @dataclasses.dataclass
    class Deaf(Arrays):
        def test_dataset(self, batch_size=None):
            return self.stream(*self.parts[2], 20)

    assert [len(images) for images, _ in ready(Deaf()).test_dataset(7).as_numpy_iterator()] == [7] * 7 + [1]


def test_what_a_spec_leaves_out_is_worked_out():
    @dataclasses.dataclass
    class Bare(Arrays):
        def setup(self):
            super().setup()
            self.spec = DataSpec(input_shape=(8, 8, 1), n_classes=10)

    for habit in ("none", "a generator", "a sequence"):
        spec = ready(Bare(habit)).spec
        assert (spec.n_train, spec.n_validation, spec.n_test) == (100, 40, 50)
        assert (spec.name, spec.class_names) == ("Bare", tuple("0123456789"))
    assert ready(Bare(sizes=(100, 0, 50))).spec.n_validation == 0


@pytest.mark.parametrize(
    "spec",
    [
        {"input_shape": [8, 8, 1], "n_classes": 10},
        type("Spec", (), {"input_shape": (8, 8, 1), "n_classes": 10, "n_train": 100}),
    ],
)
def test_a_spec_of_ones_own(spec):
    @dataclasses.dataclass
    class Own(Arrays):
        def setup(self):
            super().setup()
            self.spec = spec

    assert ready(Own()).spec == DataSpec("Own", "", (8, 8, 1), 10, (), 100, 40, 50)


def test_attributes_are_the_modules():
    module = Arrays()
    data = CheckedData(module)
    data.batch_size = 16
    assert module.batch_size == data.batch_size == 16
    assert data.habit == "none" and CheckedData.of(data) is data
    assert not hasattr(data, "no_such_thing")


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("habit", REFUSED)
def test_what_is_refused_is_one_line_with_its_cure(habit):
    with pytest.raises(AssertionError) as raised:
        check_data_module(Arrays(habit))
    assert isinstance(raised.value.__cause__, DataError)
    assert re.search(REFUSED[habit], str(raised.value)), str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("habit", ["labels from 1", "arrays", "the last batch dropped"])
def test_nothing_is_trained_or_written_before_it_is_refused(habit, tmp_path):
    with pytest.raises(DataError, match=REFUSED[habit]):
        trainer_of(Arrays(habit), tmp_path).run()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ((0, 40, 50), "the train split is empty"),
        ((100, 40, 0), r"the test split is empty: Arrays\.test_dataset\(\) gives no image"),
    ],
)
def test_an_empty_split_is_refused(sizes, says):
    with pytest.raises(DataError, match=says):
        ready(Arrays(sizes=sizes))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"n_test": 51}, r"test split ends after 50 images, and DataSpec\.n_test is 51"),
        ({"n_test": 20}, r"beyond the 20 images of DataSpec\.n_test"),
        ({"n_train": 96}, r"beyond the 96 images of DataSpec\.n_train"),
        ({"n_validation": 0}, r"beyond the 0 images of DataSpec\.n_validation"),
        ({"n_validation": 80}, r"validation split ends after 40 images"),
        ({"n_test": -1}, r"DataSpec\.n_test: got -1"),
        ({"input_shape": ()}, r"DataSpec\.input_shape: got \(\): give the shape of one sample"),
        ({"input_shape": (None, 8, 8, 1)}, r"DataSpec\.input_shape: got \(None, 8, 8, 1\).* without the batch"),
        ({"n_classes": 1}, r"DataSpec\.n_classes: got 1: .*yes or no are 2 classes"),
        ({"n_classes": 0}, r"DataSpec\.n_classes: got 0: give the number of classes"),
        ({"class_names": ("a", "b")}, r"^class_names: got \('a', 'b'\), and there are 10 classes"),
    ],
)
def test_a_spec_that_does_not_fit(fields, says):
    with pytest.raises(AssertionError, match=says):
        check_data_module(Arrays(fields=fields))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"n_train": 96}, r"beyond the 96 images of DataSpec\.n_train"),
        ({"n_validation": 80}, r"validation split ends after 40 images"),
    ],
)
def test_a_spec_that_does_not_fit_a_stream_without_shapes(fields, says):
    with pytest.raises(AssertionError, match=says):
        check_data_module(Arrays("no shapes", fields=fields))


class Empty:
    """A data module that lacks everything."""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"validation_dataset": None}, r"data: Changed lacks validation_dataset\(self\): define it"),
        ({"setup": None, "prepare_data": 3}, r"lacks prepare_data\(self\), setup\(self\): define them"),
        ({"batch_size": None}, r"Changed\.batch_size: it has none: set it"),
        ({"batch_size": "32"}, r"Changed\.batch_size: got '32'"),
        ({"batch_size": 0}, r"Changed\.batch_size: got 0"),
        ({"spec": None}, r"Changed\.spec is a NoneType: give a snnpipe\.DataSpec\(input_shape"),
        ({"spec": (8, 8, 1)}, r"Changed\.spec is a tuple: give a"),
        ({"spec": {"input_shape": (8, 8, 1), "classes": 3}}, r"Changed\.spec: no such key 'classes'; .*n_classes"),
        ({"spec": {"input_shape": (8, 8, 1)}}, r"DataSpec\.n_classes: got 0"),
        ({"train_dataset": lambda self: None}, r"train_dataset must take one argument: .*\(self, epoch=0\)"),
        ({"test_dataset": lambda self: None}, r"test_dataset must take one argument: .*batch_size=None"),
        ({"test_dataset": lambda self, size: None}, r"test_dataset\(\) returned None: return a stream"),
        ({"validation_dataset": lambda self: None}, r"returned None, and DataSpec\.n_validation is 40"),
        (
            {"setup": lambda self: {}["x"]},
            r"Changed\.setup\(\) failed: KeyError: 'x' \(test_checked_data\.py, line \d+",
        ),
        (
            {"test_dataset": lambda self, size: np.load("/no/such")},
            r"test_dataset\(\) failed: FileNotFoundError.*/no/such",
        ),
        ({"train_dataset": lambda self, epoch: (1 / 0 for _ in "x")}, r"train_dataset\(\), batch 1, failed: ZeroDivis"),
        ({"spec": property(lambda self: self._later)}, r"Changed\.spec failed: AttributeError: .*_later"),
    ],
)
def test_a_module_that_lacks_something(changes, says):
    class Changed(Arrays):
        def setup(self):
            given = type(self).__dict__.get("spec", self)
            if given is self:
                super().setup()
            else:
                self.parts = [digits()] * 3

    for name, value in changes.items():
        setattr(Changed, name, value)
    module = Changed()
    if "batch_size" in changes:
        module.batch_size = changes["batch_size"]
    with pytest.raises(DataError, match=says) as raised:
        ready(module)
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="data: Empty lacks prepare_data"):
        ready(Empty())


# ---------------------------------------------------------------------- in the middle of training


def later(part, value):
    """Return a habit: the last image has another value in one part of its batch, which is no split's first."""

    def change(images, labels):
        arrays = [images, labels, np.ones(len(images), np.float32)]
        arrays[part] = with_value(arrays[part], -1, value)
        return tuple(arrays)

    return change


LATER = {
    "a label out of range": (1, 10, r"labels\[\d+\] is 10, and with n_classes=10 labels are 0 to 9"),
    "a pixel that is no number": (0, np.nan, r"images\[\d+\] has a pixel that is nan"),
    "a negative weight": (2, -2, r"weight of images\[\d+\] is -2"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "what", "split"),
    [
        (KerasTraining, "a negative weight", 0),
        (KerasTraining, "a pixel that is no number", 1),
        (KerasTraining, "a label out of range", 2),
        (NengoDLTraining, "a label out of range", 0),
        pytest.param(NengoDLTraining, "a pixel that is no number", 1, marks=pytest.mark.long),
    ],
)
def test_what_comes_up_later_is_one_line_too(what, split, path, tmp_path, monkeypatch):
    part, value, says = LATER[what]
    monkeypatch.setitem(HABITS, "later", later(part, value))

    @dataclasses.dataclass
    class Late(Arrays):
        def stream(self, images, labels, size):
            self.habit = "later" if len(images) == self.sizes[split] else "weights of one"
            return super().stream(images, labels, size)

        def train_dataset(self, epoch=0):
            return self.stream(*self.parts[0], self.batch_size)

    trainer = trainer_of(Late(), tmp_path, training=path(epochs=0 if split == 2 else 1))
    name = ("train", "validation", "test")[split]
    with pytest.raises(DataError, match=f"data: batch {(4, 2, 2)[split]} of the {name} split: .*{says}") as raised:
        trainer.run()
    assert "\n" not in str(raised.value)
    assert (tmp_path / "run" / "checkpoint").exists() == (split == 2)


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["a generator", "none"])
def test_a_stream_that_fails_later_names_the_batch(stream, tmp_path):
    @dataclasses.dataclass
    class Fails(Arrays):
        def train_dataset(self, epoch=0):
            import tensorflow as tf

            def batches():
                for i, batch in enumerate(super(Fails, self).train_dataset(epoch).as_numpy_iterator()):
                    if i == 2:
                        raise OSError("the file ends")
                    yield batch

            if stream == "a generator":
                return batches()
            return tf.data.Dataset.from_generator(batches, output_types=(tf.float32, tf.int64))

    with pytest.raises(DataError, match=r"train_dataset\(\), batch 3, failed: .*the file ends") as raised:
        trainer_of(Fails(), tmp_path).fit()
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_weights_that_become_no_number_with_a_finite_loss_are_never_saved(tmp_path):
    import tf_keras

    class Normalised:
        def build(self, spec):
            layers = tf_keras.layers
            return tf_keras.Sequential(
                [
                    layers.Input(spec.input_shape),
                    layers.Flatten(),
                    layers.Dense(8, activation="relu"),
                    layers.BatchNormalization(name="norm"),
                    layers.Dense(spec.n_classes),
                ]
            )

    @dataclasses.dataclass
    class Bright(Arrays):  # the variance of 1e25 is beyond float32, and only that
        def stream(self, images, labels, size):
            return super().stream(images * np.float32(1e25), labels, size)

    with pytest.raises(
        TrainingError, match=r"weight 'norm/moving_variance:0' is (inf|nan) after epoch 1.*nothing is saved"
    ):
        trainer_of(Bright(), tmp_path, architecture=Normalised()).run()
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_a_training_path_of_ones_own_does_not_save_such_weights_either(tmp_path):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Breaks(KerasTraining):
        def fit(self, model, data, callbacks):
            checkpoint = super().fit(model, data, callbacks)
            weights = {name: value * np.nan for name, value in checkpoint.weights.items()}
            return dataclasses.replace(checkpoint, weights=weights)

    with pytest.raises(TrainingError, match=r"weight 'dense/kernel:0' is nan after training, in 1024 of 1024 values"):
        trainer_of(Arrays(), tmp_path, training=Breaks(epochs=0)).run()
    assert not (tmp_path / "run" / "checkpoint").exists()


@pytest.mark.slow
def test_one_line_on_the_command_line(command, tmp_path, monkeypatch):
    folder = tmp_path / "conf" / "data"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("_target_: data_modules.Arrays\nhabit: labels from 1\n")
    result = command("--config-dir", str(tmp_path / "conf"), "data=mine", "model=mlp", "logger=csv")
    assert result.code == 2
    (line,) = result.error_lines
    assert re.search(REFUSED["labels from 1"], line)
    assert "Traceback" not in result.err


# ---------------------------------------------------------------------- an ordinary training is what it was


@pytest.mark.slow
def test_a_checked_stream_trains_to_the_same_weights_as_the_modules_own(digits):
    data = digits(max_train_images=100)
    found = []
    for given in (data, CheckedData(data)):
        start_afresh(0)
        model = Mlp(units=[8]).build(data.spec)
        found.append(KerasTraining(epochs=1).fit(model, given, Silent()))
    for name, weight in found[0].weights.items():
        np.testing.assert_array_equal(weight, found[1].weights[name])
    assert found[0].metrics.keys() == found[1].metrics.keys()
    for name in ("fit/loss", "fit/val_loss", "fit/accuracy", "fit/val_accuracy"):
        assert found[0].metrics[name] == found[1].metrics[name]
