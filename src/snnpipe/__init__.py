"""Train neural networks, convert them to spiking ones, and see what the conversion costs.

Importing this loads nothing heavy: names are loaded when they are used. It changes one thing: whoever imports
TensorFlow or NengoDL after it gets them as snnpipe needs them (`snnpipe.import_hook`).
"""

from importlib import import_module
from typing import Any

from snnpipe import import_hook

__version__ = "0.1.0"

_WHERE = {
    "Trainer": "snnpipe.trainer",
    "TfdsDataModule": "snnpipe.data.tfds",
    "Cnn2d": "snnpipe.models.cnn2d",
    "KerasToSnn": "snnpipe.models.keras_to_snn",
    "LifCnn": "snnpipe.models.lif_cnn",
    "Mlp": "snnpipe.models.mlp",
    "NativeNetwork": "snnpipe.native",
    "KerasTraining": "snnpipe.training.keras",
    "NengoDLTraining": "snnpipe.training.nengo_dl",
    "Pretrained": "snnpipe.training.pretrained",
    "FiringRateTarget": "snnpipe.training.regularizers",
    "FiringRateL1": "snnpipe.training.regularizers",
    "FiringRateL2": "snnpipe.training.regularizers",
    "IdentityConverter": "snnpipe.conversion.native",
    "LifByHand": "snnpipe.conversion.lif_by_hand",
    "NengoDLConverter": "snnpipe.conversion.nengo_dl",
    "ConstantEncoder": "snnpipe.encoders",
    "PoissonEncoder": "snnpipe.encoders",
    "AutoSimulator": "snnpipe.simulators.auto",
    "ClockDrivenSimulator": "snnpipe.simulators.clock_driven",
    "EventDrivenSimulator": "snnpipe.simulators.event_driven",
    "NengoDLSimulator": "snnpipe.simulators.nengo_dl",
    "Checkpoints": "snnpipe.callbacks.checkpoints",
    "EarlyStopping": "snnpipe.callbacks.early_stopping",
    "Progress": "snnpipe.callbacks.progress",
    "SpikeArtifacts": "snnpipe.callbacks.spike_artifacts",
    "CsvLogger": "snnpipe.loggers.csv",
    "MLflowLogger": "snnpipe.loggers.mlflow",
    "Checkpoint": "snnpipe.checkpoint",
    "read_plan": "snnpipe.artifacts.tables",
    "read_spikes": "snnpipe.artifacts.spikes",
}

__all__ = ["__version__", *_WHERE]


import_hook.install()


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'snnpipe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
