"""Writes docs/benchmarks.md and its pictures from the figures that simulate.py has kept."""

import json
import re
from pathlib import Path

TITLES = tuple(
    f"## {title}"
    for title in (
        "MNIST recipe, one core",
        "MNIST recipe, two cores",
        "CIFAR-10 recipe, one core",
        "CIFAR-10 with normalisation, 8 steps, scales from data",
        "CIFAR-10 with normalisation, 16 steps, scales from data",
        "ResNet-20, 16 steps, scales from data",
        "Density of spikes",
        "Duration",
        "Batch size",
        "Memory",
        "Compiling",
        "Where the time goes, and the next factor",
        "Rounding",
        "Whole runs",
    )
)
"""Sections of the page, in their order."""

COLOURS = {
    "NengoDL": "#882255",
    "clock_driven": "#0077bb",
    "event_driven": "#ee7733",
    "snnTorch": "#009988",
    "sinabs": "#aa4499",
    "Keras floor": "#777777",
}


def write(store, docs):
    """Write the page from the JSON files in ``store``; a section without figures there stays as it is."""
    page = docs / "benchmarks.md"
    before = _sections(page.read_text()) if page.exists() else {}
    now = _sections("\n".join(_lines(store, docs)))
    texts = before | now
    order = [title for title in TITLES if title in texts]
    page.write_text("\n".join([now[""], *(texts[title] for title in order)]).rstrip() + "\n")


def _sections(page):
    """Return the sections of a page by their titles, and what stands before them as ''."""
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    return {"": parts[0].rstrip() + "\n"} | {part.partition("\n")[0]: part.rstrip() + "\n" for part in parts[1:]}


def _lines(store, docs):
    """Return the lines of the page, as far as there are figures."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(store.glob("*.json"))}
    lines = [(Path(__file__).parent / "simulate_head.md").read_text().rstrip(), ""]
    for name, title, by in (
        ("main", "MNIST recipe, one core", "cpu"),
        ("main_2_cores", "MNIST recipe, two cores", "wall"),
        ("cifar10", "CIFAR-10 recipe, one core", "cpu"),
    ):
        if name in found:
            lines += _table(title, found[name], by)
    for name, title in (
        ("bn_8", "CIFAR-10 with normalisation, 8 steps, scales from data"),
        ("bn_16", "CIFAR-10 with normalisation, 16 steps, scales from data"),
        ("resnet20_16", "ResNet-20, 16 steps, scales from data"),
    ):
        if name in found:
            lines += _whole(title, found[name])
    if "density" in found:
        _plot(docs / "images" / "cost_by_density.png", found["density"]["found"], "density")
        lines += _sweep("Density of spikes", found["density"], "density", "images/cost_by_density.png")
    if "duration" in found:
        _plot(docs / "images" / "cost_by_duration.png", found["duration"]["found"], "n_steps")
        lines += _sweep("Duration", found["duration"], "n_steps", "images/cost_by_duration.png")
    if "batch" in found:
        lines += _sweep("Batch size", found["batch"], "batch", None)
    if "memory" in found:
        lines += _memory(found["memory"])
    if "compile" in found:
        lines += _compile(found["compile"])
    if "parts" in found:
        lines += _parts(found["parts"])
    if "rounding" in found:
        lines += _rounding(found["rounding"])
    if "runs" in found:
        lines += _runs(found["runs"], found.get("runs_nengo_dl"))
    return lines


def _row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _about(section):
    return f"Measured {section['measured']} on {section['machine']}."


def _table(title, section, by):
    found, subjects = section["found"], section["found"]["subjects"]
    reference, floor = subjects["NengoDL"][by], subjects["Keras floor"][by]
    lines = [
        f"## {title}",
        "",
        f"{found['images']} images x {found['n_steps']} steps, {100 * found['density']:.2g} spikes in a step per 100 "
        f"neurons. Medians; ratios of {'CPU' if by == 'cpu' else 'wall'} seconds. {_about(section)}",
        "",
        _row("", "CPU s", "wall s", "NengoDL / this", "this / Keras floor", "classes as NengoDL's", "rounds"),
        _row(*["---"] * 7),
    ]
    for name, own in subjects.items():
        lines.append(
            _row(
                name,
                f"{own['cpu']:.2f}",
                f"{own['wall']:.2f}",
                f"{reference / own[by]:.1f}",
                f"{own[by] / floor:.2f}",
                "-" if "floor" in name else f"{100 * own['agreement']:.1f} %",
                own["rounds"],
            )
        )
    return [*lines, ""]


def _whole(title, section):
    found, subjects = section["found"], section["found"]["subjects"]
    floor, events = subjects["Keras floor"]["cpu"], subjects["event_driven"]["cpu"]
    lines = [
        f"## {title}",
        "",
        f"Signed neurons without filters, {found['images']} images, {100 * found['density']:.2g} spikes in a step per "
        f"100 neurons ({found['spikes_per_step']:.3g} spikes a step of the strongest activations), one core. CPU "
        f"milliseconds an image, medians. {_about(section)}",
        "",
        _row("", "CPU ms", "this / event_driven", "this / Keras floor", "classes as event_driven's"),
        _row(*["---"] * 5),
    ]
    for name, own in subjects.items():
        lines.append(
            _row(
                name,
                f"{1000 * own['cpu'] / found['images']:.2f}",
                f"{own['cpu'] / events:.2f}",
                f"{own['cpu'] / floor:.2f}",
                "-" if "floor" in name else f"{100 * own['agreement']:.1f} %",
            )
        )
    return [*lines, ""]


def _sweep(title, section, key, picture):
    rows = section["found"]["rows"]
    names = sorted({name for row in rows for name in row["subjects"]}, key=list(COLOURS).index)
    what = {"density": "spikes in a step per 100 neurons (scale)", "n_steps": "steps", "batch": "images at once"}[key]
    images, n_steps = section["found"].get("images"), section["found"].get("n_steps")
    lines = [
        f"## {title}",
        "",
        f"CPU milliseconds an image{f', {images} images at once' if images else ''}, MNIST recipe"
        f"{f', {n_steps} steps' if n_steps else ''}, one core. {_about(section)}",
        "",
        *([f"![Cost against {title.lower()}]({picture})", ""] if picture else []),
        _row(what, *names),
        _row(*["---"] * (len(names) + 1)),
    ]
    for row in rows:
        n = images or row["batch"]
        label = f"{100 * row['density']:.2g} ({row['scale']})" if key == "density" else row[key]
        cells = [f"{1000 * row['subjects'][name]['cpu'] / n:.2f}" if name in row["subjects"] else "-" for name in names]
        lines.append(_row(label, *cells))
    return [*lines, ""]


def _plot(path, found, key):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    figure, axes = plt.subplots(figsize=(6, 3.8), layout="constrained")
    for name, colour in COLOURS.items():
        rows = [row for row in found["rows"] if name in row["subjects"]]
        x = [100 * row["density"] if key == "density" else row["n_steps"] for row in rows]
        y = [1000 * row["subjects"][name]["cpu"] / found["images"] for row in rows]
        if rows:
            axes.plot(x, y, marker="o", color=colour, label=name, linestyle="--" if "floor" in name else "-")
    axes.set(xscale="log", yscale="log", ylabel="CPU ms per image")
    axes.set_xlabel("spikes in a step per 100 neurons" if key == "density" else "steps an image is shown")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(ticker.NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _memory(section):
    found = section["found"]
    nothing = found["nothing 60"]
    lines = [
        "## Memory",
        "",
        "Largest resident size of a process that simulates 200 images at once, above one that has TensorFlow loaded "
        "and "
        f"only predicts with the Keras model ({nothing:,.0f} MiB).",
        _about(section),
        "",
        _row("", "steps", "MiB above"),
        _row("---", "---", "---"),
    ]
    for key, value in found.items():
        name, _, steps = key.rpartition(" ")
        if name != "nothing":
            lines.append(_row(name, f"{int(steps):,}", f"{value - nothing:,.0f}"))
    return [*lines, ""]


def _compile(section):
    lines = [
        "## Compiling",
        "",
        "Seconds before the first image, one core: laying the network out, and compiling (what the first image takes "
        f"beyond what a later one does). {_about(section)}",
        "",
        _row("", "laid out", "compiled, first time", "compiled, from the cache"),
        _row(*["---"] * 4),
    ]
    for name, own in section["found"]["first"].items():
        cached = section["found"]["cached"][name]
        lines.append(_row(name, f"{own['laid_out']:.2f}", f"{own['compiled']:.2f}", f"{cached['compiled']:.2f}"))
    return [*lines, ""]


def _parts(section):
    found = section["found"]
    lines = [
        "## Where the time goes, and the next factor",
        "",
        f"CPU seconds, {found['images']} images x {found['n_steps']} steps of the MNIST recipe, one core, the best of "
        f"several rounds. {_about(section)}",
        "",
        _row("simulator", "part", "CPU s", "share"),
        _row(*["---"] * 4),
    ]
    for name in ("clock_driven", "event_driven"):
        total = sum(found[name].values())
        for part, seconds in found[name].items():
            lines.append(_row(name, part, f"{seconds:.3f}", f"{100 * seconds / total:.0f} %"))
    return [*lines, "", (Path(__file__).parent / "simulate_next.md").read_text().rstrip(), ""]


def _rounding(section):
    found = section["found"]
    lines = [
        "## Rounding",
        "",
        f"The last step's classes and logits of {found['images']} images after {found['n_steps']} steps, against those "
        f"of NengoDL in double precision. {_about(section)}",
        "",
        _row(
            "recipe", "simulator", "precision", "classes alike", "largest difference of a logit, of the largest logit"
        ),
        _row(*["---"] * 5),
    ]
    for recipe, rows in found["recipes"].items():
        for row in rows:
            lines.append(
                _row(
                    recipe,
                    row["simulator"],
                    row["precision"],
                    f"{100 * row['agreement']:.1f} %",
                    f"{row['difference']:.1e}",
                )
            )
    return [*lines, ""]


def _runs(section, with_nengo_dl):
    lines = [
        "## Whole runs",
        "",
        f"Wall seconds on two cores, a first training of the digits included. {_about(section)}",
        *([f"NengoDL's on MNIST: {_about(with_nengo_dl)}"] if with_nengo_dl else []),
        "",
        _row("", "simulator", "images", "seconds", "of the whole command", "SNN accuracy"),
        _row(*["---"] * 6),
    ]
    for run in section["found"] + (with_nengo_dl["found"] if with_nengo_dl else []):
        lines.append(
            _row(
                run["what"],
                run["simulator"],
                f"{run['images']:,}",
                f"{run['simulating']:.1f}",
                f"{run['command']:.1f}",
                f"{100 * run['accuracy']:.2f} %",
            )
        )
    return [*lines, ""]
