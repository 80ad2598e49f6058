"""Datasets in arrays of NumPy, in files or in Python."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from snnpipe.base.errors import ConfigError, DataError, one_line
from snnpipe.data.array_files import ArrayFiles
from snnpipe.data.array_source import ArrayPart, ArraySource, Axes
from snnpipe.data.scaling import Scaling
from snnpipe.data.streamed import StreamedData
from snnpipe.settings.domains import NonNegativeInt, Share, Text

_USUAL = {
    "x_train": ("x_train", "x"),
    "y_train": ("y_train", "y"),
    "x_val": ("x_val", "x_valid", "x_validation"),
    "y_val": ("y_val", "y_valid", "y_validation"),
    "x_test": ("x_test",),
    "y_test": ("y_test",),
}
"""Names of arrays that are read where a setting gives none."""
_SUFFIXES = {"train": "train", "validation": "val", "test": "test"}
_OF_FILES = ("path", *_USUAL)


def _is_pair(value: Any) -> Any:
    if value is not None and not (isinstance(value, (tuple, list)) and len(value) == 2):
        raise PydanticCustomError("pair", "should be a pair of arrays (samples, labels), or null")
    return value


ArrayPair = TypeAliasType("ArrayPair", Annotated[Any, AfterValidator(_is_pair)])


@dataclass
class ArraysDataModule(StreamedData):
    """Stream samples from arrays of NumPy: images, vectors or series of numbers, with one class label per sample.

    The arrays are in an ``.npz`` file, in a folder of ``.npy`` files, or in Python. Those of a folder may be larger
    than memory: only the rows of the next batches are read. Arrays of Python objects are never loaded from files.

    The samples of each split are read in an order that mixes the classes, so that the first ones of a split, which
    limits, diagnosis and verification take, represent all of it. The validation samples are the last ones of the
    training samples in this order, unless there are arrays of them.

    Parameters
    ----------
    path
        An ``.npz`` file, or a folder of ``.npy`` files.
    x_train, y_train
        Names of the arrays of training samples and their labels. If None, ``x_train`` and ``y_train`` are read, or
        else ``x`` and ``y``.
    x_val, y_val, x_test, y_test
        Names of the arrays of validation and test samples and their labels. If None, arrays of these names are read
        where they exist.
    train, validation, test
        Arrays ``(samples, labels)`` from Python, in place of a path.
    name
        Name of the dataset; None for the name of the file or folder.
    class_names
        Names of the classes, in the order of their numbers. If None, they are those of the training labels: numbers
        and names in sorted order, or the columns of one-hot labels.
    axes
        What an array of three axes holds: ``images`` (sample, height, width) of one channel, or ``series`` (sample,
        time, channel). ``auto`` takes squares and whole numbers of 8 bits as images.
    test_share
        Share of the samples that is drawn for testing, if there are no test samples. The others are trained on.
    split_seed
        Seed of the order of the samples, and so of a test part and a validation part that are drawn.
    batch_size, validation_share, scaling, mean, deviation, shuffle, augment, seed, max_train_images, max_test_images
        As in `snnpipe.data.streamed.StreamedData`.

    Raises
    ------
    ConfigError
        If a value is outside its domain, or settings contradict each other.
    """

    without_effect_on_fit: ClassVar[Collection[str]] = ("path", "x_test", "y_test", "test", "max_test_images")

    path: Text | None = None
    x_train: Text | None = None
    y_train: Text | None = None
    x_val: Text | None = None
    y_val: Text | None = None
    x_test: Text | None = None
    y_test: Text | None = None
    train: ArrayPair = None
    validation: ArrayPair = None
    test: ArrayPair = None
    name: Text | None = None
    class_names: Sequence[Text] | None = None
    axes: Axes = "auto"
    test_share: Share = 0.2
    split_seed: NonNegativeInt = 0
    scaling: Scaling = field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in _SUFFIXES if getattr(self, name) is not None]
        if (self.path is None) == ("train" not in given):
            raise ConfigError(
                "data.path: give the path of an .npz file or of a folder of .npy files, or from Python "
                "train=(samples, labels)" + (", and not both" if given else "")
            )
        of_files = [name for name in _OF_FILES if getattr(self, name) is not None]
        if given and of_files:
            raise ConfigError(
                f"data.{of_files[0]}: names what is read from files: leave it out beside {given[0]}=(...)"
            )
        for name in given:
            setattr(self, name, tuple(_as_array(part, name) for part in getattr(self, name)))

    def _open(self) -> ArraySource:
        path = None if self.path is None else Path(self.path).expanduser().resolve()
        files = None if path is None else ArrayFiles(path)
        parts = self._parts_in_python() if files is None else self._parts_in(files)
        source = ArraySource(
            parts,
            name=self.name or ("arrays" if path is None else path.name if path.is_dir() else path.stem),
            path=path,
            class_names=self.class_names,
            axes=self.axes,
            test_share=self.test_share,
            seed=self.split_seed,
        )
        read = {name for part in parts.values() for name in (part.x_name, part.y_name)}
        unread = [] if files is None else [name for name in files.names if name not in read]
        if unread:
            source.notes.append(f"arrays that are not read: {', '.join(unread)}")
        return source

    def _parts_in_python(self) -> dict[str, ArrayPart]:
        given = {part: getattr(self, part) for part in _SUFFIXES}
        return {
            part: ArrayPart(f"x of {part}", f"y of {part}", *pair) for part, pair in given.items() if pair is not None
        }

    def _parts_in(self, files: ArrayFiles) -> dict[str, ArrayPart]:
        parts = {}
        for part, suffix in _SUFFIXES.items():
            keys = [f"{axis}_{suffix}" for axis in "xy"]
            names = [self._name_of(key, files) for key in keys]
            if part != "train" and not any(names):
                continue
            for key, name, other in zip(keys, names, reversed(names), strict=True):
                if name is None:
                    free = [array for array in files.names if array != other]
                    cure = f"name one, as in data.{key}={free[0]}" if free else "add it to the arrays"
                    raise DataError(
                        f"data.{key}: {self.path} has no array {' nor '.join(map(repr, _USUAL[key]))}"
                        f"{f' beside {other!r}' if other else ''}; it has {', '.join(files.names)}: {cure}"
                    )
            samples, labels = map(str, names)
            parts[part] = ArrayPart(samples, labels, files.read(samples), np.asarray(files.read(labels)))
        return parts

    def _name_of(self, key: str, files: ArrayFiles) -> str | None:
        """Return the name of the array that a setting stands for; None if there is none."""
        given: str | None = getattr(self, key)
        if given is None:
            return next((name for name in _USUAL[key] if name in files.names), None)
        if given not in files.names:
            raise DataError(f"data.{key}: {self.path} has no array {given!r}; it has {', '.join(files.names)}")
        return given


def _as_array(values: Any, part: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"data.{part}: its values make no array ({one_line(error)}): give samples that all have one shape"
        ) from None
