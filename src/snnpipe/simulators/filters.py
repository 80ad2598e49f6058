"""A synapse as a discrete linear filter, the same one as Nengo's.

With state x, input u and output y of a step: ``y[t] = c x[t]``, ``x[t + 1] = A x[t] + b u[t]``, ``x[0] = 0``.
The output is read before the step's input arrives: Nengo's delay of one step.
"""

from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHORTEST = 0.03
"""In steps: NengoDL makes a low-pass with a shorter time constant a delay of one step."""


@dataclass(frozen=True, eq=False)
class Filter:
    """A linear filter of one input and one output.

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


def discrete(synapse: Any, dt: float) -> Filter | None:
    """Return a layer's synapse as a filter for steps of ``dt`` s, None for none.

    A time constant tau is a low-pass: ``a = exp(-dt / tau)``, ``b = 1 - a``, the zero-order hold of
    ``tau dy/dt = u - y``. Any other synapse is discretised as Nengo does.
    """
    if synapse is None:
        return None
    if isinstance(synapse, (int, float)):
        decay = exp(-dt / synapse) if synapse > _SHORTEST * dt else 0.0
        return Filter(np.array([[decay]]), np.array([1 - decay]), np.array([1.0]))
    step = synapse.make_step((1,), (1,), dt, None, synapse.make_state((1,), (1,), dt))
    order = len(step.A)
    if np.any(step.D) or not order:
        raise ValueError("passes its input on without delay")
    return Filter(np.array(step.A, np.float64), np.reshape(step.B, order), np.reshape(step.C, order))
