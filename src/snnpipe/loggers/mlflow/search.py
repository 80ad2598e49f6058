"""Searching an MLflow store, page by page."""

from collections.abc import Iterator, Sequence
from typing import Any


def search_runs(client: Any, experiment_ids: Sequence[str], query: str, *, newest_first: bool = False) -> Iterator[Any]:
    """Yield the runs of some experiments that a filter finds, in the order in which they began.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    experiment_ids
        Of the experiments.
    query
        MLflow's filter string.
    newest_first
        Turns the order round.
    """
    order, page = [f"start_time {'DESC' if newest_first else 'ASC'}"], None
    while True:
        found = client.search_runs(list(experiment_ids), query, order_by=order, page_token=page)
        yield from found
        page = found.token
        if not page:
            return
