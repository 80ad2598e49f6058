"""Streaming of classification datasets of tensorflow-datasets whose samples all have one shape."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from tqdm import tqdm

from snnpipe.base.errors import DataError, one_line
from snnpipe.data.augmentation import AugmentationSettings
from snnpipe.data.prepared_files import prepared_files_digests
from snnpipe.data.tfds_builder import PreparedDataset, damaged, damaged_file, import_tfds
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.settings.domains import NonNegativeInt, PositiveInt, Share, Text
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec
from snnpipe.values.pixels import PixelScaling

if TYPE_CHECKING:
    import tensorflow as tf

_SHUFFLE_BYTES = 256 * 2**20

Scaling = Literal["minus_one_to_one", "zero_to_one", "standardised", "none"]
_OF_PIXELS = ("minus_one_to_one", "zero_to_one")
_DRAWN = "drawn for the augmentation"


@dataclass
class TfdsDataModule:
    """Stream a dataset of tensorflow-datasets: images, vectors or series of numbers, with one class label per sample.

    Memory does not grow with the dataset: each epoch reads the samples from the prepared files, and the shuffle buffer
    is bounded.

    Parameters
    ----------
    name
        Name of the builder, such as ``mnist``.
    version
        Version of the builder; None for its newest.
    data_dir
        Folder of prepared datasets. If None, ``$TFDS_DATA_DIR`` and ``~/tensorflow_datasets`` are searched, and a
        missing dataset is prepared in the first of them that can be written.
    batch_size
        Samples per training batch.
    train_split, test_split
        Split expressions (``train``, ``train[:5000]``, ``train+extra``).
    validation_split
        Split expression for validation samples, instead of a share of the training split.
    validation_share
        Share of the training split that is held out for validation. The last samples are held out.
    scaling
        ``minus_one_to_one`` (x / 127.5 - 1) and ``zero_to_one`` (x / 255), for pixels of 0 to 255; ``standardised``
        (mean 0 and standard deviation 1 over the training samples, for each channel or, in vectors, each feature); or
        ``none`` (the values as they are).
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
        If a value is outside its domain.
    """

    without_effect_on_fit: ClassVar[Collection[str]] = ("data_dir", "test_split", "max_test_images")

    name: Text
    version: Text | None = None
    data_dir: Text | None = None
    batch_size: PositiveInt = 128
    train_split: Text = "train"
    test_split: Text = "test"
    validation_split: Text | None = None
    validation_share: Share = 0.1
    scaling: Scaling = "minus_one_to_one"
    shuffle: bool = True
    augment: AugmentationSettings = None
    seed: NonNegativeInt = 0
    max_train_images: PositiveInt | None = None
    max_test_images: PositiveInt | None = None
    _opened: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self, "data")
        if self.max_train_images is not None:
            self._check_batch(self._n_train(self.max_train_images), f"data.max_train_images={self.max_train_images}")

    def prepare_data(self) -> None:
        """Write the dataset's prepared files, unless they exist.

        Raises
        ------
        DataError
            If the dataset is unknown, or if it is not prepared and cannot be downloaded from this machine.
        """
        self._dataset.prepare()

    def setup(self) -> None:
        """Open the prepared files and determine the splits.

        Raises
        ------
        DataError
            If the dataset is not prepared, is not a classification of samples of one shape, or has too few samples.
        """
        builder = self._dataset.open()
        sample_key, label_key = self._check_features(builder)
        sizes = {expression: self._size(builder, expression) for expression in self._expressions()}
        n_examples = min(sizes[self.train_split], self.max_train_images or sizes[self.train_split])
        n_train = self._n_train(n_examples)
        n_validation = sizes[self.validation_split] if self.validation_split else n_examples - n_train
        n_test = min(sizes[self.test_split], self.max_test_images or sizes[self.test_split])
        self._check_batch(n_train, f"{self.name} ({self.train_split!r})")
        label = builder.info.features[label_key]
        self._opened = {
            "builder": builder,
            "sample": sample_key,
            "label": label_key,
            "spec": DataSpec(
                name=self.name,
                version=str(builder.version),
                input_shape=tuple(builder.info.features[sample_key].shape),
                n_classes=label.num_classes,
                class_names=tuple(label.names),
                n_train=n_train,
                n_validation=n_validation,
                n_test=n_test,
                scaling=self.scaling,
                source=str(builder.data_dir),
                source_type="tensorflow_datasets",
            ),
        }
        if self.augment:
            self.augment.check(self.spec)
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
        """Scaling of an image's pixels after `setup`; None for samples that are no images."""
        if not self._opened or not self._encoded:
            return None
        return PixelScaling(*self._opened["scaling"])

    def digests(self) -> dict[str, str]:
        """Return digests of the prepared files that a training reads, and of the files that hold the test samples.

        Raises
        ------
        DataError
            If a file cannot be read.
        """
        if "digests" not in self._opened:
            of_fit = [self.train_split, *filter(None, [self.validation_split])]
            self._opened["digests"] = {"fit": self._files_digest(of_fit), "test": self._files_digest([self.test_split])}
        digests: dict[str, str] = self._opened["digests"]
        return digests

    def _files_digest(self, expressions: Collection[str]) -> str:
        """Return a digest of the files of some split expressions, and of the positions of their first examples."""
        splits = self._opened["builder"].info.splits
        files = [file for name in expressions for file in splits[name].file_instructions]
        places = [(Path(str(file.filename)), file.skip) for file in files]
        try:
            digests = prepared_files_digests({path for path, _ in places})
        except OSError as error:
            problem = "it is not there" if isinstance(error, FileNotFoundError) else error.strerror or "unreadable"
            raise damaged(str(error.filename), problem, str(self._opened["builder"].data_dir)) from error
        return hashlib.sha256(json.dumps([(digests[path], skip) for path, skip in places]).encode()).hexdigest()[:32]

    def train_dataset(self, epoch: int = 0) -> "tf.data.Dataset":
        """Return one epoch of training batches ``(samples, labels)``. The last batch may be short."""
        examples = self._examples(self.train_split, 0, self.spec.n_train)
        if self.augment:
            examples = examples.enumerate().map(
                lambda index, example: example | {_DRAWN: self.augment.draw(self.seed, epoch, index)}
            )
        return self._training_batches(examples, epoch)

    def calibration_dataset(self) -> "tf.data.Dataset":
        """Return the training batches of epoch 0 without augmentation."""
        return self._training_batches(self._examples(self.train_split, 0, self.spec.n_train), epoch=0)

    def sample(self, split: str) -> "tf.data.Dataset":
        """Return batches like those of a split, read from the beginning of its files to be quick.

        A shuffled stream would first fill its buffer, and a stream of held-out samples would first read all the others.
        """
        expressions = {"train": self.train_split, "validation": self.validation_split or self.train_split}
        count = getattr(self.spec, f"n_{split}")
        return self._batches(self._examples(expressions.get(split, self.test_split), 0, count), self.batch_size)

    def validation_dataset(self) -> "tf.data.Dataset | None":
        """Return the validation batches, or None if nothing is held out."""
        if self.spec.n_validation == 0:
            return None
        if self.validation_split:
            examples = self._examples(self.validation_split, 0, self.spec.n_validation)
        else:
            examples = self._examples(self.train_split, self.spec.n_train, self.spec.n_validation)
        return self._batches(examples, self.batch_size)

    def test_dataset(self, batch_size: int | None = None) -> "tf.data.Dataset":
        """Return the test batches, in the order of the prepared files."""
        return self._batches(self._examples(self.test_split, 0, self.spec.n_test), batch_size or self.batch_size)

    def explain(self, error: Exception) -> DataError | None:
        """Return the fault in the prepared files that caused an error; None if no file did."""
        tf = import_tensorflow()
        came_up_as = (tf.errors.DataLossError, tf.errors.FailedPreconditionError, tf.errors.NotFoundError)
        if not isinstance(error, came_up_as) or not self._opened:
            return None
        return damaged_file(self._opened["builder"])

    @property
    def _dataset(self) -> PreparedDataset:
        return PreparedDataset(self.name, self.version, self.data_dir)

    def _n_train(self, n_examples: int) -> int:
        """Return the number of examples of the training split that are trained on. The others are held out."""
        return n_examples if self.validation_split else n_examples - int(n_examples * self.validation_share)

    def _check_batch(self, n_train: int, where: str) -> None:
        if self.batch_size > n_train:
            raise DataError(
                f"data.batch_size: {self.batch_size} is larger than the {n_train} training samples of {where}: take "
                f"data.batch_size={n_train} or less"
            )

    # ------------------------------------------------------------------ features and splits

    def _expressions(self) -> list[str]:
        return [s for s in (self.train_split, self.validation_split, self.test_split) if s]

    def _check_features(self, builder: Any) -> tuple[str, str]:
        tfds = import_tfds()
        keys, features = builder.info.supervised_keys, builder.info.features
        if not keys or len(keys) != 2 or not isinstance(features[keys[1]], tfds.features.ClassLabel):
            raise DataError(f"data.name: {self.name} is no classification (no samples with one class label each)")
        samples, shape = features[keys[0]], features[keys[0]].shape
        if not isinstance(shape, tuple) or not shape or None in shape:
            raise DataError(
                f"data.name: the samples of {self.name} have shape {shape}: snnpipe takes datasets whose samples all "
                "have one known shape"
            )
        kind = np.dtype(samples.np_dtype)
        if kind.kind not in "buif":
            raise DataError(f"data.name: the samples of {self.name} are no numbers, but of type {kind}")
        of_pixels = isinstance(samples, tfds.features.Image) or kind == np.uint8
        if self.scaling in _OF_PIXELS and not of_pixels:
            raise DataError(
                f"data.scaling: got {self.scaling!r}, which is for pixels of 0 to 255, and {self.name} has values of "
                f"type {kind}: take data.scaling=standardised, or none"
            )
        return keys[0], keys[1]

    def _size(self, builder: Any, expression: str) -> int:
        try:
            size = int(builder.info.splits[expression].num_examples)
        except (KeyError, ValueError, AttributeError) as error:
            raise DataError(
                f"data: {expression!r} is no split of {self.name} ({one_line(error)}); "
                f"its splits: {', '.join(builder.info.splits)}"
            ) from None
        if size == 0:
            raise DataError(f"data: split {expression!r} of {self.name} holds no samples")
        return size

    # ------------------------------------------------------------------ streams

    def _examples(self, expression: str, first: int, count: int) -> "tf.data.Dataset":
        """Return examples whose images are still encoded, so that buffering and skipping are cheap."""
        tfds = import_tfds()
        builder, key = self._opened["builder"], self._opened["sample"]
        examples = builder.as_dataset(
            split=expression,
            shuffle_files=False,
            decoders={key: tfds.decode.SkipDecoding()} if self._encoded else None,
            read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
        )
        return examples.skip(first).take(count)

    def _training_batches(self, examples: "tf.data.Dataset", epoch: int) -> "tf.data.Dataset":
        if self.shuffle:
            examples = _shuffled(examples, self._shuffle_buffer(), self.seed, epoch)
        return self._batches(examples, self.batch_size)

    def _batches(self, examples: "tf.data.Dataset", batch_size: int) -> "tf.data.Dataset":
        tf = import_tensorflow()
        label_key = self._opened["label"]

        def decode(example: Mapping[str, Any]) -> tuple[Any, ...]:
            drawn = [example[_DRAWN]] if _DRAWN in example else []
            return self._decoded(example), example[label_key], *drawn

        def scale(samples: Any, labels: Any, *drawn: Any) -> tuple[Any, Any]:
            divisor, shift = self._opened["scaling"]
            samples = tf.cast(samples, tf.float32) / divisor - shift
            samples = tf.ensure_shape(samples, (None, *self.spec.input_shape))
            return self.augment.apply(samples, *drawn) if drawn else samples, tf.cast(labels, tf.int64)

        return (
            examples.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(batch_size)
            .map(scale, num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(2)
        )

    def _divisor_and_shift(self) -> tuple[Any, Any]:
        """Return the divisor of each value, and the number to subtract afterwards."""
        if self.scaling == "standardised":
            mean, deviation = self._moments()
            return deviation, mean / deviation
        return {
            "minus_one_to_one": (np.float32(127.5), np.float32(1)),
            "zero_to_one": (np.float32(255), np.float32(0)),
            "none": (np.float32(1), np.float32(0)),
        }[self.scaling]

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and standard deviation of each channel over the training samples, from one pass."""
        total = square = np.zeros(self.spec.input_shape[-1])
        count = 0
        examples = self._examples(self.train_split, 0, self.spec.n_train).as_numpy_iterator()
        words = f"{self.spec.sample_word}s"
        bar = {"total": self.spec.n_train, "desc": f"measuring {words}", "unit": f" {words}", "leave": False}
        for example in tqdm(examples, **bar, disable=None):
            by_channel = np.asarray(self._decoded(example), np.float64).reshape(-1, len(total))
            total = total + by_channel.sum(axis=0)
            square = square + (by_channel**2).sum(axis=0)
            count += len(by_channel)
        mean = total / count
        deviation = np.sqrt(np.maximum(square / count - mean**2, 0))
        return mean.astype(np.float32), np.maximum(deviation, 1e-6).astype(np.float32)

    @property
    def _encoded(self) -> bool:
        """Whether the prepared files hold the samples in an image format."""
        feature = self._opened["builder"].info.features[self._opened["sample"]]
        return isinstance(feature, import_tfds().features.Image)

    def _decoded(self, example: Mapping[str, Any]) -> Any:
        """Return the values of an example's sample."""
        key = self._opened["sample"]
        sample = example[key]
        return self._opened["builder"].info.features[key].decode_example(sample) if self._encoded else sample

    def _shuffle_buffer(self) -> int:
        """Return the number of samples in the shuffle buffer: all of them, or as many as its memory holds."""
        return max(1, min(self.spec.n_train, _SHUFFLE_BYTES // int(np.prod(self.spec.input_shape))))


def _shuffled(examples: "tf.data.Dataset", buffer: int, seed: int, epoch: int) -> "tf.data.Dataset":
    """Return a dataset in the order that the seed and the epoch determine.

    ``Dataset.shuffle`` would also use TensorFlow's global seed, which a simulator may have set in the meantime.
    """
    tf = import_tensorflow()
    specs = tf.nest.flatten(examples.element_spec)
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(examples),
        buffer_size=buffer,
        seed=seed + 1,  # two zeros would give a random order
        seed2=epoch + 1,
        output_types=[spec.dtype for spec in specs],
        output_shapes=[spec.shape for spec in specs],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, examples.element_spec)
