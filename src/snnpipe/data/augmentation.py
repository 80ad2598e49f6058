"""Random crops and flips of training images.

Axes: b = image of the batch, h = row, w = column, c = channel.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from snnpipe.base.errors import ConfigError, DataError
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.settings.domains import NonNegativeInt
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tensorflow as tf

_KEY = "data.augment"


@dataclass(frozen=True, kw_only=True)
class CropAndFlip:
    """Shifts and mirrors each training image at random, differently in each epoch.

    The image, padded with zeros, is cut back to its size at a random place, and mirrored with a probability of one
    half. The shift and the flip of an image follow from the seed, the epoch and the image's index alone, so they do not
    depend on the batch size, and a resumed training sees the same images.

    Parameters
    ----------
    crop
        Number of zeros on each side, which is the largest shift, in pixels. The zeros are in scaled values
        (``data.scaling``): with ``standardised``, they are the mean of each channel. 0 for no crops.
    flip
        Whether images are mirrored from left to right.

    Raises
    ------
    ConfigError
        If a value is outside its domain, or the two of them change nothing.
    """

    crop: NonNegativeInt = 4
    flip: bool = True

    def __post_init__(self) -> None:
        check_fields(self, _KEY)
        if not self.crop and not self.flip:
            raise ConfigError(f"{_KEY}: crop=0 with flip=false changes nothing: take data/augment=none")

    def check(self, spec: DataSpec) -> None:
        """Raise `DataError` if a dataset's samples are no images, or no larger than the crop."""
        shape = spec.input_shape
        if len(shape) != 3:
            raise DataError(
                f"{_KEY}: it crops and flips images, of shape (height, width, channels), and the samples of "
                f"{spec.name} have shape {shape}: take data/augment=none"
            )
        if self.crop >= min(shape[:2]):
            raise DataError(
                f"{_KEY}.crop: got {self.crop}, and the {spec.sample_word}s of {spec.name} have {shape[0]}x{shape[1]} "
                f"{spec.value_word}s, which such a crop may lose entirely: take {_KEY}.crop={min(shape[:2]) // 8} or "
                f"another number below {min(shape[:2])}"
            )

    def draw(self, seed: int, epoch: int, index: "tf.Tensor") -> "tf.Tensor":
        """Return the first row and column of an image's crop, and 1 if it is mirrored, else 0: int32, shape ``(3,)``.

        Parameters
        ----------
        seed, epoch
            Seed of the data, and number of the epoch.
        index
            Index of the image among the training samples as they are stored.
        """
        tf = import_tensorflow()
        of_image = tf.random.experimental.stateless_fold_in(tf.constant([seed, epoch], tf.int64), index)
        choices = tf.constant([2 * self.crop + 1, 2 * self.crop + 1, 2 if self.flip else 1], tf.float32)
        return tf.cast(tf.random.stateless_uniform((3,), of_image) * choices, tf.int32)

    def apply(self, images_bhwc: "tf.Tensor", drawn_b3: "tf.Tensor") -> "tf.Tensor":
        """Return scaled images, cropped and mirrored as `draw` says for each of them."""
        tf = import_tensorflow()
        height, width = images_bhwc.shape[1:3]
        around = [self.crop, self.crop]
        padded = tf.pad(images_bhwc, [[0, 0], around, around, [0, 0]])
        first_row, first_column, mirrored = (drawn_b3[:, i, None] for i in range(3))
        columns = tf.where(mirrored == 1, tf.range(width - 1, -1, -1), tf.range(width))
        rows_bhwc = tf.gather(padded, first_row + tf.range(height), axis=1, batch_dims=1)
        return tf.gather(rows_bhwc, first_column + columns, axis=2, batch_dims=1)


def _is_augmentation(value: Any) -> Any:
    if value not in (None, {}) and not isinstance(value, CropAndFlip):
        raise PydanticCustomError("augmentation", "should be a snnpipe.CropAndFlip, or null")
    return value


AugmentationSettings = TypeAliasType("AugmentationSettings", Annotated[Any, AfterValidator(_is_augmentation)])
