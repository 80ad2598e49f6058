"""Pictures in folders, a folder for each class: which there are, and how they are decoded."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError, one_line
from snnpipe.frameworks.compat import import_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf

KINDS = (".png", ".jpg", ".jpeg")
"""Endings of the files that are pictures, as for tensorflow-datasets' ``ImageFolder``."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a part, ordered by class and by name.

    Attributes
    ----------
    paths
        Files.
    classes
        Class of each, as an index into the names of the classes: shape ``(n,)``.
    """

    paths: Sequence[Path]
    classes: NDArray[np.int64]


def folders_in(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, in order, without hidden ones."""
    return sorted(each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def pictures_in(folder: Path, names: Sequence[str]) -> Pictures:
    """Return the pictures of a folder that has a folder for each class.

    Parameters
    ----------
    folder
        The folder.
    names
        Names of the classes. A class without a folder has no pictures here.

    Raises
    ------
    DataError
        If there is a folder of another class, or one without pictures.
    """
    if unknown := [name for name in folders_in(folder) if name not in names]:
        raise DataError(
            f"data.path: {folder} has a folder {unknown[0]!r}, a class that there are no pictures of to train on: add "
            "some, or take the folder out"
        )
    paths: list[Path] = []
    classes: list[int] = []
    for index, name in enumerate(names):
        if not (folder / name).is_dir():
            continue
        own = sorted(path for path in (folder / name).iterdir() if _is_picture(path))
        if not own:
            hint = ", or name the folder of the training split (data.train_split)" if folders_in(folder / name) else ""
            raise DataError(
                f"data.path: {folder / name} has no pictures ({', '.join(KINDS)}), but {_what_else(folder / name)}: "
                f"put some into it, or take the folder out{hint}"
            )
        paths += own
        classes += [index] * len(own)
    if not paths:
        raise DataError(f"data.path: {folder} has no folders: put one of pictures into it for each class")
    return Pictures(paths, np.array(classes, np.int64))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in KINDS and not path.name.startswith(".")


def _what_else(folder: Path) -> str:
    endings = sorted({"folders" if path.is_dir() else path.suffix or path.name for path in folder.iterdir()})
    return f"only {', '.join(endings[:5])}" if endings else "nothing at all"


@dataclass(frozen=True)
class Decoder:
    """Decodes pictures to one size and number of channels.

    Parameters
    ----------
    size
        Height and width to which pictures are resized; None to take them as they are.
    channels
        1 for grey, 3 for colours; None to take them as they are.
    """

    size: tuple[int, int] | None
    channels: int | None

    def decode(self, path: Any) -> "tf.Tensor":
        """Return the values of a picture: uint8, or if it is resized float32, of 0 to 255."""
        tf = import_tensorflow()
        image = tf.io.decode_image(tf.io.read_file(path), channels=self.channels or 0, expand_animations=False)
        return image if self.size is None else tf.image.resize(image, self.size, antialias=True)

    def shape_of(self, paths: Sequence[Path]) -> tuple[int, int, int]:
        """Return the shape of all pictures, as the first one has it.

        Raises
        ------
        DataError
            If pictures differ, or one is damaged in its first bytes.
        """
        if self.size is None or self.channels is None:
            self._require_equal(paths)
        try:
            height, width, channels = map(int, self.decode(str(paths[0])).shape)
        except import_tensorflow().errors.OpError as error:
            raise damaged(paths[0], one_line(error)) from None
        return height, width, channels

    def _require_equal(self, paths: Sequence[Path]) -> None:
        """Raise `DataError` if the headers of pictures differ in the size or the channels that are taken from them."""
        first: tuple[tuple[int, int], str] | None = None
        for path, size, mode in _headers(paths):
            if first is None:
                first = size, mode
            (width, height), (first_width, first_height) = size, first[0]
            if self.size is None and size != first[0]:
                raise DataError(
                    f"data.size: pictures have different sizes, {paths[0]} {first_height}x{first_width} and {path} "
                    f"{height}x{width}: resize them all, as with data.size=[{first_height},{first_width}]"
                )
            if self.channels is None and mode != first[1]:
                raise DataError(
                    f"data.channels: pictures have different colours, {paths[0]} {first[1]} and {path} {mode}: take "
                    "data.channels=1 (grey) or data.channels=3 (red, green, blue)"
                )

    def first_damaged(self, paths: Collection[Path]) -> DataError | None:
        """Return an error that names the first picture that cannot be decoded; None if all can."""
        for path in paths:
            try:
                self.decode(str(path))
            except import_tensorflow().errors.OpError as error:
                return damaged(path, one_line(error))
        return None


def _headers(paths: Sequence[Path]) -> Iterator[tuple[Path, tuple[int, int], str]]:
    """Yield the size (width, height) and the colours of pictures, read from their first bytes."""
    from PIL import Image, UnidentifiedImageError

    for path in paths:
        try:
            with Image.open(path) as image:
                yield path, image.size, image.mode
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise damaged(path, one_line(error)) from None


def damaged(path: Path, problem: str) -> DataError:
    """Return the error that reports a picture that cannot be decoded."""
    problem = problem.partition("}} ")[2] or problem
    return DataError(f"data.path: {path} cannot be read as a picture ({problem[:200]}): save it again, or take it out")
