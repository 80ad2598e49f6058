"""The runs of a multi-run in an MLflow store: a parent run, and a child run for each job."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from snnpipe.loggers.mlflow.search import search_runs
from snnpipe.values.metric import specs_of
from snnpipe.values.run import SweepJob

PARENT_TAG, SWEEP_TAG, RUN_TAG = "mlflow.parentRunId", "sweep.fingerprint", "run.fingerprint"
_OVERRIDES_TAG = "sweep.overrides"
_SIMULATED_BY_TAG = "simulation.run_id"
OUTPUT_DIR = "paths.output_dir"
_ORDER = ("sweep.job", "sweep.duration")
_NUMBER_TAG = "sweep.number"
_CONTENT = ".digest"


def sweep_fingerprint(overrides: Sequence[str]) -> str:
    """Return a digest of a multi-run's overrides."""
    return hashlib.sha256(json.dumps(list(overrides)).encode()).hexdigest()[:32]


class MLflowSweeps:
    """The multi-runs of a store.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    """

    def __init__(self, client: Any):
        self._client = client

    def newest(self, experiment_id: str, identity: str) -> str | None:
        """Return the id of the newest parent run with this fingerprint; None if there is none."""
        query = f"tags.`{SWEEP_TAG}` = '{identity}'"
        run = next(search_runs(self._client, [experiment_id], query, newest_first=True), None)
        return None if run is None else str(run.info.run_id)

    def reopen(self, parent: str) -> None:
        """Mark a parent run as running again, and its child runs that a killed process left running as killed."""
        self.end_killed(self._client.get_run(parent).info.experiment_id, parent)
        self._client.update_run(parent, status="RUNNING")

    def end_killed(self, experiment_id: str, parent: str) -> None:
        """Mark child runs that the store has as running, but whose process is gone, as killed."""
        self._end(self._children(experiment_id, parent))

    def end_earlier(self, experiment_id: str, parent: str, tags: Mapping[str, str]) -> None:
        """Mark earlier attempts at a job as killed. The job begins again, so their processes are gone."""
        same = "".join(f" and tags.`{name}` = '{tags[name]}'" for name in _ORDER if name in tags)
        overrides = tags.get(_OVERRIDES_TAG)
        children = self._children(experiment_id, parent, same)
        self._end(run for run in children if run.data.tags.get(_OVERRIDES_TAG) == overrides)

    def _end(self, runs: Iterable[Any]) -> None:
        for child in runs:
            if child.info.status == "RUNNING":
                self._client.set_tag(child.info.run_id, "error", "its process was killed")
                self._client.set_terminated(child.info.run_id, status="KILLED")

    def jobs(self, experiment_id: str, parent: str) -> list[SweepJob]:
        """Return the jobs under a parent run in their order. A job that ran more than once has its latest result."""
        latest: dict[str, Any] = {}
        for run in self._children(experiment_id, parent):
            key = run.data.tags.get(_OVERRIDES_TAG, run.info.run_id)
            if (
                key not in latest
                or run.info.status == "FINISHED"
                or latest[key].info.status != "FINISHED"
                or (_other_content(latest[key], run))
            ):
                latest[key] = run
        ordered = sorted(latest.values(), key=lambda run: [int(run.data.tags.get(tag, 0)) for tag in _ORDER])
        return [_job(run) for run in ordered]

    def finished(
        self, experiment_id: str, parent: str, fingerprint: str, content: Mapping[str, str]
    ) -> SweepJob | None:
        """Return the finished job with this fingerprint and these content tags under a parent run; None if none has."""
        for run in self._children(experiment_id, parent, f" and tags.`{RUN_TAG}` = '{fingerprint}'"):
            if run.info.status == "FINISHED" and content.items() <= run.data.tags.items():
                return _job(run)
        return None

    def _children(self, experiment_id: str, parent: str, further: str = "") -> Iterator[Any]:
        return search_runs(self._client, [experiment_id], f"tags.`{PARENT_TAG}` = '{parent}'{further}")


def _other_content(earlier: Any, later: Any) -> bool:
    """Whether a later run was begun with other data, weights or source than an earlier one."""
    one, other = (
        {name: value for name, value in run.data.tags.items() if name.endswith(_CONTENT)} for run in (earlier, later)
    )
    return bool(other) and one != other


def _job(run: Any) -> SweepJob:
    tags, finished = run.data.tags, run.info.status == "FINISHED"
    return SweepJob(
        overrides=json.loads(tags.get(_OVERRIDES_TAG, "[]")),
        metrics=dict(run.data.metrics) if finished else None,
        error="" if finished else tags.get("error", f"its run is {run.info.status}"),
        mistake=tags.get("error.mistake") == "true",
        run_id=run.info.run_id,
        output_dir="" if _SIMULATED_BY_TAG in tags else run.data.params.get(OUTPUT_DIR, ""),
        number=int(tags.get(_NUMBER_TAG, 0)),
        specs=specs_of(tags),
    )
