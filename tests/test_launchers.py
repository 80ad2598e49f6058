"""Launchers to clusters: Ray, with nodes that are killed, and Slurm, with a stand-in for its commands."""

import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from multiruns import FAST, SLOW_JOBS, runs_of, table_of, wait_for
from omegaconf import OmegaConf

from snnpipe.base.errors import LoggingError

RAY = ("hydra/launcher=ray", "hydra.launcher.address=local")
SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1")
TWO_JOBS = ("training.epochs=20", "data.max_train_images=1400", "conversion.scale_firing_rates=1,50")
CLUSTERS = pytest.mark.parametrize(
    "launcher", [pytest.param(RAY, id="ray", marks=pytest.mark.long), pytest.param(SLURM, id="slurm")]
)


@pytest.fixture(autouse=True)
def slurm(tmp_path, monkeypatch):
    """Put a stand-in for Slurm's commands on the path; returns the folder in which it keeps its jobs."""
    commands, jobs = tmp_path / "bin", tmp_path / "slurm"
    commands.mkdir()
    jobs.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel"):
        (commands / name).symlink_to(Path(__file__).parent / "slurm.sh")
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM", str(jobs))
    return jobs


@pytest.mark.long
@CLUSTERS
def test_a_job_fails_and_the_other_goes_on(process, tmp_path, launcher):
    folder = tmp_path / "process"
    running = process("-m", *launcher, *FAST, "training.epochs=-1,1")
    out, err = running.communicate(timeout=300)
    assert running.returncode == 2, err
    assert ": ANN " in out
    assert [line.split()[:2] for line in table_of(out)] == [["-1", "failed"], ["1", "15.00"]]
    assert [line.partition(" got ")[0] for line in err.splitlines()[:2]] == [
        "snnpipe: job 1 of 2, epochs=-1: failed",
        "snnpipe: error: training.epochs:",
    ]
    assert len(err.splitlines()) == 3, err
    (parent,), children = runs_of(folder)
    assert sorted(child.info.status for child in children) == ["FAILED", "FINISHED"]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    (environment,) = folder.glob("mlruns/outputs/*/environment.json")
    assert json.loads(environment.read_text())["cores"] == 1


WRONG = {
    "no cores": ("ray", ["num_cpus=0"], "hydra.launcher.num_cpus: got 0"),
    "no cluster": ("ray", ["address=127.0.0.1:9"], "hydra.launcher.address: got '127.0.0.1:9'"),
    "no ray": ("ray", [], "hydra/launcher: it needs Ray: pip install 'snnpipe[ray]'"),
    "no time": ("slurm", ["timeout_min=0"], "hydra.launcher.timeout_min: got 0"),
    "no submitit": ("slurm", [], "hydra/launcher: it needs submitit: pip install 'snnpipe[submitit]'"),
    "no such key": ("slurm", ["timeout=3"], "hydra.launcher.timeout: no such key; did you mean 'timeout_min'"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_a_launcher_that_cannot_work_says_why(command, monkeypatch, case):
    launcher, settings, message = WRONG[case]
    if not settings:
        monkeypatch.setitem(sys.modules, case.removeprefix("no "), None)
    words = [f"hydra.launcher.{setting}" for setting in settings]
    result = command("-m", f"hydra/launcher={launcher}", *words, *FAST, "logger=csv", "seed=1,2")
    assert result.code == 2
    (line,) = result.error_lines
    assert line.startswith(f"snnpipe: error: {message}")


@pytest.mark.slow
def test_slurm_says_why_it_takes_no_jobs(process):
    refused = process("-m", *SLURM, "hydra.launcher.partition=gone", *FAST, "logger=csv", "seed=1,2")
    _, err = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "hydra/launcher: Slurm does not take the jobs: sbatch: error: invalid partition: gone" in err


def test_a_machine_without_the_folder_needs_a_server(tmp_path, monkeypatch):
    from hydra_plugins.snnpipe.cluster import _enter

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for store in (None, "sqlite:////elsewhere/mlflow.db"):
        with pytest.raises(LoggingError, match="has no folder /no/such/folder"):
            _enter("/no/such/folder", OmegaConf.create({"logger": {"tracking_uri": store}}))
    _enter("/no/such/folder", OmegaConf.create({"logger": {"tracking_uri": "http://server:5000"}}))
    assert Path.cwd() == tmp_path
    _enter("/", OmegaConf.create({"logger": {"tracking_uri": None}}))
    assert Path.cwd() == Path("/")


@pytest.fixture
def password(monkeypatch):
    """A password in the environment, as MLflow wants it."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "in-the-environment")
    return "in-the-environment"


@pytest.mark.long
def test_files_for_slurm_hold_no_password(password, process, tmp_path):
    """Jobs get it all the same: Slurm hands on the environment of the command."""
    address = "http://user:on-the-command-line@127.0.0.1:9"
    running = process("-m", *SLURM, *FAST, "logger=csv", f"+logger.tracking_uri={address}", "seed=1,2")
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    files = [path for path in (tmp_path / "process").rglob("*") if path.is_file()]
    assert any(path.suffix == ".pkl" for path in files)
    for secret in (password, "on-the-command-line"):
        assert secret not in out + err
        assert not [path for path in files if secret.encode() in path.read_bytes()]
    recorded = [path.read_text() for path in files if path.name == "params.json"]
    assert len(recorded) == 2 and all('"http://user:***@127.0.0.1:9"' in text for text in recorded)


@pytest.mark.long
@CLUSTERS
def test_jobs_end_with_the_command(process, tmp_path, launcher):
    folder = tmp_path / "process"
    running = process("-m", *launcher, *SLOW_JOBS)
    wait_for(lambda: list(folder.glob("mlruns/outputs/*/metrics.csv")))
    before = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    (parent,), children = runs_of(folder)
    assert {run.info.status for run in (parent, *children)} == {"KILLED"}
    gone, alive = psutil.wait_procs(before, timeout=20)
    assert not alive


@pytest.mark.long
def test_a_job_that_is_gone_before_it_began_is_told_and_resumed(process, tmp_path, slurm):
    folder = tmp_path / "process"
    words = ("-m", *SLURM, *FAST, "conversion.scale_firing_rates=1,50")
    running = process(*words)
    wait_for(lambda: len(list(slurm.iterdir())) == 2)
    os.killpg(int(next(slurm.glob("*_0")).read_text()), signal.SIGKILL)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 1, err
    assert [line.split()[:2] for line in table_of(out)] == [["1", "failed"], ["50", "15.00"]]
    assert "job 1 of 2, scale_firing_rates=1: it was lost: " in err and "1 of 2 jobs did not finish" in err
    again = process(*words, "sweep.resume=true")
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert [line.split()[:2] for line in table_of(out)] == [["1", "15.00"], ["50", "15.00"]]
    assert out.count("is done already") == 1
    _, children = runs_of(folder)
    assert sorted(run.info.status for run in children) == ["FAILED", "FINISHED", "FINISHED"]


@pytest.mark.long
def test_jobs_of_a_worker_and_of_a_node_that_are_killed_run_again(process, tmp_path):
    from ray.cluster_utils import Cluster

    folder = tmp_path / "process"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        first, second = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
        running = process("-m", RAY[0], f"hydra.launcher.address={cluster.address}", *FAST, *TWO_JOBS)
        wait_for(lambda: list(folder.glob("mlruns/outputs/*/metrics.csv")))
        raylet = psutil.Process(first.all_processes["raylet"][0].process.pid)
        next(p for p in raylet.children(recursive=True) if p.cmdline()[:1] == ["ray::run"]).kill()
        cluster.remove_node(second, allow_graceful=False)
        out, err = running.communicate(timeout=300)
    finally:
        cluster.shutdown()
    assert (running.returncode, err) == (0, "")
    assert [line.split()[:3:2] for line in table_of(out)] == [["1", "%"], ["50", "%"]]
    (parent,), children = runs_of(folder)
    assert parent.info.status == "FINISHED"
    statuses = [child.info.status for child in children]
    assert statuses.count("FINISHED") == 2
    assert set(statuses) == {"FINISHED", "KILLED"}
