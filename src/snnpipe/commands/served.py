"""A stored network as a model of MLflow, for its registry, ``mlflow models predict`` and ``mlflow models serve``."""

from pathlib import Path
from threading import Lock
from typing import Any

from snnpipe.base.errors import UserError
from snnpipe.loggers.mlflow.model import ANSWERS
from snnpipe.spiking.model import SpikingModel


class ServedModel:
    """Answers to samples: a row for each, with the columns of the signature (`snnpipe.loggers.mlflow.model`).

    Parameters
    ----------
    path
        The network's file.
    """

    def __init__(self, path: Path):
        self._model = SpikingModel.load(path, replay=False)
        self._one_at_a_time = Lock()  # threads of a server share the simulator's threads

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Return a table with class, its name, time until it was settled (ms) and number of spikes of each sample.

        Parameters
        ----------
        model_input
            Samples as the network takes them, shape ``(b, *input_shape)``.
        params
            Not used. MLflow passes it on.

        Raises
        ------
        MlflowException
            If the samples do not fit. Its code makes a server answer 400, with the reason.
        """
        import pandas as pd
        from mlflow.exceptions import MlflowException

        try:
            with self._one_at_a_time:
                answers = self._model.predict(model_input)
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        columns = (answers.classes, list(answers), answers.settled_ms, answers.spikes)
        return pd.DataFrame(dict(zip(ANSWERS, columns, strict=True)))


def load(path: str) -> ServedModel:
    """Return a model from the file that MLflow has stored: what MLflow calls ``_load_pyfunc``."""
    return ServedModel(Path(path))
