"""The check before training, which refuses a run that cannot work before it trains or logs anything."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError, ConversionError, SimulationError
from snnpipe.conversion.fidelity import FEW, require_same_rates
from snnpipe.frameworks.compat import start_afresh
from snnpipe.frameworks.keras3 import is_keras_3, translated
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.models.adapt import adapt, build
from snnpipe.protocols import Encoder, Simulator
from snnpipe.run.calibration import for_a_check
from snnpipe.values.data import DataSpec
from snnpipe.values.network import ConversionPlan, SpikingNetwork
from snnpipe.values.simulation import Stimulus

if TYPE_CHECKING:
    import tf_keras


def preflight(
    parts: Mapping[str, Any], spec: DataSpec, few: NDArray[np.float32], seed: int
) -> "tuple[tf_keras.Model | NativeNetwork, ConversionPlan]":
    """Build a run's model, convert it untrained, and check that every stage of the run can work.

    Parameters
    ----------
    parts
        The run's parts, by their config groups.
    spec
        Spec of the dataset.
    few
        Some of the test samples.
    seed
        Seed of the initial weights and of the converted network.

    Returns
    -------
    model, plan
        The untrained model, adapted to the data, and the plan of its conversion.

    Raises
    ------
    UserError
        If something cannot work as configured.
    """
    start_afresh(seed)
    built = build(parts["model"], spec)
    adapted = adapt(translated(built) if is_keras_3(built) else built, spec)
    model, converter = adapted.model, parts["conversion"]
    plan = replace(converter.explain(model), notes=adapted.notes)
    require_spikes(plan, parts["simulator"])
    training = parts["training"]
    training.check(model)
    if (check_classes := getattr(training, "check_classes", None)) is not None:
        check_classes(spec)
    untrained = for_a_check(converter, model, few, parts["simulator"].dt).convert(model, seed)
    _require_simulation(untrained, parts["simulator"], parts["encoder"])
    stimulus = Stimulus(few, range(len(few)), parts["encoder"].seeded(seed))
    stimulus.check_encoder(parts["simulator"].n_steps)
    inputs = np.random.default_rng(seed).uniform(-1, 1, (FEW, *spec.input_shape)).astype(np.float32)
    require_same_rates(untrained, model, inputs, parts["simulator"])
    return model, plan


def require_spikes(plan: ConversionPlan, simulator: Simulator) -> None:
    """Raise an error if a plan cannot be carried out, or if its spikes cannot be read out as configured."""
    plan.require_convertible()
    if not any(layer.neurons for layer in plan.layers):
        raise ConversionError("model: none of its layers becomes neurons: give it a layer with a ReLU")
    if simulator.readout == "spike_count" and not plan.spiking_output:
        raise ConfigError(
            "simulator.readout: got 'spike_count', but the output of this network is linear and does not spike: "
            "take 'last', 'mean', 'later_three_quarters' or 'later_half'"
        )


def _require_simulation(network: SpikingNetwork, simulator: Simulator, encoder: Encoder) -> None:
    """Raise `SimulationError` if the untrained network shows that it cannot be simulated or verified."""
    simulator.open(network, encoder.constant)
    random = [layer.name for layer in network.layers if layer.random]
    if simulator.verify_images and random:
        raise SimulationError(
            f"simulator.verify_images: got {simulator.verify_images}, but the neurons of layer {random[0]!r} "
            "draw their spikes, which no two simulators do alike: take 0, or neurons without randomness"
        )
