"""Plots for the review of a run: training, classes, firing rates, and spikes against activations.

Axes: c = class, n = neuron.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from snnpipe.artifacts.plots import BLUE, GREY, ORANGE, literal, save
from snnpipe.metrics.formats import percent

_COLUMNS = 3
_BINS = 40
_NAMED_CLASSES = 20
_WRITTEN_CLASSES = 12


def training_curves(path: Path, *, epochs: Sequence[int], metrics: Sequence[Mapping[str, float]]) -> Path:
    """Plot loss and accuracy after each epoch, on training samples and, if there are any, on validation samples."""
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    for axes, name, factor, unit in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), ("", " (%)"), strict=True
    ):
        for prefix, color, style, label in (("", BLUE, "-", "training"), ("val_", ORANGE, "--", "validation")):
            values = [factor * of_epoch.get(f"fit/{prefix}{name}", np.nan) for of_epoch in metrics]
            if np.isfinite(values).any():
                axes.plot(epochs, values, color=color, linestyle=style, marker="o", markersize=3, label=label)
        axes.set(xlabel="epoch", ylabel=f"{name}{unit}", title=f"Training: {name}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)
    return save(figure, path)


def cost_summary(
    path: Path,
    *,
    accuracy: tuple[float, float, float],
    ann_accuracy: float,
    latency_ms: float | None,
    shown_ms: float,
    sample_word: str,
    energies_j: Mapping[str, tuple[float, float, float | None]],
) -> Path:
    """Plot the accuracy, the latency and the energy per sample in one figure.

    Parameters
    ----------
    path
        Path of the PNG file.
    accuracy
        Accuracy of the spiking network with its interval: value, lower bound, upper bound.
    ann_accuracy
        Accuracy of the ANN.
    latency_ms, shown_ms
        Time until the accuracy stays within a point of the ANN's, None if it does not; and time that a sample is shown.
    sample_word
        Word for a sample of the data.
    energies_j
        For each device, the spiking network's lowest and highest energy, and the ANN's; None if the device runs no ANN.
    """
    rows = max(len(energies_j), 1)
    figure = Figure(figsize=(9.6, 1.6 + 0.26 * rows), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[1, 1.6])
    above, below = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    value, low, high = (100 * share for share in accuracy)
    above.errorbar(value, 0, xerr=[[value - low], [high - value]], marker="o", color=BLUE, capsize=4, label="SNN, 95 %")
    above.axvline(100 * ann_accuracy, color=ORANGE, linestyle="--", label="ANN")
    above.set(xlabel="accuracy (%)", yticks=[])
    above.margins(x=0.3)
    above.set_xlim(right=min(above.get_xlim()[1], 101))
    above.legend(frameon=False, fontsize=8)
    below.barh(0, shown_ms, color="#dddddd", label="shown")
    if latency_ms is not None:
        below.barh(0, latency_ms, color=BLUE, label="to within 1 point of the ANN")
    below.set(xlabel="time (ms)", yticks=[], ylim=(-0.5, 1.4))
    below.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    _draw_energies(figure.add_subplot(grid[:, 1]), energies_j, sample_word)
    return save(figure, path)


def _draw_energies(axes: Axes, energies_j: Mapping[str, tuple[float, float, float | None]], word: str) -> None:
    if not energies_j:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "energy not estimated: SynOps are not counted", ha="center", fontsize=8)
        return
    for row, (low, high, ann) in enumerate(energies_j.values()):
        first = row == 0
        axes.plot([low, high], [row, row], color=BLUE, linewidth=5, label="SNN" if first else "")
        axes.plot([low, high], [row, row], color=BLUE, marker="o", linestyle="none", markersize=5)  # equal values
        if ann is not None:
            axes.plot(ann, row, color=ORANGE, marker="D", linestyle="none", markersize=5, label="ANN" if first else "")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(unit="J"))
    axes.set_yticks(range(len(energies_j)), list(energies_j), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"energy per {word}, estimated from published figures")
    axes.grid(axis="x", alpha=0.25, linewidth=0.5)
    axes.legend(frameon=False, fontsize=8)


def rate_histograms(path: Path, *, rates_hz: Mapping[str, NDArray[np.float64]]) -> Path:
    """Plot how many neurons of each layer fire at which rate. The title counts the silent neurons."""
    figure, panels = _grid(len(rates_hz), 3.0, 2.4)
    for axes, (name, rate_n) in zip(panels, rates_hz.items(), strict=True):
        firing = rate_n[rate_n > 0]
        counts, *_ = axes.hist(firing, bins=_BINS, color=BLUE)
        axes.axvline(float(rate_n.mean()), color=ORANGE, linestyle="--", label=f"mean {rate_n.mean():.3g} Hz")
        axes.set_title(f"{literal(name)}: {percent(np.mean(rate_n == 0), 0)} of {len(rate_n):,} silent", fontsize=9)
        axes.set(yscale="log", ylim=(0.7, 5 * max(np.max(counts), 1)))  # leaves room for the legend
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("firing rate (Hz)")
        axes.legend(frameon=False, fontsize=8)
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel("neurons")
    return save(figure, path)


def rate_against_activation(
    path: Path,
    *,
    layers: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
    correlations: Sequence[float | None],
) -> Path:
    """Plot the filtered rates of each layer against the ANN's activations, for some samples and neurons."""
    figure, panels = _grid(len(layers), 3.0, 2.8)
    for axes, (name, (ann, snn)), correlation in zip(panels, layers.items(), correlations, strict=True):
        top = float(max(ann.max(initial=0), snn.max(initial=0))) or 1.0
        axes.plot([0, top], [0, top], color=GREY, linewidth=1, label="alike")
        axes.plot(ann, snn, linestyle="none", marker=".", markersize=2.5, alpha=0.35, color=BLUE, rasterized=True)
        r = "" if correlation is None else f", r = {correlation:.3f}"
        axes.set_title(f"{literal(name)}{r}", fontsize=9)
        axes.set_xlabel("activation in the ANN")
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel("filtered rate x amplitude")
    return save(figure, path)


def confusion_matrices(
    path: Path,
    *,
    ann_cc: NDArray[np.int64],
    snn_cc: NDArray[np.int64],
    between_cc: NDArray[np.int64],
    class_names: Sequence[str],
    sample_word: str,
) -> Path:
    """Plot the classes that the ANN and the spiking network predict for each true class, and where both differ."""
    size = 3.4 if len(class_names) <= _WRITTEN_CLASSES else 4.2
    figure = Figure(figsize=(3 * size + 0.6, size + 0.5), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    _matrix(first, ann_cc, class_names, "ANN", "true class", "class that the ANN gives")
    _matrix(second, snn_cc, class_names, "Spiking network", "true class", "class that the SNN gives")
    differ = between_cc - np.diag(np.diag(between_cc))
    title = f"Where they differ: {differ.sum():,} of {between_cc.sum():,} {sample_word}s"
    _matrix(third, differ, class_names, title, "class that the ANN gives", "class that the SNN gives")
    return save(figure, path)


def _matrix(
    axes: Axes, counts_cc: NDArray[np.int64], class_names: Sequence[str], title: str, ylabel: str, xlabel: str
) -> None:
    axes.imshow(np.log1p(counts_cc), cmap="Blues")
    n = len(class_names)
    axes.set_title(title, fontsize=9)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    ticks = range(n) if n <= _NAMED_CLASSES else range(0, n, 10)
    short = [literal(name if len(name) <= 10 else f"{name[:9]}.") for name in (class_names[i] for i in ticks)]
    axes.set_xticks(list(ticks), short, rotation=0 if max(map(len, short)) < 3 else 90, fontsize=7)
    axes.set_yticks(list(ticks), short, fontsize=7)
    if n <= _WRITTEN_CLASSES:
        dark = np.log1p(counts_cc) > 0.6 * np.log1p(counts_cc.max())
        for row, column in np.argwhere(counts_cc > 0):
            color = "white" if dark[row, column] else "black"
            axes.text(column, row, f"{counts_cc[row, column]}", ha="center", va="center", fontsize=6, color=color)


def _grid(n: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a grid of equal panels, and its axes."""
    columns = min(_COLUMNS, max(n, 1))
    rows = -(-max(n, 1) // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in panels[n:]:
        axes.set_visible(False)
    return figure, panels[:n]
