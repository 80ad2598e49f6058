"""What the fast simulators share besides their settings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import SimulationError, one_line
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.neurons.model import Equation
from snnpipe.neurons.table import equation_of, name_of, neuron_model, registered
from snnpipe.simulators.nengo_dl import NengoDLSimulator
from snnpipe.synapses import Filter
from snnpipe.values.network import NeuronLayer, SpikingNetwork
from snnpipe.values.simulation import Rates, SimulationChunk, SimulationSettings


@dataclass(frozen=True)
class FastSimulator(SimulationSettings):
    """Base class of snnpipe's own simulators, whose reference is NengoDL."""

    def reference(self) -> NengoDLSimulator:
        """Return NengoDL's simulator with the same settings."""
        return NengoDLSimulator(**self.shared)

    def rates(self, network: SpikingNetwork, images: NDArray[np.float32]) -> Rates:
        """Return the outputs of a converted network with rates in place of spikes, computed by the simulated layers.

        Parameters
        ----------
        network
            Converted network, which has ``rectifiers``.
        images
            Images, shape ``(b, ...)``.
        """
        from snnpipe.simulators.graph_of import graph_rates

        return graph_rates(network, images, self.dt)


def require_layers(network: SpikingNetwork, simulator: str) -> None:
    """Raise `SimulationError` if a network is known as Nengo objects only, and not as layers."""
    if network.keras_model is None:
        raise SimulationError(
            f"simulator={simulator} runs layers of neurons, and this native Nengo network cannot be read as layers: "
            f"{network.unreadable}: take simulator=nengo_dl"
        )


def require_limits(network: SpikingNetwork, dt: float) -> None:
    """Raise `SimulationError` if neurons cannot keep to their highest rate in steps of ``dt`` s."""
    for layer in (layer for layer in network.layers if layer.spiking):
        neuron_model(layer.neuron_type).most_spikes(layer.neuron_type, dt)


def equation(layer: NeuronLayer, dt: float) -> Equation:
    """Return the equation of a layer's neurons, with their gain in ``current_factor``.

    Raises
    ------
    SimulationError
        If the neuron type has no equation, or the equation has state variables that the type lacks, or an equation that
        a user registered does not work.
    """
    own = equation_of(layer.neuron_type, dt)
    kind = name_of(layer.neuron_type)
    if own is None:
        raise SimulationError(
            f"layer {layer.name!r} has neurons of type {kind}, whose equation only NengoDL knows "
            "(snnpipe.register_neuron gives it to clock_driven and auto, docs/simulators.md): take simulator=nengo_dl"
        )
    if missing := [name for name in own.state if name not in layer.initial_state]:
        raise SimulationError(
            f"layer {layer.name!r}: the equation registered for {kind} has the state variable {missing[0]!r}, and its "
            f"class has {', '.join(map(repr, layer.initial_state)) or 'none'}: name it in the class's state too"
        )
    if registered(layer.neuron_type) is not None and (problem := _problem(own, layer)):
        raise SimulationError(
            f"layer {layer.name!r}: the equation registered for {kind} {problem} (docs/simulators.md has an example)"
        )
    return replace(own, current_factor=layer.scale_firing_rates * own.current_factor)


def _problem(own: Equation, layer: NeuronLayer) -> str:
    """Run one step of an equation on two samples, and return what is wrong with it; empty if nothing is."""
    tf = import_tensorflow()
    for dtype in (tf.float32, tf.float64):
        current = tf.random.stateless_uniform((2, *layer.shape), (0, 0), dtype=dtype)
        initial = [np.broadcast_to(layer.initial_state[name].reshape(layer.shape), current.shape) for name in own.state]
        state = tuple(tf.constant(values, dtype) for values in initial)
        try:
            result = own.step(own.drive(current), state, lambda: tf.zeros((2, 2), tf.int64))
        except Exception as error:  # a user's own function may raise anything
            return f"fails ({type(error).__name__}: {one_line(error)[:200]})"
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], tuple)):
            return "must return two things: spikes, and a tuple of new states"
        spikes, states = result
        if len(states) != len(state):
            return f"returns {len(states)} states, and has {len(state)}: {', '.join(own.state) or 'none'}"
        for name, value in zip(("spikes", *own.state), (spikes, *states), strict=True):
            shape, kind = tuple(getattr(value, "shape", ())), getattr(value, "dtype", None)
            if shape != (2, *layer.shape) or kind != dtype:
                return (
                    f"returns {name} of shape {shape} and type {getattr(kind, 'name', kind)} where it gets shape "
                    f"{(2, *layer.shape)} and {dtype.name}: it must keep both"
                )
            if not np.all(np.isfinite(value)):
                return f"returns {name} that are infinite or no numbers"
    return ""


def output_filter(network: SpikingNetwork, dt: float) -> Filter | None:
    """Return the filter on a linear output; None for no filter.

    Raises
    ------
    SimulationError
        If only NengoDL can run the filter.
    """
    return network.output_synapse.discrete(dt, "the output")


def filtered(chunks: Iterable[SimulationChunk], synapse: Filter | None) -> Iterator[SimulationChunk]:
    """Yield the chunks of a run with their outputs filtered."""
    state = None
    for chunk in chunks:
        if synapse is None:
            yield chunk
            continue
        outputs = chunk.outputs_btc
        if state is None:
            state = np.zeros((len(outputs), outputs.shape[2], synapse.order), outputs.dtype)
        yield replace(chunk, outputs_btc=synapse.over(outputs, state))
