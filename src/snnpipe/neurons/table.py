"""The table of neuron types, the built-in ones and those that users register, and what is looked up in it."""

from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ConfigError
from snnpipe.neurons.amplitude import with_amplitude
from snnpipe.neurons.model import TABLE, Equation, NeuronModel, entry_of

if TYPE_CHECKING:
    import nengo


def register_neuron(cls: type, model: NeuronModel) -> None:
    """Say what snnpipe needs to know of a neuron type of your own: without it, the type runs in `nengo_dl` only.

    Call it in the module that defines the class, so that the type is known wherever the class is imported. It holds for
    the class alone and not for its subclasses; a second call takes the place of the first.

    Parameters
    ----------
    cls
        A class of Nengo neurons.
    model
        What there is to know.

    Raises
    ------
    ConfigError
        If ``cls`` is no class of Nengo neurons or one that snnpipe comes with, or ``model`` is no `NeuronModel`.
    """
    from nengo.neurons import NeuronType

    if not (isinstance(cls, type) and issubclass(cls, NeuronType)):
        raise ConfigError(f"register_neuron: got {cls!r}: give a class derived from nengo.neurons.NeuronType")
    if not isinstance(model, NeuronModel):
        raise ConfigError(f"register_neuron: got {model!r} for {cls.__name__}: give a snnpipe.NeuronModel(...)")
    if cls in _built_in():
        raise ConfigError(
            f"register_neuron: {cls.__name__} is built in: derive a class of your own from it, and register that"
        )
    TABLE[cls] = model


def _built_in() -> "frozenset[type]":
    from snnpipe.neurons.built_in import BUILT_IN  # not before there are neurons, because it loads NengoDL

    return BUILT_IN


def registered(neuron: Any) -> NeuronModel | None:
    """Return what a user has registered of a neuron's class; None for a built-in one, or one that is not registered."""
    return None if type(neuron) in _built_in() else TABLE.get(type(neuron))


def neuron_model(neuron: Any) -> NeuronModel:
    """Return what is known of a neuron's class."""
    _built_in()
    return entry_of(neuron)


def equation_of(neuron: Any, dt: float) -> Equation | None:
    """Return a neuron's step, with an output in units of its amplitude: spikes, or its rate times ``dt``."""
    return neuron_model(neuron).equation(neuron if neuron.spiking else with_amplitude(neuron, 1.0), dt)


def rate_version(neuron: "nengo.neurons.NeuronType", dt: float) -> "nengo.neurons.NeuronType | None":
    """Return the rate neurons whose output is a neuron's mean output under a constant current; None if there are none.

    A rate neuron is its own.
    """
    return neuron_model(neuron).rate_version(neuron, dt) if neuron.spiking else neuron


def name_of(neuron: Any) -> str:
    """Return a neuron type as it is printed: its class, with that of the rates that it spikes by."""
    base = getattr(neuron, "base_type", None)
    name = type(neuron).__name__
    return name if base is None else f"{name}({type(base).__name__})"
