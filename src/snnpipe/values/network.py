"""The plan of a conversion, and the spiking network that a conversion makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConversionError
from snnpipe.neurons.amplitude import amplitude_of
from snnpipe.neurons.table import neuron_model
from snnpipe.settings.domains import PoolingOverTime
from snnpipe.synapses import NO_SYNAPSE, Synapse

if TYPE_CHECKING:
    import nengo
    import tf_keras

    from snnpipe.frameworks.rectifiers import Rectifier


@dataclass(frozen=True)
class PlannedLayer:
    """What one layer of the model becomes in the conversion.

    ``status`` is one of

    - ``native``: the layer becomes Nengo objects (neurons, or a linear connection);
    - ``folded``: it is merged into the layer before it, or dropped if it does not change the class;
    - ``passthrough``: it reorders or passes on values and costs nothing;
    - ``fallback``: it runs as a TensorNode, in software only (``conversion.allow_fallback=true``);
    - ``unsupported``: it cannot be converted; ``reason`` says why, and what helps.

    ``rate_units`` is the number of units that send a rate at every step and no spikes. ``synapse`` is the time constant
    in s, or Nengo's name of the synapse; it may be given as anything that `Synapse.of` takes.
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
    """What each layer becomes in the conversion, known before anything is trained.

    Attributes
    ----------
    layers
        The layers, from input to output.
    notes
        Differences from the given model, one sentence each.
    cure
        A change with which all unsupported layers run; empty if there is none.
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
        """Raise `ConversionError` if layers cannot be converted. The message names each of them and the cure."""
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
        Name of the Keras layer that it came from.
    shape
        Shape of its output, without the batch.
    neurons
        Its ``nengo.ensemble.Neurons``.
    neuron_type
        Nengo's neuron type, with its amplitude of ``1 / scale_firing_rates``.
    scale_firing_rates
        Factor on the input current. The output is divided by it.
    synapse
        Filter on the output; it may be given as anything that `Synapse.of` takes.
    fan_out_n
        Number of synapses that a spike of each neuron drives, shape ``(n,)``; None if they cannot be counted.
    initial_state
        Value of each state variable of the neuron type (``voltage``, ``refractory_time``) before the first step,
        one per neuron.
    channel_factors_c
        What its channels were divided by before the conversion, shape ``(c,)``; None where they were not.
    bias_offset_c
        What was added to the current of each channel on purpose, in the unit of the trained model's activations, shape
        ``(c,)``; None where nothing was.
    """

    name: str
    shape: tuple[int, ...]
    neurons: "nengo.ensemble.Neurons"
    neuron_type: "nengo.neurons.NeuronType"
    scale_firing_rates: float
    synapse: Synapse
    fan_out_n: NDArray[np.int64] | None
    initial_state: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    channel_factors_c: NDArray[np.float64] | None = None
    bias_offset_c: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "synapse", Synapse.of(self.synapse, f"synapse of layer {self.name!r}"))

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape))

    def as_scaled(self, activations_bn: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return activations of the model's layer, shape ``(b, n)``, as the converted layer has them."""
        if self.channel_factors_c is None:
            return activations_bn
        return (activations_bn / self._factors_n).astype(activations_bn.dtype)

    def unscaled(self, values_bn: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return values of the converted layer, shape ``(b, n)``, as the model's layer has them."""
        if self.channel_factors_c is None:
            return values_bn
        return (values_bn * self._factors_n).astype(values_bn.dtype)

    def as_scaled_c(self, values_c: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a number per channel of the model's layer, in the unit of the converted layer."""
        return values_c if self.channel_factors_c is None else values_c / self.channel_factors_c

    def unscaled_c(self, values_c: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a number per channel of the converted layer, in the unit of the model's layer."""
        return values_c if self.channel_factors_c is None else values_c * self.channel_factors_c

    @property
    def _factors_n(self) -> NDArray[np.float64]:
        assert self.channel_factors_c is not None
        return np.broadcast_to(self.channel_factors_c, self.shape).ravel()

    @property
    def spiking(self) -> bool:
        """Whether the neurons spike (a rate neuron's output is its rate)."""
        return bool(self.neuron_type.spiking)

    @property
    def signed(self) -> bool:
        """Whether the neurons' spikes can be negative as well as positive."""
        return self.spiking and neuron_model(self.neuron_type).signed(self.neuron_type)

    @property
    def random(self) -> bool:
        """Whether spikes are drawn at random, so that two simulators agree only in distribution."""
        return neuron_model(self.neuron_type).random

    def spike_unit(self, dt: float) -> float:
        """Return a neuron's output when it spikes once in a step: amplitude / dt."""
        return amplitude_of(self.neuron_type) / dt


@dataclass(frozen=True, eq=False)
class SpikingNetwork:
    """The spiking network that a conversion, or a native architecture, gives to a simulator.

    Simulators read nothing else.

    Attributes
    ----------
    network
        The Nengo network.
    input
        Its input node, one value for each value of a sample.
    output
        Probe on its output, one value per class.
    layers
        Its layers of neurons, from input to output.
    keras_model
        The network as a Keras model, with a ReLU in place of each layer of neurons. It is the model that was converted,
        or a model that was read from a native network. None for a native network that cannot be read as layers.
    unreadable
        Why there is no ``keras_model``.
    rectifiers
        For each layer of neurons, by name, the rectifier of the Keras model that it replaces. With rates in place of
        spikes, the network computes what the model computes. Empty if the conversion does not promise that.
    max_pooling
        How max pooling layers pool over time (`snnpipe.conversion.max_pooling`); None if each step has its own maximum.
    output_layer
        Name of the layer of neurons that the output is read from; None if the output is linear.
    output_synapse
        Filter on a linear output; it may be given as anything that `Synapse.of` takes.
    first_layer_macs
        Number of multiply-accumulates of the connections that carry the input image, for one pass.
    dense_macs
        Number of multiply-accumulates of one forward pass of the whole network.
    rate_units
        Number of units that send a number at every step and belong to no layer of neurons, by the name of their layer.
    uncountable
        Why its synapses cannot be counted; empty if they can.
    """

    network: "nengo.Network"
    input: "nengo.Node"
    output: "nengo.Probe"
    layers: tuple[NeuronLayer, ...]
    keras_model: "tf_keras.Model | None" = None
    unreadable: str = ""
    rectifiers: "Mapping[str, Rectifier]" = field(default_factory=dict)
    max_pooling: PoolingOverTime | None = None
    output_layer: str | None = None
    output_synapse: Synapse = NO_SYNAPSE
    first_layer_macs: int = 0
    dense_macs: int = 0
    rate_units: Mapping[str, int] = field(default_factory=dict)
    uncountable: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_synapse", Synapse.of(self.output_synapse, "synapse of the output"))

    @property
    def bias_offsets(self) -> dict[str, NDArray[np.float64]]:
        """What was added to the current of each channel, by the name of the layer, in the unit of the activations."""
        return {layer.name: layer.bias_offset_c for layer in self.layers if layer.bias_offset_c is not None}

    @property
    def not_spiking(self) -> dict[str, int]:
        """Number of units that send a rate at every step, by the name of their layer."""
        return {layer.name: layer.size for layer in self.layers if not layer.spiking} | dict(self.rate_units)

    @property
    def no_synops(self) -> str:
        """Why synaptic operations and energy are not counted; empty if they are."""
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
