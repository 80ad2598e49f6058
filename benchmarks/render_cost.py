"""What drawing and writing a run's artifacts costs, as a share of the run; of the diagnosis, too.

    python benchmarks/render_cost.py             # MNIST, cnn2d, three epochs: some minutes
    python benchmarks/render_cost.py --report    # only the page, from the figures kept before

It wants MNIST prepared (TFDS_DATA_DIR). The run is the default one, in a process of its own, with all test images; what
callbacks do at its end, the curves that the trainer writes, and the diagnosis are timed within it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict

from grid import ROOT, STORE, Watch

COMMAND = ["data=mnist", "model=cnn2d", "training.epochs=3"]
DRAWING = {
    "SpikeArtifacts": "spikes, rasters, class scores",
    "Report": "the review's pictures, and report.html",
    "_write_curves": "accuracy over time",
    "_diagnose": "diagnosis",
}


def run(folder):
    """Return seconds of a run, and of what it draws and writes."""
    whole = Watch()
    from hydra import compose, initialize_config_module

    from snnpipe.config.build import build
    from snnpipe.config.compose import resolve

    with initialize_config_module("snnpipe.conf", version_base="1.3"):
        composed = compose("config", overrides=[*COMMAND, f"paths.mlruns={folder}"])
    trainer = build(resolve(composed))
    spent = defaultdict(lambda: {"wall": 0.0, "cpu": 0.0})

    def timed(method, name):
        def call(*arguments, **keywords):
            watch = Watch()
            found = method(*arguments, **keywords)
            for clock, seconds in watch.read().items():
                spent[name][clock] += seconds
            return found

        return call

    for callback in trainer.log.callbacks:
        if (name := type(callback).__name__) in DRAWING:
            callback.on_evaluate_end = timed(callback.on_evaluate_end, name)
    for name in ("_write_curves", "_diagnose"):
        setattr(trainer, name, timed(getattr(trainer, name), name))
    trainer.run()
    return {"whole": whole.read(), "spent": spent}


def main():
    """Measure, and write the page."""
    from runs_report import write
    from simulate import machine

    parser = argparse.ArgumentParser()
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.run:
        print(json.dumps(run(told.run)))
        return
    if not told.report:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--run", folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured = json.loads(done.stdout.splitlines()[-1]) | {"names": DRAWING, "command": COMMAND}
        measured |= {"measured": time.strftime("%Y-%m-%d"), "machine": machine()}
        STORE.mkdir(parents=True, exist_ok=True)
        (STORE / "rendering.json").write_text(json.dumps(measured, indent=1))
    write(STORE, ROOT / "docs")


if __name__ == "__main__":
    main()
