"""Datasets of pictures in folders, a folder for each class."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from snnpipe.base.errors import DataError
from snnpipe.data.drawn_parts import draw_test_part, mixed_order
from snnpipe.data.picture_files import KINDS, Decoder, Pictures, damaged, folders_in, pictures_in
from snnpipe.data.prepared_files import prepared_files_digests
from snnpipe.data.streamed import StreamedData, drawn_of
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.settings.domains import NonNegativeInt, PositiveInt, Share, Text
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tensorflow as tf


def _is_size(value: Sequence[int]) -> Sequence[int]:
    if len(value) != 2:
        raise PydanticCustomError("size", "should be [height, width], such as [32,32]")
    return value


def _is_channels(value: int) -> int:
    if value not in (1, 3):
        raise PydanticCustomError("channels", "should be 1 (grey), 3 (red, green and blue) or null (as they are)")
    return value


Size = TypeAliasType("Size", Annotated[Sequence[PositiveInt], AfterValidator(_is_size)])
Channels = TypeAliasType("Channels", Annotated[PositiveInt, AfterValidator(_is_channels)])


@dataclass
class FolderDataModule(StreamedData):
    """Stream pictures (``.png``, ``.jpg``, ``.jpeg``) from a folder that has a folder for each class.

    The classes are in the folder itself, and a test part is drawn; or they are in folders of it for each split, such as
    ``train/cat/1.png`` and ``test/cat/2.png``. Memory does not grow with the dataset: each epoch reads the files.

    The pictures of each split are read in an order that mixes the classes, so that the first ones of a split, which
    limits, diagnosis and verification take, represent all of it. The validation pictures are the last ones of the
    training pictures in this order, unless there is a split of them.

    Parameters
    ----------
    path
        The folder.
    size
        Height and width to which pictures are resized (bilinear, with antialiasing, without regard to proportions);
        None to take them as they are, which must be all alike.
    channels
        1 for grey, 3 for red, green and blue; None to take them as they are, which must be all alike.
    train_split, test_split
        Names of the folders of the splits. If there is no folder of training pictures with folders in it, ``path`` has
        the classes.
    validation_split
        Name of the folder of validation pictures, instead of a share of the training split.
    name
        Name of the dataset; None for the name of the folder.
    class_names
        Names of the folders in the order of the classes, such as that of a model that was trained elsewhere; None for
        the sorted names. A class without a folder has no pictures.
    test_share
        Share of the pictures that is drawn for testing, if ``path`` has the classes. The others are trained on.
    split_seed
        Seed of the order of the pictures, and so of a test part and a validation part that are drawn.
    batch_size, validation_share, scaling, mean, deviation, shuffle, augment, seed, max_train_images, max_test_images
        As in `snnpipe.data.streamed.StreamedData`.

    Raises
    ------
    ConfigError
        If a value is outside its domain, or settings contradict each other.
    """

    without_effect_on_fit: ClassVar[Collection[str]] = ("path", "test_split", "max_test_images")

    path: Text
    size: Size | None = None
    channels: Channels | None = None
    train_split: Text = "train"
    test_split: Text = "test"
    validation_split: Text | None = None
    name: Text | None = None
    class_names: Sequence[Text] | None = None
    test_share: Share = 0.2
    split_seed: NonNegativeInt = 0

    def _open(self) -> "_FolderSource":
        folder = Path(self.path).expanduser().resolve()
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "does not exist"
            raise DataError(f"data.path: {folder} {what}: give a folder that has a folder of pictures for each class")
        trained_on = folder / self.train_split
        has_splits = trained_on.is_dir() and bool(folders_in(trained_on))
        of_classes = trained_on if has_splits else folder
        names = self._names(of_classes)
        if len(names) < 2:
            raise DataError(
                f"data.path: {of_classes} has {len(names)} folders, and each class is one: "
                f"give a folder of two classes or more, each a folder of pictures ({', '.join(KINDS)})"
            )
        parts = self._splits_in(folder, names) if has_splits else {"train": pictures_in(folder, names)}
        seed, notes = self.split_seed, []
        if has_splits:
            rows = {split: mixed_order(pictures.classes, seed) for split, pictures in parts.items()}
            read = (self.train_split, self.validation_split, self.test_split)
            if unread := [name for name in folders_in(folder) if name not in read]:
                cure = "" if self.validation_split else f" (data.validation_split={unread[0]} would read it)"
                notes.append(f"folders of {folder} that are not read: {', '.join(unread)}{cure}")
        else:
            train = parts["train"].classes
            drawn = draw_test_part(train, self.test_share, seed, names, str(folder))
            rows = dict(zip(("train", "test"), drawn, strict=True))
            notes.append(f"{folder} has no splits: {len(drawn[1])} of its {len(train)} pictures are drawn for testing")
        decoder = Decoder(None if self.size is None else (self.size[0], self.size[1]), self.channels)
        shape = decoder.shape_of([path for pictures in parts.values() for path in pictures.paths])
        splits = {
            split: _PictureSplit(parts.get(split, parts["train"]), rows[split], decoder, shape, folder)
            for split in rows
        }
        return _FolderSource(splits, decoder, shape, names, self.name or folder.name, folder, notes)

    def _names(self, folder: Path) -> tuple[str, ...]:
        """Return the names of the classes, in their order."""
        found = folders_in(folder)
        if self.class_names is None:
            return tuple(found)
        names = tuple(self.class_names)
        if no_folder := [name for name in names if name in ("", ".", "..") or Path(name).name != name]:
            raise DataError(f"data.class_names: {no_folder[0]!r} is no name of a folder: give the names of the folders")
        if len(set(names)) < len(names):
            raise DataError(f"data.class_names: got {list(names)}, with a name twice: name each class once")
        if left_out := [name for name in found if name not in names]:
            raise DataError(
                f"data.class_names: {folder} has a folder {left_out[0]!r}, which is none of them: name all classes "
                f"({', '.join(found)}) in the order of the model's outputs"
            )
        return names

    def _splits_in(self, folder: Path, names: Sequence[str]) -> dict[str, Pictures]:
        """Return the pictures of each split, where each is a folder."""
        splits = {"train": self.train_split, "validation": self.validation_split, "test": self.test_split}
        for key, split in splits.items():
            if split and not (folder / split).is_dir():
                others = [other for other in folders_in(folder) if other not in splits.values()]
                cure = f"name the one that is meant, as in data.{key}_split={others[0]}" if others else "make one"
                if key == "test":
                    cure += f", or have a test part drawn with data.path={folder / self.train_split}"
                raise DataError(f"data.{key}_split: {folder} has no folder {split!r}: {cure}")
        return {key: pictures_in(folder / split, names) for key, split in splits.items() if split}


class _PictureSplit:
    """A split of pictures.

    Parameters
    ----------
    pictures
        Pictures.
    rows
        Indices of those of the split, in their order.
    decoder, shape
        Decoder of pictures, and the shape that it gives them.
    folder
        Folder of the dataset.
    """

    element_bytes = 200  # a path and a label

    def __init__(
        self,
        pictures: Pictures,
        rows: NDArray[np.int64],
        decoder: Decoder,
        shape: tuple[int, int, int],
        folder: Path,
    ):
        self.paths, self.classes = [pictures.paths[row] for row in rows], pictures.classes[rows]
        self.name, self.size = str(folder), len(rows)
        self._decoder, self._shape = decoder, shape

    def elements(self, first: int, count: int) -> "tf.data.Dataset":
        """Return paths of pictures with their labels."""
        last = first + count
        paths = [str(path) for path in self.paths[first:last]]
        elements = {"path": paths, "label": self.classes[first:last]}
        return import_tensorflow().data.Dataset.from_tensor_slices(elements)

    def read(self, elements: "tf.data.Dataset", batch_size: int) -> "tf.data.Dataset":
        """Return batches of decoded pictures and their labels."""
        tf = import_tensorflow()

        def decode(element: Mapping[str, Any]) -> tuple[Any, ...]:
            image = tf.ensure_shape(self._decoder.decode(element["path"]), self._shape)
            return image, element["label"], *drawn_of(element)

        return elements.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)


class _FolderSource:
    """Pictures in folders, found and checked."""

    kind: np.dtype[Any] = np.dtype(np.uint8)
    pixels = True
    span = 0.0, 255.0
    values = "pixels of 0 to 255"

    def __init__(
        self,
        splits: Mapping[str, _PictureSplit],
        decoder: Decoder,
        shape: tuple[int, int, int],
        names: tuple[str, ...],
        name: str,
        folder: Path,
        notes: Sequence[str],
    ):
        self.splits = splits
        self.notes = notes
        self._decoder = decoder
        self.spec = DataSpec(
            name=name,
            input_shape=shape,
            n_classes=len(names),
            class_names=names,
            source=str(folder),
            source_type="local",
        )

    def digest(self, splits: Collection[str]) -> str:
        """Return a digest of the files of some splits, their order and their classes."""
        paths = {path for name in splits for path in self.splits[name].paths}
        try:
            digests = prepared_files_digests(paths)
        except OSError as error:
            raise damaged(Path(str(error.filename)), error.strerror or "unreadable") from error
        content = [
            [(digests[path], int(label)) for path, label in zip(split.paths, split.classes, strict=True)]
            for split in (self.splits[name] for name in splits)
        ]
        return hashlib.sha256(json.dumps([content, self.spec.class_names]).encode()).hexdigest()[:32]

    def explain(self, error: Exception) -> DataError | None:
        """Return the damage of the first picture that cannot be decoded; None if no picture caused the error."""
        tf = import_tensorflow()
        came_up_as = (tf.errors.InvalidArgumentError, tf.errors.NotFoundError, tf.errors.UnknownError)
        if not isinstance(error, came_up_as) or "IteratorGetNext" not in str(error):
            return None
        return self._decoder.first_damaged([path for split in self.splits.values() for path in split.paths])
