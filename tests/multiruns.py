"""What tests of multi-runs share: quick jobs, and what they leave behind."""

import time
from pathlib import Path

FAST = ("debug=fast", "model=mlp", "model.units=[8]", "callbacks=none")
SLOW_JOBS = (*FAST, "training.epochs=40", "data.max_train_images=1400", "conversion.scale_firing_rates=1,20,50")

OF_THE_MACHINE = {"fit/images_per_s", "simulate/images_per_s", "simulate/peak_memory_mb", "diagnosis/seconds"}
"""Metrics that two runs of the same configuration need not share."""


def client_of(folder: Path, mlruns: str = "mlruns"):
    """Return a client of the store in a folder."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{folder}/{mlruns}/mlflow.db")


def runs_of(folder: Path) -> tuple[list, list]:
    """Return the parent runs and the child runs of a store, the oldest first."""
    runs = client_of(folder).search_runs(["1"], order_by=["start_time ASC"])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in children], children


def table_of(out: str) -> list[str]:
    """Return the lines of the closing table's jobs."""
    return out.rpartition("SynOps per sample\n")[2].partition("\n--")[0].splitlines()


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
