"""What conversion plans, and the spiking network that it makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConversionError
from snnpipe.neurons.amplitude import amplitude_of
from snnpipe.neurons.model import neuron_model
from snnpipe.synapses import NO_SYNAPSE, Synapse

if TYPE_CHECKING:
    import nengo
    import tf_keras

    from snnpipe.frameworks.rectifiers import Rectifier


@dataclass(frozen=True)
class PlannedLayer:
    """What conversion will make of one layer of the model.

    ``status`` is one of

    - ``native``: becomes Nengo objects (neurons, or a linear connection);
    - ``folded``: merged into the layer before it, or dropped where it does not change the class;
    - ``passthrough``: reorders or passes on values, costs nothing;
    - ``fallback``: runs as a TensorNode in software only (``conversion.allow_fallback=true``);
    - ``unsupported``: cannot be converted; ``reason`` says why and the cure.

    ``rate_units`` counts the units that pass on a rate at every step and no spikes. ``synapse`` is its time constant in
    s, or what Nengo calls it; it may be given as anything that `Synapse.of` takes.
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
    synapse: "float | str | None" = None

    def __post_init__(self) -> None:
        if not isinstance(self.synapse, str):
            plain = Synapse.of(self.synapse, f"synapse of layer {self.name!r}").plain
            object.__setattr__(self, "synapse", plain)


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
        Filters the output; it may be given as anything that `Synapse.of` takes.
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
    synapse: Synapse
    fan_out_n: NDArray[np.int64] | None
    initial_state: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "synapse", Synapse.of(self.synapse, f"synapse of layer {self.name!r}"))

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
        return self.spiking and neuron_model(self.neuron_type).signed(self.neuron_type)

    @property
    def random(self) -> bool:
        """Whether the neurons draw their spikes, so that two simulators agree in distribution only."""
        return neuron_model(self.neuron_type).random

    def spike_unit(self, dt: float) -> float:
        """Return a neuron's physical output when it spikes once in a step: amplitude / dt."""
        return amplitude_of(self.neuron_type) / dt


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
        Filters a linear output; it may be given as anything that `Synapse.of` takes.
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
    output_synapse: Synapse = NO_SYNAPSE
    first_layer_macs: int = 0
    dense_macs: int = 0
    rate_units: Mapping[str, int] = field(default_factory=dict)
    uncountable: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_synapse", Synapse.of(self.output_synapse, "synapse of the output"))

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
