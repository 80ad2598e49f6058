"""Synapses: none, a low-pass filter given by its time constant, or another of Nengo's linear filters.

A discretised synapse is the same filter as in Nengo. With state x, input u and output y of step t, it computes
``y[t] = c x[t]`` and ``x[t + 1] = A x[t] + b u[t]`` from ``x[0] = 0``. The output is read before the step's input
arrives, which is Nengo's delay of one step.
"""

from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError, SimulationError

if TYPE_CHECKING:
    import nengo

_SHORTEST = 0.03
"""Shortest time constant, in steps: NengoDL turns a shorter low-pass into a delay of one step."""


@dataclass(frozen=True, eq=False)
class Filter:
    """A discrete linear filter with one input and one output.

    Attributes
    ----------
    a, b, c
        State matrix, shape ``(order, order)``, and input and output vectors, shape ``(order,)``.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    c: NDArray[np.float64]

    @property
    def order(self) -> int:
        """Number of state variables."""
        return len(self.b)

    def over(self, inputs_btn: NDArray[Any], state_bno: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs of consecutive steps, shape ``(b, t, n)``, and update the state (o = order) in place."""
        outputs = np.empty_like(inputs_btn)
        a, b, c = (values.astype(state_bno.dtype) for values in (self.a.T, self.b, self.c))
        for t in range(inputs_btn.shape[1]):
            outputs[:, t] = state_bno @ c
            state_bno[...] = state_bno @ a + inputs_btn[:, t, :, None] * b
        return outputs


@dataclass(frozen=True)
class Synapse:
    """The filter on the output of neurons. Make one with `Synapse.of`. A synapse without a filter is false.

    Attributes
    ----------
    nengo
        Synapse in the form that Nengo takes: the time constant of a low-pass filter, s, another of Nengo's synapses, or
        None for no filter.
    """

    nengo: "float | nengo.synapses.Synapse | None" = None

    @classmethod
    def of(cls, given: Any, key: str = "synapse") -> Self:
        """Return the synapse for a time constant in s, one of Nengo's synapses, None, or a `Synapse`.

        Raises
        ------
        ConfigError
            If ``given`` is something else; the message names ``key``.
        """
        if isinstance(given, cls):
            return given
        if given is None or (isinstance(given, (int, float)) and not isinstance(given, bool)):
            return cls(given)
        from nengo.synapses import Lowpass
        from nengo.synapses import Synapse as NengoSynapse

        if not isinstance(given, NengoSynapse):
            raise ConfigError(_takes(key, given))
        return cls(float(given.tau) if isinstance(given, Lowpass) else given)

    def __bool__(self) -> bool:
        return self.nengo is not None

    def __str__(self) -> str:
        return str(self.nengo)

    @property
    def is_low_pass(self) -> bool:
        """Whether the synapse is a low-pass filter, given by its time constant."""
        return isinstance(self.nengo, (int, float))

    @property
    def tau(self) -> float | None:
        """Time constant, s; None if there is no filter, or if the filter has no time constant."""
        tau = getattr(self.nengo, "tau", self.nengo)
        return tau if isinstance(tau, (int, float)) else None

    @property
    def plain(self) -> float | str | None:
        """The recorded form of the synapse: the time constant, or Nengo's name of the filter."""
        return self.nengo if self.nengo is None or isinstance(self.nengo, (int, float)) else str(self.nengo)

    def linear(self, key: str) -> Self:
        """Return this synapse after checking that it is linear.

        Raises
        ------
        ConfigError
            If it is not a linear filter; the message names ``key``.
        """
        if not self._is_linear:
            raise ConfigError(_takes(key, self.nengo))
        return self

    def discrete(self, dt: float, whose: str) -> Filter | None:
        """Return the filter for steps of ``dt`` s; None for no filter.

        A time constant tau is a low-pass with ``a = exp(-dt / tau)`` and ``b = 1 - a``, the zero-order hold of
        ``tau dy/dt = u - y``. Any other synapse is discretised in the same way as in Nengo.

        Raises
        ------
        SimulationError
            If only NengoDL can run the synapse; the message names ``whose`` it is.
        """
        if self.nengo is None:
            return None
        if isinstance(self.nengo, (int, float)):
            decay = exp(-dt / self.nengo) if self.nengo > _SHORTEST * dt else 0.0
            return Filter(np.array([[decay]]), np.array([1 - decay]), np.array([1.0]))
        if not self._is_linear:
            raise self._refused(whose, "is no linear filter")
        step: Any = self.nengo.make_step((1,), (1,), dt, None, self.nengo.make_state((1,), (1,), dt))
        order = len(step.A)
        if np.any(step.D) or not order:
            raise self._refused(whose, "passes its input on without delay")
        return Filter(np.array(step.A, np.float64), np.reshape(step.B, order), np.reshape(step.C, order))

    @property
    def _is_linear(self) -> bool:
        from nengo.synapses import LinearFilter

        return self.nengo is None or isinstance(self.nengo, (int, float, LinearFilter))

    def _refused(self, whose: str, why: str) -> SimulationError:
        return SimulationError(
            f"{whose} has the synapse {self}, which {why}: take another synapse, or simulator=nengo_dl"
        )


NO_SYNAPSE = Synapse()


def in_milliseconds(plain: float | str | None) -> str:
    """Return a recorded synapse (`Synapse.plain`) as the text that tables show, with time constants in ms."""
    return f"{1000 * plain:g}" if isinstance(plain, (int, float)) else plain or ""


def _takes(key: str, given: Any) -> str:
    return f"{key}: got {given!r}: takes a time constant in s, nengo.Lowpass, nengo.Alpha or another nengo.LinearFilter"
