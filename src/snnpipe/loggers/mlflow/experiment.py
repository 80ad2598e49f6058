"""Chooses the experiment of an MLflow store that a run belongs to."""

import os
from typing import Any

from snnpipe.base.errors import ConfigError, LoggingError
from snnpipe.loggers.mlflow.active import ActiveRun
from snnpipe.settings.domains import ExperimentName
from snnpipe.settings.schema import value_problem

DEFAULT = "snnpipe"
_NAME, _ID = "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"


def find_or_create(client: Any, given: str | None, around: ActiveRun | None, artifacts: str | None) -> str:
    """Return the id of the experiment for a run. A missing experiment is made.

    It is the first of these: the experiment with the given name; that of the active run around this one;
    ``$MLFLOW_EXPERIMENT_NAME`` or ``$MLFLOW_EXPERIMENT_ID``; ``snnpipe``.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    given
        Name of the experiment; None if no name was given.
    around
        The active run that the new run is nested under; None if there is none.
    artifacts
        Where the files of a new experiment are kept. None leaves the choice to the store.

    Raises
    ------
    LoggingError
        If the experiment was deleted, if the two variables contradict each other, or if there is no experiment with the
        id of ``$MLFLOW_EXPERIMENT_ID``.
    ConfigError
        If ``$MLFLOW_EXPERIMENT_NAME`` is no valid name.
    """
    if given is None and around is not None:
        return around.experiment_id
    key, name, number = "experiment_name", given, None
    if given is None:
        name, number = os.environ.get(_NAME) or None, os.environ.get(_ID) or None
        key = _NAME if name else key
        if name and (problem := value_problem(key, name, ExperimentName)):
            raise ConfigError(problem)
    if number is not None:
        by_number = _by_id(client, number)
        if name is None:
            return by_number
        named = _find(client, key, name)
        if named != by_number:
            raise LoggingError(f"{_ID}: got {number}, and {_NAME}={name} is another experiment: leave one of them out")
    return _find(client, key, name or DEFAULT) or _create(client, key, name or DEFAULT, artifacts)


def _by_id(client: Any, number: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        experiment = client.get_experiment(number)
    except MlflowException as error:
        if error.get_http_status_code() != 404:
            raise
        raise LoggingError(
            f"{_ID}: got {number!r}, and this store has no such experiment: give a name in {_NAME}, and a missing "
            "experiment is made"
        ) from error
    return _active_id(experiment, _ID, number)


def _find(client: Any, key: str, name: str) -> str | None:
    experiment = client.get_experiment_by_name(name)
    return None if experiment is None else _active_id(experiment, key, name)


def _active_id(experiment: Any, key: str, given: str) -> str:
    if experiment.lifecycle_stage != "active":
        raise LoggingError(f"{key}: {given!r} was deleted in this store: restore it, or give another")
    return str(experiment.experiment_id)


def _create(client: Any, key: str, name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name, artifact_location=artifacts))
    except MlflowException:
        if (existing := _find(client, key, name)) is None:  # otherwise another run has just created it
            raise
        return existing
