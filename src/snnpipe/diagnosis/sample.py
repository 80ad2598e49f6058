"""A sample of the test images, on which a diagnosis is made.

Axes: b = image of the sample, n = neuron.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import SimulationError
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.frameworks.keras_graph import functional
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.batches import read_out
from snnpipe.metrics.passes import SpikingPass
from snnpipe.metrics.readout import classes
from snnpipe.protocols import OpenSimulator, Simulator
from snnpipe.simulators.auto import AutoSimulator
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import SignalEncoder, SimulationChunk, SimulationSettings

if TYPE_CHECKING:
    import tf_keras

_Watch = Callable[[int, SimulationChunk], None]
"""A function that receives the number of a batch and each chunk of its simulation."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample of the test inputs, in batches, with the ANN's results for them.

    Attributes
    ----------
    batches
        Numbers and values of each batch's inputs.
    labels
        Class of each input.
    ann_right
        Whether the ANN classifies each input correctly.
    activations
        The ANN's activations by layer, for each batch.
    word
        Word for one input.
    """

    batches: list[tuple[range, NDArray[np.float32]]]
    labels: NDArray[np.int64]
    ann_right: NDArray[np.bool_]
    activations: list[dict[str, NDArray[np.float32]]]
    word: str

    def right(
        self,
        network: SpikingNetwork,
        simulator: Simulator,
        encoder: SignalEncoder,
        watch: _Watch | None = None,
    ) -> NDArray[np.bool_]:
        """Return whether a network classifies each image correctly after the last step, shape ``(b,)``."""
        predicted = []
        simulator = simulator.with_settings(max_images=len(self.labels))
        with _opened(simulator, network, encoder.constant) as opened:
            for i, (readout, chunks) in enumerate(read_out(opened, simulator, encoder, self.batches)):
                for chunk in chunks:
                    scores = readout.scores(chunk)
                    if watch is not None:
                        watch(i, chunk)
                predicted.append(classes(scores[:, -1]))
        return np.asarray(np.concatenate(predicted) == self.labels)


def sample_of(images: SpikingPass, model: "tf_keras.Model | NativeNetwork", wanted: int) -> Sample:
    """Return the sample of the first test images, at most ``wanted`` of them."""
    n = min(wanted, images.n_images)
    batches, labels, predicted, activations = [], [], [], []
    predict = activations_of(model, images.network)
    for ids, of_batch, their_labels in images.batches(min(images.at_once, n), n):
        batches.append((ids, of_batch))
        labels.append(their_labels)
        predicted.append(np.argmax(model.predict_on_batch(of_batch), axis=-1))
        activations.append(predict(of_batch))
    together = np.concatenate(labels)
    return Sample(batches, together, np.concatenate(predicted) == together, activations, images.data.spec.sample_word)


def activations_of(
    model: "tf_keras.Model | NativeNetwork", network: SpikingNetwork
) -> Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Return a function from images to the ANN's activations, shape ``(b, n)``, in the layers that a network shares."""
    if isinstance(model, NativeNetwork):
        return lambda images: {}
    graph = functional(model)
    there = {layer.name: layer for layer in graph.layers}
    layers = [own for own in network.layers if own.name in there]
    names = [own.name for own in layers]
    if not names:
        return lambda images: {}
    inner = import_tf_keras().Model(graph.inputs, [there[name].output for name in names])

    def predict(images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        outputs = inner.predict_on_batch(images)
        outputs = outputs if len(names) > 1 else [outputs]
        flat = (values.reshape(len(images), -1) for values in outputs)
        return {own.name: own.as_scaled(values) for own, values in zip(layers, flat, strict=True)}

    return predict


@contextmanager
def _opened(simulator: Simulator, network: SpikingNetwork, constant: bool) -> Iterator[OpenSimulator]:
    """Open a network for simulation, with `AutoSimulator` if the run's simulator does not accept it."""
    try:
        opened = simulator.open(network, constant)
    except SimulationError:
        settings = settings_of(simulator)
        opened = AutoSimulator(**settings.shared).open(network, constant)
    with opened:
        yield opened


def settings_of(simulator: Simulator) -> SimulationSettings:
    """Return those settings of a simulator that every simulator has."""
    return SimulationSettings(**{f.name: getattr(simulator, f.name) for f in fields(SimulationSettings)})
