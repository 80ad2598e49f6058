"""Tables and descriptions of a run, written as files."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from snnpipe.base import checked_files
from snnpipe.base.errors import ArtifactError, one_line
from snnpipe.base.files import replace_file
from snnpipe.metrics.energy import EnergyEstimate
from snnpipe.synapses import in_milliseconds
from snnpipe.values.diagnosis import Diagnosis
from snnpipe.values.network import ConversionPlan, PlannedLayer

PLAN_FORMAT = 1


def write_text(path: Path, text: str) -> Path:
    """Write a text file, either completely or not at all."""
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


def plan_table(plan: ConversionPlan) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a conversion plan. Each layer has a row."""
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
            in_milliseconds(layer.synapse),
            layer.reason,
        ]
        for layer in plan.layers
    ]
    return header, rows


def write_plan(folder: Path, plan: ConversionPlan) -> list[Path]:
    """Write a conversion plan as ``plan.json`` and as a table in ``plan.md``."""
    header, rows = plan_table(plan)
    table = markdown_table([header, *rows])
    return [
        checked_files.write_json(
            folder / "plan.json",
            {"layers": [asdict(layer) for layer in plan.layers], "notes": list(plan.notes)},
            PLAN_FORMAT,
        ),
        write_text(folder / "plan.md", "\n\n".join(["# Conversion plan", *plan.notes, table]) + "\n"),
    ]


def read_plan(path: str | Path) -> ConversionPlan:
    """Return the conversion plan that a run wrote to ``conversion/plan.json``.

    A synapse that is more than a time constant is returned as text, in Nengo's notation.

    Parameters
    ----------
    path
        Path of the file.

    Returns
    -------
    ConversionPlan
        The conversion of each layer.

    Raises
    ------
    ArtifactError
        If the file is missing, has another format, or was changed or cut off.
    """
    content = checked_files.read_json(Path(path), PLAN_FORMAT, "conversion plan")
    try:
        layers = [PlannedLayer(**{**layer, "shape": tuple(layer["shape"])}) for layer in content["layers"]]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"conversion plan {path} is damaged: {one_line(error)}") from error
    return ConversionPlan(tuple(layers), tuple(content.get("notes", ())))


def write_diagnosis(folder: Path, diagnosis: Diagnosis) -> list[Path]:
    """Write a diagnosis as ``diagnosis.json``, and its table as ``layers.csv``."""
    rows = list(diagnosis.rows())
    return [
        write_json(folder / "diagnosis.json", diagnosis.plain()),
        write_csv(folder / "layers.csv", list(rows[0]), [list(row.values()) for row in rows]),
    ]


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table in Markdown. The first row is the header."""
    lines = ["| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join(["---"] * len(rows[0])) + " |", *lines[1:]])


def write_energy(path: Path, estimates: Sequence[EnergyEstimate]) -> Path:
    """Write the energy of a sample on each device, nJ, with the omissions and the source of each estimate."""
    header = (
        *("device", "kind", "snn_nj_low", "snn_nj_high", "ann_nj", "snn_per_ann_low", "snn_per_ann_high"),
        *("left_out", "basis", "source"),
    )
    rows = [
        (
            estimate.device.name,
            estimate.device.kind,
            f"{1e9 * estimate.snn_low_j:.6g}",
            f"{1e9 * estimate.snn_high_j:.6g}",
            "" if estimate.ann_j is None else f"{1e9 * estimate.ann_j:.6g}",
            *(("", "") if estimate.ratio is None else (f"{ratio:.4g}" for ratio in estimate.ratio)),
            ", ".join(estimate.device.left_out),
            estimate.device.basis,
            estimate.device.source,
        )
        for estimate in estimates
    ]
    return write_csv(path, header, rows)
