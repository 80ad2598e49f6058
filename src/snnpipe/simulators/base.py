"""What the fast simulators have besides their settings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import SimulationError
from snnpipe.simulators.filters import Filter, discrete
from snnpipe.simulators.nengo_dl import NengoDLSimulator
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import Rates, SimulationChunk, SimulationSettings


@dataclass(frozen=True)
class FastSimulator(SimulationSettings):
    """A simulator of ours: NengoDL is the reference that it can be held against."""

    def reference(self) -> NengoDLSimulator:
        """Return NengoDL's simulator with the same settings."""
        return NengoDLSimulator(**self.shared)

    def rates(self, network: SpikingNetwork, images: NDArray[np.float32]) -> Rates:
        """Return what a converted network gives with rates in place of spikes, through the layers that are simulated.

        Parameters
        ----------
        network
            With ``rectifiers``.
        images
            Shape ``(b, ...)``.
        """
        from snnpipe.simulators.graph import graph_rates

        return graph_rates(network, images, self.dt)


def require_layers(network: SpikingNetwork, simulator: str) -> None:
    """Raise `SimulationError` where a network is known as Nengo objects only, not as layers."""
    if network.keras_model is None:
        raise SimulationError(
            f"simulator={simulator} runs layers of neurons, and this native Nengo network cannot be read as layers: "
            f"{network.unreadable}: take simulator=nengo_dl"
        )


def output_filter(network: SpikingNetwork, dt: float) -> Filter | None:
    """Return the filter on a linear output, None for none.

    Raises
    ------
    SimulationError
        If it is one that only NengoDL knows.
    """
    try:
        return discrete(network.output_synapse, dt)
    except ValueError as error:
        raise SimulationError(
            f"the output has the synapse {network.output_synapse!r}, which {error}: take another synapse, or "
            "simulator=nengo_dl"
        ) from None


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
