"""Checks that a converted network computes the same as its Keras model, with rates in place of spikes.

Axes: b = sample, n = neuron, c = class.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConversionError
from snnpipe.conversion.bias_offsets import activations
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.frameworks.keras_graph import functional, nodes
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.protocols import Simulator
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import Rates

if TYPE_CHECKING:
    import tf_keras

FEW = 4
"""Number of samples on which a network is compared with its model."""

TOLERANCE = 1e-3
"""Largest error of an output, relative to the largest output of its layer. Single precision causes about 1e-5."""

_OF_HALF_PRECISION = 2e-2
"""Largest error if the model computes in 16 bits."""

_FINE = 2**20
"""Number of steps of a quantised rectifier that is as good as continuous here."""


def require_same_rates(
    network: SpikingNetwork,
    model: "tf_keras.Model | NativeNetwork",
    samples: NDArray[np.float32],
    simulator: Simulator,
) -> None:
    """Raise `ConversionError` if a converted network does not compute the same as its model.

    Parameters
    ----------
    network
        Converted network. It is checked only if it has ``rectifiers``, which promise the model's own outputs.
    model
        Model that was converted.
    samples
        A few samples, shape ``(b, ...)``.
    simulator
        Simulator whose ``rates`` are used, or its reference's if it has none.
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
    """Return where a converted network first differs from its model; empty if it does not.

    The parameters are those of `require_same_rates`. Quantised rectifiers are compared without their steps: a value
    between two steps takes either of them, as rounding has it.
    """
    if not network.rectifiers or isinstance(model, NativeNetwork):
        return ""
    whose: Any = simulator if hasattr(simulator, "rates") else simulator.reference()
    graph, network = functional(model), _continuous(network)
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
    """Return the model's own outputs of the layers that become neurons, and its logits.

    If currents have offsets, the model's rectifiers get these added to their input.
    """
    model = _comparable(graph, network)
    names = [layer.name for layer in network.layers]
    if network.bias_offsets:
        outputs, logits = activations(model, samples, network.bias_offsets)
        return Rates(_scaled(network, [outputs[name] for name in names]), logits)
    inner = import_tf_keras().Model(model.inputs, [*(model.get_layer(n).output for n in names), *model.outputs])
    *layers, logits = inner.predict_on_batch(samples) if names else [inner.predict_on_batch(samples)]
    return Rates(_scaled(network, layers), logits)


def _scaled(network: SpikingNetwork, outputs: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of the model's layers in the units of the network's."""
    pairs = zip(network.layers, outputs, strict=True)
    return {layer.name: layer.as_scaled(of_layer.reshape(len(of_layer), -1)) for layer, of_layer in pairs}


def _continuous(network: SpikingNetwork) -> SpikingNetwork:
    """Return the network with rectifiers without steps."""
    return replace(network, rectifiers={name: replace(own, levels=None) for name, own in network.rectifiers.items()})


def _comparable(graph: "tf_keras.Model", network: SpikingNetwork) -> "tf_keras.Model":
    """Return the model with average pooling where the conversion put it for max pooling, and with fine steps."""
    assert network.keras_model is not None
    made = {layer.name: layer for layer in network.keras_model.layers if "AveragePooling" in type(layer).__name__}
    changed = {layer.name for layer in graph.layers if "MaxPooling" in type(layer).__name__ and layer.name in made}
    quantised = {layer.name for layer in graph.layers if type(layer).__name__ == "QuantisedReLU"}
    if not changed | quantised:
        return graph

    def clone(layer: Any) -> Any:
        kept = made[layer.name] if layer.name in changed else layer
        finer = {"levels": _FINE} if layer.name in quantised else {}
        return type(kept).from_config(kept.get_config() | finer)

    model = import_tf_keras().models.clone_model(graph, clone_function=clone)
    model.set_weights(graph.get_weights())
    return model


def _pairs(network: SpikingNetwork, given: Rates, expected: Rates) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    for layer in network.layers:
        yield layer.name, given.layers[layer.name], expected.layers[layer.name]
    yield "", given.output, expected.output


def _off(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Return the largest difference relative to the largest expected value; infinite if a value is not finite."""
    a, b = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (ours, theirs))
    if a.shape != b.shape or not np.all(np.isfinite(a) & np.isfinite(b)):
        return np.inf
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))


def _between(graph: "tf_keras.Model", name: str, before: set[str]) -> list[str]:
    """Return the layers from the last correct ones, which are left out, to the layer that differs."""
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
