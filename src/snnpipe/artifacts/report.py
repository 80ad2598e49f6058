"""The pages that runs and multi-runs are reviewed with: one file each, with nothing outside it."""

import base64
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnpipe.artifacts.tables import plan_table
from snnpipe.describe import percent
from snnpipe.types import ConversionPlan, RunState

if TYPE_CHECKING:
    from snnpipe.diagnosis.values import Diagnosis

_FIGURES = {
    "accuracy_over_time.png": "Accuracy after each step, its 95 % interval, and the agreement with the ANN.",
    "costs.png": "Accuracy, time, and energy estimated from published figures, which leave much out.",
    "rate_against_activation.png": "Filtered rates against the activations of the ANN: on the line both are alike.",
    "confusion.png": "Classes that the ANN and the spiking network give, and where the two differ.",
    "rate_histograms.png": "Firing rates of the neurons of each layer, over all simulated images.",
    "training_curves.png": "Loss and accuracy while training.",
    "class_scores.png": "Class scores of some test images over time.",
    "raster_*.png": "Spikes of some test images.",
}


def run_page(state: RunState, folder: Path) -> str:
    """Return a run's page.

    Parameters
    ----------
    state
        Of the run, after its simulation.
    folder
        With the run's ``plots/``, ``config.yaml`` and ``environment.json``; what is missing is left out.
    """
    assert state.plan is not None
    return _page(
        "run.html.j2",
        name=state.run_name,
        answer=answer(state.results),
        tiles=[dict(zip(("label", "value", "note"), tile, strict=True)) for tile in _tiles(state.results)],
        diagnosis=_diagnosis(state.diagnosis) if state.diagnosis else None,
        figures=list(_figures(folder / "plots")),
        plan=_plan(state.plan),
        command=state.command,
        config=_read(folder / "config.yaml"),
        environment=_read(folder / "environment.json"),
        metrics=[(name, f"{value:.6g}") for name, value in sorted(state.results.items())],
    )


def sweep_page(
    *,
    name: str,
    command: str,
    header: Sequence[str],
    rows: Sequence[Sequence[Any]],
    best: Mapping[str, Mapping[str, Any]],
    picture: Path | None,
) -> str:
    """Return a multi-run's page.

    Parameters
    ----------
    name, command
        Of the multi-run.
    header, rows
        Of the table of its jobs, as `snnpipe.sweeps.results.results_table` makes it.
    best
        Settings worth taking, by what they are best at.
    picture
        Of the Pareto front.
    """
    at = {title: i for i, title in enumerate(header)}
    failed = sum(row[at["status"]] != "FINISHED" for row in rows)
    top = best.get("most accurate")
    text = f"{len(rows)} jobs"
    text += f", {failed} of them failed" if failed else ""
    text += f": at best {percent(top['metrics']['snn/test_accuracy'])} ({top['settings']})" if top else ""
    return _page(
        "sweep.html.j2",
        name=name,
        answer=text,
        best=[
            {"what": what, "command": entry["command"], "figures": _figures_of(entry["metrics"])}
            for what, entry in best.items()
        ],
        picture=_data(picture) if picture else "",
        header=[title.removeprefix("snn/") for title in header],
        rows=[
            {
                "failed": row[at["status"]] != "FINISHED",
                "front": row[at["on_front"]],
                "cells": [{"value": "" if cell is None else cell, "text": _cell(cell)} for cell in row],
            }
            for row in rows
        ],
        command=command,
    )


def answer(metrics: Mapping[str, float]) -> str:
    """Return what a run found, in a sentence or two."""
    drop, latency = 100 * metrics["snn/accuracy_drop"], metrics.get("snn/latency_ms_to_1pt")
    ann = metrics["snn/test_accuracy"] + metrics["snn/accuracy_drop"]
    beside = (
        f"{abs(drop):.2f} points {'below' if drop > 0 else 'above'} the ANN's" if abs(drop) >= 0.005 else "as the ANN's"
    )
    text = f"{percent(metrics['snn/test_accuracy'])} spiking, {beside} {percent(ann)}."
    if latency is None:
        return f"{text} It does not come within one point of the ANN."
    return f"{text} Within one point of it after {latency:g} ms."


def _tiles(m: Mapping[str, float]) -> Iterator[tuple[str, str, str]]:
    low, high = percent(m["snn/accuracy_ci_low"]), percent(m["snn/accuracy_ci_high"])
    yield "SNN accuracy", percent(m["snn/test_accuracy"]), f"95 %: {low} to {high}, {m['snn/test_images']:,.0f} images"
    yield "ANN accuracy", percent(m["ann/test_accuracy"]), "all test images"
    yield "agreement", percent(m["snn/agreement"]), "of images get the ANN's class"
    latency = m.get("snn/latency_ms_to_1pt")
    yield "latency", "-" if latency is None else f"{latency:g} ms", "until within 1 point of the ANN, to stay"
    if "snn/synops_per_image" in m:
        per_mac = m.get("snn/synops_per_dense_mac")
        note = "" if per_mac is None else f"{per_mac:.2f} per multiply-accumulate of the ANN"
        yield "SynOps per image", f"{m['snn/synops_per_image']:,.0f}", note
    if "snn/mean_rate_hz" in m:
        yield "mean firing rate", f"{m['snn/mean_rate_hz']:.3g} Hz", f"busiest neuron {m['snn/max_rate_hz']:,.0f} Hz"


def _figures_of(m: Mapping[str, float]) -> str:
    latency, synops = m.get("snn/latency_ms_to_1pt"), m.get("snn/synops_per_image")
    words = [f"{percent(m['snn/test_accuracy'])} ({-100 * m['snn/accuracy_drop']:+.2f} points)"]
    words += [f"{latency:g} ms"] if latency is not None else []
    words += [f"{synops:,.0f} SynOps an image"] if synops is not None else []
    return ", ".join(words)


# Columns of the diagnosis: of its table, and as the page has them.
_SHARE = functools.partial(percent, digits=1)
_DIAGNOSED: dict[str, tuple[str, Callable[[Any], str]]] = {
    "layer": ("layer", str),
    "accuracy": ("accuracy with it", _SHARE),
    "points_lost": ("points lost", "{:+.1f}".format),
    "correlation": ("correlation", "{:.3f}".format),
    "error": ("relative error", "{:.3f}".format),
    "rate_hz": ("rate (Hz)", "{:.3g}".format),
    "active_spikes": ("spikes of an active neuron", "{:.2f}".format),
    "saturated": ("saturated", _SHARE),
    "silent": ("silent", _SHARE),
    "dead": ("silent though active", _SHARE),
    "settled_ms": ("settled (ms)", "{:g}".format),
}


def _diagnosis(diagnosis: "Diagnosis") -> dict[str, Any]:
    bad = diagnosis.first_bad
    if bad is not None:
        where = f"layer {bad.source}" if bad.is_layer else f"the {bad.source}"
        verdict = f"First at {where}: {bad.points:+.1f} points, which leave {_SHARE(bad.accuracy)}."
    elif diagnosis.losses:
        verdict = "No layer loses more than sampling noise."
    else:
        verdict = ""
    return {
        "verdict": verdict,
        "notes": diagnosis.notes,
        "suggestions": diagnosis.suggestions,
        "images": diagnosis.images,
        "header": [title for title, _ in _DIAGNOSED.values()],
        "rows": [
            {
                "bad": bad is not None and row["layer"] == bad.row,
                "cells": ["" if row[key] is None else text(row[key]) for key, (_, text) in _DIAGNOSED.items()],
            }
            for row in diagnosis.rows()
        ],
    }


def _plan(plan: ConversionPlan) -> dict[str, Any]:
    header, rows = plan_table(plan)
    return {"header": header, "rows": rows}


def _figures(folder: Path) -> Iterator[dict[str, str]]:
    for pattern, caption in _FIGURES.items():
        for path in sorted(folder.glob(pattern)):
            yield {"data": _data(path), "caption": caption}


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _page(template: str, **content: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("snnpipe.artifacts", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)
