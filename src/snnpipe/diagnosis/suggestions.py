"""What to try, worked out from a diagnosis: changes of a run's parts, and the overrides that make them.

A part's fields are the keys of its config, so a change of ``conversion.synapse`` is one of the converter's field
``synapse``: the same change is tried on the sample and printed as an override.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from math import ceil, exp, floor, log10
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe.diagnosis.measures import ACTIVE, rate_limit
from snnpipe.diagnosis.values import LayerDiagnosis, Loss
from snnpipe.errors import UserError
from snnpipe.native import NativeNetwork
from snnpipe.types import NeuronLayer, SimulationSettings

if TYPE_CHECKING:
    import tf_keras

ENOUGH = 4
"""Spikes of an active neuron within its filter's memory; with fewer, counting them is what makes the error."""

AIM = 5
"""Spikes within its filter's memory that a higher scale is to give."""

SATURATED = 0.02
"""Share of pairs of image and neuron at the refractory limit from which it is worth doing something."""

_TIME_CONSTANTS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_LONGEST = 10  # times the run's own steps


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something that might help.

    Attributes
    ----------
    override
        For the command line.
    reason
        What speaks for it.
    changes
        Values of the parts' fields by config key (``simulator.n_steps``); empty where only another training would tell.
    """

    override: str
    reason: str
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Situation:
    """What candidates are worked out from.

    Attributes
    ----------
    parts
        The run's parts, by config group.
    model
        The ANN.
    settings
        The simulator's.
    layers
        The network's layers of neurons.
    found
        Diagnosis of each.
    bad
        Losses beyond sampling noise, the first one first.
    """

    parts: Mapping[str, Any]
    model: "tf_keras.Model | NativeNetwork"
    settings: SimulationSettings
    layers: Sequence[NeuronLayer]
    found: Sequence[LayerDiagnosis]
    bad: Sequence[Loss]

    def takes(self, key: str) -> bool:
        """Whether a part has a field of a config key."""
        group, _, name = key.partition(".")
        part = self.parts.get(group)
        return is_dataclass(part) and any(f.name == name and f.init for f in fields(part))

    def value(self, key: str) -> Any:
        """Return a part's value of a config key."""
        group, _, name = key.partition(".")
        return getattr(self.parts[group], name)

    def loses_by(self, source: str) -> bool:
        """Whether something that comes before the layers is bad."""
        return any(loss.source == source and not loss.is_layer for loss in self.bad)

    @property
    def milliseconds(self) -> float:
        """Time that an image is shown."""
        return self.settings.n_steps * self.settings.dt * 1000

    @property
    def spiking(self) -> list[tuple[NeuronLayer, LayerDiagnosis]]:
        """The layers that spike, with their diagnosis."""
        return [pair for pair in zip(self.layers, self.found, strict=True) if pair[0].spiking]

    def spikes_in_memory(self, layer: NeuronLayer, found: LayerDiagnosis) -> float | None:
        """Return how many spikes of an active neuron its filter averages: those of two time constants, or of all."""
        if found.active_spikes is None:
            return None
        seconds = self.settings.n_steps * self.settings.dt
        tau = _tau(layer)
        return found.active_spikes * (min(seconds, 2 * tau) / seconds if tau else 1.0)


def candidates(situation: Situation) -> Iterator[Candidate]:
    """Yield what might help, the likeliest first; what needs another training last."""
    yield from _neurons(situation)
    yield from _saturation(situation)
    yield from _scales(situation)
    yield from _filters(situation)
    yield from _duration(situation)
    yield from _readout(situation)
    yield from _input(situation)
    yield from _averaging(situation)
    yield from _training(situation)


# ---------------------------------------------------------------------- neurons and rates


def _neurons(s: Situation) -> Iterator[Candidate]:
    if not s.takes("conversion.neuron") or isinstance(s.value("conversion.neuron"), Mapping):
        return
    leaky = next((layer for layer, _ in s.spiking if rate_limit(layer, s.settings.dt)[1]), None)
    random = next((layer for layer, _ in s.spiking if layer.random), None)
    if leaky is not None:
        reason = f"the rate curve of {type(leaky.neuron_type).__name__} is not the ReLU that was trained"
    elif random is not None:
        reason = f"{type(random.neuron_type).__name__} neurons draw their spikes, which adds noise"
    else:
        return
    import nengo

    yield Candidate("neuron=spiking_relu", reason, {"conversion.neuron": nengo.SpikingRectifiedLinear()})


def _saturation(s: Situation) -> Iterator[Candidate]:
    scales = _lower_scales(s)
    if not scales:
        return
    found = max((own for _, own in s.spiking if own.name in scales), key=lambda own: own.saturated)
    reason = (
        f"{found.saturated:.0%} of {found.name} fires at its refractory limit: "
        f"a scale of {scales[found.name]:g} leaves an active neuron at half of it"
    )
    yield from _rescaled(s, scales, reason)


def _lower_scales(s: Situation) -> dict[str, float]:
    """Return a lower scale for each layer whose neurons fire at their refractory limit."""
    scales = {}
    for layer, found in s.spiking:
        lower = _half_limit_scale(layer, found)
        if found.saturated >= SATURATED and lower is not None and lower < layer.scale_firing_rates:
            scales[layer.name] = lower
    return scales


def _half_limit_scale(layer: NeuronLayer, found: LayerDiagnosis) -> float | None:
    """Return the scale at which a mean activation makes a LIF neuron fire at half of its refractory limit.

    Its rate 1 / (tau_ref + tau_rc ln(1 + 1 / (J - 1))) is 1 / (2 tau_ref) at J = 1 / (1 - exp(-tau_ref / tau_rc)).
    """
    neuron = getattr(layer.neuron_type, "base_type", layer.neuron_type)
    active = found.ann[found.ann > ACTIVE * np.sqrt(np.mean(np.square(found.ann)))]
    if not getattr(neuron, "tau_ref", 0) or not hasattr(neuron, "tau_rc") or not len(active):
        return None
    return _nice(1 / (1 - exp(-neuron.tau_ref / neuron.tau_rc)) / float(active.mean()), down=True)


def _scales(s: Situation) -> Iterator[Candidate]:
    coarse = {}
    for layer, found in s.spiking:
        spikes, refractory = s.spikes_in_memory(layer, found), rate_limit(layer, s.settings.dt)[1]
        if spikes is not None and spikes < ENOUGH and not (refractory and found.saturated >= SATURATED):
            coarse[layer.name] = layer, found, spikes, _nice(AIM / max(spikes, 0.02))
    if not coarse:
        return
    bad = [loss.source for loss in s.bad if loss.is_layer]
    worst = next((name for name in bad if name in coarse), min(coarse, key=lambda name: coarse[name][2]))
    layer, found, spikes, factor = coarse[worst]
    scales = {name: own.scale_firing_rates * more for name, (own, _, _, more) in coarse.items()}
    tau = _tau(layer)
    memory = f"the {min(2000 * tau, s.milliseconds):g} ms that its filter remembers" if tau else "an image"
    reason = (
        f"{worst} fires at {found.rate_hz:.3g} Hz, {spikes:.2g} spikes of an active neuron in {memory}; "
        f"scale {scales[worst]:g} in place of {layer.scale_firing_rates:g} gives about {spikes * factor:.2g}"
    )
    yield from _rescaled(s, {worst: scales[worst]}, reason)
    if len(scales) > 1:
        yield from _rescaled(s, scales, f"{reason}; and likewise in the other layers with few spikes")


def _rescaled(s: Situation, changed: Mapping[str, float], reason: str) -> Iterator[Candidate]:
    key = "conversion.scale_firing_rates"
    if not s.takes(key):
        return
    value = _scales_as_set(s, key, changed)
    yield Candidate(_override(key, value), reason, {key: value})


def _scales_as_set(s: Situation, key: str, changed: Mapping[str, float]) -> float | dict[str, float]:
    """Return all layers' scales, some of them changed, as a key takes them: ``*`` stands for what most layers have.

    Hydra merges a mapping into one that is there: then each layer is named.
    """
    values = {layer.name: layer.scale_firing_rates for layer in s.layers} | dict(changed)
    if s.takes(key) and isinstance(s.value(key), Mapping):
        return values
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    most = max(values.values(), key=list(values.values()).count)
    if list(values.values()).count(most) == 1:
        return values
    return {name: value for name, value in values.items() if value != most} | {"*": most}


# ---------------------------------------------------------------------- time


def _filters(s: Situation) -> Iterator[Candidate]:
    key = "conversion.synapse"
    tau = _fitting_tau(s)
    if not s.takes(key) or tau is None:
        return
    longest = max((_tau(layer) or 0.0 for layer, _ in s.spiking), default=0.0)
    bare = next((layer.name for layer, _ in s.spiking if layer.synapse is None), None)
    if bare is not None:
        tau = longest or tau
        reason = f"no filter behind {bare}: single spikes are passed on, which {1000 * tau:g} ms smooth"
    elif tau < longest and (_unsettled(s) or s.loses_by("filters")):
        reason = (
            f"filters of {1000 * longest:g} ms do not settle in {s.milliseconds:g} ms through {len(s.layers)} layers"
        )
    else:
        return
    yield Candidate(f"{key}={tau}", reason, {key: tau})


def _duration(s: Situation) -> Iterator[Candidate]:
    key, steps = "simulator.n_steps", s.settings.n_steps
    late = _unsettled(s)
    along = sum(_tau(layer) or 0.0 for layer, _ in s.spiking)
    if late is None and not s.loses_by("filters"):
        return
    wanted = min(max(2 * steps, ceil(5 * along / s.settings.dt)), _LONGEST * steps)
    wanted = 10 * ceil(wanted / 10)
    who = f"{late} has not settled" if late else "the filters have not settled"
    yield Candidate(f"{key}={wanted}", f"{who} after the {s.milliseconds:g} ms that an image is shown", {key: wanted})


def _readout(s: Situation) -> Iterator[Candidate]:
    if s.settings.readout != "last":
        return
    steps = max(1, s.settings.n_steps // 3)
    changes = {"simulator.readout": "mean", "simulator.readout_steps": steps}
    reason = f"the class is read from a single step: the mean over the last {steps} has less of the spikes' noise"
    yield Candidate(f"simulator.readout=mean simulator.readout_steps={steps}", reason, changes)


def _input(s: Situation) -> Iterator[Candidate]:
    key = "encoder.max_rate_hz"
    if s.loses_by("input") and s.takes(key):
        rate = 10 * s.value(key)
        yield Candidate(f"{key}={rate}", "the encoder's draws are noise: more spikes of a pixel have less", {key: rate})


def _averaging(s: Situation) -> Iterator[Candidate]:
    key = "conversion.synapse"
    if not s.takes(key):
        return
    taus = {_tau(layer) for layer, _ in s.spiking}
    tau = max((tau for tau in taus if tau), default=None) or _fitting_tau(s)
    if tau is None:
        return
    tau, steps = float(f"{4 * tau:.3g}"), 4 * s.settings.n_steps
    reason = f"four times the time, and filters of {1000 * tau:g} ms, average over more spikes"
    changes = {key: tau, "simulator.n_steps": steps}
    yield Candidate(f"{key}={tau} simulator.n_steps={steps}", reason, changes)


def _fitting_tau(s: Situation) -> float | None:
    """Return the longest usual time constant that settles in the time there is, through all layers."""
    seconds = s.settings.n_steps * s.settings.dt
    fitting = [tau for tau in _TIME_CONSTANTS if s.settings.dt / 2 <= tau <= seconds / (4 * len(s.layers))]
    return fitting[-1] if fitting else None


def _unsettled(s: Situation) -> str | None:
    """Return the first layer that has not settled."""
    return next((found.name for found in s.found if found.settled_ms is None), None)


def _tau(layer: NeuronLayer) -> float | None:
    """Return a filter's time constant, s; None where there is no filter, or one that has none."""
    tau = getattr(layer.synapse, "tau", layer.synapse)
    return tau if isinstance(tau, (int, float)) else None


# ---------------------------------------------------------------------- another training


def _training(s: Situation) -> Iterator[Candidate]:
    """Yield what only another training would tell, where the run trains."""
    if not s.takes("training.epochs"):
        return
    if s.loses_by("rate neurons") and s.takes("conversion.neuron") and _can_train_with_lif(s):
        overrides = [] if s.takes("training.neuron") else ["training=nengo_dl"]
        lower = _lower_scales(s)
        key = "training.scale_firing_rates"
        overrides += ["neuron@training.neuron=lif", _override(key, _scales_as_set(s, key, lower))]
        overrides += [candidate.override for candidate in _rescaled(s, lower, "")] if lower else []
        yield Candidate(" ".join(overrides), "training with LIF's own rate curve makes the weights fit it")
    noisy = any(loss.is_layer for loss in s.bad)
    if noisy and s.takes("model.logits_initializer") and s.value("model.logits_initializer") != "zeros":
        yield Candidate(
            "model.logits_initializer=zeros",
            "what training leaves of random first weights carries the spikes' noise to the logits, and no class",
        )


def _can_train_with_lif(s: Situation) -> bool:
    """Whether the network has LIF neurons, was not trained with them, and NengoDL can train it."""
    from snnpipe.training.nengo_dl import NengoDLTraining

    trained_with = s.value("training.neuron") if s.takes("training.neuron") else None
    kinds = {type(layer.neuron_type).__name__ for layer, _ in s.spiking}
    if "LIF" not in kinds or type(trained_with).__name__ == "LIF":
        return False
    try:
        NengoDLTraining().check(s.model)
    except UserError:
        return False
    return True


# ---------------------------------------------------------------------- text


def _override(key: str, value: float | Mapping[str, float]) -> str:
    if not isinstance(value, Mapping):
        return f"{key}={value}"
    return f'"{key}={{{", ".join(f"{name}: {scale}" for name, scale in value.items())}}}"'


def _nice(value: float, down: bool = False) -> float:
    """Return a number as 1, 2 or 5 times a power of ten, rounded up or down."""
    power = 10.0 ** floor(log10(value))
    steps = (1.0, 2.0, 5.0, 10.0)
    lead = value / power
    if down:
        found = max(step for step in steps if step <= lead * 1.000001)
    else:
        found = min(step for step in steps if step >= lead * 0.999999)
    return float(f"{found * power:.3g}")
