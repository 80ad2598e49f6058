"""Training with plain Keras."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import TrainingError
from snnpipe.frameworks.compat import import_tensorflow, import_tf_keras
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.protocols import CallbackSink, DataModule
from snnpipe.training.class_weights import weight_of_each_class
from snnpipe.training.loop import (
    FitSettings,
    accuracy,
    fit_epochs,
    logits_loss,
    penalised_layers,
    rate_penalty,
    steps_per_epoch,
    weights_of,
)
from snnpipe.training.optimizer import check_excluded
from snnpipe.values.checkpoint import Checkpoint

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True, kw_only=True)
class KerasTraining(FitSettings):
    """Compiles the model and fits it on the stream of batches. The parameters are those of `FitSettings`."""

    def check(self, model: "tf_keras.Model | NativeNetwork") -> None:
        """Raise `ConfigError` if a setting does not fit the model, and `TrainingError` for a native network."""
        if isinstance(model, NativeNetwork):
            raise TrainingError(
                "training=keras trains Keras models, and this network is written in Nengo: take training=nengo_dl"
            )
        self.make_optimizer()
        check_excluded(self.weight_decay_exclude or (), model)
        penalised_layers(self.regularizer, model)

    def fit(self, model: "tf_keras.Model", data: DataModule, callbacks: CallbackSink) -> Checkpoint:
        """Train ``model`` in place and return its weights.

        Raises
        ------
        TrainingError
            If the loss or a weight becomes infinite or undefined.
        """
        tensorflow, keras = import_tensorflow(), import_tf_keras()
        penalised = penalised_layers(self.regularizer, model)
        trained = keras.Model(model.inputs, [*model.outputs, *(model.get_layer(n).output for n in penalised)])
        logits, *rates = trained.output_names
        losses = {logits: logits_loss(self.loss, data.spec.n_classes)}
        losses |= {
            output: rate_penalty(self.regularizer, scale)
            for output, scale in zip(rates, penalised.values(), strict=True)
        }
        weights = {output: 1.0 if output == logits else self.regularizer.weight for output in losses}
        trained.compile(
            optimizer=self.make_optimizer(steps_per_epoch(data)),
            loss=losses,
            loss_weights=weights,
            metrics={logits: [accuracy()]},
        )

        class_weights = weight_of_each_class(self.class_weights, data.spec)

        def targets(samples: Any, labels: Any, *sample_weights: Any) -> Any:
            wanted = {logits: labels} | dict.fromkeys(rates, tensorflow.zeros_like(labels))
            of_losses = weights_of(class_weights, labels, sample_weights)
            return (samples, wanted) if of_losses is None else (samples, wanted, {logits: of_losses})

        epochs, metrics = fit_epochs(
            trained.fit, trained, data, lambda stream: stream.map(targets), self.epochs, callbacks
        )
        return Checkpoint.of(model, epochs, metrics)
