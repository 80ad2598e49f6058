"""The facts about a dataset that architectures and runs need."""

from collections.abc import Sequence
from dataclasses import dataclass

from snnpipe.base.errors import DataError
from snnpipe.settings.domains import is_whole

_IMAGE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, init=False)
class DataSpec:
    """What an architecture needs to know about a dataset, and what a run records about it.

    ``input_shape`` and ``n_classes`` are needed; all else can be left out.

    Attributes
    ----------
    name, version
        Of the dataset. A data module's class stands in for a name that is left out.
    input_shape
        Shape of one sample, of any rank: ``(30,)`` for 30 features, ``(100, 6)`` for a series of 100 time steps with 6
        channels, ``(28, 28, 1)`` for an image of height, width and channels.
    n_classes
        Number of classes. Labels are 0 to ``n_classes - 1``.
    class_names
        Names of the classes, in the order of the labels. By default the name of a class is its number.
    n_train, n_validation, n_test
        Number of samples of each split, limits applied. Left out (None), it is counted before training, in a pass over
        the split.
    scaling
        How values are scaled, for people to read.
    source
        Folder that the prepared dataset is read from.
    digest
        Of what all splits hold, so that two datasets of one name and version can be told apart. It is taken as it is:
        another content must have another digest. Empty, it is computed from the batches, in a pass over each split.
    source_type
        Kind of the source, in MLflow's words (``tensorflow_datasets``, ``local``, ...). It may be empty if ``source``
        shows the kind.

    Parameters
    ----------
    image_shape
        An earlier name of ``input_shape``, which it stands in for.

    Raises
    ------
    DataError
        If ``input_shape`` or ``n_classes`` is missing, or a value is outside its domain.
    """

    name: str
    version: str
    input_shape: tuple[int, ...]
    n_classes: int
    class_names: tuple[str, ...]
    n_train: int
    n_validation: int
    n_test: int
    scaling: str
    source: str
    digest: str
    source_type: str

    def __init__(
        self,
        name: str = "",
        version: str = "",
        input_shape: Sequence[int] = (),
        n_classes: int = 0,
        class_names: Sequence[str] = (),
        n_train: int | None = None,
        n_validation: int | None = None,
        n_test: int | None = None,
        scaling: str = "",
        source: str = "",
        digest: str = "",
        source_type: str = "",
        *,
        image_shape: Sequence[int] | None = None,
    ):
        if image_shape is not None:
            if input_shape:
                raise DataError(
                    f"DataSpec.image_shape: got {image_shape!r} beside input_shape={input_shape!r}: give input_shape "
                    "alone, for both mean the shape of one sample"
                )
            input_shape = image_shape
        counts = {"n_train": n_train, "n_validation": n_validation, "n_test": n_test}
        for field_name, count in counts.items():
            if count is not None and (not is_whole(count) or count < 0):
                raise DataError(f"DataSpec.{field_name}: got {count!r}: give a number of samples, or leave it out")
        values = counts | {
            "name": name,
            "version": version,
            "input_shape": _shape(input_shape),
            "n_classes": _n_classes(n_classes),
            "class_names": _class_names(class_names, n_classes),
            "scaling": scaling,
            "source": source,
            "digest": digest,
            "source_type": source_type,
        }
        for field_name, value in values.items():
            object.__setattr__(self, field_name, value)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """An earlier name of ``input_shape``."""
        return self.input_shape

    @property
    def sample_word(self) -> str:
        """What messages call a sample: ``image``, for shapes of height, width and 1, 3 or 4 channels, or ``sample``."""
        is_image = len(self.input_shape) == 3 and self.input_shape[-1] in _IMAGE_CHANNELS
        return "image" if is_image else "sample"

    @property
    def value_word(self) -> str:
        """What messages call one value of a sample: ``pixel`` or ``value``."""
        return "pixel" if self.sample_word == "image" else "value"


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or not shape or not all(is_whole(size) and size > 0 for size in shape):
        raise DataError(
            f"DataSpec.input_shape: got {shape!r}: give the shape of one sample without the batch, such as (30,) or "
            "(28, 28, 1)"
        )
    return tuple(map(int, shape))


def _n_classes(n: int) -> int:
    if not is_whole(n) or n < 2:
        yes_or_no = ": yes or no are 2 classes, and the model has a logit for each" if n == 1 else ""
        raise DataError(f"DataSpec.n_classes: got {n!r}: give the number of classes, 2 or more{yes_or_no}")
    return int(n)


def _class_names(given: Sequence[str] | None, n_classes: int) -> tuple[str, ...]:
    """Return the names of the classes; their numbers where none are given."""
    names = () if given is None else tuple(given)
    if isinstance(given, str) or len(names) not in (0, n_classes):
        raise DataError(
            f"class_names: got {given!r}, and there are {n_classes} classes: give one name per class, in the order of "
            "the labels, or leave class_names out"
        )
    return tuple(map(str, names or range(n_classes)))
