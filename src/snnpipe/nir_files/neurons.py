"""Layers of neurons as nodes of NIR, and nodes as layers of neurons.

A spike in a file is a 1 in one step. ``IF`` adds its input to its voltage in each step, because ``r`` times the length
of a step is 1; ``LIF`` relaxes to its input. Both have a threshold of 1 above their first voltage. The metadata of a
node have what NIR has no words for: a reset by subtraction, a limit of spikes in a step, the first voltage of ``IF``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import BundleError
from snnpipe.frameworks.rectifiers import Rectifier
from snnpipe.neurons.amplitude import amplitude_of
from snnpipe.neurons.table import name_of
from snnpipe.neurons.voltage import with_initial_state
from snnpipe.nir_files.layout import channels_first
from snnpipe.synapses import NO_SYNAPSE, Synapse
from snnpipe.values.network import NeuronLayer

if TYPE_CHECKING:
    import nengo

SUBTRACT = "subtract"
_UNLIMITED = -1e30
"""A lowest voltage that is never reached."""
_SAME = 1e-9
_CURE = "convert with neuron=IntegrateAndFire() (neuron=integrate_and_fire)"


# ---------------------------------------------------------------------- to NIR


@dataclass(frozen=True, eq=False)
class WrittenNeurons:
    """A layer of neurons in the form of NIR.

    Attributes
    ----------
    nodes
        The neurons, then a filter or a delay if the layer has one.
    unsaid
        What NIR has no words for, so that only the metadata have it.
    """

    nodes: tuple[Any, ...]
    unsaid: tuple[str, ...]


def current_factor(layer: NeuronLayer, dt: float) -> float:
    """Return the factor that turns a layer's physical input into the input of its node."""
    import nengo

    return layer.scale_firing_rates * (1.0 if isinstance(layer.neuron_type, nengo.LIF) else dt)


def written(
    layer: NeuronLayer, rectifier: Rectifier, dt: float, step: float, order: NDArray[np.int64] | None
) -> WrittenNeurons:
    """Return a layer of neurons as nodes.

    Parameters
    ----------
    layer, rectifier
        The layer, and the rectifier that it stands for.
    dt
        Seconds per step.
    step
        Length of a step in the file's unit of time.
    order
        Order of the values of a flattened layer (`snnpipe.nir_files.layout.flat_order`); None for Keras's.

    Raises
    ------
    BundleError
        If NIR has no words for its neurons or its synapse. The message names the layer and a cure.
    """
    import nengo
    import nir

    from snnpipe.neurons.integrate_and_fire import IntegrateAndFire

    neuron: Any = layer.neuron_type
    shape = channels_first(layer.shape) if len(layer.shape) > 1 else layer.shape
    ones = np.ones(shape)
    voltage = _in_nir(layer.initial_state.get("voltage", np.zeros(layer.size)), layer.shape, order)
    own = {
        "scale_firing_rates": float(layer.scale_firing_rates),
        "amplitude": _base_amplitude(layer),
        "max_value": rectifier.max_value,
        "levels": rectifier.levels,
    }
    if type(neuron) is IntegrateAndFire:
        metadata, unsaid = _unsaid_by_if(neuron, voltage, dt)
        metadata["snnpipe"] = json.dumps(own)
        node = nir.IF(r=ones / step, v_threshold=ones, v_reset=0 * ones, metadata=metadata)
    elif type(neuron) is nengo.LIF:
        if neuron.tau_ref:
            raise BundleError(f"{_where(layer)}: NIR has no refractory time: take nengo.LIF(tau_ref=0)")
        if voltage.max() >= 1:
            raise BundleError(f"{_where(layer)}: a voltage before the first step is {voltage.max():g}, above threshold")
        metadata = {"snnpipe": json.dumps(own | {"min_voltage": float(neuron.min_voltage)})}
        unsaid = [f"the lowest voltage of {neuron.min_voltage:g}"] if neuron.min_voltage > _UNLIMITED else []
        # Other readers begin at 0: so all voltages are given from the one before the first step on.
        shifted = {"v_threshold": ones - voltage, "v_reset": -voltage, "v_leak": -voltage}
        node = nir.LIF(tau=ones * (neuron.tau_rc / dt * step), r=ones, metadata=metadata, **shifted)
    elif rectifier.negative_slope:
        raise BundleError(
            f"{_where(layer)}: NIR has no spikes below 0: train the model with ReLU in place of LeakyReLU"
        )
    else:
        why = (
            "NIR has no node for these neurons" if neuron.spiking else "it sends rates, and neurons of NIR send spikes"
        )
        raise BundleError(f"{_where(layer)}: {why}: {_CURE}")
    return WrittenNeurons((node, *_synapse(layer, dt, step, ones)), tuple(unsaid))


def _unsaid_by_if(neuron: Any, voltage: NDArray[np.float64], dt: float) -> tuple[dict[str, Any], list[str]]:
    """Return what NIR's IF cannot say, as metadata and in words."""
    metadata: dict[str, Any] = {"reset": SUBTRACT}
    unsaid = []
    most = neuron.most_spikes(dt)
    if most > 1:
        unsaid.append("several spikes in a step")
    if np.isfinite(most):
        metadata["max_spikes"] = int(most)
    if neuron.min_voltage is not None:
        metadata["min_voltage"] = float(neuron.min_voltage)
        unsaid.append(f"the lowest voltage of {neuron.min_voltage:g}")
    if np.any(voltage):
        same = np.all(voltage == voltage.flat[0])
        metadata["initial_voltage"] = float(voltage.flat[0]) if same else voltage
        unsaid.append(f"the voltage before the first step{f' of {voltage.flat[0]:g}' if same else ''}")
    return metadata, unsaid


def _synapse(layer: NeuronLayer, dt: float, step: float, ones: NDArray[np.float64]) -> list[Any]:
    import nir

    synapse: Any = layer.synapse.nengo
    if synapse is None:
        return []
    if layer.synapse.is_low_pass:
        return [nir.LI(tau=ones * (synapse / dt * step), r=ones, v_leak=0 * ones)]
    if (steps := _delay_of(synapse)) is not None:
        return [nir.Delay(delay=ones * (steps * step))]
    raise BundleError(f"{_where(layer)}: NIR has no words for the synapse {synapse}: take a time constant, or none")


def _delay_of(synapse: Any) -> int | None:
    """Return the number of steps that one of Nengo's synapses delays by; None if it does anything else."""
    from nengo.synapses import LinearFilter

    if type(synapse) is not LinearFilter or synapse.analog:
        return None
    num, den = np.trim_zeros(np.atleast_1d(synapse.num), "f"), np.atleast_1d(synapse.den)
    pure = len(num) == 1 and num[0] == den[0] and not np.any(den[1:])
    return len(den) - 1 if pure and len(den) > 1 else None


def _base_amplitude(layer: NeuronLayer) -> float:
    """Return the amplitude of the neurons before the conversion divided it by the scale."""
    amplitude = amplitude_of(layer.neuron_type) * layer.scale_firing_rates
    return 1.0 if abs(amplitude - 1) < _SAME else amplitude


def _in_nir(
    values_n: NDArray[np.float64], shape: tuple[int, ...], order: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    if len(shape) > 1:
        return np.ascontiguousarray(np.moveaxis(values_n.reshape(shape), -1, 0))
    return values_n if order is None else values_n[order]


def _where(layer: NeuronLayer) -> str:
    return f"layer {layer.name!r} ({name_of(layer.neuron_type)})"


# ---------------------------------------------------------------------- from NIR


@dataclass(frozen=True, eq=False)
class ReadNeurons:
    """What a node of neurons is here.

    Attributes
    ----------
    neuron
        Neuron type, with its final amplitude.
    scale
        Factor on the current (``scale_firing_rates``).
    takes
        Input of the layer here for an input of 1 of the node.
    unit
        Output of a neuron here that spikes once in a step.
    voltage
        Voltage before the first step, in NIR's layout or a single number.
    rectifier
        Rectifier that the layer stands for.
    synapse
        Filter on the output.
    """

    neuron: "nengo.neurons.NeuronType"
    scale: float
    takes: float
    unit: float
    voltage: NDArray[np.float64]
    rectifier: Rectifier
    synapse: Synapse = NO_SYNAPSE

    def of(self, shape: tuple[int, ...], order: NDArray[np.int64] | None) -> "nengo.neurons.NeuronType":
        """Return the neurons of a layer of ``shape`` with their voltages before the first step.

        Raises
        ------
        ValueError
            If there are more or fewer voltages than neurons.
        """
        values, size = self.voltage, int(np.prod(shape))
        if values.size not in (1, size) or not np.all(np.isfinite(values)):
            raise ValueError(f"it has {values.size} voltages before the first step for {size} neurons")
        if values.size == 1:
            flat = np.full(size, values.ravel()[0])
        elif len(shape) > 1:
            flat = np.moveaxis(values.reshape(channels_first(shape)), 0, -1).ravel()
        else:
            flat = values.ravel() if order is None else values.ravel()[np.argsort(order)]
        state = {name: flat if name == "voltage" else np.zeros(len(flat)) for name in self.neuron.state}
        return with_initial_state(self.neuron, state)


def read_if(node: Any, dt: float, step: float, default: Any) -> ReadNeurons:
    """Return what an ``IF`` node is here.

    Parameters
    ----------
    node
        The node.
    dt, step
        Length of a step in seconds, and in the file's unit of time.
    default
        `snnpipe.IntegrateAndFire` for a node whose metadata do not say how it resets; None to refuse such a node.

    Raises
    ------
    ValueError
        If there are no such neurons here.
    """
    from snnpipe.neurons.integrate_and_fire import IntegrateAndFire

    r, threshold, reset = (_uniform(getattr(node, name), name) for name in ("r", "v_threshold", "v_reset"))
    if reset:
        raise ValueError(f"it resets to v_reset={reset:g}, and neurons here subtract their threshold: take v_reset=0")
    said, own = node.metadata, _own(node)
    if _text(said.get("reset")) == SUBTRACT:
        most, lowest = said.get("max_spikes"), said.get("min_voltage")
        settings: dict[str, Any] = {
            "max_spikes": None if most is None else int(most),
            "min_voltage": None if lowest is None else float(lowest),
        }
        voltage = np.asarray(said.get("initial_voltage", 0.0), np.float64)
    elif default is None:
        raise ValueError(
            "it does not say that it subtracts its threshold at a spike, as neurons here do (NIR resets to 0 since "
            "1.0.6): if its network subtracts, say so with neuron=IntegrateAndFire(max_spikes=1, initial_voltage=0)"
        )
    else:
        settings = {"max_spikes": default.max_spikes, "min_voltage": default.min_voltage}
        voltage = np.asarray(default.initial_voltage, np.float64)
    scale, amplitude = own.get("scale_firing_rates", 1 / dt), own.get("amplitude", 1.0)
    rectifier = _rectifier(own)
    limit = rectifier.max_value
    neuron = IntegrateAndFire(
        **settings,
        initial_voltage=0,
        max_rate=None if limit is None else limit * scale,
        amplitude=amplitude / scale,
    )
    neuron.most_spikes(dt)
    return ReadNeurons(
        neuron, scale, r * step / _positive(threshold) / (scale * dt), neuron.amplitude / dt, voltage, rectifier
    )


def read_lif(node: Any, dt: float, step: float) -> ReadNeurons:
    """Return what a ``LIF`` node is here: `nengo.LIF` without refractory time. The arguments are those of `read_if`.

    Raises
    ------
    ValueError
        If there are no such neurons here.
    """
    import nengo

    own = _own(node)
    threshold, reset, leak = (
        np.asarray(getattr(node, f"v_{name}"), np.float64) for name in ("threshold", "reset", "leak")
    )
    if np.any(leak != reset):
        raise ValueError(
            "its v_leak is not its v_reset: take the same value for both, and add their difference to its input"
        )
    height = _positive(_uniform(threshold - reset, "v_threshold - v_reset"))
    r, tau = _uniform(node.r, "r"), _positive(_uniform(node.tau, "tau"))
    scale = own.get("scale_firing_rates", 1.0)
    amplitude = own.get("amplitude", dt) / scale
    neuron = nengo.LIF(
        tau_rc=tau / step * dt, tau_ref=0, min_voltage=own.get("min_voltage", _UNLIMITED), amplitude=amplitude
    )
    return ReadNeurons(neuron, scale, r / height / scale, amplitude / dt, -reset / height, _rectifier(own))


def read_synapse(node: Any, dt: float, step: float) -> Synapse:
    """Return what an ``LI`` or ``Delay`` node behind neurons is here.

    Raises
    ------
    ValueError
        If there is no such synapse here.
    """
    from nengo.synapses import LinearFilter

    if type(node).__name__ == "LI":
        if np.any(node.v_leak) or _uniform(node.r, "r") != 1:
            raise ValueError("a filter behind neurons must have r=1 and v_leak=0")
        return Synapse.of(_positive(_uniform(node.tau, "tau")) / step * dt)
    delay = _uniform(node.delay, "delay") / step
    steps = round(delay)
    if abs(delay - steps) > _SAME * max(delay, 1) or not 0 <= steps <= 1000:
        raise ValueError(f"its delay is {delay:g} steps: take a whole number of steps, at most 1000")
    return Synapse.of(LinearFilter([1.0], [1.0] + [0.0] * steps, analog=False)) if steps else NO_SYNAPSE


def _uniform(values: Any, name: str) -> float:
    array = np.asarray(values, np.float64)
    if not array.size or not np.all(np.isfinite(array)) or not np.allclose(array, array.flat[0], rtol=_SAME, atol=0):
        raise ValueError(f"its {name} differs between neurons: give each value a node of its own")
    return float(array.flat[0])


def _positive(value: float) -> float:
    if not 0 < value < np.inf:
        raise ValueError(f"got {value:g} where a number above 0 must be")
    return value


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _own(node: Any) -> Mapping[str, Any]:
    """Return what snnpipe has noted in a node: numbers above 0, where they are given."""
    if (text := node.metadata.get("snnpipe")) is None:
        return {}
    noted = json.loads(_text(text))
    known = {name: value for name, value in noted.items() if value is not None}
    numbers = {name: float(value) for name, value in known.items()}
    for name in ("scale_firing_rates", "amplitude", "max_value", "levels"):
        _positive(numbers.get(name, 1.0))
    return numbers


def _rectifier(own: Mapping[str, Any]) -> Rectifier:
    levels = own.get("levels")
    return Rectifier(0.0, own.get("max_value"), None if levels is None else int(levels))
