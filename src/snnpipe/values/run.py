"""What callbacks, loggers and multi-runs get to know about a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from snnpipe.values.calibration import CalibrationOutcome
from snnpipe.values.data import DataSpec
from snnpipe.values.diagnosis import Diagnosis, Remark
from snnpipe.values.metric import MetricSpec
from snnpipe.values.network import ConversionPlan, SpikingNetwork
from snnpipe.values.outcome import Outcome
from snnpipe.values.pixels import PixelScaling
from snnpipe.values.simulation import SimulationChunk, SimulationSettings, SpikeEvents
from snnpipe.values.training_state import TrainingState


@dataclass(frozen=True)
class BatchProgress:
    """Where training stands at the end of a batch.

    Attributes
    ----------
    epoch, epochs
        Index of the present epoch, from 0, and number of epochs to do.
    batch, n_batches
        Index of the batch, from 0, and number of batches of an epoch.
    images
        Number of samples of the epoch that are done.
    """

    epoch: int
    epochs: int
    batch: int
    n_batches: int
    images: int


@dataclass(frozen=True)
class FitProgress:
    """Where training stands at the end of an epoch.

    Attributes
    ----------
    epoch
        Number of epochs that are done.
    epochs
        Number of epochs to do.
    metrics
        ``fit/...`` metrics of the epoch.
    """

    epoch: int
    epochs: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class ResumablePoint:
    """A point of a training that another process can go on from.

    Attributes
    ----------
    step
        Number of training batches that are done, over all epochs.
    over
        Whether training ends here.
    state
        Returns the training's state. Only the hook that gets this point may call it, before the hook returns.
    """

    step: int
    over: bool
    state: "Callable[[], TrainingState]"


@dataclass(frozen=True, eq=False)
class EarlierRun:
    """A run that was started before, by this command or another one.

    Attributes
    ----------
    run_id
        Id of the run in the store that keeps it.
    output_dir
        Folder of its files; empty if the run was stopped before it had any.
    fingerprint
        Fingerprint of its configuration (`snnpipe.run.fingerprint.run_fingerprint`).
    finished
        Whether it came to its end.
    metrics
        Its metrics without a step, so far.
    content
        The tags with the digests of its content (`snnpipe.run.content.Content.tags`).
    """

    run_id: str
    output_dir: str
    fingerprint: str
    finished: bool
    metrics: Mapping[str, float]
    content: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SimulatedBatch:
    """A batch of test samples after its simulation.

    Attributes
    ----------
    image_ids
        Index of each sample in the test split.
    labels, ann_classes
        True class of each sample, and the class that the ANN gives it.
    scores_btc
        Class scores after each step.
    events
        Spikes of the images that were recorded, by layer.
    chunks
        The network's activity, chunk by chunk in their order. Metrics are given it; for callbacks there is none.
    """

    image_ids: Sequence[int]
    labels: NDArray[np.int64]
    ann_classes: NDArray[np.int64]
    scores_btc: NDArray[np.float64]
    events: Mapping[str, SpikeEvents]
    chunks: Sequence[SimulationChunk] = ()


@dataclass(frozen=True, eq=False)
class SweepJob:
    """One job of a multi-run, as it ended.

    Attributes
    ----------
    overrides
        Its overrides, in the order of the command line.
    metrics
        Every metric without a step; None if the job did not finish.
    error
        Why the job did not finish.
    mistake
        Whether the settings were wrong, and not the program or the machine.
    run_id
        Id of its run; empty if no logger keeps runs.
    output_dir
        Folder of its run's files; empty if it has no folder of its own.
    number
        Number of the job in what people read, from 1; 0 if it has none.
    specs
        Labels, units and formats of the metrics of the run's own plugins.
    """

    overrides: Sequence[str]
    metrics: Mapping[str, float] | None = None
    error: str = ""
    mistake: bool = False
    run_id: str = ""
    output_dir: str = ""
    number: int = 0
    specs: Sequence[MetricSpec] = ()


class LogMetric(Protocol):
    """Logs one number."""

    def __call__(self, name: str, value: float, step: int | None = None) -> None:
        """Log a value, of a step if it has one.

        Raises
        ------
        ConfigError
            If the name is no metric's name or is logged by snnpipe or a metric, or the value is no finite number.
        """


class Pictures(Protocol):
    """Draws pictures of a run (`snnpipe.artifacts.drawing`)."""

    def draw(self, plot: str, path: Path, **data: Any) -> None:
        """Ask for a picture, which the loggers get, and which is there after `wait`."""

    def wait(self) -> None:
        """Wait for all pictures."""


def _log_nowhere(name: str, value: float, step: int | None = None) -> None:
    """Take a number where there is no run to log it."""


@dataclass(eq=False)
class RunState:
    """The part of a run's state that callbacks can read and change.

    Attributes
    ----------
    seed
        Seed of the run.
    output_dir
        Folder of the run's files.
    log_artifact
        Gives the loggers a file, and the folder of the run's artifacts for it.
    log_metric
        Logs a number of a callback's own, from ``on_fit_start`` on: ``log_metric(name, value, step=None)``. Every
        logger records it, and ``results`` has the last value of the name. A name that is logged more than once needs
        steps: a resumed run keeps the value that it has already for a name and a step.
    config
        The run's configuration, without passwords.
    is_logged
        Whether a logger is open.
    spec, plan, network, settings
        The dataset's spec, the conversion plan, the spiking network and the simulation's settings, once they are known.
    model
        The Keras model, or the network written in Nengo: untrained from ``on_prepare_end`` on, and trained in place.
    input_over_time
        How samples are shown to the network: constant over time, or changing.
    encoder
        Encoder that shows samples to the network.
    samples
        The first test samples, at most 8, once the network is made; shape ``(b, *input_shape)``.
    pixels
        Scaling of pixels to the values that the network takes; None if the data module does not say.
    stop_training
        A callback sets this to end training after the epoch.
    results
        Every metric of the run so far.
    callback_metrics
        Those that callbacks have logged before the evaluation, which a training's state holds too.
    specs
        What describes the metrics of its own (`snnpipe.protocols.Metric`).
    outcome
        Result of simulating the test images.
    run_name, command
        The run's name, and the command that repeats the run.
    one_of_several
        Whether the run is a job of a multi-run. A multi-run prints one line for each of its jobs.
    run_id
        Id of the run in the store that keeps it; empty if none does.
    commit
        Commit of the checkout that snnpipe runs from; empty if snnpipe runs from no checkout.
    trained_by
        Id of the earlier run whose training is reused; empty if this run trains.
    address
        What a person needs to find the run's files again, by label. Callbacks add their files.
    diagnosis
        Where the conversion lost accuracy, once the test samples have been simulated; None if the diagnosis is turned
        off.
    calibration
        What scales were taken from, once the network is made; None where they were given.
    remarks
        Problems of the run's spikes: units that do not spike, rates that do not fit.
    pictures
        Draws pictures while the run goes on; None if they are drawn at once.
    """

    seed: int
    output_dir: str
    log_artifact: Callable[[Path, str], None]
    log_metric: LogMetric = _log_nowhere
    config: Mapping[str, Any] = field(default_factory=dict)
    is_logged: bool = False
    spec: DataSpec | None = None
    plan: ConversionPlan | None = None
    network: SpikingNetwork | None = None
    model: Any = None
    settings: SimulationSettings | None = None
    input_over_time: str = ""
    encoder: Any = None
    samples: "NDArray[np.float32] | None" = None
    pixels: "PixelScaling | None" = None
    stop_training: bool = False
    results: dict[str, float] = field(default_factory=dict)
    callback_metrics: dict[str, float] = field(default_factory=dict)
    specs: Sequence[MetricSpec] = ()
    outcome: "Outcome | None" = None
    run_name: str = ""
    command: str = ""
    one_of_several: bool = False
    run_id: str = ""
    commit: str = ""
    trained_by: str = ""
    address: dict[str, str] = field(default_factory=dict)
    diagnosis: "Diagnosis | None" = None
    calibration: "CalibrationOutcome | None" = None
    remarks: "Sequence[Remark]" = ()
    pictures: Pictures | None = None

    @property
    def sample_word(self) -> str:
        """What a sample of the data is called; ``sample`` before the data is known."""
        return self.spec.sample_word if self.spec is not None else "sample"

    def forget_evaluation(self) -> None:
        """Keep the results of training only: another evaluation begins."""
        self.results = {name: value for name, value in self.results.items() if name.startswith(("fit/", "ann/"))}
        self.results |= self.callback_metrics
