"""What a multi-run ends with: a table of its jobs.

A job leaves its answer in its folder of the multi-run, whatever started it; the end of the multi-run reads them.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from snnpipe.files import replace_file

_RESULT = "result.json"
_WIDTH = 100


def keep_result(folder: Path, overrides: Sequence[str], metrics: Mapping[str, float] | None) -> None:
    """Leave what a job ended with.

    Parameters
    ----------
    folder
        The job's, in the multi-run's.
    overrides
        What the job was told.
    metrics
        Of its run; None where it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / _RESULT) as file:
        content = {"overrides": list(overrides), "metrics": None if metrics is None else dict(metrics)}
        file.write(json.dumps(content, indent=1).encode())


class SweepSummary(Callback):
    """Prints the table when a multi-run ends."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print a line for each job that left its answer."""
        folders = [path.parent for path in Path(config.hydra.sweep.dir).glob(f"*/{_RESULT}")]
        folders.sort(key=lambda folder: (len(folder.name), folder.name))
        if folders:
            print(sweep_table([json.loads((folder / _RESULT).read_text()) for folder in folders]), flush=True)


def sweep_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a multi-run's table, at most 100 columns wide: what differs between the jobs, and their answers."""
    labels = _labels([result["overrides"] for result in results])
    head = ("", "ANN", "SNN", "drop", "latency", "SynOps per image")
    rows = [(label, *_answers(result["metrics"])) for label, result in zip(labels, results, strict=True)]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    widths[0] = min(widths[0], _WIDTH - 2 - sum(width + 2 for width in widths[1:]))
    lines = [
        f"  {_cut(row[0], widths[0])}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in (head, *rows)
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([rule, *(line.rstrip() for line in lines), rule])


def _labels(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Return what differs between jobs: overrides that not all have, without the path that the values share."""
    everywhere = set.intersection(*map(set, overrides)) if len(overrides) > 1 else set()
    labels = [" ".join(o for o in of_job if o not in everywhere) for of_job in overrides]
    shared = os.path.commonprefix(labels) if len(labels) > 1 else ""  # noqa: RUF071  character by character
    cut = max(shared.rfind("/"), shared.rfind("=")) + 1
    return [label[cut:] for label in labels] if all(" " not in label for label in labels) else labels


def _cut(text: str, width: int) -> str:
    return (text if len(text) <= width else f"{text[: width - 3]}...").ljust(width)


def _answers(metrics: Mapping[str, float] | None) -> tuple[str, ...]:
    if metrics is None:
        return ("failed", "", "", "", "")
    latency, synops = metrics.get("snn/latency_ms_to_1pt"), metrics.get("snn/synops_per_image")
    return (
        f"{100 * metrics['ann/test_accuracy']:.2f} %",
        f"{100 * metrics['snn/test_accuracy']:.2f} %",
        f"{100 * metrics['snn/accuracy_drop']:+.2f}",
        "-" if latency is None else f"{latency:g} ms",
        "-" if synops is None else f"{synops:,.0f}",
    )
