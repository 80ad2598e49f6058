"""Any image-classification dataset of tensorflow-datasets, streamed."""

import hashlib
import io
import json
import logging
import os
import socket
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

import numpy as np
from tqdm import tqdm

from snnpipe.base.errors import DataError, did_you_mean, one_line
from snnpipe.data.prepared_files import prepared_files_digests
from snnpipe.settings.domains import NonNegativeInt, PositiveInt, Share, Text
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tensorflow as tf

_OURS = {"digits": "snnpipe.data.digits"}
_SHUFFLE_BYTES = 256 * 2**20
_HOST_TIMEOUT_S = 5.0
_FOLDERS_VARIABLE, _DEFAULT_FOLDER = "TFDS_DATA_DIR", "~/tensorflow_datasets"

Scaling = Literal["minus_one_to_one", "zero_to_one", "standardised", "none"]


@dataclass
class TfdsDataModule:
    """Stream a dataset of tensorflow-datasets.

    Memory does not grow with the dataset: images are read from the prepared files each epoch, and the
    shuffle buffer is bounded.

    Parameters
    ----------
    name
        Of the builder, ``mnist`` for example.
    version
        Of the builder; None for its newest.
    data_dir
        Folder of prepared datasets. None looks in ``$TFDS_DATA_DIR`` and ``~/tensorflow_datasets``
        and prepares in the first that can be written.
    batch_size
        Images per training batch.
    train_split, test_split
        Split expressions (``train``, ``train[:5000]``, ``train+extra``).
    validation_split
        A split expression of its own for validation, in place of a share of the training split.
    validation_share
        Share of the training split, its last images, that is held out for validation.
    scaling
        ``minus_one_to_one`` (x / 127.5 - 1), ``zero_to_one`` (x / 255), ``standardised`` (mean 0 and
        standard deviation 1 per channel over the training images) or ``none`` (0 to 255).
    shuffle
        Whether training images are shuffled.
    seed
        Of the order of the training images.
    max_train_images, max_test_images
        Use no more than the first so many.

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
    seed: NonNegativeInt = 0
    max_train_images: PositiveInt | None = None
    max_test_images: PositiveInt | None = None
    _opened: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields(self, "data")
        if self.max_train_images is not None:
            self._check_batch(self._n_train(self.max_train_images), f"data.max_train_images={self.max_train_images}")

    def prepare_data(self) -> None:
        """Write the dataset's prepared files, unless they are there.

        Raises
        ------
        DataError
            If the dataset is unknown, or neither prepared nor downloadable from here.
        """
        tfds = _import_tfds()
        if self._find_prepared() is not None:
            return
        folder = self._writable_folder()
        builder = self._builder(folder)
        self._check_downloadable(builder)
        tfds.display_progress_bar(sys.stderr.isatty())
        try:
            with _quiet(silent=self.name in _OURS):
                builder.download_and_prepare()
        except Exception as error:
            raise DataError(self._not_available(f"preparing it failed: {one_line(error)}")) from error

    def setup(self) -> None:
        """Open the prepared files and work out the splits.

        Raises
        ------
        DataError
            If the dataset is not prepared, is no image classification, or is smaller than asked for.
        """
        folder = self._find_prepared()
        if folder is None:
            raise DataError(self._not_available("it is not prepared"))
        builder = self._builder(folder)
        image_key, label_key = self._check_features(builder)
        sizes = {expression: self._size(builder, expression) for expression in self._expressions()}
        n_examples = min(sizes[self.train_split], self.max_train_images or sizes[self.train_split])
        n_train = self._n_train(n_examples)
        n_validation = sizes[self.validation_split] if self.validation_split else n_examples - n_train
        n_test = min(sizes[self.test_split], self.max_test_images or sizes[self.test_split])
        self._check_batch(n_train, f"{self.name} ({self.train_split!r})")
        label = builder.info.features[label_key]
        self._opened = {
            "builder": builder,
            "image": image_key,
            "label": label_key,
            "spec": DataSpec(
                name=self.name,
                version=str(builder.version),
                image_shape=tuple(builder.info.features[image_key].shape),
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
        self._opened["scaling"] = self._divisor_and_shift()

    @property
    def spec(self) -> DataSpec:
        """What is known of the dataset after `setup`."""
        if not self._opened:
            raise DataError("data: setup() has not been called")
        spec: DataSpec = self._opened["spec"]
        return spec

    def digests(self) -> dict[str, str]:
        """Return digests of the prepared files that a training reads, and of those that the test images are in.

        Raises
        ------
        DataError
            If one of them cannot be read.
        """
        if "digests" not in self._opened:
            of_fit = [self.train_split, *filter(None, [self.validation_split])]
            self._opened["digests"] = {"fit": self._files_digest(of_fit), "test": self._files_digest([self.test_split])}
        found: dict[str, str] = self._opened["digests"]
        return found

    def _files_digest(self, expressions: Collection[str]) -> str:
        """Return a digest of the files that split expressions lead to, and of where in them the examples begin."""
        splits = self._opened["builder"].info.splits
        files = [file for name in expressions for file in splits[name].file_instructions]
        places = [(Path(str(file.filename)), file.skip) for file in files]
        try:
            digests = prepared_files_digests({path for path, _ in places})
        except OSError as error:
            problem = "it is not there" if isinstance(error, FileNotFoundError) else error.strerror or "unreadable"
            raise DataError(_damaged(str(error.filename), problem, str(self._opened["builder"].data_dir))) from error
        return hashlib.sha256(json.dumps([(digests[path], skip) for path, skip in places]).encode()).hexdigest()[:32]

    def train_dataset(self, epoch: int = 0) -> "tf.data.Dataset":
        """Return one epoch of training batches ``(images, labels)``, the last one possibly short."""
        examples = self._examples(self.train_split, 0, self.spec.n_train)
        if self.shuffle:
            examples = _shuffled(examples, self._shuffle_buffer(), self.seed, epoch)
        return self._batches(examples, self.batch_size)

    def sample(self, split: str) -> "tf.data.Dataset":
        """Return batches that are like a split's, from the beginning of its files.

        Before the first batch, a shuffled stream fills its buffer, and one of images held out reads all the others.
        """
        expressions = {"train": self.train_split, "validation": self.validation_split or self.train_split}
        count = getattr(self.spec, f"n_{split}")
        return self._batches(self._examples(expressions.get(split, self.test_split), 0, count), self.batch_size)

    def validation_dataset(self) -> "tf.data.Dataset | None":
        """Return the validation batches, or None where nothing is held out."""
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
        """Return what is wrong with the prepared files, where that is what an error in their use came from."""
        tf = _import_tensorflow()
        came_up_as = (tf.errors.DataLossError, tf.errors.FailedPreconditionError, tf.errors.NotFoundError)
        if not isinstance(error, came_up_as) or not self._opened:
            return None
        builder = self._opened["builder"]
        for split in builder.info.splits.values():
            for path, records in zip(split.filepaths, split.shard_lengths, strict=True):
                if problem := _damage(str(path), records):
                    return DataError(_damaged(str(path), problem, str(builder.data_dir)))
        return None

    def _n_train(self, n_examples: int) -> int:
        """Return how many examples of the training split are trained on, the others being held out."""
        return n_examples if self.validation_split else n_examples - int(n_examples * self.validation_share)

    def _check_batch(self, n_train: int, where: str) -> None:
        if self.batch_size > n_train:
            raise DataError(
                f"data.batch_size: {self.batch_size} is larger than the {n_train} training images of {where}: take "
                f"data.batch_size={n_train} or less"
            )

    # ------------------------------------------------------------------ prepared files

    def _folders(self) -> list[Path]:
        """Return where prepared datasets are looked for, in that order."""
        if self.data_dir is not None:
            return [Path(self.data_dir).expanduser()]
        names = [os.environ.get(_FOLDERS_VARIABLE), _DEFAULT_FOLDER]
        return list(dict.fromkeys(Path(name).expanduser() for name in names if name))

    def _find_prepared(self) -> Path | None:
        for folder in self._folders():
            if folder.is_dir():
                builder = self._builder(folder)
                with _quiet(silent=False):
                    prepared = builder.is_prepared()
                if prepared:
                    return folder
        return None

    def _writable_folder(self) -> Path:
        for folder in self._folders():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError:
                continue
            if os.access(folder, os.W_OK):
                return folder
        raise DataError(self._not_available("none of these folders can be written"))

    def _builder(self, folder: Path) -> Any:
        from google.protobuf.json_format import ParseError

        tfds = _import_tfds()
        if module := _OURS.get(self.name):
            import_module(module)
        name = f"{self.name}:{self.version}" if self.version else self.name
        try:
            with _quiet(silent=False):
                return tfds.builder(name, data_dir=str(folder), try_gcs=False)
        except tfds.core.DatasetNotFoundError:
            known = tfds.list_builders(with_community_datasets=False)
            close = did_you_mean(self.name, known).split("known:")[0]
            raise DataError(
                f"data.name: there is no dataset {self.name!r} in tensorflow-datasets "
                f"({close}{len(known)} are known): tfds.list_builders() lists them"
            ) from None
        except (AssertionError, ValueError) as error:
            raise DataError(f"data.version: {self.name} has no version {self.version!r}: {one_line(error)}") from None
        except ParseError as error:
            where = folder / self.name
            raise DataError(_damaged(f"a dataset_info.json in {where}", one_line(error), str(where))) from None

    def _check_downloadable(self, builder: Any) -> None:
        """Fail at once where the dataset's hosts cannot be reached; tfds would retry for minutes."""
        urls = [urlsplit(str(url)) for url in builder.url_infos or ()]
        proxies = [os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")]
        urls = [urlsplit(proxy) for proxy in proxies if proxy] or urls
        for url in [url for url in urls if url.hostname][:1]:
            try:
                port = url.port or {"http": 80, "ftp": 21}.get(url.scheme, 443)
                socket.create_connection((url.hostname, port), timeout=_HOST_TIMEOUT_S).close()
            except OSError as error:
                raise DataError(self._not_available(f"{url.hostname} cannot be reached ({one_line(error)})")) from None

    def _not_available(self, why: str) -> str:
        looked = " and ".join(str(folder) for folder in self._folders())
        return (
            f"dataset {self.name!r} is not prepared in {looked}, and {why}: where there is a network, run "
            f"`python -m tensorflow_datasets build {self.name} --data_dir=FOLDER`, then set data.data_dir "
            f"(or {_FOLDERS_VARIABLE}) to that FOLDER"
        )

    # ------------------------------------------------------------------ features and splits

    def _expressions(self) -> list[str]:
        return [s for s in (self.train_split, self.validation_split, self.test_split) if s]

    def _check_features(self, builder: Any) -> tuple[str, str]:
        tfds = _import_tfds()
        keys = builder.info.supervised_keys
        features = builder.info.features
        if not keys or len(keys) != 2 or not isinstance(features[keys[1]], tfds.features.ClassLabel):
            raise DataError(f"data.name: {self.name} is no image classification (no image with one class label)")
        shape = features[keys[0]].shape
        if not shape or len(shape) != 3 or None in shape:
            raise DataError(
                f"data.name: the images of {self.name} have shape {shape}: snnpipe takes datasets whose "
                "images all have one known height, width and number of channels"
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
            raise DataError(f"data: split {expression!r} of {self.name} holds no images")
        return size

    # ------------------------------------------------------------------ streams

    def _examples(self, expression: str, first: int, count: int) -> "tf.data.Dataset":
        """Return examples with the image still encoded, so that buffers and skips are cheap."""
        tfds = _import_tfds()
        builder, image = self._opened["builder"], self._opened["image"]
        feature = builder.info.features[image]
        encoded = isinstance(feature, tfds.features.Image)
        examples = builder.as_dataset(
            split=expression,
            shuffle_files=False,
            decoders={image: tfds.decode.SkipDecoding()} if encoded else None,
            read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
        )
        return examples.skip(first).take(count)

    def _batches(self, examples: "tf.data.Dataset", batch_size: int) -> "tf.data.Dataset":
        tf, tfds = _import_tensorflow(), _import_tfds()
        image_key, label_key = self._opened["image"], self._opened["label"]
        feature = self._opened["builder"].info.features[image_key]
        encoded = isinstance(feature, tfds.features.Image)

        def decode(example: Mapping[str, Any]) -> tuple[Any, Any]:
            image = example[image_key]
            return (feature.decode_example(image) if encoded else image), example[label_key]

        def scale(images: Any, labels: Any) -> tuple[Any, Any]:
            divisor, shift = self._opened["scaling"]
            images = tf.cast(images, tf.float32) / divisor - shift
            return tf.ensure_shape(images, (None, *self.spec.image_shape)), tf.cast(labels, tf.int64)

        return (
            examples.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(batch_size)
            .map(scale, num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(2)
        )

    def _divisor_and_shift(self) -> tuple[Any, Any]:
        """Return what a pixel value is divided by, and what is then subtracted."""
        if self.scaling == "standardised":
            mean, deviation = self._moments()
            return deviation, mean / deviation
        return {
            "minus_one_to_one": (np.float32(127.5), np.float32(1)),
            "zero_to_one": (np.float32(255), np.float32(0)),
            "none": (np.float32(1), np.float32(0)),
        }[self.scaling]

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of each channel over the training images, in one pass."""
        feature = self._opened["builder"].info.features[self._opened["image"]]
        total = square = np.zeros(self.spec.image_shape[-1])
        count = 0
        examples = self._examples(self.train_split, 0, self.spec.n_train).as_numpy_iterator()
        bar = {"total": self.spec.n_train, "desc": "measuring pixels", "unit": " images", "leave": False}
        for example in tqdm(examples, **bar, disable=None):
            image = example[self._opened["image"]]
            pixels = np.asarray(feature.decode_example(image) if isinstance(image, bytes) else image, np.float64)
            total = total + pixels.sum(axis=(0, 1))
            square = square + (pixels**2).sum(axis=(0, 1))
            count += pixels.shape[0] * pixels.shape[1]
        mean = total / count
        deviation = np.sqrt(np.maximum(square / count - mean**2, 0))
        return mean.astype(np.float32), np.maximum(deviation, 1e-6).astype(np.float32)

    def _shuffle_buffer(self) -> int:
        """Return how many images the shuffle buffer holds: all of them, or what fits in its memory."""
        return max(1, min(self.spec.n_train, _SHUFFLE_BYTES // int(np.prod(self.spec.image_shape))))


def _shuffled(examples: "tf.data.Dataset", buffer: int, seed: int, epoch: int) -> "tf.data.Dataset":
    """Return a dataset in the order that seed and epoch determine.

    ``Dataset.shuffle`` mixes in TensorFlow's global seed, which a simulator may have set meanwhile.
    """
    tf = _import_tensorflow()
    specs = tf.nest.flatten(examples.element_spec)
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(examples),
        buffer_size=buffer,
        seed=seed + 1,  # two zeros would mean any order
        seed2=epoch + 1,
        output_types=[spec.dtype for spec in specs],
        output_shapes=[spec.shape for spec in specs],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, examples.element_spec)


def _damage(path: str, records: int) -> str:
    """Return what is wrong with a file of records, if anything is."""
    tf = _import_tensorflow()
    try:
        found = sum(1 for _ in tf.data.TFRecordDataset(path))
    except tf.errors.NotFoundError:
        return "it is not there"
    except tf.errors.DataLossError as error:
        return one_line(error).partition("}} ")[2].partition(" [Op:")[0] or "a record is corrupted"
    return "" if found == records else f"it has {found} of {records} records"


def _damaged(what: str, problem: str, folder: str) -> str:
    return (
        f"data: {what} is damaged ({problem}): delete {folder}; the next run prepares it again, as does "
        "`python -m tensorflow_datasets build` where there is a network"
    )


@contextmanager
def _quiet(silent: bool) -> Iterator[None]:
    """Keep tfds's warning of a folder that is not there yet, and where ``silent`` all it prints, to itself."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()) if silent else nullcontext():
            yield
    finally:
        logger.setLevel(level)


def _import_tensorflow() -> Any:
    from snnpipe.frameworks.compat import import_tensorflow

    return import_tensorflow()


def _import_tfds() -> Any:
    _import_tensorflow()
    return import_module("tensorflow_datasets")
