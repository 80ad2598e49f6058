"""Recognises the rectifier that a Keras layer or function applies, by its outputs and not by its name."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.frameworks.compat import import_tensorflow

_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Rectifier:
    """A function that is x above 0, but at most ``max_value``, and ``negative_slope * x`` below 0.

    With ``levels``, it is rounded to so many steps between 0 and ``max_value``.

    Attributes
    ----------
    negative_slope
        0 for a ReLU, above 0 for a LeakyReLU.
    max_value
        Largest output, such as 6 for ReLU6; None for no limit.
    levels
        Number of steps between 0 and ``max_value``; None for a continuous function.
    """

    negative_slope: float = 0.0
    max_value: float | None = None
    levels: int | None = None

    @property
    def plain(self) -> bool:
        """Whether it is a plain ReLU."""
        return self == Rectifier()

    def __call__(self, x: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return the function's values at ``x``."""
        above: NDArray[np.floating[Any]] = np.clip(x, 0, self.max_value)
        if self.levels is not None and self.max_value is not None:
            step = self.max_value / self.levels
            return np.asarray(step * np.floor(above / step + 0.5), x.dtype)
        return above + self.negative_slope * np.minimum(x, 0) if self.negative_slope else above

    @property
    def name(self) -> str:
        """Its name in messages."""
        if self.negative_slope:
            return f"LeakyReLU({self.negative_slope:g})"
        if self.levels is not None:
            return f"ReLU of {self.levels} steps up to {self.max_value:g}"
        return "ReLU" if self.max_value is None else f"ReLU with max_value={self.max_value:g}"


@dataclass(frozen=True)
class Identity:
    """The function that returns its argument."""


def applied(function: Callable[[Any], Any]) -> Rectifier | Identity | None:
    """Return the rectifier that a function of tensors computes, or `Identity`; None if it computes neither.

    Parameters
    ----------
    function
        A function of one tensor. One that does not act on each value separately gives None.
    """
    try:
        return _known(function)
    except TypeError:  # the function cannot be hashed
        return _probed(function)


@functools.lru_cache(maxsize=1000)
def _known(function: Callable[[Any], Any]) -> Rectifier | Identity | None:
    return _probed(function)


def _points() -> NDArray[np.float32]:
    sizes = np.concatenate([np.geomspace(1e-3, 1e6, 91), np.linspace(0.037, 12.037, 120)])
    return np.sort(np.concatenate([-sizes, [0.0], sizes])).astype(np.float32)


def _probed(function: Callable[[Any], Any]) -> Rectifier | Identity | None:
    tf = import_tensorflow()
    x = _points()
    try:
        with tf.init_scope():
            y = np.asarray(function(tf.constant(x[:, None])), np.float64)
            row = np.asarray(function(tf.constant(x[None])), np.float64)
    except Exception:  # a user's function may raise anything for shapes that it was not made for
        return None
    if y.shape != (len(x), 1) or row.shape != (1, len(x)) or not np.allclose(y.ravel(), row.ravel(), rtol=_TOLERANCE):
        return None
    return _fitted(x.astype(np.float64), y.ravel())


def _fitted(x: NDArray[np.float64], y: NDArray[np.float64]) -> Rectifier | Identity | None:
    if np.allclose(y, x, rtol=_TOLERANCE, atol=0):
        return Identity()
    slope = float(y[0] / x[0])
    highest = float(y[-1])
    slope = float(f"{slope:.6g}") if slope > _TOLERANCE**2 else 0.0
    max_value = float(f"{highest:.6g}") if highest < x[-1] * (1 - _TOLERANCE) else None
    if max_value is not None and max_value <= 0:
        return None
    above = x if max_value is None else np.minimum(x, max_value)
    expected = np.where(x > 0, above, slope * x)
    if y.shape != x.shape or not np.allclose(y, expected, rtol=_TOLERANCE, atol=_TOLERANCE**2):
        return None
    return Rectifier(slope, max_value)
