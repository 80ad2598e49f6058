"""Shows the progress of a run: bars with rate and remaining time in a terminal, and lines elsewhere."""

import sys
import time

from tqdm import tqdm

from snnpipe.callbacks.base import Callback
from snnpipe.values.run import BatchProgress, FitProgress, RunState, SimulatedBatch

_EVERY_S = 60.0
"""Seconds between two lines within a stage, if stderr is no terminal."""

_STAGES = {
    "fit": "training on {n:,} {words}",
    "convert": "converting",
    "calibrate": "taking scales from up to {n:,} {words}",
    "verify": "comparing {n:,} {words} with nengo_dl",
    "prepare": "preparing metrics on {n:,} {words}",
    "simulate": "simulating {n:,} {words}",
    "diagnose": "diagnosing on {n:,} {words}",
}


class Progress(Callback):
    """Shows a progress bar for each stage that takes time, and a line for each epoch.

    If stderr is no terminal, it writes a line at the beginning of each stage, and then at most one line per minute. A
    job of a multi-run writes only the lines per minute.
    """

    _bar: "tqdm[None] | None" = None
    _began = _next = 0.0
    _done = _first = _total = 0
    _words = "samples"

    def on_stage_start(self, state: RunState, stage: str, images: int) -> None:
        """Print the stage that begins."""
        self._close()
        self._words = f"{state.sample_word}s"
        text = _STAGES[stage].format(n=images, words=self._words)
        if stage == "fit" and state.trained_by:
            text = f"taking the training of run {state.trained_by}"
        elif stage == "fit" and not images:
            text = "taking the weights as they are"
        self._began = time.monotonic()
        self._next = self._began + _EVERY_S
        if stage == "simulate":
            self._open("simulating", images)
        elif stage in ("calibrate", "verify", "prepare", "diagnose"):
            self._bar = tqdm(desc=text, bar_format="{desc} ...", leave=False, disable=None, file=sys.stderr)
        if not (sys.stderr.isatty() or state.one_of_several):
            _say(text)

    def on_train_batch_end(self, state: RunState, progress: BatchProgress) -> None:
        """Move the training's bar."""
        assert state.spec is not None
        n_train = state.spec.n_train
        done = progress.epoch * n_train + progress.images
        where = f"epoch {progress.epoch + 1}/{progress.epochs}"
        if self._bar is None:
            self._open("training", progress.epochs * n_train, done)
        assert self._bar is not None
        self._bar.set_description(f"{where}, step {progress.batch + 1}/{progress.n_batches}", refresh=False)
        self._move(f"training, {where}", done)

    def on_epoch_end(self, state: RunState, progress: FitProgress) -> None:
        """Write the epoch's metrics above the bar."""
        if sys.stderr.isatty():
            width = len(str(progress.epochs))
            metrics = "  ".join(f"{name.removeprefix('fit/')} {value:.4g}" for name, value in progress.metrics.items())
            tqdm.write(f"epoch {progress.epoch:{width}d}/{progress.epochs}  {metrics}", file=sys.stderr)

    def on_fit_end(self, state: RunState) -> None:
        """Close the training's bar."""
        self._close()

    def on_simulation_batch_end(self, state: RunState, batch: SimulatedBatch) -> None:
        """Move the simulation's bar."""
        self._move("simulating", self._done + len(batch.labels))

    def on_evaluate_end(self, state: RunState) -> None:
        """Close the last bar."""
        self._close()

    def on_exception(self, state: RunState, error: BaseException) -> None:
        """Close the bar, so that the terminal is on a new line."""
        self._close()

    def _open(self, what: str, total: int, done: int = 0) -> None:
        self._done = self._first = done
        self._total = total
        self._bar = tqdm(
            total=total, initial=done, desc=what, unit=f" {self._words}", leave=False, disable=None, file=sys.stderr
        )

    def _move(self, what: str, done: int) -> None:
        """Move the bar. If stderr is no terminal and a minute has passed, write a line."""
        if self._bar is None:
            return
        self._bar.update(done - self._done)
        self._done, now = done, time.monotonic()
        if now < self._next or sys.stderr.isatty():
            return
        self._next = now + _EVERY_S
        left = (now - self._began) * (self._total - done) / max(done - self._first, 1)
        _say(f"{what}: {100 * done / self._total:.0f} % of {self._total:,} {self._words}, {_rounded(left)} left")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _say(what: str) -> None:
    print(f"snnpipe: {what}", file=sys.stderr, flush=True)


def _rounded(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
