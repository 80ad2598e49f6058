"""The table at the end of a run: the result, its cost, and where the files are."""

import math
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from snnpipe.artifacts.report import synops_beside_macs
from snnpipe.artifacts.tables import markdown_table
from snnpipe.metrics import catalogue as c
from snnpipe.metrics.energy import energy_texts
from snnpipe.metrics.formats import ann_accuracy, percent
from snnpipe.values.diagnosis import Diagnosis
from snnpipe.values.metric import without_patterns

if TYPE_CHECKING:
    from snnpipe.values.result import RunResult

WIDTH = 100
_LABEL_WIDTH = 16
"""Width of the longest label that snnpipe itself uses."""
_TOGETHER = "\N{NO-BREAK SPACE}"


class _Row(NamedTuple):
    """A row of the table.

    Attributes
    ----------
    label, text
        Name of the row, and its content. Overrides in the content are in backticks, as in Markdown.
    remark
        Further text, on a line of its own in the terminal.
    """

    label: str
    text: str
    remark: str = ""


def closing_table(result: "RunResult") -> str:
    """Return the table at the end of a run. It is at most 100 columns wide, except for addresses."""
    answers = list(_answers(result))
    label_width = max(len(label) for label in [*(row.label for row in answers), *result.address])
    width = WIDTH - 4 - max(label_width, _LABEL_WIDTH)
    lines = [(label, line) for row in answers for label, line in _lines(row, width)] + list(result.address.items())
    text = [f"  {label:<{label_width}}  {value}" for label, value in lines]
    rule = "-" * min(WIDTH, max(map(len, text)) + 2)
    return "\n".join([rule, *text, rule])


def description(result: "RunResult") -> str:
    """Return the closing table without addresses, as a table in Markdown."""
    rows = _answers(result)
    return markdown_table([("", ""), *((row.label, "; ".join(filter(None, row[1:]))) for row in rows)])


def _lines(row: _Row, width: int) -> Iterator[tuple[str, str]]:
    """Yield the lines of a row, each narrow enough. The first line has the label."""
    options = {"break_long_words": False, "break_on_hyphens": False}
    lines = wrap(row.text.replace("`", ""), width, **options)  # type: ignore[arg-type]
    lines += wrap(row.remark.replace("`", ""), width, initial_indent="  ", subsequent_indent="  ", **options)  # type: ignore[arg-type]
    for i, line in enumerate(lines):
        yield "" if i else row.label, line.replace(_TOGETHER, " ")


def _answers(result: "RunResult") -> Iterator[_Row]:
    """Yield the table's rows, the most important first."""
    m, word = result.metrics, result.sample_word
    yield _Row(c.ANN_ACCURACY.label, c.ANN_ACCURACY.of(m))
    interval = f"{c.CI_LOW.of(m)} to {c.CI_HIGH.of(m)}"
    yield _Row(c.SNN_ACCURACY.label, f"{c.SNN_ACCURACY.of(m)}  (95 %: {interval}, {c.TEST_IMAGES.of(m)} test {word}s)")
    yield _Row(c.DROP.label, f"{c.DROP.of(m)} {_same_samples(m, word)}")
    yield _Row(c.AGREEMENT.label, f"{c.AGREEMENT.of(m)} of {word}s get the class that the ANN gives")
    yield _Row(
        c.LATENCY.in_short,
        f"{c.LATENCY.of(m)} {c.LATENCY.note}"
        if c.LATENCY.name in m
        else "accuracy does not come within 1 point of the ANN's",
    )
    yield _Row(c.MEAN_RATE.label, f"{c.MEAN_RATE.of(m)}  (busiest neuron {c.MAX_RATE.of(m)})")
    yield _Row(c.in_words(c.SYNOPS.label, word), _synops(m, result.no_synops))
    yield _energy(m, word)
    for spec in without_patterns(result.specs):
        yield _Row(spec.label, f"{spec.of(m)}  {spec.note}".rstrip())
    if c.IMAGES_PER_S.name in m:
        yield _Row(c.IMAGES_PER_S.label, f"{c.in_words(c.IMAGES_PER_S.of(m), word)}, {c.PEAK_MEMORY.of(m)} at most")
    if result.input_over_time:
        yield _Row("input", result.input_over_time)
    if result.trained_by:
        yield _Row("trained", f"by run {result.trained_by}; `training.reuse=false` trains anew")
    if result.simulator:
        name, _, why = result.simulator.partition(" (auto: ")
        yield _Row("simulator", f"{name}: {why.removesuffix(')')}" if why else name)
    if c.VERIFIED.name in m:
        yield _Row(
            "against nengo_dl",
            f"{c.VERIFIED.of(m)} {word}s: {c.MOVED_SPIKES.of(m)} of the spikes moved, outputs within "
            f"{c.OUTPUT_DIFFERENCE.of(m)}, {c.SAME_CLASS.of(m)} alike",
        )
    for remark in result.remarks:
        cure = f"`{remark.cure}`" if remark.cure else ""
        yield _Row(remark.label, remark.text, ": ".join(filter(None, (cure, remark.expected))))
    if result.diagnosis is not None:
        yield from _diagnosed(result.diagnosis, word)


def _same_samples(metrics: Mapping[str, float], word: str) -> str:
    """Return the accuracy that the drop is measured against, if not all test samples were simulated."""
    there = ann_accuracy(metrics)
    if math.isclose(there, metrics[c.ANN_ACCURACY.name], abs_tol=1e-9):
        return f"on the same {word}s"
    return f"on the same {word}s, of which the ANN has {c.ANN_ACCURACY.text(there)}"


def _synops(metrics: Mapping[str, float], no_synops: str) -> str:
    if c.SYNOPS.name not in metrics:
        return f"not counted: {no_synops}"
    beside = synops_beside_macs(metrics)
    return c.SYNOPS.of(metrics) + (f"  ({beside})" if beside else "")


def _energy(metrics: Mapping[str, float], word: str) -> _Row:
    energy = energy_texts(metrics)
    if not energy:
        return _Row(c.in_words(c.ENERGY_PER_SAMPLE, word), "no estimate, for SynOps are not counted")
    return _Row(
        c.in_words(c.ENERGY_PER_SAMPLE, word),
        f"SNN {energy['snn']}, ANN {energy['ann']} in arithmetic units",
        f"SNN {energy['chip']} on neuromorphic chips; estimates from published figures",
    )


def _diagnosed(diagnosis: Diagnosis, word: str) -> Iterator[_Row]:
    """Yield rows on the layers where accuracy was lost, and on what to try."""
    for note in diagnosis.notes:
        yield _Row("diagnosis", note)
    if not diagnosis.losses:
        return
    points = ", ".join(f"{loss.source} {loss.points:+.1f}".replace(" ", _TOGETHER) for loss in diagnosis.losses)
    yield _Row("points lost", f"{points}  " + f"({diagnosis.images} {word}s)".replace(" ", _TOGETHER))
    bad = diagnosis.first_bad
    if bad is None:
        yield _Row("first bad layer", "none: no layer loses more than sampling noise")
        return
    where = bad.source if bad.is_layer else f"before the first layer, the {bad.source}"
    yield _Row(
        "first bad layer", f"{where}: {bad.points:+.1f} points, {percent(bad.accuracy)} are left", diagnosis.measured
    )
    if diagnosis.tried is not None:
        yield _Row("tried", *diagnosis.tried.told(diagnosis.images, word))
    for suggestion in diagnosis.suggestions:
        yield _Row("try", f"`{suggestion.override}`", suggestion.expected)
