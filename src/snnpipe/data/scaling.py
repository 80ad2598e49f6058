"""Scaling of samples: from pixels, from the training samples, or by given numbers."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from snnpipe.base.errors import ConfigError, DataError
from snnpipe.values.data import DataSpec

Scaling = Literal["auto", "minus_one_to_one", "zero_to_one", "standardised", "none"]
"""The ways to scale, which `snnpipe.data.streamed.StreamedData` explains."""

_OF_PIXELS = {"minus_one_to_one": (np.float32(127.5), np.float32(1)), "zero_to_one": (np.float32(255), np.float32(0))}
_UNSCALED = np.float32(1), np.float32(0)

DivisorAndShift = tuple[Any, Any]
"""The divisor of each value, and the number to subtract afterwards: scalars, or one of each per channel."""


def check_moments(scaling: str, mean: Sequence[float] | None, deviation: Sequence[float] | None) -> None:
    """Raise `ConfigError` if only one of mean and deviation is given, or the scaling does not use them."""
    given = {name: list(values) for name, values in (("mean", mean), ("deviation", deviation)) if values is not None}
    for name, values in given.items():
        if len(given) == 1:
            other = "deviation" if name == "mean" else "mean"
            raise ConfigError(f"data.{name}: got {values}, and no {other}: give data.{other} as well, or neither")
        if scaling != "standardised":
            raise ConfigError(
                f"data.{name}: got {values}, and data.scaling={scaling} does not use it: take "
                "data.scaling=standardised, or leave mean and deviation out"
            )


def chosen_scaling(scaling: str, *, kind: np.dtype[Any], pixels: bool, of: str) -> str:
    """Return the scaling that a setting stands for.

    Parameters
    ----------
    scaling
        The setting, one of `Scaling`.
    kind
        Type of the stored values.
    pixels
        Whether the stored values can be pixels of 0 to 255.
    of
        What the stored values are, for error messages.

    Raises
    ------
    DataError
        If the scaling is for pixels, and the values are none.
    """
    if scaling == "auto":
        return "minus_one_to_one" if pixels and kind == np.uint8 else "none"
    if scaling in _OF_PIXELS and not pixels:
        raise DataError(
            f"data.scaling: got {scaling!r}, which is for pixels of 0 to 255, and {of}: take "
            "data.scaling=standardised, or none"
        )
    return scaling


def divisor_and_shift(scaling: str) -> DivisorAndShift:
    """Return the divisor and the shift of a scaling without moments."""
    return _OF_PIXELS.get(scaling, _UNSCALED)


def of_moments(mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> DivisorAndShift:
    """Return the divisor and the shift that give values of a mean and a standard deviation the mean 0 and deviation 1.

    Parameters
    ----------
    mean, deviation
        Mean and standard deviation of each channel, shape ``(channels,)``.
    """
    return deviation, mean / deviation


def given_moments(
    mean: Sequence[float], deviation: Sequence[float], spec: DataSpec, span: tuple[float, float] | None, *, pixels: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of each channel as they were given.

    Parameters
    ----------
    mean, deviation
        The numbers, one of each per channel.
    spec
        Spec of the dataset.
    span
        Smallest and largest stored value; None if they are unknown.
    pixels
        Whether the stored values are pixels of 0 to 255.

    Raises
    ------
    DataError
        If there is not one of each per channel, or they are in another unit than the stored values.
    """
    n_channels = spec.input_shape[-1]
    for name, values in (("mean", mean), ("deviation", deviation)):
        if len(values) != n_channels:
            raise DataError(
                f"data.{name}: got {len(values)} numbers, and {spec.name} has {n_channels} channels (samples of shape "
                f"{spec.input_shape}): give {n_channels}, one per channel"
            )
    if pixels and max(*map(abs, mean), *deviation) <= 1:
        in_pixels = ", ".join(
            f"data.{name}=[{','.join(f'{255 * value:g}' for value in values)}]"
            for name, values in (("mean", mean), ("deviation", deviation))
        )
        raise DataError(
            f"data.mean: got {list(mean)}, which is for values of 0 to 1, and the pixels of {spec.name} are 0 to 255: "
            f"give 255 times as much, {in_pixels}"
        )
    low, high = span or (-np.inf, np.inf)
    if min(mean) < 2 * low - high or max(mean) > 2 * high - low:
        raise DataError(
            f"data.mean: got {list(mean)}, and the values of {spec.name} are {low:g} to {high:g}: give data.mean and "
            "data.deviation in the unit of these values"
        )
    return np.asarray(mean, np.float32), np.asarray(deviation, np.float32)


def measured_moments(
    batches: Iterable[NDArray[Any]], spec: DataSpec
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and standard deviation of each channel over all samples, from one pass.

    The deviation of a channel that is constant is 1.
    """
    from sklearn.preprocessing import StandardScaler

    scaler, words = StandardScaler(), f"{spec.sample_word}s"
    with tqdm(total=spec.n_train, desc=f"measuring {words}", unit=f" {words}", leave=False, disable=None) as bar:
        for samples in batches:
            by_channel = np.asarray(samples, np.float64).reshape(-1, spec.input_shape[-1])
            if not np.isfinite(by_channel).all():
                raise DataError(
                    f"data.scaling: the training {words} of {spec.name} have values that are not finite, and no mean: "
                    "put numbers in their place, or give data.mean and data.deviation"
                )
            scaler.partial_fit(by_channel)
            bar.update(len(samples))
    return scaler.mean_.astype(np.float32), scaler.scale_.astype(np.float32)
