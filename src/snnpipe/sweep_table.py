"""The table of a multi-run's jobs: what differs between them, and their answers."""

import os
from collections.abc import Mapping, Sequence

from snnpipe.metrics.intervals import mean_interval
from snnpipe.types import SweepJob

_WIDTH = 100


def sweep_table(jobs: Sequence[SweepJob]) -> str:
    """Return a multi-run's table, at most 100 columns wide: what differs between the jobs, and their answers."""
    labels = _labels([job.overrides for job in jobs])
    head = ("", "ANN", "SNN", "drop", "latency", "SynOps per image")
    rows = [(label, *_answers(job.metrics)) for label, job in zip(labels, jobs, strict=True)]
    finished = [job.metrics for job in jobs if job.metrics is not None]
    if _differ_in_seed(jobs) and len(finished) > 1:
        rows.append((f"mean of {len(finished)}, 95 %", *_means(finished)))
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    widths[0] = min(widths[0], _WIDTH - 2 - sum(width + 2 for width in widths[1:]))
    lines = [
        f"  {_cut(row[0], widths[0])}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in (head, *rows)
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([rule, *(line.rstrip() for line in lines), rule])


def _differ_in_seed(jobs: Sequence[SweepJob]) -> bool:
    """Whether jobs are one run over several seeds."""
    everywhere = set.intersection(*(set(job.overrides) for job in jobs))
    return {o.partition("=")[0] for job in jobs for o in job.overrides if o not in everywhere} == {"seed"}


def _means(metrics: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    def cell(name: str, form: str, factor: float = 1.0, unit: str = "") -> str:
        values = [factor * of_job[name] for of_job in metrics if name in of_job]
        if len(values) < len(metrics) or not any(values):
            return "-"
        mean, half = mean_interval(values)
        return f"{mean:{form}} ± {half:{form.lstrip('+')}}{unit}"

    return (
        cell("ann/test_accuracy", ".2f", 100, " %"),
        cell("snn/test_accuracy", ".2f", 100, " %"),
        cell("snn/accuracy_drop", "+.2f", 100),
        cell("snn/latency_ms_to_1pt", ".0f", unit=" ms"),
        cell("snn/synops_per_image", ",.0f"),
    )


def _labels(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Return what differs between jobs: overrides that not all have, without the path that the values share."""
    everywhere = set.intersection(*map(set, overrides)) if len(overrides) > 1 else set()
    labels = [" ".join(_short(o) for o in of_job if o not in everywhere) for of_job in overrides]
    shared = os.path.commonprefix(labels) if len(labels) > 1 else ""  # noqa: RUF071  character by character
    cut = max(shared.rfind("/"), shared.rfind("=")) + 1
    return [label[cut:] for label in labels] if all(" " not in label for label in labels) else labels


def _short(override: str) -> str:
    """Return an override with the last word of its key."""
    key, equals, value = override.partition("=")
    return f"{key.rpartition('.')[2]}{equals}{value}"


def _cut(text: str, width: int) -> str:
    return (text if len(text) <= width else f"{text[: width - 3]}...").ljust(width)


def _answers(metrics: Mapping[str, float] | None) -> tuple[str, ...]:
    if metrics is None:
        return ("failed", "", "", "", "")
    latency, synops = metrics.get("snn/latency_ms_to_1pt"), metrics.get("snn/synops_per_image")
    return (
        f"{100 * metrics['ann/test_accuracy']:.2f} %",
        f"{100 * metrics['snn/test_accuracy']:.2f} %",
        f"{100 * metrics['snn/accuracy_drop']:+.2f}",
        "-" if latency is None else f"{latency:g} ms",
        "-" if not synops else f"{synops:,.0f}",
    )
