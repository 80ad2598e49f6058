"""The experiment of an MLflow store that runs are filed under."""

import os
from typing import Any

from snnpipe.base.errors import ConfigError, LoggingError
from snnpipe.loggers.mlflow.active import ActiveRun
from snnpipe.settings.domains import ExperimentName
from snnpipe.settings.schema import value_problem

DEFAULT = "snnpipe"
_NAME, _ID = "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"


def find_or_create(client: Any, given: str | None, around: ActiveRun | None, artifacts: str | None) -> str:
    """Return the id of an experiment, which is made where it is missing.

    It is the one that is given; else that of the active run around this one; else ``$MLFLOW_EXPERIMENT_NAME`` or
    ``$MLFLOW_EXPERIMENT_ID``; else ``snnpipe``.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    given
        The experiment's name, if one was given.
    around
        The active run that the new one is nested under, if there is one.
    artifacts
        Where the files of a new experiment are kept; None leaves it to the store.

    Raises
    ------
    LoggingError
        If the experiment was deleted, or the two variables contradict each other, or one names none.
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
        found = client.get_experiment(number)
    except MlflowException as error:
        if error.get_http_status_code() != 404:
            raise
        raise LoggingError(
            f"{_ID}: got {number!r}, and this store has no such experiment: give its name in {_NAME}, which is made "
            "where it is missing"
        ) from error
    return _active_id(found, _ID, number)


def _find(client: Any, key: str, name: str) -> str | None:
    found = client.get_experiment_by_name(name)
    return None if found is None else _active_id(found, key, name)


def _active_id(found: Any, key: str, given: str) -> str:
    if found.lifecycle_stage != "active":
        raise LoggingError(f"{key}: {given!r} was deleted in this store: restore it, or give another")
    return str(found.experiment_id)


def _create(client: Any, key: str, name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(name, artifact_location=artifacts))
    except MlflowException:
        if (found := _find(client, key, name)) is None:  # else another run has created it since
            raise
        return found
