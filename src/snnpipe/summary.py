"""The closing table: the answer, what it cost, and where to look."""

import math
from collections.abc import Iterator, Mapping
from textwrap import shorten, wrap
from typing import TYPE_CHECKING

from snnpipe.artifacts.tables import markdown_table
from snnpipe.describe import percent
from snnpipe.diagnosis.values import Diagnosis

if TYPE_CHECKING:
    from snnpipe.run_result import RunResult

WIDTH = 100


def closing_table(result: "RunResult") -> str:
    """Return the table that a run ends with, at most 100 columns wide but for addresses, which are whole."""
    answers = _answers(result.metrics, result.simulator, result.trained_by, result.diagnosis)
    rows = [*answers, *result.address.items()]
    label_width = max(len(label) for label, _ in rows)
    lines = [f"  {label:<{label_width}}  {value}" for label, value in rows]
    rule = "-" * min(WIDTH, max(map(len, lines)) + 2)
    return "\n".join([rule, *lines, rule])


def description(
    metrics: Mapping[str, float], simulator: str, trained_by: str, diagnosis: Diagnosis | None = None
) -> str:
    """Return what the closing table says of a run as a table in Markdown.

    Parameters
    ----------
    metrics, simulator, trained_by, diagnosis
        As in `snnpipe.trainer.RunResult`.
    """
    return markdown_table([("", ""), *_answers(metrics, simulator, trained_by, diagnosis)])


def _answers(
    m: Mapping[str, float], simulator: str, trained_by: str, diagnosis: Diagnosis | None
) -> list[tuple[str, str]]:
    """Return the table's rows, most wanted first."""
    images = int(m["snn/test_images"])
    low, high = m["snn/accuracy_ci_low"], m["snn/accuracy_ci_high"]
    latency = m.get("snn/latency_ms_to_1pt")
    per_mac = m.get("snn/synops_per_dense_mac")
    return [
        ("ANN accuracy", percent(m["ann/test_accuracy"])),
        (
            "SNN accuracy",
            f"{percent(m['snn/test_accuracy'])}  (95 %: {percent(low)} to {percent(high)}, {images:,} test images)",
        ),
        ("accuracy drop", f"{100 * m['snn/accuracy_drop']:+.2f} points {_same_images(m)}"),
        ("agreement", f"{percent(m['snn/agreement'])} of images get the class that the ANN gives"),
        (
            "latency",
            "accuracy does not come within 1 point of the ANN's"
            if latency is None
            else f"{latency:g} ms until accuracy stays within 1 point of the ANN's",
        ),
        ("mean firing rate", f"{m['snn/mean_rate_hz']:.3g} Hz  (busiest neuron {m['snn/max_rate_hz']:,.0f} Hz)"),
        (
            "SynOps per image",
            "not counted: a layer runs as a TensorNode or does not spike"
            if "snn/synops_per_image" not in m
            else f"{m['snn/synops_per_image']:,.0f}"
            + ("" if per_mac is None else f"  ({per_mac:.2f} per multiply-accumulate of the ANN)"),
        ),
        ("energy per image", _energy(m)),
        *_simulated(m),
        *([("trained", f"by run {trained_by}; training.reuse=false trains anew")] if trained_by else []),
        *_simulator(simulator),
        *_verified(m),
        *_diagnosed(diagnosis),
    ]


def _energy(metrics: Mapping[str, float]) -> str:
    if "energy/snn_nj_low" not in metrics:
        return "no estimate, for SynOps are not counted"
    most = metrics["energy/chip_nj_high"]
    unit, nj = ("nJ", 1.0) if most < 1e3 else ("uJ", 1e3) if most < 1e6 else ("mJ", 1e6)
    snn, ann, chips = (
        f"{_round(metrics[f'energy/{what}_nj_low'] / nj)} to {_round(metrics[f'energy/{what}_nj_high'] / nj)} {unit}"
        for what in ("snn", "ann", "chip")
    )
    return f"estimated {snn} (ANN {ann}), chips {chips}"


def _simulated(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return what simulating took, of a run that did."""
    if "simulate/images_per_s" not in metrics:
        return []
    speed, memory = metrics["simulate/images_per_s"], metrics["simulate/peak_memory_mb"]
    return [("simulated", f"{speed:,.1f} images/s, {memory:,.0f} MiB at most")]


def _simulator(used: str) -> list[tuple[str, str]]:
    name, _, why = used.partition(" (auto: ")
    text = f"{name}: {why.removesuffix(')')}" if why else name
    return [("simulator", shorten(text, WIDTH - 20, placeholder=" ..."))] if used else []


def _same_images(metrics: Mapping[str, float]) -> str:
    """Return what the drop is against, where not all test images were simulated."""
    there = metrics["snn/test_accuracy"] + metrics["snn/accuracy_drop"]
    if math.isclose(there, metrics["ann/test_accuracy"], abs_tol=1e-9):
        return "on the same images"
    return f"on the same images, of which the ANN has {percent(there)}"


def _verified(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    if "verify/images" not in metrics:
        return []
    return [
        (
            "against nengo_dl",
            f"{metrics['verify/images']:,.0f} images: {metrics['verify/moved_spike_share']:.2g} of the spikes moved, "
            f"outputs within {metrics['verify/output_difference']:.2g}, {percent(metrics['verify/same_class'])} alike",
        )
    ]


def _diagnosed(diagnosis: Diagnosis | None) -> Iterator[tuple[str, str]]:
    """Yield where accuracy was lost, and what to try, cut into lines that fit."""
    if diagnosis is None:
        return
    for note in diagnosis.notes:
        yield from _lines("diagnosis", note)
    if not diagnosis.losses:
        return
    points = ", ".join(f"{loss.source} {loss.points:+.1f}" for loss in diagnosis.losses)
    yield from _lines("points lost", f"{points}  ({diagnosis.images} images)")
    bad = diagnosis.first_bad
    if bad is None:
        yield "first bad layer", "none: no layer loses more than sampling noise"
        return
    where = bad.source if bad.is_layer else f"before the first layer, the {bad.source}"
    yield "first bad layer", f"{where}: {bad.points:+.1f} points, {percent(bad.accuracy)} are left"
    for suggestion in diagnosis.suggestions:
        yield from _lines("try", suggestion.override)
        yield from _lines("", f"  {suggestion.expected}")


def _lines(label: str, text: str) -> Iterator[tuple[str, str]]:
    for i, line in enumerate(wrap(text, WIDTH - 20, break_long_words=False, break_on_hyphens=False)):
        yield "" if i else label, line


def _round(value: float) -> str:
    """Return a number with two digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
