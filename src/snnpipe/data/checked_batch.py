"""The form that a data module's batches must have, and the conversion of batches that almost have it.

Axes: b = sample of the batch, c = class.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError
from snnpipe.values.data import DataSpec

Shapes = tuple[tuple[int, ...], ...]
"""Shapes of a batch's samples, labels and optional sample weights, each without the batch axis."""

_PARTS = ("samples", "labels", "weights")
_ELEMENT = "(samples, labels), or (samples, labels, sample weights)"
_NUMBERS, _WHOLE = "buif", "bui"


def iterator_of(stream: Any, method: str) -> Iterator[Any]:
    """Return an iterator over the batches of a stream that a data module's method returned.

    Raises
    ------
    DataError
        If the stream is no stream of batches.
    """
    cure = "tf.data.Dataset.from_tensor_slices((samples, labels)).batch(self.batch_size)"
    if isinstance(stream, tuple) and len(stream) in (2, 3) and all(hasattr(part, "shape") for part in stream):
        raise DataError(f"data: {method} returned whole arrays: return batches, such as {cure}")
    is_sequence = hasattr(stream, "__len__") and hasattr(stream, "__getitem__")
    no_batches = isinstance(stream, (str, bytes, Mapping)) or hasattr(stream, "dtype")
    if no_batches or not (is_sequence or hasattr(stream, "__iter__")):
        raise DataError(
            f"data: {method} returned a {type(stream).__name__}: return a stream of batches (samples, labels), such as "
            f"{cure}"
        )
    return (stream[i] for i in range(len(stream))) if is_sequence else iter(stream)


def parts_of(element: Any, where: str) -> list[NDArray[Any]]:
    """Return an element of a stream as arrays: samples, labels and optional sample weights.

    Raises
    ------
    DataError
        If the element is anything else.
    """
    if isinstance(element, Mapping):
        keys = list(element)
        pair = f"row[{keys[0]!r}], row[{keys[1]!r}]" if len(keys) > 1 else 'row["sample"], row["label"]'
        raise DataError(
            f"{where}: it is a mapping with {', '.join(map(repr, keys))}: yield {_ELEMENT}, which "
            f".map(lambda row: ({pair})) makes of it"
        )
    if not isinstance(element, (tuple, list)):
        raise DataError(f"{where}: it is {_what(element)}: yield {_ELEMENT}")
    given = list(element)
    if len(given) == 3 and given[2] is None:
        given = given[:2]
    if len(given) not in (2, 3):
        raise DataError(f"{where}: it has {len(given)} parts: yield {_ELEMENT}")
    for part, name in zip(given, _PARTS, strict=False):
        if isinstance(part, (Mapping, tuple)):
            raise DataError(f"{where}: its {name} are {_what(part)}: yield {_ELEMENT}, each of them one array")
    return [_array(part, where, name) for part, name in zip(given, _PARTS, strict=False)]


def clean(element: Any, spec: DataSpec, where: str) -> tuple[NDArray[Any], ...]:
    """Return a batch in the form that the rest of the program takes.

    Parameters
    ----------
    element
        Element of a stream.
    spec
        Spec of the dataset.
    where
        Name of the split and the batch, for error messages.

    Returns
    -------
    samples
        float32, of shape ``(b, *input_shape)``.
    labels
        int64, of shape ``(b,)``.
    weights
        float32, of shape ``(b,)``; only if the stream has sample weights.

    Raises
    ------
    DataError
        If the batch cannot be converted. The message names the value and the cure.
    """
    parts = parts_of(element, where)
    shape = np.shape(parts[0])
    if np.ndim(parts[1]) == 0 or (shape == spec.input_shape and not _is_batch(shape, spec)):
        raise DataError(
            f"{where}: it is one {spec.sample_word} of shape {shape} with its label, and no batch: make batches, as "
            " with .batch(self.batch_size)"
        )
    samples, labels = _samples(parts[0], spec, where), _labels(parts[1], spec, where)
    _same_length(samples, labels, "labels", spec, where)
    if len(parts) == 2:
        return samples, labels
    weights = _weights(parts[2], spec, where)
    _same_length(samples, weights, "sample weights", spec, where)
    return samples, labels, weights


def shapes_of(element: Any, where: str) -> Shapes:
    """Return the shapes of a batch's arrays, which later batches must have too."""
    return tuple(np.shape(part)[1:] for part in parts_of(element, where))


def graph_of_clean(spec: DataSpec, shapes: Shapes) -> Any:
    """Return `clean` as TensorFlow operations for batches of known shapes. They fail where `clean` raises an error."""
    from snnpipe.frameworks.compat import import_tensorflow

    tf = import_tensorflow()

    def require(*conditions: Any) -> None:
        for condition in conditions:
            tf.debugging.Assert(tf.reduce_all(condition), ["a batch that is none"])

    @tf.autograph.experimental.do_not_convert
    def convert(*element: Any) -> Any:
        samples, labels, *weights = (
            tf.ensure_shape(part, (None, *shape)) for part, shape in zip(element, shapes, strict=True)
        )
        samples = tf.reshape(tf.cast(samples, tf.float32), (-1, *spec.input_shape))
        # `Assert`, because under TensorFlow's determinism `check_numerics` removes all parallelism from a stream
        require(tf.math.is_finite(samples))
        if shapes[1] == (spec.n_classes,):
            labels = tf.cast(labels, tf.float32)
            require((labels == 0) | (labels == 1), tf.reduce_sum(labels, axis=1) == 1)
            classes = tf.argmax(labels, axis=1)
        else:
            labels = tf.reshape(labels, (-1,))
            classes = tf.cast(labels, tf.int64)
            require(classes >= 0, classes < spec.n_classes)
            if labels.dtype.is_floating:
                require(tf.cast(classes, labels.dtype) == labels)
        require(tf.shape(samples)[0] == tf.shape(classes)[0])
        if not weights:
            return samples, classes
        weight = tf.cast(tf.reshape(weights[0], (-1,)), tf.float32)
        require(tf.math.is_finite(weight), weight >= 0, tf.shape(weight)[0] == tf.shape(samples)[0])
        return samples, classes, weight

    return convert


def signature(spec: DataSpec, shapes: Shapes) -> Any:
    """Return TensorFlow's description of what `clean` returns."""
    from snnpipe.frameworks.compat import import_tensorflow

    tf = import_tensorflow()
    pair = (tf.TensorSpec((None, *spec.input_shape), tf.float32), tf.TensorSpec((None,), tf.int64))
    return pair if len(shapes) == 2 else (*pair, tf.TensorSpec((None,), tf.float32))


# ---------------------------------------------------------------------- arrays


def _array(part: Any, where: str, name: str) -> NDArray[Any]:
    """Return an array of NumPy, TensorFlow or PyTorch, or a similar value, as a NumPy array."""
    try:
        array = np.asarray(part.numpy() if hasattr(part, "numpy") else part)
        if array.dtype == object and name == "samples" and not isinstance(array.flat[0], (str, bytes)):
            array = np.stack([np.asarray(sample, np.float32) for sample in array])
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{where}: its {name} make no array: give numbers, and each of them the same shape") from error
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array  # NumPy has no bfloat16


def _what(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" if shape is None else f"one array of shape {tuple(shape)}"


def _first_of(values: NDArray[Any]) -> Any:
    """Return the first value. Bytes are returned as text."""
    first = values.ravel()[:1].tolist()
    value = first[0] if first else None
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _same_length(samples: NDArray[Any], others: NDArray[Any], name: str, spec: DataSpec, where: str) -> None:
    if len(samples) != len(others):
        word = spec.sample_word
        raise DataError(f"{where}: it has {len(samples)} {word}s and {len(others)} {name}: give one for each {word}")


def _not_finite(values: NDArray[Any]) -> tuple[int, float] | None:
    """Return the row and the value of the first element that is infinite or not a number."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(values)):
            return None
    rows, *_ = np.nonzero(~np.isfinite(values.reshape(len(values), -1)))
    if not len(rows):
        return None
    row = values[rows[0]].ravel()
    return int(rows[0]), float(row[~np.isfinite(row)][0])


def _is_batch(shape: tuple[int, ...], spec: DataSpec) -> bool:
    """Whether a shape fits a batch of a dataset's samples. The axis of a single channel may be missing."""
    return spec.input_shape in (shape[1:], (*shape[1:], 1))


def _samples(samples: NDArray[Any], spec: DataSpec, where: str) -> NDArray[np.float32]:
    words = f"{spec.sample_word}s"
    if samples.dtype.kind not in _NUMBERS:
        cure = "decode them to pixels" if spec.sample_word == "image" else "give each value as a number"
        raise DataError(f"{where}: its {words} are no numbers, but {_first_of(samples)!r}: {cure}")
    want, got = spec.input_shape, samples.shape[1:]
    if not _is_batch(samples.shape, spec):
        raise DataError(
            f"{where}: its {words} have shape {got}, and DataSpec.input_shape is {want}: "
            f"{_shape_cure(got, want, words)}"
        )
    with np.errstate(over="ignore"):
        numbers = samples.astype(np.float32, copy=False).reshape(-1, *want)
    if bad := _not_finite(numbers):
        raise DataError(
            f"{where}: {words}[{bad[0]}] has a {spec.value_word} that is {bad[1]}: leave such {words} out, or put a "
            "number in its place (numpy.nan_to_num)"
        )
    return numbers


def _shape_cure(got: tuple[int, ...], want: tuple[int, ...], words: str) -> str:
    if len(got) == len(want) > 1 and (*got[1:], got[0]) == want:
        axes = ", ".join(map(str, (0, *range(2, len(want) + 1), 1)))
        return f"their channels come first, and must come last: transpose the {words} with ({axes})"
    if np.prod(got) == np.prod(want):
        return f"reshape the {words} to (-1, {', '.join(map(str, want))}), or give input_shape={got}"
    return f"give input_shape={got}, or {words} of shape {want}"


def _labels(labels: NDArray[Any], spec: DataSpec, where: str) -> NDArray[np.int64]:
    n = spec.n_classes
    if labels.dtype.kind not in _NUMBERS:
        raise DataError(
            f"{where}: its labels are no numbers, but {_first_of(labels)!r}: give the number of the class, 0 to "
            f"{n - 1}, such as its place in class_names"
        )
    if labels.ndim == 2 and labels.shape[1] == n:
        return _one_hot(labels, spec, where)
    if labels.ndim > 2 or (labels.ndim == 2 and labels.shape[1] != 1):
        raise DataError(
            f"{where}: its labels have shape {labels.shape}, and n_classes is {n}: give one class per "
            f"{spec.sample_word}, of shape ({len(labels)},), or one-hot, of shape ({len(labels)}, {n})"
        )
    labels = labels.ravel()
    if bad := _not_finite(labels):
        raise DataError(f"{where}: labels[{bad[0]}] is {bad[1]}: leave {spec.sample_word}s without a label out")
    with np.errstate(invalid="ignore"):
        classes = labels.astype(np.int64)
    if labels.dtype.kind not in _WHOLE and np.any(classes != labels):
        row = int(np.flatnonzero(classes != labels)[0])
        raise DataError(
            f"{where}: labels[{row}] is {labels[row]:g}: labels are the numbers of classes, 0 to {n - 1}, and whole"
        )
    outside = np.flatnonzero((classes < 0) | (classes >= n))
    if len(outside):
        raise DataError(
            f"{where}: labels[{outside[0]}] is {classes[outside[0]]}, and with n_classes={n} labels are 0 to {n - 1}: "
            f"{_range_cure(classes, spec)}"
        )
    return classes


def _range_cure(labels: NDArray[np.int64], spec: DataSpec) -> str:
    if labels.min() < 0:
        return f"leave {spec.sample_word}s without a label out"
    if labels.min() >= 1 and labels.max() == spec.n_classes:
        return "they seem to count from 1: subtract 1"
    return f"give n_classes={labels.max() + 1}, or number the classes from 0"


def _one_hot(labels: NDArray[Any], spec: DataSpec, where: str) -> NDArray[np.int64]:
    """Return the classes of one-hot labels, shape ``(b, c)``."""
    ones = np.sum(labels == 1, axis=1)
    wrong = np.flatnonzero((ones != 1) | np.any((labels != 0) & (labels != 1), axis=1))
    if len(wrong):
        row = labels[wrong[0]]
        shown = ", ".join(f"{value:g}" for value in row[:12]) + (", ..." if len(row) > 12 else "")
        raise DataError(
            f"{where}: labels[{wrong[0]}] is ({shown}), and not one-hot: give each {spec.sample_word} one "
            "class (soft labels and several classes at once are not taken)"
        )
    return np.asarray(np.argmax(labels, axis=1), np.int64)


def _weights(weights: NDArray[Any], spec: DataSpec, where: str) -> NDArray[np.float32]:
    word = spec.sample_word
    if weights.dtype.kind not in _NUMBERS or weights.ndim > 2 or (weights.ndim == 2 and weights.shape[1] != 1):
        raise DataError(
            f"{where}: its sample weights (the third part) are {weights.dtype} of shape {weights.shape}: give one "
            f"number per {word}, or leave them out"
        )
    numbers = weights.astype(np.float32).reshape(-1)
    if bad := _not_finite(numbers):
        raise DataError(f"{where}: the sample weight of {word}s[{bad[0]}] is {bad[1]}: give a number of 0 or more")
    if np.any(numbers < 0):
        row = int(np.flatnonzero(numbers < 0)[0])
        raise DataError(f"{where}: the sample weight of {word}s[{row}] is {numbers[row]:g}: give a number of 0 or more")
    return numbers


def ending_at_once() -> Any:
    """Return options of a stream without TensorFlow's autotuning: its thread sleeps for as long as the stream has been
    read, and a stream that ends waits for it.
    """
    from snnpipe.frameworks.compat import import_tensorflow

    options = import_tensorflow().data.Options()
    options.autotune.enabled = False
    return options
