"""The conversion of a trained model in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError, ConversionError, DataError
from snnpipe.bundle.converted import Converted
from snnpipe.conversion.calibration import Calibration
from snnpipe.conversion.fidelity import FEW, require_same_rates
from snnpipe.conversion.nengo_dl import NengoDLConverter
from snnpipe.encoders import ConstantEncoder
from snnpipe.frameworks.compat import import_tf_keras
from snnpipe.frameworks.keras3 import is_keras_3, translated
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.batches import logits_of
from snnpipe.metrics.readout import classes
from snnpipe.models.adapt import adapt
from snnpipe.models.file import ModelFile
from snnpipe.run.calibration import Calibrator, needs_calibration
from snnpipe.run.preflight import require_spikes
from snnpipe.settings.domains import Seed
from snnpipe.settings.schema import value_problem
from snnpipe.simulators.auto import AutoSimulator
from snnpipe.simulators.base import require_limits
from snnpipe.spiking.given import are_pictures, checked_labels, checked_samples
from snnpipe.spiking.model import SpikingModel
from snnpipe.values.data import DataSpec
from snnpipe.values.pixels import PixelScaling
from snnpipe.values.simulation import SimulationSettings

if TYPE_CHECKING:
    from snnpipe.protocols import Converter, Simulator
    from snnpipe.settings.domains import Neuron, Readout
    from snnpipe.values.calibration import CalibrationOutcome

_DEFAULT: Any = object()
"""Marks an argument that is left out, where None has a meaning."""


def convert(
    model: Any,
    calibration: Any,
    *,
    labels: Any = None,
    n_steps: int | None = None,
    readout: "Readout | None" = None,
    neuron: "Neuron" = _DEFAULT,
    max_drop: float | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    mean: Any = None,
    deviation: Any = None,
    scale: Any = None,
    converter: "Converter | None" = None,
    simulator: "Simulator | None" = None,
    name: str | None = None,
) -> SpikingModel:
    """Return a trained model as a spiking network, converted and simulated with the defaults of a run.

    Parameters
    ----------
    model
        A trained classifier: a model of Keras 3 or of tf_keras, or the path of its file. A softmax at its end is left
        out.
    calibration
        Samples that scales are taken from, shape ``(b, *input_shape)``, as the model takes them: some hundreds of its
        training samples, of all classes. Pixels of type ``uint8`` are scaled if a scaling is given. At most
        ``Calibration.images`` of them are used, drawn by the seed.
    labels
        Class of each of these samples. None takes the classes that the model gives. Only accuracies that a search
        reports, and ``max_drop``, depend on them.
    n_steps
        Number of steps that a sample is shown; None for the simulator's, which is 8.
    readout
        How the output over time becomes a class, as in `snnpipe.SimulationSettings`; None for the simulator's, which is
        ``auto``.
    neuron
        Nengo neuron type for the ReLUs; `snnpipe.IntegrateAndFire` if it is left out, rate neurons if it is None.
    max_drop
        Highest loss of accuracy, in percentage points, on the calibration samples. The fewest spikes that keep to it
        are searched for. None searches for the fewest spikes with nearly the model's outputs.
    seed
        Seed of the calibration samples and of the initial voltages.
    class_names
        Names of the classes, in the order of the outputs; None for their numbers.
    mean, deviation, scale
        Scaling of pixels from 0 to 255, which ``python -m snnpipe.predict`` applies to pictures:
        ``(scale * pixel - mean) / deviation``; one number, or one for each channel. Without the others, ``mean`` is 0,
        ``deviation`` is 1 and ``scale`` is 1/255. If all three are left out, the network has no scaling of its own. It
        takes pixels as they are then if ``calibration`` is pictures of type ``uint8``.
    converter
        Converter with further settings, in place of ``neuron`` and ``max_drop``.
    simulator
        Simulator with further settings; None lets snnpipe choose (`snnpipe.AutoSimulator`).
    name
        Name of the network; None takes that of the model.

    Raises
    ------
    UserError
        If the model cannot be converted or the samples do not fit it. The message names the cause and a cure.
    """
    if converter is not None and not (neuron is _DEFAULT and max_drop is None):
        raise ConfigError("convert: got a converter beside neuron or max_drop: give these in the converter")
    if simulator is not None and (simulator.verify_images or simulator.max_images is not None):
        raise ConfigError(
            "convert: verify_images and max_images are settings of a run: leave them out of the simulator"
        )
    if problem := value_problem("convert: seed", seed, Seed):
        raise ConfigError(problem)
    samples = checked_samples(calibration, None, "calibration")
    keras_model, source = _model_of(model, samples.shape[1:])
    n_classes = _n_classes(keras_model)
    spec = DataSpec("samples", input_shape=samples.shape[1:], n_classes=n_classes, class_names=class_names or ())
    pixels = _pixels({"mean": mean, "deviation": deviation, "scale": scale}, spec.input_shape)
    if pixels is None and are_pictures(calibration, spec.input_shape):
        pixels = PixelScaling(divisor=(1.0,))  # what the network takes are pixels as they are
    elif pixels is not None:
        samples = checked_samples(calibration, spec.input_shape, "calibration", pixels)
    if np.ptp(samples) == 0:
        raise DataError(
            f"calibration: all values of all samples are {samples.flat[0]:g}: give samples of the training data, as "
            "scales are taken from their activations"
        )
    adapted = adapt(keras_model, spec)
    if converter is None:
        converter = NengoDLConverter(calibration=Calibration(max_drop=max_drop))
        converter = converter if neuron is _DEFAULT else replace(converter, neuron=neuron)
    changes = {"n_steps": n_steps, "readout": readout}
    chosen: Any = AutoSimulator() if simulator is None else simulator
    chosen = chosen.with_settings(**{key: value for key, value in changes.items() if value is not None})
    require_spikes(converter.explain(adapted.model), chosen)
    outcome: CalibrationOutcome | None = None
    if needs_calibration(converter):
        converter, outcome = _calibrated(converter, adapted.model, samples, labels, chosen, seed, n_classes)
        chosen = chosen.with_settings(readout=outcome.readout)
    network = converter.convert(adapted.model, seed)
    require_limits(network, chosen.dt)
    require_same_rates(network, adapted.model, samples[:FEW], chosen)
    converted = Converted(
        name=name or keras_model.name,
        network=network,
        settings=SimulationSettings(**chosen.shared),
        encoder=ConstantEncoder(),
        seed=seed,
        input_shape=spec.input_shape,
        class_names=spec.class_names,
        plan=replace(converter.explain(adapted.model), notes=adapted.notes),
        pixels=pixels,
        calibration=outcome,
        made_from={"call": "snnpipe.convert", "model": source},
    )
    return SpikingModel(converted, simulator=chosen, ann=adapted.model, samples=samples)


def _pixels(given: Mapping[str, Any], shape: tuple[int, ...]) -> PixelScaling | None:
    settings = {key: value for key, value in given.items() if value is not None}
    if not settings:
        return None
    pixels = PixelScaling.standardised(**settings)
    pixels.check(shape)
    return pixels


def _model_of(model: Any, shape: tuple[int, ...]) -> tuple[Any, str]:
    """Return a model as one of tf_keras, and where it came from."""
    if isinstance(model, (str, Path)):
        spec = DataSpec(input_shape=shape, n_classes=2)
        return ModelFile(str(model)).build(spec), str(model)
    if isinstance(model, NativeNetwork):
        raise ConversionError("convert: got a network written in Nengo, which spikes already: give a Keras model")
    keras = import_tf_keras()
    if is_keras_3(model):
        return translated(model), f"a model of Keras 3: {model.name}"
    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise ConversionError(f"convert: got a {kind}: give a Keras model, or the path of its file")
    if isinstance(model, keras.Sequential) and not model.inputs and model.layers:
        model.build((None, *shape))
    return model, f"a model of tf_keras: {model.name}"


def _n_classes(model: Any) -> int:
    """Return the number of a model's outputs; 2 if it is no vector of outputs, which `adapt` then refuses."""
    shape = getattr(model, "output_shape", None)
    vector = isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[1], int)
    return max(2, shape[1]) if vector and shape is not None else 2


def _calibrated(
    converter: Any,
    model: Any,
    samples: NDArray[np.float32],
    labels: Any,
    simulator: Any,
    seed: int,
    n_classes: int,
) -> "tuple[Converter, CalibrationOutcome]":
    """Return the converter with scales from samples, and how they were determined."""
    order = np.random.default_rng(seed).permutation(len(samples))[: converter.calibration.images]
    taken = samples[order]
    if labels is None:
        own = classes(logits_of(model, taken, simulator.batch_size))
    else:
        own = checked_labels(labels, len(samples), n_classes, "labels")[order]
    calibrator = Calibrator(
        converter, model, taken, own, simulator, ConstantEncoder(), seed, split="calibration", sample_word="sample"
    )
    return calibrator.calibrated()
