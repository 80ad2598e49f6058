"""The table of neuron types, built-in and registered by users, and the functions that look types up in it."""

from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ConfigError
from snnpipe.neurons.amplitude import with_amplitude
from snnpipe.neurons.model import TABLE, Equation, NeuronModel, entry_of

if TYPE_CHECKING:
    import nengo


def register_neuron(cls: type, model: NeuronModel) -> None:
    """Register a neuron type of your own, which otherwise runs in `nengo_dl` only.

    Call this function in the module that defines the class, so that the type is known wherever the class is imported.
    The entry holds for the class itself and not for its subclasses. A second call replaces the first.

    Parameters
    ----------
    cls
        A class of Nengo neurons.
    model
        What snnpipe needs to know about the class.

    Raises
    ------
    ConfigError
        If ``cls`` is not a class of Nengo neurons or is built in, or ``model`` is not a `NeuronModel`.
    """
    from nengo.neurons import NeuronType

    if not (isinstance(cls, type) and issubclass(cls, NeuronType)):
        raise ConfigError(f"register_neuron: got {cls!r}: give a class derived from nengo.neurons.NeuronType")
    if not isinstance(model, NeuronModel):
        raise ConfigError(f"register_neuron: got {model!r} for {cls.__name__}: give a snnpipe.NeuronModel(...)")
    if cls in built_in():
        raise ConfigError(
            f"register_neuron: {cls.__name__} is built in: derive a class of your own from it, and register that"
        )
    TABLE[cls] = model


def built_in() -> "frozenset[type]":
    """Return the built-in classes of neurons."""
    from snnpipe.neurons.built_in import BUILT_IN  # imported only when it is needed, because it loads NengoDL

    return BUILT_IN


def registered(neuron: Any) -> NeuronModel | None:
    """Return the entry that a user has registered for a neuron's class; None for any other class."""
    return None if type(neuron) in built_in() else TABLE.get(type(neuron))


def neuron_model(neuron: Any) -> NeuronModel:
    """Return the entry of a neuron's class, after loading the built-in ones."""
    built_in()
    return entry_of(neuron)


def equation_of(neuron: Any, dt: float) -> Equation | None:
    """Return a neuron's equation, whose output is in units of the amplitude: spikes, or the rate times ``dt``."""
    return neuron_model(neuron).equation(neuron if neuron.spiking else with_amplitude(neuron, 1.0), dt)


def rate_version(neuron: "nengo.neurons.NeuronType", dt: float) -> "nengo.neurons.NeuronType | None":
    """Return the rate neurons whose output is a neuron's mean output under a constant current; None if there are none.

    A rate neuron is its own rate version.
    """
    return neuron_model(neuron).rate_version(neuron, dt) if neuron.spiking else neuron


def name_of(neuron: Any) -> str:
    """Return the printed name of a neuron type: its class, with the class of its base type if it has one."""
    base = getattr(neuron, "base_type", None)
    name = type(neuron).__name__
    return name if base is None else f"{name}({type(base).__name__})"
