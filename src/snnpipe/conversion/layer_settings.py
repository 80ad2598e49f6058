"""The settings of a layer of neurons in a conversion: what is checked of them, and how Nengo's objects get them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ConfigError
from snnpipe.frameworks.rectifiers import Rectifier
from snnpipe.neurons.amplitude import has_amplitude
from snnpipe.neurons.table import name_of
from snnpipe.synapses import Synapse

if TYPE_CHECKING:
    import nengo


@dataclass(frozen=True)
class LayerSettings:
    """The settings of one layer of neurons: its scale, synapse and rectifier, and the neurons that stand for it."""

    name: str
    scale: float
    synapse: Synapse
    rectifier: Rectifier
    neurons: "nengo.neurons.NeuronType"
    why_not_spiking: str

    @property
    def neuron_name(self) -> str:
        """Name of the neuron type, as it is printed."""
        return name_of(self.neurons)


def configure(network: "nengo.Network", neurons: "nengo.ensemble.Neurons", own: LayerSettings) -> None:
    """Set the type and the synapse of a layer of neurons. NengoDL has already set its gain."""
    neurons.ensemble.neuron_type = own.neurons
    if own.synapse:
        for connection in network.all_connections:
            if connection.pre_obj is neurons:
                connection.synapse = own.synapse.nengo


def check_neuron(neuron: Any, scale: float, layer: str) -> None:
    """Raise `ConfigError` if a layer's neuron is not a Nengo neuron type, or cannot be scaled."""
    from nengo.neurons import NeuronType

    if neuron is None:
        return
    if not isinstance(neuron, NeuronType):
        raise ConfigError(
            f"conversion.neuron: got {neuron!r} for layer {layer!r}: takes Nengo neuron types; choose one with neuron="
        )
    if scale != 1 and not has_amplitude(neuron):
        raise ConfigError(
            f"conversion.scale_firing_rates: got {scale} for layer {layer!r}, but {type(neuron).__name__} has no "
            "amplitude to undo it with: take 1, or another neuron"
        )
