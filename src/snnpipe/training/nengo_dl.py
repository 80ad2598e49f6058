"""Training in NengoDL: with ``scale_firing_rates`` and a neuron type's own rate curve, or of a native network."""

import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError, TrainingError
from snnpipe.frameworks.compat import import_nengo_dl, import_tensorflow, without_build_notes
from snnpipe.frameworks.keras_graph import MAX_POOLING, functional, neuron_layers, nodes
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.protocols import CallbackSink, DataModule
from snnpipe.settings.domains import Neuron, Scale
from snnpipe.settings.per_layer import per_layer
from snnpipe.training.class_weights import weight_of_each_class
from snnpipe.training.loop import (
    PADDING,
    FitSettings,
    accuracy,
    fit_epochs,
    logits_loss,
    penalised_layers,
    rate_penalty,
    steps_per_epoch,
    weights_of,
)
from snnpipe.values.checkpoint import Checkpoint

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras


@dataclass(frozen=True, kw_only=True)
class NengoDLTraining(FitSettings):
    """Converts the model with NengoDL, trains it there, and brings the weights back; or trains a native network.

    A native network is trained by its rate approximation. It keeps its own neurons, and takes neither the parameters
    below nor a regularizer. The other parameters are those of `FitSettings`.

    Parameters
    ----------
    scale_firing_rates
        Factor on the neurons' input during training, with its inverse on their output; one number or one per layer.
        With ReLU, the two cancel in the forward pass.
    neuron
        Nengo neuron type whose rate approximation is trained; None keeps the model's ReLU.
    """

    scale_firing_rates: Scale = 1.0
    neuron: Neuron = None

    def check(self, model: "tf_keras.Model | NativeNetwork") -> None:
        """Raise `TrainingError` if NengoDL cannot train one of the model's layers. The error names the layer."""
        import_nengo_dl()
        if self.weight_decay_exclude:
            raise ConfigError(
                f"training.weight_decay_exclude: got {list(self.weight_decay_exclude)!r}, and training=nengo_dl cannot "
                "leave weights out, because NengoDL merges them: take null, or training=keras"
            )
        if isinstance(model, NativeNetwork):
            self._check_native()
            self.make_optimizer()
            return
        from nengo_dl.converter import Converter

        model = functional(model)
        settings = SimpleNamespace(inference_only=False, max_to_avg_pool=False)
        for layer in (node.layer for node in nodes(model)):
            converter = Converter.converters.get(type(layer))
            ok, why = (
                (False, "NengoDL does not know it") if converter is None else converter.convertible(layer, settings)
            )
            why = "NengoDL has no max pooling" if type(layer).__name__ in MAX_POOLING else why
            if not ok:
                raise TrainingError(
                    f"training=nengo_dl cannot train layer {layer.name!r} ({type(layer).__name__}): {why}; "
                    "use training=keras, whose result is converted all the same, or leave the layer out of the model"
                )
        names = [layer.name for layer in neuron_layers(model)]
        per_layer(self.scale_firing_rates, names, 1.0, "training.scale_firing_rates")
        penalised_layers(self.regularizer, model)
        self.make_optimizer()

    def _check_native(self) -> None:
        import nengo

        problems = []
        if self.scale_firing_rates != 1:
            problems.append(
                f"training.scale_firing_rates: got {self.scale_firing_rates}, but a native network has gains of its "
                "own: take 1"
            )
        if self.neuron and type(self.neuron) is not nengo.RectifiedLinear:
            problems.append(
                f"training.neuron: got {type(self.neuron).__name__}, but a native network is trained with the neurons "
                "that are in it: take null"
            )
        if self.regularizer:
            problems.append(
                f"training.regularizer: got {type(self.regularizer).__name__}, which a native network does not take: "
                "take none"
            )
        if problems:
            raise ConfigError(*problems)

    def fit(self, model: "tf_keras.Model | NativeNetwork", data: DataModule, callbacks: CallbackSink) -> Checkpoint:
        """Train ``model`` in place and return its weights.

        Raises
        ------
        TrainingError
            If NengoDL cannot train one of the layers, or the loss becomes infinite or undefined.
        """
        self.check(model)
        if isinstance(model, NativeNetwork):
            return self._fit_native(model, data, callbacks)
        nengo_dl = import_nengo_dl()
        import nengo

        if self.neuron and not isinstance(self.neuron, nengo.RectifiedLinear):
            warnings.warn(
                f"training with {type(self.neuron).__name__}: the ANN that the spiking network is compared with still "
                "has ReLUs, which its weights were not trained for: compare with fit/accuracy instead",
                stacklevel=2,
            )
        graph = functional(model)
        layers = {layer.name: layer for layer in neuron_layers(graph)}
        scales = per_layer(self.scale_firing_rates, list(layers), 1.0, "training.scale_firing_rates")
        penalised = penalised_layers(self.regularizer, graph)
        converter = nengo_dl.Converter(
            graph,
            allow_fallback=False,
            scale_firing_rates={layers[name]: scale for name, scale in scales.items()},
            swap_activations={nengo.RectifiedLinear(): self.neuron} if self.neuron else None,
        )
        converter.net.seed = data.spec.n_train  # any seed: the initial weights are those of the Keras model
        output = converter.outputs[graph.outputs[0]]
        with converter.net:
            # validation, too, measures the trained rates and not one step of spikes
            nengo_dl.configure_settings(learning_phase=True)
            rates = {name: nengo.Probe(converter.layers[layers[name].output]) for name in penalised}

        with (
            without_build_notes(),
            nengo_dl.Simulator(converter.net, minibatch_size=data.batch_size, progress_bar=False) as simulator,
        ):
            input_name = simulator.get_name(converter.inputs[graph.inputs[0]])
            biases = {
                simulator.get_name(n): np.ones(n.size_out, np.float32)
                for n in simulator.node_inputs
                if simulator.get_name(n) != input_name
            }
            rates_of = {simulator.get_name(probe): penalised[name] for name, probe in rates.items()}
            epochs, metrics = self._train(
                simulator, input_name, biases, simulator.get_name(output), rates_of, data, callbacks
            )
            trained = _trained_weights(simulator, converter, graph, scales)
        for layer in graph.layers:
            if layer.name in trained:
                layer.set_weights(trained[layer.name])
        return Checkpoint.of(model, epochs, metrics)

    def _fit_native(self, model: NativeNetwork, data: DataModule, callbacks: CallbackSink) -> Checkpoint:
        with model.rates(data.batch_size) as rates:
            epochs, metrics = self._train(
                rates.simulator, rates.image, rates.constants, rates.logits, {}, data, callbacks
            )
            model.keep(rates)
        return Checkpoint.of(model, epochs, metrics)

    def _train(
        self,
        simulator: Any,
        input_name: str,
        constants: dict[str, NDArray[np.float32]],
        logits: str,
        penalised: dict[str, float],
        data: DataModule,
        callbacks: CallbackSink,
    ) -> tuple[int, dict[str, float]]:
        """Train the contents of a simulator. Inputs and outputs are given by their names there."""
        losses = {logits: logits_loss(self.loss, data.spec.n_classes)}
        losses |= {name: rate_penalty(self.regularizer, scale) for name, scale in penalised.items()}
        simulator.compile(
            optimizer=self.make_optimizer(steps_per_epoch(data)),
            loss=losses,
            loss_weights={name: 1.0 if name == logits else self.regularizer.weight for name in losses},
            metrics={logits: [accuracy()]},
        )

        class_weights = weight_of_each_class(self.class_weights, data.spec)

        def batches(stream: "tf.data.Dataset") -> "tf.data.Dataset":
            return stream.map(
                _for_nengo_dl(data.batch_size, input_name, constants, logits, list(penalised), class_weights)
            )

        return fit_epochs(simulator.fit, simulator.keras_model, data, batches, self.epochs, callbacks)


def _for_nengo_dl(
    batch_size: int,
    input_name: str,
    constants: dict[str, NDArray[np.float32]],
    logits: str,
    rates: list[str],
    class_weights: NDArray[np.float32] | None,
) -> Any:
    """Return a function that converts a batch ``(samples, labels)`` to the form that NengoDL's Keras model takes.

    NengoDL needs one time step, its constant inputs (a bias is a weight on a constant 1), and the same number of
    samples in each batch. A short batch is filled up with samples of weight 0. The weight of the other samples is
    raised, so that the mean over the batch stays the mean over its real samples. The weights of samples and classes
    apply to the logits' loss alone.
    """
    tf = import_tensorflow()

    def convert(samples: Any, labels: Any, *sample_weights: Any) -> Any:
        real = tf.shape(samples)[0]
        missing = batch_size - real
        flat = tf.reshape(samples, (real, int(np.prod(samples.shape[1:]))))
        filled_up = tf.pad(flat, [[0, missing], [0, 0]])[:, None]
        inputs = {input_name: tf.ensure_shape(filled_up, (batch_size, 1, flat.shape[1]))}
        inputs |= {name: tf.tile(value[None, None], (batch_size, 1, 1)) for name, value in constants.items()}
        inputs["n_steps"] = tf.ones((batch_size, 1), tf.int32)

        def filled(weight: Any) -> Any:
            return tf.ensure_shape(tf.pad(weight, [[0, missing]]), (batch_size,))

        weight = tf.fill((real,), tf.cast(batch_size / real, tf.float32))
        own = weights_of(class_weights, labels, sample_weights)
        weights = dict.fromkeys(rates, filled(weight)) | {logits: filled(weight if own is None else weight * own)}
        labels = tf.pad(labels, [[0, missing]], constant_values=PADDING)[:, None, None]
        labels = tf.ensure_shape(labels, (batch_size, 1, 1))
        return inputs, dict.fromkeys([logits, *rates], labels), weights

    return convert


def _trained_weights(
    simulator: Any, converter: Any, model: "tf_keras.Model", scales: dict[str, float]
) -> dict[str, list[np.ndarray]]:
    """Return each Keras layer's weights after training in NengoDL.

    A kernel is the transform of the trainable connection into the layer's object. The bias of a dense layer of neurons
    is the bias of its ensemble, which includes the scale. Any other bias is the transform of the connection from the
    layer's bias node.
    """
    import nengo

    connections = converter.net.all_connections
    trained = {}
    for layer in model.layers:
        if not layer.weights:
            continue
        target = converter.layers[layer.output]
        label = f"{layer.name}.0.bias"
        kernel = next(
            simulator.data[c].weights
            for c in connections
            if c.post_obj is target and converter.net.config[c].trainable and getattr(c.pre_obj, "label", None) != label
        )
        dense = type(layer).__name__ == "Dense"
        weights = [kernel.T if dense else kernel]
        if layer.use_bias:
            if dense and isinstance(target, nengo.ensemble.Neurons):
                weights.append(simulator.data[target.ensemble].bias / scales[layer.name])
            else:
                source = next(c for c in connections if getattr(c.pre_obj, "label", None) == label)
                weights.append(simulator.data[source].weights[:, 0])
        trained[layer.name] = [np.asarray(w, np.float32) for w in weights]
    return trained
