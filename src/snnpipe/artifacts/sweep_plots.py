"""The pictures of a multi-run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from snnpipe.artifacts.plots import BLUE, GREY, ORANGE, literal, save

_LOG_FROM = 20.0
"""Axes whose values span more than this factor are logarithmic."""
_NUMBER_SIZE = (10.0, 7.5)
"""Width and height of a point's number, points."""
_ROWS = 26
"""Lines of a column of the key."""


def pareto_plot(
    path: Path,
    *,
    labels: Sequence[str],
    costs: ArrayLike,
    names: Sequence[str],
    on_front: NDArray[np.bool_],
    reference: Sequence[bool],
) -> Path:
    """Draw the first objective against each of the others, points numbered, with a key of all their settings.

    Parameters
    ----------
    path
        Of the PNG.
    labels
        Settings of each point.
    costs
        Shape ``(points, objectives)``; infinite where an objective was not reached: such a point stands at the edge.
    names
        Of the objectives, with their units.
    on_front
        Whether each point is on the Pareto front of all objectives.
    reference
        Whether each point is what the others are compared with.
    """
    k = np.asarray(costs, np.float64)
    columns = -(-len(labels) // _ROWS)
    width = 0.075 * max(map(len, labels)) + 0.5
    figure = Figure(figsize=(4.6 * (k.shape[1] - 1) + columns * width, 4.8), layout="constrained")
    panels = figure.subplots(1, k.shape[1], squeeze=False, width_ratios=[*[4.6] * (k.shape[1] - 1), columns * width])[0]
    for n, axes in enumerate(panels[:-1], start=1):
        _draw(axes, k[:, n], k[:, 0], on_front, np.asarray(reference, np.bool_))
        axes.set(xlabel=names[n], ylabel=names[0] if n == 1 else "")
    handles, names_of = panels[0].get_legend_handles_labels()
    figure.legend(handles, names_of, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=8)
    _key(panels[-1], labels, on_front, columns)
    return save(figure, path)


def _draw(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    on_front: NDArray[np.bool_],
    reference: NDArray[np.bool_],
) -> None:
    finite = x[np.isfinite(x)]
    lowest, highest = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    if lowest > 0 and highest / lowest > _LOG_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        edge = highest * (highest / lowest) ** 0.12
    else:
        edge = highest + 0.12 * (highest - lowest or 1.0)
    reached = np.isfinite(x)
    at = np.where(reached, x, edge)
    if not reached.all():
        axes.axvline(edge, color=GREY, linewidth=0.8, linestyle=":")
        axes.text(
            edge,
            0.98,
            "not reached ",
            rotation=90,
            ha="right",
            va="top",
            fontsize=7,
            transform=axes.get_xaxis_transform(),
        )
    rest = ~on_front & ~reference
    axes.scatter(at[rest], y[rest], s=18, color=GREY, label="dominated")
    axes.scatter(at[on_front], y[on_front], s=34, color=BLUE, label="Pareto front of all three", zorder=3)
    if reference.any():
        axes.scatter(
            at[reference],
            y[reference],
            s=110,
            marker="*",
            color=ORANGE,
            edgecolor="black",
            linewidth=0.5,
            label="as configured",
            zorder=4,
        )
    if y.max() > _LOG_FROM:
        axes.set_yscale("symlog", linthresh=1)
        axes.yaxis.set_major_formatter("{x:g}")
    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.25, linewidth=0.5)
    _number(axes, at, y, on_front)


def _number(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], on_front: NDArray[np.bool_]) -> None:
    """Write each point's number beside it, above the numbers that are there already."""
    taken: list[NDArray[np.float64]] = []
    figure = axes.get_figure(root=True)
    assert figure is not None
    places = axes.transData.transform(np.column_stack([x, y])) * 72 / figure.dpi  # in points
    for number in np.argsort(x, kind="stable"):
        offset = np.array([4.0, 3.0])
        while any((np.abs(places[number] + offset - other) < _NUMBER_SIZE).all() for other in taken):
            offset[1] += 1.0
        taken.append(places[number] + offset)
        weight = "bold" if on_front[number] else "normal"
        at = (x[number], y[number])
        axes.annotate(
            str(number), at, xytext=(offset[0], offset[1]), textcoords="offset points", fontsize=7, fontweight=weight
        )


def _key(axes: Axes, labels: Sequence[str], on_front: NDArray[np.bool_], columns: int) -> None:
    axes.set_axis_off()
    for number, label in enumerate(labels):
        column, row = divmod(number, _ROWS)
        axes.text(
            column / columns,
            1 - row / _ROWS,
            f"{number:>2}  {literal(label)}",
            fontsize=7.5,
            color=BLUE if on_front[number] else "#444444",
            fontweight="bold" if on_front[number] else "normal",
            va="top",
            transform=axes.transAxes,
        )
