"""Multi-runs: a parent and its children, one table, failures that stop nobody else, and resuming."""

import csv
import json
import os
import random
import re
import signal
import time

import psutil
import pytest
from multiruns import FAST, SLOW_JOBS, runs_of, table_of, wait_for
from omegaconf import OmegaConf

from snnpipe.sweeps.repeats import drop_repeats
from snnpipe.sweeps.table import job_answers, sweep_table
from snnpipe.types import SweepJob

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
    assert ["80.0" in shown[0] for shown in settings] == ["dense:80.0" in job.overrides[0] for job in jobs]
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
    assert result.out.count("SynOps per image") == 1, "one table"
    assert not [line for line in result.err.splitlines() if "training on" in line or "simulating" in line]


def test_a_multi_run_without_a_store_ends_in_its_table_too(command, tmp_path):
    result = command("-m", *FAST, "logger=csv", "conversion.scale_firing_rates=1,50")
    assert result.code == 0, result.err
    assert [line.split()[0] for line in table_of(result.out)] == ["1", "50"]
    assert not (tmp_path / "work" / "mlruns" / "mlflow.db").exists()
    refused = command("-m", *FAST, "logger=csv", "conversion.scale_firing_rates=1,50", "sweep.resume=true")
    assert refused.code == 2
    assert "sweep.resume" in refused.err and "logger=mlflow" in refused.err


def test_a_mistake_in_one_job_is_a_failed_child_and_the_others_go_on(command, tmp_path):
    result = command("-m", *FAST, "training.epochs=1,-1")
    assert result.code == 2
    assert len(result.error_lines) == 1
    assert [line.split()[0] for line in table_of(result.out)] == ["1", "-1"]
    assert "1 of 2 jobs did not finish: mend what the lines above name" in result.err
    assert "sweep.resume" not in result.err, "it would be the same mistake again"
    assert "snnpipe: job 2 of 2, epochs=-1: failed" in result.err.splitlines()
    (parent,), (done, failed) = runs_of(tmp_path / "work")
    assert (parent.info.status, done.info.status, failed.info.status) == ("FAILED", "FINISHED", "FAILED")
    assert failed.data.tags["error"].startswith("ConfigError: training.epochs: got -1")


@pytest.mark.parametrize("logger", ["mlflow", "csv"])
def test_a_job_that_fails_fails_in_all_its_durations_and_has_one_number_everywhere(command, tmp_path, logger):
    scales = "conversion.scale_firing_rates=20,{nope: 3.0},50"
    result = command("-m", *FAST, f"logger={logger}", "simulator.n_steps=5,10,10", scales)
    assert result.code == 2
