"""Plots of a multi-run."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from snnpipe.artifacts.plots import BLUE, GREY, ORANGE, literal, save

_LOG_FROM = 20.0
"""An axis is logarithmic if its values span more than this factor."""

_MARGIN = 0.12
"""Free margin beside the points, as a share of an axis's span. Points that were not reached are in this margin."""

_SIZE = (4.7, 4.2)
"""Size of a panel, inches."""

_CHARACTER, _LINE = 5.1, 8.5
"""Width of a character and height of a line in a point's number, points."""

_RINGS = (9.0, 17.0, 26.0)
"""Distances at which a number may stand from its point, points."""

_KEY_WIDTH, _KEY_LINES, _KEY_LINE = 125, 14, 0.16
"""Characters per line of the key, its largest number of lines, and the height of a line, inches."""


Box = Sequence[float] | NDArray[np.float64]


def pareto_plot(path: Path, **content: Any) -> Path:
    """Write the figure of `pareto_figure` as PNG."""
    return save(pareto_figure(**content), path)


def pareto_figure(
    *,
    labels: Sequence[str],
    costs: ArrayLike,
    names: Sequence[str],
    on_front: NDArray[np.bool_],
    reference: Sequence[bool],
    numbers: Sequence[int],
) -> Figure:
    """Plot the first objective against each other one. Points are numbered, and a key gives the settings on the front.

    Parameters
    ----------
    labels
        Settings of each point.
    costs
        Values of the objectives, shape ``(points, objectives)``. A value is infinite if the objective was not reached;
        the point is then at the edge.
    names
        Names of the objectives, with their units.
    on_front
        Whether each point is on the Pareto front of all objectives.
    reference
        Whether each point is a reference that the others are compared with.
    numbers
        Numbers by which the points are called.
    """
    k = np.asarray(costs, np.float64)
    key = _key(labels, numbers, on_front | np.asarray(reference, np.bool_))
    panels = k.shape[1] - 1
    height = _SIZE[1] + 0.4 + _KEY_LINE * len(key)
    figure = Figure(figsize=(_SIZE[0] * panels, height), layout="constrained")
    grid = figure.add_gridspec(2, panels, height_ratios=[height - _KEY_LINE * len(key), _KEY_LINE * len(key)])
    drawn = [figure.add_subplot(grid[0, n]) for n in range(panels)]
    for n, axes in enumerate(drawn, start=1):
        x = _draw(axes, k[:, n], k[:, 0], on_front, np.asarray(reference, np.bool_))
        axes.set(xlabel=names[n], ylabel=names[0] if n == 1 else "")
        k[:, n] = x
    _write_key(figure.add_subplot(grid[1, :]), key)
    handles, names_of = drawn[0].get_legend_handles_labels()
    figure.legend(handles, names_of, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=8)
    figure.draw_without_rendering()  # fixes the positions of the points, which get numbers next
    for n, axes in enumerate(drawn, start=1):
        _number(axes, np.column_stack([k[:, n], k[:, 0]]), numbers, on_front)
    return figure


def _draw(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    on_front: NDArray[np.bool_],
    reference: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Plot the points, and return their x coordinates."""
    reached = np.isfinite(x)
    edge = _scale(axes, x[reached])
    at = np.where(reached, x, edge)
    if not reached.all():
        axes.axvline(edge, color=GREY, linewidth=0.8, linestyle=":")
        axes.text(
            edge,
            1.0,
            "not reached" if reached.any() else "not reached by any",
            ha="right" if reached.any() else "center",
            va="bottom",
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
    if y.max() > _LOG_FROM and y.min() < y.max() / _LOG_FROM:
        axes.set_yscale("symlog", linthresh=1)
        axes.yaxis.set_major_formatter("{x:g}")
    axes.margins(y=_MARGIN)
    axes.grid(alpha=0.25, linewidth=0.5)
    return at


def _scale(axes: Axes, reached: NDArray[np.float64]) -> float:
    """Set the scale of the x axis to fit its values, and return the position of points that were not reached."""
    if not len(reached):
        axes.set(xlim=(0, 1), xticks=[])
        return 0.5
    lowest, highest = float(reached.min()), float(reached.max())
    if lowest > 0 and highest / lowest > _LOG_FROM:
        margin: float = (highest / lowest) ** _MARGIN
        axes.set(xscale="log", xlim=(lowest / margin**0.6, highest * margin**1.8))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest / lowest < 200 else (1,)))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())
        return highest * margin
    span = highest - lowest or max(abs(highest), 1.0)
    axes.set_xlim(lowest - 0.6 * _MARGIN * span, highest + 1.8 * _MARGIN * span)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    return highest + _MARGIN * span


def _number(axes: Axes, places: NDArray[np.float64], numbers: Sequence[int], on_front: NDArray[np.bool_]) -> None:
    """Write each point's number beside it, starting with the front, where it covers no other number and no point.

    Points at the same position share a text. A number without room is left out.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    per_point = 72 / figure.dpi
    at = axes.transData.transform(places) * per_point
    frame = np.asarray(axes.get_window_extent().extents) * per_point
    together: dict[tuple[float, float], list[int]] = {}
    for i, (x, y) in enumerate(at):
        together.setdefault((round(x), round(y)), []).append(i)
    taken: list[Box] = [(x - 2.5, y - 2.5, x + 2.5, y + 2.5) for x, y in at]
    for points in sorted(together.values(), key=lambda of_place: not on_front[of_place].any()):
        text = _together([numbers[i] for i in sorted(points, key=lambda i: not on_front[i])])
        width, centre = _CHARACTER * len(text), at[points[0]]
        for ring, (right, up) in product(
            _RINGS, ((1, 1), (1, 0), (1, -1), (-1, 1), (-1, 0), (-1, -1), (0, 1), (0, -1))
        ):
            middle = centre + np.array([right * (0.7 * ring - 2 + width / 2), up * ring * (0.75 if right else 1.0)])
            box = (middle[0] - width / 2, middle[1] - _LINE / 2, middle[0] + width / 2, middle[1] + _LINE / 2)
            if _within(box, frame) and not any(_overlap(box, other) for other in taken):
                break
        else:
            continue
        taken.append(box)
        note = axes.annotate(
            text,
            tuple(places[points[0]]),
            xytext=tuple(middle - centre),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7,
            fontweight="bold" if on_front[points].any() else "normal",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.4} if ring > _RINGS[0] else None,
        )
        note.set_in_layout(False)  # the layout would otherwise move the panel that the number was placed in


def _together(numbers: Sequence[int]) -> str:
    """Return the numbers of the points at one position as a text, with at most three numbers."""
    return ", ".join(map(str, numbers[:3])) + (f", +{len(numbers) - 3}" if len(numbers) > 3 else "")


def _within(box: Box, frame: Box) -> bool:
    return bool(box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3])


def _overlap(box: Box, other: Box) -> bool:
    return bool(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3])


def _key(labels: Sequence[str], numbers: Sequence[int], named: NDArray[np.bool_]) -> list[str]:
    """Return the lines of the key for the points of the front, as many as there is room for."""
    lines: list[str] = []
    chosen = [(number, label) for number, label, is_named in zip(numbers, labels, named, strict=True) if is_named]
    for done, (number, label) in enumerate(chosen):
        added = wrap(f"{number:>3}  {label}", _KEY_WIDTH, subsequent_indent=" " * 5)
        if len(lines) + len(added) > _KEY_LINES:
            return [*lines, f"     and {len(chosen) - done} more on the front"]
        lines += added
    return lines


def _write_key(axes: Axes, lines: Sequence[str]) -> None:
    axes.set_axis_off()
    text = "\n".join(map(literal, lines))
    axes.text(0, 1, text, fontsize=7.5, color="#333333", va="top", family="monospace", transform=axes.transAxes)
