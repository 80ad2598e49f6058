"""Networks in which some layers spike and the others pass on their neurons' rates.

The Nengo network and the simulators' description of its layers are changed together, so that every simulator runs
the same hybrid. Both are restored afterwards. Offsets that make up for errors of spikes are taken back where rates are
passed on.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np

from snnpipe.conversion.bias_offsets import moved
from snnpipe.neurons.table import rate_version
from snnpipe.synapses import NO_SYNAPSE
from snnpipe.values.network import SpikingNetwork


@contextmanager
def with_rates(
    network: SpikingNetwork, rates: Collection[str], dt: float, *, filters: bool = True
) -> Iterator[SpikingNetwork]:
    """Yield a network with rate neurons in some of its layers.

    Parameters
    ----------
    network
        The spiking network.
    rates
        Names of the layers; their neurons must have a `snnpipe.neurons.table.rate_version`.
    dt
        Seconds per step.
    filters
        Whether the network keeps its synapses.
    """
    with ExitStack() as undo:
        offsets = {name: -own for name, own in network.bias_offsets.items() if name in rates}
        undo.enter_context(moved(network, offsets))
        layers = []
        for layer in network.layers:
            if layer.name in rates:
                neuron = rate_version(layer.neuron_type, dt)
                ensemble = layer.neurons.ensemble
                undo.callback(setattr, ensemble, "neuron_type", ensemble.neuron_type)
                ensemble.neuron_type = neuron
                zeros = {name: np.zeros(layer.size) for name in getattr(neuron, "state", {})}
                layers.append(replace(layer, neuron_type=neuron, initial_state=zeros))
            else:
                layers.append(layer)
        if filters:
            yield replace(network, layers=tuple(layers))
            return
        for filtering in (*network.network.all_connections, *network.network.all_probes):
            undo.callback(setattr, filtering, "synapse", filtering.synapse)
            filtering.synapse = None
        without = tuple(replace(layer, synapse=NO_SYNAPSE) for layer in layers)
        yield replace(network, layers=without, output_synapse=NO_SYNAPSE)
