"""The attributes and methods that each family of plugins must have. A plugin needs no base class.

`snnpipe.testing` checks an object against the contract of its family.
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
from snnpipe.values.simulation import SignalEncoder, SimulationChunk, SimulationSettings, Stimulus
from snnpipe.values.training_state import TrainingState

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

Status = Literal["FINISHED", "FAILED", "KILLED"]
Arrays = Callable[[], Mapping[str, NDArray[Any]]]


@runtime_checkable
class DataModule(Protocol):
    """A dataset, streamed.

    Datasets yield batches ``(samples, labels)``: float32 of shape ``(b, *input_shape)`` and int64 of shape ``(b,)``.
    The last batch of a split may be shorter. Sample weights of shape ``(b,)`` may come third. A dataset may be a
    tf.data dataset, a Keras sequence, or anything else that yields batches as arrays.
    A run sees a module through `snnpipe.data.checked_data.CheckedData`. It also accepts other kinds of numbers, labels
    of shape ``(b, 1)``, one-hot labels, and samples without a channel axis. It refuses everything else before training.

    A data module may have an attribute ``pixels``, a `snnpipe.PixelScaling`: how it scales pixels of 0 to 255. A saved
    network takes it with it, so that pictures can be shown to it.

    A data module may have four more methods. ``calibration_dataset()`` returns an epoch of training batches without the
    random changes that ``train_dataset`` makes; scales from data are taken from them. ``explain(error)`` gets an error
    that was raised while its datasets were used, and returns the `DataError` to raise instead, or None.
    ``sample(split)`` returns batches like those of ``"train"``, ``"validation"`` or ``"test"``, for a split whose own
    first batch takes long. ``digests()`` returns digests of the data that a training reads and of the test samples, as
    ``{"fit": ..., "test": ...}``. They replace the digests that snnpipe computes in a pass over each split, and snnpipe
    does not check them: a module that changes its data must change them too. The same holds for ``spec.digest``, which
    covers all splits.
    """

    @property
    def batch_size(self) -> int:
        """Number of samples in a training batch. It may also be a plain attribute."""

    @property
    def spec(self) -> DataSpec:
        """Facts about the dataset, known after `setup`."""

    def prepare_data(self) -> None:
        """Make the dataset available on this machine (download, write files)."""

    def setup(self) -> None:
        """Open the prepared dataset and determine the splits."""

    def train_dataset(self, epoch: int = 0) -> "tf.data.Dataset":
        """Return one epoch of training batches, in an order that the seed and the epoch determine."""

    def validation_dataset(self) -> "tf.data.Dataset | None":
        """Return the validation batches; None if there are none."""

    def test_dataset(self, batch_size: int | None = None) -> "tf.data.Dataset":
        """Return the test batches, always in the same order."""


@runtime_checkable
class Architecture(Protocol):
    """Builds an untrained network."""

    def build(self, spec: DataSpec) -> "tf_keras.Model":
        """Return a model whose input is ``spec.input_shape`` and whose output is raw logits."""


@runtime_checkable
class TrainingPath(Protocol):
    """Trains a model in place.

    It may have ``check_classes(spec)``, which raises `ConfigError` if a setting names a class that the dataset lacks.
    With ``trains = False`` it only gives the model its weights.
    """

    reuse: bool

    def check(self, model: "tf_keras.Model") -> None:
        """Raise `TrainingError` if this path cannot train the model."""

    def fit(self, model: "tf_keras.Model", data: DataModule, callbacks: "CallbackSink") -> Checkpoint:
        """Train ``model`` and return the trained weights."""


class Regularizer(Protocol):
    """A penalty on the activity of layers. It has the same meaning on every training path."""

    weight: float

    def scale_of(self, layer_names: Sequence[str]) -> dict[str, float]:
        """Return the factor from activation to rate in Hz, or to another unit, for each penalised layer, by name."""

    def penalty(self, rate_hz: "tf.Tensor") -> "tf.Tensor":
        """Return the penalty of each sample, shape ``(b,)``, from the layer's rates, shape ``(b, n)``."""


@runtime_checkable
class Converter(Protocol):
    """Converts a trained model to a spiking network."""

    def explain(self, model: "tf_keras.Model") -> ConversionPlan:
        """Return what each layer will become. This neither trains nor converts anything."""

    def convert(self, model: "tf_keras.Model", seed: int) -> SpikingNetwork:
        """Return the spiking network. ``seed`` determines its initial voltages."""


@runtime_checkable
class Encoder(SignalEncoder, Protocol):
    """Turns a sample of any shape into the network's input over time, and says whether that is constant."""

    def seeded(self, seed: int) -> SignalEncoder:
        """Return this encoder with the run's seed."""


class OpenSimulator(Protocol):
    """A network loaded for simulation."""

    @property
    def used(self) -> str:
        """Which simulator runs the network, and why it was chosen if there was a choice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, stimulus: Stimulus) -> Iterator[SimulationChunk]:
        """Simulate a batch from the network's initial state; yield its activity chunk by chunk."""


@runtime_checkable
class Simulator(Protocol):
    """Runs a spiking network.

    The attributes are those of `snnpipe.values.simulation.SimulationSettings`.
    """

    n_steps: int
    dt: float
    batch_size: int
    max_images: int | None
    readout: Readout
    readout_steps: int | None
    verify_images: int
    precision: Precision
    chunk_steps: int | None

    def with_settings(self, **changes: Any) -> Self:
        """Return the simulator with some settings changed."""

    def open(self, network: SpikingNetwork, constant_input: bool = True) -> OpenSimulator:
        """Load a network for simulation. The result is a context manager, so that its resources are released.

        Before training, this is also called on the untrained network, to find out early whether the simulator can run
        it. ``constant_input`` says whether the input is the same at each step.
        """

    def reference(self) -> "Simulator":
        """Return the simulator that results for the first ``verify_images`` samples are compared with."""


@runtime_checkable
class Callback(Protocol):
    """Has hooks that a run calls at fixed points. The hooks of `snnpipe.callbacks.base.Callback` do nothing."""

    sample_images: int
    changes_fit: bool

    def on_prepare_end(self, state: RunState) -> None: ...

    def on_run_start(self, state: RunState) -> None: ...

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

    def on_simulation_end(self, state: RunState) -> None: ...

    def on_evaluate_end(self, state: RunState) -> None: ...

    def on_exception(self, state: RunState, error: BaseException) -> None: ...


@runtime_checkable
class Metric(Protocol):
    """Measures something of its own of the simulated test images.

    It may have ``sample_images``: of how many of the first test images it is given the single spikes (`SpikeEvents`),
    None for all of them; without it, of none by itself. With ``every_step = True`` each of its chunks is one step.

    It may have ``prepare(batch)``, which gets validation images before the test images: at most 1,000 of them, batch by
    batch, with the class scores but without spikes and chunks. If the data have no validation images, training images
    take their place, and the run has a remark that says so.

    It sees each test image once, in batches of the size that the memory allows, and no image that is only verified or
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
    """Takes the reports of a training path while it trains, and gives it the state to continue from.

    ``arrays`` makes a training resumable. A path passes it at each point from which the training can continue: a
    function that returns all the arrays that this needs. The call may raise an exception that ends the training there.
    """

    resumed: TrainingState | None
    """State of an interrupted training to continue from; None for a training from the start."""

    def epoch_end(self, progress: FitProgress, arrays: Arrays | None = None) -> bool:
        """Report an epoch, and return whether training shall stop."""

    def batch_end(self, progress: BatchProgress, arrays: Arrays | None = None) -> None:
        """Report a training batch."""


@runtime_checkable
class Logger(Protocol):
    """Records a run's parameters, metrics and files.

    A logger may have ``log_params(params)``, which adds parameters that are known only during the run.
    """

    def start(
        self,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None = None,
        resumed: str | None = None,
    ) -> None:
        """Open the run.

        ``parent`` is the id of the parent run, for a job of a multi-run. ``resumed`` is the id of an unfinished run of
        the same configuration to continue: metrics of a step that the run already has are not recorded again.
        """

    def log_dataset(self, spec: DataSpec) -> None:
        """Record which dataset the run uses."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics, with their step if they have one."""

    def log_series(self, name: str, values: Sequence[float], first_step: int = 1) -> None:
        """Record one metric's value at consecutive steps."""

    def set_tag(self, name: str, value: str) -> None:
        """Set or replace a tag."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Record a file in ``folder`` of the run's artifacts."""

    def finalize(self, status: Status) -> None:
        """Close the run. Everything logged is kept, for every status."""

    def shared_fit(self, fingerprint: str) -> AbstractContextManager[EarlierFit | None]:
        """Return a context manager that yields an earlier training with this fingerprint, or None if there is none.

        The run logs its checkpoint within the block. If another run is doing the same training, entering the block may
        wait for that run.
        """

    @property
    def address(self) -> dict[str, str]:
        """What a person needs to find the run again, by label."""


@runtime_checkable
class SweepStore(Logger, Protocol):
    """A logger that keeps the runs of a multi-run together."""

    def start_sweep(self, name: str, command: str, identity: Sequence[str], *, resume: bool) -> str:
        """Open the parent run of a multi-run and return its id.

        With ``resume``, it is the parent run of the newest multi-run of the same identity. Its child runs that a killed
        process left open are ended.
        """

    def sweep_jobs(self) -> Sequence[SweepJob]:
        """Return the jobs of the open multi-run in their order, each with its latest result.

        No job is running when this is called. A job's run that is still open belonged to a killed process; it is ended.
        """

    def log_table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Record a table under a name that ends in ``.json``. It replaces an earlier table of that name."""

    def earlier_run(self, run_id: str | None, fingerprint: str, parent: str | None = None) -> EarlierRun | None:
        """Return the run with this id; without an id, the newest unfinished run with this fingerprint.

        With ``parent``, only runs under that parent run count. None if there is no such run.
        """

    def finished_job(self, parent: str, fingerprint: str, content: Mapping[str, str] | None = None) -> SweepJob | None:
        """Return the finished job with this fingerprint under a parent run; None if there is none.

        With ``content``, the digests of the job's content must be equal too.
        """


_OF_A_TRAINER = {"training": TrainingPath, "converter": Converter, "simulator": Simulator, "encoder": Encoder}


def require_parts(parts: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if a part of a trainer lacks a member of its protocol, or is a class and no object."""
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
    """Raise `ConfigError` if a value is neither a list nor another sequence."""
    problems = [
        f"{name}: got {type(value).__name__}: give a list of them, [...]"
        for name, value in given.items()
        if isinstance(value, str) or not isinstance(value, Sequence)
    ]
    if problems:
        raise ConfigError(*problems)
