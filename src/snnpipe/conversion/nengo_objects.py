"""Values that are read from Nengo's own objects, for converted and native networks alike."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snnpipe.frameworks.compat import without_build_notes

if TYPE_CHECKING:
    import nengo


def built(network: "nengo.Network") -> "nengo.builder.Model":
    """Return a network built by Nengo, in which everything that its seeds determine has been drawn."""
    from nengo.builder import Model

    with without_build_notes():
        model = Model()
        model.build(network)
    return model


def initial_states(
    model: "nengo.builder.Model", layers: "Mapping[str, nengo.ensemble.Neurons]"
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return each layer's state variables before the first step, which all simulators of the network begin with."""
    return {
        name: {
            key: np.array(signal.initial_value, np.float64)
            for key, signal in model.sig[neurons].items()
            if key in neurons.ensemble.neuron_type.state
        }
        for name, neurons in layers.items()
    }
