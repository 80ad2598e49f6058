"""The layers of neurons of a converted network as plain data: types, scales, synapses, rectifiers, initial states."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import BundleError, ConfigError
from snnpipe.conversion.layer_settings import LayerSettings
from snnpipe.frameworks.rectifiers import Rectifier
from snnpipe.neurons.plain import neuron_of, plain_neuron
from snnpipe.neurons.voltage import with_initial_state
from snnpipe.synapses import Synapse
from snnpipe.values.network import NeuronLayer, SpikingNetwork

if TYPE_CHECKING:
    import tf_keras

Arrays = Mapping[str, NDArray[Any]]

_STATE = "initial_state/"
FACTORS, OFFSETS = "channel_factors/", "bias_offsets/"
"""Beginnings of the names of arrays with a number for each channel of a layer."""


def plain_neurons(network: SpikingNetwork) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Return a converted network's layers of neurons, from input to output, and their arrays.

    Raises
    ------
    BundleError
        If a neuron type or a synapse is code and not plain data. The message names the layer.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for layer in network.layers:
        arrays |= {f"{_STATE}{layer.name}/{key}": values for key, values in layer.initial_state.items()}
        for prefix, values_c in ((FACTORS, layer.channel_factors_c), (OFFSETS, layer.bias_offset_c)):
            if values_c is not None:
                arrays[f"{prefix}{layer.name}"] = values_c
    return [_plain(layer, network.rectifiers[layer.name]) for layer in network.layers], arrays


def _plain(layer: NeuronLayer, rectifier: Rectifier) -> dict[str, Any]:
    try:
        neuron = plain_neuron(layer.neuron_type)
    except ConfigError as error:
        raise BundleError(f"layer {layer.name!r}: {error}") from error
    return {
        "layer": layer.name,
        "neuron": neuron,
        "scale_firing_rates": float(layer.scale_firing_rates),
        "synapse": _plain_synapse(layer),
        "rectifier": asdict(rectifier),
    }


def settings_of(neurons: Any, arrays: Arrays) -> dict[str, LayerSettings]:
    """Return the settings of the layers of neurons that `plain_neurons` has described, by name.

    Raises
    ------
    BundleError
        If something does not fit. The message names the layer.
    """
    if not isinstance(neurons, list) or not neurons or not all(isinstance(own, dict) for own in neurons):
        raise BundleError("it has no list of layers of neurons")
    settings: dict[str, LayerSettings] = {}
    for own in neurons:
        name = str(own.get("layer"))
        try:
            settings[name] = _settings(name, own, arrays)
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"neurons of layer {name!r}: {error}") from error
    if len(settings) < len(neurons):
        raise BundleError("a layer of neurons is described twice")
    return settings


def _settings(name: str, own: Mapping[str, Any], arrays: Arrays) -> LayerSettings:
    state = _below(f"{_STATE}{name}/", arrays)
    if any(values.ndim != 1 or not np.all(np.isfinite(values)) or not len(values) for values in state.values()):
        raise ValueError("its initial state must be one finite number for each neuron")
    scale = float(own["scale_firing_rates"])
    if not 0 < scale < np.inf:
        raise ValueError(f"got scale_firing_rates={scale}")
    neurons = with_initial_state(neuron_of(own["neuron"]), state)
    return LayerSettings(name, scale, _synapse_of(own["synapse"]), _rectifier_of(own["rectifier"]), neurons, "")


def of_channels(prefix: str, arrays: Arrays) -> dict[str, NDArray[np.float64]]:
    """Return the numbers of channels under a prefix (`FACTORS`, `OFFSETS`), by layer name, shape ``(c,)``."""
    return {name: values.astype(np.float64) for name, values in _below(prefix, arrays).items()}


def require_sizes(model: "tf_keras.Model", names: Iterable[str], arrays: Arrays) -> None:
    """Raise `BundleError` if a layer's arrays do not have one number for each neuron, or for each channel."""
    layers = {layer.name: layer for layer in model.layers}
    for name in names:
        if name not in layers:
            raise BundleError(f"neurons of layer {name[:100]!r}: there is no such layer")
        shape = tuple(layers[name].output_shape[1:])
        states = {values.shape for values in _below(f"{_STATE}{name}/", arrays).values()}
        by_channel = {arrays[key].shape for prefix in (FACTORS, OFFSETS) if (key := f"{prefix}{name}") in arrays}
        if states - {(prod(shape),)} or by_channel - {shape[-1:]}:
            raise BundleError(f"layer {name!r} of shape {shape}: its arrays have other sizes")


def _below(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)}


# ---------------------------------------------------------------------- synapses and rectifiers


def _plain_synapse(layer: NeuronLayer) -> Any:
    from nengo.synapses import Alpha, LinearFilter

    synapse = layer.synapse.nengo
    if synapse is None:
        return None
    if isinstance(synapse, (int, float)):
        return float(synapse)
    if type(synapse) is Alpha:
        return {"type": "Alpha", "tau": float(synapse.tau)}
    if type(synapse) is LinearFilter:
        num, den = (np.asarray(values, np.float64).tolist() for values in (synapse.num, synapse.den))
        return {"type": "LinearFilter", "num": num, "den": den, "analog": bool(synapse.analog)}
    raise BundleError(
        f"layer {layer.name!r}: the synapse {synapse} is code: take a time constant, nengo.Alpha or nengo.LinearFilter"
    )


def _synapse_of(plain: Any) -> Synapse:
    from nengo.synapses import Alpha, LinearFilter

    if plain is None or (isinstance(plain, (int, float)) and 0 <= plain < np.inf):
        return Synapse.of(plain)
    if isinstance(plain, dict) and plain.get("type") == "Alpha":
        return Synapse.of(Alpha(float(plain["tau"])))
    if isinstance(plain, dict) and plain.get("type") == "LinearFilter":
        num, den = ([float(value) for value in plain[key]] for key in ("num", "den"))
        return Synapse.of(LinearFilter(num, den, analog=bool(plain["analog"])))
    raise ValueError(f"got the synapse {str(plain)[:100]!r}")


def _rectifier_of(plain: Any) -> Rectifier:
    slope, limit, levels = (plain[key] for key in ("negative_slope", "max_value", "levels"))
    if levels is not None and not (isinstance(levels, int) and 0 < levels < 2**31):
        raise ValueError(f"got levels={levels!r}")
    return Rectifier(float(slope), None if limit is None else float(limit), levels)
