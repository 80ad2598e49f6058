"""Trained networks are found again in a store by their fingerprint, and trained once."""

import threading
import time

import pytest

from snnpipe import MLflowLogger
from snnpipe.loggers.mlflow import fits as mlflow_fits
from snnpipe.testing import SPEC
from snnpipe.values.checkpoint import Checkpoint


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Make runs of a fresh store, which is quick to give up on those that are silent."""
    for name, value in (("_POLL_S", 0.1), ("_BEAT_S", 0.2), ("_DEAD_AFTER_S", 2.0)):
        monkeypatch.setattr(mlflow_fits, name, value)

    def run() -> MLflowLogger:
        logger = MLflowLogger(folder=str(tmp_path / "mlruns"))
        logger.start("run", {}, {})
        return logger

    return run


def keep(logger: MLflowLogger, folder, value: float) -> None:
    """Log a checkpoint of one weight."""
    import numpy as np

    for path in sorted(Checkpoint({"w": np.array([value])}, 1, {"fit/loss": value}).save(folder).iterdir()):
        logger.log_artifact(path, "checkpoint")


def test_a_training_is_found_by_its_fingerprint(store, tmp_path):
    first, second = store(), store()
    with first.shared_fit("a") as found:
        assert found is None
        keep(first, tmp_path / "one", 3.0)
    with second.shared_fit("b") as found:
        assert found is None
        keep(second, tmp_path / "two", 4.0)
    with store().shared_fit("a") as found:
        assert found.run_id == first._run_id
        assert found.checkpoint.weights["w"].tolist() == [3.0]
        assert found.checkpoint.metrics == {"fit/loss": 3.0}


def test_who_takes_a_training_names_the_run_that_trained(store, tmp_path):
    first, second, third = store(), store(), store()
    with first.shared_fit("a"):
        keep(first, tmp_path / "one", 3.0)
    with second.shared_fit("a"):
        keep(second, tmp_path / "one", 3.0)
    with third.shared_fit("a") as found:
        assert found.run_id == first._run_id
        keep(third, tmp_path / "one", 3.0)
    assert third._client.get_run(third._run_id).data.tags["fit.run_id"] == first._run_id


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(store, tmp_path):
    first, second = store(), store()
    for logger, value in ((first, 3.0), (second, 4.0)):
        with logger.shared_fit("a" if logger is first else "other"):
            keep(logger, tmp_path / str(value), value)
    second.set_tag("fit.fingerprint", "a")
    (damaged,) = (tmp_path / "mlruns" / "artifacts").glob(f"{second._run_id}/**/weights.npz")
    damaged.write_bytes(damaged.read_bytes()[:-30])
    with pytest.warns(UserWarning, match="skipped.*damaged"), store().shared_fit("a") as found:
        assert found.checkpoint.weights["w"].tolist() == [3.0]


def test_of_two_at_once_one_trains_and_the_other_waits_for_it(store, tmp_path):
    trained, taken = [], []

    def need(n: int, logger: MLflowLogger) -> None:
        with logger.shared_fit("a") as found:
            if found is None:
                trained.append(n)
                time.sleep(1)
            else:
                taken.append(found.checkpoint.weights["w"].tolist())
            keep(logger, tmp_path / str(n), 5.0)

    loggers = [store() for _ in range(3)]
    threads = [threading.Thread(target=need, args=item) for item in enumerate(loggers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(trained) == 1
    assert taken == [[5.0], [5.0]]


def test_a_training_that_fails_is_taken_over(store, tmp_path):
    first, second = store(), store()
    with pytest.raises(ZeroDivisionError), first.shared_fit("a"):
        raise ZeroDivisionError
    first.finalize("FAILED")
    with second.shared_fit("a") as found:
        assert found is None
        keep(second, tmp_path / "two", 1.0)


def test_a_training_whose_process_was_killed_is_taken_over(store, tmp_path):
    killed, second = store(), store()
    for tag, value in ((mlflow_fits._STATE, "training"), (mlflow_fits._CLAIM, "1"), (mlflow_fits._BEAT, "7")):
        killed.set_tag(tag, value)
    killed.set_tag("fit.fingerprint", "a")
    began = time.monotonic()
    with second.shared_fit("a") as found:
        assert found is None
        keep(second, tmp_path / "two", 1.0)
    assert time.monotonic() - began >= mlflow_fits._DEAD_AFTER_S


@pytest.mark.slow
def test_a_run_takes_an_earlier_runs_training_unless_told_not_to(command, tmp_path):
    from mlflow import MlflowClient

    fast = ("debug=fast", "model=mlp", "model.units=[8]", "logger=mlflow", "callbacks=none")
    for further in ((), ("conversion.synapse=0.02", "simulator.n_steps=7"), ("training.reuse=false",)):
        result = command(*fast, *further)
        assert result.code == 0, result.err
        assert ("training.reuse=false trains anew" in result.out) == (further[:1] == ("conversion.synapse=0.02",))
    client = MlflowClient("sqlite:///mlruns/mlflow.db")
    runs = client.search_runs(["1"], order_by=["start_time ASC"])
    reused = [run.data.tags.get("fit.reused") for run in runs]
    assert reused == ["false", "true", "false"]
    assert runs[1].data.tags["fit.run_id"] == runs[0].info.run_id
    assert {run.data.metrics["fit/accuracy"] for run in runs} == {runs[0].data.metrics["fit/accuracy"]}
    assert runs[1].data.metrics["ann/test_accuracy"] == runs[0].data.metrics["ann/test_accuracy"]


@pytest.mark.long  # 15 s
def test_two_processes_that_need_the_same_training_train_once(process, tmp_path):
    from mlflow import MlflowClient

    fast = ("debug=fast", "model=mlp", "model.units=[8]", "logger=mlflow", "callbacks=none")
    started = [process(*fast, f"conversion.scale_firing_rates={scale}") for scale in (10, 50)]
    for running in started:
        out, err = running.communicate(timeout=300)
        assert running.returncode == 0, err
    client = MlflowClient(f"sqlite:///{tmp_path}/process/mlruns/mlflow.db")
    runs = client.search_runs(["1"])
    assert sorted(run.data.tags["fit.reused"] for run in runs) == ["false", "true"]


def test_first_runs_at_once_lose_nothing(tmp_path):
    from mlflow import MlflowClient

    failures = []
    together = threading.Barrier(8)

    def run(n: int) -> None:
        logger = MLflowLogger(folder=str(tmp_path / "mlruns"))
        try:
            logger.start(f"run {n}", {"n": n}, {})
            together.wait(60)
            logger.log_dataset(SPEC)
            logger.log_metrics({"fit/loss": float(n)}, step=1)
            logger.finalize("FINISHED")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    runs = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db").search_runs(["1"])
    assert sorted(run.data.metrics["fit/loss"] for run in runs) == [float(n) for n in range(8)]
    assert all(run.inputs.dataset_inputs[0].dataset.name == SPEC.name for run in runs)
