"""Words of the diagnosis: lists of names, and a sentence on the measurements of the first thing that loses accuracy."""

from collections.abc import Collection, Iterator

from snnpipe.diagnosis.measures import rate_limit, rectifies_each_step
from snnpipe.diagnosis.situation import Situation
from snnpipe.metrics.formats import percent
from snnpipe.values.diagnosis import LayerDiagnosis
from snnpipe.values.network import NeuronLayer

_WORTH_SAYING = 0.05
"""Smallest share of a layer's pairs of image and neuron that is worth reporting."""


def few(names: Collection[str], most: int = 4) -> str:
    """Return the first names, at most so many, and how many more there are."""
    first = ", ".join(list(names)[:most])
    return f"{first} and {len(names) - most} more" if len(names) > most else first


def measured(s: Situation) -> str:
    """Return the measurements of the first bad layer, or of the first bad step before the layers."""
    first = s.bad[0]
    if first.is_layer:
        own = {layer.name: (layer, figures) for layer, figures in zip(s.layers, s.figures, strict=True)}
        return f"{first.source}: {_layer(s, *own[first.source])}"
    if first.source == "filters":
        return f"{_filters(s)}; {_fewest_spikes(s)}"
    if first.source == "input":
        return f"rate neurons lose it to the encoder's draws in {s.milliseconds:g} ms"
    leaky = next((layer for layer, _ in s.spiking if rate_limit(layer, s.settings.dt)[1]), None)
    if leaky is None:
        return "rate neurons without filters and noise lose it already: what was converted is not what the ANN computes"
    limit = max(figures.saturated for _, figures in s.spiking)
    return (
        f"rate neurons without filters and noise lose it already: the rate curve of {type(leaky.neuron_type).__name__} "
        f"is not a ReLU, and {percent(limit, 0)} of a layer fire at their limit"
    )


def _layer(s: Situation, layer: NeuronLayer, figures: LayerDiagnosis) -> str:
    words = [_spikes(s, figures)]
    if figures.under_activated is not None and figures.under_activated >= _WORTH_SAYING:
        words.append(f"{percent(figures.under_activated, 0)} of the active ones do not spike")
    excess = figures.rectified_excess
    if rectifies_each_step(layer, s.settings.dt) and excess is not None and excess >= _WORTH_SAYING:
        words.append(f"its rectified current exceeds the rectified mean by {percent(excess, 0)}")
    words += _settling(layer, figures)
    if rate_limit(layer, s.settings.dt)[1] and figures.saturated >= _WORTH_SAYING:
        words.append(f"{percent(figures.saturated, 0)} fire at their refractory limit")
    return ", ".join(words)


def _spikes(s: Situation, figures: LayerDiagnosis) -> str:
    if figures.active_spikes is None:
        return f"a neuron fires at {figures.rate_hz:.3g} Hz"
    return f"an active neuron spikes {figures.active_spikes:.2g} times in {s.milliseconds:g} ms"


def _settling(layer: NeuronLayer, figures: LayerDiagnosis) -> Iterator[str]:
    tau = layer.synapse.tau
    if not figures.rate_hz:
        return
    if tau is None:
        yield "it has no filter" if not layer.synapse else "its filter has no time constant"
        return
    settled = f"has settled after {figures.settled_ms:g} ms" if figures.settled_ms is not None else "has not settled"
    yield f"its filter of {1000 * tau:g} ms {settled}"


def _filters(s: Situation) -> str:
    along = 1000 * sum(layer.synapse.tau or 0.0 for layer in s.layers)
    late = s.unsettled()
    who = f"{late} has not settled" if late else "rate neurons behind them have not settled"
    return f"the filters' time constants are {along:g} ms together, and in {s.milliseconds:g} ms {who}"


def _fewest_spikes(s: Situation) -> str:
    known = [figures for _, figures in s.spiking if figures.active_spikes is not None]
    if not known:
        return "how often its neurons should spike is not known"
    fewest = min(known, key=lambda figures: figures.active_spikes or 0.0)
    return f"{fewest.name}: {_spikes(s, fewest)}"
