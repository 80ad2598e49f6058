"""Suggestions derived from a diagnosis: each known fault has a rule that yields changes of a run's parts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from snnpipe.base.errors import UserError
from snnpipe.diagnosis.calibrated import later_steps, more_spikes, more_steps
from snnpipe.diagnosis.measures import rate_limit, rectifies_each_step
from snnpipe.diagnosis.situation import (
    SCALES,
    Candidate,
    Situation,
    active_level,
    nice,
    override,
    strongest_level,
)
from snnpipe.neurons.table import name_of, neuron_model
from snnpipe.values.diagnosis import LayerDiagnosis
from snnpipe.values.network import NeuronLayer

ENOUGH = 4
"""Enough spikes of an active neuron within its filter's memory. With fewer, the spike count is too coarse."""

AIM = 5
"""Number of spikes within a filter's memory that a higher scale aims at."""

SATURATED = 0.02
"""A lower scale is worth trying from this share of pairs of image and neuron at the refractory limit on."""

RECTIFIED = 0.1
"""Neurons that add up currents of either sign are worth trying from this excess over the rectified mean on."""

_HALF = 0.5  # highest number of spikes per step of the busiest neuron
_LONGEST = 10  # highest number of steps, as a multiple of the run's steps
_STEPS_OF_A_LAYER = 20
"""Steps per layer. With fewer, no filter of five steps settles."""


def candidates(situation: Situation) -> Iterator[Candidate]:
    """Yield single changes that might help, the likeliest first."""
    yield from _neurons(situation)
    yield from _saturation(situation)
    yield from rescaled(situation)
    yield from refiltered(situation)
    yield from lengthened(situation)
    yield from averaged_readout(situation)
    yield from later_steps(situation)
    yield from _input(situation)
    yield from _averaging(situation)


def combinations(situation: Situation) -> Iterator[Candidate]:
    """Yield combinations of changes. Those that leave the neurons as they are come first.

    Each change is derived from the situation after the changes before it: a filter fits the new length of the run, and
    a scale fits the memory of the new filter.
    """
    neurons = list(_neurons(situation))
    with_neurons = [(_neurons, *rules) for rules in (_ALONE, *_TOGETHER)] if neurons else []
    for rules in (*_TOGETHER, *with_neurons):
        together, now = Candidate(""), situation
        for rule in rules:
            more = list(rule(now))
            if not more:
                break
            together = more[-1].after(together)
            now = situation.assuming(together.changes)
        else:
            yield together


# ---------------------------------------------------------------------- neurons and rates


def _neurons(s: Situation) -> Iterator[Candidate]:
    if not s.takes("conversion.neuron") or isinstance(s.value("conversion.neuron"), Mapping):
        return
    leaky = next((layer for layer, _ in s.spiking if rate_limit(layer, s.settings.dt)[1]), None)
    random = next((layer for layer, _ in s.spiking if layer.random), None)
    rectified = _most_rectified(s)
    if leaky is not None:
        reason = f"the rate curve of {type(leaky.neuron_type).__name__} is not the ReLU that was trained"
    elif random is not None:
        reason = f"{type(random.neuron_type).__name__} neurons draw their spikes, which adds noise"
    elif rectified is not None:
        reason = (
            f"{rectified.name} spikes for what each step's current has above 0, which exceeds the rectified mean by "
            f"{rectified.rectified_excess:.0%}; integrate-and-fire neurons add up currents of either sign"
        )
    else:
        return
    from snnpipe.neurons.integrate_and_fire import IntegrateAndFire

    neuron = {"conversion.neuron": IntegrateAndFire()}
    yield Candidate(reason, neuron)
    if leaky is None and random is None and s.takes("conversion.synapse"):
        mean = {"conversion.synapse": None, "simulator.readout": "mean", "simulator.readout_steps": None}
        yield Candidate(f"{reason}, so that neither filters nor a last step are needed", {**neuron, **mean})


def _most_rectified(s: Situation) -> LayerDiagnosis | None:
    """Return the layer whose neurons exceed the rectified mean current most, if that is worth other neurons."""
    cut_off = [
        figures
        for layer, figures in s.spiking
        if rectifies_each_step(layer, s.settings.dt) and (figures.rectified_excess or 0.0) >= RECTIFIED
    ]
    return max(cut_off, key=lambda figures: figures.rectified_excess or 0.0, default=None)


def _saturation(s: Situation) -> Iterator[Candidate]:
    scales = _lower_scales(s)
    if not scales:
        return
    figures = max((own for _, own in s.spiking if own.name in scales), key=lambda own: own.saturated)
    reason = (
        f"{figures.saturated:.0%} of {figures.name} fires at its refractory limit: "
        f"a scale of {scales[figures.name]:g} leaves an active neuron at half of it"
    )
    yield from _with_scales(s, scales, reason)


def _lower_scales(s: Situation) -> dict[str, float]:
    """Return a lower scale for each layer with too many neurons at their refractory limit."""
    scales = {}
    for layer, figures in s.spiking:
        lower = _half_limit_scale(layer, figures)
        if figures.saturated >= SATURATED and lower is not None and lower < layer.scale_firing_rates:
            scales[layer.name] = lower
    return scales


def _half_limit_scale(layer: NeuronLayer, figures: LayerDiagnosis) -> float | None:
    """Return the scale at which a mean activation makes a neuron fire at half of its refractory limit."""
    current = neuron_model(layer.neuron_type).half_limit_current(layer.neuron_type)
    level = active_level(figures)
    return None if current is None or level is None else nice(current / level, down=True)


@dataclass(frozen=True)
class _Coarse:
    """A layer with too few spikes, the number of spikes in its filter's memory, and the scale that gives enough."""

    layer: NeuronLayer
    figures: LayerDiagnosis
    spikes: float
    scale: float


def _coarse(s: Situation) -> dict[str, _Coarse]:
    coarse = {}
    for layer, figures in s.spiking:
        spikes, refractory = s.spikes_in_memory(layer, figures), rate_limit(layer, s.settings.dt)[1]
        if spikes is None or spikes >= ENOUGH or (refractory and figures.saturated >= SATURATED):
            continue
        factor = nice(AIM / max(spikes, 1e-6 if spikes else 0.02))
        highest = _spike_a_step(s, layer, figures)
        if highest is not None:
            factor = min(factor, max(nice(highest, down=True), 2.0))
        scale = _rounded(layer.scale_firing_rates * factor)
        if refractory:
            scale = max(_half_limit_scale(layer, figures) or scale, 2 * layer.scale_firing_rates)
        coarse[layer.name] = _Coarse(layer, figures, spikes, scale)
    return coarse


def _spike_a_step(s: Situation, layer: NeuronLayer, figures: LayerDiagnosis) -> float | None:
    """Return the factor on a layer's scale with which its strongest activation gives one spike per step."""
    strongest = strongest_level(figures)
    return None if strongest is None else 1 / (strongest * layer.scale_firing_rates * s.settings.dt)


def rescaled(s: Situation) -> Iterator[Candidate]:
    """Yield higher scales: first for the worst layer with too few spikes, then for all such layers."""
    if s.calibration is not None:
        yield from more_spikes(s, s.calibration)
        return
    coarse = _coarse(s)
    if not coarse:
        return
    bad = [loss.source for loss in s.bad if loss.is_layer]
    name = next((name for name in bad if name in coarse), min(coarse, key=lambda name: coarse[name].spikes))
    worst = coarse[name]
    tau, before = worst.layer.synapse.tau, worst.layer.scale_firing_rates
    memory = f"the {min(2000 * tau, s.milliseconds):g} ms that its filter remembers" if tau else "one input"
    spikes = worst.spikes * worst.scale / before
    reason = (
        f"{name} fires at {worst.figures.rate_hz:.3g} Hz, and its activations make {worst.spikes:.2g} spikes of an "
        f"active neuron in {memory}; scale {worst.scale:g} in place of {before:g} makes {spikes:.2g}"
    )
    yield from _with_scales(s, {name: worst.scale}, reason)
    if len(coarse) > 1:
        scales = {other: own.scale for other, own in coarse.items()}
        yield from _with_scales(s, scales, f"{reason}; and likewise in the other layers with few spikes")


def _with_scales(s: Situation, changed: Mapping[str, float], reason: str) -> Iterator[Candidate]:
    if s.takes(SCALES):
        yield Candidate(
            reason, {SCALES: s.scales_as_set(changed)}, forced=frozenset({SCALES} if s.forces(SCALES) else ())
        )


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


# ---------------------------------------------------------------------- spikes in a step


def calmer(s: Situation, busiest: Mapping[str, float]) -> Iterator[Candidate]:
    """Yield changes that keep neurons from spiking more than once per step: lower scales, then shorter steps.

    Parameters
    ----------
    s
        The situation, of which only the layers, parts, settings and calibration are used. With scales from data,
        several spikes per step are what was asked for.
    busiest
        Spikes per step of each layer's busiest neuron, averaged over the images.
    """
    above = {layer.name: layer for layer in s.layers if layer.spiking and busiest.get(layer.name, 0) > 1}
    if not above or s.calibration is not None:
        return
    name = max(above, key=lambda name: busiest[name])
    reason = f"the busiest neuron of {name} spikes {busiest[name]:.3g} times a step"
    lower = {other: nice(own.scale_firing_rates * _HALF / busiest[other], down=True) for other, own in above.items()}
    yield from _with_scales(s, lower, reason)
    parts = ceil(nice(busiest[name]))
    if parts <= _LONGEST:
        dt = float(f"{s.settings.dt / parts:.3g}")
        changes: dict[str, Any] = {"simulator.dt": dt, "simulator.n_steps": parts * s.settings.n_steps}
        if s.settings.readout == "mean" and (window := s.settings.readout_steps):
            changes["simulator.readout_steps"] = parts * window
        if s.takes("encoder.dt"):
            changes["encoder.dt"] = dt
        yield Candidate(reason, changes)


def livelier(s: Situation, strongest: Mapping[str, float]) -> Iterator[Candidate]:
    """Yield scales with which the strongest activations of some layers give about one spike every other step.

    Parameters
    ----------
    s
        The situation, of which only the layers, parts and settings are used.
    strongest
        The strongest activation of each of these layers.
    """
    higher = {name: nice(_HALF / (level * s.settings.dt), down=True) for name, level in strongest.items()}
    yield from _with_scales(s, higher, "")


# ---------------------------------------------------------------------- time


def refiltered(s: Situation) -> Iterator[Candidate]:
    """Yield a filter if a layer has none, or a shorter filter if the filters do not settle or they lose accuracy."""
    key, tau = "conversion.synapse", s.fitting_tau()
    if not s.takes(key) or tau is None:
        return
    longest = max((layer.synapse.tau or 0.0 for layer, _ in s.spiking), default=0.0)
    bare = next((layer.name for layer, _ in s.spiking if not layer.synapse), None)
    if bare is not None:
        tau = longest or tau
        reason = f"no filter behind {bare}: single spikes are passed on, which {1000 * tau:g} ms smooth"
    elif tau < longest and (s.unsettled() or (s.measured and s.loses_by("filters"))):
        reason = (
            f"filters of {1000 * longest:g} ms do not settle in {s.milliseconds:g} ms through {len(s.layers)} layers"
        )
    else:
        return
    yield Candidate(reason, {key: tau})


def lengthened(s: Situation) -> Iterator[Candidate]:
    """Yield more steps if the network has not settled, filters lose accuracy, or no filter fits the steps."""
    if s.calibration is not None and not any(layer.synapse for layer, _ in s.spiking):
        yield from more_steps(s)
        return
    key, steps = "simulator.n_steps", s.settings.n_steps
    late, least = s.unsettled(), _STEPS_OF_A_LAYER * len(s.layers)
    if late is None and not s.loses_by("filters") and steps >= least:
        return
    along = sum(layer.synapse.tau or 0.0 for layer, _ in s.spiking)
    wanted = min(max(2 * steps, least, ceil(5 * along / s.settings.dt)), _LONGEST * steps)
    wanted = 10 * ceil(wanted / 10)
    who = f"{late} has not settled" if late else "the network has no time to settle"
    yield Candidate(f"{who} after the {s.milliseconds:g} ms that the input is shown", {key: wanted})


def stretched(s: Situation) -> Iterator[Candidate]:
    """Yield more steps, to give time to filters that are fitted to them."""
    steps = max(2 * s.settings.n_steps, _STEPS_OF_A_LAYER * len(s.layers))
    wanted = 10 * ceil(min(steps, _LONGEST * s.settings.n_steps) / 10)
    yield Candidate(
        f"{wanted * s.settings.dt * 1000:g} ms in place of {s.milliseconds:g}", {"simulator.n_steps": wanted}
    )


def averaged_readout(s: Situation) -> Iterator[Candidate]:
    """Yield a readout of the mean over the last steps, if the run reads a single step."""
    if s.settings.readout != "last":
        return
    steps = max(1, s.settings.n_steps // 3)
    changes = {"simulator.readout": "mean", "simulator.readout_steps": steps}
    reason = f"the class is read from a single step: the mean over the last {steps} has less of the spikes' noise"
    yield Candidate(reason, changes)


def _input(s: Situation) -> Iterator[Candidate]:
    key = "encoder.max_rate_hz"
    if s.loses_by("input") and s.takes(key):
        rate = 10 * s.value(key)
        yield Candidate("the encoder's draws are noise: more spikes of a value have less", {key: rate})


def _averaging(s: Situation) -> Iterator[Candidate]:
    key = "conversion.synapse"
    if not s.takes(key):
        return
    taus = {layer.synapse.tau for layer, _ in s.spiking}
    tau = max((tau for tau in taus if tau), default=None) or s.fitting_tau()
    if tau is None:
        return
    tau, steps = float(f"{4 * tau:.3g}"), 4 * s.settings.n_steps
    reason = f"four times the time, and filters of {1000 * tau:g} ms, average over more spikes"
    yield Candidate(reason, {key: tau, "simulator.n_steps": steps})


# ---------------------------------------------------------------------- another training


def trainings(s: Situation) -> Iterator[Candidate]:
    """Yield changes that only another training can test, if the run trains."""
    if not s.takes("training.epochs"):
        return
    if s.loses_by("rate neurons") and s.takes("conversion.neuron") and (neuron := _trainable_neuron(s)) is not None:
        overrides = [] if s.takes("training.neuron") else ["training=nengo_dl"]
        lower = _lower_scales(s)
        key = "training.scale_firing_rates"
        overrides.append(f"neuron@training.neuron={neuron_model(neuron).config}")
        overrides.append(override(key, s.scales_as_set(lower, key), s.forces(key)))
        overrides += [candidate.override for candidate in _with_scales(s, lower, "")] if lower else []
        reason = f"training with {name_of(neuron)}'s own rate curve makes the weights fit it"
        yield Candidate(reason, untried=" ".join(overrides))
    noisy = any(loss.is_layer for loss in s.bad)
    if noisy and s.takes("model.logits_initializer") and s.value("model.logits_initializer") != "zeros":
        yield Candidate(
            "what training leaves of random first weights carries the spikes' noise to the logits, and no class",
            untried="model.logits_initializer=zeros",
        )


def _trainable_neuron(s: Situation) -> Any:
    """Return the first neurons that training could adapt the weights to; None if there are none.

    Such neurons have a refractory period, so that their rate curve is no ReLU. A config names them, the network is not
    trained with them already, and NengoDL can train the model.
    """
    from snnpipe.training.nengo_dl import NengoDLTraining

    trained_with = s.value("training.neuron") if s.takes("training.neuron") else None
    curved = (layer.neuron_type for layer, _ in s.spiking if rate_limit(layer, s.settings.dt)[1])
    neuron = next((own for own in curved if neuron_model(own).config), None)
    if neuron is None or type(trained_with) is type(neuron):
        return None
    try:
        NengoDLTraining().check(s.model)
    except UserError:
        return None
    return neuron


_ALONE = (rescaled,)
_TOGETHER = (
    (rescaled, averaged_readout),
    (refiltered, rescaled),
    (refiltered, averaged_readout),
    (refiltered, rescaled, averaged_readout),
    (stretched, refiltered, rescaled),
    (stretched, refiltered, rescaled, averaged_readout),
    (lengthened, rescaled),
    (lengthened, refiltered, rescaled),
    (lengthened, refiltered),
    (lengthened, rescaled, averaged_readout),
    (lengthened, refiltered, rescaled, averaged_readout),
)
"""Rules that are applied together. Steps come before filters and filters before scales, because each depends on what
comes before it."""
