"""Plots of a run, in one style: labelled axes with units, and colours that colour-blind people can distinguish."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from snnpipe.base.files import replace_file
from snnpipe.metrics.catalogue import AGREEMENT, ANN_ACCURACY, SNN_ACCURACY
from snnpipe.metrics.intervals import wilson_interval
from snnpipe.values.calibration import CalibrationOutcome
from snnpipe.values.simulation import SpikeEvents

# Okabe and Ito's colours, https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
DARK_BLUE = "#00456B"
"""A darker BLUE for marks of a point or two in size, because small marks look paler."""

_DPI = 120


def accuracy_over_time(
    path: Path,
    *,
    accuracy: Sequence[float],
    agreement: Sequence[float],
    ann_accuracy: float,
    n_samples: int,
    sample_word: str,
    dt: float,
) -> Path:
    """Plot the SNN's accuracy (with its 95 % interval) and agreement after each step, and the ANN's accuracy."""
    figure = Figure(figsize=(6.4, 4.3), layout="constrained")
    axes = figure.subplots()
    time_ms = _time_ms(len(accuracy), dt)
    bounds = np.array([wilson_interval(round(share * n_samples), n_samples) for share in accuracy]).T
    axes.fill_between(time_ms, *(100 * bounds), color=BLUE, alpha=0.2, linewidth=0, label="95 % interval")
    axes.plot(time_ms, 100 * np.asarray(accuracy), color=BLUE, label=SNN_ACCURACY.label)
    axes.plot(time_ms, 100 * np.asarray(agreement), color=GREEN, linestyle=":", label=f"{AGREEMENT.label} with the ANN")
    axes.axhline(100 * ann_accuracy, color=ORANGE, linestyle="--", label=ANN_ACCURACY.label)
    axes.set(
        xlabel=f"time that the {sample_word} is shown (ms)",
        ylabel=f"share of {n_samples:,} test {sample_word}s (%)",
        title="Accuracy over time",
        xlim=(0, time_ms[-1]),
        ylim=(0, 102),
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return save(figure, path)


def calibration_search(path: Path, outcome: CalibrationOutcome, sample_word: str) -> Path:
    """Plot the accuracy and the error of each trial of a calibration against its spikes, and mark the chosen one."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    of_accuracy, of_error = figure.subplots(2, 1, sharex=True)
    tried = sorted(outcome.tried, key=lambda one: one.spikes)
    chosen = next(one for one in tried if one.spikes_per_step == outcome.spikes_per_step)
    spikes = [one.spikes for one in tried]
    of_accuracy.plot(spikes, [100 * one.accuracy for one in tried], "o-", color=BLUE, label=SNN_ACCURACY.label)
    ann = 100 * chosen.accuracy + chosen.drop
    of_accuracy.axhline(ann, color=ORANGE, linestyle="--", label=ANN_ACCURACY.label)
    if outcome.max_drop is not None:
        of_accuracy.axhline(ann - outcome.max_drop, color=GREY, linestyle=":", label="lowest allowed")
    of_accuracy.set(ylabel="accuracy (%)", title=f"Accuracy against spikes, on {outcome.judged}")
    of_error.plot(spikes, [100 * one.error for one in tried], "o-", color=BLUE, label="error of the class scores")
    if outcome.max_drop is None:
        of_error.axhline(100 * outcome.max_error, color=GREY, linestyle=":", label="highest allowed")
    of_error.set(xlabel=f"spikes per {sample_word}", ylabel="error (%)")
    of_accuracy.set_ylim(top=min(of_accuracy.get_ylim()[1], 100.5))
    for axes, value in ((of_accuracy, 100 * chosen.accuracy), (of_error, 100 * chosen.error)):
        axes.plot(chosen.spikes, value, "o", markersize=11, fillstyle="none", color=ORANGE, label="chosen")
        axes.legend(frameon=False)
    return save(figure, path)


def spike_raster(
    path: Path,
    *,
    layer: str,
    events: SpikeEvents,
    samples: Sequence[int],
    labels: Sequence[str],
    sample_word: str,
    neurons: NDArray[np.int64],
    size: int,
    n_steps: int,
    dt: float,
) -> Path:
    """Plot a layer's spikes in one panel per sample, with time on the x axis and the chosen neurons on the y axis."""
    figure = Figure(figsize=(2.2 + 2.6 * len(samples), 4.0), layout="constrained")
    panels = figure.subplots(1, len(samples), sharey=True, squeeze=False)[0]
    row_of = np.full(int(max(events.neuron.max(initial=0), neurons.max(initial=0))) + 1, -1)
    row_of[neurons] = np.arange(len(neurons))
    for axes, sample, label in zip(panels, samples, labels, strict=True):
        mine = (events.image == sample) & (row_of[events.neuron] >= 0)
        axes.plot(
            (events.step[mine] + 1) * dt * 1000,
            row_of[events.neuron[mine]],
            linestyle="none",
            marker="|",
            markersize=min(5.0, max(3.5, 250 / max(len(neurons), 1))),
            markeredgewidth=1.6,
            color=DARK_BLUE,
        )
        axes.set(xlabel="time (ms)", title=f"{sample_word} {sample}: {literal(label)}", xlim=(0, n_steps * dt * 1000))
        axes.set_ylim(-0.5, max(len(neurons), 1) - 0.5)
    shown = f"all {size:,}" if len(neurons) == size else f"{len(neurons):,} of {size:,}, drawn at random"
    panels[0].set_ylabel(f"neurons of {literal(layer)} ({shown})")
    return save(figure, path)


def class_scores(
    path: Path,
    *,
    scores_btc: NDArray[np.float64],
    samples: Sequence[int],
    labels: Sequence[int],
    sample_word: str,
    class_names: Sequence[str],
    dt: float,
) -> Path:
    """Plot the class scores over time in one panel per sample. The thick line is the true class."""
    columns = min(4, len(samples))
    rows = -(-len(samples) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.3 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    time_ms = _time_ms(scores_btc.shape[1], dt)
    for axes in grid.ravel()[len(samples) :]:
        axes.set_visible(False)
    for axes, scores_tc, sample, label in zip(grid.ravel(), scores_btc, samples, labels, strict=False):
        _draw_scores(axes, time_ms, scores_tc, label)
        read_as = int(np.argmax(scores_tc[-1]))
        verdict = "right" if read_as == label else f"read as {literal(class_names[read_as])}"
        axes.set_title(f"{sample_word} {sample}: {literal(class_names[label])}, {verdict}", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("time (ms)")
    for axes in grid[:, 0]:
        axes.set_ylabel("class score")
    lines = [
        Line2D([], [], color=BLUE, linewidth=2.2, label="true class"),
        Line2D([], [], color=ORANGE, linestyle="--", label="strongest other class at the end"),
        Line2D([], [], color=GREY, linewidth=0.8, label="others"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=3, frameon=False)
    return save(figure, path)


def _draw_scores(axes: Axes, time_ms: NDArray[np.float64], scores_tc: NDArray[np.float64], label: int) -> None:
    others = [c for c in range(scores_tc.shape[1]) if c != label]
    axes.plot(time_ms, scores_tc[:, others], color=GREY, linewidth=0.8)
    strongest = others[int(np.argmax(scores_tc[-1, others]))] if others else label
    axes.plot(time_ms, scores_tc[:, strongest], color=ORANGE, linewidth=1.2, linestyle="--")
    axes.plot(time_ms, scores_tc[:, label], color=BLUE, linewidth=2.2)


def _time_ms(n_steps: int, dt: float) -> NDArray[np.float64]:
    return (np.arange(n_steps, dtype=np.float64) + 1) * dt * 1000


def literal(name: str) -> str:
    """Return a name as text that Matplotlib prints literally, without reading it as a formula."""
    return name.replace("$", r"\$")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, either completely or not at all."""
    figure.set_dpi(_DPI)
    canvas: Any = FigureCanvasAgg(figure)
    with replace_file(path) as file:
        canvas.print_png(file)  # print_figure would draw everything twice
    return path
