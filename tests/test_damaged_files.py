"""Files of a run that are damaged, of another version or of another network: an error, and never a wrong number."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from damage import KINDS, flipped, read_damaged, trials

from snnpipe import Cnn2d, read_plan, read_spikes
from snnpipe.artifacts.spikes import RecordedSpikes, write_spikes
from snnpipe.artifacts.tables import write_plan
from snnpipe.base.checked_files import read_arrays, read_json, write_arrays, write_json
from snnpipe.base.errors import ArtifactError, CheckpointError
from snnpipe.base.files import file_name
from snnpipe.conversion.nengo_dl import NengoDLConverter
from snnpipe.values.checkpoint import Checkpoint
from snnpipe.values.network import PlannedLayer
from snnpipe.values.simulation import SpikeEvents

N_DAMAGED = 500


def test_what_is_written_is_read(tmp_path):
    for name, kind in KINDS.items():
        kind.write(tmp_path / name)
        assert kind.read(tmp_path / name) == kind.read(tmp_path / name) != ""


@pytest.mark.parametrize("name", KINDS)
def test_a_bit_anywhere_in_a_file_counts(name, tmp_path):
    """Every seventh bit of the text, in which a digit is a metric, so each bit of a byte; of archives every 17th."""
    kind = KINDS[name]
    for path in kind.write(tmp_path):
        intact, data = kind.read(tmp_path), path.read_bytes()
        for bit in range(0, 8 * len(data), 7 if path.suffix == ".json" else 17):
            ended = read_damaged(kind, tmp_path, path, flipped(data, bit), intact)
            assert ended == "refused" or chr(data[bit // 8]).isspace()


def test_damaged_files_are_refused(tmp_path):
    *_, counts = trials(tmp_path, N_DAMAGED)
    assert counts.total() == N_DAMAGED
    refused = sum(n for (_, _, ended), n in counts.items() if ended == "refused")
    assert refused > 0.9 * N_DAMAGED, "most of the damage did none"


@pytest.mark.parametrize("name", KINDS)
def test_another_version_is_named(name, tmp_path, monkeypatch):
    kind = KINDS[name]
    monkeypatch.setattr(kind.format, 99)
    kind.write(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match="has format 99, and this snnpipe reads format"):
        kind.read(tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_no_file_is_named(name, tmp_path):
    kind = KINDS[name]
    for path in kind.write(tmp_path):
        if name == "answers of a job":  # those that are not there are jobs that did not end
            continue
        path.unlink()
        with pytest.raises(ArtifactError, match=path.name if path.name != "weights.npz" else "checkpoint"):
            kind.read(tmp_path)
        path.mkdir()
        with pytest.raises(ArtifactError):
            kind.read(tmp_path)
        path.rmdir()
        kind.write(tmp_path)


def test_what_is_well_formed_and_not_what_was_written(tmp_path):
    """Content that no run writes, with its checksum right."""
    events = SpikeEvents(*(np.array([n], np.int32) for n in (0, 1, 7, 1)))
    outside = {
        "neuron": RecordedSpikes("dense", (7,), 20, 0.001, events),
        "step": RecordedSpikes("dense", (8,), 1, 0.001, events),
        "image": RecordedSpikes("d", (8,), 20, 0.001, SpikeEvents(-events.count, *[events.count] * 3)),
        "not of one length": RecordedSpikes("d", (8,), 20, 0.001, SpikeEvents(events.image[:0], *[events.count] * 3)),
    }
    for what, spikes in outside.items():
        with pytest.raises(ArtifactError, match=what):
            read_spikes(write_spikes(tmp_path / "spikes.npz", spikes))
    with pytest.raises(ArtifactError, match="spike file .*: it lacks"):
        read_spikes(write_arrays(tmp_path / "spikes.npz", {"image": events.image}, 1))
    for layers in ([{}], [{"name": "x", "shape": []}], [{"name": "x", "shape": 3, "colour": 1}]):
        with pytest.raises(ArtifactError, match="conversion plan"):
            read_plan(write_json(tmp_path / "plan.json", {"layers": layers}, 1))


def test_a_pickle_in_an_archive_is_not_read(tmp_path):
    class Dropped:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    path = write_arrays(tmp_path / "spikes.npz", {"image": np.array([Dropped()], dtype=object)}, 1)
    with pytest.raises(ArtifactError, match="damaged"):
        read_arrays(path, 1, "spike file")
    (tmp_path / "plan.json").write_bytes(pickle.dumps(Dropped()))
    with pytest.raises(ArtifactError, match="damaged"):
        read_json(tmp_path / "plan.json", 1, "plan")
    assert not (tmp_path / "executed").exists()
    assert pickle.loads(pickle.dumps(Dropped())) is None and (tmp_path / "executed").exists(), "it would have been"


def test_spikes_are_read_by_numpy_alone_too(tmp_path):
    (path,) = KINDS["spikes"].write(tmp_path)
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["neuron"].tolist() == list(range(5, 14)) and str(arrays["layer"]) == "dense"
    assert zipfile.ZipFile(io.BytesIO(path.read_bytes())).testzip() is None


# ---------------------------------------------------------------------- another network


@pytest.mark.slow
def test_files_of_another_network_are_told_apart(fitted, tmp_path):
    model, data = fitted
    other = Cnn2d(filters=[4, 16], dense=32).build(data.spec)
    folder = Checkpoint.of(model).save(tmp_path / "checkpoint")
    before = [w.copy() for w in other.get_weights()]
    with pytest.raises(CheckpointError, match="another architecture"):
        Checkpoint.load(folder).apply(other)
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))
    written = NengoDLConverter(neuron=None, scale_firing_rates=1.0, synapse=None).explain(model)
    (path, _) = write_plan(tmp_path, written)
    assert read_plan(path) == written
    assert read_plan(path) != NengoDLConverter(neuron=None, scale_firing_rates=1.0, synapse=None).explain(other)
    layers = {layer.name: layer for layer in read_plan(path).layers}
    spikes = RecordedSpikes("dense", (32,), 20, 0.001, SpikeEvents.concatenate([]))
    read = read_spikes(write_spikes(tmp_path / "dense.npz", spikes))
    read.require_layer(layers["dense"])
    for layer in (layers["conv2d"], PlannedLayer("dense", "Dense", "native", "", shape=(33,))):
        with pytest.raises(ArtifactError, match="of another layer or network"):
            read.require_layer(layer)


@pytest.mark.slow
def test_weights_of_one_name_are_refused(fitted):
    from snnpipe.base.errors import ModelError
    from snnpipe.models.layers import keras

    class Twice(keras().layers.Layer):
        def build(self, shape):
            self.a, self.b = (self.add_weight(name="w", shape=(1,)) for _ in range(2))

        def call(self, x):
            return x * self.a + self.b

    model = keras().Sequential([keras().layers.Input((3,)), Twice(name="twice")])
    with pytest.raises(ModelError, match="2 of its weights are called 'twice/w:0'"):
        Checkpoint.of(model)


# ---------------------------------------------------------------------- names of files


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "..", ".", "", "a\0b", "a/b", "a\\b", "x" * 500, "Schicht é", "-rf", "a\nb"]
)
def test_a_name_stays_in_its_folder(name, tmp_path):
    path = tmp_path / "inside" / f"{file_name(name)}.npz"
    assert path.resolve().parent == (tmp_path / "inside").resolve()
    path.parent.mkdir()
    path.touch()
    assert len(path.name) < 120 and path.name.isprintable() and path.name.isascii() and not path.name.startswith(".")


def test_different_names_are_different_files():
    names = ["a/b", "a_b", "a\\b", "a.b", "..", ".", "", "x" * 200, "x" * 201]
    assert len({file_name(name) for name in names}) == len(names)
    assert [file_name(name) for name in ("conv2d_1", "dense", "block1.conv-a")] == [
        "conv2d_1",
        "dense",
        "block1.conv-a",
    ]
