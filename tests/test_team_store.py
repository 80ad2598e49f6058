"""A team's tracking store, for real: ``mlflow server`` on PostgreSQL, and jobs that write to it at the same time."""

import multiprocessing
import re
from collections import Counter
from pathlib import Path

import pytest
from multiruns import FAST, table_of
from team_store import log_all, mlflow_server, postgresql, postgresql_programs, sent

from snnpipe.loggers.mlflow.view import FIRST_CHART
from snnpipe.testing import SPEC

N_JOBS = 8

pytestmark = pytest.mark.skipif(
    postgresql_programs() is None, reason="PostgreSQL's initdb is missing: apt-get install postgresql"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(folder):
    """The address of an ``mlflow server`` on an empty PostgreSQL, its log in ``folder``."""
    with postgresql() as store, mlflow_server(store, folder) as address:
        yield address


@pytest.mark.long  # 20 s
def test_eight_jobs_at_once_lose_nothing(server, folder, tmp_path):
    from mlflow import MlflowClient

    processes = multiprocessing.get_context("forkserver")  # this process has TensorFlow's threads, which do not fork
    processes.set_forkserver_preload(["mlflow", "snnpipe.loggers.mlflow.logger", "snnpipe.testing"])
    together = processes.Barrier(N_JOBS)
    jobs = [processes.Process(target=log_all, args=(n, server, tmp_path, together)) for n in range(N_JOBS)]
    try:
        for job in jobs:
            job.start()
        for job in jobs:
            job.join(120)
        assert [job.exitcode for job in jobs] == [0] * N_JOBS
    finally:
        for job in jobs:
            job.kill()

    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("team")
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == [f"job {n}" for n in range(N_JOBS)]
    for run in runs:
        n, run_id = int(run.data.tags["job"]), run.info.run_id
        content = sent(n)
        assert run.info.status == "FINISHED"
        assert run.data.params == content["params"]
        assert {**content["tags"], "stage_reached": "done"}.items() <= run.data.tags.items()
        assert [d.dataset.name for d in run.inputs.dataset_inputs] == [SPEC.name]
        series = content["series"] | {
            name: [metrics[name] for metrics in content["epochs"]] for name in content["epochs"][0]
        }
        series |= {again: series[name] for name, again in FIRST_CHART.items()}
        assert run.data.metrics == {name: values[-1] for name, values in series.items()}
        for name, values in series.items():
            points = sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
            assert points == list(enumerate(values, start=1)), name
        kept = tmp_path / f"of {n}"
        kept.mkdir()
        client.download_artifacts(run_id, "", str(kept))
        found = {str(path.relative_to(kept)): path.read_bytes() for path in kept.rglob("*") if path.is_file()}
        assert found == content["artifacts"]

    requests = Counter(re.findall(r'"POST /api/2.0/mlflow/runs/([\w-]+) ', (folder / "server.log").read_text()))
    # of each job: 130 parameters by 100, five epochs, and series of 1,000, under two names, and of 2,500 by 1,000
    assert requests["log-batch"] == N_JOBS * (2 + 5 + 2 + 3)
    assert not {"log-metric", "log-parameter"} & set(requests)


@pytest.mark.long
def test_a_multi_run_through_a_server_shares_a_training_and_ends_in_its_table(server, process, folder):
    from mlflow import MlflowClient

    overrides = ("conversion.scale_firing_rates=1,50", f"logger.tracking_uri={server}", "experiment_name=jobs")
    running = process("-m", "hydra/launcher=processes", *FAST, *overrides)
    try:
        out, err = running.communicate(timeout=300)
    finally:
        running.kill()
    assert running.returncode == 0, err
    assert [line.split()[0] for line in table_of(out)] == ["1", "50"]
    client = MlflowClient(server)
    runs = client.search_runs([client.get_experiment_by_name("jobs").experiment_id], order_by=["start_time ASC"])
    parent, *children = runs
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert sorted(child.data.tags["fit.reused"] for child in children) == ["false", "true"]
    trained = {child.data.tags["fit.run_id"] for child in children}
    assert len(trained) == 1 and trained < {child.info.run_id for child in children}
    for child in children:
        run_id = child.info.run_id
        assert "checkpoint/weights.npz" in [file.path for file in client.list_artifacts(run_id, "checkpoint")]
        assert len(client.get_metric_history(run_id, "snn/accuracy_at_step")) == 5
