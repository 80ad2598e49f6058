"""Trained networks in an MLflow store, each found by the fingerprint of its training.

Runs that need the same training at the same time agree by tags on who trains: each *claims* it, the earliest claim
that is alive trains, and the others wait for its checkpoint. A claim is alive while its run is ``RUNNING`` and its
beat changes; so a killed run is passed over after a while, and clocks of different machines need not agree.
"""

import contextlib
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snnpipe.checkpoint import Checkpoint, EarlierFit
from snnpipe.errors import CheckpointError
from snnpipe.loggers.mlflow_search import search_runs

_FINGERPRINT, _STATE, _SOURCE = "fit.fingerprint", "fit.state", "fit.run_id"
_CLAIM, _BEAT = "fit.claimed_at", "fit.beat"
_CLAIMED, _TRAINING, _DONE = "claimed", "training", "done"
_BEAT_S = 5.0
_DEAD_AFTER_S = 30.0
_SETTLE_S = 0.5
_POLL_S = 2.0
_FOLDER = "checkpoint"


class MLflowFits:
    """The trained networks of a store, as one run sees them.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    run_id
        The run's own.
    """

    def __init__(self, client: Any, run_id: str):
        self._client = client
        self._run_id = run_id
        self._beats: dict[str, tuple[str, float]] = {}

    @contextlib.contextmanager
    def shared(self, fingerprint: str) -> Iterator[EarlierFit | None]:
        """Yield an earlier training, or None where this run is the one to train.

        Where another run trains the same just now, this one waits for it first. The run's checkpoint is to be logged
        within the block: when it ends well, others take it.
        """
        self._tag(_FINGERPRINT, fingerprint)
        found = self._find(fingerprint)
        if found is None:
            with self._beating():
                self._tag(_CLAIM, f"{time.time_ns():020d}")
                self._tag(_STATE, _CLAIMED)
                time.sleep(_SETTLE_S)
                while self._waits(fingerprint):
                    time.sleep(_POLL_S)
                found = self._find(fingerprint)
                if found is None:
                    self._tag(_STATE, _TRAINING)
                yield found
        else:
            yield found
        self._tag(_SOURCE, found.run_id if found else self._run_id)
        self._tag(_STATE, _DONE)

    # ------------------------------------------------------------------ what is there

    def _find(self, fingerprint: str) -> EarlierFit | None:
        """Return the newest training whose checkpoint is whole."""
        for run in self._runs(fingerprint, _DONE):
            if run.info.run_id == self._run_id:
                continue
            try:
                with tempfile.TemporaryDirectory() as folder:
                    path = self._client.download_artifacts(run.info.run_id, _FOLDER, folder)
                    checkpoint = Checkpoint.load(Path(path))
            except Exception as error:  # whatever the store raises: it cannot be had, and the next one may
                what = error if isinstance(error, CheckpointError) else f"{type(error).__name__}: {error}"
                warnings.warn(f"the training of run {run.info.run_id} is passed over: {what}", stacklevel=2)
                continue
            return EarlierFit(run.data.tags.get(_SOURCE, run.info.run_id), checkpoint)
        return None

    def _runs(self, fingerprint: str, *states: str) -> Iterator[Any]:
        experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
        for state in states:
            query = f"tags.`{_FINGERPRINT}` = '{fingerprint}' and tags.`{_STATE}` = '{state}'"
            yield from search_runs(self._client, experiments, query, newest_first=True)

    # ------------------------------------------------------------------ who trains

    def _waits(self, fingerprint: str) -> bool:
        """Whether another run trains the same, or claimed it sooner and is alive."""
        mine = (self._client.get_run(self._run_id).data.tags[_CLAIM], self._run_id)
        for run in self._runs(fingerprint, _CLAIMED, _TRAINING):
            tags = run.data.tags
            first = tags[_STATE] == _TRAINING or (tags.get(_CLAIM, ""), run.info.run_id) < mine
            if run.info.run_id != self._run_id and run.info.status == "RUNNING" and first and self._alive(run):
                return True
        return False

    def _alive(self, run: Any) -> bool:
        """Whether a run's beat has changed lately, by this machine's clock."""
        beat, now = run.data.tags.get(_BEAT, ""), time.monotonic()
        last, since = self._beats.get(run.info.run_id, (None, now))
        if beat != last:
            self._beats[run.info.run_id] = beat, now
            return True
        return now - since < _DEAD_AFTER_S

    @contextlib.contextmanager
    def _beating(self) -> Iterator[None]:
        """Change the run's beat every few seconds."""
        over = threading.Event()

        def beat() -> None:
            n = 0
            while True:
                with contextlib.suppress(Exception):  # a store that is gone for a moment: the next beat may reach it
                    self._tag(_BEAT, str(n))
                if over.wait(_BEAT_S):
                    return
                n += 1

        thread = threading.Thread(target=beat, name="snnpipe-fit-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _tag(self, name: str, value: str) -> None:
        self._client.set_tag(self._run_id, name, value)
