"""A data module that the rest of the program can rely on: it is checked before training and batch by batch.

Axes: b = sample of the batch.
"""

import dataclasses
import inspect
import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError, UserError, one_line, place_of
from snnpipe.data.checked_batch import Shapes, clean, ending_at_once, graph_of_clean, iterator_of, shapes_of, signature
from snnpipe.data.given_spec import spec_of
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.settings.domains import is_whole
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tensorflow as tf

    from snnpipe.protocols import DataModule

_METHODS = {
    "prepare_data": "prepare_data(self)",
    "setup": "setup(self)",
    "train_dataset": "train_dataset(self, epoch=0)",
    "validation_dataset": "validation_dataset(self)",
    "test_dataset": "test_dataset(self, batch_size=None)",
}
_SPLITS = {"train": "n_train", "validation": "n_validation", "test": "n_test"}
_OWN = ("module", "few", "_counts", "_shapes", "_opened", "_spec")
_FEW = 2
_LONG_S = 30.0
"""Seconds of counting a split after which a warning reports it."""


class CheckedData:
    """A data module whose streams follow the documented form or end in a `DataError`.

    Its datasets yield ``(samples, labels)``: float32 of shape ``(b, *input_shape)`` and int64 of shape ``(b,)``. If the
    module's own stream has sample weights, they come third, float32 of shape ``(b,)``. Every batch of a split but the
    last has the requested size. All other attributes are those of the module.

    Parameters
    ----------
    module
        The data module. Its streams may be tf.data datasets or any other iterables of batches, such as Keras sequences
        and generators.

    Attributes
    ----------
    few
        The first two test samples, on which the run is tried before training. `look` sets them.
    """

    def __init__(self, module: "DataModule"):
        self.module = module
        self._counts: dict[str, int] = {}
        self._shapes: dict[str, Shapes] = {}
        self._opened: dict[str, Callable[[], Any]] = {}
        self._spec: tuple[Any, int, DataSpec] | None = None
        self.few: NDArray[np.float32]

    @classmethod
    def of(cls, data: Any) -> Self:
        """Return ``data`` as checked data. Data that is already checked is returned itself."""
        return data if isinstance(data, cls) else cls(data)

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:  # a copy that is being made does not have the attribute yet
            raise AttributeError(name)
        return getattr(self.module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self.module, name, value)

    # ------------------------------------------------------------------ before training

    def prepare_data(self) -> None:
        """Make the dataset available on this machine.

        Raises
        ------
        DataError
            If the module lacks a member, or its own method fails.
        """
        lacks = [form for name, form in _METHODS.items() if not callable(getattr(self.module, name, None))]
        if lacks:
            raise DataError(f"data: {self._name} lacks {', '.join(lacks)}: define {'them' if lacks[1:] else 'it'}")
        for name, argument in (("train_dataset", 0), ("test_dataset", 1)):
            try:
                inspect.signature(getattr(self.module, name)).bind(argument)
            except TypeError:
                raise DataError(f"data: {self._name}.{name} must take one argument: define {_METHODS[name]}") from None
            except ValueError:  # builtins may have no signature
                pass
        self._call("prepare_data")

    def setup(self) -> None:
        """Open the prepared dataset."""
        self._counts, self._shapes, self._opened, self._spec = {}, {}, {}, None
        self._call("setup")

    def look(self) -> None:
        """Look at the first batch of each split, and count the samples of splits whose number the spec leaves out.

        Raises
        ------
        DataError
            If something cannot work. The message names it and the cure, before anything is trained.
        """
        _ = self.batch_size
        for split in _SPLITS:
            self._look_at(split)

    @property
    def batch_size(self) -> int:
        """Number of samples in a training batch."""
        size: Any = getattr(self.module, "batch_size", None)
        if not is_whole(size) or size < 1:
            got = "it has none" if size is None else f"got {size!r}"
            raise DataError(
                f"data: {self._name}.batch_size: {got}: set it to the number of samples of a training batch, such as 32"
            )
        return int(size)

    @property
    def spec(self) -> DataSpec:
        """The spec of the dataset after `setup`. `look` counts the samples whose numbers the module leaves out."""
        try:
            given = self.module.spec
        except Exception as error:
            self._raise_in_place_of(error, "spec")
        if self._spec is not None and self._spec[0] is given and self._spec[1] == len(self._counts):
            return self._spec[2]
        spec = spec_of(given, self._name)
        counted: dict[str, Any] = {_SPLITS[split]: count for split, count in self._counts.items()}
        spec = dataclasses.replace(spec, name=spec.name or self._name, **counted)
        self._spec = given, len(self._counts), spec
        return spec

    def _look_at(self, split: str) -> None:
        """Look at the first batch of a split, unless it was looked at before."""
        if split in self._counts:
            return
        spec, make = self.spec, self._maker(split)
        if hasattr(self.module, "sample"):
            make = self._maker(split, "sample", split)
        wanted = getattr(spec, _SPLITS[split])
        stream = make()
        if stream is None:
            if split != "validation":
                raise DataError(f"data: {self._name}.{split}_dataset() returned None: return a stream of batches")
            if wanted:
                raise DataError(
                    f"data: {self._name}.validation_dataset() returned None, and DataSpec.n_validation is {wanted}: "
                    f"give n_validation=0, or the validation {spec.sample_word}s"
                )
            self._counts[split] = 0
            return
        first = next(self._elements(split, stream), None)
        if first is None and not wanted:
            if split != "validation":
                raise DataError(
                    f"data: the {split} split is empty: {self._name}.{split}_dataset() gives no {spec.sample_word}, "
                    f"and a run needs some to {split} on: put {spec.sample_word}s into it"
                )
            self._counts[split] = 0
            return
        if first is not None:
            samples, *_ = clean(first, spec, _where(split, 0))
            if split == "test":
                self.few = samples[:_FEW]
            self._shapes[split] = shapes_of(first, _where(split, 0))
        if first is None or wanted == 0:
            raise _wrong_count(spec, split, 0 if first is None else len(first[1]))
        suspicious = self._is_suspicious(split, stream, len(first[1]), wanted or len(first[1]))
        self._counts[split] = self.count(split) if wanted is None or suspicious else wanted

    def _is_suspicious(self, split: str, stream: Any, size: int, wanted: int) -> bool:
        """Whether the first batch's size, or the number of batches if it is known, differs from the expected value.

        Raises
        ------
        DataError
            If the stream never ends.
        """
        tf = import_tensorflow()
        n_batches = len(stream) if hasattr(stream, "__len__") and not isinstance(stream, tf.data.Dataset) else -1
        if isinstance(stream, tf.data.Dataset):
            n_batches = int(stream.cardinality())
            if n_batches == tf.data.INFINITE_CARDINALITY:
                raise DataError(
                    f"data: the stream of the {split} split never ends: leave out .repeat(), for an epoch is one pass "
                    "over it"
                )
        other_size = split == "train" and size not in (self.batch_size, wanted)
        return other_size or (n_batches >= 0 and not (n_batches - 1) * size < wanted <= n_batches * size)

    # ------------------------------------------------------------------ streams

    def train_dataset(self, epoch: int = 0) -> "tf.data.Dataset":
        """Return one epoch of training batches."""
        return self._checked("train", self._maker("train", "train_dataset", epoch), self.batch_size)

    def calibration_dataset(self) -> "tf.data.Dataset":
        """Return one epoch of training batches without augmentation: the module's own ones, or those of epoch 0."""
        if not hasattr(self.module, "calibration_dataset"):
            return self.train_dataset(0)
        return self._checked("train", self._maker("train", "calibration_dataset"), self.batch_size)

    def validation_dataset(self) -> "tf.data.Dataset | None":
        """Return the validation batches, or None if there are none."""
        self._look_at("validation")
        if not self._counts["validation"]:
            return None
        return self._checked("validation", self._maker("validation"), self.batch_size)

    def test_dataset(self, batch_size: int | None = None) -> "tf.data.Dataset":
        """Return the test batches, always in the same order."""
        size = batch_size or self.batch_size
        return self._checked("test", self._maker("test", "test_dataset", size), size)

    def count(self, split: str) -> int:
        """Count a split's samples in one pass over it, and check every batch.

        Raises
        ------
        DataError
            If a batch cannot be converted, or the number of samples differs from the spec's.
        """
        make = self._opened.get(split) or self._maker(split)
        spec, stream = self.spec, make()
        total, wanted = 0, getattr(spec, _SPLITS[split])
        began: float | None = time.monotonic()
        for i, element in enumerate(self._elements(split, stream)):
            batch = clean(element, spec, _where(split, i))
            size, n_parts = len(batch[0]), len(self._shapes[split])
            if len(batch) != n_parts:
                raise DataError(
                    f"{_where(split, i)}: it has {len(batch)} parts, and the first batch {n_parts}: give sample "
                    "weights with all batches, or with none"
                )
            if wanted is not None and total + size > wanted and total >= wanted:
                raise _wrong_count(spec, split, total + size)
            if split == "train":
                self._require_whole_batches(i, size, total)
            total += size
            if wanted is not None and total > wanted:
                raise _wrong_count(spec, split, total)
            if wanted is None and began is not None and time.monotonic() - began > _LONG_S:
                warnings.warn(
                    f"data: counting the {spec.sample_word}s of the {split} split, {total:,} so far: "
                    f"DataSpec({_SPLITS[split]}=...) spares it",
                    stacklevel=2,
                )
                began = None
        if total != (wanted or total):
            raise _wrong_count(spec, split, total)
        return total

    def _require_whole_batches(self, batch: int, size: int, before: int) -> None:
        """Raise `DataError` if a training batch is too large, or follows one that is too small."""
        expected = self.batch_size
        if short := before % expected:
            batch, size = batch - 1, short
        elif 0 < size <= expected:
            return
        raise DataError(
            f"{_where('train', batch)}: it has {size} {self.spec.sample_word}s, and {self._name}.batch_size is "
            f"{expected}: all batches of an epoch but the last must have so many"
        )

    def _checked(self, split: str, make: Callable[[], Any], size: int) -> "tf.data.Dataset":
        """Return a split's stream as a tf.data dataset of clean batches. It fails at a batch that is not clean."""
        tf = import_tensorflow()
        self._look_at(split)
        self._opened.pop(split, None)
        self._opened[split] = make
        spec, shapes, n = self.spec, self._shapes[split], self._counts[split]
        stream = make()
        if isinstance(stream, tf.data.Dataset):
            batches = stream.map(graph_of_clean(spec, shapes))
        else:

            def generate() -> Iterator[Any]:
                for i, element in enumerate(self._elements(split, make())):
                    yield clean(element, spec, _where(split, i))

            batches = tf.data.Dataset.from_generator(generate, output_signature=signature(spec, shapes))
        if split != "train":
            batches = batches.rebatch(size)

        def whole(i: Any, batch: Any) -> Any:
            got = tf.shape(batch[0], out_type=tf.int64)[0]
            tf.debugging.Assert(got == tf.minimum(tf.constant(size, tf.int64), n - i * size), ["another size"])
            return batch

        batches = batches.enumerate().map(whole).with_options(ending_at_once())
        return batches.apply(tf.data.experimental.assert_cardinality(math.ceil(n / size)))

    def _maker(self, split: str, method: str = "", *arguments: Any) -> Callable[[], Any]:
        """Return a function that calls the module for a new stream of a split."""
        if split == "train" and not method:
            arguments = (0,)
        elif split == "test" and not method:
            arguments = (self.batch_size,)
        return lambda: self._call(method or f"{split}_dataset", *arguments)

    def _elements(self, split: str, stream: Any) -> Iterator[Any]:
        """Yield the elements of a stream.

        Raises
        ------
        DataError
            If the stream is no stream of batches, or fails.
        """
        given = iterator_of(stream, f"{self._name}.{split}_dataset()")
        batch = 0
        while True:
            try:
                element = next(given)
            except StopIteration:
                return
            except Exception as error:
                self._raise_in_place_of(error, f"{split}_dataset(), batch {batch + 1},")
            yield element
            batch += 1

    # ------------------------------------------------------------------ what went wrong

    def explain(self, error: Exception) -> UserError | None:
        """Return the fault in a stream that caused an error; None if no stream did.

        To find the fault, the method reads the streams in use again, batch by batch.
        """
        tf = import_tensorflow()
        explain = getattr(self.module, "explain", None)
        if explain is not None and (problem := explain(error)) is not None:
            return problem  # type: ignore[no-any-return]
        from_stream = isinstance(error, tf.errors.OpError) and "IteratorGetNext" in str(error)
        if not from_stream or isinstance(error, tf.errors.ResourceExhaustedError):
            return None
        for split in reversed(self._opened):
            try:
                self.count(split)
            except UserError as problem:
                return problem
        why = one_line(error)
        why = why.partition("}} ")[2] or why
        return DataError(f"data: a stream of {self._name} failed, and did not when it was read again: {why}")

    @property
    def _name(self) -> str:
        return type(self.module).__name__

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self.module, method)(*arguments)
        except Exception as error:
            self._raise_in_place_of(error, f"{method}()")

    def _raise_in_place_of(self, error: Exception, what: str) -> NoReturn:
        """Raise `DataError` in place of an error in a user's module. Errors in snnpipe's own modules pass unchanged."""
        explain = getattr(self.module, "explain", None)
        if explain is not None and (problem := explain(error)) is not None:
            raise problem from error
        if isinstance(error, (UserError, MemoryError)) or type(self.module).__module__.startswith("snnpipe."):
            raise error
        raise DataError(
            f"data: {self._name}.{what} failed: {type(error).__name__}: {one_line(error)}{place_of(error)}"
        ) from error


def _where(split: str, batch: int) -> str:
    return f"data: batch {batch + 1} of the {split} split"


def _wrong_count(spec: DataSpec, split: str, total: int) -> DataError:
    field, words = _SPLITS[split], f"{spec.sample_word}s"
    wanted = getattr(spec, field)
    if total > wanted:
        return DataError(
            f"data: the stream of the {split} split goes on beyond the {wanted} {words} of DataSpec.{field}: leave out "
            f".repeat(), or correct {field} (without it they are counted)"
        )
    again = "" if total else "; return a new stream at each call"
    return DataError(
        f"data: the stream of the {split} split ends after {total} {words}, and DataSpec.{field} is {wanted}: correct "
        f"{field} (without it they are counted), or leave out what drops {words}, such as drop_remainder{again}"
    )
