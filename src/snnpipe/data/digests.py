"""Digests of the content of a data module's batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Literal

import numpy as np

from snnpipe.base.errors import DataError, SnnPipeError, one_line
from snnpipe.base.identity import SIZE, UnknowableError, digest_of
from snnpipe.protocols import DataModule

_SEEN_TWICE = 2048
"""Number of samples of a split that are read twice, to check that the stream repeats them."""
_STREAM_CURE = (
    "let the dataset's order and changes follow from the seed and the epoch alone, or give spec.digest, a digest of "
    "the data that you answer for"
)


def fit_data_digest(data: DataModule) -> str:
    """Return a digest of the data that a training reads: training batches of epoch 0 and validation batches.

    A data module may give its own digests, which are used unchanged: as ``digests()``, with the keys ``fit`` and
    ``test``, or as ``spec.digest``, one digest for all splits.

    Raises
    ------
    UnknowableError
        If a second reading gives other training batches, or reading fails.
    """
    if given := _given(data, "fit"):
        return given
    n_train = getattr(data.spec, "n_train", None)
    train = _stream_digest(lambda: data.train_dataset(0), "train_dataset(0)", n_train)
    return digest_of([train, _stream_digest(data.validation_dataset, "validation_dataset()")])


def test_data_digest(data: DataModule) -> str:
    """Return a digest of the test samples and their labels. It does not depend on the batch size.

    Raises
    ------
    DataError
        If a second reading gives other samples, because no two networks could then be compared on them.
    UnknowableError
        If reading fails.
    """
    if given := _given(data, "test"):
        return given
    try:
        return _stream_digest(data.test_dataset, "test_dataset()")
    except _NotTheSameError as error:
        raise DataError(f"data: {error}") from None


def _given(data: DataModule, which: Literal["fit", "test"]) -> str:
    """Return the digest that a data module gives; empty if it gives none."""
    digests = getattr(data, "digests", None)
    return str(digests()[which]) if callable(digests) else str(getattr(data.spec, "digest", "") or "")


class _NotTheSameError(UnknowableError):
    """A second reading of a stream gives other samples."""


def _stream_digest(stream: Callable[[], Any], name: str, most: int | None = None) -> str:
    """Return the digest of a split's samples in order. Read the first ones twice, and refuse more than ``most``."""
    whole, first, n = blake2b(digest_size=SIZE), [], 0
    try:
        for batch in _batches(stream()):
            rows = row_digests(batch)
            whole.update(b"".join(rows))
            first += rows[: max(0, _SEEN_TWICE - n)]
            n += len(rows)
            if most and n > most:
                raise UnknowableError(f"{name} gives more than the {most} samples that spec.n_train says")
        again: list[bytes] = []
        for batch in _batches(stream()) if first else ():
            again += row_digests(batch)
            if len(again) >= len(first):
                break
    except (SnnPipeError, UnknowableError):
        raise
    except Exception as error:
        raise UnknowableError(f"{name} cannot be read ({one_line(error)[:200]}): {_STREAM_CURE}") from error
    if again[: len(first)] != first:
        raise _NotTheSameError(f"{name} gives other batches when it is asked for again: {_STREAM_CURE}")
    return f"{whole.hexdigest()}{n}"


def _batches(dataset: Any) -> Iterable[Any]:
    if dataset is None:
        return ()
    batches: Iterable[Any] = dataset.as_numpy_iterator() if hasattr(dataset, "as_numpy_iterator") else dataset
    return batches


def row_digests(batch: Any) -> list[bytes]:
    """Return a digest of each sample of a batch, with its label and any weight."""
    leaves = [np.asarray(leaf) for leaf in _leaves(batch)]
    n = len(leaves[0])
    kinds = " ".join(f"{leaf.dtype.str}{leaf.shape[1:]}" for leaf in leaves).encode()
    columns = [_bytes_of_rows(leaf, n) for leaf in leaves]
    return [blake2b(kinds + b"".join(row), digest_size=SIZE).digest() for row in zip(*columns, strict=True)]


def _leaves(batch: Any) -> Iterator[Any]:
    if isinstance(batch, Mapping):
        batch = tuple(batch[key] for key in sorted(batch))
    if isinstance(batch, (tuple, list)):
        for part in batch:
            yield from _leaves(part)
    else:
        yield batch


def _bytes_of_rows(array: np.ndarray, n: int) -> Iterable[bytes]:
    if array.dtype.hasobject:
        return (repr(row).encode() for row in array.reshape(n, -1).tolist())
    return (row.tobytes() for row in np.ascontiguousarray(array).reshape(n, -1))
