"""Remarks that supplement a run's figures: units that do not spike, upper bounds, and rates that do not fit.

They need the evaluation alone, so that a run without a diagnosis has them too.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe.diagnosis.brought import SCALES, of_brought_model
from snnpipe.diagnosis.measures import rate_limit
from snnpipe.diagnosis.sample import activations_of, settings_of
from snnpipe.diagnosis.situation import Situation
from snnpipe.diagnosis.suggestions import calmer, livelier
from snnpipe.diagnosis.wording import few
from snnpipe.frameworks.keras_graph import max_pooling_in
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.passes import SpikingPass
from snnpipe.values.diagnosis import Diagnosis, Remark
from snnpipe.values.network import ConversionPlan, NeuronLayer, SpikingNetwork
from snnpipe.values.outcome import Outcome

if TYPE_CHECKING:
    import tf_keras

USUAL_INPUTS = 0.1, 10.0
"""Usual range of the largest absolute value in an image. Scales such as 100 are made for images in this range."""

_LOST = 0.01
"""Loss of accuracy, as a share of the images, up to which few spikes do no harm."""

_STRONG = 99.9  # percentile of a layer's activations
_UNTRIED = "not tried: diagnosis.images=0"


def remarks(
    plan: ConversionPlan,
    images: SpikingPass,
    model: "tf_keras.Model | NativeNetwork",
    parts: Mapping[str, Any],
    outcome: Outcome,
    diagnosis: Diagnosis | None,
    from_data: bool = False,
) -> tuple[Remark, ...]:
    """Return the remarks on a run's spikes.

    Parameters
    ----------
    plan
        The conversion plan, which says what each layer became.
    images
        The run's test images, network and simulator.
    model
        The ANN.
    parts
        The run's parts by config group.
    outcome
        Results of the simulation of the images.
    diagnosis
        Diagnosis in which cures were tried; None if there was none.
    from_data
        Whether scales come from data. Several spikes per step are then what was asked for, and nothing to be cured.
    """
    brought: Iterator[Remark] = iter(())
    if not getattr(parts.get("training"), "trains", True):
        takes_names = "class_names" in getattr(parts.get("data"), "__dataclass_fields__", ())
        brought = of_brought_model(plan, images.data.spec, outcome.ann_confusion_cc, takes_names)
    return (
        *brought,
        *_not_spiking(plan, images.network),
        *_upper_bounds(images.network),
        *_warnings(plan, images, model, parts, outcome, diagnosis, from_data),
    )


# ---------------------------------------------------------------------- what does not spike


def _not_spiking(plan: ConversionPlan, network: SpikingNetwork) -> Iterator[Remark]:
    in_network = {layer.name for layer in network.layers}
    others = [layer for layer in plan.layers if layer.rate_units and layer.name not in in_network]
    rate = {f"{own.name} ({type(own.neuron_type).__name__})": own.size for own in network.layers if not own.spiking}
    rate |= {f"{own.name} ({own.becomes.removeprefix('rate neurons (').rstrip(')')})": own.rate_units for own in others}
    units = sum(layer.size for layer in network.layers) + sum(layer.rate_units for layer in others)
    remarks = []
    if len(in_network) + len(others) == len(rate):
        remarks.append(f"all {units:,} units are rate neurons")
    elif rate:
        remarks.append(f"{sum(rate.values()):,} of {units:,} units stay rate neurons: {few(rate)}")
    if in_software := [f"{layer.name} ({layer.kind})" for layer in plan.layers if layer.status == "fallback"]:
        remarks.append(f"in software only: {few(in_software)}")
    if remarks:
        yield Remark("not spiking", "; ".join(remarks))


def _upper_bounds(network: SpikingNetwork) -> Iterator[Remark]:
    """Yield a remark where SynOps are counted behind max pooling, as if it passed on every spike."""
    if network.keras_model is None or network.no_synops:
        return
    if pooling := max_pooling_in(network.keras_model):
        passes_on = f"max pooling ({few(pooling)}) passes on fewer spikes than are counted"
        yield Remark("upper bounds", f"SynOps and energy of the spiking network: {passes_on}")


# ---------------------------------------------------------------------- rates that do not fit


def _warnings(
    plan: ConversionPlan,
    images: SpikingPass,
    model: "tf_keras.Model | NativeNetwork",
    parts: Mapping[str, Any],
    outcome: Outcome,
    diagnosis: Diagnosis | None,
    from_data: bool,
) -> Iterator[Remark]:
    layers = {layer.name: layer for layer in images.network.layers if layer.spiking}
    busiest = {name: rate for name, rate in outcome.busiest_per_step.items() if name in layers}
    above = [name for name, rate in busiest.items() if rate > 1]
    limits = {name: rate_limit(layer, outcome.dt) for name, layer in layers.items()}
    at_limit = [name for name, (hz, refractory) in limits.items() if refractory and busiest[name] >= hz * outcome.dt]
    lost = outcome.ann_accuracy - float(outcome.accuracy_t[-1]) > _LOST
    if not (above or at_limit or lost):
        return
    s = Situation(parts, model, settings_of(images.simulator), images.network.layers, (), ())
    _, first, _ = next(images.batches(min(images.at_once, images.n_images), images.n_images))
    spec = images.data.spec
    inputs, training = _inputs(float(np.max(np.abs(first))), plan, s, spec.sample_word)
    if above:
        layers_named = few([_crowded(layers[name], busiest[name], outcome) for name in above])
        text = (
            f"neurons spike more than once a step, which a simulator counts and most chips cannot send: {layers_named}"
        )
        if from_data:
            yield Remark("spikes per step", text)
        else:
            cure, expected = _calmer(s, busiest, diagnosis)
            yield Remark("warning", inputs + text, cure, _both(expected, training))
    elif at_limit and inputs:
        yield Remark("warning", f"{inputs}neurons fire at their refractory limit: {few(at_limit)}", expected=training)
    if not lost:
        return
    levels = {name: np.percentile(a, _STRONG) for name, a in activations_of(model, images.network)(first).items()}
    weak = {
        name: float(level)
        for name, level in levels.items()
        if name in layers and not limits[name][1] and 0 < level * layers[name].scale_firing_rates * s.seconds < 1
    }
    if weak:
        untried = next(livelier(s, weak), None) if diagnosis is None else None
        cure, expected = (untried.override, _UNTRIED) if untried else ("", "")
        layers_named = few([_hardly(layers[name], level, s) for name, level in weak.items()])
        text = f"even the strongest activations spike less than once in {s.milliseconds:g} ms: {layers_named}"
        yield Remark("warning", inputs + text, cure, _both(expected, training))
    silent = [name for name, rate in busiest.items() if not rate and name not in weak and levels.get(name, 1) > 0]
    if silent:
        yield Remark(
            "warning", f"{inputs}no neuron spikes for any {spec.sample_word}: {few(silent)}", expected=training
        )


def _calmer(s: Situation, busiest: Mapping[str, float], diagnosis: Diagnosis | None) -> tuple[str, str]:
    """Return a cure for several spikes per step, and its effect on the accuracy."""
    if diagnosis is not None and diagnosis.calmer is not None:
        return diagnosis.calmer.override, diagnosis.calmer.expected
    candidate = next(calmer(s, busiest), None)
    if candidate is None:
        return "", ""
    return ("", "a lower scale loses accuracy") if diagnosis is not None else (candidate.override, _UNTRIED)


def _crowded(layer: NeuronLayer, rate: float, outcome: Outcome) -> str:
    share = 100 * float(np.mean(outcome.rates_hz[layer.name] * outcome.dt > 1))
    scale = layer.scale_firing_rates
    return f"{layer.name} ({share:.2g} % of its neurons, the busiest {rate:,.3g} times, scale {scale:g})"


def _hardly(layer: NeuronLayer, level: float, s: Situation) -> str:
    scale = layer.scale_firing_rates
    return f"{layer.name} (up to {level:.2g}, {level * scale * s.seconds:.2g} spikes at scale {scale:g})"


def _inputs(largest: float, plan: ConversionPlan, s: Situation, word: str) -> tuple[str, str]:
    """Return a remark on inputs that are far larger or smaller than usual, and what rescaling them requires."""
    low, high = USUAL_INPUTS
    if low <= largest <= high or any(layer.kind in SCALES for layer in plan.layers):
        return "", ""
    scaling = "zero_to_one" if word == "image" else "standardised"
    training = (
        f"data.scaling={scaling} trains anew" if s.takes("data.scaling") else f"{word}s of 0 to 1 need another training"
    )
    return f"{word}s reach {largest:.3g}, and scales such as 100 are made for {word}s within -1 to 1; ", training


def _both(*texts: str) -> str:
    return "; ".join(filter(None, texts))
