"""Builds the spiking network of a prepared model from the settings of its layers of neurons."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConversionError, one_line
from snnpipe.conversion.layer_settings import LayerSettings, configure
from snnpipe.conversion.nengo_dl_layers import make_converter
from snnpipe.conversion.nengo_objects import built, initial_states
from snnpipe.conversion.synapses import Costs, costs
from snnpipe.settings.domains import PoolingOverTime
from snnpipe.values.network import NeuronLayer, PlannedLayer, SpikingNetwork

if TYPE_CHECKING:
    import tf_keras


def assembled(
    ready: "tf_keras.Model",
    settings: Mapping[str, LayerSettings],
    seed: int,
    max_pooling: PoolingOverTime,
    factors: Mapping[str, NDArray[np.float64]],
    offsets: Mapping[str, NDArray[np.float64]],
    fallback: PlannedLayer | None = None,
) -> SpikingNetwork:
    """Return the spiking network of a prepared model.

    Parameters
    ----------
    ready
        Model that `snnpipe.conversion.rewrite.prepare` made, with the weights of the spiking network.
    settings
        Settings of each layer of neurons, by name, from input to output.
    seed
        Seed of all that the neurons draw.
    max_pooling
        How max pooling layers pool over time.
    factors
        What the channels of layers have been divided by, by layer name, shape ``(c,)``.
    offsets
        What has been added to the currents of channels on purpose, by layer name, in the unit of the trained model's
        activations, shape ``(c,)``.
    fallback
        First layer that runs as a TensorNode; None if there is none.

    Raises
    ------
    ConversionError
        If NengoDL cannot convert the model.
    """
    try:
        converter = make_converter(
            ready,
            max_pooling,
            inference_only=True,
            allow_fallback=fallback is not None,
            scale_firing_rates={ready.get_layer(name): own.scale for name, own in settings.items()},
        )
    except Exception as error:
        raise ConversionError(
            f"model: NengoDL cannot convert it ({type(error).__name__}: {one_line(error)[:300]})"
            + (f", with {fallback.name!r} in software: leave it out" if fallback else "")
        ) from error
    converter.net.seed = seed
    output = converter.outputs[ready.outputs[0]]
    cost = Costs.of_no_synapses(fallback.name, fallback.kind) if fallback else costs(ready)
    neurons: dict[str, Any] = {name: converter.layers[ready.get_layer(name).output] for name in settings}
    for name, own in settings.items():
        configure(converter.net, neurons[name], own)
    output_layer = next((name for name in settings if neurons[name] is output.target), None)
    if output_layer is not None:
        output.synapse = settings[output_layer].synapse.nengo
    initial = initial_states(built(converter.net), neurons)
    layers = tuple(
        NeuronLayer(
            name=name,
            shape=tuple(ready.get_layer(name).output_shape[1:]),
            neurons=neurons[name],
            neuron_type=neurons[name].ensemble.neuron_type,
            scale_firing_rates=own.scale,
            synapse=own.synapse,
            fan_out_n=cost.fan_out.get(name),
            initial_state=initial[name],
            channel_factors_c=factors.get(name),
            bias_offset_c=offsets.get(name),
        )
        for name, own in settings.items()
    )
    return SpikingNetwork(
        network=converter.net,
        input=converter.inputs[ready.inputs[0]],
        output=output,
        layers=layers,
        keras_model=ready,
        rectifiers={name: own.rectifier for name, own in settings.items()},
        max_pooling=max_pooling,
        output_layer=output_layer,
        first_layer_macs=cost.first_layer_macs,
        dense_macs=cost.dense_macs,
        rate_units=cost.rate_units,
        uncountable=cost.uncountable,
    )
