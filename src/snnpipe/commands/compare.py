"""``python -m snnpipe.compare RUN RUN ...``: shows how runs differ in their settings and results."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.artifacts.predictions import NAME, Predictions
from snnpipe.artifacts.tables import markdown_table, write_csv, write_text
from snnpipe.base.errors import ArtifactError, UserError, did_you_mean, one_line
from snnpipe.base.files import is_held, make_folder
from snnpipe.base.shorten import shorten
from snnpipe.commands.shared import ToolParser, open_store
from snnpipe.loggers.mlflow.search import search_runs
from snnpipe.loggers.mlflow.store import import_mlflow
from snnpipe.metrics.catalogue import (
    AGREEMENT,
    ANN_ACCURACY,
    CI_HIGH,
    CI_LOW,
    DROP,
    LATENCY,
    MEAN_RATE,
    SNN_ACCURACY,
    SYNOPS,
    cell,
)
from snnpipe.metrics.formats import on_the_same_images
from snnpipe.metrics.paired import two_sided_p_value
from snnpipe.run.content import UNKNOWN
from snnpipe.sweeps.table import columns
from snnpipe.values.metric import NO_VALUE, MetricSpec, merged, specs_of

_WIDTH = 100
_ID_LENGTH = 32
_KEY_LENGTH = 28
"""Smallest width of the names of settings, if the values leave no room for more."""

_SHORT = 8
_NAMED = 5
_SHOWN = 6
_OUTPUT_DIR = "paths.output_dir"
_OF_EVERY_RUN = (_OUTPUT_DIR, "logger.csv.folder", "logger.mlflow.spool", "run_name", "sweep.parent")
_DATASET, _TEST_DATA = "data.name", "test.digest"
_CONTENT = ("data.digest", _TEST_DATA, "model.digest", "source.digest", "conversion.digest")
_SOURCES = ("snnpipe.version", "git.commit", *_CONTENT)
_BEYOND_CHANCE = 0.05


_COSTS = (DROP, AGREEMENT, LATENCY, MEAN_RATE, SYNOPS)
_INTERVAL = "95 %"


@dataclass(frozen=True)
class _Run:
    """A run, its letter in the tables, the classes that it gave each sample, if it kept them, and its own metrics."""

    letter: str
    run_id: str
    name: str
    status: str
    metrics: Mapping[str, float]
    settings: Mapping[str, str]
    specs: Sequence[MetricSpec]
    predictions: Predictions | None


def main() -> int:
    """Print and write the comparison, and return the exit code."""
    parser = ToolParser("snnpipe.compare", "Show how runs differ in their settings and results.")
    parser.add_argument("runs", metavar="RUN", nargs="*", help="a run's id, the beginning of it, or the run's name")
    parser.add_argument("--filter", help="MLflow's filter for more runs: \"tags.data = 'digits'\"")
    parser.add_argument("--experiment", help="search only this experiment; default: all of them")
    parser.add_argument("--output", type=Path, help="folder to write to; default: mlruns/compare/...")
    asked = parser.parse_args()
    if len(asked.runs) < 2 and asked.filter is None:
        raise UserError("name two runs or more, or give --filter (--help lists the arguments)")
    uri, client = open_store(asked.tracking_uri)
    stored = _find(_Store(uri, client, asked.experiment), asked.runs, asked.filter)
    runs = [_read(client, run, _letter(number)) for number, run in enumerate(stored)]
    results, settings = [_results(runs), *_own_results(runs)], _settings(runs)
    chance = [line for run in runs[1:] for line in _chance(run, runs[0])]
    folder = make_folder(asked.output or Path("mlruns/compare") / time.strftime("%Y-%m-%d_%H-%M-%S"), "--output")
    _write(folder, runs, results, chance, settings)
    print(_printed(runs, results, chance, settings), f"  files  {folder}", sep="\n")
    return 0


# ---------------------------------------------------------------------- which runs


@dataclass(frozen=True)
class _Store:
    """An open store, and the experiment to search; None to search all experiments."""

    uri: str
    client: Any
    experiment: str | None

    def search(self, query: str = "", *, newest_first: bool = False) -> Iterator[Any]:
        """Yield the runs that match a filter."""
        experiments = {e.name: e.experiment_id for e in self.client.search_experiments()}
        if self.experiment is not None and self.experiment not in experiments:
            known = did_you_mean(self.experiment, experiments)
            raise UserError(f"--experiment: {self.uri} has no {self.experiment!r}; {known}")
        chosen = [i for name, i in experiments.items() if self.experiment in (None, name)]
        return search_runs(self.client, chosen, query, newest_first=newest_first)


def _find(store: _Store, words: Sequence[str], query: str | None) -> list[Any]:
    """Return the named runs, then the runs that match a filter, each run once."""
    runs = {run.info.run_id: run for run in (_named(store, word) for word in words)}
    if query is not None:
        try:
            runs |= {run.info.run_id: run for run in store.search(query) if run.info.run_id not in runs}
        except import_mlflow().exceptions.MlflowException as error:
            raise UserError(f"--filter: got {query!r}: {one_line(error)[:300]}") from None
    if len(runs) < 2:
        raise UserError(f"fewer than two different runs were found in {store.uri}")
    return list(runs.values())


def _named(store: _Store, word: str) -> Any:
    """Return the run with an id, a beginning of an id, or a name.

    Raises
    ------
    UserError
        If there is no such run, or more than one.
    """
    quote = "'" if "'" not in word else '"'
    queries = [f"attributes.run_name = {quote}{word}{quote}"]
    if 0 < len(word) <= _ID_LENGTH and set(word) <= set("0123456789abcdef"):
        queries.insert(0, f"attributes.run_id LIKE '{word}%'")
    for query in queries:
        runs = list(store.search(query))
        if len(runs) > 1:
            ids = ", ".join(run.info.run_id[:_SHORT] for run in runs[-_NAMED:])
            raise UserError(f"{word!r} are {len(runs)} runs of {store.uri}: give more of an id, of {ids} for example")
        if runs:
            return runs[0]
    there = list(store.search(newest_first=True))
    names = [name for run in there for name in (run.info.run_name, run.info.run_id)]
    close = get_close_matches(word, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    newest = ", ".join(f"{run.info.run_id[:_SHORT]} ({run.info.run_name})" for run in there[:_NAMED])
    raise UserError(f"no run {word!r} in {store.uri}; {hint}the newest: {newest or 'none'}")


def _read(client: Any, run: Any, letter: str) -> _Run:
    tags = run.data.tags
    settings = {name: value for name, value in run.data.params.items() if name not in _OF_EVERY_RUN}
    settings |= {name: tags[name] for name in _SOURCES if name in tags}
    metrics, info = run.data.metrics, run.info
    predictions = _predictions(client, info.run_id, metrics)
    return _Run(letter, info.run_id, info.run_name, _status(run), metrics, settings, specs_of(tags), predictions)


def _status(run: Any) -> str:
    """Return a run's status. A run is killed if the store has it as running but no process has locked its folder."""
    folder = Path(run.data.params.get(_OUTPUT_DIR, ""))
    killed = run.info.status == "RUNNING" and _OUTPUT_DIR in run.data.params and folder.is_dir() and not is_held(folder)
    return "killed" if killed else str(run.info.status).lower()


def _predictions(client: Any, run_id: str, metrics: Mapping[str, float]) -> Predictions | None:
    """Return the classes that a run gave each sample; None if it did not keep them or its metrics do not fit them."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            predictions = Predictions.read(Path(client.download_artifacts(run_id, f"tables/{NAME}", folder)))
    except (import_mlflow().exceptions.MlflowException, OSError, ArtifactError):
        return None
    right = np.mean(predictions.snn_i == predictions.label_i) if len(predictions.label_i) else np.nan
    return predictions if np.isclose(right, metrics.get(SNN_ACCURACY.name, np.nan)) else None


def _letter(number: int) -> str:
    return ascii_uppercase[number] if number < len(ascii_uppercase) else str(number + 1)


# ---------------------------------------------------------------------- what differs


def _results(runs: Sequence[_Run]) -> list[list[str]]:
    """Return the table of results: a row a run, and under each but the first its difference to the first."""
    specs = (ANN_ACCURACY, SNN_ACCURACY, *_COSTS)
    rows = _compared(runs, specs)
    intervals = {run.letter: _interval(run) for run in runs} | {"": _INTERVAL}
    return [[*row[:3], intervals.get(row[0], ""), *row[3:]] for row in rows]


def _own_results(runs: Sequence[_Run]) -> list[list[list[str]]]:
    """Return tables, as many as their width makes necessary, of metrics that the runs have of their own."""
    groups: list[list[MetricSpec]] = []
    for spec in merged(run.specs for run in runs):
        wider = _compared(runs, [*groups[-1], spec]) if groups else []
        if wider and sum(2 + max(map(len, column)) for column in zip(*wider, strict=True)) <= _WIDTH:
            groups[-1].append(spec)
        else:
            groups.append([spec])
    return [_compared(runs, group) for group in groups]


def _compared(runs: Sequence[_Run], specs: Sequence[MetricSpec]) -> list[list[str]]:
    """Return a table of some metrics: a row a run, and under each but the first its difference to the first."""
    rows = [["", *(spec.in_short for spec in specs)]]
    metrics = [on_the_same_images(run.metrics) for run in runs]
    for run, of_run in zip(runs, metrics, strict=True):
        rows.append([run.letter, *(cell(spec, of_run) for spec in specs)])
        differences = [
            spec.difference(of_run[spec.name], metrics[0][spec.name])
            if spec.name in of_run and spec.name in metrics[0]
            else ""
            for spec in specs
        ]
        if run is not runs[0] and any(differences):
            rows.append([f"{run.letter} - {runs[0].letter}", *differences])
    return rows


def _interval(run: _Run) -> str:
    if not {CI_LOW.name, CI_HIGH.name} <= run.metrics.keys():
        return NO_VALUE
    return " to ".join(spec.number(run.metrics[spec.name]) for spec in (CI_LOW, CI_HIGH))


def _chance(run: _Run, first: _Run) -> Iterator[str]:
    """Yield whether two runs' accuracies differ by more than chance: sample by sample, or else by their intervals."""
    which = f"{run.letter} - {first.letter}"
    answers = _of_the_same_images(run, first)
    if answers is None:
        yield f"{which}: {_intervals(run, first)}"
        return
    label_i, ours, theirs = answers
    images = len(label_i)
    for network, class_i, first_i in (("SNN", ours.snn_i, theirs.snn_i), ("ANN", ours.ann_i, theirs.ann_i)):
        right, first_right = class_i[:images] == label_i, first_i[:images] == label_i
        gained, lost = int(np.sum(right & ~first_right)), int(np.sum(~right & first_right))
        p = two_sided_p_value(gained, lost)
        says = "more than chance" if p < _BEYOND_CHANCE else "may be chance"
        if gained or lost:
            alone = f"{gained:,} right in {run.letter} alone, {lost:,} in {first.letter} alone"
            yield f"{which}: {network}, {images:,} samples: {alone}: {says} (p = {p:.2g})"
        else:
            yield f"{which}: {network}, {images:,} samples: the same ones are right"


def _of_the_same_images(run: _Run, first: _Run) -> tuple[NDArray[np.int64], Predictions, Predictions] | None:
    """Return the labels of the samples that both runs classified, and both runs' classes; None if they differ."""
    ours, theirs = run.predictions, first.predictions
    if ours is None or theirs is None or not _of_the_same_data(run, first):
        return None
    images = min(len(ours.label_i), len(theirs.label_i))
    if not np.array_equal(ours.label_i[:images], theirs.label_i[:images]):
        return None
    return ours.label_i[:images], ours, theirs


def _of_the_same_data(run: _Run, first: _Run) -> bool:
    """Whether two runs had the same test data: by its digest, or by its name if neither has a digest."""
    contents = [one.settings.get(_TEST_DATA) for one in (run, first)]
    if contents == [None, None]:
        return run.settings.get(_DATASET) == first.settings.get(_DATASET)
    return contents[0] == contents[1] != UNKNOWN


def _intervals(run: _Run, first: _Run) -> str:
    names = (CI_LOW.name, CI_HIGH.name)
    if not all(name in one.metrics for one in (run, first) for name in names):
        return "one of them has no SNN accuracy"
    if all(run.metrics[name] == first.metrics[name] for name in names):
        return "SNN accuracy is the same"
    (low, high), (first_low, first_high) = ([one.metrics[name] for name in names] for one in (run, first))
    apart = high < first_low or first_high < low
    says = "lie apart: more than chance" if apart else "overlap: the difference may be chance"
    return f"the 95 % intervals of SNN accuracy {says}"


def _settings(runs: Sequence[_Run]) -> list[list[str]]:
    """Return the table of settings that differ: a row for each key, a column for each run."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    rows = [[key, *(run.settings.get(key, "-") for run in runs)] for key in keys]
    return [["", *(run.letter for run in runs)], *(row for row in rows if len(set(row[1:])) > 1)]


# ---------------------------------------------------------------------- output


def _printed(
    runs: Sequence[_Run],
    results: Sequence[Sequence[Sequence[str]]],
    chance: Sequence[str],
    settings: Sequence[Sequence[str]],
) -> str:
    rule = "-" * _WIDTH
    names = columns([[run.letter, run.run_id[:_SHORT], run.status, run.name] for run in runs], str.ljust)
    differ = ["  the settings are the same"]
    if len(settings) > 1:
        rows = [row[1 : _SHOWN + 1] for row in settings]
        left = _WIDTH - 2 - sum(2 + max(map(len, column)) for column in zip(*rows, strict=True))
        keys = columns([[key] for key in shorten([row[0] for row in settings], max(_KEY_LENGTH, left))], str.ljust)
        width = (_WIDTH - len(keys[0])) // len(rows[0]) - 2
        values = columns([shorten(row, width) for row in rows], str.ljust, _WIDTH - len(keys[0]))
        differ = [key + row for key, row in zip(keys, values, strict=True)]
    if len(runs) > _SHOWN:
        differ.append(f"  Of {len(runs)} runs, these are the settings of the first {_SHOWN}; the files have all.")
    parts = [names, *(columns(table, str.rjust) for table in results), [f"  {line}" for line in chance], differ]
    return "\n".join([rule, *(line.rstrip() for part in parts for line in (*part, rule))])


def _number(value: float | None) -> str:
    """Return a metric without the rounding error of its last digits; empty for None."""
    return "" if value is None else f"{value:.10g}"


def _write(
    folder: Path,
    runs: Sequence[_Run],
    results: Sequence[Sequence[Sequence[str]]],
    chance: Sequence[str],
    settings: Sequence[Sequence[str]],
) -> None:
    """Write ``compare.csv`` with all differing settings and all metrics, and ``compare.md`` with the printed tables."""
    metrics = dict.fromkeys(name for run in runs for name in run.metrics)
    rows: list[list[Any]] = [["setting", *row] for row in settings[1:]]
    rows += [["metric", name, *(_number(run.metrics.get(name)) for run in runs)] for name in sorted(metrics)]
    write_csv(folder / "compare.csv", ["kind", "name", *(run.run_id for run in runs)], rows)
    names = [["", "id", "status", "name"], *([run.letter, run.run_id, run.status, run.name] for run in runs)]
    text = ["# Comparison", markdown_table(names), "## Results", *map(markdown_table, results)]
    text += [*chance, "## Settings that differ", markdown_table(settings)]
    write_text(folder / "compare.md", "\n\n".join(text) + "\n")
