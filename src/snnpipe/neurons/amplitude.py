"""A neuron's amplitude, the factor on its output: Nengo's parameter of that name, which some types lack."""

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import nengo


def has_amplitude(neuron: Any) -> bool:
    """Whether a neuron type has an amplitude."""
    return hasattr(neuron, "amplitude")


def amplitude_of(neuron: Any) -> float:
    """Return a neuron's amplitude, or 1 if its type has none."""
    return float(getattr(neuron, "amplitude", 1.0))


def with_amplitude(neuron: "nengo.neurons.NeuronType", amplitude: float) -> "nengo.neurons.NeuronType":
    """Return a copy of the neurons with this amplitude, or the neurons themselves if they already have it."""
    if amplitude_of(neuron) == amplitude:
        return neuron
    changed = copy.copy(neuron)
    # Nengo's neuron types are frozen; this is how NengoDL itself sets the amplitude of a copy
    type(changed).amplitude.data[changed] = amplitude
    return changed
