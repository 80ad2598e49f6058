"""Rectified linear neurons with a highest rate, for ReLU6 and other ReLUs with a ``max_value``.

Importing this module imports NengoDL and registers the neurons' equations with it.
"""

from typing import Any

import nengo
import numpy as np
from nengo.params import NumberParam
from numpy.typing import NDArray

from snnpipe.frameworks.compat import import_nengo_dl, import_tensorflow

import_nengo_dl()
from nengo_dl import neuron_builders  # noqa: E402  # NengoDL imports only once it has been prepared


class ClippedRectifiedLinear(nengo.RectifiedLinear):
    """Rectified linear rate neurons with a highest rate: ``amplitude * min(max(J, 0), max_rate)``.

    Parameters
    ----------
    max_rate
        Highest rate in Hz, before the amplitude.
    amplitude, initial_state
        As for `nengo.RectifiedLinear`.
    """

    max_rate = NumberParam("max_rate", low=0, low_open=True)

    def __init__(self, max_rate: float, amplitude: float = 1, initial_state: Any = None):
        super().__init__(amplitude=amplitude, initial_state=initial_state)
        self.max_rate = max_rate

    def step(self, dt: float, J: NDArray[np.float64], output: NDArray[np.float64]) -> None:
        """Compute the rates of a step."""
        output[...] = self.amplitude * np.clip(J, 0, self.max_rate)


class SpikingClippedRectifiedLinear(nengo.SpikingRectifiedLinear):
    """Integrate-and-fire neurons with a highest rate: v += min(max(J, 0), max_rate) dt; n = floor(v); v -= n.

    Parameters
    ----------
    max_rate
        Highest rate in Hz, before the amplitude.
    amplitude, initial_state
        As for `nengo.SpikingRectifiedLinear`.
    """

    max_rate = NumberParam("max_rate", low=0, low_open=True)

    def __init__(self, max_rate: float, amplitude: float = 1, initial_state: Any = None):
        super().__init__(amplitude=amplitude, initial_state=initial_state)
        self.max_rate = max_rate

    def rates(self, x: Any, gain: Any, bias: Any) -> Any:
        """Return the rates of constant inputs."""
        return self.amplitude * np.clip(self.current(x, gain, bias), 0, self.max_rate)

    def step(
        self, dt: float, J: NDArray[np.float64], output: NDArray[np.float64], voltage: NDArray[np.float64]
    ) -> None:
        """Integrate the current of a step, and spike."""
        voltage += np.clip(J, 0, self.max_rate) * dt
        spikes = np.floor(voltage)
        output[:] = (self.amplitude / dt) * spikes
        voltage -= spikes


class _ClippedBuilder(neuron_builders.TFNeuronBuilder):
    """NengoDL's builder of the rate neurons."""

    def build_pre(self, signals: Any, config: Any) -> None:
        super().build_pre(signals, config)
        self.max_rate = signals.op_constant(
            [op.neurons for op in self.ops], [op.J.shape[0] for op in self.ops], "max_rate", signals.dtype
        )

    def _rate(self, J: Any) -> Any:
        return import_tensorflow().minimum(import_tensorflow().nn.relu(J), self.max_rate)

    def step(self, J: Any, dt: Any) -> Any:
        rate = self._rate(J)
        return rate if self.amplitude is None else rate * self.amplitude


class _SpikingClippedBuilder(_ClippedBuilder):
    """NengoDL's builder of the spiking neurons, which are trained with their rates."""

    spiking = True

    def step(self, J: Any, dt: Any, voltage: Any) -> Any:  # type: ignore[override]
        voltage += self._rate(J) * dt
        spikes = import_tensorflow().floor(voltage)
        return spikes * self.alpha, voltage - spikes

    def training_step(self, J: Any, dt: Any, **state: Any) -> Any:
        return super().step(J, dt)


neuron_builders.SimNeuronsBuilder.TF_NEURON_IMPL |= {
    ClippedRectifiedLinear: _ClippedBuilder,
    SpikingClippedRectifiedLinear: _SpikingClippedBuilder,
}
