"""The closing table: the answer, what it cost, and where to look."""

import math
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from snnpipe.artifacts.report import synops_beside_macs
from snnpipe.artifacts.tables import markdown_table
from snnpipe.metrics.energy import energy_texts
from snnpipe.metrics.formats import ann_accuracy, percent, points
from snnpipe.values.diagnosis import Diagnosis

if TYPE_CHECKING:
    from snnpipe.values.result import RunResult

WIDTH = 100
_TEXT_WIDTH = WIDTH - 20
_TOGETHER = "\N{NO-BREAK SPACE}"


class _Row(NamedTuple):
    """A row of the table.

    Attributes
    ----------
    label, text
        What it says, and of what. Overrides in it stand in backticks, as in Markdown.
    remark
        Further text, on a line of its own in the terminal.
    """

    label: str
    text: str
    remark: str = ""


def closing_table(result: "RunResult") -> str:
    """Return the table that a run ends with, at most 100 columns wide but for addresses, which are whole."""
    answers = list(_answers(result))
    label_width = max(len(label) for label in [*(row.label for row in answers), *result.address])
    lines = [(label, line) for row in answers for label, line in _lines(row)] + list(result.address.items())
    text = [f"  {label:<{label_width}}  {value}" for label, value in lines]
    rule = "-" * min(WIDTH, max(map(len, text)) + 2)
    return "\n".join([rule, *text, rule])


def description(result: "RunResult") -> str:
    """Return what the closing table says of a run, addresses apart, as a table in Markdown."""
    rows = _answers(result)
    return markdown_table([("", ""), *((row.label, "; ".join(filter(None, row[1:]))) for row in rows)])


def _lines(row: _Row) -> Iterator[tuple[str, str]]:
    """Yield a row in lines that fit, the label beside the first."""
    options = {"break_long_words": False, "break_on_hyphens": False}
    lines = wrap(row.text.replace("`", ""), _TEXT_WIDTH, **options)  # type: ignore[arg-type]
    lines += wrap(row.remark.replace("`", ""), _TEXT_WIDTH, initial_indent="  ", subsequent_indent="  ", **options)  # type: ignore[arg-type]
    for i, line in enumerate(lines):
        yield "" if i else row.label, line.replace(_TOGETHER, " ")


def _answers(result: "RunResult") -> Iterator[_Row]:
    """Yield the table's rows, most wanted first."""
    m = result.metrics
    low, high = percent(m["snn/accuracy_ci_low"]), percent(m["snn/accuracy_ci_high"])
    latency = m.get("snn/latency_ms_to_1pt")
    yield _Row("ANN accuracy", percent(m["ann/test_accuracy"]))
    yield _Row(
        "SNN accuracy",
        f"{percent(m['snn/test_accuracy'])}  (95 %: {low} to {high}, {m['snn/test_images']:,.0f} test images)",
    )
    yield _Row("accuracy drop", f"{points(m['snn/accuracy_drop'])} points {_same_images(m)}")
    yield _Row("agreement", f"{percent(m['snn/agreement'])} of images get the class that the ANN gives")
    yield _Row(
        "latency",
        "accuracy does not come within 1 point of the ANN's"
        if latency is None
        else f"{latency:g} ms until accuracy stays within 1 point of the ANN's",
    )
    yield _Row("mean firing rate", f"{m['snn/mean_rate_hz']:.3g} Hz  (busiest neuron {m['snn/max_rate_hz']:,.0f} Hz)")
    yield _Row("SynOps per image", _synops(m, result.no_synops))
    yield _energy(m)
    if "simulate/images_per_s" in m:
        speed, memory = m["simulate/images_per_s"], m["simulate/peak_memory_mb"]
        yield _Row("simulated", f"{speed:,.1f} images/s, {memory:,.0f} MiB at most")
    if result.trained_by:
        yield _Row("trained", f"by run {result.trained_by}; `training.reuse=false` trains anew")
    if result.simulator:
        name, _, why = result.simulator.partition(" (auto: ")
        yield _Row("simulator", f"{name}: {why.removesuffix(')')}" if why else name)
    if "verify/images" in m:
        yield _Row(
            "against nengo_dl",
            f"{m['verify/images']:,.0f} images: {m['verify/moved_spike_share']:.2g} of the spikes moved, "
            f"outputs within {m['verify/output_difference']:.2g}, {percent(m['verify/same_class'])} alike",
        )
    for remark in result.remarks:
        cure = f"`{remark.cure}`" if remark.cure else ""
        yield _Row(remark.label, remark.text, ": ".join(filter(None, (cure, remark.expected))))
    if result.diagnosis is not None:
        yield from _diagnosed(result.diagnosis)


def _same_images(metrics: Mapping[str, float]) -> str:
    """Return what the drop is against, where not all test images were simulated."""
    there = ann_accuracy(metrics)
    if math.isclose(there, metrics["ann/test_accuracy"], abs_tol=1e-9):
        return "on the same images"
    return f"on the same images, of which the ANN has {percent(there)}"


def _synops(metrics: Mapping[str, float], no_synops: str) -> str:
    if "snn/synops_per_image" not in metrics:
        return f"not counted: {no_synops}"
    beside = synops_beside_macs(metrics)
    return f"{metrics['snn/synops_per_image']:,.0f}" + (f"  ({beside})" if beside else "")


def _energy(metrics: Mapping[str, float]) -> _Row:
    energy = energy_texts(metrics)
    if not energy:
        return _Row("energy per image", "no estimate, for SynOps are not counted")
    return _Row(
        "energy per image",
        f"SNN {energy['snn']}, ANN {energy['ann']} in arithmetic units",
        f"SNN {energy['chip']} on neuromorphic chips; estimates from published figures",
    )


def _diagnosed(diagnosis: Diagnosis) -> Iterator[_Row]:
    """Yield where accuracy was lost, and what to try."""
    for note in diagnosis.notes:
        yield _Row("diagnosis", note)
    if not diagnosis.losses:
        return
    points = ", ".join(f"{loss.source} {loss.points:+.1f}".replace(" ", _TOGETHER) for loss in diagnosis.losses)
    yield _Row("points lost", f"{points}  " + f"({diagnosis.images} images)".replace(" ", _TOGETHER))
    bad = diagnosis.first_bad
    if bad is None:
        yield _Row("first bad layer", "none: no layer loses more than sampling noise")
        return
    where = bad.source if bad.is_layer else f"before the first layer, the {bad.source}"
    yield _Row(
        "first bad layer", f"{where}: {bad.points:+.1f} points, {percent(bad.accuracy)} are left", diagnosis.measured
    )
    if diagnosis.tried is not None:
        yield _Row("tried", *diagnosis.tried.told(diagnosis.images))
    for suggestion in diagnosis.suggestions:
        yield _Row("try", f"`{suggestion.override}`", suggestion.expected)
