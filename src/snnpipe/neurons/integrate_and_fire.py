"""The signed integrate-and-fire neuron of the conversion literature.

Importing this module imports NengoDL and registers the neuron's equation with it.
"""

from math import inf
from typing import Any

import nengo
import numpy as np
from nengo.dists import Choice, Uniform
from nengo.params import NumberParam
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError, SimulationError
from snnpipe.frameworks.compat import import_nengo_dl, import_tensorflow
from snnpipe.settings.domains import NonPositiveFloat, Number, PositiveFloat, PositiveInt

import_nengo_dl()
from nengo_dl import neuron_builders  # noqa: E402  # NengoDL imports only once it has been prepared

_WHOLE = 1e-3


class IntegrateAndFire(nengo.neurons.NeuronType):
    """Integrate-and-fire neurons that add up currents of either sign: v += J dt; n = max(floor(v), 0); v -= n.

    Nengo's ``SpikingRectifiedLinear`` adds max(J, 0) dt instead. A current that changes its sign from step to step then
    makes it spike although the mean is below 0, and a converted network loses accuracy (Rueckauer et al. 2017,
    doi:10.3389/fnins.2017.00682, use the signed sum).

    Parameters
    ----------
    max_spikes
        Highest number of spikes in a step; None for no limit. The rest stays in the voltage.
    min_voltage
        Lowest voltage, in spikes, 0 or below; None for no limit.
    initial_voltage
        Voltage before the first step, in spikes, the same for all neurons; None draws it from U(0, 1). With one half,
        the number of spikes is the rounded current (Bu et al. 2022, arXiv:2303.04347); with 0, it would be rounded
        down.
    max_rate
        Highest rate in Hz, before the amplitude, for a ReLU with a ``max_value``; None for no limit. It must be a whole
        number of spikes per step.
    amplitude
        Factor on the output: one spike is an output of ``amplitude / dt``.

    Raises
    ------
    ConfigError
        If ``max_spikes`` is not a whole number of at least 1, or ``min_voltage`` is above 0.
    """

    negative = False
    spiking = True
    state = {"voltage": Choice([0.5])}  # noqa: RUF012  # Nengo's way to declare it

    max_spikes = NumberParam("max_spikes", low=1, optional=True)
    min_voltage = NumberParam("min_voltage", high=0, optional=True)
    initial_voltage = NumberParam("initial_voltage", optional=True)
    max_rate = NumberParam("max_rate", low=0, low_open=True, optional=True)
    amplitude = NumberParam("amplitude", low=0, low_open=True)

    def __init__(
        self,
        max_spikes: PositiveInt | None = None,
        min_voltage: NonPositiveFloat | None = None,
        initial_voltage: Number | None = 0.5,
        max_rate: PositiveFloat | None = None,
        amplitude: PositiveFloat = 1,
    ):
        if max_spikes is not None and (isinstance(max_spikes, bool) or max_spikes < 1 or max_spikes != int(max_spikes)):
            raise ConfigError(f"max_spikes: got {max_spikes}: takes a whole number of 1 or more, or null")
        if min_voltage is not None and min_voltage > 0:
            raise ConfigError(f"min_voltage: got {min_voltage}: takes 0 or a negative number, or null")
        super().__init__({"voltage": Uniform(0, 1) if initial_voltage is None else Choice([initial_voltage])})
        self.max_spikes = max_spikes
        self.min_voltage = min_voltage
        self.initial_voltage = initial_voltage
        self.max_rate = max_rate
        self.amplitude = amplitude

    def limited(self, max_rate: float) -> "IntegrateAndFire":
        """Return neurons with the same parameters and a highest rate in Hz."""
        return IntegrateAndFire(self.max_spikes, self.min_voltage, self.initial_voltage, max_rate, self.amplitude)

    def most_spikes(self, dt: float) -> float:
        """Return the highest number of spikes of a neuron in a step of ``dt`` s.

        Raises
        ------
        SimulationError
            If ``max_rate`` is not a whole number of spikes per step.
        """
        most = inf if self.max_spikes is None else float(self.max_spikes)
        if self.max_rate is None:
            return most
        spikes = self.max_rate * dt
        whole = round(spikes)
        if whole < 1 or abs(spikes - whole) > _WHOLE * whole:
            factor = max(whole, 1) / spikes
            raise SimulationError(
                f"conversion.scale_firing_rates: a clipped activation would be {spikes:.4g} spikes a step, and "
                f"integrate-and-fire neurons need a whole number: multiply the layer's scale by {factor:.6g}, "
                "or take conversion.scale_firing_rates=auto"
            )
        return min(most, float(whole))

    def gain_bias(self, max_rates: Any, intercepts: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the gains and biases of `nengo.RectifiedLinear`."""
        gain_bias: tuple[NDArray[np.float64], NDArray[np.float64]]
        gain_bias = nengo.RectifiedLinear().gain_bias(max_rates, intercepts)
        return gain_bias

    def rates(self, x: Any, gain: Any, bias: Any) -> Any:
        """Return the rates of constant inputs, in Hz times the amplitude, without the limit of ``max_spikes``."""
        return self.amplitude * np.clip(self.current(x, gain, bias), 0, self.max_rate)

    def step(
        self, dt: float, J: NDArray[np.float64], output: NDArray[np.float64], voltage: NDArray[np.float64]
    ) -> None:
        """Integrate the current of a step, and spike."""
        voltage += J * dt
        spikes = np.clip(np.floor(voltage), 0, self.most_spikes(dt))
        output[:] = (self.amplitude / dt) * spikes
        voltage -= spikes
        if self.min_voltage is not None:
            np.maximum(voltage, self.min_voltage, out=voltage)


class _Builder(neuron_builders.TFNeuronBuilder):
    """NengoDL's builder of the neurons, which are trained with their rates."""

    spiking = True

    def build_pre(self, signals: Any, config: Any) -> None:
        super().build_pre(signals, config)
        neurons, sizes = [op.neurons for op in self.ops], [op.J.shape[0] for op in self.ops]

        def constant(value: Any) -> Any:
            values = np.concatenate([np.full(size, value(n)) for n, size in zip(neurons, sizes, strict=True)])
            return import_tensorflow().constant(values[None], signals.dtype)

        self._most = constant(lambda n: n.most_spikes(signals.dt_val))
        self._lowest = constant(lambda n: -inf if n.min_voltage is None else n.min_voltage)
        self._highest_rate = constant(lambda n: inf if n.max_rate is None else n.max_rate)

    def step(self, J: Any, dt: Any, voltage: Any) -> Any:
        tf = import_tensorflow()
        voltage += J * dt
        spikes = tf.minimum(tf.nn.relu(tf.floor(voltage)), self._most)
        return spikes * self.alpha, tf.maximum(voltage - spikes, self._lowest)

    def training_step(self, J: Any, dt: Any, **state: Any) -> Any:
        rate = import_tensorflow().minimum(import_tensorflow().nn.relu(J), self._highest_rate)
        return rate if self.amplitude is None else rate * self.amplitude


neuron_builders.SimNeuronsBuilder.TF_NEURON_IMPL |= {IntegrateAndFire: _Builder}
