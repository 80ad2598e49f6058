"""The report of a run: one page that needs no other file."""

import base64
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnpipe import __version__
from snnpipe.artifacts.tables import plan_table
from snnpipe.base.files import file_name
from snnpipe.metrics import catalogue as c
from snnpipe.metrics.energy import energy_texts
from snnpipe.metrics.formats import ann_accuracy, percent
from snnpipe.settings.command_line import with_overrides
from snnpipe.values.metric import NO_VALUE, MetricSpec, spec_of, without_patterns
from snnpipe.values.network import ConversionPlan
from snnpipe.values.run import RunState

if TYPE_CHECKING:
    from markupsafe import Markup

    from snnpipe.values.diagnosis import Diagnosis, Remark

_FIGURES = {
    "accuracy_over_time.png": "Accuracy after each step, its 95 % interval, and the agreement with the ANN.",
    "costs.png": "Accuracy, time, and energy estimated from published figures, which leave much out.",
    "calibration.png": "Search for the fewest spikes that are enough: the trials, and the one that was chosen.",
    "rate_against_activation.png": "Filtered rates against the activations of the ANN: on the line both are alike.",
    "confusion.png": "Classes that the ANN and the spiking network give, and where the two differ.",
    "rate_histograms.png": "Firing rates of the neurons of each layer; a silent one spikes for no simulated sample.",
    "training_curves.png": "Loss and accuracy while training.",
    "class_scores.png": "Class scores of the first test samples over time.",
}
_COMMIT_LENGTH = 10


def run_page(state: RunState, folder: Path) -> str:
    """Return the report of a run as a page.

    Parameters
    ----------
    state
        The run after its simulation.
    folder
        Folder with the run's ``plots/``, ``config.yaml`` and ``environment.json``. Missing files are left out.
    """
    assert state.plan is not None and state.network is not None
    return render(
        "run.html.j2",
        name=state.run_name,
        answer=answer(state.results),
        facts=list(_facts(state)),
        tiles=[
            dict(zip(("label", "value", "note"), tile, strict=True))
            for tile in _tiles(state.results, state.network.no_synops, state.specs, state.sample_word)
        ],
        remarks=[_remark(remark, state.command) for remark in state.remarks],
        diagnosis=_diagnosis(state.diagnosis, state.command, state.sample_word) if state.diagnosis else None,
        figures=list(_figures(folder / "plots", [layer.name for layer in state.network.layers])),
        plan=_plan(state.plan),
        command=state.command,
        config=_read(folder / "config.yaml"),
        environment=_read(folder / "environment.json"),
        metrics=[_figure(name, value, state.specs) for name, value in sorted(state.results.items())],
    )


def answer(metrics: Mapping[str, float]) -> str:
    """Return the result of a run in a sentence or two."""
    drop, ann = metrics[c.DROP.name], c.ANN_ACCURACY.text(ann_accuracy(metrics))
    where = "below" if drop > 0 else "above"
    same = c.DROP.number(drop) == c.DROP.number(0)
    beside = "as the ANN's" if same else f"{c.DROP.text(abs(drop)).lstrip('+')} {where} the ANN's"
    text = f"{c.SNN_ACCURACY.of(metrics)} spiking, {beside} {ann}."
    if c.LATENCY.name not in metrics:
        return f"{text} It does not come within one point of the ANN."
    return f"{text} Within one point of it after {c.LATENCY.of(metrics)}."


def _facts(state: RunState) -> Iterator[str]:
    """Yield facts on the run: its id, the time of this page, the input over time, the code and a reused training."""
    if state.run_id:
        yield f"run {state.run_id}"
    yield f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    commit, dash, dirty = state.commit.partition("-")
    if state.input_over_time:
        yield f"input {state.input_over_time}"
    yield f"snnpipe {__version__}" + (f", commit {commit[:_COMMIT_LENGTH]}{dash}{dirty}" if commit else "")
    if state.trained_by:
        yield f"trained by run {state.trained_by}, whose weights were taken (training.reuse=false trains anew)"


def _tiles(
    m: Mapping[str, float], no_synops: str, specs: Sequence[MetricSpec], word: str
) -> Iterator[tuple[str, str, str]]:
    """Yield the label, value and note of each figure among a run's results."""
    interval = f"95 %: {c.CI_LOW.of(m)} to {c.CI_HIGH.of(m)}, {c.TEST_IMAGES.of(m)} {word}s"
    yield c.SNN_ACCURACY.label, c.SNN_ACCURACY.of(m), interval
    yield c.ANN_ACCURACY.label, c.ANN_ACCURACY.of(m), f"all test {word}s"
    yield c.AGREEMENT.label, c.AGREEMENT.of(m), f"of {word}s get the ANN's class"
    yield c.LATENCY.in_short, c.LATENCY.of(m), "until within 1 point of the ANN, to stay"
    if c.SYNOPS.name in m:
        yield c.in_words(c.SYNOPS.label, word), c.SYNOPS.of(m), synops_beside_macs(m)
    else:
        yield f"{c.SYNOPS.in_short}, {c.in_words(c.ENERGY_PER_SAMPLE, word)}", NO_VALUE, f"not counted: {no_synops}"
    if c.MEAN_RATE.name in m:
        yield c.MEAN_RATE.label, c.MEAN_RATE.of(m), f"busiest neuron {c.MAX_RATE.of(m)}"
    if energy := energy_texts(m):
        arithmetic = f"SNN in arithmetic units, where the ANN takes {energy['ann']}"
        note = f"{arithmetic}; SNN on neuromorphic chips {energy['chip']}; estimated from published device figures"
        yield c.in_words(c.ENERGY_PER_SAMPLE, word), energy["snn"], note
    for spec in without_patterns(specs):
        yield spec.label, spec.of(m), spec.note


def _figure(name: str, value: float, specs: Sequence[MetricSpec]) -> tuple[str, str, str]:
    """Return a metric's name, its value as it is logged, and its meaning with the value in its unit."""
    spec = spec_of(name, (*c.CATALOGUE, *specs))
    return name, f"{value:.6g}", f"{spec.label}: {spec.text(value)}" if spec else ""


def synops_beside_macs(m: Mapping[str, float]) -> str:
    """Return a comparison of a run's SynOps with the ANN's multiplications; empty if they are not counted."""
    if c.SYNOPS_PER_MAC.name not in m:
        return ""
    return f"{c.SYNOPS_PER_MAC.of(m)} times the ANN's {c.DENSE_MACS.of(m)} multiply-accumulates"


@dataclass(frozen=True)
class _Column:
    """A column of the diagnosis table: its title, the format of its values, and their meaning."""

    title: str
    text: Callable[[Any], str]
    says: str = ""


_SHARE = functools.partial(percent, digits=1)
_DIAGNOSED = {
    "layer": _Column("layer", str),
    "accuracy": _Column(
        "accuracy with it", _SHARE, "of a network that is the spiking one down to this row, and the ANN below it"
    ),
    "points_lost": _Column("points lost", "{:+.1f}".format, "accuracy of the row above, minus that of this row"),
    "correlation": _Column("correlation", "{:.3f}".format, "Pearson's, of filtered rates and the ANN's activations"),
    "error": _Column(
        "relative error",
        "{:.3f}".format,
        "root mean square of filtered rate minus activation, over that of the activations; large beside a high "
        "correlation, it is a common factor",
    ),
    "rate_hz": _Column("rate (Hz)", "{:.3g}".format, "spikes per neuron and second"),
    "active_spikes": _Column(
        "spikes of an active neuron", "{:.2f}".format, "mean spikes, per {word}, of the neurons that the ANN activates"
    ),
    "saturated": _Column(
        "saturated", _SHARE, "share of neurons, per {word}, at their refractory limit or above one spike a step"
    ),
    "sparsity": _Column(
        "sparsity", _SHARE, "share of neurons, per {word}, without a spike; half or more is usual after a ReLU"
    ),
    "under_activated": _Column(
        "under-activated", _SHARE, "share without a spike of the neurons that the ANN activates, per {word}"
    ),
    "rectified_excess": _Column(
        "rectified excess",
        _SHARE,
        "mean rate above the rectified mean of the current, in which no step's negative current is cut off",
    ),
    "settled_ms": _Column(
        "settled (ms)",
        "{:g}".format,
        "time from which the layer's mean filtered rate stays within a tenth of its last value; late: in the last "
        "quarter of the run, or not at all",
    ),
}
"""Columns by their names in the table of `Diagnosis`. ``{word}`` is what a sample is called. docs/metrics.md defines
them."""


def _diagnosis(diagnosis: "Diagnosis", command: str, word: str) -> dict[str, Any]:
    bad = diagnosis.first_bad
    if bad is not None:
        where = f"layer {bad.source}" if bad.is_layer else f"the {bad.source}"
        verdict = (
            f"First beyond sampling noise: {where}. {bad.points:.1f} points are lost, {_SHARE(bad.accuracy)} left."
        )
    elif diagnosis.losses:
        verdict = "No layer loses more than sampling noise."
    else:
        verdict = ""
    return {
        "verdict": verdict,
        "measured": diagnosis.measured,
        "tried": diagnosis.tried.told(diagnosis.images, word) if diagnosis.tried else (),
        "notes": diagnosis.notes,
        "suggestions": [
            {**vars(suggestion), "command": with_overrides(command, suggestion.override) if command else ""}
            for suggestion in diagnosis.suggestions
        ],
        "images": diagnosis.images,
        "word": word,
        "columns": [vars(column) | {"says": column.says.format(word=word)} for column in _DIAGNOSED.values()],
        "rows": [
            {"bad": bad is not None and row["layer"] == bad.row, "cells": _cells(row)} for row in diagnosis.rows()
        ],
    }


def _remark(remark: "Remark", command: str) -> dict[str, Any]:
    return {**vars(remark), "command": with_overrides(command, remark.cure) if command and remark.cure else ""}


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = {key: "" if row[key] is None else column.text(row[key]) for key, column in _DIAGNOSED.items()}
    if row["settled_ms"] is None and row["rate_hz"] is not None:
        cells["settled_ms"] = "late"
    return list(cells.values())


def _plan(plan: ConversionPlan) -> dict[str, Any]:
    header, rows = plan_table(plan)
    return {"header": header, "rows": rows, "notes": plan.notes}


def _figures(folder: Path, layers: Sequence[str]) -> Iterator[dict[str, str]]:
    rasters = {
        f"raster_{file_name(name)}.png": f"Spikes of layer {name} for the first test samples." for name in layers
    }
    for name, caption in (_FIGURES | rasters).items():
        if (folder / name).is_file():
            yield {"data": encoded(folder / name), "caption": caption}


def encoded(path: Path) -> str:
    """Return the bytes of a file in Base64, to embed them in a page."""
    return base64.b64encode(path.read_bytes()).decode()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def render(template: str, **content: Any) -> str:
    """Return a page from a template in ``pages/`` and its content."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("snnpipe.artifacts", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template(template).render(**content)


def _breakable(value: Any) -> "Markup":
    """Return a setting as HTML that a narrow column may break after punctuation, but not within words."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r",|(?<=[a-z])[_./](?=[a-z])", r"\g<0><wbr>", str(escape(value))))
