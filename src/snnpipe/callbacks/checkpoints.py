"""Saves the state of a training regularly, so that a stopped or killed run can continue from it."""

import time
from dataclasses import dataclass

from snnpipe.base import signals
from snnpipe.callbacks.base import Callback
from snnpipe.settings.domains import PositiveFloat, PositiveInt
from snnpipe.settings.schema import check_fields
from snnpipe.values.run import ResumablePoint, RunState
from snnpipe.values.training_state import TrainingStates


@dataclass
class Checkpoints(Callback):
    """Write the training's state to the run's folder at intervals, when training ends, and when a signal ends the run.

    Parameters
    ----------
    every_steps
        Number of training batches between two states; None for no such rule.
    every_minutes
        Minutes between two states; None for no such rule.
    keep
        Number of the newest states to keep.
    """

    every_steps: PositiveInt | None = None
    every_minutes: PositiveFloat | None = 5.0
    keep: PositiveInt = 2

    def __post_init__(self) -> None:
        check_fields(self, "callbacks.checkpoints")

    def on_fit_start(self, state: RunState) -> None:
        """Start counting batches and minutes."""
        self._begin(step=0)

    def on_resumable_point(self, state: RunState, point: ResumablePoint) -> None:
        """Write the state if it is due."""
        steps = point.step - self._step
        minutes = (time.monotonic() - self._at) / 60
        due = self.every_steps is not None and steps >= self.every_steps
        due |= self.every_minutes is not None and minutes >= self.every_minutes
        if due or point.over or signals.pending():
            TrainingStates(state.output_dir).save(point.state(), self.keep)
            self._begin(point.step)

    def _begin(self, step: int) -> None:
        self._step, self._at = step, time.monotonic()
