"""The values that pass between the parts. Plain data: nothing here knows a plugin or a framework.

Axes: b = image of the batch, t = simulation step, n = neuron (flattened), c = class.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from snnpipe.base.errors import ConversionError, DataError, SimulationError
from snnpipe.settings.schema import check_fields

if TYPE_CHECKING:
    import nengo
    import tf_keras

    from snnpipe.frameworks.rectifiers import Rectifier
    from snnpipe.values.diagnosis import Diagnosis, Remark
    from snnpipe.values.outcome import Outcome
    from snnpipe.values.training_state import TrainingState

_MAX_INT = 2**31 - 1
MAX_FLOAT, _MIN_FLOAT = 3.4e38, 1.2e-38
"""What 32 bits hold: numbers beyond are infinite, or nothing, by the time they are computed with."""


def is_held(value: float) -> float:
    """Return a number of 0 or more that 32 bits can tell from 0; for a type's annotation."""
    if 0 < value < _MIN_FLOAT:
        raise PydanticCustomError("too_small", "should be 0, or {least} or more", {"least": _MIN_FLOAT})
    return value


def _is_printable(value: str) -> str:
    if not value.isprintable():
        raise PydanticCustomError("not_printable", "should be one line of printable characters")
    return value


def is_short(value: float) -> float:
    """Return a time below a second; for a type's annotation. Whoever gives a longer one meant milliseconds."""
    if value >= 1:
        told = {"value": f"{value:g}", "seconds": f"{value / 1000:g}"}
        raise PydanticCustomError("in_seconds", "should be less than 1, in seconds: {value} ms are {seconds}", told)
    return value


PositiveInt = Annotated[int, Field(ge=1, le=_MAX_INT)]
NonNegativeInt = Annotated[int, Field(ge=0, le=_MAX_INT)]
PositiveFloat = Annotated[float, Field(gt=0, le=MAX_FLOAT, allow_inf_nan=False), AfterValidator(is_held)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=MAX_FLOAT, allow_inf_nan=False), AfterValidator(is_held)]
_Time = Annotated[
    float, Field(allow_inf_nan=False, description="a number of seconds, such as 0.001"), AfterValidator(is_short)
]
Seconds = Annotated[_Time, Field(gt=0, lt=1), AfterValidator(is_held)]
"""A time step or a time constant."""
NonNegativeSeconds = Annotated[_Time, Field(ge=0, lt=1), AfterValidator(is_held)]
Seed = Annotated[int, Field(ge=0, le=_MAX_INT - 10**6)]
"""NengoDL and tf.data add to it."""
Share = Annotated[float, Field(ge=0, lt=1, description="a number from 0 to below 1, such as 0.1 for 10 %")]
Scale = Annotated[
    PositiveFloat | dict[str, PositiveFloat],
    Field(description="a number above 0, or one per layer by name or pattern, quoted in a shell: '{conv*: 20.0}'"),
]
Sizes = Annotated[Sequence[PositiveInt], Field(description="a list of whole numbers of 1 or more, such as [32,64]")]
Text = Annotated[str, Field(min_length=1), AfterValidator(_is_printable)]
"""A name, a path, or another word that is printed and recorded."""
ExperimentName = Annotated[Text, Field(max_length=250)]


def _is_initializer(value: dict[str, Any]) -> dict[str, Any]:
    if value.keys() != {"class_name", "config"} or not isinstance(value["config"], dict):
        raise PydanticCustomError("initializer", "should be a name, or {class_name: ..., config: {...}}")
    return value


Initializer = Text | Annotated[dict[str, Any], AfterValidator(_is_initializer)]


def _is_filter(value: Any) -> Any:
    if not hasattr(value, "make_step"):
        raise PydanticCustomError("synapse_type", "should be a time constant in s, a Nengo synapse, or null")
    return value


def _is_neuron_type(value: Any) -> Any:
    if not hasattr(value, "gain_bias"):
        raise PydanticCustomError("neuron_type", "should be a Nengo neuron type")
    return value


Synapse = Seconds | Annotated[Any, AfterValidator(_is_filter)] | None
LayerSynapses = Annotated[
    Synapse | dict[str, Synapse],
    Field(
        description="a time constant in s (0.01 is 10 ms), a Nengo synapse or null, or one per layer by name or "
        "pattern, quoted in a shell: '{conv*: 0.01}'"
    ),
]
Neuron = Annotated[Any, AfterValidator(_is_neuron_type)] | None

Readout = Literal["last", "mean", "spike_count"]
Precision = Literal["float32", "float64"]


@dataclass(frozen=True)
class DataSpec:
    """What an architecture needs to know of a dataset, and what a run records of it.

    ``image_shape`` and ``n_classes`` are needed; all else can be left out.

    Attributes
    ----------
    name, version
        Of the dataset. A data module's class stands in for a name that is left out.
    image_shape
        Of one image: height, width and channels, or of any other rank that the architecture takes.
    n_classes
        Number of classes; labels are 0 to ``n_classes - 1``.
    class_names
        Their names, in order; left out, they are their numbers.
    n_train, n_validation, n_test
        Number of images of each split, limits applied. Left out (None), it is counted before training, in a pass over
        the split.
    scaling
        How pixel values are scaled, for people to read.
    source
        Folder the prepared dataset is read from.
    digest
        Of what all splits hold, so that two of one name and version can be told apart. Whoever gives one answers for
        it: another content has another digest. Empty, it is taken from the batches, in a pass over each split.
    source_type
        Kind of the source, in MLflow's words (``tensorflow_datasets``, ``local``, ...); empty where ``source`` tells.

    Raises
    ------
    DataError
        If ``image_shape`` or ``n_classes`` is missing, or a value is outside its domain.
    """

    name: str = ""
    version: str = ""
    image_shape: tuple[int, ...] = ()
    n_classes: int = 0
    class_names: tuple[str, ...] = ()
    n_train: int = None  # type: ignore[assignment]  # a number wherever a run reads it
    n_validation: int = None  # type: ignore[assignment]
    n_test: int = None  # type: ignore[assignment]
    scaling: str = ""
    source: str = ""
    digest: str = ""
    source_type: str = ""

    def __post_init__(self) -> None:
        shape, n = self.image_shape, self.n_classes
        if not isinstance(shape, Sequence) or not shape or not all(is_whole(size) and size > 0 for size in shape):
            raise DataError(
                f"DataSpec.image_shape: got {shape!r}: give the shape of one image without the batch, such as "
                "(28, 28, 1)"
            )
        if not is_whole(n) or n < 2:
            yes_or_no = ": yes or no are 2 classes, and the model has a logit for each" if n == 1 else ""
            raise DataError(f"DataSpec.n_classes: got {n!r}: give the number of classes, 2 or more{yes_or_no}")
        given = self.class_names
        names = () if given is None else tuple(given)
        if isinstance(given, str) or len(names) not in (0, n):
            raise DataError(
                f"DataSpec.class_names: got {given!r}, and n_classes is {n}: give one name per class, in the order of "
                "the labels, or leave class_names out"
            )
        for field_name in ("n_train", "n_validation", "n_test"):
            count = getattr(self, field_name)
            if count is not None and (not is_whole(count) or count < 0):
                raise DataError(f"DataSpec.{field_name}: got {count!r}: give a number of images, or leave it out")
        object.__setattr__(self, "image_shape", tuple(map(int, shape)))
        object.__setattr__(self, "n_classes", int(n))
        object.__setattr__(self, "class_names", tuple(map(str, names or range(n))))


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python's or NumPy's."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


@dataclass(frozen=True)
class PlannedLayer:
    """What conversion will make of one layer of the model.

    ``status`` is one of

    - ``native``: becomes Nengo objects (neurons, or a linear connection);
    - ``folded``: merged into the layer before it, or dropped where it does not change the class;
    - ``passthrough``: reorders or passes on values, costs nothing;
    - ``fallback``: runs as a TensorNode in software only (``conversion.allow_fallback=true``);
    - ``unsupported``: cannot be converted; ``reason`` says why and the cure.

    ``rate_units`` counts the units that pass on a rate at every step and no spikes.
    """

    name: str
    kind: str
    status: Literal["native", "folded", "passthrough", "fallback", "unsupported"]
    becomes: str
    reason: str = ""
    shape: tuple[int, ...] = ()
    neurons: int = 0
    rate_units: int = 0
    scale_firing_rates: float | None = None
    synapse: "float | str | nengo.synapses.LinearFilter | None" = None


@dataclass(frozen=True)
class ConversionPlan:
    """What conversion will make of each layer, known before anything is trained.

    Attributes
    ----------
    layers
        The layers, from input to output.
    notes
        What differs from the model that was given, a sentence each.
    cure
        What would let all of the unsupported layers run; empty where nothing would.
    """

    layers: tuple[PlannedLayer, ...]
    notes: tuple[str, ...] = ()
    cure: str = ""

    @property
    def unsupported(self) -> tuple[PlannedLayer, ...]:
        """The layers that cannot be converted."""
        return tuple(layer for layer in self.layers if layer.status == "unsupported")

    @property
    def spiking_output(self) -> bool:
        """Whether the output is read from neurons."""
        return any(layer.neurons for layer in self.layers[-1:])

    def require_convertible(self) -> None:
        """Raise `ConversionError` where layers cannot be converted, naming each and the cure."""
        if self.unsupported:
            refused = [
                f"layer {layer.name!r} ({layer.kind}) cannot be converted: {layer.reason}" for layer in self.unsupported
            ]
            raise ConversionError(*refused, *filter(None, [self.cure]))


@dataclass(frozen=True, eq=False)
class NeuronLayer:
    """One layer of neurons of a spiking network.

    Attributes
    ----------
    name
        Of the Keras layer it came from.
    shape
        Of its output, without the batch.
    neurons
        Its ``nengo.ensemble.Neurons``.
    neuron_type
        Nengo's neuron type, amplitude ``1 / scale_firing_rates`` included.
    scale_firing_rates
        Factor on the input current, its inverse on the output.
    synapse
        Time constant, s, of the low-pass filter on the output, or the Nengo synapse that filters it; None
        for no filter.
    fan_out_n
        Synapses that a spike of each neuron drives; None where they cannot be counted.
    initial_state
        Each state variable of the neuron type (``voltage``, ``refractory_time``) before the first step,
        one value per neuron.
    """

    name: str
    shape: tuple[int, ...]
    neurons: "nengo.ensemble.Neurons"
    neuron_type: "nengo.neurons.NeuronType"
    scale_firing_rates: float
    synapse: "float | nengo.synapses.LinearFilter | None"
    fan_out_n: NDArray[np.int64] | None
    initial_state: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape))

    @property
    def spiking(self) -> bool:
        """Whether the neurons spike (a rate neuron's output is its rate)."""
        return bool(self.neuron_type.spiking)

    @property
    def signed(self) -> bool:
        """Whether the neurons' spikes have either sign."""
        own = self.neuron_type
        return self.spiking and (bool(getattr(own, "negative_slope", 0)) or bool(own.negative))

    @property
    def random(self) -> bool:
        """Whether the neurons draw their spikes, so that two simulators agree in distribution only."""
        return type(self.neuron_type).__name__ in ("PoissonSpiking", "StochasticSpiking")


@dataclass(frozen=True, eq=False)
class SpikingNetwork:
    """What conversion (or a native architecture) hands to a simulator. Simulators read nothing else.

    Attributes
    ----------
    network
        The Nengo network.
    input
        Its input node, one value per pixel.
    output
        Probe on its output, one value per class.
    layers
        Its layers of neurons, from input to output.
    keras_model
        Its layers as a Keras model, with a ReLU where the neurons are: the model that was converted, or what was
        read from a native network. None for a native network that cannot be read as layers.
    unreadable
        Why there is no ``keras_model``.
    rectifiers
        The rectifier of the Keras model that each layer of neurons stands for, by its name: with rates in place of
        spikes the network computes what the model does. Empty where no conversion promises that.
    output_layer
        Name of the layer of neurons that the output is read from, None where the output is linear.
    output_synapse
        Time constant, s, of the low-pass filter on a linear output, or the Nengo synapse that filters it; None
        for no filter.
    first_layer_macs
        Multiply-accumulates of the connections that carry the input image, once.
    dense_macs
        Multiply-accumulates of one forward pass of the whole network.
    rate_units
        How many units send a number at every step and are no layer of neurons, by the name of their layer.
    uncountable
        Why its synapses cannot be counted; empty where they can.
    """

    network: "nengo.Network"
    input: "nengo.Node"
    output: "nengo.Probe"
    layers: tuple[NeuronLayer, ...]
    keras_model: "tf_keras.Model | None" = None
    unreadable: str = ""
    rectifiers: "Mapping[str, Rectifier]" = field(default_factory=dict)
    output_layer: str | None = None
    output_synapse: "float | nengo.synapses.LinearFilter | None" = None
    first_layer_macs: int = 0
    dense_macs: int = 0
    rate_units: Mapping[str, int] = field(default_factory=dict)
    uncountable: str = ""

    @property
    def not_spiking(self) -> dict[str, int]:
        """How many units send a rate at every step, by the name of their layer."""
        return {layer.name: layer.size for layer in self.layers if not layer.spiking} | dict(self.rate_units)

    @property
    def no_synops(self) -> str:
        """Why synaptic operations are not counted, and energy with them; empty where they are."""
        reasons = [self.uncountable] if self.uncountable else []
        if not reasons:
            names = [repr(layer.name) for layer in self.layers if layer.fan_out_n is None]
            reasons += [f"the converter gives no fan-out of layer {name}" for name in names[:1]]
        units = self.not_spiking
        if len(units) == 1:
            ((name, n),) = units.items()
            sends = f"its {n:,} units send" if n > 1 else "its unit sends"
            reasons.append(f"layer {name!r} does not spike: {sends} a rate at every step")
        elif units:
            names = [repr(name) for name in units]
            together = f"{', '.join(names[:-1])} and {names[-1]}"
            reasons.append(
                f"layers {together} do not spike: their {sum(units.values()):,} units send rates at every step"
            )
        return "; ".join(reasons)


class ImageEncoder(Protocol):
    """The part of an encoder that a stimulus needs."""

    constant: ClassVar[bool]

    def encode(
        self, images: NDArray[np.float32], image_ids: Sequence[int], first_step: int, n_steps: int
    ) -> NDArray[np.float32]:
        """Return the input over time, shape ``(b, n_steps, n)``."""


@dataclass(frozen=True, eq=False)
class Rates:
    """What a network gives for constant images if its neurons pass on their rates at once, without filters.

    Attributes
    ----------
    layers
        Output of each layer of neurons, shape ``(b, n)``, by its name.
    output
        Of the network, shape ``(b, c)``.
    """

    layers: Mapping[str, NDArray[np.floating[Any]]]
    output: NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Stimulus:
    """A batch of images as a simulator sees them: values over time, made when they are asked for.

    Attributes
    ----------
    images
        Shape ``(b, height, width, channels)``.
    image_ids
        Index of each image in the test split, on which an encoder's randomness depends.
    encoder
        What makes an image a signal over time.
    record
        Rows of the batch whose single spikes are wanted.
    """

    images: NDArray[np.float32]
    image_ids: Sequence[int]
    encoder: ImageEncoder
    record: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.record)) < len(self.record) or not all(0 <= row < len(self) for row in self.record):
            raise ValueError(f"record names rows of {len(self)} images, each once: got {self.record}")

    def __len__(self) -> int:
        return len(self.images)

    def steps(self, first_step: int, n_steps: int) -> NDArray[np.float32]:
        """Return the input of steps ``first_step`` and on, shape ``(b, n_steps, n)``.

        Raises
        ------
        SimulationError
            If the encoder returns an array of another shape.
        """
        found = self.encoder.encode(self.images, self.image_ids, first_step, n_steps)
        expected = (len(self), n_steps, self.images[0].size)
        if np.shape(found) != expected:
            raise SimulationError(
                f"encoder {type(self.encoder).__name__} gave an array of shape {np.shape(found)} for {n_steps} steps: "
                f"it must be {expected} (images, steps, values)"
            )
        return found


@dataclass(frozen=True, eq=False)
class SpikeEvents:
    """Spikes as a sparse list, one entry per image, step and neuron that spiked.

    Attributes
    ----------
    image, step, neuron
        Index of the image in the test split, of the simulation step (from 0), of the neuron.
    count
        Spikes in that step.
    """

    image: NDArray[np.int32]
    step: NDArray[np.int32]
    neuron: NDArray[np.int32]
    count: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def concatenate(cls, parts: Sequence["SpikeEvents"]) -> "SpikeEvents":
        """Return the events of ``parts``, in their order."""
        if not parts:
            return cls(*(np.empty(0, np.int32) for _ in range(4)))
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("image", "step", "neuron", "count"))
        )


@dataclass(frozen=True, eq=False)
class LayerActivity:
    """What one layer did in a chunk of steps.

    Attributes
    ----------
    counts_bn
        Spikes of each neuron in the chunk (for a rate neuron: its rate times the time that passed).
    events
        Single spikes of the recorded images.
    signed_bn
        Of neurons whose spikes have either sign, the spikes of each added up with their sign; None for other neurons.
    """

    counts_bn: NDArray[np.float32]
    events: SpikeEvents
    signed_bn: NDArray[np.float32] | None = None

    @property
    def net_bn(self) -> NDArray[np.float32]:
        """What the spikes of each neuron add up to."""
        return self.counts_bn if self.signed_bn is None else self.signed_bn


@dataclass(frozen=True, eq=False)
class SimulationChunk:
    """The network's activity over a run of consecutive steps, for one batch.

    Attributes
    ----------
    first_step
        Step (from 0) that the chunk begins with.
    outputs_btc
        Output of the network after each step.
    layers
        Activity of each layer of neurons, by its name.
    output_spikes_btc
        Spikes of the output neurons in each step, None where the output is linear.
    """

    first_step: int
    outputs_btc: NDArray[np.float32]
    layers: Mapping[str, LayerActivity]
    output_spikes_btc: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class SimulationSettings:
    """What every simulator is told.

    Parameters
    ----------
    n_steps
        Simulation steps that an image is shown.
    dt
        Seconds per step.
    batch_size
        Images simulated together.
    max_images
        Simulate the first so many test images; None for all of them.
    readout
        What turns the output over time into a class: ``last`` step, ``mean`` over the last
        ``readout_steps``, or ``spike_count`` of output neurons since the first step.
    readout_steps
        Steps that ``mean`` averages over.
    verify_images
        Simulate the first so many images in NengoDL too, before the run, and compare; 0 for none.
    precision
        Of all numbers. ``float64`` tells differences by rounding from mistakes; it is slower.
    chunk_steps
        Steps handed on at a time; None for all of them, or as many as an input that changes fits into
        64 MiB. The result does not depend on it.
    """

    n_steps: PositiveInt = 60
    dt: Seconds = 0.001
    batch_size: PositiveInt = 100
    max_images: PositiveInt | None = None
    readout: Readout = "last"
    readout_steps: PositiveInt = 10
    verify_images: NonNegativeInt = 0
    precision: Precision = "float32"
    chunk_steps: PositiveInt | None = None

    def __post_init__(self) -> None:
        check_fields(self, "simulator")


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
    """

    image_ids: Sequence[int]
    labels: NDArray[np.int64]
    ann_classes: NDArray[np.int64]
    scores_btc: NDArray[np.float64]
    events: Mapping[str, SpikeEvents]


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
    """

    overrides: Sequence[str]
    metrics: Mapping[str, float] | None = None
    error: str = ""
    mistake: bool = False
    run_id: str = ""
    output_dir: str = ""
    number: int = 0


@dataclass(eq=False)
class RunState:
    """What callbacks may see of a run, and what they may ask for and tell.

    Attributes
    ----------
    seed
        Of the run.
    output_dir
        Folder of the run's files.
    log_artifact
        Hands a file to the loggers, with the folder it goes to.
    spec, plan, network, settings
        Of dataset, conversion, spiking network and simulation, once they are known.
    stop_training
        A callback sets this to end training after the epoch.
    results
        Every metric of the run so far.
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
    spec: DataSpec | None = None
    plan: ConversionPlan | None = None
    network: SpikingNetwork | None = None
    settings: SimulationSettings | None = None
    stop_training: bool = False
    results: dict[str, float] = field(default_factory=dict)
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
