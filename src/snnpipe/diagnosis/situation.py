"""The information that a diagnosis reasons from: a run's parts, its layers, and the measurements of each layer.

The fields of a part are the keys of its config. A change of ``conversion.synapse`` therefore changes the converter's
field ``synapse``: the same change can be tried on the sample and printed as an override.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from math import floor, log10
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe.diagnosis.measures import ACTIVE, rate_limit
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.neurons.table import neuron_model
from snnpipe.settings.per_layer import per_layer
from snnpipe.synapses import Synapse
from snnpipe.values.calibration import CalibrationOutcome
from snnpipe.values.diagnosis import LayerDiagnosis, Loss
from snnpipe.values.network import NeuronLayer
from snnpipe.values.simulation import SimulationSettings

if TYPE_CHECKING:
    import tf_keras

SCALES = "conversion.scale_firing_rates"
OFFSETS = "conversion.bias_offsets"

_SETTLES = 4
"""Number of time constants after which a filter's output has settled. Those of filters in a row add up."""

_NOT_PRINTED = ("encoder.dt", OFFSETS)
"""Keys whose values a run takes from other keys or determines by itself, so that overrides leave them out."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A change that might help.

    Attributes
    ----------
    reason
        The reason why it might help.
    changes
        New values of the parts' fields by config key (``simulator.n_steps``); empty if only another training can test
        the change.
    untried
        The override, if only another training can test the change; else empty.
    forced
        Config keys of mappings that accept new names only with Hydra's ``++``.
    printed
        Overrides to print for some keys, by key: in place of their changes, or to keep what is not changed.
    """

    reason: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    untried: str = ""
    forced: frozenset[str] = frozenset()
    printed: dict[str, str] = field(default_factory=dict)

    @property
    def override(self) -> str:
        """The text to add to the command line, quoted for a shell."""
        texts = {key: override(key, value, key in self.forced) for key, value in self.changes.items()} | self.printed
        return self.untried or " ".join(text for key, text in texts.items() if key not in _NOT_PRINTED)

    def after(self, first: "Candidate") -> "Candidate":
        """Return both changes as one. Where both change the same key, the value of this one counts."""
        reason = "; ".join(filter(None, (first.reason, self.reason)))
        printed = {key: text for key, text in first.printed.items() if key not in self.changes} | self.printed
        return Candidate(reason, {**first.changes, **self.changes}, forced=first.forced | self.forced, printed=printed)


@dataclass(frozen=True, eq=False)
class Situation:
    """The information from which candidates are derived.

    Attributes
    ----------
    parts
        The run's parts, by config group.
    model
        The ANN; None if no other training is to be suggested.
    settings
        The simulator's settings.
    layers
        The network's layers of neurons.
    figures
        The diagnosis of each layer.
    bad
        Losses beyond sampling noise, in the order from the ANN to the output.
    calibration
        Origin of the scales, if they were taken from data; else None.
    measured
        Whether the figures were measured with these parts. False if the parts have changed since.
    """

    parts: Mapping[str, Any]
    model: "tf_keras.Model | NativeNetwork | None"
    settings: SimulationSettings
    layers: Sequence[NeuronLayer]
    figures: Sequence[LayerDiagnosis]
    bad: Sequence[Loss]
    calibration: CalibrationOutcome | None = None
    measured: bool = True

    def takes(self, key: str) -> bool:
        """Whether a part has the field that a config key names."""
        group, _, name = key.partition(".")
        part = self.parts.get(group)
        if key == SCALES and getattr(part, "channel_factors", None):
            return False  # a scale per layer on the command line would leave out the channels' scales
        return is_dataclass(part) and any(f.name == name and f.init for f in fields(part))

    def value(self, key: str) -> Any:
        """Return the value of a part's field, by its config key."""
        group, _, name = key.partition(".")
        return getattr(self.parts[group], name)

    def forces(self, key: str) -> bool:
        """Whether a mapping is configured that does not name every layer. Hydra then refuses the other names."""
        there = self.value(key) if self.takes(key) else None
        return isinstance(there, Mapping) and not {layer.name for layer in self.layers} <= there.keys()

    def loses_by(self, source: str) -> bool:
        """Whether a step before the layers loses accuracy."""
        return any(loss.source == source and not loss.is_layer for loss in self.bad)

    def assuming(self, changes: Mapping[str, Any]) -> "Situation":
        """Return the situation after some changes, as far as it is known without a simulation."""
        names = [layer.name for layer in self.layers]
        layers: Sequence[NeuronLayer] = self.layers
        if "conversion.synapse" in changes:
            synapses = per_layer(changes["conversion.synapse"], names, None, "conversion.synapse")
            layers = [replace(layer, synapse=Synapse.of(synapses[layer.name])) for layer in layers]
        if SCALES in changes:
            scales = per_layer(changes[SCALES], names, 1.0, SCALES)
            layers = [replace(layer, scale_firing_rates=scales[layer.name]) for layer in layers]
        if neuron := changes.get("conversion.neuron"):
            layers = [replace(layer, neuron_type=neuron) if layer.spiking else layer for layer in layers]
        own = {key.partition(".")[2]: value for key, value in changes.items() if key.startswith("simulator.")}
        settings = replace(self.settings, **own)
        parts = changed(self.parts, changes)
        return replace(self, parts=parts, settings=settings, layers=layers, measured=False)

    # ------------------------------------------------------------------ time

    @property
    def seconds(self) -> float:
        """Time that an image is shown, s."""
        return self.settings.n_steps * self.settings.dt

    @property
    def milliseconds(self) -> float:
        """Time that an image is shown, ms."""
        return self.seconds * 1000

    def fitting_tau(self) -> float | None:
        """Return the longest usual time constant with which all layers settle in the available time."""
        longest = self.seconds / (_SETTLES * len(self.layers))
        fitting = [tau for tau in _TIME_CONSTANTS if self.settings.dt / 2 <= tau <= longest]
        return fitting[-1] if fitting else None

    def unsettled(self) -> str | None:
        """Return the first layer that has not settled. Without a measurement, the time constants predict it."""
        if self.measured:
            return next((figures.name for figures in self.figures if figures.settled_ms is None), None)
        along = 0.0
        for layer in self.layers:
            along += layer.synapse.tau or 0.0
            if _SETTLES * along > self.seconds * 1.000001:
                return layer.name
        return None

    # ------------------------------------------------------------------ spikes

    @property
    def spiking(self) -> list[tuple[NeuronLayer, LayerDiagnosis]]:
        """The layers that spike, with their diagnosis."""
        return [pair for pair in zip(self.layers, self.figures, strict=True) if pair[0].spiking]

    def spikes_in_memory(self, layer: NeuronLayer, figures: LayerDiagnosis) -> float | None:
        """Return how many spikes of an active neuron its filter averages.

        The filter averages over two time constants, or over the whole run if there is no filter or the run is shorter.
        Without a refractory period, the number is calculated from the activations and the scale, because losses in
        earlier layers distort the measured rates. With a refractory period, the measured rates are used.
        """
        tau = layer.synapse.tau
        memory = min(self.seconds, 2 * tau) if tau else self.seconds
        level = active_level(figures)
        if level is not None and not rate_limit(layer, self.settings.dt)[1]:
            return level * layer.scale_firing_rates * memory
        if figures.active_spikes is None:
            return None
        return figures.active_spikes * memory / self.seconds

    def scales_as_set(self, changed: Mapping[str, float], key: str = SCALES) -> float | dict[str, float]:
        """Return the scales of all layers, with some of them changed, as the value of a config key.

        The key ``*`` stands for the most frequent scale. Hydra merges a mapping into an existing one, so every layer is
        named if the configuration has a mapping.
        """
        values = {layer.name: layer.scale_firing_rates for layer in self.layers} | dict(changed)
        if self.takes(key) and isinstance(self.value(key), Mapping):
            return values
        if len(set(values.values())) == 1:
            return next(iter(values.values()))
        most = max(values.values(), key=list(values.values()).count)
        if list(values.values()).count(most) == 1:
            return values
        return {"*": most} | {name: value for name, value in values.items() if value != most}


_TIME_CONSTANTS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


def changed(parts: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's parts with some of their fields changed.

    Raises
    ------
    UserError
        If a part does not take a value.
    """
    parts_changed = dict(parts)
    for key, value in changes.items():
        group, _, name = key.partition(".")
        parts_changed[group] = replace(parts_changed[group], **{name: value})
    return parts_changed


def active_level(figures: LayerDiagnosis) -> float | None:
    """Return the mean of the drawn activations that are active; None if activations are not known."""
    active = _active(figures)
    return float(active.mean()) if len(active) else None


def strongest_level(figures: LayerDiagnosis) -> float | None:
    """Return the strongest of the drawn activations; None if activations are not known."""
    active = _active(figures)
    return float(active.max()) if len(active) else None


def _active(figures: LayerDiagnosis) -> Any:
    if not len(figures.ann):
        return figures.ann
    return figures.ann[figures.ann > ACTIVE * np.sqrt(np.mean(np.square(figures.ann)))]


def override(key: str, value: Any, forced: bool = False) -> str:
    """Return an override, quoted for a shell. A forced override adds new names to an existing mapping."""
    if key == "conversion.neuron":
        return f"neuron={neuron_model(value).config}"
    if isinstance(value, list):
        return shlex.quote(f"{key}=[{','.join(map(_in_list, value))}]")
    if not isinstance(value, Mapping):
        return f"{key}={'null' if value is None else value}"
    return (
        f'"{"++" if forced else ""}{key}={{{", ".join(f"{_pattern(name)}: {each}" for name, each in value.items())}}}"'
    )


def _in_list(text: str) -> str:
    """Return a text as an element of a list on the command line."""
    if re.fullmatch(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z][\w-]*", text, re.IGNORECASE):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _pattern(name: str) -> str:
    """Return a layer's name as a key of a mapping on the command line. ``?`` replaces what Hydra rejects."""
    if re.fullmatch(r"[\d.+e-]+|true|false|null|inf|nan", name, re.IGNORECASE):
        return f"?{name[1:]}"
    return re.sub(r"[^\w./* -]", "?", name, flags=re.ASCII)


def nice(value: float, down: bool = False) -> float:
    """Return a number rounded up or down to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(value))
    steps = (1.0, 2.0, 5.0, 10.0)
    lead = value / power
    if down:
        rounded = max(step for step in steps if step <= lead * 1.000001)
    else:
        rounded = min(step for step in steps if step >= lead * 0.999999)
    return float(f"{rounded * power:.3g}")
