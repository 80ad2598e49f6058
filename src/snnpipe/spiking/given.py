"""Samples and labels that are given as arrays: checked, and in the form of a data module.

Axes: b = sample.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError
from snnpipe.values.data import DataSpec
from snnpipe.values.pixels import PixelScaling

_PICTURE_AXES = 3


def checked_samples(
    given: Any, shape: tuple[int, ...] | None, name: str, pixels: PixelScaling | None = None
) -> NDArray[np.float32]:
    """Return samples as an array of shape ``(b, *shape)``.

    Parameters
    ----------
    given
        Samples, as anything that NumPy takes for an array of numbers.
    shape
        Shape of a sample; None for any.
    name
        Name of the argument, for error messages.
    pixels
        Scaling of pixels, which samples of type ``uint8`` get; None if it is not known.

    Raises
    ------
    DataError
        If they are no array of finite numbers, there are none, one has another shape, or they are pixels that should be
        scaled and are not of type ``uint8``.
    """
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise DataError(f"{name}: it makes no array: give samples of one shape each") from error
    if array.dtype.kind not in "buif":
        what = "nothing" if given is None else f"values of type {array.dtype}"
        raise DataError(f"{name}: got {what}: give an array of numbers, of shape (b, ...)")
    wanted = "(b, ...)" if shape is None else f"(b, {', '.join(map(str, shape))})"
    if array.ndim < 2 or (shape is not None and array.shape[1:] != shape):
        one = shape is not None and array.shape == shape
        cure = f"give {name}[None] for one sample" if one else f"give samples of shape {wanted}"
        raise DataError(f"{name}: got an array of shape {array.shape}: {cure}")
    if not len(array):
        raise DataError(f"{name}: got no sample: give an array of shape {wanted} with one or more")
    with np.errstate(over="ignore"):
        samples: NDArray[np.float32] = array.astype(np.float32)
    finite = np.isfinite(samples).reshape(len(samples), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{name}: sample {int(np.argmin(finite))} has a value that is infinite or no number: leave it out, or put "
            "a number in its place (numpy.nan_to_num)"
        )
    if pixels is None:
        return samples
    if array.dtype == np.uint8:
        return pixels(array)
    if _are_raw(samples, pixels):
        raise DataError(
            f"{name}: got whole numbers up to {samples.max():g} of type {array.dtype}, as pixels are, and the network "
            f"takes {pixels}, at most {pixels.largest:.4g}: scale them, or give uint8 in Python, which is scaled"
        )
    return samples


def _are_raw(samples: NDArray[np.float32], pixels: PixelScaling) -> bool:
    """Whether samples are pixels that were not scaled: whole numbers up to 255, above all that the scaling gives."""
    low, high = samples.min(), samples.max()
    return bool(low >= 0 and pixels.largest < high <= 255 and np.all(samples == np.rint(samples)))


def are_pictures(given: Any, shape: tuple[int, ...]) -> bool:
    """Whether samples of a shape are pictures whose pixels are of type ``uint8``."""
    return len(shape) == _PICTURE_AXES and np.asarray(given).dtype == np.uint8


def checked_inputs(given: Any, shape: tuple[int, ...], name: str, pixels: PixelScaling | None) -> NDArray[np.float32]:
    """Return samples for a network as `checked_samples` does. ``pixels`` is the network's scaling, None if it has none.

    Raises
    ------
    DataError
        Also if they are pictures of type ``uint8`` and the network has no scaling: it would take their raw values.
    """
    samples = checked_samples(given, shape, name, pixels)
    if pixels is None and are_pictures(given, shape):
        raise DataError(
            f"{name}: got pixels of type uint8, and the network has no scaling of pixels: scale them as its training "
            "data were, or give them as float32 if it takes values of 0 to 255 (snnpipe.convert keeps a scaling: mean, "
            "deviation, scale)"
        )
    return samples


def checked_labels(given: Any, n: int, n_classes: int, name: str) -> NDArray[np.int64]:
    """Return labels as an array of shape ``(b,)``, from 0 to ``n_classes - 1``.

    Parameters
    ----------
    given
        Labels: numbers of classes, of shape ``(b,)`` or ``(b, 1)``, or one-hot, of shape ``(b, n_classes)``.
    n, n_classes
        Number of samples, and of classes.
    name
        Name of the argument, for error messages.

    Raises
    ------
    DataError
        If they are anything else.
    """
    array = np.asarray(given)
    if array.dtype.kind not in "buif":
        raise DataError(f"{name}: got values of type {array.dtype}: give the number of each sample's class, from 0")
    if array.shape == (n, n_classes):
        if not np.all(np.isin(array, (0, 1))) or np.any(array.sum(axis=1) != 1):
            raise DataError(f"{name}: got shape {array.shape}, and not one-hot: give one class for each sample")
        return np.asarray(np.argmax(array, axis=1), np.int64)
    if array.shape not in ((n,), (n, 1)):
        raise DataError(f"{name}: got shape {array.shape} for {n} samples: give one class for each, shape ({n},)")
    array = array.ravel()
    if not np.all(np.isin(array, np.arange(n_classes))):
        wrong = int(np.argmin(np.isin(array, np.arange(n_classes))))
        raise DataError(f"{name}: got {array[wrong]} for sample {wrong}: the classes are 0 to {n_classes - 1}")
    return array.astype(np.int64)


class _Batches:
    """The batches of arrays, each time from the first on."""

    def __init__(self, samples: NDArray[np.float32], labels: NDArray[np.int64], size: int):
        self._samples, self._labels, self._size = samples, labels, size

    def __iter__(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        for first in range(0, len(self._samples), self._size):
            rows = slice(first, first + self._size)
            yield self._samples[rows], self._labels[rows]


@dataclass(frozen=True, eq=False)
class GivenData:
    """Samples and labels as a data module whose test split they are.

    Parameters
    ----------
    samples, labels
        Samples of shape ``(b, *input_shape)``, and their classes.
    class_names
        Names of the classes.
    batch_size
        Number of samples that are handled together.
    """

    samples: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    batch_size: int

    @property
    def spec(self) -> DataSpec:
        """Facts about the samples. There are no samples for training."""
        return DataSpec(
            name="samples",
            input_shape=self.samples.shape[1:],
            n_classes=len(self.class_names),
            class_names=self.class_names,
            n_train=0,
            n_validation=0,
            n_test=len(self.samples),
        )

    def prepare_data(self) -> None:
        """Do nothing: the samples are there."""

    def setup(self) -> None:
        """Do nothing: the samples are there."""

    def train_dataset(self, epoch: int = 0) -> Any:
        """Return no samples."""
        return []

    def validation_dataset(self) -> None:
        """Return None."""

    def test_dataset(self, batch_size: int | None = None) -> Any:
        """Return the samples, batch by batch."""
        return _Batches(self.samples, self.labels, batch_size or self.batch_size)
