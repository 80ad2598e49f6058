"""The table of a multi-run's jobs: what differs between them, and their answers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from snnpipe.metrics.intervals import mean_interval
from snnpipe.types import SweepJob

AS_CONFIGURED = "as configured"
_WIDTH = 100


def sweep_table(jobs: Sequence[SweepJob]) -> str:
    """Return a multi-run's table, at most 100 columns wide: what differs between the jobs, and their answers."""
    keys = differing_keys(jobs)
    finished = [job.metrics for job in jobs if job.metrics is not None]
    answers = [("ANN", "SNN", "drop", "latency", "SynOps per image"), *(_answers(job.metrics) for job in jobs)]
    settings = [[key.rpartition(".")[2] for key in keys], *(_values(job, keys) for job in jobs)]
    if keys == ["seed"] and len(finished) > 1:
        answers.append(_means(finished))
        settings.append([f"mean of {len(finished)}, 95 %"])
    right = columns(answers, str.rjust)
    left = columns(settings, str.ljust, _WIDTH - len(right[0])) if keys else [""] * len(right)
    lines = [f"{a}{b}".rstrip() for a, b in zip(left, right, strict=True)]
    rule = "-" * max(map(len, lines))
    return "\n".join([rule, *lines, rule])


def job_line(number: int, n_jobs: int | None, job: SweepJob, keys: Sequence[str], where: str) -> str:
    """Return the line that a job ends with: what it was told of some keys, its answers, and where its files are."""
    told = " ".join(_short(o) for o in job.overrides if o.lstrip("+").partition("=")[0] in keys) or AS_CONFIGURED
    ann, snn, drop, latency, _ = _answers(job.metrics)
    of = "" if n_jobs is None else f" of {n_jobs}"
    return f"job {number + 1}{of}, {told}: ANN {ann}, SNN {snn}, drop {drop}, latency {latency}, files {where}"


def _values(job: SweepJob, keys: Sequence[str]) -> list[str]:
    """Return what a job was told of each key; of one that ran with none of them, that it did."""
    told = {o.partition("=")[0]: _short(o).partition("=")[2] for o in job.overrides}
    values = [told.get(key, "") for key in keys]
    return values if any(values) else [AS_CONFIGURED, *values[1:]]


def columns(rows: Sequence[Sequence[str]], adjust: Callable[[str, int], str], width: int = _WIDTH) -> list[str]:
    """Return each row as one text of columns; the widest is cut until all fit a width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + 2 * len(widths) > width:
        widths[widths.index(max(widths))] -= 1
    return ["".join(f"  {adjust(_cut(cell, w), w)}" for cell, w in zip(row, widths, strict=True)) for row in rows]


def _means(metrics: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    def cell(name: str, form: str, factor: float = 1.0, unit: str = "") -> str:
        values = [factor * of_job[name] for of_job in metrics if name in of_job]
        if len(values) < len(metrics):
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


def job_labels(jobs: Sequence[SweepJob]) -> list[str]:
    """Return what differs between jobs: the overrides that not all have, each with the last word of its key."""
    keys = set(differing_keys(jobs))
    labels = [" ".join(_short(o) for o in job.overrides if o.partition("=")[0] in keys) for job in jobs]
    return [label or AS_CONFIGURED for label in labels]


def differing_keys(jobs: Sequence[SweepJob]) -> list[str]:
    """Return the keys of the overrides that not all jobs have, in the order in which they appear."""
    everywhere = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return list(dict.fromkeys(o.partition("=")[0] for job in jobs for o in job.overrides if o not in everywhere))


def _short(override: str) -> str:
    """Return an override with the last word of its key, and a number with four digits at most."""
    key, equals, value = override.partition("=")
    with suppress(ValueError):
        value = min(value, f"{float(value):.4g}", key=len)
    return f"{key.rpartition('.')[2]}{equals}{value}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width - 3, 1)]}..."[:width]


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
