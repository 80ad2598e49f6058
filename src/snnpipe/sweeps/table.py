"""The table of a multi-run's jobs: their differing settings, and their answers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from snnpipe.base.shorten import shorten
from snnpipe.metrics.catalogue import ANN_ACCURACY, DROP, LATENCY, SNN_ACCURACY, SYNOPS, cell
from snnpipe.metrics.formats import on_the_same_images
from snnpipe.metrics.intervals import mean_interval
from snnpipe.values.metric import NO_VALUE, MetricSpec, formatted, merged
from snnpipe.values.run import SweepJob

AS_CONFIGURED = "as configured"
_WIDTH = 100
_SETTINGS_WIDTH = 24
"""Of the settings at least, where the runs have metrics of their own."""

_ANSWERS = (ANN_ACCURACY, SNN_ACCURACY, DROP, LATENCY, SYNOPS)
_HEADINGS = (*(spec.in_short for spec in _ANSWERS[:-1]), SYNOPS.label)


def sweep_table(jobs: Sequence[SweepJob]) -> str:
    """Return a multi-run's table, at most 100 characters wide: the jobs' differing settings, and their answers."""
    keys = differing_keys(jobs)
    finished = [job.metrics for job in jobs if job.metrics is not None]
    settings = [list(short_keys(keys).values()), *(_values(job, keys) for job in jobs)]
    means = finished if keys == ["seed"] and len(finished) > 1 else []
    if means:
        settings.append([f"mean of {len(means)}, 95 %"])
    right = columns(_column_group(_ANSWERS, _HEADINGS, jobs, means), str.rjust)
    own = merged(job.specs for job in jobs)
    room = _WIDTH - (min(_SETTINGS_WIDTH, len(columns(settings, str.ljust)[0])) if keys else 0)
    shown = 0
    for spec in own:
        wider = columns(_column_group([spec], [spec.in_short], jobs, means), str.rjust)
        if len(right[0]) + len(wider[0]) > room:
            break
        right = [a + b for a, b in zip(right, wider, strict=True)]
        shown += 1
    left = columns(settings, str.ljust, _WIDTH - len(right[0])) if keys else [""] * len(right)
    lines = [f"{a}{b}".rstrip() for a, b in zip(left, right, strict=True)]
    if shown < len(own):
        names = ", ".join(spec.in_short for spec in own[shown:])
        lines.append(f"  {shorten([f'also in sweep.csv: {names}'], _WIDTH - 2)[0]}")
    rule = "-" * max(map(len, lines))
    return "\n".join([rule, *lines, rule])


def _column_group(
    specs: Sequence[MetricSpec],
    headings: Sequence[str],
    jobs: Sequence[SweepJob],
    means: Sequence[Mapping[str, float]],
) -> list[Sequence[str]]:
    """Return some columns of metrics: headings, a row a job, and the mean over some runs where there are any."""
    rows: list[Sequence[str]] = [headings, *(_cells(specs, job.metrics) for job in jobs)]
    return [*rows, [_mean(spec, [on_the_same_images(run) for run in means]) for spec in specs]] if means else rows


def _cells(specs: Sequence[MetricSpec], metrics: Mapping[str, float] | None) -> list[str]:
    """Return what a job's row says of some metrics; of a job that failed, that it did under the ANN's accuracy."""
    if metrics is None:
        return ["failed" if spec is ANN_ACCURACY else "" for spec in specs]
    shown = on_the_same_images(metrics)
    if not shown.get(SYNOPS.name):
        shown = {name: value for name, value in shown.items() if name != SYNOPS.name}
    return [cell(spec, shown) for spec in specs]


def _mean(spec: MetricSpec, runs: Sequence[Mapping[str, float]]) -> str:
    """Return a metric's mean over some runs with half the width of its interval, a dash where one has no value."""
    values = [spec.factor * run[spec.name] for run in runs if spec.name in run]
    if len(values) < len(runs):
        return NO_VALUE
    mean, half = mean_interval(values)
    form = spec.mean_form or spec.form
    unit = f" {spec.unit}" if spec.unit and spec.unit != DROP.unit else ""
    return f"{formatted(mean, form)} ± {formatted(half, form.lstrip('+'))}{unit}"


def job_name(number: int, n_jobs: int | None, overrides: Sequence[str], keys: Sequence[str]) -> str:
    """Return the name of a job in its line: its number, the number of jobs if known, and its values of ``keys``."""
    names = short_keys(keys)
    split = (o.lstrip("+").partition("=") for o in overrides)
    values = " ".join(f"{names[key]}={short_value(value)}" for key, _, value in split if key in names) or AS_CONFIGURED
    return f"job {number}{'' if n_jobs is None else f' of {n_jobs}'}, {values}"


def job_answers(metrics: Mapping[str, float]) -> str:
    """Return the result of a job in words, for its line."""
    specs = _ANSWERS[:-1]
    return ", ".join(f"{spec.in_short} {text}" for spec, text in zip(specs, _cells(specs, metrics), strict=True))


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
