"""Samples of arrays, checked, as the splits of a dataset."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError
from snnpipe.base.identity import digest_of
from snnpipe.data.array_content import ArrayContent, content_of_array
from snnpipe.data.drawn_parts import draw_test_part, mixed_order
from snnpipe.data.labels import classes_of
from snnpipe.data.streamed import drawn_of
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tensorflow as tf

Axes = Literal["auto", "images", "series"]


@dataclass(frozen=True)
class ArrayPart:
    """Samples and their labels as they were given, and what messages call them."""

    x_name: str
    y_name: str
    samples: NDArray[Any]
    labels: NDArray[Any]

    def check(self) -> None:
        """Raise `DataError` if the arrays do not fit each other."""
        x, y = self.samples, self.labels
        if x.ndim < 2:
            raise DataError(
                f"data: {self.x_name} has shape {x.shape}: give one row for each sample, such as (samples, features) "
                "or (samples, height, width, channels)"
            )
        if not x.size:
            raise DataError(f"data: {self.x_name} has shape {x.shape}, and so no values: give samples")
        if y.ndim == 0 or len(x) != len(y):
            n_labels = len(y) if y.ndim else "no"
            raise DataError(
                f"data: {self.x_name} has {len(x)} samples, and {self.y_name} {n_labels} labels: give one for each"
            )


class ArraySplit:
    """A split of the samples of an array.

    Parameters
    ----------
    name
        What messages call it.
    samples
        Samples as stored, along the first axis.
    classes
        Class of each of them, shape ``(n,)``.
    rows
        Indices of those of the split, in their order.
    shape
        Shape of a sample.
    """

    element_bytes = 16

    def __init__(
        self,
        name: str,
        samples: NDArray[Any],
        classes: NDArray[np.int64],
        rows: NDArray[np.int64],
        shape: tuple[int, ...],
    ):
        self.name, self.samples, self.classes, self.rows, self.shape = name, samples, classes, rows, shape
        self.size = len(rows)

    def elements(self, first: int, count: int) -> "tf.data.Dataset":
        """Return indices of samples with their labels."""
        rows = self.rows[first : first + count]
        return import_tensorflow().data.Dataset.from_tensor_slices({"row": rows, "label": self.classes[rows]})

    def read(self, elements: "tf.data.Dataset", batch_size: int) -> "tf.data.Dataset":
        """Return batches of samples, read from the array batch by batch."""
        tf = import_tensorflow()
        kind = np.dtype(np.float64) if self.samples.dtype.itemsize > 8 else self.samples.dtype.newbyteorder("=")

        def samples_at(rows: NDArray[np.int64]) -> NDArray[Any]:
            return np.ascontiguousarray(self.samples[rows], kind).reshape(-1, *self.shape)

        def gather(element: Mapping[str, Any]) -> tuple[Any, ...]:
            samples = tf.numpy_function(samples_at, [element["row"]], tf.as_dtype(kind), stateful=False)
            return tf.ensure_shape(samples, (None, *self.shape)), element["label"], *drawn_of(element)

        return elements.batch(batch_size).map(gather, num_parallel_calls=tf.data.AUTOTUNE)


class ArraySource:
    """Arrays that were read and checked.

    Parameters
    ----------
    parts
        Arrays of the splits ``train`` and perhaps ``validation`` and ``test``.
    name
        Name of the dataset.
    path
        File or folder of the arrays; None for arrays of Python.
    class_names, axes, test_share, seed
        As in `snnpipe.data.arrays.ArraysDataModule`; the seed is that of the order of the samples.

    Attributes
    ----------
    notes
        What was decided, for people to read.
    """

    def __init__(
        self,
        parts: Mapping[str, ArrayPart],
        *,
        name: str,
        path: Path | None,
        class_names: Sequence[str] | None,
        axes: Axes,
        test_share: float,
        seed: int,
    ):
        for part in parts.values():
            part.check()
        first = parts["train"]
        shape, note = _shape_of_sample(first, axes)
        self.notes = [note] if note else []
        for part in parts.values():
            _check_same_kind(part, first)
        names, classes = classes_of({part.y_name: part.labels for part in parts.values()}, class_names)
        self._contents = {split: content_of_array(part.samples, part.x_name) for split, part in parts.items()}
        train = self._contents["train"]
        self.kind = first.samples.dtype
        self.pixels = self.kind == np.uint8 or _can_be_pixels(train)
        self.span = train.low, train.high
        self.values = f"values of type {self.kind} from {train.low:g} to {train.high:g}"
        rows = {split: mixed_order(classes[part.y_name], seed) for split, part in parts.items()}
        if "test" not in parts:
            drawn = draw_test_part(classes[first.y_name], test_share, seed, names, first.x_name)
            rows["train"], rows["test"] = drawn
            self.notes.append(
                f"no test samples beside {first.x_name}: {len(drawn[1])} of its {len(first.samples)} are drawn "
                "(data.test_share)"
            )
        self.splits = {
            split: ArraySplit(part.x_name, part.samples, classes[part.y_name], rows[split], shape)
            for split, part in ((split, parts.get(split, first)) for split in rows)
        }
        self.spec = DataSpec(
            name=name,
            input_shape=shape,
            n_classes=len(names),
            class_names=names,
            source=str(path or ""),
            source_type="local" if path else "",
        )

    def digest(self, splits: Collection[str]) -> str:
        """Return a digest of the samples of some splits, their order and their classes."""
        return digest_of(
            [
                [
                    self._contents.get(name, self._contents["train"]).digest,
                    self.splits[name].rows,
                    self.splits[name].classes[self.splits[name].rows],
                ]
                for name in splits
            ]
            + [self.spec.class_names, self.spec.input_shape]
        )

    def explain(self, error: Exception) -> DataError | None:
        """Return None: all values were checked when the arrays were opened."""
        return None


def _shape_of_sample(part: ArrayPart, axes: Axes) -> tuple[tuple[int, ...], str]:
    """Return the shape of a sample, and a note on how an array of three axes was taken."""
    x = part.samples
    shape = tuple(map(int, x.shape[1:]))
    if len(shape) != 2:
        if axes != "auto":
            raise DataError(
                f"data.axes: got {axes!r}, which is for arrays of three axes, and {part.x_name} has shape {x.shape}: "
                "take data.axes=auto"
            )
        note = ""
        if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3, 4):
            note = (
                f"{part.x_name} of shape {x.shape} is taken as height {shape[0]}, width {shape[1]} and {shape[2]} "
                "channels: if its channels come first, save numpy.moveaxis(x, 1, -1)"
            )
        return shape, note
    first, second = shape
    images = axes == "images" or (axes == "auto" and (x.dtype == np.uint8 or first == second))
    what, other = f"grey images of {first}x{second} pixels", f"series of {first} time steps and {second} channels"
    note = f"{part.x_name} of shape {x.shape} is taken as {what if images else other}"
    if axes == "auto":
        note += f" (data.axes={'series' if images else 'images'}: as {other if images else what})"
    return ((*shape, 1) if images else shape), note


def _check_same_kind(part: ArrayPart, first: ArrayPart) -> None:
    x, wanted = part.samples, first.samples
    if x.shape[1:] != wanted.shape[1:]:
        raise DataError(
            f"data: {part.x_name} has samples of shape {x.shape[1:]}, and {first.x_name} of shape {wanted.shape[1:]}: "
            "give all samples one shape"
        )
    if (x.dtype.kind == "f") != (wanted.dtype.kind == "f"):
        raise DataError(
            f"data: {part.x_name} is of type {x.dtype}, and {first.x_name} of type {wanted.dtype}: prepare all samples "
            "in one way, and save them as one type"
        )


def _can_be_pixels(content: ArrayContent) -> bool:
    return content.low >= 0 and 1 < content.high <= 255
