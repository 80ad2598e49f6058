"""Sets how MLflow's pages show an experiment: the mode for model training, accuracy and costs as columns of its runs.

The pages (MLflow 3.17) read a shared view of the runs from an experiment's tag ``mlflow.sharedViewState.<key>``. An
address names the view as ``viewStateShareKey=<key>``. The tag's value has the view's name, the time at which it was
made, and the state of the table and its charts as JSON. Columns have the names of the pages' source:
``metrics.`<name>```, ``attributes.`<title>```, or a field. A tag's value may have at most 5,000 characters.
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
"""Series that are logged under a second name too. A run's page always sorts its charts by name, and ``accuracy`` comes
before all others."""

_KEY = "snnpipe-1"
"""Key of the view. A changed view gets another number, so that a view that a user has changed stays."""

_MODE = "workflowType=machine_learning"
_NAME, _CREATED = "attributes.`Run Name`", "runDateAndNestInfo"
_WIDTHS = {_NAME: 205, _CREATED: 145}
"""Widths in pixels. With these, all columns fit into a window of 1280 pixels."""

_METRIC_WIDTH = 96
_MADE_MS = 1_795_651_200_000
"""Time at which the view was made, in ms since 1970: 26 November 2026."""


def runs_address(server: str, experiment_id: str, *, with_view: bool) -> str:
    """Return the address of an experiment's runs in a browser, with the view that `show_results` has set."""
    view = f"&viewStateShareKey={quote(_KEY)}" if with_view else ""
    return f"{server}/#/experiments/{experiment_id}/runs?{_MODE}{view}"


def run_address(server: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run in a browser."""
    return f"{server}/#/experiments/{experiment_id}/runs/{run_id}?{_MODE}"


def show_results(client: Any, experiment: Any) -> bool:
    """Add the view to an experiment that lacks it; return whether the experiment has it. The store may refuse it.

    Tags that the experiment already has stay: a user may have chosen another kind, or changed the view.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    experiment
        An ``mlflow.entities.Experiment`` of the client's store.
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
    """Return the state of a table of runs and of the charts beside it, in the form that the pages read."""
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
        "isAccordionReordered": True,  # otherwise the pages sort sections by name
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
