"""Datasets of tensorflow-datasets whose samples all have one shape."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from snnpipe.base.errors import DataError, one_line
from snnpipe.data.prepared_files import prepared_files_digests
from snnpipe.data.streamed import StreamedData, drawn_of
from snnpipe.data.tfds_builder import PreparedDataset, damaged, damaged_file, import_tfds
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.settings.domains import Text
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass
class TfdsDataModule(StreamedData):
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
    train_split, test_split
        Split expressions (``train``, ``train[:5000]``, ``train+extra``).
    validation_split
        Split expression for validation samples, instead of a share of the training split.
    batch_size, validation_share, scaling, mean, deviation, shuffle, augment, seed, max_train_images, max_test_images
        As in `snnpipe.data.streamed.StreamedData`.

    Raises
    ------
    ConfigError
        If a value is outside its domain.
    """

    without_effect_on_fit: ClassVar[Collection[str]] = ("data_dir", "test_split", "max_test_images")

    name: Text
    version: Text | None = None
    data_dir: Text | None = None
    train_split: Text = "train"
    test_split: Text = "test"
    validation_split: Text | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_train_images is not None:
            n_train = self._n_train(self.max_train_images, held_out=not self.validation_split)
            self._check_batch(n_train, f"data.max_train_images={self.max_train_images}")

    def prepare_data(self) -> None:
        """Write the dataset's prepared files, unless they exist.

        Raises
        ------
        DataError
            If the dataset is unknown, or if it is not prepared and cannot be downloaded from this machine.
        """
        self._dataset.prepare()

    def _open(self) -> "_PreparedSource":
        builder = self._dataset.open()
        keys = _keys(builder, self.name)
        expressions = {"train": self.train_split, "validation": self.validation_split, "test": self.test_split}
        splits = {
            name: _PreparedSplit(builder, keys, expression, self.name)
            for name, expression in expressions.items()
            if expression
        }
        return _PreparedSource(builder, keys, splits, self.name)

    @property
    def _dataset(self) -> PreparedDataset:
        return PreparedDataset(self.name, self.version, self.data_dir)


class _PreparedSplit:
    """A split of a prepared dataset.

    Parameters
    ----------
    builder
        Builder that reads the dataset.
    keys
        Keys of samples and labels in the dataset's examples.
    expression
        Split expression.
    dataset
        Name of the dataset.
    """

    def __init__(self, builder: Any, keys: tuple[str, str], expression: str, dataset: str):
        self.expression = expression
        self.name = f"{dataset} ({expression!r})"
        self.size = _size(builder, dataset, expression)
        feature = builder.info.features[keys[0]]
        self.element_bytes = int(np.prod(feature.shape))
        self._builder, self._feature, self._keys = builder, feature, keys

    def elements(self, first: int, count: int) -> "tf.data.Dataset":
        """Return examples whose images are still encoded, so that buffering and skipping are cheap."""
        tfds = import_tfds()
        examples = self._builder.as_dataset(
            split=self.expression,
            shuffle_files=False,
            decoders={self._keys[0]: tfds.decode.SkipDecoding()} if self._encoded else None,
            read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
        )
        return examples.skip(first).take(count)

    def read(self, elements: "tf.data.Dataset", batch_size: int) -> "tf.data.Dataset":
        """Return batches of decoded samples and their labels."""
        tf = import_tensorflow()
        sample, label = self._keys

        def decode(example: Mapping[str, Any]) -> tuple[Any, ...]:
            values = self._feature.decode_example(example[sample]) if self._encoded else example[sample]
            return values, example[label], *drawn_of(example)

        return elements.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)

    @property
    def _encoded(self) -> bool:
        """Whether the prepared files hold the samples in an image format."""
        return isinstance(self._feature, import_tfds().features.Image)


class _PreparedSource:
    """A prepared dataset that is open for reading."""

    notes: tuple[str, ...] = ()

    def __init__(self, builder: Any, keys: tuple[str, str], splits: Mapping[str, _PreparedSplit], name: str):
        tfds = import_tfds()
        samples, label = (builder.info.features[key] for key in keys)
        self._builder = builder
        self.splits = splits
        self.kind = np.dtype(samples.np_dtype)
        self.pixels = isinstance(samples, tfds.features.Image) or self.kind == np.uint8
        self.span = (0.0, 255.0) if self.pixels else None
        self.values = f"values of type {self.kind}"
        self.spec = DataSpec(
            name=name,
            version=str(builder.version),
            input_shape=tuple(samples.shape),
            n_classes=label.num_classes,
            class_names=tuple(label.names),
            source=str(builder.data_dir),
            source_type="tensorflow_datasets",
        )

    def digest(self, splits: Collection[str]) -> str:
        """Return a digest of the files of some splits, and of the positions of their first examples."""
        known = self._builder.info.splits
        files = [file for name in splits for file in known[self.splits[name].expression].file_instructions]
        places = [(Path(str(file.filename)), file.skip) for file in files]
        try:
            digests = prepared_files_digests({path for path, _ in places})
        except OSError as error:
            problem = "it is not there" if isinstance(error, FileNotFoundError) else error.strerror or "unreadable"
            raise damaged(str(error.filename), problem, str(self._builder.data_dir)) from error
        return hashlib.sha256(json.dumps([(digests[path], skip) for path, skip in places]).encode()).hexdigest()[:32]

    def explain(self, error: Exception) -> DataError | None:
        """Return the fault in the prepared files that caused an error; None if no file did."""
        tf = import_tensorflow()
        came_up_as = (tf.errors.DataLossError, tf.errors.FailedPreconditionError, tf.errors.NotFoundError)
        return damaged_file(self._builder) if isinstance(error, came_up_as) else None


def _keys(builder: Any, name: str) -> tuple[str, str]:
    """Return the keys of samples and labels.

    Raises
    ------
    DataError
        If the dataset is no classification of samples of one shape.
    """
    tfds = import_tfds()
    keys, features = builder.info.supervised_keys, builder.info.features
    if not keys or len(keys) != 2 or not isinstance(features[keys[1]], tfds.features.ClassLabel):
        raise DataError(f"data.name: {name} is no classification (no samples with one class label each)")
    samples, shape = features[keys[0]], features[keys[0]].shape
    if not isinstance(shape, tuple) or not shape or None in shape:
        raise DataError(
            f"data.name: the samples of {name} have shape {shape}: snnpipe takes datasets whose samples all have one "
            "known shape"
        )
    kind = np.dtype(samples.np_dtype)
    if kind.kind not in "buif":
        raise DataError(f"data.name: the samples of {name} are no numbers, but of type {kind}")
    return keys[0], keys[1]


def _size(builder: Any, name: str, expression: str) -> int:
    """Return the number of samples of a split expression."""
    try:
        size = int(builder.info.splits[expression].num_examples)
    except (KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"data: {expression!r} is no split of {name} ({one_line(error)}); "
            f"its splits: {', '.join(builder.info.splits)}"
        ) from None
    if size == 0:
        raise DataError(f"data: split {expression!r} of {name} holds no samples")
    return size
