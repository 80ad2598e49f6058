"""Conversion with NengoDL: a plan for each layer first, then the spiking network."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe.compat import import_nengo_dl
from snnpipe.conversion.nengo_objects import built, initial_states, time_constant
from snnpipe.conversion.prepare import Changes, find_changes, prepare
from snnpipe.conversion.synapses import Costs, costs
from snnpipe.errors import ConfigError, ConversionError
from snnpipe.keras_graph import activation_name, functional, is_neuron_layer, is_relu_op, neuron_layers, nodes
from snnpipe.layer_values import per_layer
from snnpipe.native import NativeNetwork
from snnpipe.schema import check_fields
from snnpipe.types import (
    ConversionPlan,
    LayerSynapses,
    Neuron,
    NeuronLayer,
    PlannedLayer,
    Scale,
    SpikingNetwork,
)

if TYPE_CHECKING:
    import nengo
    import tf_keras

_PASSTHROUGH = ("InputLayer", "Flatten", "Reshape")


@dataclass(frozen=True, kw_only=True)
class NengoDLConverter:
    """Make neurons of a model's ReLUs and leave the rest of it linear.

    Parameters
    ----------
    neuron
        Nengo neuron type for the ReLUs, one or a mapping from layer names or patterns to types.
        None keeps them rate neurons (``nengo.RectifiedLinear``).
    scale_firing_rates
        Factor on the neurons' input current, its inverse on their output: more spikes, the same
        output. One number, or one per layer by name or pattern; layers that a mapping does not name
        get 1 (``"*"`` names all).
    synapse
        Time constant, s, of the low-pass filter on the neurons' output, or a Nengo synapse
        (``nengo.Lowpass``, ``nengo.Alpha``); None for no filter. One, or one per layer; layers that a
        mapping does not name get none.
    allow_fallback
        Whether a layer that Nengo has no objects for may run as a TensorNode, in software only.
    max_to_avg_pool
        Whether max pooling becomes average pooling. It changes what the network computes.
    """

    neuron: Neuron | dict[str, Neuron] = None
    scale_firing_rates: Scale = 1.0
    synapse: LayerSynapses = None
    allow_fallback: bool = False
    max_to_avg_pool: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "conversion")

    # ------------------------------------------------------------------ the plan

    def explain(self, model: "tf_keras.Model") -> ConversionPlan:
        """Return what each layer of a model will become, before it is trained.

        Raises
        ------
        ConfigError
            If a per-layer setting names no layer of neurons.
        """
        import_nengo_dl()
        if isinstance(model, NativeNetwork):
            raise ConversionError(
                "conversion=nengo_dl converts Keras models, and this network is written in Nengo: take "
                "conversion=identity"
            )
        model = functional(model)
        changes = find_changes(model, self.max_to_avg_pool)
        settings = self._settings(model)
        seen: set[str] = set()
        planned = []
        for node in nodes(model):
            planned.append(self._explain_layer(node, changes, settings, shared=node.layer.name in seen))
            seen.add(node.layer.name)
        return ConversionPlan(tuple(planned))

    def _explain_layer(
        self, node: Any, changes: Changes, settings: "Mapping[str, _LayerSettings]", shared: bool
    ) -> PlannedLayer:
        layer, kind = node.layer, type(node.layer).__name__
        name, shape = layer.name, tuple(node.outputs.shape[1:])

        def planned(status: Any, becomes: str, reason: str = "", **more: Any) -> PlannedLayer:
            return PlannedLayer(name, kind, status, becomes, reason, shape, **more)

        if shared:
            return planned("unsupported", "-", "it is applied more than once: give each application a layer of its own")
        if name in changes.dropped:
            return planned("folded", "nothing", changes.dropped[name])
        if name in changes.folded_into:
            return planned("folded", f"weights of {changes.folded_into[name]}")
        if kind in _PASSTHROUGH:
            return planned("passthrough", "input node" if kind == "InputLayer" else "the same values, reordered")
        if "MaxPool" in kind and name not in changes.averaged and not self.allow_fallback:
            return planned(
                "unsupported",
                "-",
                "spiking neurons have no maximum: choose average pooling in the model, "
                "conversion.max_to_avg_pool=true (which changes what it computes), or "
                "conversion.allow_fallback=true (which runs it in software only)",
            )
        convertible, why = self._native(layer, changes)
        if not convertible:
            if self.allow_fallback:
                return planned("fallback", "TensorNode", why)
            return planned("unsupported", "-", f"{why}; conversion.allow_fallback=true runs it in software only")
        if is_neuron_layer(layer):
            own = settings[name]
            return planned(
                "native",
                own.neuron_name,
                neurons=int(np.prod(shape)),
                scale_firing_rates=own.scale,
                synapse=own.synapse,
            )
        activation = activation_name(layer)
        if activation in ("sigmoid", "tanh", "leaky_relu"):
            return planned("native", f"rate neurons ({activation})", "not spiking: only a ReLU becomes spiking neurons")
        becomes = "average pooling" if name in changes.averaged else "linear connection"
        return planned("native", becomes, "softmax dropped" if name == changes.softmax else "")

    def _native(self, layer: Any, changes: Changes) -> tuple[bool, str]:
        """Return whether NengoDL has Nengo objects for a layer, and why not."""
        from nengo_dl.converter import Converter, LayerConverter

        if is_relu_op(layer):
            return True, ""
        kind = type(layer).__name__
        if kind == "Conv3D" and layer.groups > 1:
            return False, "TensorFlow has no 3-D convolution with groups on a CPU, and NengoDL none at all"
        if kind in ("Sequential", "Functional", "Model"):
            return False, "a model inside a model is not supported: use its layers directly"
        converter = Converter.converters.get(type(layer))
        if converter is None:
            return False, f"Nengo has nothing for a layer of type {kind}"
        settings = SimpleNamespace(inference_only=True, max_to_avg_pool=self.max_to_avg_pool, temporal_model=False)
        ok, why = converter.convertible(layer, settings)
        if not ok:
            return False, str(why)
        activation = getattr(layer, "activation", None)
        known = list(LayerConverter.activation_map)
        if layer.name != changes.softmax and activation is not None and activation not in known:
            return False, f"Nengo has no neurons for the activation {activation_name(layer)!r}"
        return True, ""

    def _settings(self, model: "tf_keras.Model") -> "dict[str, _LayerSettings]":
        """Return the settings of each layer of neurons."""
        names = [layer.name for layer in neuron_layers(model)]
        scales = per_layer(self.scale_firing_rates, names, 1.0, "conversion.scale_firing_rates")
        synapses: dict[str, Any] = per_layer(self.synapse, names, None, "conversion.synapse")
        neurons: dict[str, Any] = per_layer(self.neuron, names, None, "conversion.neuron")
        for name, neuron in neurons.items():
            _check_neuron(neuron, scales[name], name)
        return {name: _LayerSettings(name, scales[name], _filter(synapses[name]), neurons[name]) for name in names}

    # ------------------------------------------------------------------ the network

    def convert(self, model: "tf_keras.Model", seed: int) -> SpikingNetwork:
        """Return the spiking network of a trained model.

        Parameters
        ----------
        model
            Keras model; it is not changed.
        seed
            Determines the neurons' initial voltages (Nengo draws them from U(0, 1)).

        Raises
        ------
        ConversionError
            If a layer cannot be converted, naming it and the cure.
        ConfigError
            If a per-layer setting names no layer of neurons, or does not fit the neuron type.
        """
        plan = self.explain(model)
        plan.require_convertible()
        nengo_dl = import_nengo_dl()
        graph = functional(model)
        settings = self._settings(graph)
        ready = prepare(graph, find_changes(graph, self.max_to_avg_pool))
        converter = nengo_dl.Converter(
            ready,
            allow_fallback=self.allow_fallback,
            inference_only=True,
            scale_firing_rates={ready.get_layer(name): own.scale for name, own in settings.items()},
        )
        converter.net.seed = seed
        output = converter.outputs[ready.outputs[0]]
        fallback = [layer for layer in plan.layers if layer.status == "fallback"]
        cost = Costs.of_no_synapses(fallback[0].name, fallback[0].kind) if fallback else costs(ready)
        neurons = {name: converter.layers[ready.get_layer(name).output] for name in settings}
        for name, own in settings.items():
            _configure(converter.net, neurons[name], own)
        output_layer = next((name for name in settings if neurons[name] is output.target), None)
        if output_layer is not None:
            output.synapse = settings[output_layer].synapse
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
            )
            for name, own in settings.items()
        )
        return SpikingNetwork(
            network=converter.net,
            input=converter.inputs[ready.inputs[0]],
            output=output,
            layers=layers,
            keras_model=ready,
            output_layer=output_layer,
            first_layer_macs=cost.first_layer_macs,
            dense_macs=cost.dense_macs,
            rate_units=cost.rate_units,
            uncountable=cost.uncountable,
        )


@dataclass(frozen=True)
class _LayerSettings:
    name: str
    scale: float
    synapse: "float | nengo.synapses.LinearFilter | None"
    neuron: Any

    @property
    def neuron_name(self) -> str:
        if self.neuron is None:
            return "RectifiedLinear"
        base = getattr(self.neuron, "base_type", None)
        name = type(self.neuron).__name__
        return f"{name}({type(base).__name__})" if base is not None else name


def _configure(network: "nengo.Network", neurons: "nengo.ensemble.Neurons", own: _LayerSettings) -> None:
    """Give a layer of neurons its type and synapse; NengoDL has given it its scale."""
    if own.neuron is not None:
        neurons.ensemble.neuron_type = with_amplitude(own.neuron, own.scale)
    if own.synapse is not None:
        for connection in network.all_connections:
            if connection.pre_obj is neurons:
                connection.synapse = own.synapse


def _filter(synapse: Any) -> "float | nengo.synapses.LinearFilter | None":
    try:
        return time_constant(synapse)
    except TypeError:
        raise ConfigError(
            f"conversion.synapse: got {synapse!r}: takes a time constant in s, nengo.Lowpass, nengo.Alpha or another "
            "nengo.LinearFilter"
        ) from None


def _check_neuron(neuron: Any, scale: float, layer: str) -> None:
    """Raise `ConfigError` where a layer's neuron is none, or cannot be scaled."""
    from nengo.neurons import NeuronType

    if neuron is None:
        return
    if not isinstance(neuron, NeuronType):
        raise ConfigError(
            f"conversion.neuron: got {neuron!r} for layer {layer!r}: takes Nengo neuron types; choose one with neuron="
        )
    if scale != 1 and not hasattr(neuron, "amplitude"):
        raise ConfigError(
            f"conversion.scale_firing_rates: got {scale} for layer {layer!r}, but {type(neuron).__name__} has no "
            "amplitude to undo it with: take 1, or another neuron"
        )


def with_amplitude(neuron: "nengo.neurons.NeuronType", scale: float) -> "nengo.neurons.NeuronType":
    """Return a neuron type whose output is divided by ``scale``."""
    if scale == 1:
        return neuron
    scaled = copy.copy(neuron)
    # Nengo's neuron types are frozen; this is how NengoDL itself sets the amplitude of a copy
    type(scaled).amplitude.data[scaled] = neuron.amplitude / scale
    return scaled
