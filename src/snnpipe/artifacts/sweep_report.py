"""The page that a multi-run is reviewed with: one file, with nothing outside it but the way to its jobs' reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snnpipe.artifacts.report import encoded, render
from snnpipe.metrics.formats import percent, points


@dataclass(frozen=True)
class _Column:
    """A metric as the table of jobs shows it: its heading, how a value is written, and what the heading leaves out."""

    title: str
    text: Callable[[float], str]
    says: str = ""


_LOW, _HIGH = "snn/accuracy_ci_low", "snn/accuracy_ci_high"
_COLUMNS = {
    "snn/test_accuracy": _Column("SNN accuracy", percent),
    "snn/accuracy_drop": _Column(
        "drop (points)", points, "accuracy of the ANN minus that of the SNN, on the images that were simulated"
    ),
    "snn/latency_ms_to_1pt": _Column("latency (ms)", "{:g}".format, "until accuracy stays within 1 point of the ANN's"),
    "snn/synops_per_image": _Column("SynOps per image", "{:,.0f}".format),
    "ann/test_accuracy": _Column("ANN accuracy", percent, "on all test images"),
    _LOW: _Column("95 % interval", percent, "of the SNN's accuracy"),
    "snn/agreement": _Column("agreement", percent, "images that get the class that the ANN gives"),
    "snn/mean_rate_hz": _Column("mean rate (Hz)", "{:.3g}".format),
}
"""By the metrics, in the order of the table: what a conversion costs stands before the rest."""


def sweep_page(
    *,
    name: str,
    command: str,
    header: Sequence[str],
    rows: Sequence[Sequence[Any]],
    names: Mapping[str, str],
    best: Mapping[str, Mapping[str, Any]],
    picture: Path | None,
    links: Sequence[str] = (),
) -> str:
    """Return a multi-run's page.

    Parameters
    ----------
    name, command
        Of the multi-run.
    header, rows
        Of the table of its jobs, as `snnpipe.sweeps.results.results_table` makes it.
    names
        What the settings that differ are called, by their keys, which are columns of the table.
    best
        Settings worth taking, by what they are best at.
    picture
        Of the Pareto front.
    links
        The way to each job's report from where the page is, empty for a job that has none; or none at all.
    """
    jobs = [dict(zip(header, row, strict=True)) for row in rows]
    failed = [job for job in jobs if job["status"] != "FINISHED"]
    top = best.get("most accurate")
    text = f"{len(jobs)} jobs"
    text += f", {len(failed)} of them failed" if failed else ""
    text += f": at best {percent(top['metrics']['snn/test_accuracy'])} ({top['settings']})" if top else ""
    return render(
        "sweep.html.j2",
        name=name,
        answer=text,
        best=_best(best),
        picture=encoded(picture) if picture else "",
        settings=[{"key": key, "name": short} for key, short in names.items()],
        columns=[vars(column) for column in _COLUMNS.values()],
        rows=[
            {
                "number": job["job"],
                "run_id": job["run_id"],
                "link": link,
                "front": job["on_front"],
                "failed": job in failed,
                "error": job["error"],
                "settings": [job[key] for key in names],
                "cells": [_cell(job, metric) for metric in _COLUMNS],
            }
            for job, link in zip(jobs, links or [""] * len(jobs), strict=True)
        ],
        command=command,
    )


def _best(best: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the settings worth taking, each once with all that it is best at."""
    found: dict[str, dict[str, str]] = {}
    for what, entry in best.items():
        if entry["command"] in found:
            found[entry["command"]]["what"] += f", {what}"
        else:
            found[entry["command"]] = {"what": what, "figures": _figures(entry["metrics"]), "command": entry["command"]}
    return list(found.values())


def _figures(m: Mapping[str, float]) -> str:
    latency, synops = m.get("snn/latency_ms_to_1pt"), m.get("snn/synops_per_image")
    words = [f"{percent(m['snn/test_accuracy'])} (drop {points(m['snn/accuracy_drop'])} points)"]
    words += [f"{latency:g} ms"] if latency is not None else []
    words += [f"{synops:,.0f} SynOps an image"] if synops is not None else []
    return ", ".join(words)


def _cell(job: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Return what a job's row says of a metric, and what it is sorted by."""
    value = job[metric]
    if value is None:
        return {"value": "", "text": "-"}
    text = _COLUMNS[metric].text(value)
    if metric == _LOW:
        text = f"{100 * value:.2f} to {percent(job[_HIGH])}"
    return {"value": value, "text": text}
