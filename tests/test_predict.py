"""``python -m snnpipe.predict``: pictures, folders and arrays, each fed as the network was trained."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tf_keras
from PIL import Image

import snnpipe
from snnpipe import NengoDLConverter
from snnpipe.base.errors import DataError, UserError
from snnpipe.commands.predict import main
from snnpipe.data.picture_files import Decoder
from snnpipe.spiking.pictures import Sources

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
NAMES = ("cat", "dog", "frog")


def network(shape, **scaling):
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    dense = layers.Dense(12, activation="relu"), layers.Dense(3)
    model = tf_keras.Sequential([layers.Input(shape), layers.Flatten(), *dense])
    samples = RNG.uniform(-1, 1, (20, *shape))
    converter = NengoDLConverter(scale_firing_rates=400.0)
    return snnpipe.convert(model, samples, converter=converter, class_names=NAMES, **scaling)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Networks for coloured and grey pictures and for vectors, and pictures and arrays."""
    folder = tmp_path_factory.mktemp("predict")
    network((5, 4, 3), mean=(0.4, 0.5, 0.6), deviation=0.25).save(folder / "colour.snn")
    network((5, 4, 1)).save(folder / "grey.snn")
    network((7,)).save(folder / "vector.snn")
    pictures = folder / "pictures" / "deeper"
    pictures.mkdir(parents=True)
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(pictures / f"{i}.png")
    (pictures / "notes.txt").write_text("no picture")
    np.savez(folder / "arrays.npz", x=PIXELS, y=np.arange(6))
    np.savez(folder / "scaled.npz", a=scaled(PIXELS), b=np.zeros(3))
    np.save(folder / "vectors.npy", RNG.uniform(-1, 1, (3, 7)))
    return folder


def scaled(pixels):
    return ((pixels / 255 - (0.4, 0.5, 0.6)) / 0.25).astype(np.float32)


@pytest.fixture
def predict(folder, monkeypatch, capsys):
    def run(*words):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["predict", *words])
        assert main() == 0
        return capsys.readouterr()

    return run


def test_pictures_folders_and_arrays_get_the_same_classes(predict, folder):
    expected = snnpipe.load(folder / "colour.snn").predict(scaled(PIXELS))
    out = predict("colour.snn", "pictures", "arrays.npz", "pictures/deeper/2.png").out.splitlines()
    rows = [line.split("\t") for line in out]
    assert [row[0] for row in rows] == [
        *(f"pictures/deeper/{i}.png" for i in range(6)),
        *(f"arrays.npz[{i}]" for i in range(6)),
        "pictures/deeper/2.png",
    ]
    lines = [
        [f"{own} ({NAMES[own]})", f"{ms:g} ms", f"{spikes:,.0f} spikes"]
        for own, ms, spikes in zip(expected.classes, expected.settled_ms, expected.spikes, strict=True)
    ]
    assert [row[1:] for row in rows] == [*lines, *lines, lines[2]]


def test_pixels_in_an_array_are_refused_where_the_network_has_no_scaling(folder, tmp_path):
    """It may take values of 0 to 1 or of 0 to 255; one that was calibrated with pixels takes these as they are."""
    grey = snnpipe.load(folder / "grey.snn")
    pixels = RNG.integers(0, 256, (3, 5, 4, 1), dtype=np.uint8)
    with pytest.raises(DataError, match=r"x: got pixels of type uint8.*no scaling of pixels.*float32"):
        grey.predict(pixels)
    np.save(tmp_path / "p.npy", pixels)
    with pytest.raises(DataError, match=r"p\.npy: got pixels of type uint8"):
        list(Sources(grey.input_shape, None).samples([tmp_path / "p.npy"]))
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((5, 4, 1)), layers.Flatten(), layers.Dense(9, "relu"), layers.Dense(3)])
    with pytest.raises(DataError, match="got pixels of type uint8"):
        grey.predict(list(pixels))
    raw = snnpipe.convert(model, list(pixels), n_steps=4)
    assert np.array_equal(raw.predict(pixels).scores, raw.predict(pixels.astype(np.float32)).scores)


def test_json_has_the_scores_and_arrays_are_taken_as_they_are(predict, folder):
    out, err = predict("colour.snn", "scaled.npz", "--array", "a", "--json", "--steps", "4")
    answer = json.loads(out)
    model = snnpipe.load(folder / "colour.snn").with_settings(n_steps=4)
    assert answer["n_steps"] == 4 and "to the bit" in err and "pixels" not in err
    assert [own["scores"] for own in answer["samples"]] == model.predict(scaled(PIXELS)).scores.tolist()
    assert {own["name"] for own in answer["samples"]} <= set(NAMES)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_samples_without_a_spike_are_told(predict, folder, words):
    weak = np.load(folder / "vectors.npy")
    weak[:2] = 0
    np.save(folder / "weak.npy", weak)
    shown = predict("vector.snn", "weak.npy", *words)
    assert "no neuron spiked for 2 of 3 samples: are their values scaled as those" in shown.err
    assert "no neuron spiked" not in predict("vector.snn", "vectors.npy", *words).err


def test_pictures_are_made_grey_and_resized_if_that_is_asked_for(predict, folder, tmp_path):
    grey = np.asarray(Decoder(None, 1).decode(str(folder / "pictures/deeper/0.png")), np.float32)[None] / 255
    assert np.allclose(grey[0, ..., 0], np.asarray(Image.fromarray(PIXELS[0]).convert("L")) / 255, atol=2 / 255)
    expected = snnpipe.load(folder / "grey.snn").predict(grey)
    done = predict("grey.snn", "pictures/deeper/0.png", "--json")
    assert json.loads(done.out)["samples"][0]["scores"] == expected.scores[0].tolist()
    assert "pixels are scaled for want of a scaling in the network: pixel / 255" in done.err
    large = tmp_path / "large.png"
    Image.fromarray(PIXELS[0].repeat(3, axis=0).repeat(3, axis=1)).save(large)
    with pytest.raises(UserError, match="has 12 x 15 pixels, and the network takes 4 x 5: --resize"):
        predict("grey.snn", str(large))
    assert predict("grey.snn", str(large), "--resize").out.startswith(str(large))


def test_wrong_input_is_one_line(predict, folder, tmp_path):
    empty, broken = tmp_path / "empty", tmp_path / "broken.png"
    empty.mkdir()
    broken.write_bytes(b"no picture")
    np.savez(tmp_path / "objects.npz", x=np.array([{}, {}]), allow_pickle=True)
    for words, message in {
        ("colour.snn", "none.png"): "none.png: there is no such file or folder",
        ("colour.snn", str(empty)): "the folder has no pictures",
        ("colour.snn", str(broken)): "cannot be read as a picture",
        ("vector.snn", "pictures/deeper/0.png"): r"samples of shape \(7,\), which are no pictures",
        ("vector.snn", "arrays.npz"): r"arrays.npz: got an array of shape \(6, 5, 4, 3\)",
        ("colour.snn", "scaled.npz"): "--array names the array to take; known: a, b",
        ("colour.snn", "scaled.npz", "--array", "c"): "--array names the array to take",
        ("colour.snn", str(tmp_path / "objects.npz")): "cannot be read as arrays of numbers",
        ("colour.snn", "arrays.npz", "--steps", "0"): "--steps: got 0",
        ("arrays.npz", "arrays.npz"): "arrays.npz was altered|no network of snnpipe",
        ("colour.snn",): "--help lists the arguments",
    }.items():
        with pytest.raises(UserError, match=message) as error:
            predict(*words)
        assert "\n" not in str(error.value)
    assert predict("vector.snn", "vectors.npy").out.count("\n") == 3


@pytest.mark.slow
def test_the_command_needs_no_mlflow_and_ends_with_its_code(folder, tmp_path):
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    command = [sys.executable, "-m", "snnpipe.predict", str(folder / "colour.snn")]
    good = subprocess.run(
        [*command, str(folder / "pictures")], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert good.returncode == 0 and good.stdout.count("\n") == 6
    imported = {line.rpartition("|")[2].strip() for line in good.stderr.splitlines() if line.startswith("import time:")}
    assert "nengo" in imported and not {"mlflow", "matplotlib", "hydra", "sklearn"} & imported
    bad = subprocess.run([*command, "none.png"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert bad.returncode == 2 and bad.stderr.splitlines()[-1].startswith("snnpipe: error: none.png: there is no such")
    assert not list(tmp_path.iterdir())
