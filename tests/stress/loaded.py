"""What a run imports, imported: for processes that are forked from one that has done so, and computed nothing."""

import matplotlib.figure  # noqa: F401
import tensorflow_datasets  # noqa: F401

import snnpipe.commands.main
import snnpipe.simulators.event_driven.simulator  # noqa: F401
from snnpipe.frameworks.compat import import_nengo_dl
from snnpipe.loggers.mlflow.store import import_mlflow

import_nengo_dl()
import_mlflow()
