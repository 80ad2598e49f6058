"""A converted network in the form of an MLflow model, which its registry and its server take."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

FOLDER = "model"
_LOADER = "snnpipe.serving"
ANSWERS = {"class": "long", "name": "string", "settled_ms": "double", "spikes": "double"}
"""Columns of an answer (`snnpipe.commands.served`), with MLflow's names of their types."""


def write_model(bundle: Path, folder: Path) -> Iterator[tuple[Path, str]]:
    """Write an MLflow model of a stored network, and yield its files, each with its folder among the artifacts.

    The model has a signature, and the first reference as its input example. ``snnpipe.serving`` loads it.

    Parameters
    ----------
    bundle
        File of the network.
    folder
        Folder that the model is written to; it must not exist.
    """
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    from snnpipe import __version__
    from snnpipe.bundle.archive import read_members

    samples = np.asarray(read_members(bundle).references["samples"], np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(samples.dtype, (-1, *samples.shape[1:]))]),
        outputs=Schema([ColSpec(kind, name) for name, kind in ANSWERS.items()]),
    )
    mlflow.pyfunc.save_model(
        str(folder),
        loader_module=_LOADER,
        data_path=str(bundle),
        signature=signature,
        input_example=samples[:1],
        pip_requirements=[f"snnpipe=={__version__}"],
    )
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, str(Path(FOLDER, path.relative_to(folder).parent))
