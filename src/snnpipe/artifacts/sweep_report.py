"""The report of a multi-run: one page, which links to the reports of its jobs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snnpipe.artifacts.report import encoded, render
from snnpipe.metrics import catalogue as c
from snnpipe.values.metric import NO_VALUE, MetricSpec

_COLUMNS = (
    *(c.SNN_ACCURACY, c.DROP, c.LATENCY, c.SYNOPS, c.ANN_ACCURACY, c.CI_LOW),
    *(c.AGREEMENT, c.MEAN_RATE),
)
"""Metrics in the order of the table. Those that show the cost of a conversion come first."""

_IN_SHORT = (c.DROP, c.LATENCY)
_INTERVAL = "95 % interval", "of the SNN's accuracy"


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
    specs: Sequence[MetricSpec] = (),
) -> str:
    """Return the report of a multi-run as a page.

    Parameters
    ----------
    name, command
        Name and command of the multi-run.
    header, rows
        Header and rows of the table of jobs, as `snnpipe.sweeps.results.results_table` returns them.
    names
        Names of the settings that differ, by their keys. The keys are columns of the table.
    best
        Recommended settings, by the property that they are best at.
    picture
        Plot of the Pareto front.
    links
        Relative link from the page to each job's report, empty for a job without a report; or no links at all.
    specs
        Specs of the jobs' own metrics.
    """
    shown = (*_COLUMNS, *specs)
    jobs = [dict(zip(header, row, strict=True)) for row in rows]
    failed = [job for job in jobs if job["status"] != "FINISHED"]
    top = best.get("most accurate")
    text = f"{len(jobs)} jobs"
    text += f", {len(failed)} of them failed" if failed else ""
    text += f": at best {c.SNN_ACCURACY.of(top['metrics'])} ({top['settings']})" if top else ""
    return render(
        "sweep.html.j2",
        name=name,
        answer=text,
        best=_best(best),
        picture=encoded(picture) if picture else "",
        settings=[{"key": key, "name": short} for key, short in names.items()],
        columns=[_heading(spec) for spec in shown],
        rows=[
            {
                "number": job["job"],
                "run_id": job["run_id"],
                "link": link,
                "front": job["on_front"],
                "failed": job in failed,
                "error": job["error"],
                "settings": [job[key] for key in names],
                "cells": [_cell(job, spec) for spec in shown],
            }
            for job, link in zip(jobs, links or [""] * len(jobs), strict=True)
        ],
        command=command,
    )


def _heading(spec: MetricSpec) -> dict[str, str]:
    """Return the heading of a metric's column, and an explanation."""
    if spec is c.CI_LOW:
        return dict(zip(("title", "says"), _INTERVAL, strict=True))
    return {"title": spec.with_unit(spec.in_short if spec in _IN_SHORT else spec.label), "says": spec.note}


def _best(best: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the recommended settings, each once and with all the properties that it is best at."""
    entries: dict[str, dict[str, str]] = {}
    for what, entry in best.items():
        command = entry["command"]
        if command in entries:
            entries[command]["what"] += f", {what}"
        else:
            entries[command] = {"what": what, "figures": _figures(entry["metrics"]), "command": command}
    return list(entries.values())


def _figures(m: Mapping[str, float]) -> str:
    words = [f"{c.SNN_ACCURACY.of(m)} ({c.DROP.in_short} {c.DROP.of(m)})"]
    words += [c.LATENCY.of(m)] if c.LATENCY.name in m else []
    words += [f"{c.SYNOPS.of(m)} SynOps per sample"] if c.SYNOPS.name in m else []
    return ", ".join(words)


def _cell(job: Mapping[str, Any], spec: MetricSpec) -> dict[str, Any]:
    """Return the cell of a metric in a job's row, and the value by which the table sorts it."""
    value = job[spec.name]
    if value is None:
        return {"value": "", "text": NO_VALUE}
    if spec is c.CI_LOW:
        text = f"{spec.number(value)} to {c.CI_HIGH.of(job)}"
    else:
        text = spec.text(value) if spec.unit == "%" else spec.number(value)
    return {"value": value, "text": text}
