"""Writes docs/recipes.md from the figures of recipes.py and the texts in recipes/."""

from pathlib import Path
from statistics import mean

from recipes_rows import RECIPES

TEXTS = Path(__file__).parent / "recipes"


def write(figures, docs):
    """Write the page; ``figures`` by recipe, row and seed."""
    lines = [(TEXTS / "head.md").read_text().rstrip(), ""]
    for recipe, rows in RECIPES.items():
        measured = {row: [figures[k] for k in sorted(figures) if k[:2] == (recipe, row.name)] for row in rows}
        if not any(measured.values()):
            continue
        lines += [(TEXTS / f"{recipe}.md").read_text().rstrip(), "", *_table(recipe, measured), ""]
        after = TEXTS / f"{recipe}_after.md"
        if after.exists():
            lines += [after.read_text().rstrip(), ""]
    (docs / "recipes.md").write_text("\n".join(lines).rstrip() + "\n")


def _table(recipe, measured):
    lines = [
        _cells("", "published", "ours", "95 % interval", "ANN", "spikes per image", "training", "simulating", "seeds"),
        _cells(*["---"] * 9),
    ]
    for row, found in measured.items():
        if found:
            lines.append(_cells(row.what, _published(row), *_figures(found), len(found)))
    lines += ["", "Accuracies in percent; seconds on two cores. Each row is `python -m snnpipe` with"]
    lines += ["", "```text"]
    lines += [f"python -m snnpipe {' '.join(row.overrides(recipe))}" for row, found in measured.items() if found]
    dates = sorted({f["measured"] for of_row in measured.values() for f in of_row})
    machines = sorted({f["machine"] for of_row in measured.values() for f in of_row})
    return [*lines, "```", "", f"Measured {' and '.join(dates)} on {' and '.join(machines)}."]


def _published(row):
    if row.published is None:
        return "-"
    accuracy, images = row.published
    return f"{accuracy:g}" + (f" ({images} images)" if images else "")


def _figures(found):
    """Return accuracy, interval, ANN, spikes and seconds; of several seeds the mean and the range."""
    several = len(found) > 1

    def percent(name):
        values = [100 * float(f[name]) for f in found]
        return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})" if several else f"{values[0]:.2f}"

    interval = "-" if several else f"{100 * float(found[0]['low']):.2f} to {100 * float(found[0]['high']):.2f}"
    spikes, training, simulating = (
        f"{mean(float(f[name]) for f in found):,.0f}" for name in ("spikes_per_image", "training_s", "simulating_s")
    )
    return percent("snn"), interval, percent("ann"), spikes, training, simulating


def _cells(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
