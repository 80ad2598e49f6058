"""``python -m snnpipe.compare``: which runs it finds, what it says of them, and what it writes."""

import csv
import sys

import numpy as np
import pytest

from snnpipe import MLflowLogger
from snnpipe.artifacts.predictions import Predictions
from snnpipe.base.files import locked
from snnpipe.commands import compare
from snnpipe.commands.shared import end_with

BASE = {"ann/test_accuracy": 0.99, "snn/agreement": 0.97, "snn/mean_rate_hz": 70.0, "snn/synops_per_image": 9e5}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def log(folder, name, *, right, of=1000, params=None, artifact=None, digest=None, **metrics):
    from snnpipe.metrics.intervals import wilson_interval

    low, high = wilson_interval(right, of)
    logger = MLflowLogger(folder=str(folder))
    logger.start(name, {"seed": 0, "logger.csv.folder": name} | (params or {}), {"data": name, "git.commit": COMMIT})
    if digest is not None:
        logger.set_tag("test.digest", digest)
    found = {"snn/test_accuracy": right / of, "snn/accuracy_drop": 0.99 - right / of}
    if artifact is not None:
        logger.log_artifact(artifact, "tables")
    logger.log_metrics(BASE | found | {"snn/accuracy_ci_low": low, "snn/accuracy_ci_high": high} | metrics)
    logger.finalize("FINISHED")
    return logger.address["run id"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A folder with a store of four runs, one of which failed; and their ids by name."""
    folder = tmp_path_factory.mktemp("compared")
    long = "x" * 300
    ids = {
        "first": log(folder / "mlruns", "first", right=980, params={"scale": 100.0, "long": long + "a"}),
        "close": log(folder / "mlruns", "close", right=975, params={"scale": 50.0, "long": long + "b"}),
        "apart": log(folder / "mlruns", "apart", right=700, params={"scale": 1.0, "long": long + "a"}),
    }
    failed = MLflowLogger(folder=str(folder / "mlruns"))
    failed.start("failed", {"seed": 0, "scale": 100.0, "long": long + "a"}, {"git.commit": f"{COMMIT}-dirty"})
    failed.finalize("FAILED")
    return folder, ids | {"failed": failed.address["run id"]}


@pytest.fixture
def command(store, monkeypatch, capsys):
    """Run the command in the store's folder; return code, output and errors."""
    monkeypatch.chdir(store[0])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["compare", *arguments])
        with pytest.raises(SystemExit) as end:
            end_with(compare.main)
        return end.value.code, *capsys.readouterr()

    return run


def test_layers_keep_their_names_and_equal_runs_are_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scales = {f"conversion.scale_firing_rates.conv2d_{i}": float(i) for i in (1, 2)}
    ids = [log(tmp_path / "mlruns", name, right=980, params=params) for name, params in (("a", scales), ("b", {}))]
    monkeypatch.setattr(sys, "argv", ["compare", *ids])
    with pytest.raises(SystemExit):
        end_with(compare.main)
    lines = capsys.readouterr().out.splitlines()
    assert "  B - A: SNN accuracy is the same" in lines
    assert {line.split()[0] for line in lines if "conv2d" in line} == set(scales)


def test_names_and_settings_are_cut_where_they_are_alike(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    end = "filters-16-32-64-regularised-to-a-target-of-fifty-hertz-SpikingReLU-x100-10ms-60steps-10000images"
    names = [f"cifar10-Cnn2d-Keras-with-batch-normalisation-seed{seed}-{end}" for seed in (1, 2)]
    values = [
        "[" + ",".join(f"{{layer: conv2d_{i}, scale: {scale}}}" for i, scale in enumerate(s)) + "]" for s in SCALES
    ]
    for name, value in zip(names, values, strict=True):
        log(tmp_path / "mlruns", name, right=980, params={"conversion.layers": value})
    monkeypatch.setattr(sys, "argv", ["compare", *names])
    with pytest.raises(SystemExit):
        end_with(compare.main)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert "seed1" in lines[1] and "seed2" in lines[2]
    (row,) = [line for line in lines if "conversion.layers" in line]
    assert "75}" in row and "80}" in row, "the fourth of six layers"


def test_a_setting_is_named_in_full_where_there_is_room(tmp_path, monkeypatch, capsys):
    key = "conversion.neuron.a_setting_of_theirs_with_a_long_name.scale_firing_rates"
    ids = [log(tmp_path / "mlruns", str(n), right=980, params={key: n, "short": str(n) * 10}) for n in range(3)]

    def shown(*runs):
        monkeypatch.setattr(sys, "argv", ["compare", "--tracking-uri", f"sqlite:///{tmp_path}/mlruns/mlflow.db", *runs])
        with pytest.raises(SystemExit):
            end_with(compare.main)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 100
        return next(line.split() for line in lines if "rates" in line)

    monkeypatch.chdir(tmp_path)
    assert shown(*ids[:2]) == [key, "0", "1"]
    name, *values = shown(*ids)
    assert len(name) == 100 - 2 - 3 * 12 and values == ["0", "1", "2"]


def test_the_ann_had_the_images_that_the_network_had(tmp_path, monkeypatch, capsys):
    """The test passes of the Keras models gave 99 % of all images; 500 of them were simulated."""
    monkeypatch.chdir(tmp_path)
    accuracies = {"fewer": (0.08, 0.14), "more": (0.98, 0.01)}
    ids = [
        log(tmp_path / "mlruns", name, right=round(1000 * snn), **{"snn/accuracy_drop": drop})
        for name, (snn, drop) in accuracies.items()
    ]
    monkeypatch.setattr(sys, "argv", ["compare", *ids, "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        end_with(compare.main)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["A", "22.00", "%", "8.00", "%"] in [row[:5] for row in rows]
    assert ["B", "-", "A", "+77.00", "+90.00", "-13.00"] in [row[:6] for row in rows]
    assert "ann/test_accuracy,0.99,0.99" in (tmp_path / "out" / "compare.csv").read_text(), "metrics stay as they are"


SCALES = [100, 100, 100, 75, 100, 100], [100, 100, 100, 80, 100, 100]


def log_answers(folder, name, snn_wrong, *, ann_wrong=(), of=1000, data="digits", claimed=None, digest=None):
    """Log a run that keeps its answers: all right but to some images; or of which its metrics claim something else."""
    label_i = np.arange(of) % 10
    ann_i, snn_i = label_i.copy(), label_i.copy()
    for found_i, wrong in ((ann_i, ann_wrong), (snn_i, snn_wrong)):
        found_i[list(wrong)] = 9 - label_i[list(wrong)]
    file = Predictions(label_i, ann_i, snn_i).write(folder / name)
    right = of - len(snn_wrong) if claimed is None else claimed
    return log(folder / "mlruns", name, right=right, of=of, params={"data.name": data}, artifact=file, digest=digest)


def test_answers_to_images_of_other_content_are_not_held_against_one_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    digests = {"first": "a", "same": "a", "other": "b", "unknown": "unknown", "none": None}
    ids = [log_answers(tmp_path, name, range(9), digest=digest) for name, digest in digests.items()]
    ids.append(log_answers(tmp_path, "unknown too", range(9), digest="unknown"))

    def chance(*runs):
        monkeypatch.setattr(sys, "argv", ["compare", *runs])
        with pytest.raises(SystemExit):
            end_with(compare.main)
        lines = capsys.readouterr().out.splitlines()
        return [line.strip() for line in lines if " - A: SNN" in line]

    assert chance(*ids[:5]) == [
        "B - A: SNN, 1,000 samples: the same ones are right",
        "C - A: SNN accuracy is the same",
        "D - A: SNN accuracy is the same",
        "E - A: SNN accuracy is the same",
    ]
    assert chance(ids[3], ids[5]) == ["B - A: SNN accuracy is the same"]


def test_answers_to_the_same_images_tell_more_than_intervals(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ids = [
        log_answers(tmp_path, "first", range(20)),
        log_answers(tmp_path, "better", range(8), ann_wrong=[3]),
        log_answers(tmp_path, "noise", range(5, 22)),
        log_answers(tmp_path, "fewer", range(100, 110), of=200),
        log_answers(tmp_path, "same", range(20)),
        log_answers(tmp_path, "elsewhere", range(8), data="mnist"),
        log_answers(tmp_path, "damaged", range(8), claimed=980),
    ]
    monkeypatch.setattr(sys, "argv", ["compare", *ids])
    with pytest.raises(SystemExit) as end:
        end_with(compare.main)
    lines = capsys.readouterr().out.splitlines()
    assert end.value.code == 0 and max(map(len, lines)) <= 100
    assert [line.strip() for line in lines if line.startswith(tuple(f"  {x} - A: " for x in "BCDEFG"))] == [
        "B - A: SNN, 1,000 samples: 12 right in B alone, 0 in A alone: more than chance (p = 0.00049)",
        "B - A: ANN, 1,000 samples: 0 right in B alone, 1 in A alone: may be chance (p = 1)",
        "C - A: SNN, 1,000 samples: 5 right in C alone, 2 in A alone: may be chance (p = 0.45)",
        "C - A: ANN, 1,000 samples: the same ones are right",
        "D - A: SNN, 200 samples: 20 right in D alone, 10 in A alone: may be chance (p = 0.099)",
        "D - A: ANN, 200 samples: the same ones are right",
        "E - A: SNN, 1,000 samples: the same ones are right",
        "E - A: ANN, 1,000 samples: the same ones are right",
        "F - A: the 95 % intervals of SNN accuracy overlap: the difference may be chance",
        "G - A: SNN accuracy is the same",
    ]


def test_it_says_what_differs(command, store, tmp_path):
    folder, ids = store
    code, out, err = command("first", ids["close"][:12], ids["apart"], "--output", str(tmp_path))
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert max(map(len, lines)) <= 100
    assert f"  B  {ids['close'][:8]}  finished  close" in lines
    said = [line.split() for line in lines]
    assert ["A", "99.00", "%", "98.00", "%", "96.93", "to", "98.70", "+1.00", "97.00", "%", "-"] in [
        words[:12] for words in said
    ]
    assert ["B", "-", "A", "+0.00", "-0.50", "+0.50", "+0.00", "+0", "+0"] in said
    assert "  B - A: the 95 % intervals of SNN accuracy overlap: the difference may be chance" in lines
    assert "  C - A: the 95 % intervals of SNN accuracy lie apart: more than chance" in lines
    assert ["scale", "100.0", "50.0", "1.0"] in said
    (long,) = [words for words in said if words[0] == "long"]
    assert [value[:4] + value[-4:] for value in long[1:]] == ["...xxxxa", "...xxxxb", "...xxxxa"]
    assert not {"seed", "logger.csv.folder"} & {words[0] for words in said}

    with (tmp_path / "compare.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["kind", "name", *(ids[name] for name in ("first", "close", "apart"))]
    assert ["setting", "long", "x" * 300 + "a", "x" * 300 + "b", "x" * 300 + "a"] in rows
    assert ["metric", "snn/test_accuracy", "0.98", "0.975", "0.7"] in rows
    assert ["metric", "snn/accuracy_drop", "0.01", "0.015", "0.29"] in rows, "without the noise of the last digits"
    text = (tmp_path / "compare.md").read_text()
    assert "| scale | 100.0 | 50.0 | 1.0 |" in text and "x" * 300 in text


def test_a_filter_finds_runs(command, store):
    code, out, _ = command("apart", "--filter", "tags.data != 'close' and metrics.`snn/test_accuracy` > 0.5")
    assert code == 0
    assert [line.split()[3] for line in out.splitlines()[1:3]] == ["apart", "first"]
    (file,) = (store[0] / "mlruns" / "compare").glob("*/compare.csv")
    assert file.is_file()


def test_a_failed_run_has_no_results(command, tmp_path):
    code, out, _ = command("first", "failed", "--output", str(tmp_path))
    assert code == 0
    assert "B - A: one of them has no SNN accuracy" in out
    assert not [line for line in out.splitlines() if line.split() == ["B", "-", "A"]]
    assert "-dirty" in out


def test_a_run_that_was_killed_reads_so_even_where_the_store_has_it_running(command, store, tmp_path):
    folder = store[0]
    for name, status in (("told", "KILLED"), ("untold", None), ("alive", None), ("elsewhere", None)):
        logger = MLflowLogger(folder=str(folder / "mlruns"))
        files = folder / f"files of {name}"
        logger.start(name, {"paths.output_dir": str(files)}, {})
        if name != "elsewhere":
            files.mkdir()
        if status:
            logger.finalize(status)
    with locked(folder / "files of alive"):
        code, out, _ = command("first", "told", "untold", "alive", "elsewhere", "--output", str(tmp_path))
    assert code == 0
    statuses = {line.split()[3]: line.split()[2] for line in out.splitlines()[1:6]}
    assert statuses == {
        "first": "finished",
        "told": "killed",
        "untold": "killed",
        "alive": "running",
        "elsewhere": "running",
    }


WRONG = {
    "one run": (["first"], ["two runs or more"]),
    "one run, twice": (["first", "first"], ["fewer than two different runs"]),
    "unknown run": (["first", "clsoe"], ["no run 'clsoe'", "did you mean 'close'?", "(failed)"]),
    "empty name": (["first", ""], ["no run ''"]),
    "unknown experiment": (["first", "close", "--experiment", "snpipe"], ["did you mean 'snnpipe'?"]),
    "no filter": (["--filter", "nonsense"], ["--filter: got 'nonsense'"]),
    "no store": (["first", "close", "--tracking-uri", "sqlite:///nowhere.db"], ["no store nowhere.db yet"]),
    "silent store": (["first", "close", "--tracking-uri", "http://127.0.0.1:9"], ["cannot open http://127.0.0.1:9"]),
    "unknown option": (["--runs", "first"], ["--runs", "--help"]),
    "no folder": (["first", "close", "--output", "/proc/nowhere"], ["--output", "/proc/nowhere"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_line(command, name):
    arguments, says = WRONG[name]
    code, out, err = command(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("snnpipe: error: ")
    for words in says:
        assert words in err


def test_a_name_of_two_runs_needs_an_id(command, store, tmp_path):
    again = log(store[0] / "mlruns", "twice", right=1), log(store[0] / "mlruns", "twice", right=2)
    code, _, err = command("first", "twice")
    assert code == 2
    assert "'twice' are 2 runs" in err and all(run[:8] in err for run in again)
    assert command("first", again[0], "--output", str(tmp_path))[0] == 0
