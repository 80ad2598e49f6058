"""The log of a run, which passes events to its callbacks and, while the run is logged, records to its loggers."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snnpipe import __version__
from snnpipe.artifacts.drawing import DrawnAside
from snnpipe.artifacts.environment import git_commit
from snnpipe.base import signals
from snnpipe.base.errors import LoggingError, StorageError, UserError, one_line, reason
from snnpipe.callbacks.run_files import RunFiles
from snnpipe.metrics.measurements import require_own
from snnpipe.metrics.series import step_series
from snnpipe.protocols import Callback, Logger, Status
from snnpipe.settings.describe import flatten
from snnpipe.values.data import DataSpec
from snnpipe.values.metric import tags_of
from snnpipe.values.run import RunState


class RunLog:
    """Passes events to each callback, and records to each started logger.

    Parameters
    ----------
    callbacks, loggers
        Callbacks and loggers of the run.

    Attributes
    ----------
    state
        The state of the run that callbacks see.
    pictures
        Draws the callbacks' pictures.
    started
        The loggers that accept records: all of them between `start` and `end`, otherwise none.
    was_started
        Whether the loggers have been opened, even if they are closed again.
    reached
        The stage that the run has reached.
    """

    state: RunState

    def __init__(self, callbacks: Sequence[Callback], loggers: Sequence[Logger]):
        self.callbacks, self.loggers = callbacks, loggers
        self.pictures = DrawnAside(self.artifact)
        self._files = RunFiles()
        self._missing: list[str] = []
        self.started: list[Logger] = []
        self.was_started = False
        self.reached = ""

    @property
    def ending_the_fit(self) -> list[Callback]:
        """The callbacks that can end a training, which are therefore part of its identity."""
        return [callback for callback in self.callbacks if callback.changes_fit]

    def start(self, name: str, tags: Mapping[str, str], parent: str | None, resumed: str | None) -> None:
        """Open the run in every logger. The configuration is logged as parameters."""
        tags = {**tags, "snnpipe.version": __version__, "stage_reached": "prepare"} | tags_of(self.state.specs)
        if commit := git_commit():
            tags["git.commit"] = self.state.commit = commit
        for logger in self.loggers:
            self.started.append(logger)
            logger.start(name, flatten(self.state.config), tags, parent, resumed)
        self.was_started, self.state.is_logged = True, bool(self.started)
        self.state.run_id = self.address.get("run id", "")

    def end(self, error: BaseException | None) -> list[Exception]:
        """Close the run in every logger, even if some of them fail, and return the failures.

        Parameters
        ----------
        error
            Error that ended the run early, which the callbacks receive first; None if the run completed.
        """
        failures: list[Exception] = []
        status: Status = "FINISHED"
        if error is not None:
            stopped = signals.pending() or isinstance(error, (KeyboardInterrupt, SystemExit))
            status = "KILLED" if stopped else "FAILED"
            self._exception(error)
        attempt(failures, self._finish_pictures)
        for logger in self.started:
            if error is not None:
                attempt(failures, logger.set_tag, "error", reason(error))
                attempt(failures, logger.set_tag, "error.mistake", str(isinstance(error, UserError)).lower())
            attempt(failures, logger.finalize, status)
        self.started = []
        self.state.is_logged = False
        return failures

    @property
    def address(self) -> dict[str, str]:
        """The labels and values by which a person can find the run again, from the started loggers."""
        return {label: value for logger in self.started for label, value in logger.address.items()}

    def stage(self, stage: str) -> None:
        """Record the stage that the run has reached."""
        self.reached = stage
        if stage == "convert" and self.started:  # pictures follow
            self.pictures.begin()
        self.tag("stage_reached", stage)

    def tag(self, name: str, value: str) -> None:
        """Set or replace a tag."""
        for logger in self.started:
            logger.set_tag(name, value)

    def params(self, params: Mapping[str, Any]) -> None:
        """Record parameters that are known only now, in the loggers that accept them."""
        for logger in self.started:
            if (log_params := getattr(logger, "log_params", None)) is not None:
                log_params(params)

    def record(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics, with their step if they have one, and add them to the run's results."""
        self.state.results.update(metrics)
        for logger in self.started:
            logger.log_metrics(metrics, step)

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record a callback's own metric (`snnpipe.values.run.RunState.log_metric`)."""
        if not self.reached:
            raise LoggingError(f"log_metric({name!r}): nothing is logged yet: log from on_fit_start on")
        own = {name: require_own(name, value, step, self.state.specs)}
        if self.reached in ("fit", "convert"):
            self.state.callback_metrics |= own
        self.record(own, step)

    def curves(self, curves: Mapping[str, Sequence[float]], n_steps: int, dt: float) -> None:
        """Record metrics that have a value at every simulation step."""
        for logger in self.started:
            for name, values, first in step_series(curves, n_steps, dt):
                logger.log_series(name, values, first)

    def dataset(self, spec: DataSpec) -> None:
        """Record which dataset the run uses."""
        for logger in self.started:
            logger.log_dataset(spec)

    def artifact(self, path: Path, folder: str) -> None:
        """Record a file in ``folder``, which is relative to the run's artifacts."""
        for logger in self.started:
            logger.log_artifact(path, folder)

    def begin(self, stage: str, images: int = 0) -> None:
        """Announce a stage that takes time, and its number of images."""
        self.tell("on_stage_start", stage, images)

    def tell(self, hook: str, *arguments: Any) -> None:
        """Call a hook of every callback with the run's state."""
        for _ in self.tell_each(hook, *arguments):
            pass

    def tell_each(self, hook: str, *arguments: Any) -> Iterator[Callback]:
        """Call a hook of every callback with the run's state, and yield each afterwards."""
        for callback in (self._files, *self.callbacks):
            with self.going_on():
                if (own := getattr(callback, hook, None)) is not None:  # one without the base may lack a newer hook
                    own(self.state, *arguments)
            yield callback

    def evaluated(self) -> None:
        """Tell every callback that the results are there, and wait for the pictures."""
        try:
            self.tell("on_evaluate_end")
        except BaseException:
            self.pictures.finish()
            raise
        self._finish_pictures()

    def _finish_pictures(self) -> None:
        """Wait for all pictures. One that cannot be written is left out; a fault in drawing is raised."""
        problems = self.pictures.finish()
        for problem in sorted(problems, key=lambda one: not isinstance(one, StorageError)):
            with self.going_on():
                raise problem

    def require(self, hook: str) -> None:
        """Call a hook of every callback. A file that cannot be written ends the run."""
        for callback in (self._files, *self.callbacks):
            getattr(callback, hook)(self.state)

    def _exception(self, error: BaseException) -> None:
        """Pass the error that ends the run to the callbacks. Their own failures become notes on this error."""
        failures: list[Exception] = []
        for callback in (*self.callbacks, self._files):
            attempt(failures, callback.on_exception, self.state, error)
        for failure in failures:
            error.add_note(f"and while the run was being ended: {type(failure).__name__}: {one_line(failure)}")

    def callbacks_by_name(self) -> Iterator[tuple[str, Callback]]:
        """Yield the callbacks, each named by its class and the number of callbacks of that class before it."""
        seen: dict[str, int] = {}
        for callback in self.callbacks:
            name = type(callback).__name__
            yield f"{name} {seen.setdefault(name, 0)}", callback
            seen[name] += 1

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """In a logged run, warn of a file that cannot be written and continue, because the metrics are worth more."""
        try:
            yield
        except StorageError as error:
            if not self.started:
                raise
            self.go_on_without(error)

    def go_on_without(self, error: StorageError) -> None:
        """Warn about a missing file, and record it."""
        self._missing.append(one_line(error))
        self.tag("files.missing", "; ".join(self._missing)[:5000])
        warnings.warn(f"{one_line(error)}; the run goes on without it", stacklevel=1)


def attempt(failures: list[Exception], step: Callable[..., None], *arguments: Any) -> None:
    """Do one step of ending a run, and collect its failure so that the other steps are done in any case."""
    try:
        step(*arguments)
    except Exception as failure:
        failures.append(failure)
