"""Finds the run that is active in MLflow when a snnpipe run begins, as within ``with mlflow.start_run():``."""

import sys
from dataclasses import dataclass

from snnpipe.loggers.mlflow.store import SQLITE, sqlite_file, without_user


@dataclass(frozen=True)
class ActiveRun:
    """A run that the user has started. snnpipe does not end it.

    Attributes
    ----------
    run_id, experiment_id
        Ids of the run and its experiment.
    store
        Address of the store that MLflow's functions log to.
    """

    run_id: str
    experiment_id: str
    store: str

    def is_in(self, uri: str) -> bool:
        """Whether the run is in the store at this address."""
        if uri.startswith(SQLITE) and self.store.startswith(SQLITE):
            return sqlite_file(uri).resolve() == sqlite_file(self.store).resolve()
        return without_user(uri).rstrip("/") == without_user(self.store).rstrip("/")


def active_run() -> ActiveRun | None:
    """Return this thread's active run; None if there is none, or if MLflow has not been imported."""
    mlflow = sys.modules.get("mlflow")
    run = mlflow.active_run() if mlflow is not None and hasattr(mlflow, "active_run") else None
    if mlflow is None or run is None:
        return None
    return ActiveRun(run.info.run_id, run.info.experiment_id, mlflow.get_tracking_uri())
