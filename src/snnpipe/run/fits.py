"""A run's training, which begins, is resumed, or is taken from an earlier run."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from snnpipe.base.errors import StorageError
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.protocols import DataModule, TrainingPath
from snnpipe.run.content import Content, model_digest
from snnpipe.run.fingerprint import fit_fingerprint
from snnpipe.run.fit_log import FitLog
from snnpipe.run.log import RunLog
from snnpipe.run.watch import RESUMED, Watch
from snnpipe.settings.describe import describe
from snnpipe.values.checkpoint import Checkpoint, EarlierFit
from snnpipe.values.result import RunResult, UnsavedWeightsError
from snnpipe.values.training_state import TrainingStates

if TYPE_CHECKING:
    import tf_keras


class Fit:
    """Trains a run's model, or applies an equal training of an earlier run, and saves the weights.

    Parameters
    ----------
    log
        Log of the run.
    training, data
        Training path and data of the run.
    output_dir
        Folder of the run's files.
    resumes
        Name of the resumed run, for messages; None if the run is new.
    """

    def __init__(
        self, log: RunLog, training: TrainingPath, data: DataModule, output_dir: Path, resumes: str | None = None
    ):
        self._log, self._training, self._data = log, training, data
        self._folder = output_dir
        self._states = TrainingStates(output_dir)
        self._resumes = resumes
        self._unsaved: Checkpoint | None = None
        self._again = False

    def run(self, model: "tf_keras.Model | NativeNetwork", content: Callable[[], Content]) -> Checkpoint:
        """Train a model in place and return its checkpoint. A logged run also writes it to ``checkpoint/``.

        Parameters
        ----------
        model
            Model to train, untrained or trained by an earlier call.
        content
            Function that returns the digests of the run's content. It is called only if the run is logged.
        """
        fingerprint = self._fingerprint(model, content()) if self._log.started else ""
        self._again = True
        state = self._log.state
        state.stop_training, self._unsaved = False, None
        try:
            with self._shared(fingerprint, content) as earlier:
                state.trained_by = earlier.run_id if earlier else ""
                watch = Watch(self._log)
                n = self._data.spec.n_train if getattr(self._training, "trains", True) else 0
                watch.tell("on_stage_start", "fit", n)
                watch.tell("on_fit_start")
                if earlier is None:
                    checkpoint = self._training.fit(model, self._data, self._sink(fingerprint, watch))
                    checkpoint.require_finite()
                    self._keep_to_itself(watch.problem())
                else:
                    if names := watch.uncalled():
                        warnings.warn(
                            f"the training of run {earlier.run_id} is taken, without the epochs of callback {names}: "
                            "training.reuse=false trains anew; a callback that changes training has changes_fit = True",
                            stacklevel=1,
                        )
                    checkpoint = earlier.checkpoint
                    checkpoint.apply(model, f"the training of run {earlier.run_id}")
                    self._say_where("after its training")
                    self._log.record(checkpoint.metrics, step=checkpoint.epochs)
                self._log.tag("fit.reused", str(earlier is not None).lower())
                self._unsaved = checkpoint if self._log.started else None
                self.save()
        except StorageError as error:  # without saved weights, other runs cannot take this training
            if self._unsaved is None:
                raise
            self._log.go_on_without(error)
        self._log.tell("on_fit_end")
        return checkpoint

    def save(self) -> None:
        """Save the trained weights, unless they are saved already.

        Raises
        ------
        StorageError
            If the weights cannot be written.
        """
        if self._unsaved is not None:
            for path in sorted(self._unsaved.save(self._folder / "checkpoint").iterdir()):
                self._log.artifact(path, "checkpoint")
            self._unsaved = None

    def save_for(self, result: RunResult) -> None:
        """Save the trained weights if the disk was full before, because there may be room by now.

        Raises
        ------
        UnsavedWeightsError
            If there is still no room. The error holds the run's result.
        """
        try:
            self.save()
        except StorageError as error:
            raise UnsavedWeightsError(f"the trained weights are nowhere: {error}", result) from error

    def _fingerprint(self, model: "tf_keras.Model | NativeNetwork", content: Content) -> str:
        of_the_fit = content.of_the_fit
        if self._again:
            of_the_fit["model"] = model_digest(model)
        parts = {"data": self._data, "training": self._training}
        return fit_fingerprint(
            self._log.state.config,
            self._data.spec,
            {name: getattr(part, "without_effect_on_fit", ()) for name, part in parts.items()},
            describe(self._log.ending_the_fit),
            of_the_fit,
        )

    def _keep_to_itself(self, changed: str) -> None:
        """Let no other run take a training that a callback changed without saying so."""
        if changed and self._training.reuse:
            warnings.warn(f"the training is not shared with other runs: {changed}", stacklevel=1)
            self._log.tag("fit.fingerprint", f"not shared: {changed}")

    def _sink(self, fingerprint: str, watch: Watch) -> FitLog:
        """Return the training path's callback sink. When a training is resumed, the callbacks get their states back."""
        resumes = self._resumes is not None and self._log.started
        state = self._states.newest(fingerprint) if resumes else None
        self._say_where(state.place if state else "at the beginning of its training")
        if state is not None:
            self._log.tag("fit.resumed", f"epoch {state.epoch + 1}, batch {state.batch + 1}")
            watch.changes |= state.callbacks.get(RESUMED, {})
            for name, callback in self._log.callbacks_by_name():
                if name in state.callbacks:
                    callback.load_state_dict(state.callbacks[name])
            for epoch, metrics in enumerate(state.history, start=1):
                self._log.record(metrics, step=epoch)
            self._log.state.callback_metrics |= state.logged
            self._log.state.results |= state.logged
        return FitLog(self._log, fingerprint, state, watch)

    def _say_where(self, where: str) -> None:
        if self._resumes is not None and self._log.started:
            print(f"snnpipe: going on with run {self._resumes} {where}", flush=True)

    @contextmanager
    def _shared(self, fingerprint: str, content: Callable[[], Content]) -> Iterator[EarlierFit | None]:
        """Yield an equal training of an earlier run, if reuse is allowed and a logger has one."""
        reuse = self._training.reuse and self._log.started and getattr(self._training, "epochs", None) != 0
        if reuse and (why := content().why_not_shared()):
            warnings.warn(f"the training is not shared with other runs: {why}", stacklevel=1)
            reuse = False
        if not reuse:
            yield None
            return
        with ExitStack() as open_until_logged:
            for logger in self._log.started:
                if earlier := open_until_logged.enter_context(logger.shared_fit(fingerprint)):
                    break
            else:
                earlier = None
            yield earlier
