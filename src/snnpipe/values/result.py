"""The result of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from snnpipe.base.errors import StorageError
from snnpipe.values.diagnosis import Diagnosis, Remark
from snnpipe.values.metric import MetricSpec


@dataclass(frozen=True)
class RunResult:
    """The result of a run.

    Attributes
    ----------
    metrics
        Every metric without a step, by its name in MLflow.
    accuracy_at_step, agreement_at_step
        Accuracy, and agreement with the ANN, after each simulation step.
    at_duration
        The metrics after each shorter duration that was requested, by its number of steps.
    simulator
        Which simulator ran, and why it was chosen if there was a choice.
    trained_by
        Id of the earlier run whose training was reused; empty if this run trained.
    address
        What a person needs to find the run again, by label.
    diagnosis
        Where the conversion lost accuracy; None if the diagnosis was turned off.
    remarks
        Problems of the run's spikes: units that do not spike, rates that do not fit.
    no_synops
        Why SynOps and energy are not among the metrics; empty if they are.
    specs
        Labels, units and formats of the metrics of the run's own plugins.
    input_over_time
        How samples were shown to the network: constant over time, or changing.
    sample_word
        What a sample of the data is called.
    """

    metrics: Mapping[str, float]
    accuracy_at_step: Sequence[float]
    agreement_at_step: Sequence[float]
    at_duration: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    simulator: str = ""
    trained_by: str = ""
    address: Mapping[str, str] = field(default_factory=dict)
    diagnosis: Diagnosis | None = None
    remarks: Sequence[Remark] = ()
    no_synops: str = ""
    specs: Sequence[MetricSpec] = ()
    input_over_time: str = ""
    sample_word: str = "sample"


class UnsavedWeightsError(StorageError):
    """A run has its results, but its trained weights could not be written.

    Parameters
    ----------
    message
        What could not be written, and the cure.
    result
        The result of the run.
    """

    def __init__(self, message: str, result: RunResult):
        super().__init__(message)
        self.result = result
