"""The published recipes, over the whole test sets; see docs/recipes.md.

    python benchmarks/recipes.py                          # every row: hours, most of them training on CIFAR-10
    python benchmarks/recipes.py mnist_keras_to_snn       # the rows of some recipes; the others keep their figures
    python benchmarks/recipes.py --report                 # only the page, from the figures in docs/recipes.csv

It wants MNIST and CIFAR-10 prepared (TFDS_DATA_DIR). Each row is one run of snnpipe in a process of its own; rows
that differ in their conversion or simulation only share a training, which is kept in mlruns/recipes/.
"""

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
STORE = ROOT / "mlruns" / "recipes"
FIGURES = ROOT / "docs" / "recipes.csv"
FIELDS = (
    *("recipe", "row", "seed", "overrides", "images", "ann", "snn", "low", "high", "latency_ms"),
    *("spikes_per_image", "synops_per_image", "fit_accuracy", "training_s", "simulating_s", "measured", "machine"),
)


def run(overrides, seed, target):
    """Run one row in this process, with the weights of an earlier one where the training is the same."""
    from hydra import compose, initialize_config_module

    from snnpipe.config.build import build
    from snnpipe.config.check import check
    from snnpipe.config.compose import resolve

    with initialize_config_module("snnpipe.conf", version_base="1.3"):
        config = resolve(
            compose(
                "config",
                overrides=[*overrides, f"seed={seed}", "logger=csv", f"paths.output_dir={target}"],
            )
        )
    config["callbacks"] = {}  # here and not as an override: an experiment may set some of their keys
    check(config)
    fit = {name: config[name] for name in ("data", "model", "training", "seed")}
    key = hashlib.sha256(json.dumps(fit, sort_keys=True).encode()).hexdigest()[:16]
    kept = STORE / "fits" / key
    if (kept / "fit.json").exists():
        config["training"] = {
            "_target_": "snnpipe.Pretrained",
            "checkpoint": str(kept / "checkpoint"),
        }
    trainer = build(config)
    with trainer:
        began = time.perf_counter()
        checkpoint = trainer.fit()
        if not (kept / "fit.json").exists():
            seconds = time.perf_counter() - began
            checkpoint.save(kept / "checkpoint")
            (kept / "fit.json").write_text(json.dumps({"training_s": seconds, "metrics": dict(checkpoint.metrics)}))
        trainer.convert()
        metrics = trainer.evaluate().metrics
    fitted = json.loads((kept / "fit.json").read_text())
    images = metrics["snn/test_images"]
    return {
        "images": int(images),
        "ann": metrics["ann/test_accuracy"],
        "snn": metrics["snn/test_accuracy"],
        "low": metrics["snn/accuracy_ci_low"],
        "high": metrics["snn/accuracy_ci_high"],
        "latency_ms": metrics.get("snn/latency_ms_to_1pt", ""),
        "spikes_per_image": sum(v for name, v in metrics.items() if name.startswith("spikes_per_image/")),
        "synops_per_image": metrics.get("snn/synops_per_image", ""),
        "fit_accuracy": fitted["metrics"].get("fit/accuracy", ""),
        "training_s": fitted["training_s"],
        "simulating_s": images / metrics["simulate/images_per_s"],
    }


def figures():
    """Return the figures that are kept, by recipe, row and seed."""
    if not FIGURES.exists():
        return {}
    with FIGURES.open(newline="") as file:
        return {(row["recipe"], row["row"], int(row["seed"])): row for row in csv.DictReader(file)}


def keep(found):
    """Write the figures, in the order of the recipes' rows."""
    from recipes_rows import RECIPES

    order = {(recipe, row.name): i for recipe, rows in RECIPES.items() for i, row in enumerate(rows)}
    places = {recipe: i for i, recipe in enumerate(RECIPES)}
    rows = sorted(found.values(), key=lambda f: (places[f["recipe"]], order[f["recipe"], f["row"]], int(f["seed"])))
    with FIGURES.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measure(recipe, row, seed):
    """Run a row in a process of its own and keep its figures."""
    from simulate import machine

    target = STORE / recipe / f"{row.name}-{seed}"
    subprocess.run(
        [sys.executable, __file__, "--row", json.dumps([row.overrides(recipe), seed, str(target)])], check=True
    )
    found = figures()
    found[recipe, row.name, seed] = {
        "recipe": recipe,
        "row": row.name,
        "seed": seed,
        "overrides": " ".join(row.overrides(recipe)),
        "measured": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    } | json.loads((target / "figures.json").read_text())
    keep(found)


def main():
    from recipes_rows import RECIPES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", choices=[*RECIPES, []], help="default: all")
    parser.add_argument("--rows", nargs="+", help="only these rows")
    parser.add_argument("--report", action="store_true", help="only write the page")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.row:
        overrides, seed, target = json.loads(chosen.row)
        found = run(overrides, seed, target)
        (Path(target) / "figures.json").write_text(json.dumps(found))
        return
    for recipe in () if chosen.report else chosen.recipes or RECIPES:
        for row in RECIPES[recipe]:
            for seed in range(row.seeds) if not chosen.rows or row.name in chosen.rows else ():
                print(f"{recipe}: {row.name}, seed {seed} ...", flush=True)
                measure(recipe, row, seed)
    from recipes_report import write

    write(figures(), ROOT / "docs")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
