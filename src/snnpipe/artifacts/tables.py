"""Tables and descriptions of a run, as files."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from snnpipe.files import replace_file
from snnpipe.types import ConversionPlan, PlannedLayer, SpikeEvents


def write_text(path: Path, text: str) -> Path:
    """Write a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as file:
        file.write(text.encode())
    return path


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write a table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return write_text(path, text.getvalue())


def write_json(path: Path, value: Any) -> Path:
    """Write a value as JSON."""
    return write_text(path, json.dumps(value, indent=2) + "\n")


def write_plan(folder: Path, plan: ConversionPlan) -> list[Path]:
    """Write a conversion plan as ``plan.json`` and as a table in ``plan.md``."""
    header = ["layer", "kind", "status", "becomes", "shape", "neurons", "scale", "synapse (ms)", "note"]
    rows = [
        [
            layer.name,
            layer.kind,
            layer.status,
            layer.becomes,
            "x".join(map(str, layer.shape)),
            f"{layer.neurons:,}" if layer.neurons else "",
            "" if layer.scale_firing_rates is None else f"{layer.scale_firing_rates:g}",
            _synapse(layer.synapse),
            layer.reason,
        ]
        for layer in plan.layers
    ]
    return [
        write_json(folder / "plan.json", [_plain(layer) for layer in plan.layers]),
        write_text(folder / "plan.md", f"# Conversion plan\n\n{markdown_table([header, *rows])}\n"),
    ]


def _plain(layer: PlannedLayer) -> dict[str, Any]:
    own = asdict(layer)
    if not isinstance(layer.synapse, (float, int, type(None))):
        own["synapse"] = repr(layer.synapse)
    return own


def _synapse(synapse: Any) -> str:
    if synapse is None:
        return ""
    return f"{1000 * synapse:g}" if isinstance(synapse, (float, int)) else repr(synapse)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, the header first, as a table in Markdown."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join(["---"] * len(rows[0])) + " |", *lines[1:]])


def write_spikes(path: Path, events: SpikeEvents, shape: Sequence[int], n_steps: int, dt: float) -> Path:
    """Write spike events as a compressed ``.npz``: ``image``, ``step``, ``neuron``, ``count``, and what they index.

    ``shape`` is the layer's (``neuron`` counts through it in C order), ``n_steps`` and ``dt`` (s) the run's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as file:
        np.savez_compressed(
            file,
            image=events.image,
            step=events.step,
            neuron=events.neuron,
            count=events.count,
            shape=np.asarray(shape, np.int64),
            n_steps=np.int64(n_steps),
            dt=np.float64(dt),
        )
    return path
