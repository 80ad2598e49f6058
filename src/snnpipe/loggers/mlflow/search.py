"""Searches an MLflow store page by page."""

from collections.abc import Iterator, Sequence
from typing import Any


def search_runs(client: Any, experiment_ids: Sequence[str], query: str, *, newest_first: bool = False) -> Iterator[Any]:
    """Yield the runs of some experiments that match a filter, in the order in which they began.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    experiment_ids
        Ids of the experiments.
    query
        Filter in MLflow's syntax.
    newest_first
        Whether to reverse the order.
    """
    order, page = [f"start_time {'DESC' if newest_first else 'ASC'}"], None
    while True:
        runs = client.search_runs(list(experiment_ids), query, order_by=order, page_token=page)
        yield from runs
        page = runs.token
        if not page:
            return
