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
        lines += [(TEXTS / f"{recipe}.md").read_text().rstrip(), "", *_table(measured), ""]
        after = TEXTS / f"{recipe}_after.md"
        if after.exists():
            lines += [after.read_text().rstrip(), ""]
    (docs / "recipes.md").write_text("\n".join(lines).rstrip() + "\n")


COLUMNS = (
    *("", "published", "ours", "95 % interval", "ANN", "ANN, training images", "spikes per image"),
    *("training, s", "simulating, s", "seeds"),
)


def _table(measured):
    lines = [_cells(*COLUMNS), _cells(*["---"] * len(COLUMNS))]
    lines += [_cells(row.what, *_figures(row, found), len(found)) for row, found in measured.items() if found]
    lines += [
        "",
        "Accuracies in percent, those of the page in brackets; seconds on two cores that other runs shared. The rows' "
        "commands:",
    ]
    lines += ["", "```text"]
    lines += [f"python -m snnpipe {found[0]['overrides']}" for found in measured.values() if found]
    every = [figures for found in measured.values() for figures in found]
    dates, machines = (sorted({figures[name] for figures in every}) for name in ("measured", "machine"))
    return [*lines, "```", "", f"Measured {' and '.join(dates)} on {' and '.join(machines)}."]


def _figures(row, found):
    """Return a row's cells between its name and the number of seeds."""

    def percent(name, published=None):
        cell = _spread([100 * float(f[name]) for f in found], ".2f")
        return cell if published is None else f"{cell} [{published:.2f}]"

    rates = float(found[0]["synops_per_image"]) == 0
    return (
        _published(row),
        percent("snn"),
        f"{100 * min(float(f['low']) for f in found):.2f} to {100 * max(float(f['high']) for f in found):.2f}",
        percent("ann", row.published_ann),
        percent("fit_accuracy", row.published_fit) if found[0]["fit_accuracy"] else "-",
        "none" if rates else _spread([float(f["spikes_per_image"]) for f in found], ",.0f"),
        f"{mean(float(f['training_s']) for f in found):,.0f}",
        f"{mean(float(f['simulating_s']) for f in found):,.0f}",
    )


def _published(row):
    if row.published is None:
        return "-"
    accuracy, images = row.published
    return f"{accuracy:.2f}" + (f" ({images} images)" if images else "")


def _spread(values, form):
    """Return a value; of several seeds' the mean and the range."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def _cells(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
