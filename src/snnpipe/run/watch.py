"""Notices callbacks that change a training and do not say so: their training must not serve runs without them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.callbacks.base import Callback as Base
from snnpipe.protocols import Callback
from snnpipe.run.log import RunLog
from snnpipe.values.run import FitProgress

RESUMED = "changed by"
"""Key of `Watch.changes` among the states of callbacks, for a training that another process continues."""


class Watch:
    """Tells hooks of a training, and compares the model's weights before and after users' own callbacks.

    Parameters
    ----------
    log
        Log of the run.

    Attributes
    ----------
    changes
        What callbacks without ``changes_fit`` did to the training, by the names of their classes.
    """

    def __init__(self, log: RunLog):
        self._log = log
        self.changes: dict[str, str] = {}

    def tell(self, hook: str, *arguments: Any) -> None:
        """Call a hook of every callback with the run's state, and note who changes the training."""
        state = self._log.state
        over = any(isinstance(own, FitProgress) and own.epoch == own.epochs for own in arguments)
        watched = [callback for callback in self._log.callbacks if _may_change(callback, hook)]
        weights, stopped = self._weights() if watched else [], state.stop_training
        for callback in self._log.tell_each(hook, *arguments):
            if any(callback is own for own in watched):
                if state.stop_training and not stopped and not over:
                    self.changes[type(callback).__name__] = "ended it"
                now = self._weights()
                if not all(map(np.array_equal, weights, now)):
                    self.changes[type(callback).__name__] = "changed the weights"
                weights = now
            stopped = state.stop_training

    def problem(self) -> str:
        """What was changed and the cure, in words; empty if nothing was."""
        if not self.changes:
            return ""
        who = ", ".join(f"callback {name} {what}" for name, what in self.changes.items())
        return f"{who}: set changes_fit = True in its class, and runs with the same callback share a training"

    def uncalled(self) -> str:
        """Users' callbacks that a training which is taken from another run does not call, in words."""
        hooks = ("on_train_batch_end", "on_epoch_end")
        names = [type(own).__name__ for own in self._log.callbacks if any(_may_change(own, hook) for hook in hooks)]
        return ", ".join(names)

    def _weights(self) -> list[NDArray[Any]]:
        model = self._log.state.model
        return [] if model is None else [np.array(weight.numpy()) for weight in model.weights]


def _may_change(callback: Callback, hook: str) -> bool:
    """Whether a callback is a user's own, does something in a hook, and does not say that it can change a training."""
    kind = type(callback)
    own = not kind.__module__.startswith("snnpipe.") and getattr(kind, hook, None) is not getattr(Base, hook)
    return own and not callback.changes_fit
