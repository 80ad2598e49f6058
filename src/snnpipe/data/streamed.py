"""Batches of any dataset that can be read sample by sample: splits, order, scaling and augmentation."""

import dataclasses
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from snnpipe.base.errors import DataError
from snnpipe.data.augmentation import AugmentationSettings
from snnpipe.data.scaling import (
    DivisorAndShift,
    Scaling,
    check_moments,
    chosen_scaling,
    divisor_and_shift,
    given_moments,
    measured_moments,
    of_moments,
)
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.settings.domains import NonNegativeInt, Number, PositiveFloat, PositiveInt, Share
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec
from snnpipe.values.pixels import PixelScaling

if TYPE_CHECKING:
    import tensorflow as tf

_SHUFFLE_BYTES = 256 * 2**20
_DRAWN = "drawn for the augmentation"


class Split(Protocol):
    """A split of a dataset.

    Attributes
    ----------
    name
        What messages call it.
    size
        Number of samples.
    element_bytes
        Memory of one element, about, in bytes.
    """

    name: str
    size: int
    element_bytes: int

    def elements(self, first: int, count: int) -> "tf.data.Dataset":
        """Return some consecutive samples as mappings that `read` takes, small ones, for they are shuffled."""

    def read(self, elements: "tf.data.Dataset", batch_size: int) -> "tf.data.Dataset":
        """Return batches ``(samples as stored, labels, *drawn_of(element))`` of elements."""


class Source(Protocol):
    """A dataset that is open for reading.

    Attributes
    ----------
    spec
        Spec of the dataset, without the numbers of samples and the scaling.
    splits
        The splits ``train``, ``test`` and, if it is a split of its own, ``validation``.
    kind
        Type of the stored values.
    pixels
        Whether the stored values can be pixels of 0 to 255.
    span
        Smallest and largest stored value; None if they are unknown.
    values
        What the stored values are, for error messages.
    notes
        What was decided about the dataset, for people to read.
    """

    spec: DataSpec
    kind: np.dtype[Any]
    pixels: bool
    values: str

    @property
    def splits(self) -> Mapping[str, Split]: ...

    @property
    def span(self) -> tuple[float, float] | None: ...

    @property
    def notes(self) -> Sequence[str]: ...

    def digest(self, splits: Collection[str]) -> str:
        """Return a digest of the content of some splits."""

    def explain(self, error: Exception) -> DataError | None:
        """Return the fault in the dataset that caused an error; None if there is none."""


def drawn_of(element: Mapping[str, Any]) -> list[Any]:
    """Return what was drawn for an element's augmentation; empty if nothing was."""
    return [element[_DRAWN]] if _DRAWN in element else []


@dataclass(kw_only=True)
class StreamedData(ABC):
    """What the data modules of snnpipe have in common, wherever their samples come from.

    A subclass opens the source. Memory does not grow with the dataset: each epoch reads the samples from the source,
    and the shuffle buffer is bounded.

    Parameters
    ----------
    batch_size
        Samples per training batch.
    validation_share
        Share of the training split that is held out for validation, if there is no validation split. The last samples
        are held out.
    scaling
        ``minus_one_to_one`` (x / 127.5 - 1) and ``zero_to_one`` (x / 255), for pixels of 0 to 255; ``standardised``
        (mean 0 and standard deviation 1, for each channel or, in vectors, each feature); ``none`` (the values as they
        are); or ``auto``: ``minus_one_to_one`` for pixels of 8 bits, and ``none`` for others.
    mean, deviation
        Mean and standard deviation of each channel that ``standardised`` takes, in the unit of the stored values
        (pixels: 0 to 255). If None, they are measured over the training samples. A model that was trained elsewhere
        needs the numbers that it was trained with.
    shuffle
        Whether training samples are shuffled.
    augment
        Random changes of the training images (`snnpipe.CropAndFlip`); None, or an empty config, for none. Samples for
        validation, test and calibration stay as they are.
    seed
        Seed of the order of the training samples, and of their augmentation.
    max_train_images, max_test_images
        Largest number of samples to use, from the first one on; None for all.

    Raises
    ------
    ConfigError
        If a value is outside its domain, or settings contradict each other.
    """

    batch_size: PositiveInt = 128
    validation_share: Share = 0.1
    scaling: Scaling = "minus_one_to_one"
    mean: Sequence[Number] | None = None
    deviation: Sequence[PositiveFloat] | None = None
    shuffle: bool = True
    augment: AugmentationSettings = None
    seed: NonNegativeInt = 0
    max_train_images: PositiveInt | None = None
    max_test_images: PositiveInt | None = None
    _opened: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self, "data")
        check_moments(self.scaling, self.mean, self.deviation)

    @abstractmethod
    def _open(self) -> Source:
        """Open the dataset for reading."""

    def prepare_data(self) -> None:  # noqa: B027  (there is nothing to do for files of the user's own)
        """Make the dataset available on this machine. One in the user's own files is."""

    def setup(self) -> None:
        """Open the dataset and determine the splits.

        Raises
        ------
        DataError
            If the dataset cannot be read, is not a classification of samples of one shape, or has too few samples.
        """
        source = self._open()
        for note in source.notes:
            _say(note)
        stored = f"{source.spec.name} has {source.values}"
        scaling = chosen_scaling(self.scaling, kind=source.kind, pixels=source.pixels, of=stored)
        sizes = {name: split.size for name, split in source.splits.items()}
        n_examples = min(sizes["train"], self.max_train_images or sizes["train"])
        n_train = self._n_train(n_examples, held_out="validation" not in sizes)
        self._check_batch(n_train, source.splits["train"].name)
        spec = dataclasses.replace(
            source.spec,
            n_train=n_train,
            n_validation=sizes.get("validation", n_examples - n_train),
            n_test=min(sizes["test"], self.max_test_images or sizes["test"]),
            scaling=scaling,
        )
        if self.scaling == "auto" and spec.scaling == "none" and source.pixels and spec.sample_word == "image":
            _say(f"the {source.values} stay as they are (data.scaling=auto): pixels want data.scaling=zero_to_one")
        self._opened = {"source": source, "spec": spec}
        if self.augment:
            self.augment.check(spec)
        self._opened["scaling"] = self._divisor_and_shift()

    @property
    def spec(self) -> DataSpec:
        """The spec of the dataset after `setup`."""
        if not self._opened:
            raise DataError("data: setup() has not been called")
        spec: DataSpec = self._opened["spec"]
        return spec

    @property
    def pixels(self) -> PixelScaling | None:
        """Scaling of pixels of 0 to 255 after `setup`; None for samples that are no pixels."""
        if not self._opened or not self._source.pixels:
            return None
        return PixelScaling(*self._opened["scaling"])

    def digests(self) -> dict[str, str]:
        """Return digests of the content that a training reads, and of the content that holds the test samples.

        Raises
        ------
        DataError
            If a file cannot be read.
        """
        if "digests" not in self._opened:
            of_fit = [name for name in ("train", "validation") if name in self._source.splits]
            self._opened["digests"] = {"fit": self._source.digest(of_fit), "test": self._source.digest(["test"])}
        digests: dict[str, str] = self._opened["digests"]
        return digests

    def explain(self, error: Exception) -> DataError | None:
        """Return the fault in the dataset that caused an error; None if there is none."""
        return self._source.explain(error) if self._opened else None

    # ------------------------------------------------------------------ splits

    def train_dataset(self, epoch: int = 0) -> "tf.data.Dataset":
        """Return one epoch of training batches ``(samples, labels)``. The last batch may be short."""
        elements = self._elements("train", 0, self.spec.n_train)
        if self.augment:
            elements = elements.enumerate().map(
                lambda index, element: element | {_DRAWN: self.augment.draw(self.seed, epoch, index)}
            )
        return self._training_batches(elements, epoch)

    def calibration_dataset(self) -> "tf.data.Dataset":
        """Return the training batches of epoch 0 without augmentation."""
        return self._training_batches(self._elements("train", 0, self.spec.n_train), epoch=0)

    def sample(self, split: str) -> "tf.data.Dataset":
        """Return batches like those of a split, read from the beginning of its files to be quick.

        A shuffled stream would first fill its buffer, and a stream of held-out samples would first read all the others.
        """
        stored = split if split in self._source.splits else "train"
        count = getattr(self.spec, f"n_{split}")
        return self._batches(stored, self._elements(stored, 0, count), self.batch_size)

    def validation_dataset(self) -> "tf.data.Dataset | None":
        """Return the validation batches, or None if nothing is held out."""
        if self.spec.n_validation == 0:
            return None
        stored, first = ("validation", 0) if "validation" in self._source.splits else ("train", self.spec.n_train)
        return self._batches(stored, self._elements(stored, first, self.spec.n_validation), self.batch_size)

    def test_dataset(self, batch_size: int | None = None) -> "tf.data.Dataset":
        """Return the test batches, always in the same order."""
        return self._batches("test", self._elements("test", 0, self.spec.n_test), batch_size or self.batch_size)

    # ------------------------------------------------------------------ batches

    @property
    def _source(self) -> Source:
        source: Source = self._opened["source"]
        return source

    def _elements(self, split: str, first: int, count: int) -> "tf.data.Dataset":
        return self._source.splits[split].elements(first, count)

    def _n_train(self, n_examples: int, *, held_out: bool) -> int:
        """Return the number of examples of the training split that are trained on. The others are held out."""
        return n_examples - int(n_examples * self.validation_share) if held_out else n_examples

    def _check_batch(self, n_train: int, where: str) -> None:
        if self.batch_size > n_train:
            raise DataError(
                f"data.batch_size: {self.batch_size} is larger than the {n_train} training samples of {where}: take "
                f"data.batch_size={n_train} or less"
            )

    def _training_batches(self, elements: "tf.data.Dataset", epoch: int) -> "tf.data.Dataset":
        if self.shuffle:
            elements = _shuffled(elements, self._shuffle_buffer(), self.seed, epoch)
        return self._batches("train", elements, self.batch_size)

    def _batches(self, split: str, elements: "tf.data.Dataset", batch_size: int) -> "tf.data.Dataset":
        """Return batches of scaled samples, augmented where something was drawn for it."""
        tf = import_tensorflow()
        divisor, shift = self._opened["scaling"]

        @tf.autograph.experimental.do_not_convert
        def scale(samples: Any, labels: Any, *drawn: Any) -> tuple[Any, Any]:
            samples = tf.cast(samples, tf.float32) / divisor - shift
            samples = tf.ensure_shape(samples, (None, *self.spec.input_shape))
            return self.augment.apply(samples, *drawn) if drawn else samples, tf.cast(labels, tf.int64)

        batches = self._source.splits[split].read(elements, batch_size)
        return batches.map(scale, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)

    def _divisor_and_shift(self) -> DivisorAndShift:
        spec, source = self.spec, self._source
        if spec.scaling != "standardised":
            return divisor_and_shift(spec.scaling)
        if self.mean is not None and self.deviation is not None:
            return of_moments(*given_moments(self.mean, self.deviation, spec, source.span, pixels=source.pixels))
        stored = source.splits["train"].read(self._elements("train", 0, spec.n_train), self.batch_size)
        return of_moments(*measured_moments((samples for samples, _ in stored.as_numpy_iterator()), spec))

    def _shuffle_buffer(self) -> int:
        """Return the number of samples in the shuffle buffer: all of them, or as many as its memory holds."""
        return max(1, min(self.spec.n_train, _SHUFFLE_BYTES // self._source.splits["train"].element_bytes))


def _say(what: str) -> None:
    print(f"snnpipe: data: {what}", file=sys.stderr, flush=True)


def _shuffled(elements: "tf.data.Dataset", buffer: int, seed: int, epoch: int) -> "tf.data.Dataset":
    """Return a dataset in the order that the seed and the epoch determine.

    ``Dataset.shuffle`` would also use TensorFlow's global seed, which a simulator may have set in the meantime.
    """
    tf = import_tensorflow()
    specs = tf.nest.flatten(elements.element_spec)
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(elements),
        buffer_size=buffer,
        seed=seed + 1,  # two zeros would give a random order
        seed2=epoch + 1,
        output_types=[spec.dtype for spec in specs],
        output_shapes=[spec.shape for spec in specs],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, elements.element_spec)
