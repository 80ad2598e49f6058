"""Whether a converted network computes what its Keras model does, seen with rates in place of spikes.

Axes: b = sample, n = neuron, c = class.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConversionError
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.frameworks.keras_graph import functional, nodes
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.protocols import Simulator
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import Rates

if TYPE_CHECKING:
    import tf_keras

FEW = 4
"""Samples that a network is held against its model with."""

TOLERANCE = 1e-3
"""How far an output may be off, of the largest of its layer: single precision is some 1e-5 off."""

_OF_HALF_PRECISION = 2e-2
"""The same of a model that computes in 16 bits."""


def require_same_rates(
    network: SpikingNetwork,
    model: "tf_keras.Model | NativeNetwork",
    samples: NDArray[np.float32],
    simulator: Simulator,
) -> None:
    """Raise `ConversionError` where a converted network is not the model that it stands for.

    Parameters
    ----------
    network
        It is looked at where it has ``rectifiers``: where a conversion promises the model's own outputs.
    model
        That was converted.
    samples
        A few, shape ``(b, ...)``.
    simulator
        Whose way through the network is taken; where it has no ``rates``, its reference's.
    """
    if problem := difference(network, model, samples, simulator):
        raise ConversionError(
            f"the converted network does not compute what the model does: {problem}. Its figures would be wrong: build "
            "the layer in another way, and please report it with the model's layers"
        )


def difference(
    network: SpikingNetwork,
    model: "tf_keras.Model | NativeNetwork",
    samples: NDArray[np.float32],
    simulator: Simulator,
) -> str:
    """Return where a converted network first differs from its model; empty where it does not. Parameters as above."""
    if not network.rectifiers or isinstance(model, NativeNetwork):
        return ""
    whose: Any = simulator if hasattr(simulator, "rates") else simulator.reference()
    graph = functional(model)
    expected, given = _activations(graph, network, samples), whose.rates(network, samples)
    through = type(whose).__name__.removesuffix("Simulator")
    half = any("16" in str(layer.compute_dtype) for layer in graph.layers)
    allowed = _OF_HALF_PRECISION if half else TOLERANCE
    before: set[str] = set()
    for name, ours, theirs in _pairs(network, given, expected):
        off = _off(ours, theirs)
        if off > allowed:
            where = " or ".join(_between(graph, name, before))
            return (
                f"with rates in place of spikes, what it makes of {where} differs by {100 * off:.3g} % of the largest "
                f"output there (through {through}, {len(samples)} samples; at most {100 * allowed:g} % may come of "
                "rounding)"
            )
        before.add(name)
    return ""


def _activations(graph: "tf_keras.Model", network: SpikingNetwork, samples: NDArray[np.float32]) -> Rates:
    """Return the model's own outputs of the layers that become neurons, and its logits."""
    pooled = _with_average_pooling(graph, network)
    names = [layer.name for layer in network.layers]
    inner = import_tf_keras().Model(pooled.inputs, [*(pooled.get_layer(n).output for n in names), *pooled.outputs])
    *layers, logits = inner.predict_on_batch(samples) if names else [inner.predict_on_batch(samples)]
    scaled = {
        layer.name: layer.as_scaled(np.reshape(of_layer, (len(samples), -1)))
        for layer, of_layer in zip(network.layers, layers, strict=True)
    }
    return Rates(scaled, logits)


def _with_average_pooling(graph: "tf_keras.Model", network: SpikingNetwork) -> "tf_keras.Model":
    """Return the model with the average pooling that conversion was asked to make of its max pooling."""
    assert network.keras_model is not None
    made = {layer.name: layer for layer in network.keras_model.layers if "AveragePooling" in type(layer).__name__}
    changed = {layer.name for layer in graph.layers if "MaxPooling" in type(layer).__name__ and layer.name in made}
    if not changed:
        return graph

    def clone(layer: Any) -> Any:
        kept = made[layer.name] if layer.name in changed else layer
        return type(kept).from_config(kept.get_config())

    model = import_tf_keras().models.clone_model(graph, clone_function=clone)
    model.set_weights(graph.get_weights())
    return model


def _pairs(network: SpikingNetwork, given: Rates, expected: Rates) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    for layer in network.layers:
        yield layer.name, given.layers[layer.name], expected.layers[layer.name]
    yield "", given.output, expected.output


def _off(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Return the largest difference, of the largest value; infinite where one of them is no number."""
    a, b = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (ours, theirs))
    if a.shape != b.shape or not np.all(np.isfinite(a) & np.isfinite(b)):
        return np.inf
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))


def _between(graph: "tf_keras.Model", name: str, before: set[str]) -> list[str]:
    """Return the layers from those that are right to the one that is not: its own inputs, back to neurons."""
    producers = {id(node.outputs): node for node in nodes(graph)}
    last = next(n for n in producers.values() if (n.layer.name == name if name else n.outputs is graph.outputs[0]))
    between, open_nodes = [], [last]
    while open_nodes:
        node = open_nodes.pop()
        if node.layer.name in before or type(node.layer).__name__ == "InputLayer" or node in between:
            continue
        between.append(node)
        open_nodes += [producers[id(tensor)] for tensor in node.keras_inputs]
    return [f"{node.layer.name!r} ({type(node.layer).__name__})" for node in reversed(between)]
