"""How far a run is, with rate and time left; silent where nobody looks at a terminal."""

import sys

from tqdm import tqdm

from snnpipe.callbacks.base import Callback
from snnpipe.types import BatchProgress, FitProgress, RunState, SimulatedBatch


class Progress(Callback):
    """A progress bar for the training and one for the simulation, and a line for each epoch."""

    _bar: "tqdm[None] | None" = None

    def on_train_batch_end(self, state: RunState, progress: BatchProgress) -> None:
        """Move the training's bar."""
        assert state.spec is not None
        n_train = state.spec.n_train
        done = progress.epoch * n_train + progress.images
        if self._bar is None:
            self._bar = self._open("training", progress.epochs * n_train, done)
        self._bar.set_description(
            f"epoch {progress.epoch + 1}/{progress.epochs}, step {progress.batch + 1}/{progress.n_batches}",
            refresh=False,
        )
        self._bar.update(done - self._bar.n)

    def on_epoch_end(self, state: RunState, progress: FitProgress) -> None:
        """Write the epoch's metrics above the bar."""
        if sys.stderr.isatty():
            width = len(str(progress.epochs))
            found = "  ".join(f"{name.removeprefix('fit/')} {value:.4g}" for name, value in progress.metrics.items())
            tqdm.write(f"epoch {progress.epoch:{width}d}/{progress.epochs}  {found}", file=sys.stderr)

    def on_fit_end(self, state: RunState) -> None:
        """Close the training's bar."""
        self._close()

    def on_simulation_start(self, state: RunState, images: int) -> None:
        """Open the simulation's bar."""
        self._bar = self._open("simulating", images)

    def on_simulation_batch_end(self, state: RunState, batch: SimulatedBatch) -> None:
        """Move the simulation's bar."""
        if self._bar is not None:
            self._bar.update(len(batch.labels))

    def on_evaluate_end(self, state: RunState) -> None:
        """Close the simulation's bar."""
        self._close()

    def on_exception(self, state: RunState, error: BaseException) -> None:
        """Leave the terminal on a line of its own."""
        self._close()

    def _open(self, what: str, images: int, done: int = 0) -> "tqdm[None]":
        return tqdm(total=images, initial=done, desc=what, unit=" images", leave=False, disable=None, file=sys.stderr)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
