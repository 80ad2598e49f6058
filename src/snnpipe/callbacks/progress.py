"""How far a run is, with rate and time left; silent where nobody looks at a terminal."""

import sys

from tqdm import tqdm

from snnpipe.callbacks.base import Callback
from snnpipe.types import FitProgress, RunState, SimulatedBatch


class Progress(Callback):
    """A progress bar for each epoch and for the simulation, and a line for each epoch."""

    _bar: "tqdm[None] | None" = None

    def on_train_batch_end(self, state: RunState, epoch: int, batch: int, n_batches: int, images: int) -> None:
        """Move the epoch's bar."""
        if self._bar is None:
            assert state.spec is not None
            self._bar = self._open(f"epoch {epoch + 1}", state.spec.n_train)
        self._bar.update(images - self._bar.n)

    def on_epoch_end(self, state: RunState, progress: FitProgress) -> None:
        """Close the epoch's bar and write its metrics."""
        self._close()
        if sys.stderr.isatty():
            width = len(str(progress.epochs))
            found = "  ".join(f"{name.removeprefix('fit/')} {value:.4g}" for name, value in progress.metrics.items())
            tqdm.write(f"epoch {progress.epoch:{width}d}/{progress.epochs}  {found}", file=sys.stderr)

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

    def _open(self, what: str, images: int) -> "tqdm[None]":
        return tqdm(total=images, desc=what, unit=" images", leave=False, disable=None, file=sys.stderr)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
