"""The parts that both training paths share: settings, optimizer, losses, and reports to the callbacks."""

import functools
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from snnpipe.base import signals
from snnpipe.base.errors import TrainingError
from snnpipe.frameworks.compat import import_tensorflow, import_tf_keras
from snnpipe.frameworks.keras_graph import neuron_layers
from snnpipe.protocols import CallbackSink, DataModule, Regularizer
from snnpipe.settings.domains import NonNegativeFloat, NonNegativeInt, PositiveFloat, Share, Text
from snnpipe.settings.schema import check_fields
from snnpipe.training import snapshot
from snnpipe.training.class_weights import ClassWeights, weight_of_each_class
from snnpipe.training.optimizer import (
    OptimizerName,
    ScheduleName,
    check_weight_decay,
    learning_rate,
    make_optimizer,
)
from snnpipe.values.checkpoint import require_finite
from snnpipe.values.data import DataSpec
from snnpipe.values.run import BatchProgress, FitProgress

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras


def _is_regularizer(value: Any) -> Any:
    if value not in (None, {}) and not hasattr(value, "scale_of"):
        raise PydanticCustomError("regularizer_type", "should be a penalty on firing rates, or null")
    return value


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """The settings that both training paths have.

    Parameters
    ----------
    epochs
        Number of passes over the training samples. With 0, the weights stay as the model was built.
    learning_rate
        Learning rate of the optimizer at the first step, or after the rise of ``schedule_warmup``.
    optimizer
        Keras's name of the optimizer.
    optimizer_options
        Further arguments of the optimizer (``{momentum: 0.9}``).
    weight_decay
        Factor d of an L2 penalty d/2 |w|^2 on the weights: d w is added to the gradient of each weight w before the
        optimizer uses it, as in PyTorch's SGD and Adam. The reported loss does not include the penalty.
    weight_decay_exclude
        Names or patterns of weights that do not decay (``["*/bias", "*_bn/*"]``); None for no exceptions.
    schedule
        Course of the learning rate over the steps: ``constant``, ``cosine``, ``exponential``, or ``one_cycle``, which
        rises and falls linearly.
    schedule_end
        Learning rate at the end, as a share of ``learning_rate``.
    schedule_warmup
        Share of the steps over which the learning rate rises linearly, from 1/25 of ``learning_rate`` to
        ``learning_rate``, before it takes its course. None for 0.2 with ``one_cycle``, and 0 with the others.
    loss
        ``cross_entropy`` on the logits, or ``mean_squared_error`` to the one-hot class.
    class_weights
        Weights of the classes in the loss, by number or name; classes that it does not name have weight 1. None for
        none.
    regularizer
        Penalty on firing rates; None, or an empty config, for none.
    reuse
        Whether to take the weights of an earlier run with the same training, if a logger has one, instead of training.
    resume
        Whether to continue an earlier run that was stopped: the run with ``run_id`` or, without one, the newest run of
        the same configuration. If there is none, a new run begins. None continues a run only if ``run_id`` is given.
    """

    without_effect_on_fit: ClassVar[Collection[str]] = ("reuse", "resume")

    epochs: NonNegativeInt = 20
    learning_rate: PositiveFloat = 2e-3
    optimizer: OptimizerName = "adam"
    optimizer_options: dict[str, Any] | None = None
    weight_decay: NonNegativeFloat = 0.0
    weight_decay_exclude: Sequence[Text] | None = None
    schedule: ScheduleName = "constant"
    schedule_end: PositiveFloat = 0.01
    schedule_warmup: Share | None = None
    loss: Literal["cross_entropy", "mean_squared_error"] = "cross_entropy"
    class_weights: ClassWeights = None
    regularizer: Annotated[Any, AfterValidator(_is_regularizer)] = None
    reuse: bool = True
    resume: bool | None = None

    def __post_init__(self) -> None:
        check_fields(self, "training")
        excluded, options = self.weight_decay_exclude or (), self.optimizer_options or {}
        check_weight_decay(self.weight_decay, excluded, self.optimizer, options)

    def check_classes(self, spec: DataSpec) -> None:
        """Raise `ConfigError` if ``class_weights`` names a class that a dataset does not have."""
        weight_of_each_class(self.class_weights, spec)

    def make_optimizer(self, steps_per_epoch: int = 1) -> "tf_keras.optimizers.Optimizer":
        """Return the optimizer for a training with a given number of steps per epoch.

        Raises
        ------
        ConfigError
            If the optimizer does not take one of its options.
        """
        steps = max(1, steps_per_epoch * self.epochs)
        rate = learning_rate(self.schedule, self.learning_rate, self.schedule_end, self.schedule_warmup, steps)
        return make_optimizer(
            self.optimizer,
            rate,
            self.optimizer_options or {},
            self.weight_decay,
            self.weight_decay_exclude or (),
        )


def penalised_layers(regularizer: Regularizer | None, model: "tf_keras.Model") -> dict[str, float]:
    """Return the factor from activation to rate for each layer that a regularizer penalises."""
    if not regularizer:
        return {}
    return regularizer.scale_of([layer.name for layer in neuron_layers(model)])


def steps_per_epoch(data: DataModule) -> int:
    """Return the number of training batches in an epoch. A short last batch counts."""
    return math.ceil(data.spec.n_train / data.batch_size)


PADDING = -1
"""Label of the rows that fill up a short batch. These rows are no samples."""


def logits_loss(kind: str, n_classes: int) -> "tf_keras.losses.Loss":
    """Return the loss on the logits of a sample. Of logits over time, the last step counts."""
    tf = import_tensorflow()

    class LogitsLoss(import_tf_keras().losses.Loss):  # type: ignore[misc]  # Keras is imported at run time
        def call(self, labels: Any, logits: Any) -> Any:
            labels, logits = tf.maximum(flat(labels), 0), _last_step(logits)  # the loss of padding has weight 0
            if kind == "cross_entropy":
                return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            return tf.reduce_mean(tf.square(logits - tf.one_hot(labels, n_classes)), axis=-1)

    return LogitsLoss(name=kind)


def weights_of(
    class_weights: NDArray[np.float32] | None, labels: Any, sample_weights: Sequence[Any]
) -> "tf.Tensor | None":
    """Return the weights of a batch's losses, shape ``(b,)``; None if neither classes nor samples have weights.

    Parameters
    ----------
    class_weights
        One weight per class.
    labels
        Labels of the batch.
    sample_weights
        Elements of the stream after the labels: nothing, or the samples' weights.
    """
    if class_weights is None:
        return sample_weights[0] if sample_weights else None
    weights = import_tensorflow().gather(class_weights, flat(labels))
    return weights * sample_weights[0] if sample_weights else weights


def rate_penalty(regularizer: Regularizer, scale: float) -> "tf_keras.losses.Loss":
    """Return a layer's penalty as a loss on its activation. The loss ignores the target."""
    tf = import_tensorflow()

    class RatePenalty(import_tf_keras().losses.Loss):  # type: ignore[misc]
        def call(self, _: Any, activation: Any) -> Any:
            return regularizer.penalty(scale * tf.reshape(activation, (tf.shape(activation)[0], -1)))

    return RatePenalty(name="firing_rate")


def accuracy() -> "tf_keras.metrics.Metric":
    """Return the metric for the share of correct samples. It ignores weights, and rows with the label `PADDING`."""
    tf = import_tensorflow()

    class Accuracy(import_tf_keras().metrics.Mean):  # type: ignore[misc]
        def update_state(self, labels: Any, logits: Any, sample_weight: Any = None) -> Any:
            labels = flat(labels)
            right = tf.argmax(_last_step(logits), axis=-1) == labels
            real = tf.cast(labels != PADDING, tf.float32)
            return super().update_state(tf.cast(right, tf.float32), sample_weight=real)

    return Accuracy(name="accuracy")


def flat(labels: Any) -> Any:
    """Return labels as int64 of shape ``(b,)``."""
    tf = import_tensorflow()
    return tf.cast(tf.reshape(labels, (-1,)), tf.int64)


def _last_step(logits: Any) -> Any:
    return logits[:, -1] if logits.shape.rank == 3 else logits


def epoch_metrics(logs: Mapping[str, float], seconds: float, n_samples: int) -> dict[str, float]:
    """Return Keras's logs of an epoch under the names that runs are logged with.

    If a model has several outputs, Keras prefixes the names of metrics with that of the output.
    """
    metrics = {"fit/images_per_s": n_samples / max(seconds, 1e-9)}
    for name, value in logs.items():
        prefix = "val_" if name.startswith("val_") else ""
        if name == f"{prefix}loss":
            metrics[f"fit/{prefix}loss"] = float(value)
        elif name.endswith("accuracy"):
            metrics[f"fit/{prefix}accuracy"] = float(value)
    return metrics


def fit_epochs(
    fit: Callable[..., Any],
    model: "tf_keras.Model",
    data: DataModule,
    batches: Callable[["tf.data.Dataset"], "tf.data.Dataset"],
    epochs: int,
    sink: CallbackSink,
) -> tuple[int, dict[str, float]]:
    """Train epoch by epoch. The number of an epoch determines the order of its samples.

    A resumed training ends with the same weights and metrics as an uninterrupted one, to the bit.

    Parameters
    ----------
    fit
        ``fit`` of a compiled Keras model, or of a NengoDL simulator.
    model
        The compiled Keras model that ``fit`` trains.
    data
        The dataset.
    batches
        Function that converts the data module's batches to the form that ``fit`` takes.
    epochs
        Largest number of epochs. ``sink`` may end the training sooner.
    sink
        Sink that receives the end of each batch and epoch, and holds the state to resume from.

    Returns
    -------
    epochs, metrics
        Number of trained epochs, and the metrics of the last one.

    Raises
    ------
    TrainingError
        If the loss or a weight becomes infinite or undefined.
    """
    with signals.held():  # signals wait for a point to resume from; TensorFlow might also lose them
        validation = data.validation_dataset()
        validation = None if validation is None else batches(validation)
        first = done = 0
        metrics: dict[str, float] = {}
        resumed = sink.resumed
        if resumed is not None:
            snapshot.restore(model, resumed.arrays)
            first, done = resumed.epoch, resumed.batch
            metrics = dict(resumed.history[-1]) if resumed.history else {}
            if resumed.over:
                return first, metrics
        for epoch in range(first, epochs):
            began = time.perf_counter()
            stream = batches(data.train_dataset(epoch))
            earlier = resumed.arrays if resumed is not None and done else None
            history = fit(
                stream.skip(done) if done else stream,
                initial_epoch=epoch,
                epochs=epoch + 1,
                validation_data=validation,
                callbacks=[_batch_reports(sink, data, epochs, done, earlier)],
                verbose=0,
            )
            logs = {name: values[-1] for name, values in history.history.items()}
            n_samples = data.spec.n_train - done * data.batch_size
            metrics = epoch_metrics(logs, time.perf_counter() - began, n_samples)
            require_finite({weight.name: weight.numpy() for weight in model.weights}, f"after epoch {epoch + 1}")
            progress = FitProgress(epoch + 1, epochs, metrics)
            if sink.epoch_end(progress, functools.partial(snapshot.take, model, midway=False)):
                return epoch + 1, metrics
            done = 0
    return epochs, metrics


_LAST_BATCHES = 2
"""Number of last batches of an epoch after which no process can resume within the epoch. Keras takes an epoch's
metrics from its last batch, and a resumed process adds the earlier sums only after its first batch."""


def _batch_reports(
    sink: CallbackSink, data: DataModule, epochs: int, done: int, earlier: Mapping[str, NDArray[Any]] | None
) -> Any:
    """Return the Keras callback that reports batches to ``sink``, and stops the training if it diverges.

    An earlier process trained the first ``done`` batches of the epoch, and left its running metrics in ``earlier``.
    """
    n_batches = steps_per_epoch(data)

    class BatchReports(import_tf_keras().callbacks.Callback):  # type: ignore[misc]  # Keras is imported at run time
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 0 and earlier is not None:
                snapshot.add_metrics(self.model, earlier)
            batch += done
            loss = (logs or {}).get("loss", 0.0)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {self.epoch + 1}, batch {batch + 1}: lower "
                    "training.learning_rate, or scale the inputs down (data.scaling)"
                )
            samples_done = min((batch + 1) * data.batch_size, data.spec.n_train)
            resumable = batch + 1 <= n_batches - _LAST_BATCHES
            arrays = functools.partial(snapshot.take, self.model, midway=True) if resumable else None
            sink.batch_end(BatchProgress(self.epoch, epochs, batch, n_batches, samples_done), arrays)

    return BatchReports()
