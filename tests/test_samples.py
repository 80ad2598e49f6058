"""Vectors, series and samples of higher rank, from the data module to the report; docs/data.md is run."""

import dataclasses
import re
from pathlib import Path

import nengo
import numpy as np
import pytest
import tf_keras
from test_simulation import converted, same_for_all, simulate

from snnpipe import (
    AutoSimulator,
    ClockDrivenSimulator,
    Cnn2d,
    ConstantEncoder,
    CsvLogger,
    DataSpec,
    EventDrivenSimulator,
    KerasToSnn,
    KerasTraining,
    LifCnn,
    Mlp,
    NengoDLConverter,
    NengoDLSimulator,
    NengoDLTraining,
    PoissonEncoder,
    TfdsDataModule,
    Trainer,
)
from snnpipe.base.errors import DataError, ModelError, SimulationError
from snnpipe.callbacks.report import Report
from snnpipe.callbacks.spike_artifacts import SpikeArtifacts
from snnpipe.conversion.native import IdentityConverter
from snnpipe.data.checked_batch import clean
from snnpipe.data.checked_data import CheckedData
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.models.adapt import adapt
from snnpipe.run.summary import closing_table
from snnpipe.testing import check_architecture, check_data_module, check_encoder
from snnpipe.values.simulation import Stimulus

PAGE = Path(__file__).parent.parent / "docs" / "data.md"
VECTOR, SERIES, VOLUME = (6,), (12, 3), (4, 4, 4, 2)
LAYERS = tf_keras.layers


def samples(shape, count=4):
    return np.random.default_rng(0).uniform(-1, 1, (count, *shape)).astype(np.float32)


def spec_of(shape, n_classes=3, **fields):
    return DataSpec(name="mine", input_shape=shape, n_classes=n_classes, **fields)


# ---------------------------------------------------------------------- the spec


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((8, 8, 1), ("image", "pixel")),
        ((8, 8, 3), ("image", "pixel")),
        ((8, 8, 4), ("image", "pixel")),
        ((8, 8, 2), ("sample", "value")),
        ((8, 8), ("sample", "value")),
        (VECTOR, ("sample", "value")),
        (SERIES, ("sample", "value")),
        (VOLUME, ("sample", "value")),
    ],
)
def test_a_spec_knows_what_a_sample_is_called(shape, words):
    spec = spec_of(shape)
    assert (spec.sample_word, spec.value_word) == words


def test_the_earlier_name_of_the_shape_still_works():
    spec = DataSpec(image_shape=(8, 8, 1), n_classes=3)
    assert spec == DataSpec(input_shape=[8, 8, 1], n_classes=3)
    assert spec.image_shape == spec.input_shape == (8, 8, 1)
    assert dataclasses.replace(spec, input_shape=(5,)).image_shape == (5,)
    assert "image_shape" not in dataclasses.asdict(spec)
    with pytest.raises(DataError, match=r"DataSpec\.image_shape: got \(5,\) beside input_shape=\(8, 8, 1\)"):
        dataclasses.replace(spec, image_shape=(5,))


@pytest.mark.parametrize("shape", ["input_shape", "image_shape"])
@pytest.mark.parametrize("kind", [dict, lambda **fields: type("Spec", (), fields)])
def test_a_module_may_give_its_spec_by_either_name(kind, shape):
    module = type("Module", (), {"spec": kind(**{shape: (5, 2), "n_classes": 3})})()
    assert CheckedData(module).spec.input_shape == (5, 2)


# ---------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ((np.full((2, *SERIES), np.nan), [0, 1]), r"samples\[0\] has a value that is nan: leave such samples out"),
        ((np.ones((2, 3, 12)), [0, 1]), r"samples have shape \(3, 12\).* transpose the samples with \(0, 2, 1\)"),
        ((np.ones((2, 36)), [0, 1]), r"reshape the samples to \(-1, 12, 3\), or give input_shape=\(36,\)"),
        ((np.ones((2, 12)), [0, 1]), r"give input_shape=\(12,\), or samples of shape \(12, 3\)"),
        ((np.array([["a"] * 3] * 2), [0, 1]), r"samples are no numbers, but 'a': give each value as a number"),
        ((np.ones(SERIES), 1), r"it is one sample of shape \(12, 3\) with its label, and no batch"),
        ((np.ones((2, *SERIES)), [0]), r"2 samples and 1 labels: give one for each sample"),
        ((np.ones((2, *SERIES)), [0, 1], [1, -1]), r"weight of samples\[1\] is -1"),
    ],
)
def test_what_is_wrong_with_a_batch_of_series_is_said_in_its_words(batch, says):
    with pytest.raises(DataError, match=says) as raised:
        clean(tuple(map(np.asarray, batch)), spec_of(SERIES), "data: batch 1")
    assert not re.search("image|pixel", str(raised.value))


@pytest.mark.parametrize(("shape", "given"), [((1,), (1,)), ((1,), (1, 1)), ((5, 1), (1, 5)), ((5, 1), (1, 5, 1))])
def test_a_batch_of_one_is_a_batch(shape, given):
    values, labels = clean((np.ones(given), np.array([1])), spec_of(shape), "data: batch 1")
    assert values.shape == (1, *shape) and labels.shape == (1,)


# ---------------------------------------------------------------------- architectures


@pytest.mark.parametrize("shape", [VECTOR, SERIES, VOLUME])
def test_an_mlp_takes_samples_of_any_rank(shape):
    check_architecture(Mlp(units=[5]), spec_of(shape))
    assert Mlp(units=[5]).build(spec_of(shape)).input_names == ["sample"]


@pytest.mark.parametrize("architecture", [Cnn2d(filters=[2]), KerasToSnn(), LifCnn()])
@pytest.mark.parametrize(
    ("shape", "cure"), [(VECTOR, r"take model=mlp$"), (SERIES, r"of your own with Conv1D$"), (VOLUME, r"model=mlp$")]
)
def test_networks_of_images_refuse_other_ranks(architecture, shape, cure):
    says = rf"takes samples of shape \(height, width, channels\), and those of mine have shape {re.escape(str(shape))}"
    with pytest.raises(ModelError, match=says + ".*" + cure):
        architecture.build(spec_of(shape))


def test_a_model_that_was_built_for_another_shape_is_adapted_in_the_datas_words():
    model = tf_keras.Sequential([LAYERS.Input((36,)), LAYERS.Dense(5, activation="relu"), LAYERS.Dense(3)])
    adapted = adapt(model, spec_of(SERIES))
    assert adapted.notes == ("samples of shape (12, 3) are flattened",)
    x = samples(SERIES)
    np.testing.assert_allclose(adapted.model(x), model(x.reshape(4, -1)), atol=1e-6)
    with pytest.raises(ModelError, match=r"the samples of mine have the shape \(6,\).*spec\.input_shape"):
        adapt(model, spec_of(VECTOR))


# ---------------------------------------------------------------------- simulators


def convolution(shape):
    """The layers of a small network for samples of a shape."""
    kind = {2: LAYERS.Conv1D, 4: LAYERS.Conv3D}.get(len(shape))
    first = [kind(3, 2, activation="relu")] if kind else [LAYERS.Dense(8, activation="relu")]
    return [*first, LAYERS.Flatten(), LAYERS.Dense(5, activation="relu"), LAYERS.Dense(3)]


@pytest.fixture(scope="module")
def networks():
    return {s: converted(*convolution(s), shape=s, scale_firing_rates=200.0) for s in (VECTOR, SERIES, VOLUME)}


@pytest.mark.slow
@pytest.mark.parametrize("shape", [VECTOR, SERIES, VOLUME])
def test_all_simulators_give_the_same_spikes_for_samples_of_any_rank(networks, shape):
    kinds = ClockDrivenSimulator, EventDrivenSimulator, AutoSimulator
    same_for_all(networks[shape], *kinds, images=samples(shape))


# ---------------------------------------------------------------------- encoders


@pytest.mark.parametrize("shape", [(1,), VECTOR, SERIES, (3, 2, 2, 2)])
@pytest.mark.parametrize("encoder", [ConstantEncoder(), PoissonEncoder()])
def test_encoders_take_samples_of_any_rank(encoder, shape):
    check_encoder(encoder, shape)


class Ramp:
    """Fades every sample in: a user's encoder whose input changes over time, for samples of any rank."""

    constant = False

    def seeded(self, seed):
        return self

    def encode(self, values, ids, first_step, n_steps):
        share = np.minimum(1, (1 + first_step + np.arange(n_steps, dtype=np.float32)) / 10)
        return share[:, None] * values.reshape(len(values), 1, -1)


class Doubled(Ramp):
    """A user's encoder that is constant, and shows something else than the sample itself."""

    constant = True

    def encode(self, values, ids, first_step, n_steps):
        return np.repeat(2 * values.reshape(len(values), 1, -1), n_steps, axis=1)


class Lying(Ramp):
    """Says that it is constant, and is not."""

    constant = True


class Broken(Ramp):
    """Shows what is no number, from step 5 on."""

    def encode(self, values, ids, first_step, n_steps):
        signal = super().encode(values, ids, first_step, n_steps)
        signal[:, first_step + np.arange(n_steps) >= 5] = np.nan
        return signal


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "shape"), [(Ramp(), SERIES), (Doubled(), VECTOR)])
def test_simulators_show_what_an_encoder_of_ones_own_makes(networks, encoder, shape):
    check_encoder(encoder, shape)
    kinds = ClockDrivenSimulator, EventDrivenSimulator
    shown, _, _ = same_for_all(networks[shape], *kinds, images=samples(shape), encoder=encoder)
    plain, _, _ = simulate(networks[shape], images=samples(shape), kind=EventDrivenSimulator, precision="float64")
    assert not np.allclose(shown, plain), "the encoder makes a difference"


@pytest.mark.slow
def test_the_pages_encoder_shows_a_series_step_by_step(page, networks):
    encoder, x = page["Unfolding"](2), samples(SERIES)
    check_encoder(encoder, SERIES)
    signal = encoder.encode(x, range(4), 0, 24).reshape(4, 12, 2, *SERIES)
    for step in range(12):
        assert np.array_equal(signal[:, step, :, step], np.stack([x[:, step]] * 2, axis=1))
        assert not np.delete(signal[:, step], step, axis=2).any()
    same_for_all(networks[SERIES], EventDrivenSimulator, images=x, encoder=encoder)


def test_a_constant_encoder_that_changes_is_refused():
    x = samples(VECTOR)
    Stimulus(x, range(4), Doubled()).check_encoder(300)
    Stimulus(x, range(4), Ramp()).check_encoder(300)
    with pytest.raises(SimulationError, match=r"encoder Lying has constant = True.*between step 0 and step 99: set"):
        Stimulus(x, range(4), Lying()).check_encoder(300)
    with pytest.raises(SimulationError, match=r"encoder Broken gave values.*in steps 0 to 99"):
        Stimulus(x, range(4), Broken()).check_encoder(300)


@pytest.mark.parametrize("kind", [NengoDLSimulator, ClockDrivenSimulator, EventDrivenSimulator])
def test_an_encoder_that_gives_no_numbers_is_refused(networks, kind):
    with pytest.raises(SimulationError, match=r"encoder Broken gave values that are infinite or no number, in steps"):
        simulate(networks[VECTOR], images=samples(VECTOR), kind=kind, encoder=Broken())


# ---------------------------------------------------------------------- whole runs


class Arrays:
    """Samples of a shape in three classes, told apart by their mean."""

    batch_size = 16

    def __init__(self, shape):
        self.shape = shape

    def prepare_data(self):
        pass

    def setup(self):
        self.spec = DataSpec(input_shape=self.shape, n_classes=3)

    def stream(self, seed, count, size):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, count)
        x = rng.uniform(-0.3, 0.3, (count, *self.shape)) + (labels - 1).reshape(-1, *[1] * len(self.shape))
        return [(x[i : i + size].astype(np.float32), labels[i : i + size]) for i in range(0, count, size)]

    def train_dataset(self, epoch=0):
        return self.stream(epoch, 200, 16)

    def validation_dataset(self):
        return None

    def test_dataset(self, batch_size=16):
        return self.stream(99, 20, batch_size or 16)


def network_of(spec):
    return tf_keras.Sequential([LAYERS.Input(spec.input_shape), *convolution(spec.input_shape)])


def native(spec):
    """A network written in Nengo, whose input node has a value for each value of a sample."""
    with nengo.Network() as net:
        net.config[nengo.Connection].synapse = None
        n, rng = int(np.prod(spec.input_shape)), np.random.default_rng(0)
        sample, logits = nengo.Node(np.zeros(n)), nengo.Node(size_in=3)
        hidden = nengo.Ensemble(16, 1, neuron_type=nengo.SpikingRectifiedLinear(amplitude=0.01), label="hidden").neurons
        nengo.Connection(sample, hidden, transform=rng.normal(0, 1, (16, n)))
        nengo.Connection(hidden, logits, transform=rng.normal(0, 1, (3, 16)))
        return NativeNetwork(net, sample, nengo.Probe(logits, synapse=0.01))


FAST = {"epochs": 5, "learning_rate": 0.03}


def trainer_of(shape, folder, **parts):
    settings = {
        "data": Arrays(shape),
        "architecture": network_of,
        "training": KerasTraining(**FAST),
        "converter": NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=200.0, synapse=0.005),
        "simulator": EventDrivenSimulator(n_steps=30, verify_images=2),
        "encoder": ConstantEncoder(),
        "loggers": [CsvLogger(str(folder / "csv"))],
        "output_dir": folder / "run",
        "diagnosed_images": 20,
    }
    return Trainer(**settings | parts)


RUNS = {
    "vector that changes": (
        VECTOR,
        {"architecture": Mlp(units=[8]), "simulator": AutoSimulator(n_steps=30), "diagnosed_images": 0},
    ),
    "vector in NengoDL": (VECTOR, {"training": NengoDLTraining(**FAST)}),
    "series": (SERIES, {"callbacks": [SpikeArtifacts(sample_images=2), Report()]}),
    "series in NengoDL": (SERIES, {"training": NengoDLTraining(**FAST)}),
    "series in Nengo": (
        SERIES,
        {
            "architecture": native,
            "converter": IdentityConverter(),
            "training": NengoDLTraining(**FAST),
        },
    ),
    "volume": (VOLUME, {"simulator": ClockDrivenSimulator(n_steps=30)}),
}
_SLOW = ("vector that changes", "series", "series in NengoDL")


@pytest.mark.slow
@pytest.mark.parametrize("name", [n if n in _SLOW else pytest.param(n, marks=pytest.mark.long) for n in RUNS])
def test_a_whole_run(name, tmp_path):
    shape, parts = RUNS[name]
    changes = "changes" in name
    result = trainer_of(shape, tmp_path, **parts, encoder=Ramp() if changes else ConstantEncoder()).run()
    assert result.metrics["ann/test_accuracy"] > 0.9 and result.metrics["snn/test_accuracy"] > 0.8
    assert changes or result.diagnosis.images == 20
    over_time = "changes over time (Ramp)" if changes else "constant over time"
    assert over_time in (tmp_path / "csv" / "tags.json").read_text()
    table = closing_table(result)
    for line in (rf"input +{re.escape(over_time)}", r"SynOps per sample", r"20 test samples", r"samples/s"):
        assert re.search(line, table), table
    assert not re.search(r"\bimages?\b|pixel", table)
    if "report" in result.address:
        page = Path(result.address["report"]).read_text()
        text = re.sub(r'src="[^"]*"|<pre>.*?</pre>|<td>[a-z]+/[a-z_/]+</td>', "", page, flags=re.DOTALL)
        assert "input constant over time" in text and "SynOps per sample" in text
        assert not re.search(r"\bimages?\b(?!\.)|pixel", re.sub(r"\w+_images?\w*|\w*images_\w+|\w+/images", "", text))


def test_a_run_refuses_an_encoder_that_lies(tmp_path):
    with pytest.raises(SimulationError, match="Lying has constant = True"):
        trainer_of(VECTOR, tmp_path / "lying", encoder=Lying()).run()
    assert not (tmp_path / "lying").exists(), "it is refused before training"


# ---------------------------------------------------------------------- tensorflow-datasets


@pytest.fixture(scope="module")
def builders():
    """Datasets of series, and of words, as tensorflow-datasets knows them."""
    import tensorflow_datasets as tfds

    class Little:
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"x": self.FEATURE, "label": tfds.features.ClassLabel(num_classes=2)}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("x", "label")
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples(0), "test": self._generate_examples(1)}

        def _generate_examples(self, seed):
            rng = np.random.default_rng(seed)
            for i in range(40):
                yield i, {"x": self.value(rng, i), "label": i % 2}

    class LittleSeries(Little, tfds.core.GeneratorBasedBuilder):
        FEATURE = tfds.features.Tensor(shape=(6, 2), dtype=np.float32)

        def value(self, rng, i):
            return (rng.normal((5, -100), (1, 50), (6, 2)) + i % 2).astype(np.float32)

    class LittleWords(Little, tfds.core.GeneratorBasedBuilder):
        FEATURE = tfds.features.Text()

        def value(self, rng, i):
            return "a word"

    return LittleSeries, LittleWords


def test_a_dataset_of_series_is_streamed_and_standardised_by_channel(builders, tmp_path):
    data = TfdsDataModule("little_series", data_dir=str(tmp_path), batch_size=8, scaling="standardised")
    check_data_module(data)
    assert data.spec.input_shape == (6, 2) and data.spec.n_train == 36
    x = np.concatenate([batch for batch, _ in data.train_dataset().as_numpy_iterator()])
    np.testing.assert_allclose(x.mean(axis=(0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(x.std(axis=(0, 1)), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("little_series", r"data\.scaling: got 'minus_one_to_one', .* type float32: take data\.scaling=standardised"),
        ("little_words", r"the samples of little_words have shape \(\): .* one known shape"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(builders, tmp_path, name, says):
    data = TfdsDataModule(name, data_dir=str(tmp_path))
    data.prepare_data()
    with pytest.raises(DataError, match=says):
        data.setup()


# ---------------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page's Python defines; its run is done too, in a folder of its own."""
    space: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(block, "data.md", "exec"), space)
    return space


@pytest.mark.slow
def test_the_pages_vectors_are_learnt(page):
    check_data_module(page["BreastCancer"]())
    check_data_module(page["wine"])
    assert page["result"].metrics["ann/test_accuracy"] > 0.9
    assert page["result"].metrics["snn/test_accuracy"] > 0.9


@pytest.mark.slow
def test_the_pages_series_are_one_file_and_two_configs(command, tmp_path, monkeypatch):
    blocks = re.findall(r"```(python|yaml|text)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (module,) = [text for kind, text in blocks if kind == "python" and "class Waves" in text]
    data, model = [text for kind, text in blocks if kind == "yaml"]
    (line,) = [text for kind, text in blocks if kind == "text" and "data=waves" in text]
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in {"waves.py": module, "myconf/data/waves.yaml": data, "myconf/model/conv1d.yaml": model}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    words = line.split()[3:]
    words[words.index("myconf")] = str(tmp_path / "myconf")
    result = command(*words, "training.epochs=4", "diagnosis.images=0", "callbacks=none", "logger=csv")
    assert result.code == 0, result.err
    (accuracy,) = re.findall(r"ANN accuracy +([\d.]+) %", result.out)
    assert float(accuracy) > 80 and "120 test samples" in result.out
    wrong = command(*words, "model.filters=many", "data.noise=loud")
    assert len(wrong.error_lines) == 2
