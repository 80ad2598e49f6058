"""Stops training when it no longer helps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from snnpipe.base.errors import TrainingError, did_you_mean
from snnpipe.callbacks.base import Callback
from snnpipe.settings.domains import NonNegativeFloat, PositiveInt, Text
from snnpipe.settings.schema import check_fields
from snnpipe.values.run import FitProgress, RunState


@dataclass
class EarlyStopping(Callback):
    """End training when a metric has not improved for some epochs.

    Parameters
    ----------
    monitor
        The metric, ``fit/val_loss`` for example.
    mode
        Whether ``min`` or ``max`` is better.
    patience
        Number of epochs to wait for an improvement.
    min_delta
        Smallest change that counts as an improvement.
    """

    changes_fit: ClassVar[bool] = True  # type: ignore[misc]  # no field of the dataclass

    monitor: Text = "fit/val_loss"
    mode: Literal["min", "max"] = "min"
    patience: PositiveInt = 3
    min_delta: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "callbacks.early_stopping")

    def on_prepare_end(self, state: RunState) -> None:
        """Look whether there is validation where it is needed."""
        if state.spec is not None and state.spec.n_validation == 0 and self.monitor.startswith("fit/val_"):
            raise TrainingError(
                f"callbacks.early_stopping.monitor: got {self.monitor!r}, but nothing is held out for validation: "
                "set data.validation_share, or monitor fit/loss"
            )

    def on_fit_start(self, state: RunState) -> None:
        """Forget an earlier training."""
        self._best, self._waited = math.inf, 0

    def on_epoch_end(self, state: RunState, progress: FitProgress) -> None:
        """End training if the metric has not improved for too long."""
        if self.monitor not in progress.metrics:
            raise TrainingError(
                f"callbacks.early_stopping.monitor: there is no metric {self.monitor!r}; "
                f"{did_you_mean(self.monitor, progress.metrics)}"
            )
        value = progress.metrics[self.monitor] * (1 if self.mode == "min" else -1)
        if value < self._best - self.min_delta:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            state.stop_training = True

    def state_dict(self) -> Mapping[str, Any]:
        """Return the best value so far, and the number of epochs since then."""
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the best value and the number of epochs."""
        self._best, self._waited = float(state["best"]), int(state["waited"])
