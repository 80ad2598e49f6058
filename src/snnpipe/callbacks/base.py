"""The fixed points of a run at which callbacks are told, in this order:

``on_prepare_end``, ``on_run_start``, ``on_fit_start``, (``on_train_batch_end`` ..., ``on_epoch_end``) ...,
``on_fit_end``, ``on_convert_end``, ``on_simulation_start``, ``on_simulation_batch_end`` ..., ``on_evaluate_end``;
and ``on_exception`` once, where the run fails or is stopped. ``on_stage_start`` comes before each stage that takes
time. ``on_resumable_point`` comes after most batches and after each epoch, when all callbacks have been told of it. A
training that goes on begins with ``on_fit_start`` and ``load_state_dict``.
"""

from collections.abc import Mapping
from typing import Any

from snnpipe.values.run import BatchProgress, FitProgress, ResumablePoint, RunState, SimulatedBatch


class Callback:
    """Does nothing at each point; a callback overrides what it needs.

    Attributes
    ----------
    sample_images
        How many of the first test images it wants single spikes of.
    changes_fit
        Whether it can change what training ends with (by ending it sooner), so that a training with it is another one.
    """

    sample_images: int = 0
    changes_fit: bool = False

    def on_prepare_end(self, state: RunState) -> None:
        """Dataset, model and plan are known and nothing is logged yet: the point to refuse what cannot work."""

    def on_run_start(self, state: RunState) -> None:
        """The loggers are open: files that are logged from here on belong to the run."""

    def on_stage_start(self, state: RunState, stage: str, images: int) -> None:
        """``fit``, ``convert``, ``verify``, ``simulate`` or ``diagnose`` is about to begin, on so many images."""

    def on_fit_start(self, state: RunState) -> None:
        """Training is about to begin."""

    def on_train_batch_end(self, state: RunState, progress: BatchProgress) -> None:
        """A batch of training images is done."""

    def on_epoch_end(self, state: RunState, progress: FitProgress) -> None:
        """An epoch is done; ``state.stop_training = True`` ends training."""

    def on_resumable_point(self, state: RunState, point: ResumablePoint) -> None:
        """Another process could go on from here: ``point.state()`` is all that it needs."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return what the callback has to remember of a training that goes on in another process, fit for JSON."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""

    def on_fit_end(self, state: RunState) -> None:
        """Training is over and the model holds its weights."""

    def on_convert_end(self, state: RunState) -> None:
        """The spiking network is there: ``state.network``."""

    def on_simulation_start(self, state: RunState, images: int) -> None:
        """So many test images are about to be simulated."""

    def on_simulation_batch_end(self, state: RunState, batch: SimulatedBatch) -> None:
        """A batch of test images has been simulated."""

    def on_evaluate_end(self, state: RunState) -> None:
        """All test images have been simulated: ``state.results`` holds the metrics."""

    def on_exception(self, state: RunState, error: BaseException) -> None:
        """The run fails or is stopped by ``error``, which goes on after this."""
