"""How MLflow's pages show an experiment: the mode for model training, accuracy and costs as columns of its runs.

The pages (MLflow 3.17) read a shared view of the runs from an experiment's tag ``mlflow.sharedViewState.<key>``, which
an address names as ``viewStateShareKey=<key>``. Its value has the view's name, when it was made, and, as JSON, what the
pages keep of a table and its charts. Columns are named as in the pages' source: ``metrics.`<name>```,
``attributes.`<title>```, or by a field. A tag's value may have 5,000 characters.
"""

import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from snnpipe.loggers.mlflow.store import import_mlflow
from snnpipe.metrics.catalogue import ANN_ACCURACY, DROP, LATENCY, SNN_ACCURACY, SPIKES, SYNOPS

COLUMNS = tuple(spec.name for spec in (ANN_ACCURACY, SNN_ACCURACY, DROP, LATENCY, SPIKES, SYNOPS))
"""Metrics that the list of runs shows."""

FIRST_CHART = {"snn/accuracy_at_step": "accuracy/at_step"}
"""Series that are logged under a second name. A run's page sorts its charts by name, and no setting changes that:
``accuracy`` comes before ``ann`` and all else."""

_KEY = "snnpipe-1"
"""Of the view; another view takes another number, so that one which a user has changed stays."""

_MODE = "workflowType=machine_learning"
_NAME, _CREATED = "attributes.`Run Name`", "runDateAndNestInfo"
_WIDTHS = {_NAME: 205, _CREATED: 145}
"""Pixels. With these, all columns are on a window of 1280."""

_METRIC_WIDTH = 96
_MADE_MS = 1_795_651_200_000
"""When the view was made: 26 November 2026."""


def runs_address(server: str, experiment_id: str, *, with_view: bool) -> str:
    """Return where a browser shows an experiment's runs, in the view that `show_results` has left there."""
    view = f"&viewStateShareKey={quote(_KEY)}" if with_view else ""
    return f"{server}/#/experiments/{experiment_id}/runs?{_MODE}{view}"


def run_address(server: str, experiment_id: str, run_id: str) -> str:
    """Return where a browser shows a run."""
    return f"{server}/#/experiments/{experiment_id}/runs/{run_id}?{_MODE}"


def show_results(client: Any, experiment: Any) -> bool:
    """Leave the view with an experiment that lacks it, unless its store refuses; return whether it is there.

    What the experiment's tags say already stays: somebody may have chosen another kind, or changed the view.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    experiment
        An ``mlflow.entities.Experiment`` of its store.
    """
    refusals = (import_mlflow().exceptions.MlflowException, OSError)
    there = set(experiment.tags)
    for name, value in _TAGS.items():
        if name not in there:
            with suppress(*refusals):
                client.set_experiment_tag(experiment.experiment_id, name, value)
                there.add(name)
    return _VIEW in there


def _state() -> dict[str, Any]:
    """Return what the pages keep of a table of runs and of the charts beside it."""
    columns = [f"metrics.`{name}`" for name in COLUMNS]
    sections = {
        "accuracy over time": [_line(f"snn/{name}_at_step") for name in ("accuracy", "agreement")],
        "accuracy and costs": [_chart("BAR", name) for name in COLUMNS],
    }
    return {
        "selectedColumns": columns,
        "columnOrder": [*_WIDTHS, *columns],
        "columnWidths": _WIDTHS | dict.fromkeys(columns, _METRIC_WIDTH),
        "compareRunSections": [
            {"uuid": title, "name": title, "display": True, "isReordered": True, "isGenerated": False}
            for title in sections
        ],
        "compareRunCharts": [
            chart | {"metricSectionId": title} for title, charts in sections.items() for chart in charts
        ],
        "isAccordionReordered": True,  # else the pages sort sections by name
    }


def _line(metric: str) -> dict[str, Any]:
    return _chart("LINE", metric) | {
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "xAxisKey": "step",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
    }


def _chart(kind: str, metric: str) -> dict[str, Any]:
    return {"type": kind, "uuid": metric, "metricKey": metric, "isGenerated": True, "deleted": False}


_VIEW = f"mlflow.sharedViewState.{_KEY}"
_TAGS = {
    _VIEW: json.dumps({"name": "accuracy and costs", "createdAt": _MADE_MS, "state": json.dumps(_state())}),
    "mlflow.experimentKind": "custom_model_development",
}
