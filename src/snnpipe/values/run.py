"""What callbacks, loggers and multi-runs are told of a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from snnpipe.values.data import DataSpec
from snnpipe.values.diagnosis import Diagnosis, Remark
from snnpipe.values.metric import MetricSpec
from snnpipe.values.network import ConversionPlan, SpikingNetwork
from snnpipe.values.outcome import Outcome
from snnpipe.values.simulation import SimulationChunk, SimulationSettings, SpikeEvents
from snnpipe.values.training_state import TrainingState


@dataclass(frozen=True)
class BatchProgress:
    """Where training stands at the end of a batch.

    Attributes
    ----------
    epoch, epochs
        The epoch that it is in, from 0, and epochs to do.
    batch, n_batches
        The batch, from 0, and batches of an epoch.
    images
        Images of the epoch that are done.
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
        Epochs done.
    epochs
        Epochs to do.
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
        Training batches done, of all epochs.
    over
        Whether training ends here.
    state
        Returns the training's state, within the hook that is given the point.
    """

    step: int
    over: bool
    state: "Callable[[], TrainingState]"


@dataclass(frozen=True, eq=False)
class EarlierRun:
    """A run that was begun before, by this command or another.

    Attributes
    ----------
    run_id
        In the store that knows it.
    output_dir
        Folder of its files; empty where it was stopped before it had any.
    fingerprint
        Of its configuration (`snnpipe.run.fingerprint.run_fingerprint`).
    finished
        Whether it came to its end.
    metrics
        Without a step, so far.
    content
        The tags that hold its content's digests (`snnpipe.run.content.Content.tags`).
    """

    run_id: str
    output_dir: str
    fingerprint: str
    finished: bool
    metrics: Mapping[str, float]
    content: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SimulatedBatch:
    """A batch of test images after its simulation.

    Attributes
    ----------
    image_ids
        Index of each image in the test split.
    labels, ann_classes
        True class and the ANN's, of each image.
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
        What it was told, in the order of the command line.
    metrics
        Every metric without a step; None where the job did not finish.
    error
        Why it did not.
    mistake
        Whether what was asked for was wrong, and no fault of the program or the machine.
    run_id
        Of its run; empty where no logger keeps runs.
    output_dir
        Of its run; empty where it has none of its own.
    number
        By which a person knows it, from 1; 0 where it has none.
    specs
        What describes the metrics of its own.
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


def _log_nowhere(name: str, value: float, step: int | None = None) -> None:
    """Take a number where there is no run to log it."""


@dataclass(eq=False)
class RunState:
    """What callbacks may see of a run, what they may ask for, and where they log.

    Attributes
    ----------
    seed
        Of the run.
    output_dir
        Folder of the run's files.
    log_artifact
        Hands a file to the loggers, with the folder it goes to.
    log_metric
        Logs a number of a callback's own, from ``on_fit_start`` on: ``log_metric(name, value, step=None)``. Every
        logger records it, and ``results`` has the last value of the name. What is logged more than once needs steps: a
        run that goes on keeps the value that is there for a name and a step.
    spec, plan, network, settings
        Of dataset, conversion, spiking network and simulation, once they are known.
    stop_training
        A callback sets this to end training after the epoch.
    results
        Every metric of the run so far.
    logged
        Those that callbacks have logged before the evaluation, which a training's state holds too.
    specs
        What describes the metrics of its own (`snnpipe.protocols.Metric`).
    outcome
        What the simulation of the test images came to.
    run_name, command
        The run's name, and what to type to have it again.
    one_of_several
        Whether it is a job of a multi-run, which are told of in a line each.
    run_id
        Its id in the store that keeps it; empty where none does.
    commit
        The commit of the checkout that snnpipe runs from; empty where it is none.
    trained_by
        Id of the earlier run whose training was taken; empty where this run trains.
    address
        What a person needs to find the run's files again, by label; callbacks add theirs.
    diagnosis
        Where the conversion lost accuracy, once the test images have been simulated; None where that is turned off.
    remarks
        What there is to say of its spikes: units that do not spike, rates that do not fit.
    """

    seed: int
    output_dir: str
    log_artifact: Callable[[Path, str], None]
    log_metric: LogMetric = _log_nowhere
    spec: DataSpec | None = None
    plan: ConversionPlan | None = None
    network: SpikingNetwork | None = None
    settings: SimulationSettings | None = None
    stop_training: bool = False
    results: dict[str, float] = field(default_factory=dict)
    logged: dict[str, float] = field(default_factory=dict)
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
    remarks: "Sequence[Remark]" = ()
