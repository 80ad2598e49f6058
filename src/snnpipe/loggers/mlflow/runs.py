"""Finds runs in an MLflow store that another process can continue."""

import re
import shlex
from typing import Any

from snnpipe.base.errors import LoggingError
from snnpipe.base.masking import mask
from snnpipe.loggers.mlflow.search import search_runs
from snnpipe.loggers.mlflow.sweeps import OUTPUT_DIR, PARENT_TAG, RUN_TAG
from snnpipe.values.run import EarlierRun


class MLflowRuns:
    """The runs of an experiment.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    experiment_id
        Id of the experiment.
    """

    def __init__(self, client: Any, experiment_id: str):
        self._client = client
        self._experiment_id = experiment_id

    def earlier(self, run_id: str | None, fingerprint: str, parent: str | None) -> EarlierRun | None:
        """Return the run with this id; without an id, the newest unfinished run with this fingerprint.

        An id is MLflow's, or the value of the run's tag ``run.id``. With ``parent``, a search for a fingerprint covers
        only runs under that parent run. None if there is no such run.

        Raises
        ------
        LoggingError
            If the id has the form of an MLflow id, and there is no such run or it was deleted.
        """
        if run_id is None:
            under = f" and tags.`{PARENT_TAG}` = '{parent}'" if parent else ""
            query = f"tags.`{RUN_TAG}` = '{fingerprint}' and attributes.status != 'FINISHED'{under}"
            run = next(self._search(query), None)
        elif re.fullmatch("[0-9a-f]{32}", run_id):
            run = self._by_mlflow_id(run_id)
        else:
            run = next(self._search(f"tags.`run.id` = '{run_id}'"), None)
        return None if run is None else _earlier(run)

    def _search(self, query: str) -> Any:
        return search_runs(self._client, [self._experiment_id], query, newest_first=True)

    def _by_mlflow_id(self, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            raise LoggingError(
                f"run_id: got {run_id}, and this store has no such run: `python -m snnpipe.review` shows those it has; "
                "a word of your own names a new run"
            ) from error
        if run.info.lifecycle_stage != "active":
            store = shlex.quote(mask(self._client.tracking_uri))
            raise LoggingError(
                f"run_id: got {run_id}, a run that was deleted in this store: "
                f"`MLFLOW_TRACKING_URI={store} mlflow runs restore --run-id {run_id}` brings it back; "
                "leave run_id out to begin a new run, or name one with a word of your own"
            )
        return run


def _earlier(run: Any) -> EarlierRun:
    return EarlierRun(
        run_id=run.info.run_id,
        output_dir=run.data.params.get(OUTPUT_DIR, ""),
        fingerprint=run.data.tags.get(RUN_TAG, ""),
        finished=run.info.status == "FINISHED",
        metrics=dict(run.data.metrics),
        content=dict(run.data.tags),
    )
