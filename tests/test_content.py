"""No result of other data, other weights or other source is taken for a run's own."""

import dataclasses
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nengo
import numpy as np
import own_parts
import pytest
import tf_keras as keras

from snnpipe import (
    ConstantEncoder,
    CsvLogger,
    EventDrivenSimulator,
    KerasTraining,
    MLflowLogger,
    NengoDLConverter,
    Trainer,
)
from snnpipe.base.errors import DataError, UserError
from snnpipe.base.identity import UnknowableError
from snnpipe.data import prepared_files
from snnpipe.data.digests import fit_data_digest, row_digests
from snnpipe.data.digests import test_data_digest as digest_of_test
from snnpipe.frameworks.compat import start_afresh
from snnpipe.metrics.passes import AnnPass, SpikingPass
from snnpipe.models.function import FunctionArchitecture
from snnpipe.run.content import content_of, model_digest

TEST = slice(128, 192)
EVERYTHING = slice(0, 192)
ONE_EPOCH = KerasTraining(epochs=1)


@pytest.fixture
def own(command, tmp_path, monkeypatch):
    """Run the command line with a data module and a network of one's own; the folder that it runs in."""
    folder = tmp_path / "work"
    own_parts.write(folder)
    own_parts.save(folder / "pictures.npz")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "own_pictures", raising=False)

    def run(*overrides: str):
        options = [word for word in overrides if word.startswith("-")]
        settings = [word for word in overrides if not word.startswith("-")]
        return command(
            "--config-dir", str(folder / "conf"), *options, *own_parts.FAST, "simulator=event_driven", *settings
        )

    yield run, folder
    sys.modules.pop("own_pictures", None)


def client():
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{Path.cwd()}/mlruns/mlflow.db")


def runs():
    return client().search_runs(["1"], order_by=["start_time ASC"])


def accuracy(run) -> float:
    return run.data.metrics["ann/test_accuracy"]


@pytest.mark.slow
def test_a_training_is_never_taken_for_one_of_other_labels(own):
    run, folder = own
    for swapped in (None, EVERYTHING, TEST, None):
        own_parts.save(folder / "pictures.npz", swapped=swapped)
        assert (result := run()).code == 0, result.err
    first, exchanged, of_test, again = runs()
    assert [each.data.tags["fit.reused"] for each in runs()] == ["false", "false", "true", "true"]
    assert accuracy(first) == accuracy(exchanged) == accuracy(again) == 1
    assert accuracy(of_test) == 0  # the network of the first run, and the other labels
    assert of_test.data.tags["fit.run_id"] == again.data.tags["fit.run_id"] == first.info.run_id
    digests = [
        (each.data.tags["data.digest"], each.data.tags["test.digest"]) for each in (first, exchanged, of_test, again)
    ]
    assert digests[0] == digests[3] and digests[0][0] == digests[2][0] and len(set(digests)) == 3

    datasets = [each.inputs.dataset_inputs[0].dataset for each in runs()]
    assert {dataset.name for dataset in datasets} == {"Pictures"} and {d.source_type for d in datasets} == {"code"}
    assert "own_pictures.Pictures" in datasets[0].source
    assert datasets[0].digest == datasets[3].digest and len({dataset.digest for dataset in datasets}) == 3
    assert first.data.tags["data"] == "Pictures" and first.info.run_name.startswith("Pictures-net-")


@pytest.mark.long
def test_a_finished_run_is_not_reported_for_other_test_data(own):
    run, folder = own
    assert run("run_id=mine").code == 0
    again = run("run_id=mine")
    assert again.code == 0 and "run mine is finished already" in again.out
    own_parts.save(folder / "pictures.npz", swapped=TEST)
    (line,) = run("run_id=mine").error_lines
    assert "run_id: run mine is finished, and its test data has changed since" in line
    assert "take another run_id" in line and len(runs()) == 1
    assert run("run_id=other").code == 0 and accuracy(runs()[1]) == 0


@pytest.mark.long  # 15 s
def test_a_deleted_run_is_not_finished_already(own):
    run, _ = own
    assert run("run_id=mine").code == 0
    (finished,) = runs()
    client().delete_run(finished.info.run_id)
    (line,) = run(f"run_id={finished.info.run_id}").error_lines
    assert "was deleted in this store" in line
    restored = subprocess.run(
        re.search("`(.*)`", line)[1],
        shell=True,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert restored.returncode == 0, restored.stderr
    assert "run mine is finished already" in run("run_id=mine").out
    client().delete_run(finished.info.run_id)
    result = run("run_id=mine")
    assert result.code == 0 and "finished already" not in result.out
    (begun,) = runs()
    assert begun.info.run_id != finished.info.run_id and begun.data.tags["fit.reused"] == "false"


def save_weights(path: Path, sign: float) -> None:
    rng = np.random.default_rng(0)
    shapes = (("a", (16, 8)), ("b", (8,)), ("c", (8, 2)), ("d", (2,)))
    np.savez(path, **{name: sign * rng.normal(size=shape) for name, shape in shapes})


@pytest.mark.long  # 10 s; `test_a_function_over_a_model...` has less of it
def test_a_function_that_loads_weights_takes_no_training_of_other_weights(own):
    run, folder = own
    weights = ("model.weights=start.npz", "training.epochs=1", "training.learning_rate=1e-6")
    for sign in (1, -1, 1):
        save_weights(folder / "start.npz", sign)
        assert (result := run(*weights)).code == 0, result.err
    assert [each.data.tags["fit.reused"] for each in runs()] == ["false", "false", "true"]
    one, other, again = (each.data.metrics["ann/test_loss"] for each in runs())
    assert one == again != other


@pytest.mark.slow
def test_nothing_is_shared_without_training(own):
    run, _ = own
    for _ in range(2):
        result = run("training.epochs=0")
        assert result.code == 0 and "not shared" not in result.err, result.err
    assert [each.data.tags["fit.reused"] for each in runs()] == ["false", "false"]
    assert not any("fit.run_id" in each.data.tags for each in runs())


@pytest.mark.long
def test_where_the_data_cannot_be_known_nothing_is_shared_and_that_is_said(own):
    run, _ = own
    for _ in range(2):
        result = run("data.random_order=true", "run_name=random", "training.epochs=1")
        (line,) = [line for line in result.err.splitlines() if "not shared" in line]
        assert result.code == 0 and "train_dataset(0) gives other batches when it is asked for again" in line
        assert "give spec.digest" in line
    assert [each.data.tags["fit.reused"] for each in runs()] == ["false", "false"]
    assert {each.data.tags["data.digest"] for each in runs()} == {"unknown"}
    assert len({each.inputs.dataset_inputs[0].dataset.digest for each in runs()}) == 2
    (line,) = run(
        "data.random_order=true", "run_name=random", "training.epochs=1", f"run_id={runs()[0].info.run_id}"
    ).error_lines
    assert "nobody can know whether its training data is still the same" in line


@pytest.mark.long  # six runs
def test_a_multi_run_that_resumes_runs_jobs_of_other_data_again(own):
    run, folder = own
    grid = ("-m", "conversion.synapse=null,0.005", "sweep.resume=true")
    assert run(*grid).code == 0
    result = run(*grid)
    assert result.code == 0 and result.out.count("is done already") == 2
    own_parts.save(folder / "pictures.npz", swapped=TEST)
    result = run(*grid)
    assert result.code == 0 and "is done already" not in result.out, result.out
    jobs = [each for each in runs() if "sweep.job" in each.data.tags]
    assert [accuracy(each) for each in jobs] == [1, 1, 0, 0]
    table = next(Path("mlruns/artifacts").glob("*/artifacts/tables/sweep.csv")).read_text()
    assert table.count("FINISHED") <= 2 and "100.00" not in re.sub(r"[^\n]*accuracy_drop[^\n]*\n", "", table)


# ---------------------------------------------------------------------- from Python


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Make a data module of one's own whose arrays can be exchanged."""
    own_parts.write(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_pictures", raising=False)
    module = importlib.import_module("own_pictures")

    def make(arrays=None, **settings):
        images, labels = own_parts.pictures() if arrays is None else arrays

        class InMemory(module.Pictures):
            def setup(self):
                self.x, self.y = images, labels

        return InMemory("", **settings)

    yield make
    sys.modules.pop("own_pictures", None)


def trainer(data, folder, function=None, **parts):
    settings = {
        "data": data,
        "architecture": FunctionArchitecture(function or importlib.import_module("own_pictures").net),
        "training": KerasTraining(epochs=12, learning_rate=0.02),
        "converter": NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=100.0, synapse=0.005),
        "simulator": EventDrivenSimulator(n_steps=20),
        "encoder": ConstantEncoder(),
        "diagnosed_images": 0,
        "loggers": [MLflowLogger(folder=str(folder))],
    }
    return Trainer(**(settings | parts))


@pytest.mark.slow
def test_arrays_that_differ_in_the_middle_are_other_data(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = own_parts.pictures()
    changed = images.copy()
    changed[40] = 0.5  # of 3,072 values, those that NumPy's text leaves out
    found = [
        trainer(pictures((x, labels)), tmp_path, training=ONE_EPOCH).run() for x in (images, changed, images.copy())
    ]
    assert [bool(result.trained_by) for result in found] == [False, False, True]
    folders = [result.address["run id"] for result in found]
    assert len(set(folders)) == 3


@pytest.mark.slow
def test_a_function_over_a_model_takes_the_training_of_its_weights_alone(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = importlib.import_module("own_pictures").net
    rng = np.random.default_rng(1)
    start = [rng.normal(size=shape) for shape in ((16, 8), (8,), (8, 2), (2,))]

    def with_weights(weights):
        def build(spec):
            model = net(spec)
            model.set_weights(weights)
            return model

        return build

    taken = []
    for weights in (start, [-weight for weight in start], [weight.copy() for weight in start]):
        result = trainer(pictures(), tmp_path, with_weights(weights), training=ONE_EPOCH).run()
        taken.append(bool(result.trained_by))
    assert taken == [False, False, True]


@pytest.mark.slow
def test_two_runs_do_not_write_over_one_another(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = trainer(pictures(), tmp_path), trainer(pictures(), tmp_path)
    assert one.output_dir != other.output_dir and one.output_dir.parent == Path("mlruns/outputs")
    folder = tmp_path / "given"
    csv = {"output_dir": folder, "loggers": [CsvLogger(folder=str(folder))], "training": ONE_EPOCH}
    trainer(pictures(), tmp_path, **csv).run()
    before = (folder / "metrics.csv").read_text()
    with pytest.raises(UserError, match=r"holds the results of a run with other settings: it had simulator.n_steps=20"):
        trainer(pictures(), tmp_path, **csv, simulator=EventDrivenSimulator(n_steps=10)).run()
    with pytest.raises(UserError, match=r"another run, and its test data has changed since"):
        trainer(pictures(own_parts.pictures(swapped=TEST)), tmp_path, **csv).run()
    assert (folder / "metrics.csv").read_text() == before
    trainer(pictures(), tmp_path, **csv).run()  # the same run again gives the same files


@pytest.mark.long
def test_a_stopped_run_does_not_go_on_with_other_data(pictures, tmp_path):
    stopped = trainer(pictures(), tmp_path, output_dir=tmp_path / "run", loggers=[CsvLogger(str(tmp_path / "run"))])
    stopped.convert = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        stopped.run()
    exchanged = pictures(own_parts.pictures(swapped=TEST))
    again = {"output_dir": tmp_path / "run", "loggers": [CsvLogger(str(tmp_path / "run"))], "resumed": "x"}
    with pytest.raises(UserError, match=r"cannot go on: its test data has changed since"):
        trainer(exchanged, tmp_path, **again).run()
    assert trainer(pictures(), tmp_path, **again).run().metrics["ann/test_accuracy"] == 1


@pytest.mark.slow
def test_the_answers_of_the_ann_are_not_compared_with_those_to_other_images(pictures, tmp_path):
    data = pictures()
    data.setup()
    trained = trainer(data, tmp_path, loggers=[])
    trained.fit()
    seen = AnnPass.of(trained.model, data)
    assert seen.is_of(trained.model, data)
    images, labels = own_parts.pictures()
    images[130] += 0.5
    other = pictures((images, labels))
    other.setup()
    assert not seen.is_of(trained.model, other)
    images, labels = own_parts.pictures()
    images[190] += 0.5  # in the last batch
    later = pictures((images, labels))
    later.setup()
    network = trained.convert()
    shown = SpikingPass(later, trained.simulator, trained.encoder, 0, network, seen.images)
    with pytest.raises(DataError, match=r"the test images from 48 to 63 are not those that the ANN was tested with"):
        list(shown.batches(16, 64))


# ---------------------------------------------------------------------- digests of streams and models


def test_the_digest_of_test_images_does_not_depend_on_their_batches(pictures):
    digests = []
    for size in (1, 7, 64):
        data = pictures(batch_size=size)
        data.setup()
        digests.append(digest_of_test(data))
    assert len(set(digests)) == 1
    other = pictures(own_parts.pictures(swapped=slice(191, 192)))
    other.setup()
    assert digest_of_test(other) != digests[0]


def test_sample_weights_are_part_of_a_batch():
    images, labels = np.zeros((3, 2), np.float32), np.array([0, 1, 0])
    plain, weighted = row_digests((images, labels)), row_digests((images, labels, np.array([1.0, 1.0, 2.0])))
    assert plain[0] == plain[2] != plain[1] and weighted[0] != weighted[2]
    assert row_digests(({"image": images, "more": labels}, labels)) != plain


def test_streams_that_cannot_be_known(pictures):
    data = pictures(random_order=True)
    data.setup()
    with pytest.raises(UnknowableError, match=r"train_dataset\(0\) gives other batches"):
        fit_data_digest(data)
    data.test_dataset = data.train_dataset
    with pytest.raises(DataError, match=r"test_dataset\(\) gives other batches"):
        digest_of_test(data)
    data = pictures()
    data.setup()
    data.train_dataset = lambda epoch: 1 / 0
    with pytest.raises(UnknowableError, match="cannot be read"):
        fit_data_digest(data)
    data.train_dataset = lambda epoch: data._split(0, 96, 16).repeat()
    with pytest.raises(UnknowableError, match="more than the 96 samples"):
        fit_data_digest(data)


def test_a_digest_that_the_data_module_answers_for_is_taken(pictures):
    class Given(type(pictures())):
        @property
        def spec(self):
            return dataclasses.replace(super().spec, digest="mine")

        def train_dataset(self, epoch=0):
            raise AssertionError("asked for its batches")

    assert fit_data_digest(Given("")) == digest_of_test(Given("")) == "mine"


def test_prepared_files_count_by_their_bytes(digits, data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / "copy")
    one, copy = digits().digests(), digits(data_dir=str(tmp_path / "copy")).digests()
    assert one == copy and one["fit"] != one["test"]
    assert digits(test_split="train").digests()["fit"] == one["fit"]
    (file,) = (tmp_path / "copy").rglob("*-test.tfrecord-*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    exchanged = digits(data_dir=str(tmp_path / "copy")).digests()
    assert exchanged["fit"] == one["fit"] and exchanged["test"] != one["test"]


def test_very_large_files_count_by_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_files, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(prepared_files, "_SAMPLE_BYTES", 10)
    file = tmp_path / "large"

    def found(content: bytes, time_ns: int = 0) -> str:
        file.write_bytes(content)
        os.utime(file, ns=(time_ns, time_ns))
        return prepared_files.prepared_files_digests([file])[file]

    whole = bytes(range(250)) * 8
    assert found(whole) == found(whole) != found(whole[:-1] + b"x")
    assert found(whole) != found(b"x" + whole[1:]) and found(whole) != found(whole, 10**9)
    assert found(whole) != found(whole + b"x")


def test_a_model_is_its_weights_and_its_layers():
    def model(units=3, activation="relu", seed=0, name="hidden"):
        start_afresh(seed)
        dense = keras.layers.Dense(units, activation=activation, name=name)
        return keras.Sequential([keras.layers.Input((4,)), dense, keras.layers.Dense(2, name="logits")])

    own = model_digest(model())
    assert own == model_digest(model())
    for change in ({"units": 4}, {"activation": "tanh"}, {"seed": 1}, {"name": "other"}):
        assert model_digest(model(**change)) != own, change


def test_a_source_that_cannot_be_known_is_named(pictures, tmp_path):
    opened = (tmp_path / "file").open("w")
    net = importlib.import_module("own_pictures").net

    def build(spec):
        opened.write("built")
        return net(spec)

    made = trainer(pictures(), tmp_path, build, loggers=[])
    assert "'opened' of" in made.content.why_not_shared() and made.content.digests["source"] == "unknown"
    parts = made._parts
    assert content_of(parts, made.model, made.config, ()).unknown.keys() == {"source"}
