"""A base for callbacks. A run calls the hooks in this order:

``on_prepare_end``, ``on_run_start``, ``on_fit_start``, (``on_train_batch_end`` ..., ``on_epoch_end``) ...,
``on_fit_end``, ``on_convert_end``, ``on_simulation_start``, ``on_simulation_batch_end`` ..., ``on_simulation_end``,
``on_evaluate_end``.
``on_exception`` is called once if the run fails or is stopped. ``on_stage_start`` is called before each stage that
takes time. ``on_resumable_point`` is called after most batches and after each epoch, once all callbacks have had their
hook for that batch or epoch. A resumed training begins with ``on_fit_start`` and ``load_state_dict``.
"""

from collections.abc import Mapping
from typing import Any

from snnpipe.values.run import BatchProgress, FitProgress, ResumablePoint, RunState, SimulatedBatch


class Callback:
    """Does nothing in each hook. A callback overrides the hooks that it needs.

    Attributes
    ----------
    sample_images
        Number of test samples, from the first on, whose single spikes the callback needs.
    changes_fit
        Whether the callback can change the result of the training, by ending it sooner or by changing the weights. If
        so, the callback and its settings are part of the training's fingerprint.
    """

    sample_images: int = 0
    changes_fit: bool = False

    def on_prepare_end(self, state: RunState) -> None:
        """Dataset, model and plan are known, and nothing is logged yet. Refuse here what cannot work."""

    def on_run_start(self, state: RunState) -> None:
        """The loggers are open: files that are logged from here on belong to the run."""

    def on_stage_start(self, state: RunState, stage: str, images: int) -> None:
        """A stage is about to begin, on ``images`` samples.

        Stages are ``fit``, ``convert``, ``calibrate``, ``verify``, ``prepare`` (of metrics), ``simulate`` and
        ``diagnose``. A ``fit`` on no samples only takes weights.
        """

    def on_fit_start(self, state: RunState) -> None:
        """Training is about to begin."""

    def on_train_batch_end(self, state: RunState, progress: BatchProgress) -> None:
        """A batch of training samples is done."""

    def on_epoch_end(self, state: RunState, progress: FitProgress) -> None:
        """An epoch is done; ``state.stop_training = True`` ends training."""

    def on_resumable_point(self, state: RunState, point: ResumablePoint) -> None:
        """Another process could go on from here: ``point.state()`` is all that it needs."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the callback's state for a training that another process continues. It must be valid JSON."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that ``state_dict`` returned."""

    def on_fit_end(self, state: RunState) -> None:
        """Training is over, and the model has the trained weights."""

    def on_convert_end(self, state: RunState) -> None:
        """The spiking network is made: ``state.network``."""

    def on_simulation_start(self, state: RunState, images: int) -> None:
        """The simulation of ``images`` test samples is about to begin."""

    def on_simulation_batch_end(self, state: RunState, batch: SimulatedBatch) -> None:
        """A batch of test samples has been simulated."""

    def on_simulation_end(self, state: RunState) -> None:
        """All test samples are simulated: ``state.outcome`` is there, and the diagnosis follows."""

    def on_evaluate_end(self, state: RunState) -> None:
        """All test samples have been simulated: ``state.results`` holds the metrics."""

    def on_exception(self, state: RunState, error: BaseException) -> None:
        """The run fails or is stopped by ``error``, which is raised again after this."""
