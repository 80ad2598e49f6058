"""Passes over the test images: by the ANN, by the spiking network, and by two simulators to verify one of them.

Axes: b = image of the batch, t = simulation step, c = class.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError, SimulationError
from snnpipe.data.checked_data import CheckedData
from snnpipe.data.digests import row_digests
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.evaluation import BatchEvaluation, Evaluation
from snnpipe.metrics.measurements import Measurements
from snnpipe.metrics.verification import Verification
from snnpipe.protocols import DataModule, Encoder, OpenSimulator, Simulator
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.run import SimulatedBatch
from snnpipe.values.simulation import SimulationChunk, SpikeEvents, Stimulus

if TYPE_CHECKING:
    import tf_keras

Split = Literal["test", "validation", "training"]

_VERIFIED_TOGETHER = 10
"""Number of images that are verified at once; all spikes of each are kept in memory."""


@dataclass(frozen=True, eq=False)
class AnnPass:
    """The ANN's classes of all test images, and its metrics.

    Attributes
    ----------
    classes
        Class of each image, in the order of the test split.
    metrics
        Accuracy and cross-entropy.
    weights
        Weights of the ANN at the time of the pass.
    images
        Digest of each image with its label (`snnpipe.data.digests.row_digests`).
    """

    classes: NDArray[np.int64]
    metrics: dict[str, float]
    weights: list[NDArray[np.float32]]
    images: Sequence[bytes]

    @classmethod
    def of(cls, model: "tf_keras.Model | NativeNetwork", data: DataModule) -> Self:
        """Return the pass of a model over the test images."""
        right = 0
        loss = 0.0
        classes = []
        images: list[bytes] = []
        for batch, labels, *_ in CheckedData.of(data).test_dataset().as_numpy_iterator():
            images += row_digests((batch, labels))
            logits = np.asarray(model.predict_on_batch(batch), np.float64)
            classes.append(np.argmax(logits, axis=-1))
            right += int(np.sum(classes[-1] == labels))
            shifted = logits - logits.max(axis=-1, keepdims=True)
            log_sum = np.log(np.exp(shifted).sum(axis=-1))
            loss += float(np.sum(log_sum - shifted[np.arange(len(labels)), labels]))
        n_images = sum(map(len, classes))
        metrics = {"ann/test_accuracy": right / n_images, "ann/test_loss": loss / n_images}
        return cls(np.concatenate(classes), metrics, [weight.numpy() for weight in model.weights], images)

    def is_of(self, model: "tf_keras.Model | NativeNetwork", data: DataModule) -> bool:
        """Whether a model's weights and the first test batch, images and labels, are still those of this pass."""
        first = row_digests(next(iter(data.test_dataset().as_numpy_iterator())))
        then, now = self.weights, [weight.numpy() for weight in model.weights]
        same = len(then) == len(now) and all(map(np.array_equal, then, now))
        return same and list(self.images[: len(first)]) == first


@dataclass
class SpikingPass:
    """A pass of a spiking network over the first images of a split.

    Attributes
    ----------
    data, simulator, encoder, seed
        Data, simulator, encoder and seed of the run.
    network
        Network that is simulated.
    seen
        Digests of the test images that the ANN was shown (`AnnPass.images`), which the images are checked against; None
        for no check.
    split
        Split of the images: ``test``, ``validation`` or ``training``. Training images come without random changes.
    at_once
        Number of images that are simulated together: the simulator's ``batch_size``, or fewer if memory is short.
    """

    data: DataModule
    simulator: Simulator
    encoder: Encoder
    seed: int
    network: SpikingNetwork
    seen: Sequence[bytes] | None = None
    split: Split = "test"
    at_once: int = field(init=False)

    def __post_init__(self) -> None:
        self.data = CheckedData.of(self.data)
        self.at_once = self.simulator.batch_size

    @property
    def n_images(self) -> int:
        """Number of images that are simulated."""
        spec = self.data.spec
        there = {"test": spec.n_test, "validation": spec.n_validation, "training": spec.n_train}[self.split]
        return min(there, self.simulator.max_images or there)

    def first(self, wanted: int) -> NDArray[np.float32]:
        """Return the first images, at most ``wanted``, shape ``(b, *input_shape)``."""
        _, images, _ = next(self.batches(wanted, wanted))
        return images

    def verify(self, ours: OpenSimulator) -> Verification:
        """Return how a simulator and its reference differ on the first ``simulator.verify_images`` images."""
        wanted = min(self.simulator.verify_images, self.data.spec.n_test)
        encoder, verification = self.encoder.seeded(self.seed), Verification()
        size = min(wanted, self.simulator.batch_size, _VERIFIED_TOGETHER)
        reference = self.simulator.reference().with_settings(batch_size=size)
        with reference.open(self.network, encoder.constant) as theirs:
            for ids, images, _ in self.batches(size, wanted):
                stimulus = Stimulus(images, ids, encoder, record=tuple(range(len(images))))
                verification.add(ours.run(stimulus), theirs.run(stimulus))
        return verification

    def simulate(
        self,
        opened: OpenSimulator,
        ann_classes: NDArray[np.int64],
        evaluation: Evaluation,
        sampled: int,
        measurements: Measurements | None = None,
    ) -> Iterator[tuple[SimulatedBatch, float]]:
        """Simulate the images, batch by batch, and add each batch to an evaluation.

        If a batch does not fit into memory, its halves are simulated one after the other, and later batches have no
        more images than a half. An image's result does not depend on its batch.

        Parameters
        ----------
        opened
            Simulator with the network in it.
        ann_classes
            ANN's class of every test image, which the network's class is compared with.
        evaluation
            Evaluation that takes every batch.
        sampled
            Number of first images whose single spikes are kept.
        measurements
            Metric plugins, which take every batch with its chunks; None if there are none.

        Yields
        ------
        batch, seconds
            A batch after its simulation, and the time that the simulation took.

        Raises
        ------
        SimulationError
            If a single image does not fit into memory.
        """
        encoder = self.encoder.seeded(self.seed)
        for all_ids, all_images, all_labels in self.batches(self.at_once, self.n_images):
            first = 0
            while first < len(all_ids):
                rows = slice(first, min(first + self.at_once, len(all_ids)))
                ids, labels = all_ids[rows], all_labels[rows]
                ann_classes_b = ann_classes[ids.start : ids.stop]
                record = tuple(row for row, image_id in enumerate(ids) if image_id < sampled)
                batch = evaluation.batch(labels, ann_classes_b)
                began = time.perf_counter()
                chunks: list[SimulationChunk] | None = [] if measurements else None
                stimulus = Stimulus(all_images[rows], ids, encoder, record)
                simulated = self._simulated(opened, stimulus, batch, chunks)
                if simulated is None:
                    self.at_once = _half(len(ids), self.data.spec.sample_word)
                    continue
                seconds = time.perf_counter() - began
                evaluation.add(batch)
                first = rows.stop
                whole = SimulatedBatch(ids, labels, ann_classes_b, *simulated)
                if measurements:
                    measurements.add(replace(whole, chunks=chunks or ()))
                yield whole, seconds

    def _simulated(
        self, opened: OpenSimulator, stimulus: Stimulus, batch: BatchEvaluation, chunks: list[SimulationChunk] | None
    ) -> tuple[NDArray[np.float64], dict[str, SpikeEvents]] | None:
        """Return a batch's class scores and recorded spikes, or None if the batch does not fit into memory.

        The batch's chunks are added to ``chunks`` if a list is given.
        """
        scores: list[NDArray[np.float64]] = []
        events: dict[str, list[SpikeEvents]] = {layer.name: [] for layer in self.network.layers}
        try:
            for chunk in opened.run(stimulus):
                scores.append(batch.add(chunk))
                if chunks is not None:
                    chunks.append(chunk)
                for name, activity in chunk.layers.items():
                    events[name].append(activity.events)
            recorded = {name: SpikeEvents.concatenate(parts) for name, parts in events.items()}
            return np.concatenate(scores, axis=1), recorded
        except Exception as error:
            if not _out_of_memory(error):
                raise
            return None

    def batches(self, size: int, wanted: int) -> Iterator[tuple[range, NDArray[np.float32], NDArray[np.int64]]]:
        """Yield indices, images and labels of the first ``wanted`` images, batch by batch.

        Test images come ``size`` at a time, other images in the batches of training.

        Raises
        ------
        DataError
            If the images or labels are not those that the ANN was shown.
        """
        done, word = 0, self.data.spec.sample_word
        for images, labels, *_ in self._dataset(size).as_numpy_iterator():
            n = min(len(images), wanted - done)
            if self.seen is not None and row_digests((images[:n], labels[:n])) != list(self.seen[done : done + n]):
                raise DataError(
                    f"data: the test {word}s from {done} to {done + n - 1} are not those that the ANN was tested with: "
                    f"test_dataset() has to give the same {word}s in the same order each time; if they were exchanged "
                    "just now, begin the run again"
                )
            yield range(done, done + n), images[:n], labels[:n]
            done += n
            if done >= wanted:
                break

    def _dataset(self, size: int) -> Any:
        if self.split == "test":
            return self.data.test_dataset(size)
        of_training: Any = self.data
        return of_training.validation_dataset() if self.split == "validation" else of_training.calibration_dataset()


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, import_tensorflow().errors.ResourceExhaustedError))


def _half(size: int, word: str) -> int:
    """Return half of the size of a batch that is too large, and warn about it."""
    if size == 1:
        raise SimulationError(
            f"simulating one {word} needs more memory than there is: set simulator.chunk_steps lower, or take a "
            "smaller network"
        )
    half = -(-size // 2)
    warnings.warn(
        f"the memory does not suffice to simulate {size} {word}s at once: from here on {half} at once are "
        f"(simulator.batch_size={half} does so from the beginning)",
        stacklevel=2,
    )
    return half
