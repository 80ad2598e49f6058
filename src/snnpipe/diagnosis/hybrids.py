"""Networks in which some layers spike and the others pass on their neurons' rates.

The Nengo network and what simulators know of its layers are changed together, so that every simulator runs the
same hybrid; both are put back afterwards.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from snnpipe.frameworks.compat import import_nengo_dl
from snnpipe.values.network import SpikingNetwork

if TYPE_CHECKING:
    import nengo


def rate_version(neuron: "nengo.neurons.NeuronType") -> "nengo.neurons.NeuronType | None":
    """Return the rate neurons whose output is a neuron's mean output under a constant current; None if there are none.

    A rate neuron is its own.
    """
    import nengo

    from snnpipe.neurons.clipped import ClippedRectifiedLinear, SpikingClippedRectifiedLinear

    nengo_dl = import_nengo_dl()
    if not neuron.spiking:
        return neuron
    if type(neuron) is nengo.SpikingRectifiedLinear:
        return nengo.RectifiedLinear(amplitude=neuron.amplitude)
    if type(neuron) is nengo_dl.SpikingLeakyReLU:
        return nengo_dl.LeakyReLU(neuron.negative_slope, amplitude=neuron.amplitude)
    if type(neuron) is SpikingClippedRectifiedLinear:
        return ClippedRectifiedLinear(neuron.max_rate, amplitude=neuron.amplitude)
    if type(neuron) is nengo.LIF:
        return nengo.LIFRate(tau_rc=neuron.tau_rc, tau_ref=neuron.tau_ref, amplitude=neuron.amplitude)
    base: Any = getattr(neuron, "base_type", None)
    if type(base) is nengo.RectifiedLinear:
        return nengo.RectifiedLinear(amplitude=base.amplitude * neuron.amplitude)
    if type(base) is ClippedRectifiedLinear:
        return ClippedRectifiedLinear(base.max_rate, amplitude=base.amplitude * neuron.amplitude)
    if type(base) is nengo.LIFRate:
        amplitude = base.amplitude * neuron.amplitude
        return nengo.LIFRate(tau_rc=base.tau_rc, tau_ref=base.tau_ref, amplitude=amplitude)
    return None


@contextmanager
def with_rates(network: SpikingNetwork, rates: Collection[str], *, filters: bool = True) -> Iterator[SpikingNetwork]:
    """Yield a network with rate neurons in some of its layers.

    Parameters
    ----------
    network
        The spiking network.
    rates
        Names of the layers; their neurons must have a `rate_version`.
    filters
        Whether synapses are kept.
    """
    with ExitStack() as undo:
        layers = []
        for layer in network.layers:
            if layer.name in rates:
                neuron = rate_version(layer.neuron_type)
                ensemble = layer.neurons.ensemble
                undo.callback(setattr, ensemble, "neuron_type", ensemble.neuron_type)
                ensemble.neuron_type = neuron
                layers.append(replace(layer, neuron_type=neuron, initial_state={}))
            else:
                layers.append(layer)
        if filters:
            yield replace(network, layers=tuple(layers))
            return
        for filtering in (*network.network.all_connections, *network.network.all_probes):
            undo.callback(setattr, filtering, "synapse", filtering.synapse)
            filtering.synapse = None
        without = tuple(replace(layer, synapse=None) for layer in layers)
        yield replace(network, layers=without, output_synapse=None)
