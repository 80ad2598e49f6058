"""The table of a multi-run's jobs: their differing settings, and their answers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from snnpipe.base.shorten import shorten
from snnpipe.metrics.formats import ann_accuracy, percent, points
from snnpipe.metrics.intervals import mean_interval
from snnpipe.values.run import SweepJob

AS_CONFIGURED = "as configured"
_WIDTH = 100


def sweep_table(jobs: Sequence[SweepJob]) -> str:
    """Return a multi-run's table, at most 100 characters wide: the jobs' differing settings, and their answers."""
    keys = differing_keys(jobs)
    finished = [job.metrics for job in jobs if job.metrics is not None]
    answers = [("ANN", "SNN", "drop", "latency", "SynOps per image"), *(_answers(job.metrics) for job in jobs)]
    settings = [list(short_keys(keys).values()), *(_values(job, keys) for job in jobs)]
    if keys == ["seed"] and len(finished) > 1:
        answers.append(_means(finished))
        settings.append([f"mean of {len(finished)}, 95 %"])
    right = columns(answers, str.rjust)
    left = columns(settings, str.ljust, _WIDTH - len(right[0])) if keys else [""] * len(right)
    lines = [f"{a}{b}".rstrip() for a, b in zip(left, right, strict=True)]
    rule = "-" * max(map(len, lines))
    return "\n".join([rule, *lines, rule])


def job_name(number: int, n_jobs: int | None, overrides: Sequence[str], keys: Sequence[str]) -> str:
    """Return the name of a job in its line: its number, the number of jobs if known, and its values of ``keys``."""
    names = short_keys(keys)
    split = (o.lstrip("+").partition("=") for o in overrides)
    values = " ".join(f"{names[key]}={short_value(value)}" for key, _, value in split if key in names) or AS_CONFIGURED
    return f"job {number}{'' if n_jobs is None else f' of {n_jobs}'}, {values}"


def job_answers(metrics: Mapping[str, float]) -> str:
    """Return the result of a job in words, for its line."""
    ann, snn, drop, latency, _ = _answers(metrics)
    return f"ANN {ann}, SNN {snn}, drop {drop}, latency {latency}"


def job_numbers(jobs: Sequence[SweepJob]) -> list[int]:
    """Return the number of each job, as in its line. If some have no number of their own, they are counted from 1."""
    numbers = [job.number for job in jobs]
    known = all(numbers) and len(set(numbers)) == len(numbers)
    return numbers if known else list(range(1, len(jobs) + 1))


def _values(job: SweepJob, keys: Sequence[str]) -> list[str]:
    """Return a job's value of each key. If it has none, the first is ``as configured``."""
    settings = {key: short_value(value) for key, _, value in (o.partition("=") for o in job.overrides)}
    values = [settings.get(key, "") for key in keys]
    return values if any(values) else [AS_CONFIGURED, *values[1:]]


def columns(rows: Sequence[Sequence[str]], adjust: Callable[[str, int], str], width: int = _WIDTH) -> list[str]:
    """Return each row as a text with aligned columns. Cells of the widest columns are cut until rows fit ``width``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) + 2 * len(widths) > width:
        widths[widths.index(max(widths))] -= 1
    cut = [shorten(column, w) for column, w in zip(zip(*rows, strict=True), widths, strict=True)]
    return [
        "".join(f"  {adjust(cell, w)}" for cell, w in zip(row, widths, strict=True)) for row in zip(*cut, strict=True)
    ]


def _means(metrics: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    def cell(name: str, form: str, factor: float = 1.0, unit: str = "") -> str:
        values = [of_job[name] for of_job in metrics if name in of_job]
        return mean_of([factor * value for value in values], form, unit) if len(values) == len(metrics) else "-"

    def mean_of(values: Sequence[float], form: str, unit: str) -> str:
        mean, half = mean_interval(values)
        return f"{round(mean, 6) + 0.0:{form}} ± {half:{form.lstrip('+')}}{unit}"

    return (
        mean_of([100 * ann_accuracy(of_job) for of_job in metrics], ".2f", " %"),
        cell("snn/test_accuracy", ".2f", 100, " %"),
        cell("snn/accuracy_drop", "+.2f", 100),
        cell("snn/latency_ms_to_1pt", ".0f", unit=" ms"),
        cell("snn/synops_per_image", ",.0f"),
    )


def job_labels(jobs: Sequence[SweepJob]) -> list[str]:
    """Return a label for each job: its overrides that not all jobs have, with short keys."""
    names = short_keys(differing_keys(jobs))
    settings = [
        [(key, value) for key, _, value in (o.partition("=") for o in job.overrides) if key in names] for job in jobs
    ]
    return [" ".join(f"{names[key]}={short_value(value)}" for key, value in own) or AS_CONFIGURED for own in settings]


def differing_keys(jobs: Sequence[SweepJob]) -> list[str]:
    """Return the keys of the overrides that not all jobs have, in the order of their first appearance."""
    everywhere = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return list(dict.fromkeys(o.partition("=")[0] for job in jobs for o in job.overrides if o not in everywhere))


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return the shortest end of each key, in whole words, that no other key ends with."""
    names = {}
    for key in keys:
        words = key.split(".")
        ends = [".".join(words[i:]) for i in range(len(words) - 1, -1, -1)]
        others = [other for other in keys if other != key]
        names[key] = next((end for end in ends if not any(f".{o}".endswith(f".{end}") for o in others)), key)
    return names


def short_value(value: str) -> str:
    """Return an override's value. A number has four significant digits at most."""
    with suppress(ValueError):
        value = min(value, f"{float(value):.4g}", key=len)
    return value


def _answers(metrics: Mapping[str, float] | None) -> tuple[str, ...]:
    if metrics is None:
        return ("failed", "", "", "", "")
    latency, synops = metrics.get("snn/latency_ms_to_1pt"), metrics.get("snn/synops_per_image")
    return (
        percent(ann_accuracy(metrics)),
        percent(metrics["snn/test_accuracy"]),
        points(metrics["snn/accuracy_drop"]),
        "-" if latency is None else f"{latency:g} ms",
        "-" if not synops else f"{synops:,.0f}",
    )
