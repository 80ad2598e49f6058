"""The conversion of a network written in Nengo: the network is kept unchanged, and read as layers if possible."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ConversionError
from snnpipe.conversion.native_layers import UnreadableError, neuron_names, read_layers
from snnpipe.conversion.nengo_objects import built, initial_states
from snnpipe.conversion.synapses import Costs, costs
from snnpipe.frameworks.keras_graph import nodes
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.synapses import NO_SYNAPSE, Synapse
from snnpipe.values.network import ConversionPlan, NeuronLayer, PlannedLayer, SpikingNetwork

if TYPE_CHECKING:
    import nengo


@dataclass(frozen=True)
class IdentityConverter:
    """Keep a native network unchanged.

    The network is simulated with its own neurons, synapses, gains and biases. If it can be read as layers, any
    simulator can run it and its synapses are counted; otherwise NengoDL runs it.
    """

    def explain(self, model: NativeNetwork) -> ConversionPlan:
        """Return the layers of a native network.

        Raises
        ------
        ConversionError
            If the model is a Keras model.
        """
        network = _read(model)
        own = {layer.name: layer for layer in network.layers}
        if network.keras_model is None:
            return ConversionPlan(tuple(_planned(layer) for layer in network.layers))
        return ConversionPlan(
            tuple(
                _planned(own[node.layer.name])
                if node.layer.name in own
                else PlannedLayer(
                    node.layer.name,
                    type(node.layer).__name__,
                    "native",
                    "input node" if type(node.layer).__name__ == "InputLayer" else "as it is",
                    shape=tuple(node.outputs.shape[1:]),
                )
                for node in nodes(network.keras_model)
            )
        )

    def convert(self, model: NativeNetwork, seed: int) -> SpikingNetwork:
        """Return the network with what simulators need to know about it. Its own seed is used, and not ``seed``.

        Raises
        ------
        ConversionError
            If the model is a Keras model.
        """
        return _read(model)


def spiking_network(network: "nengo.Network", input: "nengo.Node", output: "nengo.Probe") -> SpikingNetwork:
    """Return a Nengo network in the form that simulators take.

    Parameters
    ----------
    network, input, output
        Parameters of `snnpipe.frameworks.native.NativeNetwork`.
    """
    model = built(network)
    names = neuron_names(network)
    try:
        read = read_layers(network, input, output, model)
    except UnreadableError as reason:
        read, why = None, str(reason)
    else:
        why = ""
    initial = initial_states(model, {name: neurons for neurons, name in names.items()})
    keras_model = None if read is None else read.model
    cost = costs(keras_model) if keras_model is not None else Costs(uncountable=f"it cannot be read as layers: {why}")
    layers = tuple(
        NeuronLayer(
            name=name,
            shape=(neurons.size_out,) if read is None else read.shapes[name],
            neurons=neurons,
            neuron_type=neurons.ensemble.neuron_type,
            scale_firing_rates=1.0,
            synapse=NO_SYNAPSE if read is None else read.synapses[name],
            fan_out_n=cost.fan_out.get(name),
            initial_state=initial[name],
        )
        for neurons, name in names.items()
    )
    output_layer = names.get(output.target)
    return SpikingNetwork(
        network=network,
        input=input,
        output=output,
        layers=layers,
        keras_model=keras_model,
        unreadable=why,
        output_layer=output_layer,
        output_synapse=Synapse.of(output.synapse if keras_model is not None and output_layer is None else None),
        first_layer_macs=cost.first_layer_macs,
        dense_macs=cost.dense_macs,
        rate_units=cost.rate_units,
        uncountable=cost.uncountable,
    )


def _read(model: Any) -> SpikingNetwork:
    if not isinstance(model, NativeNetwork):
        raise ConversionError(
            "conversion=identity takes networks written in Nengo, and this is a Keras model: take conversion=nengo_dl"
        )
    return spiking_network(model.network, model.input, model.output)


def _planned(layer: NeuronLayer) -> PlannedLayer:
    kind = type(layer.neuron_type).__name__
    return PlannedLayer(
        layer.name,
        "Ensemble",
        "native",
        kind,
        shape=layer.shape,
        neurons=layer.size,
        synapse=layer.synapse.plain,
    )
