"""Pictures and arrays in files as samples of a network."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError, did_you_mean, one_line
from snnpipe.data.picture_files import Decoder
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.spiking.given import checked_inputs
from snnpipe.values.pixels import PixelScaling

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
ARRAYS = (".npz", ".npy")
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, eq=False)
class Sources:
    """The samples of some files.

    Parameters
    ----------
    shape
        Shape of a sample.
    pixels
        Scaling of pixels to the values that the network takes; None if it has none. Pictures are divided by 255 then.
    resize
        Whether pictures of another size are resized.
    array
        Name of the array to take from an ``.npz``; None for ``x``, or for the only one.
    """

    shape: tuple[int, ...]
    pixels: PixelScaling | None
    resize: bool = False
    array: str | None = None

    def samples(self, paths: list[Path]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield the name and the values of each sample of files and folders; a folder's pictures in order of names.

        Raises
        ------
        DataError
            If a file is missing or is no picture, or does not fit the network.
        """
        for path in paths:
            if path.is_dir():
                files = sorted(own for own in path.rglob("*") if own.suffix.lower() in PICTURES and own.is_file())
                if not files:
                    raise DataError(f"{path}: the folder has no pictures ({', '.join(PICTURES)})")
                for own in files:
                    yield str(own), self._picture(own)
            elif not path.exists():
                raise DataError(f"{path}: there is no such file or folder")
            elif path.suffix.lower() in ARRAYS:
                yield from self._arrays(path)
            else:
                yield str(path), self._picture(path)

    def _picture(self, path: Path) -> NDArray[np.float32]:
        """Return a picture with the channels that the network takes, decoded as ``data=folder`` decodes it."""
        if len(self.shape) != 3 or self.shape[-1] not in _CHANNELS:
            what = f"samples of shape {self.shape}, which are no pictures"
            raise DataError(f"{path}: the network takes {what}: give arrays in an .npz")
        height, width, channels = self.shape
        try:
            picture = np.asarray(Decoder(None, channels).decode(str(path)))
            if picture.shape[:2] != (height, width):
                if not self.resize:
                    has, takes = f"{picture.shape[1]} x {picture.shape[0]} pixels", f"{width} x {height}"
                    raise DataError(f"{path}: it has {has}, and the network takes {takes}: --resize resizes it")
                picture = np.asarray(Decoder((height, width), channels).decode(str(path)))
        except import_tensorflow().errors.OpError as error:
            why = one_line(error).partition(" [Op:")[0].rpartition("}} ")[2]
            raise DataError(f"{path}: it cannot be read as a picture: {why[:200]}") from error
        return (self.pixels or PixelScaling())(picture)

    def _arrays(self, path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
        array = self._array(path)
        samples = checked_inputs(array, self.shape, str(path), self.pixels)
        for i, sample in enumerate(samples):
            yield f"{path}[{i}]", sample

    def _array(self, path: Path) -> NDArray[Any]:
        try:
            stored = np.load(path, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                return stored
            with stored:
                names = list(stored.files)
                wanted = self.array or ("x" if "x" in names else names[0] if len(names) == 1 else None)
                if wanted is None or wanted not in names:
                    hint = did_you_mean(wanted or "x", names)
                    raise DataError(f"{path}: --array names the array to take; {hint}")
                return np.asarray(stored[wanted])
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise DataError(f"{path}: it cannot be read as arrays of numbers: {one_line(error)[:200]}") from error
