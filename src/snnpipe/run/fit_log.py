"""The callback sink of a training path."""

from typing import Any

from snnpipe.base import signals
from snnpipe.protocols import Arrays
from snnpipe.run.log import RunLog
from snnpipe.run.watch import RESUMED, Watch
from snnpipe.values.run import BatchProgress, FitProgress, ResumablePoint
from snnpipe.values.training_state import TrainingState


class FitLog:
    """The callback sink of a training path. It passes on the progress, and the points to resume training from.

    Parameters
    ----------
    log
        Log of the run.
    fingerprint
        Fingerprint of the training.
    resumed
        State in which an earlier process was interrupted; None for a new training.
    watch
        Tells the callbacks, and notices what they change.
    """

    def __init__(self, log: RunLog, fingerprint: str, resumed: TrainingState | None, watch: Watch):
        self._log = log
        self._watch = watch
        self._fingerprint = fingerprint
        self.resumed = resumed
        self._history = list(resumed.history) if resumed else []
        self._step = 0

    def epoch_end(self, progress: FitProgress, arrays: Arrays | None = None) -> bool:
        """Report an epoch, and return whether training should stop."""
        state = self._log.state
        self._log.record(progress.metrics, step=progress.epoch)
        self._watch.tell("on_epoch_end", progress)
        self._history.append(progress.metrics)
        if arrays is not None:
            over = state.stop_training or progress.epoch == progress.epochs
            self._resumable(progress.epoch, 0, arrays, over=over)
        return state.stop_training

    def batch_end(self, progress: BatchProgress, arrays: Arrays | None = None) -> None:
        """Report a training batch."""
        self._watch.tell("on_train_batch_end", progress)
        self._step = progress.epoch * progress.n_batches + progress.batch + 1
        if arrays is not None:
            self._resumable(progress.epoch, progress.batch + 1, arrays)

    def _resumable(self, epoch: int, batch: int, arrays: Arrays, *, over: bool = False) -> None:
        """Report to the callbacks that another process could resume here. End the run here if a signal asks for it."""

        def state() -> TrainingState:
            callbacks: dict[str, Any] = {name: own.state_dict() for name, own in self._log.callbacks_by_name()}
            if self._watch.changes:
                callbacks[RESUMED] = self._watch.changes
            logged = dict(self._log.state.callback_metrics)
            return TrainingState(self._fingerprint, epoch, batch, [*self._history], over, arrays(), callbacks, logged)

        if self._log.started:
            self._watch.tell("on_resumable_point", ResumablePoint(self._step, over, state))
        signals.check()
