"""Shares trained networks through an MLflow store. The fingerprint of a training is its key.

Runs that need the same training at the same time agree through tags on which of them trains. Each run *claims* the
training with a number. The live run with the lowest claim trains, and the others wait for its checkpoint. A new claim
is one above all present claims, and a run that sees another run choose its number waits until that number is there.
This is Lamport's bakery algorithm (1974). It needs only a store that shows what was written. A claim is alive while its
run is ``RUNNING`` and its beat changes. So a killed run is skipped after a while, and the clocks of different machines
need not agree.
"""

import contextlib
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snnpipe.base.errors import CheckpointError, root_cause
from snnpipe.loggers.mlflow.search import search_runs
from snnpipe.loggers.mlflow.store import may_take_later
from snnpipe.loggers.mlflow.writes import MLflowWrites
from snnpipe.values.checkpoint import Checkpoint, EarlierFit

_FINGERPRINT, _SOURCE = "fit.fingerprint", "fit.run_id"
_STATE, _CLAIM, _BEAT = (f"mlflow.snnpipe.fit.{word}" for word in ("state", "claim", "beat"))
"""Tags that only snnpipe reads. MLflow's pages do not show tags with the prefix ``mlflow.``."""

_CHOOSING, _CLAIMED, _TRAINING, _DONE = "choosing", "claimed", "training", "done"
_BEAT_S = 4.0  # less than 5 s, after which MLflow's server closes an idle connection
_DEAD_AFTER_S = 30.0
_FIRST_POLL_S, _POLL_S = 0.1, 2.0
_FOLDER = "checkpoint"


class MLflowFits:
    """The trained networks of a store, as one run sees them.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    run_id
        Id of this run.
    writes
        Sends the run's tags, in order with its checkpoint.
    """

    def __init__(self, client: Any, run_id: str, writes: MLflowWrites):
        self._client = client
        self._run_id = run_id
        self._writes = writes
        self._beats: dict[str, tuple[str, float]] = {}

    @contextlib.contextmanager
    def shared(self, fingerprint: str) -> Iterator[EarlierFit | None]:
        """Yield an earlier training, or None if this run must train.

        If another run is doing the same training, this run waits for it first. If the store does not answer, or does
        not have this run's tags yet for others to see, the run trains by itself. The run must log its checkpoint within
        the block. When the block succeeds, other runs can use the checkpoint.
        """
        self._tag(_FINGERPRINT, fingerprint)
        with contextlib.ExitStack() as until_trained:
            earlier = None
            if not self._writes.waiting:
                try:
                    earlier = self._find(fingerprint) or self._wait_or_claim(fingerprint, until_trained)
                except Exception as error:
                    if not may_take_later(error):
                        raise
                    self._writes.doubt()
                    warnings.warn(
                        f"the tracking store does not answer, so the run trains by itself: {root_cause(error)[:200]}",
                        stacklevel=2,
                    )
            yield earlier
        self._tag(_SOURCE, earlier.run_id if earlier else self._run_id)
        self._writes.tag(_STATE, _DONE, of_files=True)

    def _wait_or_claim(self, fingerprint: str, until_trained: contextlib.ExitStack) -> EarlierFit | None:
        """Wait, and return another run's training once it is in the store, or None once this run may train."""
        until_trained.enter_context(self._beating())
        claim, pause, earlier = self._claim(fingerprint), _FIRST_POLL_S, None
        while self._waits(fingerprint, claim) and (earlier := self._find(fingerprint)) is None:
            time.sleep(pause)
            pause = min(2 * pause, _POLL_S)
        earlier = earlier or self._find(fingerprint)
        if earlier is None:
            self._tag(_STATE, _TRAINING)
        return earlier

    # ------------------------------------------------------------------ finished trainings

    def _find(self, fingerprint: str) -> EarlierFit | None:
        """Return the newest finished training with an undamaged checkpoint; None if there is none."""
        for run in self._runs(fingerprint, f"tags.`{_STATE}` = '{_DONE}'"):
            if run.info.run_id == self._run_id:
                continue
            try:
                with tempfile.TemporaryDirectory() as folder:
                    path = self._client.download_artifacts(run.info.run_id, _FOLDER, folder)
                    checkpoint = Checkpoint.load(Path(path))
            except Exception as error:  # the store may raise anything for this run, and still have the next
                what = error if isinstance(error, CheckpointError) else f"{type(error).__name__}: {error}"
                warnings.warn(f"the training of run {run.info.run_id} is skipped: {what}", stacklevel=2)
                continue
            return EarlierFit(run.data.tags.get(_SOURCE, run.info.run_id), checkpoint)
        return None

    def _runs(self, fingerprint: str, condition: str) -> Iterator[Any]:
        """Yield the runs with a fingerprint that meet another condition too, the newest first."""
        experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
        query = f"tags.`{_FINGERPRINT}` = '{fingerprint}' and {condition}"
        return search_runs(self._client, experiments, query, newest_first=True)

    # ------------------------------------------------------------------ which run trains

    def _claim(self, fingerprint: str) -> int:
        """Claim the training with a number above all present claims, and return the number."""
        self._tag(_STATE, _CHOOSING)
        claim = 1 + max((int(run.data.tags.get(_CLAIM, 0)) for run in self._others(fingerprint)), default=0)
        self._tag(_CLAIM, str(claim))
        self._tag(_STATE, _CLAIMED)
        return claim

    def _waits(self, fingerprint: str, claim: int) -> bool:
        """Whether this run must wait: whether another live run trains the same, comes first, or may come first."""
        for run in self._others(fingerprint):
            tags = run.data.tags
            lower = (int(tags.get(_CLAIM, 0)), run.info.run_id) < (claim, self._run_id)
            if (tags[_STATE] != _CLAIMED or lower) and self._alive(run):
                return True
        return False

    def _others(self, fingerprint: str) -> list[Any]:
        """Return the other running runs that need this training and do not have it yet."""
        runs = self._runs(fingerprint, f"tags.`{_STATE}` != '{_DONE}' and attributes.status = 'RUNNING'")
        return [run for run in runs if run.info.run_id != self._run_id]

    def _alive(self, run: Any) -> bool:
        """Whether a run's beat has changed recently, by this machine's clock."""
        beat, now = run.data.tags.get(_BEAT, ""), time.monotonic()
        last, since = self._beats.get(run.info.run_id, (None, now))
        if beat != last:
            self._beats[run.info.run_id] = beat, now
            return True
        return now - since < _DEAD_AFTER_S

    @contextlib.contextmanager
    def _beating(self) -> Iterator[None]:
        """Within the block, change the run's beat every few seconds."""
        over = threading.Event()

        def beat() -> None:
            n = 0
            while True:
                with contextlib.suppress(Exception):  # the store may be away for a moment: the next beat may reach it
                    self._client.set_tag(self._run_id, _BEAT, str(n))
                if over.wait(_BEAT_S):
                    return
                n += 1

        thread = threading.Thread(target=beat, name="snnpipe-fit-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_BEAT_S)  # a beat that hangs may still arrive later, and does no harm then

    def _tag(self, name: str, value: str) -> None:
        self._writes.tag(name, value)
