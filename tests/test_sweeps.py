"""Multi-runs: a parent and its children, one table, failures that stop nobody else, and resuming."""

import csv
import json
import os
import random
import re
import signal
import sys
import time

import psutil
import pytest
from multiruns import FAST, SLOW_JOBS, runs_of, table_of, wait_for
from omegaconf import OmegaConf

from snnpipe.sweeps.durations import merge_durations
from snnpipe.sweeps.repeats import drop_repeats
from snnpipe.sweeps.table import job_answers, sweep_table
from snnpipe.values.run import SweepJob

METRICS = {
    "ann/test_accuracy": 0.98,
    "snn/test_accuracy": 0.95,
    "snn/accuracy_drop": 0.03,
    "snn/latency_ms_to_1pt": 12.0,
    "snn/synops_per_image": 1234567.0,
}


# ---------------------------------------------------------------------- the table


def test_a_failed_job_is_a_line_of_the_table():
    shared = ["data=mnist", "seed=1"]
    long = SweepJob([*shared, "conversion.synapse=0.01", f"experiment={'long' * 30}"], METRICS)
    failed = SweepJob([*shared, "conversion.synapse=0.02"], error="ConfigError: no")
    lines = sweep_table([long, failed]).splitlines()
    assert max(map(len, lines)) == 100
    assert lines[1].split()[:2] == ["synapse", "experiment"] and "..." in lines[2]
    assert lines[2].split()[-8:] == ["98.00", "%", "95.00", "%", "+3.00", "12", "ms", "1,234,567"]
    assert lines[2].split()[0] == "0.01" and lines[3].split() == ["0.02", "failed"]


def test_settings_by_layer_keep_what_differs():
    scales = [f"{{conv2d:{a}.0,conv2d_1:40.0,dense:{b}.0}}" for a in (20, 200) for b in (80, 160)]
    keys = ("conversion.scale_firing_rates", "training.neuron.tau_rc", "conversion.neuron.tau_rc")
    jobs = [
        SweepJob([f"{key}={value}" for key, value in zip(keys, (scale, *taus), strict=True)], METRICS)
        for scale in scales
        for taus in ((0.01, 0.02), (0.02, 0.01))
    ]
    lines = sweep_table(jobs).splitlines()
    assert max(map(len, lines)) <= 100
    settings = [tuple(line.split()[:3]) for line in lines[2:-1]]
    assert len(set(settings)) == len(jobs)
    assert [":80" in shown[0] for shown in settings] == ["dense:80.0" in job.overrides[0] for job in jobs]
    assert len(set(lines[1].split()[1:3])) == 2, "two keys end in tau_rc"


def test_a_drop_of_nothing_has_one_sign():
    (line,) = sweep_table([SweepJob(["seed=1"], METRICS | {"snn/accuracy_drop": -1e-17})]).splitlines()[2:-1]
    assert "+0.00" in line.split()


def test_one_run_over_several_seeds_ends_in_its_mean():
    jobs = [
        SweepJob(
            ["model=mlp", f"seed={seed}"],
            METRICS | {"snn/test_accuracy": accuracy, "snn/accuracy_drop": 0.98 - accuracy},
        )
        for seed, accuracy in enumerate((0.90, 0.92, 0.94))
    ]
    failed = SweepJob(["model=mlp", "seed=3"], error="KILLED")
    *_, last, rule = sweep_table([*jobs, failed]).splitlines()
    # the mean of 90, 92, 94; s = 2, t(0.975, 2) = 4.303: 4.303 * 2 / sqrt(3) = 4.97
    assert last.split()[:11] == ["mean", "of", "3,", "95", "%", "98.00", "±", "0.00", "%", "92.00", "±"]
    assert "92.00 ± 4.97 %" in last
    assert len(rule) <= 100
    assert "mean" not in sweep_table([SweepJob([f"model.units={n}"], METRICS) for n in (1, 2)])


# ---------------------------------------------------------------------- in one process


def test_a_multi_run_is_a_parent_run_with_a_child_a_job(command, tmp_path):
    result = command("-m", *FAST, "conversion.scale_firing_rates=1,50")
    assert result.code == 0, result.err
    assert [line.split()[0] for line in table_of(result.out)] == ["1", "50"]
    (parent,), children = runs_of(tmp_path / "work")
    assert parent.info.status == "FINISHED"
    assert [child.info.status for child in children] == ["FINISHED"] * 2
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert [json.loads(child.data.tags["sweep.overrides"])[-1] for child in children] == [
        "conversion.scale_firing_rates=1",
        "conversion.scale_firing_rates=50",
    ]
    assert [child.data.tags["fit.reused"] for child in children] == ["false", "true"]
    lines = [line for line in result.out.splitlines() if line.startswith("snnpipe: job ")]
    for number, (line, scale) in enumerate(zip(lines, ("1", "50"), strict=True), start=1):
        pattern = r"%, SNN [\d.]+ %, drop [+-][\d.]+, latency (-|\d+ ms), files mlruns/outputs/\S+$"
        assert re.match(rf"snnpipe: job {number} of 2, scale_firing_rates={scale}: ANN [\d.]+ {pattern}", line), line
    assert result.out.count("SynOps per sample") == 1, "one table"
    assert not [line for line in result.err.splitlines() if "training on" in line or "simulating" in line]


def test_resuming_needs_a_store(command):
    refused = command("-m", *FAST, "logger=csv", "conversion.scale_firing_rates=1,50", "sweep.resume=true")
    assert refused.code == 2
    assert "sweep.resume" in refused.err and "logger=mlflow" in refused.err


@pytest.mark.slow
def test_a_mistake_in_one_job_is_a_failed_child_and_the_others_go_on(command, tmp_path):
    result = command("-m", *FAST, "training.epochs=0,-1")
    assert result.code == 2
    assert len(result.error_lines) == 1
    assert [line.split()[0] for line in table_of(result.out)] == ["0", "-1"]
    assert "1 of 2 jobs did not finish: correct what the lines above name" in result.err
    assert "sweep.resume" not in result.err, "it would be the same mistake again"
    assert "snnpipe: job 2 of 2, epochs=-1: failed" in result.err.splitlines()
    (parent,), (done, failed) = runs_of(tmp_path / "work")
    assert (parent.info.status, done.info.status, failed.info.status) == ("FAILED", "FINISHED", "FAILED")
    assert failed.data.tags["error"].startswith("ConfigError: training.epochs: got -1")


@pytest.mark.slow
@pytest.mark.parametrize("logger", [pytest.param("mlflow", marks=pytest.mark.long), "csv"])
def test_a_job_that_fails_fails_in_all_its_durations_and_has_one_number_everywhere(command, tmp_path, logger):
    scales = "conversion.scale_firing_rates=20,{nope: 3.0},50"
    result = command("-m", *FAST, f"logger={logger}", "training.epochs=0", "simulator.n_steps=5,10,10", scales)
    assert result.code == 2
    assert ["failed" in line for line in table_of(result.out)] == [False, False, True, True, False, False]
    assert "2 of 6 jobs did not finish" in result.err
    (file,) = tmp_path.glob("work/mlruns/multirun/*/sweep.csv")
    rows = list(csv.DictReader(file.open()))
    assert [(row["job"], row["simulator.n_steps"], row["status"]) for row in rows] == [
        ("1", "5", "FINISHED"),
        ("2", "10", "FINISHED"),
        ("3", "5", "FAILED"),
        ("4", "10", "FAILED"),
        ("5", "5", "FINISHED"),
        ("6", "10", "FINISHED"),
    ]
    assert all("nope" in row["error"] for row in rows[2:4])
    assert sorted(_told_of(result.out)) == [
        ("1", "6", "scale_firing_rates=20 n_steps=5", "ANN"),
        ("2", "6", "scale_firing_rates=20 n_steps=10", "ANN"),
        ("5", "6", "scale_firing_rates=50 n_steps=5", "ANN"),
        ("6", "6", "scale_firing_rates=50 n_steps=10", "ANN"),
    ]
    assert [name[:2] + name[3:] for name in _told_of(result.err)] == [("3", "6", "failed"), ("4", "6", "failed")]
    page = (file.parent / "report.html").read_text()
    assert "6 jobs, 2 of them failed" in page
    assert re.findall(r'<td data-value="(\d+)"[^>]*>(?:<a [^>]*>)?\d+(?:</a>)?</td>', page) == list("123456")
    if logger == "mlflow":
        (parent,), children = runs_of(tmp_path / "work")
        assert (parent.data.metrics["sweep/jobs"], parent.data.metrics["sweep/failed"]) == (6, 2)
        failed = [run.data.tags for run in children if run.info.status == "FAILED"]
        assert sorted(tags["sweep.duration"] for tags in failed) == ["10", "5"]
        again = command(
            "-m", *FAST, "logger=mlflow", "training.epochs=0", "simulator.n_steps=5,10,10", scales, "sweep.resume=true"
        )
        assert "2 of 6 jobs did not finish" in again.err
        assert [name[0] for name in _told_of(again.out) if "done already" in name[3]] == ["1", "2", "5", "6"]


def _told_of(text):
    """Return number, how many, settings and first words of the lines that tell of jobs."""
    return re.findall(r"^snnpipe: job (\d+) of (\d+), (.*?): (ANN|failed|it is done already)", text, re.MULTILINE)


@pytest.mark.slow
def test_faults_among_mistakes_are_what_resuming_is_for(command, fragile):
    node = f"{{_target_: fragile.Fragile, flag: {fragile}, scale: '${{conversion.scale_firing_rates}}'}}"
    words = ("-m", *FAST, f"+callbacks.fragile={node}", "conversion.scale_firing_rates=50.0,-1", "training.epochs=0")
    result = command(*words)
    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        "snnpipe: 2 of 2 jobs did not finish: for 1 of them, correct what the lines above name; the same command with "
        "sweep.resume=true runs the other again"
    )


def test_the_ann_of_the_table_had_the_images_that_the_network_had():
    fewer = METRICS | {"ann/test_accuracy": 0.1476, "snn/test_accuracy": 0.08, "snn/accuracy_drop": 0.14}
    lines = sweep_table([SweepJob([f"seed={n}"], fewer) for n in (1, 2)]).splitlines()
    assert lines[2].split()[1:6] == ["22.00", "%", "8.00", "%", "+14.00"]
    assert "22.00 ± 0.00 %" in lines[-2]
    assert job_answers(fewer).startswith("ANN 22.00 %, SNN 8.00 %, drop +14.00,")


@pytest.fixture
def fragile(tmp_path, monkeypatch):
    """Make a callback of a user's own that fails while a file is there; returns the file."""
    flag = tmp_path / "fails"
    (tmp_path / "fragile.py").write_text(
        "from pathlib import Path\n"
        "from snnpipe.callbacks.base import Callback\n"
        "class Fragile(Callback):\n"
        "    def __init__(self, flag: str, scale: float):\n"
        "        self.flag, self.scale = flag, scale\n"
        "    def on_convert_end(self, state):\n"
        "        if self.scale == 50 and Path(self.flag).exists():\n"
        "            raise RuntimeError('the disk is on fire')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fragile", raising=False)
    flag.touch()
    return flag


@pytest.mark.long
def test_resuming_runs_what_failed_and_nothing_else(command, tmp_path, fragile):
    """A simulation that fails, fails in all its durations."""
    node = f"{{_target_: fragile.Fragile, flag: {fragile}, scale: '${{conversion.scale_firing_rates}}'}}"
    words = ("-m", *FAST, f"+callbacks.fragile={node}", "conversion.scale_firing_rates=50.0,100.0")
    words = (*words, "simulator.n_steps=4,6", "training.epochs=0")
    broken = command(*words)
    assert broken.code == 1
    assert "the disk is on fire" in broken.err and "2 of 4 jobs did not finish; the same command" in broken.err
    assert broken.err.splitlines()[-1].endswith(
        "the same command with sweep.resume=true runs them again, and no others"
    )
    found = [line.split()[:3] for line in table_of(broken.out)]
    assert found[:2] == [["50", n, "failed"] for n in ("4", "6")]
    assert [row[:2] for row in found[2:]] == [["100", "4"], ["100", "6"]]
    assert "failed" not in {row[2] for row in found[2:]}
    fragile.unlink()
    resumed = command(*words, "sweep.resume=true")
    assert resumed.code == 0, resumed.err
    assert resumed.out.count("is done already") == 2
    (parent,), children = runs_of(tmp_path / "work")
    assert parent.info.status == "FINISHED"
    assert (parent.data.metrics["sweep/jobs"], parent.data.metrics["sweep/failed"]) == (4, 0)
    left = [child for child in children if child.info.status != "FINISHED"]
    assert len(children) == 5 and [(one.info.status, one.data.tags["sweep.duration"]) for one in left] == [
        ("FAILED", "4")  # the job's run goes on; the failure of its shorter duration stays beside the new run
    ]
    whole = command("-m", *words[1:], "hydra.sweep.dir=mlruns/multirun/whole")
    assert table_of(whole.out) == table_of(resumed.out) != []
    parents, _ = runs_of(tmp_path / "work")
    assert len(parents) == 2, "without sweep.resume the same command is a multi-run of its own"


# ---------------------------------------------------------------------- in several processes


@pytest.mark.long  # 25 s
def test_jobs_in_processes_of_their_own_share_a_training_and_the_cores(process, tmp_path):
    folder = tmp_path / "process"
    words = ("-m", "hydra/launcher=processes", *FAST, "conversion.scale_firing_rates=1,50", "training.epochs=1,-1")
    running = process(*words)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 2, err
    assert [line.split()[:3] for line in table_of(out)] == [
        ["1", "1", "15.00"],
        ["1", "-1", "failed"],
        ["50", "1", "15.00"],
        ["50", "-1", "failed"],
    ]
    (parent,), children = runs_of(folder)
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    done = [child for child in children if child.info.status == "FINISHED"]
    assert sorted(child.data.tags["fit.reused"] for child in done) == ["false", "true"]
    environments = list(folder.glob("mlruns/outputs/*/environment.json"))
    here = len(os.sched_getaffinity(0))
    assert {json.loads(path.read_text())["cores"] for path in environments} == {max(1, here // 2)}


STOPPED_JOBS = (*FAST, "training.epochs=15", "data.max_train_images=1400", "conversion.scale_firing_rates=1,50")


@pytest.mark.long
def test_a_worker_that_is_killed_ends_the_multi_run_and_resuming_finishes_it(process, tmp_path):
    folder = tmp_path / "process"
    words = ("-m", "hydra/launcher=processes", *STOPPED_JOBS)
    running = process(*words)
    wait_for(lambda: list(folder.glob("mlruns/outputs/*/metrics.csv")))
    worker = next(
        p for p in psutil.Process(running.pid).children(recursive=True) if "popen_loky" in " ".join(p.cmdline())
    )
    worker.kill()
    _, err = running.communicate(timeout=120)
    assert running.returncode == 1, err
    (parent,), children = runs_of(folder)
    assert parent.info.status == "FAILED"
    assert "RUNNING" not in {run.info.status for run in children}
    again = process(*words, "sweep.resume=true")
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert len(table_of(out)) == 2


# ---------------------------------------------------------------------- stopped and killed


@pytest.mark.long
def test_a_multi_run_that_is_stopped_is_killed_and_goes_on(process, tmp_path):
    folder = tmp_path / "process"
    running = process("-m", *STOPPED_JOBS)
    wait_for(lambda: list(folder.glob("mlruns/outputs/*/metrics.csv")))
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    (parent,), children = runs_of(folder)
    assert parent.info.status == "KILLED"
    assert children[-1].info.status == "KILLED"
    again = process("-m", *STOPPED_JOBS, "sweep.resume=true")
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert len(table_of(out)) == 2


@pytest.mark.long
def test_a_multi_run_that_is_killed_at_any_moment_goes_on_to_the_same_table(process, tmp_path):
    folder = tmp_path / "process"
    whole, err = process("-m", *SLOW_JOBS, f"paths.mlruns={tmp_path}/whole").communicate(timeout=300)
    assert table_of(whole), err
    moments = random.Random(0)
    for _ in range(10):
        running = process("-m", *SLOW_JOBS, "sweep.resume=true")
        time.sleep(moments.uniform(2, 18))
        running.kill()
        running.communicate()
    out, err = process("-m", *SLOW_JOBS, "sweep.resume=true").communicate(timeout=300)
    assert table_of(out) == table_of(whole), err
    _, children = runs_of(folder)
    assert "RUNNING" not in {run.info.status for run in children}
    assert sum(run.info.status == "FINISHED" for run in children) == 3


def test_a_launcher_whose_plugin_is_missing_says_what_to_install():
    from hydra.errors import MissingConfigException

    from snnpipe.config.messages import explain

    error = MissingConfigException("In 'hydra/launcher/processes': Could not load 'hydra/launcher/joblib'.", "joblib")
    assert explain(error, []).endswith("pip install 'snnpipe[joblib]'")


# ---------------------------------------------------------------------- the same value more than once


@pytest.mark.parametrize(
    ("words", "left", "said"),
    [
        (["seed=1,1"], ["seed=1"], ["seed=1,1 lists 1 twice"]),
        (["seed=1,2,1,1"], ["seed=1,2"], ["lists 1 3 times"]),
        (
            ["seed=1,1", "model=mlp,mlp,cnn2d"],
            ["seed=1", "model=mlp,cnn2d"],
            ["lists 1 twice, model=mlp,mlp"],
        ),
        (["conversion.synapse=0.01,1e-2,null,null"], ["conversion.synapse=0.01,null"], ["0.01 twice and null twice"]),
        (["run_name='a b',\"a b\",c"], ["run_name='a b',c"], ["twice"]),
        (["+x=choice(1,1)"], ["+x=1"], ["+x=choice(1,1) lists 1 twice"]),
        (["seed=shuffle(1,1,2)"], ["seed=shuffle(1,2)"], ["lists 1 twice"]),
        (["model.filters=[1,2],[1,2],[2,1]"], ["model.filters=[1,2],[2,1]"], ["lists [1,2] twice"]),
        (["seed=1,2"], ["seed=1,2"], []),
        (["conversion.scale_firing_rates=1,1.0"], ["conversion.scale_firing_rates=1,1.0"], []),
        (["seed=range(3)", "seed=1"], ["seed=range(3)", "seed=1"], []),
    ],
)
def test_a_value_that_is_listed_more_than_once_is_left_once(words, left, said):
    config = OmegaConf.create({"hydra": {"sweeper": {"params": None}, "overrides": {"task": words}}})
    told = drop_repeats(config)
    assert [word.replace('"', "'") for word in config.hydra.overrides.task] == left
    assert all(word in told for word in said) and bool(told) == bool(said)


def test_what_a_sweep_file_lists_twice_is_left_once():
    params = {"seed": "3,3", "conversion.synapse": None, "neuron": "lif,lif,rate"}
    config = OmegaConf.create({"hydra": {"sweeper": {"params": params}, "overrides": {"task": []}}})
    assert (
        drop_repeats(config) == "repeated jobs are dropped: seed=3,3 lists 3 twice, neuron=lif,lif,rate lists lif twice"
    )
    assert config.hydra.sweeper.params == {"seed": "3", "conversion.synapse": None, "neuron": "lif,rate"}


@pytest.mark.slow
def test_a_repeated_job_is_dropped_and_a_line_says_so(command, tmp_path):
    words = ("logger=csv", "conversion.scale_firing_rates=50", "training.epochs=0")
    result = command("-m", *FAST, *words, "seed=1,1", "simulator.n_steps=5,5,3")
    assert result.code == 0, result.err
    (line,) = [line for line in result.err.splitlines() if "repeated" in line]
    assert line == "snnpipe: repeated jobs are dropped: seed=1,1 lists 1 twice, simulator.n_steps=5,5,3 lists 5 twice"
    assert [line.split()[0] for line in table_of(result.out)] == ["3", "5"]
    assert len(list((tmp_path / "work").glob("mlruns/outputs/*"))) == 1
    assert not (tmp_path / "work" / "mlruns" / "mlflow.db").exists()


FIXED = {"channels": False, "balance": False, "drawn_voltages": False, "bias_correction": False, "max_drop": None}


@pytest.mark.parametrize(
    ("scales", "calibration", "readout", "words", "merged"),
    [
        (20.0, {}, "auto", [], True),
        ("auto", {"spikes_per_step": 2.0, **FIXED}, "mean", [], True),
        ("auto", {"spikes_per_step": "auto", **FIXED}, "mean", [], False),
        ("auto", {"spikes_per_step": 2.0, **FIXED, "channels": "auto"}, "mean", [], False),
        ("auto", {"spikes_per_step": 2.0, **FIXED, "bias_correction": True}, "mean", [], False),
        ("auto", {"spikes_per_step": 2.0, **FIXED, "max_drop": 1.0}, "mean", [], False),
        ("auto", {"spikes_per_step": 2.0, **FIXED}, "auto", [], False),
        ("auto", {"spikes_per_step": "auto", **FIXED}, "mean", ["conversion.calibration.spikes_per_step=1,2"], True),
        ("auto", {"spikes_per_step": 2.0, **FIXED}, "mean", ["conversion.calibration.channels=true,auto"], False),
        (20.0, {"spikes_per_step": "auto"}, "mean", ["conversion.scale_firing_rates=20,auto"], False),
        (20.0, {}, "mean", ["conversion=nengo_dl,mine"], False),
    ],
)
def test_durations_share_a_simulation_only_if_no_calibration_is_made_for_one(
    scales, calibration, readout, words, merged
):
    hydra = {
        "sweeper": {"_target_": "hydra._internal.BasicSweeper", "params": None},
        "overrides": {"task": ["simulator.n_steps=4,16", *words], "hydra": []},
    }
    conversion = {"scale_firing_rates": scales, "calibration": calibration}
    config = OmegaConf.create({"hydra": hydra, "conversion": conversion, "simulator": {"readout": readout}})
    merge_durations(config)
    assert config.hydra.overrides.hydra == (["sweep.durations=[4]"] if merged else [])
