"""The initial voltage of neurons."""

import copy
from typing import TYPE_CHECKING

from snnpipe.base.errors import ConfigError

if TYPE_CHECKING:
    import nengo


def with_initial_voltage(
    neuron: "nengo.neurons.NeuronType", voltage: float | None, key: str
) -> "nengo.neurons.NeuronType":
    """Return a copy of the neurons with the same initial voltage for all, or the neurons themselves for None.

    Parameters
    ----------
    neuron
        Nengo's neuron type.
    voltage
        Initial voltage in units of the threshold, so that 1 is a spike.
    key
        Key of the setting in the configuration, for the error message.

    Raises
    ------
    ConfigError
        If the neurons have no voltage.
    """
    from nengo.dists import Choice

    if voltage is None:
        return neuron
    if "voltage" not in neuron.state:
        raise ConfigError(f"{key}: got {voltage}, but {type(neuron).__name__} neurons have no voltage: take null")
    changed = copy.copy(neuron)
    # Nengo's neuron types are frozen; this is how NengoDL itself changes a parameter of a copy
    initial = {**(neuron.initial_state or {}), "voltage": Choice([float(voltage)])}
    type(changed).initial_state.data[changed] = initial
    if hasattr(neuron, "initial_voltage"):
        type(changed).initial_voltage.data[changed] = float(voltage)
    return changed
