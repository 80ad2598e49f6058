"""A data module of one's own: scikit-learn's digits as arrays, with a habit each."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from snnpipe.values.data import DataSpec


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32).reshape(-1, 8, 8, 1), labels.astype(np.int64)


@dataclass
class Arrays:
    """The digits' first images as three splits; a habit changes what its streams yield, or how.

    Parameters
    ----------
    habit
        One of `HABITS`, or none.
    batch_size
        Of a training batch.
    sizes
        Images of each split.
    fields
        Of the spec, in place of its own.
    """

    habit: str = "none"
    batch_size: int = 32
    sizes: tuple[int, int, int] = (100, 40, 50)
    fields: dict[str, Any] = field(default_factory=dict)

    def prepare_data(self) -> None:
        pass

    def setup(self) -> None:
        images, labels = digits()
        ends = np.cumsum([0, *self.sizes])
        self.parts = [(images[a:b], labels[a:b]) for a, b in pairwise(ends)]
        counts = dict(zip(("n_train", "n_validation", "n_test"), self.sizes, strict=True))
        self.spec = DataSpec(**{"input_shape": (8, 8, 1), "n_classes": 10, **counts, **self.fields})

    def train_dataset(self, epoch: int = 0) -> Any:
        order = np.random.default_rng(epoch).permutation(self.sizes[0])
        return self.stream(*(part[order] for part in self.parts[0]), self.batch_size)

    def validation_dataset(self) -> Any:
        return self.stream(*self.parts[1], self.batch_size) if self.sizes[1] else None

    def test_dataset(self, batch_size: int | None = None) -> Any:
        return self.stream(*self.parts[2], batch_size or self.batch_size)

    def stream(self, images: np.ndarray, labels: np.ndarray, size: int) -> Any:
        import tensorflow as tf

        change = HABITS.get(self.habit)
        arrays = change(images, labels) if change else (images, labels)
        if self.habit in READ_OTHERWISE:
            return READ_OTHERWISE[self.habit](arrays, size)
        return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


def batches(arrays: tuple[np.ndarray, ...], size: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield arrays batch by batch, as NumPy."""
    for first in range(0, len(arrays[0]), size):
        yield tuple(array[first : first + size] for array in arrays)


class _Sequence:
    """Batches by their number, as a Keras sequence has them; it would not end by itself."""

    def __init__(self, arrays: tuple[np.ndarray, ...], size: int):
        self.batches = list(batches(arrays, size))

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> tuple[np.ndarray, ...]:
        return self.batches[i % len(self.batches)]


def _without_shapes(arrays: tuple[np.ndarray, ...], size: int) -> Any:
    import tensorflow as tf

    types = tuple(tf.as_dtype(array.dtype) for array in arrays)
    return tf.data.Dataset.from_generator(lambda: zip(*arrays, strict=True), output_types=types).batch(size)


def _of_tensorflow(make: Any) -> Any:
    def stream(arrays: tuple[np.ndarray, ...], size: int) -> Any:
        import tensorflow as tf

        return make(tf.data.Dataset.from_tensor_slices(arrays), size)

    return stream


def with_value(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    """Return a copy of an array with one value of it changed."""
    array = array.copy()
    array[index] = value
    return array


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(10, dtype=np.float32)[labels]


HABITS: dict[str, Any] = {
    # which are taken
    "column labels": lambda x, y: (x, y[:, None]),
    "one-hot": lambda x, y: (x, one_hot(y)),
    "one-hot of uint8": lambda x, y: (x, one_hot(y).astype(np.uint8)),
    "labels of uint8": lambda x, y: (x, y.astype(np.uint8)),
    "whole labels of float64": lambda x, y: (x, y.astype(np.float64)),
    "images of float64": lambda x, y: (x.astype(np.float64), y),
    "images of float16": lambda x, y: (x.astype(np.float16), y),
    "images of uint8": lambda x, y: ((x * 16).astype(np.uint8), y),
    "no channel axis": lambda x, y: (x[..., 0], y),
    "weights of one": lambda x, y: (x, y, np.ones(len(x), np.float64)),
    "weights as a column": lambda x, y: (x, y, np.ones((len(x), 1), np.float32)),
    # which are refused
    "labels from 1": lambda x, y: (x, y + 1),
    "labels of -1": lambda x, y: (x, with_value(y, slice(0, None, 3), -1)),
    "labels of 20": lambda x, y: (x, with_value(y, slice(0, None, 3), 20)),
    "labels as text": lambda x, y: (x, np.array([f"digit {label}" for label in y])),
    "labels of a half": lambda x, y: (x, y + np.float32(0.5)),
    "labels that are no number": lambda x, y: (x, with_value(y.astype(np.float32), slice(0, None, 3), np.nan)),
    "soft labels": lambda x, y: (x, one_hot(y) * 0.9 + np.float32(0.01)),
    "several classes": lambda x, y: (x, np.maximum(one_hot(y), one_hot((y + 1) % 10))),
    "labels of three columns": lambda x, y: (x, np.stack([y] * 3, axis=1)),
    "pixels that are no number": lambda x, y: (with_value(x, (slice(0, None, 3), 4, 4), np.nan), y),
    "pixels without end": lambda x, y: (with_value(x, (slice(0, None, 3), 4, 4), np.inf), y),
    "pixels too large": lambda x, y: (x.astype(np.float64) * 1e39, y),
    "images as text": lambda x, y: (np.array(["image.png"] * len(x)), y),
    "channels first": lambda x, y: (np.concatenate([x] * 3, axis=3).transpose(0, 3, 1, 2), y),
    "flat images": lambda x, y: (x.reshape(-1, 64), y),
    "images of another size": lambda x, y: (x[:, :7], y),
    "negative weights": lambda x, y: (x, y, -np.ones(len(x), np.float32)),
    "weights that are no number": lambda x, y: (x, y, np.full(len(x), np.nan, np.float32)),
    "weights of another shape": lambda x, y: (x, y, np.ones((len(x), 8, 8), np.float32)),
    "a mapping": lambda x, y: {"image": x, "label": y},
    "images alone": lambda x, y: x,
    "four parts": lambda x, y: (x, y, np.ones(len(x)), y),
    "two inputs": lambda x, y: ((x, x), y),
}
READ_OTHERWISE: dict[str, Any] = {
    # which are taken
    "a sequence": _Sequence,
    "a generator": batches,
    "a list": lambda arrays, size: list(batches(arrays, size)),
    "lists in lists": lambda arrays, size: [tuple(a.tolist() for a in batch) for batch in batches(arrays, size)],
    "objects": lambda arrays, size: [(np.array([*x, None], object)[:-1], y) for x, y in batches(arrays, size)],
    "no shapes": _without_shapes,
    "weights of None": lambda arrays, size: [(*batch, None) for batch in batches(arrays, size)],
    # which are refused
    "not batched": _of_tensorflow(lambda stream, size: stream),
    "without an end": _of_tensorflow(lambda stream, size: stream.batch(size).repeat()),
    "a generator without an end": lambda arrays, size: (b for _ in iter(int, 1) for b in batches(arrays, size)),
    "the last batch dropped": _of_tensorflow(lambda stream, size: stream.batch(size, drop_remainder=True)),
    "larger batches": _of_tensorflow(lambda stream, size: stream.batch(size + 7)),
    "batches of any size": lambda arrays, size: [*batches(tuple(a[:30] for a in arrays), 30), *batches(arrays, size)],
    "arrays": lambda arrays, size: arrays,
    "an array": lambda arrays, size: arrays[0],
    "a function": lambda arrays, size: lambda: batches(arrays, size),
    "a number": lambda arrays, size: 3,
    "ragged": lambda arrays, size: [
        ([np.ones((8, 8 + i % 2, 1)) for i in range(len(x))], y) for x, y in batches(arrays, size)
    ],
    "fewer labels": lambda arrays, size: [(x, y[:-1]) for x, y in batches(arrays, size)],
}
