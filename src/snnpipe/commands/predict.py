"""``python -m snnpipe.predict``: the classes that a saved network gives for pictures and arrays."""

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe.base.errors import UserError
from snnpipe.commands.shared import Parser

if TYPE_CHECKING:
    from snnpipe.spiking.model import SpikingModel

_TOGETHER = 1000
"""Number of samples that are read before they are simulated."""


def main() -> int:
    """Print a line for each sample, and return the exit code."""
    parser = Parser("snnpipe.predict", "Print the classes that a saved spiking network gives for pictures and arrays.")
    parser.add_argument("network", type=Path, help="a file that SpikingModel.save or a run has written (*.snn)")
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help="a picture, a folder of pictures, an .npz"
    )
    parser.add_argument("--steps", type=int, help="number of simulation steps; default: the network's")
    parser.add_argument("--resize", action="store_true", help="resize pictures of another size")
    parser.add_argument("--array", help="name of the array in an .npz; default: x, or the only one")
    parser.add_argument("--json", action="store_true", help="print JSON, with the class scores")
    parser.epilog = (
        "For each sample: its class, the simulated time until the class was settled, and the spikes.\n"
        "Pictures are made grey or coloured as the network needs, and scaled as its training data were.\n"
        "Arrays are taken as they are, except pixels of type uint8, which are scaled too."
    )
    asked = parser.parse_args()
    if asked.steps is not None and asked.steps < 1:
        raise UserError(f"--steps: got {asked.steps}: give a number of 1 or more")
    model, samples = _opened(asked)
    as_json: list[dict[str, Any]] = []
    shown = silent = 0
    for row in _rows(model, samples):
        shown += 1
        silent += not row["spikes"]
        if asked.json:
            as_json.append(row)
        else:
            name = row["name"] if row["name"] == str(row["class"]) else f"{row['class']} ({row['name']})"
            print(f"{row['sample']}\t{name}\t{row['settled_ms']:g} ms\t{row['spikes']:,.0f} spikes", flush=True)
    if asked.json:
        print(json.dumps({"network": model.name, "n_steps": model.n_steps, "samples": as_json}, indent=1))
    if silent and any(layer.spiking for layer in model.network.layers):
        print(
            f"no neuron spiked for {silent:,} of {shown:,} samples: are their values scaled as those that the "
            "network was trained with?",
            file=sys.stderr,
        )
    return 0


def _opened(asked: Any) -> "tuple[SpikingModel, Iterator[tuple[str, Any]]]":
    """Return the network, and the names and values of the samples."""
    from snnpipe.spiking.model import load
    from snnpipe.spiking.pictures import ARRAYS, Sources
    from snnpipe.values.pixels import PixelScaling

    model = load(asked.network)
    print(f"{asked.network}: {model.replay}", file=sys.stderr)
    if asked.steps is not None:
        model = model.with_settings(n_steps=asked.steps)
    whose = "as the network's training data" if model.pixels else "for want of a scaling in the network"
    if any(path.suffix.lower() not in ARRAYS for path in asked.inputs):
        print(f"pixels are scaled {whose}: {model.pixels or PixelScaling()}", file=sys.stderr)
    return model, Sources(model.input_shape, model.pixels, asked.resize, asked.array).samples(asked.inputs)


def _rows(model: "SpikingModel", samples: Iterator[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    while some := list(islice(samples, _TOGETHER)):
        predictions = model.predict(np.stack([values for _, values in some]))
        for i, (name, _) in enumerate(some):
            yield {
                "sample": name,
                "class": int(predictions.classes[i]),
                "name": predictions[i],
                "settled_ms": float(predictions.settled_ms[i]),
                "spikes": float(predictions.spikes[i]),
                "scores": predictions.scores[i].tolist(),
            }
