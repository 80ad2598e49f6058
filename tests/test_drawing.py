"""Pictures that are drawn in a process of their own."""

import sys

import pytest

from snnpipe.artifacts.drawing import Pictures, PicturesAside
from snnpipe.base.errors import StorageError

METRICS = [{"fit/loss": 1.0 / n, "fit/accuracy": 1 - 0.5 / n} for n in range(1, 4)]
CURVES = {"epochs": [1, 2, 3], "metrics": METRICS}
OVER_TIME = {"accuracy": [0.1, 0.8], "agreement": [0.1, 0.9], "ann_accuracy": 0.9, "n_samples": 100, "dt": 0.001}


@pytest.fixture
def logged():
    return []


@pytest.fixture
def pictures(logged):
    made = PicturesAside(lambda path, folder: logged.append((path.name, folder, path.exists())))
    yield made
    made.finish()


def ask(pictures, folder):
    pictures.draw("review_plots.training_curves", folder / "curves.png", **CURVES)
    pictures.draw("plots.accuracy_over_time", folder / "time.png", **OVER_TIME, sample_word="image")


def test_they_are_the_pictures_that_this_process_draws(pictures, logged, tmp_path):
    for folder in ("here", "aside"):
        (tmp_path / folder).mkdir()
    ask(Pictures(), tmp_path / "here")
    ask(pictures, tmp_path / "aside")
    pictures.finish()
    assert logged == [("curves.png", "plots", True), ("time.png", "plots", True)]
    for name in ("curves.png", "time.png"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "aside" / name).read_bytes()


def test_none_is_logged_before_it_is_there_and_none_twice(pictures, logged, tmp_path):
    ask(pictures, tmp_path)
    assert not logged
    pictures.finish()
    pictures.finish()
    assert [name for name, *_ in logged] == ["curves.png", "time.png"]


def test_the_process_ends_and_another_follows(pictures, logged, tmp_path):
    ask(pictures, tmp_path)
    pictures._asked[0][1].result()
    process = pictures._process
    assert process.poll() is None
    pictures.finish()
    assert process.returncode == 0
    ask(pictures, tmp_path)
    pictures.finish()
    assert len(logged) == 4


def test_one_that_cannot_be_written_does_not_stop_the_others(pictures, logged, tmp_path):
    (tmp_path / "file").write_text("")
    pictures.draw("review_plots.training_curves", tmp_path / "file" / "plots" / "curves.png", **CURVES)
    ask(pictures, tmp_path)
    with pytest.raises(StorageError, match=r"curves\.png"):
        pictures.finish()
    assert [name for name, *_ in logged] == ["curves.png", "time.png"]


def test_a_fault_in_a_plot_says_where_it_happened(pictures, tmp_path):
    pictures.draw("review_plots.training_curves", tmp_path / "curves.png", epochs=[1], metrics=[3])
    with pytest.raises(AttributeError, match="'int' object has no attribute 'get'") as caught:
        pictures.finish()
    assert "review_plots.py" in "".join(caught.value.__notes__)


def test_this_process_draws_what_a_killed_one_does_not(pictures, logged, tmp_path):
    ask(pictures, tmp_path)
    pictures._asked[0][1].result()
    pictures._process.kill()
    ask(pictures, tmp_path)
    pictures.finish()
    assert [exists for *_, exists in logged] == [True] * 4


def test_this_process_draws_where_no_other_can_be_started(pictures, logged, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    ask(pictures, tmp_path)
    pictures.finish()
    assert [exists for *_, exists in logged] == [True] * 2
