"""Synapses: none, a low-pass filter by its time constant, or another linear filter of Nengo's.

Discretised, a synapse is the same filter as Nengo's. With state x, input u and output y of a step: ``y[t] = c x[t]``,
``x[t + 1] = A x[t] + b u[t]``, ``x[0] = 0``. The output is read before the step's input arrives: Nengo's delay of one
step.
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
"""In steps: NengoDL makes a low-pass with a shorter time constant a delay of one step."""


@dataclass(frozen=True, eq=False)
class Filter:
    """A discrete linear filter of one input and one output.

    Attributes
    ----------
    a, b, c
        State matrix, shape ``(order, order)``, input and output vectors, shape ``(order,)``.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    c: NDArray[np.float64]

    @property
    def order(self) -> int:
        """Number of state variables."""
        return len(self.b)

    def over(self, inputs_btn: NDArray[Any], state_bno: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs of consecutive steps, shape ``(b, t, n)``, and leave the state (o = order) after them."""
        outputs = np.empty_like(inputs_btn)
        a, b, c = (values.astype(state_bno.dtype) for values in (self.a.T, self.b, self.c))
        for t in range(inputs_btn.shape[1]):
            outputs[:, t] = state_bno @ c
            state_bno[...] = state_bno @ a + inputs_btn[:, t, :, None] * b
        return outputs


@dataclass(frozen=True)
class Synapse:
    """What filters the output of neurons. Make it with `Synapse.of`; it is false where nothing is filtered.

    Attributes
    ----------
    nengo
        As Nengo takes it: the time constant of a low-pass filter, s; another of Nengo's synapses; None for no filter.
    """

    nengo: "float | nengo.synapses.Synapse | None" = None

    @classmethod
    def of(cls, given: Any, key: str = "synapse") -> Self:
        """Return a synapse from a time constant in s, one of Nengo's synapses, None, or a `Synapse`.

        Raises
        ------
        ConfigError
            If it is something else; the message names ``key``.
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
        """Whether it is known by its time constant."""
        return isinstance(self.nengo, (int, float))

    @property
    def tau(self) -> float | None:
        """Time constant, s; None where there is no filter, or one that has none."""
        tau = getattr(self.nengo, "tau", self.nengo)
        return tau if isinstance(tau, (int, float)) else None

    @property
    def plain(self) -> float | str | None:
        """As it is recorded: the time constant, or what Nengo calls the filter."""
        return self.nengo if self.nengo is None or isinstance(self.nengo, (int, float)) else str(self.nengo)

    def linear(self, key: str) -> Self:
        """Return this synapse.

        Raises
        ------
        ConfigError
            If it is one of Nengo's that is no linear filter; the message names ``key``.
        """
        if not self._is_linear:
            raise ConfigError(_takes(key, self.nengo))
        return self

    def discrete(self, dt: float, whose: str) -> Filter | None:
        """Return the filter for steps of ``dt`` s, None for none.

        A time constant tau is a low-pass: ``a = exp(-dt / tau)``, ``b = 1 - a``, the zero-order hold of
        ``tau dy/dt = u - y``. Any other synapse is discretised as Nengo does.

        Raises
        ------
        SimulationError
            If only NengoDL knows it; the message names ``whose`` it is.
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
    """Return a recorded synapse (`Synapse.plain`) as a table shows it."""
    return f"{1000 * plain:g}" if isinstance(plain, (int, float)) else plain or ""


def _takes(key: str, given: Any) -> str:
    return f"{key}: got {given!r}: takes a time constant in s, nengo.Lowpass, nengo.Alpha or another nengo.LinearFilter"
