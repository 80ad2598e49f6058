"""What each family of plugins must have. A plugin needs no base class: it needs these methods.

`snnpipe.testing` checks an instance against its family's contract.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError
from snnpipe.settings.domains import Precision, Readout
from snnpipe.values.checkpoint import Checkpoint, EarlierFit
from snnpipe.values.data import DataSpec
from snnpipe.values.metric import MetricSpec
from snnpipe.values.network import ConversionPlan, SpikingNetwork
from snnpipe.values.run import (
    BatchProgress,
    EarlierRun,
    FitProgress,
    ResumablePoint,
    RunState,
    SimulatedBatch,
    SweepJob,
)
from snnpipe.values.simulation import ImageEncoder, SimulationChunk, SimulationSettings, Stimulus
from snnpipe.values.training_state import TrainingState

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

Status = Literal["FINISHED", "FAILED", "KILLED"]
Arrays = Callable[[], Mapping[str, NDArray[Any]]]


@runtime_checkable
class DataModule(Protocol):
    """A dataset, streamed.

    Datasets yield batches ``(images, labels)``: float32 of shape ``(b, *image_shape)`` and int64 of shape ``(b,)``, the
    last batch of a split possibly short; sample weights may come third, of shape ``(b,)``. A dataset may be a tf.data
    one, a Keras sequence, or anything else that yields batches as arrays.
    `snnpipe.data.checked_data.CheckedData`, through which a run sees a module, takes other numbers, labels of shape
    ``(b, 1)``, one-hot labels and images without a channel axis too, and refuses all else before training.

    It may have ``explain(error)``, which returns the `DataError` to raise in place of an error that came up while its
    datasets were used, or None. It may have ``sample(split)``, which returns batches like those of ``"train"``,
    ``"validation"`` or ``"test"`` where the first batch of the split itself takes long. It may have ``digests()``,
    which returns digests of what a training reads and of the test images as ``{"fit": ..., "test": ...}``. They are
    taken as they are, in place of a pass over each split: whoever gives them answers for them, as for ``spec.digest``,
    which is for all splits.
    """

    @property
    def batch_size(self) -> int:
        """Images of a training batch; an attribute does too."""

    @property
    def spec(self) -> DataSpec:
        """What is known of the dataset after `setup`."""

    def prepare_data(self) -> None:
        """Make the dataset available on this machine (download, write files)."""

    def setup(self) -> None:
        """Open the prepared dataset and work out the splits."""

    def train_dataset(self, epoch: int = 0) -> "tf.data.Dataset":
        """Return one epoch of training batches, in an order that seed and epoch determine."""

    def validation_dataset(self) -> "tf.data.Dataset | None":
        """Return the validation batches; None where there are none."""

    def test_dataset(self, batch_size: int | None = None) -> "tf.data.Dataset":
        """Return the test batches, always in the same order."""


@runtime_checkable
class Architecture(Protocol):
    """Builds an untrained network."""

    def build(self, spec: DataSpec) -> "tf_keras.Model":
        """Return a model whose input is ``spec.image_shape`` and whose output is raw logits."""


@runtime_checkable
class TrainingPath(Protocol):
    """Trains a model in place.

    It may have ``check_classes(spec)``, which raises `ConfigError` where a setting names classes that a dataset lacks.
    """

    reuse: bool

    def check(self, model: "tf_keras.Model") -> None:
        """Raise `TrainingError` where this path cannot train the model."""

    def fit(self, model: "tf_keras.Model", data: DataModule, callbacks: "CallbackSink") -> Checkpoint:
        """Train ``model`` and return what was learnt."""


class Regularizer(Protocol):
    """A penalty on the firing rates of layers, with one meaning on every training path."""

    weight: float

    def scale_of(self, layer_names: Sequence[str]) -> dict[str, float]:
        """Return, for each layer that is penalised, the factor from activation to rate in Hz."""

    def penalty(self, rate_hz: "tf.Tensor") -> "tf.Tensor":
        """Return the penalty of each image, shape ``(b,)``, from rates of shape ``(b, n)``."""


@runtime_checkable
class Converter(Protocol):
    """Makes a trained model a spiking network."""

    def explain(self, model: "tf_keras.Model") -> ConversionPlan:
        """Return what each layer will become; nothing is trained or converted yet."""

    def convert(self, model: "tf_keras.Model", seed: int) -> SpikingNetwork:
        """Return the spiking network; ``seed`` determines its initial voltages."""


@runtime_checkable
class Encoder(ImageEncoder, Protocol):
    """Makes an image a signal over time."""

    def seeded(self, seed: int) -> ImageEncoder:
        """Return this encoder with the run's seed."""


class OpenSimulator(Protocol):
    """A network loaded for simulation."""

    @property
    def used(self) -> str:
        """Which simulator runs it, and why where there was a choice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        """Simulate a batch from the network's initial state; yield its activity chunk by chunk."""


@runtime_checkable
class Simulator(Protocol):
    """Runs a spiking network: a dataclass, so that it can be had with other settings.

    The attributes are those of `snnpipe.values.simulation.SimulationSettings`.
    """

    n_steps: int
    dt: float
    batch_size: int
    max_images: int | None
    readout: Readout
    readout_steps: int
    verify_images: int
    precision: Precision
    chunk_steps: int | None

    def open(self, network: SpikingNetwork, constant_input: bool = True) -> OpenSimulator:
        """Load a network: a context manager, so that what it holds is released.

        It is called on the untrained network, too, to learn before training whether it can be simulated with an
        input that is the same at each step, or changes.
        """

    def reference(self) -> "Simulator":
        """Return the simulator that the first ``verify_images`` images are held against, a dataclass."""


@runtime_checkable
class Callback(Protocol):
    """Is told at the fixed points of a run. `snnpipe.callbacks.base.Callback` does nothing at each."""

    sample_images: int
    changes_fit: bool

    def on_prepare_end(self, state: RunState) -> None: ...

    def on_stage_start(self, state: RunState, stage: str, images: int) -> None: ...

    def on_fit_start(self, state: RunState) -> None: ...

    def on_train_batch_end(self, state: RunState, progress: BatchProgress) -> None: ...

    def on_epoch_end(self, state: RunState, progress: FitProgress) -> None: ...

    def on_resumable_point(self, state: RunState, point: ResumablePoint) -> None: ...

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def on_fit_end(self, state: RunState) -> None: ...

    def on_convert_end(self, state: RunState) -> None: ...

    def on_simulation_start(self, state: RunState, images: int) -> None: ...

    def on_simulation_batch_end(self, state: RunState, batch: SimulatedBatch) -> None: ...

    def on_evaluate_end(self, state: RunState) -> None: ...

    def on_exception(self, state: RunState, error: BaseException) -> None: ...


@runtime_checkable
class Metric(Protocol):
    """Measures something of its own of the simulated test images.

    It may have ``sample_images``: of how many of the first test images it is given the single spikes (`SpikeEvents`),
    None for all of them; without it, of none by itself.

    It sees each test image once, whatever batches the memory makes necessary, and no image that is only verified or
    diagnosed. Where one simulation answers for several durations, each has a copy of the metric (``copy.deepcopy``).
    """

    @property
    def specs(self) -> Sequence[MetricSpec]:
        """What it may give; an attribute does too. One whose name ends in ``/*`` stands for any that begins so."""

    def start(self, network: SpikingNetwork, settings: SimulationSettings) -> None:
        """Begin an evaluation, and forget an earlier one."""

    def add(self, batch: SimulatedBatch) -> None:
        """Take a batch that has been simulated to the end; the value must not depend on how images are batched."""

    def values(self) -> Mapping[str, float]:
        """Return what was measured, finite numbers by name; a name that has no value is left out."""


class CallbackSink(Protocol):
    """What a training path tells while it trains, and is told before.

    A path that can go on with a training gives ``arrays``, a function that returns all that it needs to, at each point
    at which it can. The training may end there, by an exception.
    """

    resumed: TrainingState | None
    """Where the training was when it was interrupted; None for one from the start."""

    def epoch_end(self, progress: FitProgress, arrays: Arrays | None = None) -> bool:
        """Report an epoch; return whether training shall stop."""

    def batch_end(self, progress: BatchProgress, arrays: Arrays | None = None) -> None:
        """Report a training batch."""


@runtime_checkable
class Logger(Protocol):
    """Where a run's parameters, metrics and files go."""

    def start(
        self,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None = None,
        resumed: str | None = None,
    ) -> None:
        """Open the run; as a job of a multi-run, under the parent run of an id.

        ``resumed`` is the id of an unfinished run, of the same configuration, to go on with: metrics of a step that
        are there already are not recorded again.
        """

    def log_dataset(self, spec: DataSpec) -> None:
        """Record which dataset the run uses."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics, of a step if they have one."""

    def log_series(self, name: str, values: Sequence[float], first_step: int = 1) -> None:
        """Record one metric's value at consecutive steps."""

    def set_tag(self, name: str, value: str) -> None:
        """Set or replace a tag."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Record a file, under ``folder`` of the run's artifacts."""

    def finalize(self, status: Status) -> None:
        """Close the run; what was logged is kept whatever the status."""

    def shared_fit(self, fingerprint: str) -> AbstractContextManager[EarlierFit | None]:
        """Return a block that has an earlier training of a fingerprint, or None where there is none to be had.

        The run's checkpoint is logged within the block. Where another run trains the same at the time, entering it
        may wait for that run.
        """

    @property
    def address(self) -> dict[str, str]:
        """What a person needs to find the run again, by label."""


@runtime_checkable
class SweepStore(Logger, Protocol):
    """A logger that keeps the runs of a multi-run together."""

    def start_sweep(self, name: str, command: str, identity: Sequence[str], *, resume: bool) -> str:
        """Open the parent run of a multi-run, or where it resumes that of the newest of the same identity.

        Returns its id. Runs under it that a killed process left open are ended.
        """

    def sweep_jobs(self) -> Sequence[SweepJob]:
        """Return the jobs of the multi-run that is open, each as it ended last, in their order.

        All of them are over: what is still open then belonged to a process that was killed, and is ended.
        """

    def log_table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Record a table under a name that ends in ``.json``, in place of an earlier one."""

    def earlier_run(self, run_id: str | None, fingerprint: str, parent: str | None = None) -> EarlierRun | None:
        """Return the run of an id, or else the newest unfinished run of a configuration, under a parent run if any."""

    def finished_job(self, parent: str, fingerprint: str, content: Mapping[str, str] | None = None) -> SweepJob | None:
        """Return the job under a parent run that finished with a fingerprint."""


_OF_A_TRAINER = {"training": TrainingPath, "converter": Converter, "simulator": Simulator, "encoder": Encoder}


def require_parts(parts: Mapping[str, Any]) -> None:
    """Raise `ConfigError` where a part of a trainer lacks something of its family's, or is a class and no object."""
    problems = []
    for name, part in parts.items():
        wanted = _OF_A_TRAINER[name]
        if isinstance(part, type):
            problems.append(f"{name}: got the class {part.__name__}: give an object of it, made with ()")
        elif not isinstance(part, wanted):
            kind = type(part).__name__
            problems.append(
                f"{name}: got {part!r}, a {kind}: give an object that has what snnpipe.protocols.{wanted.__name__} says"
            )
    if problems:
        raise ConfigError(*problems)


def require_lists(**given: Any) -> None:
    """Raise `ConfigError` where something else than a list, or another sequence, was given."""
    problems = [
        f"{name}: got {type(value).__name__}: give a list of them, [...]"
        for name, value in given.items()
        if isinstance(value, str) or not isinstance(value, Sequence)
    ]
    if problems:
        raise ConfigError(*problems)
