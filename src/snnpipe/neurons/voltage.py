"""The initial voltage and the initial state of neurons."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError

if TYPE_CHECKING:
    import nengo


def with_initial_voltage(
    neuron: "nengo.neurons.NeuronType", voltage: float | Literal["drawn"] | None, key: str
) -> "nengo.neurons.NeuronType":
    """Return a copy of the neurons with other initial voltages, or the neurons themselves for None.

    Parameters
    ----------
    neuron
        Nengo's neuron type.
    voltage
        Initial voltage of all neurons in units of the threshold, so that 1 is a spike; ``drawn`` for a voltage of its
        own for each neuron, from U(0, 1).
    key
        Key of the setting in the configuration, for the error message.

    Raises
    ------
    ConfigError
        If the neurons have no voltage.
    """
    from nengo.dists import Choice, Uniform

    if voltage is None:
        return neuron
    if "voltage" not in neuron.state:
        raise ConfigError(f"{key}: got {voltage}, but {type(neuron).__name__} neurons have no voltage: take null")
    changed = copy.copy(neuron)
    # Nengo's neuron types are frozen; this is how NengoDL itself changes a parameter of a copy
    value = None if voltage == "drawn" else float(voltage)
    drawn_or_given = Uniform(0, 1) if value is None else Choice([value])
    type(changed).initial_state.data[changed] = {**(neuron.initial_state or {}), "voltage": drawn_or_given}
    if hasattr(neuron, "initial_voltage"):
        type(changed).initial_voltage.data[changed] = value
    return changed


def with_initial_state(
    neuron: "nengo.neurons.NeuronType", state: Mapping[str, NDArray[np.float64]]
) -> "nengo.neurons.NeuronType":
    """Return a copy of the neurons whose state variables begin with given values, one per neuron.

    Raises
    ------
    ConfigError
        If they have other state variables.
    """
    from nengo.dists import Choice

    if set(state) != set(neuron.state):
        names = [", ".join(map(repr, names)) or "no state" for names in (neuron.state, state)]
        raise ConfigError(f"{type(neuron).__name__} neurons have {names[0]}, and get values for {names[1]}")
    if not state:
        return neuron
    changed = copy.copy(neuron)
    initial = {name: Choice([values[0]]) if np.all(values == values[0]) else values for name, values in state.items()}
    type(changed).initial_state.data[changed] = initial
    return changed
