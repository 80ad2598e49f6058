"""Pictures that are drawn in processes of their own."""

import os
import pickle
import sys

import pytest

from snnpipe.artifacts.drawing import DrawnAside, DrawnAtOnce, _Process
from snnpipe.base.cores import cores
from snnpipe.base.errors import StorageError
from snnpipe.run.log import RunLog
from snnpipe.values.run import RunState

METRICS = [{"fit/loss": 1.0 / n, "fit/accuracy": 1 - 0.5 / n} for n in range(1, 4)]
CURVES = {"epochs": [1, 2, 3], "metrics": METRICS}
OVER_TIME = {"accuracy": [0.1, 0.8], "agreement": [0.1, 0.9], "ann_accuracy": 0.9, "n_samples": 100, "dt": 0.001}


@pytest.fixture
def logged():
    return []


@pytest.fixture
def pictures(logged):
    made = DrawnAside(lambda path, folder: logged.append((path.name, folder, path.exists())))
    yield made
    made.finish()


def ask(pictures, folder):
    pictures.draw("review_plots.training_curves", folder / "curves.png", **CURVES)
    pictures.draw("plots.accuracy_over_time", folder / "time.png", **OVER_TIME, sample_word="image")


def running(pictures):
    """The processes, once they have drawn."""
    pictures.wait()
    return [process.running for process in pictures._processes]


def test_they_are_the_pictures_that_this_process_draws(pictures, logged, tmp_path):
    at_once = []
    ask(DrawnAtOnce(lambda path, folder: at_once.append((path.name, folder, path.exists()))), tmp_path / "here")
    ask(pictures, tmp_path / "aside")
    assert pictures.finish() == []
    assert logged == at_once == [("curves.png", "plots", True), ("time.png", "plots", True)]
    for name in ("curves.png", "time.png"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "aside" / name).read_bytes()


def test_none_is_logged_before_it_is_there_and_none_twice(pictures, logged, tmp_path):
    ask(pictures, tmp_path)
    pictures.wait()
    assert (tmp_path / "time.png").exists() and not logged
    pictures.finish()
    pictures.finish()
    assert [name for name, *_ in logged] == ["curves.png", "time.png"]


def test_the_processes_end_and_others_follow(pictures, logged, tmp_path):
    ask(pictures, tmp_path)
    processes = running(pictures)
    assert [process.poll() for process in processes] == [None] * min(2, cores())
    pictures.finish()
    assert [process.returncode for process in processes] == [0] * min(2, cores())
    ask(pictures, tmp_path)
    pictures.finish()
    assert len(logged) == 4


def test_it_ends_even_if_another_process_has_its_pipe(pictures, tmp_path):
    """A process forked in between, by a data module for instance, keeps the pipe open."""
    ask(pictures, tmp_path)
    process, *_ = running(pictures)
    copy = os.dup(process.stdin.fileno())
    pictures.finish()
    os.close(copy)
    assert process.returncode == 0


@pytest.mark.parametrize("asked", ["whole", "in part"])
def test_the_process_of_a_killed_run_ends_in_silence(tmp_path, capfd, asked):
    process = _Process()
    job = pickle.dumps(("plots.accuracy_over_time", tmp_path / "time.png", OVER_TIME | {"sample_word": "image"}))
    process.running.stdin.write(job if asked == "whole" else job[:-20])
    process.running.stdin.close()
    process._answers.close()
    assert process.running.wait(60) == 0
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "time.png").exists() == (asked == "whole")


def test_those_that_cannot_be_drawn_do_not_stop_the_others(pictures, logged, tmp_path):
    (tmp_path / "file").write_text("")
    pictures.draw("review_plots.training_curves", tmp_path / "file" / "plots" / "full.png", **CURVES)
    pictures.draw("review_plots.training_curves", tmp_path / "fault.png", epochs=[1], metrics=[3])
    ask(pictures, tmp_path)
    of_disk, fault = pictures.finish()
    assert isinstance(of_disk, StorageError) and "full.png" in str(of_disk)
    assert isinstance(fault, AttributeError) and "'int' object has no attribute 'get'" in str(fault)
    assert "review_plots.py" in "".join(fault.__notes__), "it says where in the process"
    assert [name for name, *_ in logged] == ["curves.png", "time.png"]


def test_this_process_draws_what_a_killed_one_does_not(pictures, logged, tmp_path):
    ask(pictures, tmp_path)
    for process in running(pictures):
        process.kill()
    ask(pictures, tmp_path)
    assert pictures.finish() == [] and [exists for *_, exists in logged] == [True] * 4


class OnlyHere(float):
    """A number that no other process can read."""

    def __reduce__(self):
        raise TypeError("only here")


def test_this_process_draws_what_no_other_can_read(pictures, logged, tmp_path):
    pictures.draw(
        "plots.accuracy_over_time", tmp_path / "a.png", **OVER_TIME | {"dt": OnlyHere(1)}, sample_word="image"
    )
    ask(pictures, tmp_path)
    assert pictures.finish() == [] and [exists for *_, exists in logged] == [True] * 3


def test_this_process_draws_where_no_other_can_be_started(pictures, logged, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    ask(pictures, tmp_path)
    assert pictures.finish() == [] and [exists for *_, exists in logged] == [True] * 2


def test_what_a_python_prints_at_its_start_is_no_answer(pictures, logged, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('a banner', flush=True)")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    ask(pictures, tmp_path)
    assert all(running(pictures)), "none has failed"
    assert pictures.finish() == [] and len(logged) == 2


def test_a_file_in_the_working_folder_is_not_taken_for_a_library(pictures, tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("open('executed', 'w')")
    monkeypatch.chdir(tmp_path)
    ask(pictures, tmp_path)
    assert all(running(pictures)) and not (tmp_path / "executed").exists()


class Kept:
    """A logger that keeps what it gets."""

    def __init__(self):
        self.got, self.tags = [], {}

    def log_artifact(self, path, folder):
        self.got.append(path.name)

    def set_tag(self, name, value):
        self.tags[name] = value

    def finalize(self, status):
        self.got.append(status)


@pytest.fixture
def log():
    made = RunLog([], [kept := Kept()])
    made.started, made.state = [kept], RunState(0, "", made.artifact, pictures=made.pictures)
    return made


@pytest.mark.parametrize("error", [None, ValueError("a fault"), KeyboardInterrupt()])
def test_the_end_of_a_run_waits_for_its_pictures(log, tmp_path, error):
    """A run may end without an evaluation."""
    (kept,) = log.started
    ask(log.pictures, tmp_path)
    assert log.end(error) == []
    assert [name for name in kept.got if name != "traceback.txt"][:-1] == ["curves.png", "time.png"]
    assert not log.pictures._processes


def test_a_run_goes_on_without_each_picture_that_cannot_be_written(log, tmp_path):
    (kept,) = log.started
    (tmp_path / "file").write_text("")
    for name in ("a.png", "b.png"):
        log.pictures.draw("review_plots.training_curves", tmp_path / "file" / "plots" / name, **CURVES)
    ask(log.pictures, tmp_path)
    with pytest.warns(UserWarning, match=r"a\.png.*goes on without it"):
        log.evaluated()
    assert kept.got == ["curves.png", "time.png"]
    assert all(name in kept.tags["files.missing"] for name in ("a.png", "b.png"))
