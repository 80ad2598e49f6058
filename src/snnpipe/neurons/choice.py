"""Which neurons stand for a rectifier of the model, given the neuron type that is asked for."""

import copy
from typing import TYPE_CHECKING, Any

from snnpipe.frameworks.rectifiers import Rectifier

if TYPE_CHECKING:
    import nengo

_DRAWN_OR_REGULAR = ("RegularSpiking", "PoissonSpiking", "StochasticSpiking")


def neurons_for(
    rectifier: Rectifier, neuron: "nengo.neurons.NeuronType | None", scale: float
) -> "tuple[nengo.neurons.NeuronType, str]":
    """Return the neurons of a layer, and why they do not spike where they should.

    Parameters
    ----------
    rectifier
        What the layer applies.
    neuron
        The type that is asked for; None for rate neurons.
    scale
        The layer's ``scale_firing_rates``: current is multiplied with it, the output divided by it.
    """
    import nengo

    wanted = nengo.RectifiedLinear() if neuron is None else neuron
    if rectifier.plain:
        return with_amplitude(wanted, scale), ""
    if rectifier.negative_slope:
        found, why = _leaky(rectifier.negative_slope, wanted)
    else:
        assert rectifier.max_value is not None
        found, why = _clipped(rectifier.max_value * scale, wanted)
    return with_amplitude(found, scale), why


def _integrates(neuron: Any) -> bool:
    """Whether neurons are spiking rectified linear ones, by whichever name."""
    import nengo

    regular = type(neuron) is nengo.RegularSpiking and type(neuron.base_type) is nengo.RectifiedLinear
    return type(neuron) is nengo.SpikingRectifiedLinear or regular


def _amplitude(neuron: Any) -> float:
    return float(neuron.amplitude * getattr(getattr(neuron, "base_type", None), "amplitude", 1.0))


def _leaky(slope: float, wanted: Any) -> tuple[Any, str]:
    from snnpipe.frameworks.compat import import_nengo_dl

    nengo_dl = import_nengo_dl()
    if _integrates(wanted):
        amplitude, initial = _amplitude(wanted), wanted.initial_state
        return nengo_dl.SpikingLeakyReLU(slope, amplitude=amplitude, initial_state=initial), ""
    amplitude = float(getattr(wanted, "amplitude", 1.0)) if not wanted.spiking else 1.0
    why = f"{type(wanted).__name__} neurons have no spikes for values below 0: neuron=spiking_relu has" * wanted.spiking
    return nengo_dl.LeakyReLU(slope, amplitude=amplitude), why


def _clipped(max_rate: float, wanted: Any) -> tuple[Any, str]:
    import nengo

    from snnpipe.neurons.clipped import ClippedRectifiedLinear, SpikingClippedRectifiedLinear

    if type(wanted) is nengo.SpikingRectifiedLinear:
        initial = wanted.initial_state
        return SpikingClippedRectifiedLinear(max_rate, amplitude=wanted.amplitude, initial_state=initial), ""
    base: Any = getattr(wanted, "base_type", None)
    if type(wanted).__name__ in _DRAWN_OR_REGULAR and type(base) is nengo.RectifiedLinear:
        clipped = ClippedRectifiedLinear(max_rate, amplitude=base.amplitude)
        return type(wanted)(clipped, amplitude=wanted.amplitude, initial_state=wanted.initial_state), ""
    amplitude = float(getattr(wanted, "amplitude", 1.0)) if not wanted.spiking else 1.0
    why = f"{type(wanted).__name__} neurons cannot be told a highest rate: neuron=spiking_relu can" * wanted.spiking
    return ClippedRectifiedLinear(max_rate, amplitude=amplitude), why


def with_amplitude(neuron: "nengo.neurons.NeuronType", scale: float) -> "nengo.neurons.NeuronType":
    """Return a neuron type whose output is divided by ``scale``."""
    if scale == 1:
        return neuron
    scaled = copy.copy(neuron)
    # Nengo's neuron types are frozen; this is how NengoDL itself sets the amplitude of a copy
    type(scaled).amplitude.data[scaled] = neuron.amplitude / scale
    return scaled
