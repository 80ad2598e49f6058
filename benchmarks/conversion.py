"""What a conversion of trained networks reaches: a table, and an ablation of neuron, voltage, scale and read-out.

    python benchmarks/conversion.py MODELS table       # every row on all test images, one command each
    python benchmarks/conversion.py MODELS ablation    # each change alone and all together
    python benchmarks/conversion.py MODELS --report    # only print what was measured, and draw the picture

MODELS is a folder with cifar10_plain.keras, cifar10_bn.keras and cifar10_resnet20.keras. It wants CIFAR-10 prepared
(TFDS_DATA_DIR). Figures are kept in mlruns/benchmarks/conversion.json, and what is there is not measured again. The
tables are printed as Markdown.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "mlruns" / "benchmarks" / "conversion.json"
PICTURE = ROOT / "docs" / "images" / "accuracy_by_spikes.png"
STEPS = (4, 8, 16, 30)
GIVEN = ["data=cifar10", "data.scaling=standardised", "model=file", "training=none"]
QUIET = ["callbacks=none", "diagnosis.images=0", "logger=csv"]

SPIKES = "conversion.calibration.spikes_per_step"
LIMIT = "conversion.calibration.max_error"
TABLE = {
    "plain, 8 steps": ("plain", ["simulator.n_steps=8"]),
    "plain, 16 steps": ("plain", ["simulator.n_steps=16"]),
    "bn, 8 steps": ("bn", ["simulator.n_steps=8"]),
    "bn, 16 steps": ("bn", ["simulator.n_steps=16"]),
    "resnet20, 8 steps": ("resnet20", ["simulator.n_steps=8"]),
    "resnet20, 16 steps": ("resnet20", ["simulator.n_steps=16"]),
    "plain, 8 steps, seed 1": ("plain", ["simulator.n_steps=8", "seed=1"]),
    "plain, 8 steps, seed 2": ("plain", ["simulator.n_steps=8", "seed=2"]),
    "bn, 8 steps, seed 1": ("bn", ["simulator.n_steps=8", "seed=1"]),
    "bn, 8 steps, seed 2": ("bn", ["simulator.n_steps=8", "seed=2"]),
    "resnet20, 8 steps, max_error 0.13": ("resnet20", ["simulator.n_steps=8", f"{LIMIT}=0.13"]),
}
"""Rows of the table: the network, and overrides of the defaults."""

NENGO = ["neuron=spiking_relu"]
DRAWN = ["neuron.initial_voltage=null"]
FIXED = ["conversion.scale_firing_rates=20"]
FILTERED = ["conversion.synapse=0.005", "simulator.readout=last"]
# A bias correction is for one number of steps, and all numbers are of one simulation here.
LAYERS = [f"conversion.calibration.{key}=false" for key in ("channels", "balance", "bias_correction", "drawn_voltages")]
AUTO = [f"{SPIKES}=2", *LAYERS, "simulator.readout=mean"]
ABLATION = {
    "as published: Nengo's neuron, drawn voltages, scale 20, filter of 5 ms and last step": [*NENGO, *FIXED, *FILTERED],
    "signed neuron alone": [*DRAWN, *FIXED, *FILTERED],
    "voltages of 0.5 alone": [*NENGO, "conversion.initial_voltage=0.5", *FIXED, *FILTERED],
    "scale from data alone": [*NENGO, *AUTO, *FILTERED],
    "mean of all steps without a filter alone": [*NENGO, *FIXED],
    "all but the signed neuron": [*NENGO, "conversion.initial_voltage=0.5", *AUTO],
    "all but voltages of 0.5 (drawn)": [*DRAWN, *AUTO],
    "all but the scale": [*FIXED],
    "all but the read-out": [*AUTO, *FILTERED],
    "all": AUTO,
}
"""Changes from the settings of a published recipe to the defaults, by name, as overrides of the defaults."""

PUBLISHED = (380, 59.67, "the published recipe, 30 steps (its own network: 71.0 % as an ANN)")
"""Thousands of spikes per image, and accuracy (%), of ``experiment=cifar10_keras`` (docs/recipes.md)."""


def metrics_in(path):
    """Return the metrics of a run that do not belong to a step."""
    with path.open(newline="") as file:
        return {row["metric"]: float(row["value"]) for row in csv.DictReader(file) if not row["step"]}


def run(models, network, overrides):
    """Return the metrics of a run on all test images, with the accuracy after each step."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*GIVEN, f"model.path={models / f'cifar10_{network}.keras'}", *QUIET, *overrides]
        began = time.perf_counter()
        command = [sys.executable, "-m", "snnpipe", *words, f"paths.output_dir={folder}/run"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
        seconds = time.perf_counter() - began
        metrics = metrics_in(Path(folder) / "run" / "metrics.csv")
        calibration = json.loads((Path(folder) / "run" / "conversion" / "calibration.json").read_text())
    return {"overrides": overrides, "seconds": seconds, "metrics": metrics, "calibration": calibration}


def durations(models, network, overrides, images):
    """Return accuracy, drop and spikes of the first images after each number of steps."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*GIVEN, f"model.path={models / f'cifar10_{network}.keras'}", *QUIET, *overrides]
        words += [f"simulator.n_steps={','.join(map(str, STEPS))}", f"simulator.max_images={images}"]
        subprocess.run([sys.executable, "-m", "snnpipe", "-m", *words], check=True, capture_output=True, cwd=folder)
        (table,) = Path(folder).glob("mlruns/multirun/*/sweep.csv")
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        (longest,) = Path(folder).glob("mlruns/outputs/*/metrics.csv")
        whole = metrics_in(longest)
    # The table has rates in Hz. All durations have the same neurons, and the longest has its spikes in its own metrics.
    per_rate = whole["snn/spikes_per_image"] / (whole["snn/mean_rate_hz"] * max(STEPS))
    found = {}
    for row in rows:
        accuracy, drop, rate = (float(row[f"snn/{key}"]) for key in ("test_accuracy", "accuracy_drop", "mean_rate_hz"))
        n = int(row["simulator.n_steps"])
        found[n] = [accuracy, drop, rate * n * per_rate]
    return found


def measure(models, what, images):
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    if what == "table":
        todo = {name: lambda row=row: run(models, *row) for name, row in TABLE.items()}
    else:
        todo = {
            f"{network}: {name}": lambda network=network, own=own: durations(models, network, own, images)
            for network in ("plain", "bn")
            for name, own in ABLATION.items()
        }
    for name, make in todo.items():
        if name not in figures.setdefault(what, {}):
            figures[what][name] = make()
            FIGURES.write_text(json.dumps(figures, indent=1))
            print(name, "done", flush=True)


def report():
    figures = json.loads(FIGURES.read_text())
    print("| network, steps | ANN, % | spiking, % | drop | spikes per image | SynOps per image | chips, mJ |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, found in figures.get("table", {}).items():
        m = found["metrics"]
        chips = [m[f"energy/chip_nj_{end}"] / 1e6 for end in ("low", "high")]
        cells = [
            *(name, f"{100 * m['ann/test_accuracy']:.2f}", f"{100 * m['snn/test_accuracy']:.2f}"),
            *(f"{100 * m['snn/accuracy_drop']:+.2f}", f"{m['snn/spikes_per_image']:,.0f}"),
            *(f"{m['snn/synops_per_image'] / 1e6:.1f} M", " to ".join(f"{v:.3g}" for v in chips)),
        ]
        print(f"| {' | '.join(cells)} |")
    print("\n| |", " | ".join(f"{n} steps" for n in STEPS), "|")
    print("| ---" * (1 + len(STEPS)), "|", sep="")
    for name, found in figures.get("ablation", {}).items():
        cells = [f"{100 * found[str(n)][0]:.1f}, {found[str(n)][2] / 1000:.0f} k" for n in STEPS]
        print(f"| {name} |", " | ".join(cells), "|")
    if "ablation" in figures:
        draw(figures["ablation"])


def draw(ablation):
    """Draw accuracy against spikes: the published recipe's settings, each change alone, and all together."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    for axes, network in zip(figure.subplots(1, 2, sharey=True), ("plain", "bn"), strict=True):
        for name in ABLATION:
            points = ablation[f"{network}: {name}"]
            strong = name.startswith(("as published", "all")) and "but" not in name
            axes.plot(
                [points[str(n)][2] / 1000 for n in STEPS],
                [100 * points[str(n)][0] for n in STEPS],
                "o-" if strong else "o:",
                linewidth=2.5 if strong else 1,
                label=name.partition(":")[0],
            )
        axes.plot(*PUBLISHED[:2], "*", color="black", markersize=10, label=PUBLISHED[2])
        ann = points[str(STEPS[0])]
        axes.axhline(100 * (ann[0] + ann[1]), color="black", linestyle="--", linewidth=1, label="ANN")
        title = f"cifar10_{network}: {', '.join(map(str, STEPS))} steps"
        axes.set(xlabel="spikes per image (thousands)", title=title, xscale="log", xlim=(1, 600))
        axes.xaxis.set_major_formatter("{x:g}")
    figure.axes[0].set_ylabel("accuracy (%)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    PICTURE.parent.mkdir(exist_ok=True)
    FigureCanvasAgg(figure).print_figure(PICTURE, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("what", nargs="*", choices=["table", "ablation", []])
    parser.add_argument("--images", type=int, default=1000, help="test images of the ablation")
    parser.add_argument("--report", action="store_true")
    chosen = parser.parse_args()
    for what in [] if chosen.report else chosen.what or ["table", "ablation"]:
        measure(chosen.models.resolve(), what, chosen.images)
    report()


if __name__ == "__main__":
    main()
