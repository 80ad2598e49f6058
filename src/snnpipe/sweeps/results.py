"""Writes the results of a multi-run: its table, the Pareto picture, the best settings and the report."""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from snnpipe.artifacts.sweep_report import sweep_page
from snnpipe.artifacts.tables import write_csv, write_text
from snnpipe.metrics import catalogue as c
from snnpipe.metrics.front import OBJECTIVES, cost, front_of
from snnpipe.protocols import SweepStore
from snnpipe.settings.command_line import command_line, config_folder
from snnpipe.settings.describe import to_yaml
from snnpipe.sweeps.jobs import single
from snnpipe.sweeps.table import AS_CONFIGURED, differing_keys, job_labels, job_numbers, short_keys
from snnpipe.values.metric import merged
from snnpipe.values.run import SweepJob

_SPECS = (
    *(c.ANN_ACCURACY, c.SNN_ACCURACY, c.CI_LOW, c.CI_HIGH, c.DROP, c.AGREEMENT),
    *(c.LATENCY, c.SYNOPS, c.MEAN_RATE),
)
_WITHIN = 0.01
_PAGE = "report.html"


def write_results(jobs: Sequence[SweepJob], folder: Path, store: SweepStore | None, *, name: str, command: str) -> str:
    """Write a multi-run's table, best settings, Pareto picture and report to its folder and its parent run.

    Parameters
    ----------
    jobs
        All jobs of the multi-run, as they ended.
    folder
        Folder of the multi-run.
    store
        The logger that keeps the parent run; None if there is none.
    name, command
        Name and command of the multi-run, for its report.

    Returns
    -------
    str
        Lines to print: the best settings, and where the results are.
    """
    header, rows = results_table(jobs)
    best = best_settings(jobs, command)
    files = [("tables", write_csv(folder / "sweep.csv", header, rows))]
    picture = None
    if best:
        picture = _picture(jobs, folder / "pareto.png")
        files += [("", write_text(folder / "best.yaml", to_yaml(best))), ("plots", picture)]
    content: dict[str, Any] = {"name": name, "command": command, "header": header, "rows": rows}
    content |= {"names": short_keys(differing_keys(jobs)), "best": best, "picture": picture}
    content["specs"] = merged(job.specs for job in jobs)
    page = write_text(folder / _PAGE, sweep_page(**content, links=report_links(jobs, folder)))
    if store is not None:
        for artifacts, path in files:
            store.log_artifact(path, artifacts)
        with TemporaryDirectory() as elsewhere:  # the copy in the store has no links to the jobs' folders
            store.log_artifact(write_text(Path(elsewhere, _PAGE), sweep_page(**content)))
        store.log_table("tables/sweep.json", header, rows)
        top = best["most accurate"]["metrics"] if best else {}
        counts = {"sweep/jobs": len(jobs), "sweep/failed": sum(job.metrics is None for job in jobs)}
        store.log_metrics(counts | {f"best/{name.removeprefix('snn/')}": value for name, value in top.items()})
    lines = {name: entry["settings"] for name, entry in best.items()}
    lines |= {"files": str(folder), "report": str(page)} | (store.address if store is not None else {})
    width = max(map(len, lines))
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in lines.items())


def results_table(jobs: Sequence[SweepJob]) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows of the table of jobs.

    The columns are the job's number, each key that differs, the status, metrics, whether the job is on the Pareto
    front, the run's id and the error.
    """
    keys, names = differing_keys(jobs), _names(jobs)
    header = ["job", *keys, "status", *names, "on_front", "run_id", "error"]
    rows = []
    front = front_of([job.metrics for job in jobs])
    for number, job, on_front in zip(job_numbers(jobs), jobs, front, strict=True):
        settings = {key: value for key, _, value in (override.partition("=") for override in job.overrides)}
        metrics = job.metrics or {}
        rows.append(
            [
                number,
                *(settings.get(key, "") for key in keys),
                "FINISHED" if job.metrics is not None else "FAILED",
                *(metrics.get(name) for name in names),
                bool(on_front),
                job.run_id,
                job.error,
            ]
        )
    return header, rows


def _names(jobs: Sequence[SweepJob]) -> list[str]:
    """Return the metrics that the results have: snnpipe's own, then those of the jobs."""
    return list(dict.fromkeys(spec.name for spec in (*_SPECS, *merged(job.specs for job in jobs))))


def report_links(jobs: Sequence[SweepJob], folder: Path) -> list[str]:
    """Return a link to each job's report, relative to a folder; an empty text if there is no report."""
    pages = [Path(job.output_dir, _PAGE) if job.output_dir else None for job in jobs]
    return [quote(os.path.relpath(page, folder)) if page is not None and page.is_file() else "" for page in pages]


def best_settings(jobs: Sequence[SweepJob], command: str = "") -> dict[str, dict[str, Any]]:
    """Return the best settings by their strength (``most accurate``, ...), each with its command and its metrics.

    ``command`` is the multi-run's, whose folder of configs each job needs too.
    """
    finished = [job for job in jobs if job.metrics is not None]
    if not finished:
        return {}

    def costs(job: SweepJob, *order: int) -> tuple[float, ...]:
        return tuple(cost(OBJECTIVES[n], job.metrics or {}) for n in order)

    close = [job for job in finished if (job.metrics or {}).get(c.DROP.name, 1) <= _WITHIN]
    best = {
        "most accurate": min(finished, key=lambda job: (-(job.metrics or {})[c.SNN_ACCURACY.name], *costs(job, 2, 1)))
    }
    if close:
        if all(c.SYNOPS.name in (job.metrics or {}) for job in close):
            best["fewest SynOps within 1 point of the ANN"] = min(close, key=lambda job: costs(job, 2, 1, 0))
        best["fastest within 1 point of the ANN"] = min(close, key=lambda job: costs(job, 1, 2, 0))
    labels = dict(zip(map(id, jobs), job_labels(jobs), strict=True))
    return {name: _entry(job, labels[id(job)], command) for name, job in best.items()}


def _entry(job: SweepJob, label: str, command: str) -> dict[str, Any]:
    metrics = {name: (job.metrics or {})[name] for name in _names([job]) if name in (job.metrics or {})}
    return {
        "settings": label,
        "command": command_line([*config_folder(command), *single(job.overrides)]),
        "run_id": job.run_id,
        "metrics": metrics,
    }


def _picture(jobs: Sequence[SweepJob], path: Path) -> Path:
    from snnpipe.artifacts.sweep_plots import pareto_plot

    finished = [(n, job.metrics) for n, job in enumerate(jobs) if job.metrics is not None]
    labels, numbers = job_labels(jobs), job_numbers(jobs)
    return pareto_plot(
        path,
        labels=[labels[n] for n, _ in finished],
        costs=[[cost(objective, metrics) for objective in OBJECTIVES] for _, metrics in finished],
        names=[objective.with_unit(objective.label) for objective in OBJECTIVES],
        on_front=front_of([metrics for _, metrics in finished]),
        reference=[labels[n] == AS_CONFIGURED for n, _ in finished],
        numbers=[numbers[n] for n, _ in finished],
    )
