"""Whom a run tells how it goes: its callbacks, and while it is logged its loggers."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snnpipe.base import signals
from snnpipe.base.errors import StorageError, UserError, one_line, reason
from snnpipe.protocols import Arrays, Callback, Logger, Status
from snnpipe.values.run import BatchProgress, FitProgress, ResumablePoint, RunState
from snnpipe.values.training_state import TrainingState


class RunLog:
    """Passes on what a run tells, to each callback and each logger that has been started.

    Parameters
    ----------
    callbacks, loggers
        Of the run.

    Attributes
    ----------
    started
        The loggers that take what is told: all of them from `start` to `end`, else none.
    reached
        The stage that the run is in.
    """

    def __init__(self, callbacks: Sequence[Callback], loggers: Sequence[Logger]):
        self.callbacks, self.loggers = callbacks, loggers
        self._missing: list[str] = []
        self.started: list[Logger] = []
        self.reached = ""

    def start(
        self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None, resumed: str | None
    ) -> None:
        """Open the run in every logger."""
        for logger in self.loggers:
            self.started.append(logger)
            logger.start(name, params, tags, parent, resumed)

    def end(self, status: Status, error: BaseException | None) -> list[Exception]:
        """Close the run in every logger, whatever happens to the others, and return what failed on the way."""
        failures: list[Exception] = []
        for logger in self.started:
            if error is not None:
                attempt(failures, logger.set_tag, "error", reason(error))
                attempt(failures, logger.set_tag, "error.mistake", str(isinstance(error, UserError)).lower())
            attempt(failures, logger.finalize, status)
        self.started = []
        return failures

    @property
    def address(self) -> dict[str, str]:
        """What a person needs to find the run again, by label, as the started loggers know it."""
        return {label: value for logger in self.started for label, value in logger.address.items()}

    def stage(self, stage: str) -> None:
        """Record how far the run has come."""
        self.reached = stage
        self.tag("stage_reached", stage)

    def tag(self, name: str, value: str) -> None:
        """Set or replace a tag."""
        for logger in self.started:
            logger.set_tag(name, value)

    def metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics, of a step if they have one."""
        for logger in self.started:
            logger.log_metrics(metrics, step)

    def artifact(self, path: Path, folder: str) -> None:
        """Record a file, under ``folder`` of the run's artifacts."""
        for logger in self.started:
            logger.log_artifact(path, folder)

    def tell(self, hook: str, *arguments: Any) -> None:
        """Call a hook of every callback."""
        for callback in self.callbacks:
            with self.going_on():
                getattr(callback, hook)(*arguments)

    def callbacks_by_name(self) -> Iterator[tuple[str, Callback]]:
        """Yield the callbacks, each by its class and how many of it came before."""
        seen: dict[str, int] = {}
        for callback in self.callbacks:
            name = type(callback).__name__
            yield f"{name} {seen.setdefault(name, 0)}", callback
            seen[name] += 1

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Where files cannot be written, warn, and go on without them: the run's metrics are worth more."""
        try:
            yield
        except StorageError as error:
            if not self.started:
                raise
            self.go_on_without(error)

    def go_on_without(self, error: StorageError) -> None:
        """Warn of a file that is missing, and record it."""
        self._missing.append(one_line(error))
        self.tag("files.missing", "; ".join(self._missing)[:5000])
        warnings.warn(f"{one_line(error)}; the run goes on without it", stacklevel=1)


class FitLog:
    """The callback sink of a training path: passes on what it tells, with points that the training can go on from.

    Parameters
    ----------
    log, state
        Of the run.
    fingerprint
        Of the training.
    resumed
        Where an earlier process was interrupted in it.
    """

    def __init__(self, log: RunLog, state: RunState, fingerprint: str, resumed: TrainingState | None):
        self._log, self._state = log, state
        self._fingerprint = fingerprint
        self.resumed = resumed
        self._history = list(resumed.history) if resumed else []
        self._step = 0

    def epoch_end(self, progress: FitProgress, arrays: Arrays | None = None) -> bool:
        """Report an epoch; return whether training shall stop."""
        state = self._state
        state.results.update(progress.metrics)
        self._log.metrics(progress.metrics, step=progress.epoch)
        self._log.tell("on_epoch_end", state, progress)
        self._history.append(progress.metrics)
        if arrays is not None:
            over = state.stop_training or progress.epoch == progress.epochs
            self._resumable(progress.epoch, 0, arrays, over=over)
        return state.stop_training

    def batch_end(self, progress: BatchProgress, arrays: Arrays | None = None) -> None:
        """Report a training batch."""
        self._log.tell("on_train_batch_end", self._state, progress)
        self._step = progress.epoch * progress.n_batches + progress.batch + 1
        if arrays is not None:
            self._resumable(progress.epoch, progress.batch + 1, arrays)

    def _resumable(self, epoch: int, batch: int, arrays: Arrays, *, over: bool = False) -> None:
        """Tell the callbacks of a point that another process could go on from; where a signal asks for it, end here."""

        def state() -> TrainingState:
            callbacks = {name: callback.state_dict() for name, callback in self._log.callbacks_by_name()}
            logged = dict(self._state.logged)
            return TrainingState(self._fingerprint, epoch, batch, [*self._history], over, arrays(), callbacks, logged)

        if self._log.started:
            self._log.tell("on_resumable_point", self._state, ResumablePoint(self._step, over, state))
        signals.check()


def attempt(failures: list[Exception], step: Callable[..., None], *arguments: Any) -> None:
    """Do one step of ending a run; where it fails, the other steps are done all the same."""
    try:
        step(*arguments)
    except Exception as failure:
        failures.append(failure)
