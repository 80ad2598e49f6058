"""The choice of the neurons that stand for a rectifier of the model, given the neuron type that is asked for."""

from typing import TYPE_CHECKING

from snnpipe.frameworks.compat import import_nengo_dl
from snnpipe.frameworks.rectifiers import Rectifier
from snnpipe.neurons.amplitude import amplitude_of, with_amplitude
from snnpipe.neurons.table import neuron_model

if TYPE_CHECKING:
    import nengo


def neurons_for(
    rectifier: Rectifier, neuron: "nengo.neurons.NeuronType | None", scale: float
) -> "tuple[nengo.neurons.NeuronType, str]":
    """Return the neurons of a layer, and the reason if they do not spike although spiking neurons were asked for.

    Parameters
    ----------
    rectifier
        Rectifier that the layer applies.
    neuron
        Neuron type that is asked for; None for rate neurons.
    scale
        The layer's ``scale_firing_rates``: the current is multiplied by it, and the output is divided by it.
    """
    import nengo

    wanted = nengo.RectifiedLinear() if neuron is None else neuron
    if rectifier.plain:
        return _scaled(wanted, scale), ""
    if rectifier.negative_slope:
        neurons, why = _leaky(rectifier.negative_slope, wanted)
    else:
        assert rectifier.max_value is not None
        neurons, why = _clipped(rectifier.max_value * scale, wanted)
    return _scaled(neurons, scale), why


def _leaky(slope: float, wanted: "nengo.neurons.NeuronType") -> "tuple[nengo.neurons.NeuronType, str]":
    if (neurons := neuron_model(wanted).leaky(wanted, slope)) is not None:
        return neurons, ""
    rates = import_nengo_dl().LeakyReLU(slope, amplitude=1.0 if wanted.spiking else amplitude_of(wanted))
    why = f"{type(wanted).__name__} neurons have no spikes for values below 0: neuron=spiking_relu has"
    return rates, why * wanted.spiking


def _clipped(max_rate: float, wanted: "nengo.neurons.NeuronType") -> "tuple[nengo.neurons.NeuronType, str]":
    from snnpipe.neurons.clipped import ClippedRectifiedLinear

    if (neurons := neuron_model(wanted).clipped(wanted, max_rate)) is not None:
        return neurons, ""
    rates = ClippedRectifiedLinear(max_rate, amplitude=1.0 if wanted.spiking else amplitude_of(wanted))
    why = f"{type(wanted).__name__} neurons cannot be given a highest rate: neuron=spiking_relu can"
    return rates, why * wanted.spiking


def _scaled(neuron: "nengo.neurons.NeuronType", scale: float) -> "nengo.neurons.NeuronType":
    """Return a neuron type whose output is divided by ``scale``."""
    return neuron if scale == 1 else with_amplitude(neuron, amplitude_of(neuron) / scale)
