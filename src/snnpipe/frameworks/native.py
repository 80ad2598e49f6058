"""Lets a run use a network written in Nengo as a model: it has weights, and it gives the logits of an ANN.

The ANN is the network's rate approximation, which is also what NengoDL trains: a single step, no synapses, and
each spiking neuron's rate in place of its spikes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ModelError, one_line
from snnpipe.frameworks.compat import import_nengo_dl, import_tensorflow, without_build_notes

if TYPE_CHECKING:
    import nengo

_LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Weight:
    """A parameter of a network and its present value."""

    name: str
    value: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.value.shape

    def numpy(self) -> NDArray[Any]:
        """Return the value."""
        return self.value


@dataclass(frozen=True, eq=False)
class RateSimulator:
    """A network's rate approximation in NengoDL.

    Attributes
    ----------
    simulator
        The ``nengo_dl.Simulator``.
    image, logits
        Names of the network's input and output in the simulator.
    constants
        Values of the network's other inputs by name: nodes whose output is the same at each step.
    """

    simulator: Any
    image: str
    logits: str
    constants: dict[str, NDArray[np.float32]]


class NativeNetwork:
    """A network written in Nengo, for an architecture's ``build`` to return.

    It may contain anything that NengoDL runs. The fast simulators run it too if it consists only of neurons, of direct
    connections between them (``ensemble.neurons``), and of Keras layers (``nengo_dl.Layer``).

    Parameters
    ----------
    network
        The network. If it has no seed, it gets one from NumPy's global generator.
    input
        Its input node, one value for each value of a sample.
    output
        Probe on its output, one value per class. A synapse on it filters the output when the network spikes.

    Raises
    ------
    ModelError
        If the input or the output does not belong to this network, or if it contains a Keras layer that acts
        differently in training and in testing.
    """

    def __init__(self, network: "nengo.Network", input: "nengo.Node", output: "nengo.Probe"):
        nengo_dl = import_nengo_dl()
        tf = import_tensorflow()
        if input not in network.all_nodes or input.size_in or callable(input.output):
            raise ModelError(
                f"model: {input} is no input node of the network: give a nengo.Node(numpy.zeros(n)), with n "
                "values in a sample"
            )
        if output not in network.all_probes:
            raise ModelError(f"model: {output} is no probe of the network: give a nengo.Probe on its output")
        if network.seed is None:
            network.seed = int(np.random.randint(_LARGEST_SEED))
        for node in network.all_nodes:
            layer = getattr(node, "tensor_func", None)
            if not isinstance(layer, tf.keras.layers.Layer):
                continue
            if layer._expects_training_arg:
                raise ModelError(
                    f"model: the Keras layer {layer.name!r} ({type(layer).__name__}) acts otherwise in training than "
                    "in testing, which NengoDL cannot tell apart from spiking: leave it out"
                )
            if not layer.built:
                with tf.name_scope(layer.name):
                    layer.build((None, *node.shape_in))
        self.network = network
        self.input = input
        self.output = output
        self.name = network.label or "native"
        self._nengo_dl = nengo_dl
        self._predictor: tuple[int, Callable[[NDArray[np.float32]], NDArray[np.float32]]] | None = None

    @property
    def input_shape(self) -> tuple[None, int]:
        """Shape of a batch of samples, flattened."""
        return None, int(self.input.size_out)

    @property
    def output_shape(self) -> tuple[None, int]:
        """Shape of a batch of logits."""
        return None, int(self.output.size_in)

    # ------------------------------------------------------------------ weights

    @property
    def weights(self) -> list[Weight]:
        """All parameters that NengoDL knows: those of Keras layers, and those of Nengo's own objects."""
        with self.rates(1) as rates:
            return [Weight(w.name, w.numpy()) for w in rates.simulator.keras_model.weights]

    def set_weights(self, values: Sequence[NDArray[Any]]) -> None:
        """Set every parameter, in the order of ``weights``."""
        with self.rates(1) as rates:
            rates.simulator.keras_model.set_weights(values)
            self.keep(rates)

    def keep(self, rates: RateSimulator) -> None:
        """Copy a simulator's parameters to the network. Keras layers share theirs already."""
        rates.simulator.freeze_params(self.network)
        self._predictor = None

    # ------------------------------------------------------------------ as an ANN

    def predict_on_batch(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits of the rate approximation, shape ``(b, c)``, for samples of shape ``(b, ...)``."""
        if self._predictor is None or self._predictor[0] < len(images):
            with self.rates(len(images)) as rates:
                predict = self._compiled(rates, len(images))
            self._predictor = len(images), predict
        size, predict = self._predictor
        flat = np.zeros((size, 1, self.input.size_out), np.float32)
        flat[: len(images), 0] = images.reshape(len(images), -1)
        return predict(flat)[: len(images)]

    def _compiled(self, rates: RateSimulator, size: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """Return a function from images of shape ``(size, 1, n)`` to logits. It works after the simulator is closed."""
        model = rates.simulator.keras_model
        others: dict[str, Any] = {name: np.tile(value, (size, 1, 1)) for name, value in rates.constants.items()}
        others["n_steps"] = np.ones((size, 1), np.int32)

        def predict(flat_b1n: NDArray[np.float32]) -> NDArray[np.float32]:
            outputs = model.predict_on_batch({rates.image: flat_b1n, **others})
            return np.asarray(dict(zip(model.output_names, outputs, strict=True))[rates.logits][:, 0])

        predict(np.zeros((size, 1, self.input.size_out), np.float32))  # the first call fixes rates in place of spikes
        return predict

    @contextmanager
    def rates(self, minibatch_size: int) -> Iterator[RateSimulator]:
        """Open the rate approximation in NengoDL. Afterwards the network is as it was before.

        Raises
        ------
        ModelError
            If NengoDL cannot build it.
        """
        import nengo

        network = self.network
        with ExitStack() as undo:
            for connection in network.all_connections:
                if connection.synapse is not None:
                    undo.callback(setattr, connection, "synapse", connection.synapse)
                    connection.synapse = None
            with network:
                self._nengo_dl.configure_settings(learning_phase=True, dtype="float32")
                output = nengo.Probe(self.output.target, synapse=None)
                undo.callback(self._end_rates, output)
            try:
                with without_build_notes():
                    simulator = self._nengo_dl.Simulator(network, minibatch_size=minibatch_size, progress_bar=False)
            except Exception as error:
                raise ModelError(
                    f"model: NengoDL cannot build the network's rate approximation, one step without synapses: "
                    f"{one_line(error)}"
                ) from error
            undo.callback(simulator.close)
            constants = {
                simulator.get_name(node): np.asarray(node.output, np.float32)
                for node in simulator.node_inputs
                if node is not self.input
            }
            yield RateSimulator(simulator, simulator.get_name(self.input), simulator.get_name(output), constants)

    def _end_rates(self, output: "nengo.Probe") -> None:
        self.network.probes.remove(output)
        with self.network:
            self._nengo_dl.configure_settings(learning_phase=None)
