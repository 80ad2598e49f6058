"""The public names of snnpipe, and the module of each."""

from typing import Any

PUBLIC = {
    "Trainer": "snnpipe.trainer",
    "TfdsDataModule": "snnpipe.data.tfds",
    "Cnn2d": "snnpipe.models.cnn2d",
    "KerasToSnn": "snnpipe.models.keras_to_snn",
    "LifCnn": "snnpipe.models.lif_cnn",
    "ModelFile": "snnpipe.models.file",
    "Mlp": "snnpipe.models.mlp",
    "NativeNetwork": "snnpipe.frameworks.native",
    "KerasTraining": "snnpipe.training.keras",
    "NoTraining": "snnpipe.training.none",
    "NengoDLTraining": "snnpipe.training.nengo_dl",
    "Pretrained": "snnpipe.training.pretrained",
    "FiringRateTarget": "snnpipe.training.regularizers",
    "FiringRateL1": "snnpipe.training.regularizers",
    "FiringRateL2": "snnpipe.training.regularizers",
    "Calibration": "snnpipe.conversion.calibration",
    "IntegrateAndFire": "snnpipe.neurons.integrate_and_fire",
    "IdentityConverter": "snnpipe.conversion.native",
    "LifByHand": "snnpipe.conversion.lif_by_hand",
    "NengoDLConverter": "snnpipe.conversion.nengo_dl",
    "ConstantEncoder": "snnpipe.encoders",
    "PoissonEncoder": "snnpipe.encoders",
    "AutoSimulator": "snnpipe.simulators.auto",
    "ClockDrivenSimulator": "snnpipe.simulators.clock_driven.simulator",
    "EventDrivenSimulator": "snnpipe.simulators.event_driven.simulator",
    "NengoDLSimulator": "snnpipe.simulators.nengo_dl",
    "Checkpoints": "snnpipe.callbacks.checkpoints",
    "EarlyStopping": "snnpipe.callbacks.early_stopping",
    "Progress": "snnpipe.callbacks.progress",
    "Report": "snnpipe.callbacks.report",
    "SpikeArtifacts": "snnpipe.callbacks.spike_artifacts",
    "CsvLogger": "snnpipe.loggers.csv",
    "MLflowLogger": "snnpipe.loggers.mlflow.logger",
    "SweepRecorder": "snnpipe.sweeps.recorder",
    "Checkpoint": "snnpipe.values.checkpoint",
    "Callback": "snnpipe.callbacks.base",
    "ConversionPlan": "snnpipe.values.network",
    "DataSpec": "snnpipe.values.data",
    "Equation": "snnpipe.neurons.model",
    "LayerActivity": "snnpipe.values.simulation",
    "MetricSpec": "snnpipe.values.metric",
    "NeuronLayer": "snnpipe.values.network",
    "NeuronModel": "snnpipe.neurons.model",
    "PlannedLayer": "snnpipe.values.network",
    "RunResult": "snnpipe.values.result",
    "RunState": "snnpipe.values.run",
    "SimulatedBatch": "snnpipe.values.run",
    "SimulationChunk": "snnpipe.values.simulation",
    "SimulationSettings": "snnpipe.values.simulation",
    "SpikeEvents": "snnpipe.values.simulation",
    "SpikingNetwork": "snnpipe.values.network",
    "Stimulus": "snnpipe.values.simulation",
    "Synapse": "snnpipe.synapses",
    "read_plan": "snnpipe.artifacts.tables",
    "read_spikes": "snnpipe.artifacts.spikes",
    "register_neuron": "snnpipe.neurons.table",
}
"""The module of each public name. A configuration names a class by ``snnpipe.`` and its public name."""


def public_name(thing: Any) -> str | None:
    """Return the dotted public name of a class or function of snnpipe; None for one without a public name."""
    name = getattr(thing, "__qualname__", "")
    return f"snnpipe.{name}" if name in PUBLIC and PUBLIC[name] == getattr(thing, "__module__", "") else None
