"""The scaling of pixels to the values that a network takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError


@dataclass(frozen=True)
class PixelScaling:
    """The scaling ``pixel / divisor - shift`` of pixels from 0 to 255, computed in single precision.

    Attributes
    ----------
    divisor, shift
        Divisor and shift; one number for all channels, or one for each.
    """

    divisor: tuple[float, ...] = (255.0,)
    shift: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        for name in ("divisor", "shift"):
            values = tuple(float(value) for value in np.ravel(getattr(self, name)))
            if not values or not np.all(np.isfinite(values)) or (name == "divisor" and 0 in values):
                raise DataError(f"scaling of pixels: got {name}={values}: give finite numbers, and none of them 0")
            object.__setattr__(self, name, values)

    @classmethod
    def standardised(cls, mean: Any = 0.0, deviation: Any = 1.0, scale: Any = 1 / 255) -> "PixelScaling":
        """Return the scaling ``(scale * pixel - mean) / deviation``.

        Parameters
        ----------
        mean, deviation
            Mean and standard deviation of scaled pixels; one number, or one for each channel.
        scale
            Factor on the pixels before that.
        """
        try:
            mean, deviation, scale = (np.asarray(value, np.float64) for value in (mean, deviation, scale))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"scaling of pixels: got scale={scale!r}, mean={mean!r}, deviation={deviation!r}: give numbers"
            ) from error
        if np.any(scale == 0) or np.any(deviation == 0):
            raise DataError(f"scaling of pixels: got scale={scale}, deviation={deviation}: none of them can be 0")
        return cls(tuple(np.ravel(deviation / scale)), tuple(np.ravel(mean / deviation)))

    @property
    def largest(self) -> float:
        """The largest value that it gives a pixel."""
        return float(np.max(self(np.array([[0.0], [255.0]]))))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise `DataError` if there are neither one number nor one for each channel of samples of this shape."""
        for name, values in (("divisor", self.divisor), ("shift", self.shift)):
            if len(values) not in (1, shape[-1]):
                raise DataError(
                    f"scaling of pixels: {len(values)} numbers as {name}, and samples of shape {shape} have "
                    f"{shape[-1]} channels: give one number, or one for each channel"
                )

    def __call__(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return the scaled values of pixels of shape ``(..., c)``."""
        divisor, shift = (np.asarray(values, np.float32) for values in (self.divisor, self.shift))
        scaled: NDArray[np.float32] = pixels.astype(np.float32) / divisor - shift
        return scaled

    def __str__(self) -> str:
        numbers = [", ".join(f"{value:.4g}" for value in values) for values in (self.divisor, self.shift)]
        divisor, shift = (text if "," not in text else f"({text})" for text in numbers)
        return f"pixel / {divisor}" + ("" if set(self.shift) == {0.0} else f" - {shift}")
