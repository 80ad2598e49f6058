"""The facts about a dataset that architectures and runs need."""

from collections.abc import Sequence
from dataclasses import dataclass

from snnpipe.base.errors import DataError
from snnpipe.settings.domains import is_whole


@dataclass(frozen=True)
class DataSpec:
    """What an architecture needs to know about a dataset, and what a run records about it.

    ``image_shape`` and ``n_classes`` are required. Everything else is optional.

    Attributes
    ----------
    name, version
        Name and version of the dataset. Without a name, a run uses the name of the data module's class.
    image_shape
        Shape of one image: height, width and channels, or any other shape that the architecture takes.
    n_classes
        Number of classes. Labels are 0 to ``n_classes - 1``.
    class_names
        Names of the classes, in the order of the labels. By default the name of a class is its number.
    n_train, n_validation, n_test
        Number of images of each split, with limits applied. If it is None, snnpipe counts the images before training,
        in a pass over the split.
    scaling
        How pixel values are scaled, as a text for people.
    source
        Folder that the prepared dataset is read from.
    digest
        Digest of the content of all splits. It distinguishes two datasets of the same name and version, so a data
        module that gives a digest must give another one for another content. If it is empty, snnpipe computes it from
        the batches, in a pass over each split.
    source_type
        Kind of the source, in MLflow's words (``tensorflow_datasets``, ``local``, ...). It may be empty if ``source``
        shows the kind.

    Raises
    ------
    DataError
        If ``image_shape`` or ``n_classes`` is missing, or a value is outside its domain.
    """

    name: str = ""
    version: str = ""
    image_shape: tuple[int, ...] = ()
    n_classes: int = 0
    class_names: tuple[str, ...] = ()
    n_train: int = None  # type: ignore[assignment]  # a number by the time a run reads it
    n_validation: int = None  # type: ignore[assignment]
    n_test: int = None  # type: ignore[assignment]
    scaling: str = ""
    source: str = ""
    digest: str = ""
    source_type: str = ""

    def __post_init__(self) -> None:
        shape, n = self.image_shape, self.n_classes
        if not isinstance(shape, Sequence) or not shape or not all(is_whole(size) and size > 0 for size in shape):
            raise DataError(
                f"DataSpec.image_shape: got {shape!r}: give the shape of one image without the batch, such as "
                "(28, 28, 1)"
            )
        if not is_whole(n) or n < 2:
            yes_or_no = ": yes or no are 2 classes, and the model has a logit for each" if n == 1 else ""
            raise DataError(f"DataSpec.n_classes: got {n!r}: give the number of classes, 2 or more{yes_or_no}")
        given = self.class_names
        names = () if given is None else tuple(given)
        if isinstance(given, str) or len(names) not in (0, n):
            raise DataError(
                f"DataSpec.class_names: got {given!r}, and n_classes is {n}: give one name per class, in the order of "
                "the labels, or leave class_names out"
            )
        for field_name in ("n_train", "n_validation", "n_test"):
            count = getattr(self, field_name)
            if count is not None and (not is_whole(count) or count < 0):
                raise DataError(f"DataSpec.{field_name}: got {count!r}: give a number of images, or leave it out")
        object.__setattr__(self, "image_shape", tuple(map(int, shape)))
        object.__setattr__(self, "n_classes", int(n))
        object.__setattr__(self, "class_names", tuple(map(str, names or range(n))))
