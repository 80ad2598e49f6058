"""A spiking network in memory, with what a user does with it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError, DataError, SimulationError, UserError, did_you_mean
from snnpipe.bundle.bundle import read_bundle, write_bundle
from snnpipe.bundle.converted import Converted
from snnpipe.bundle.references import Replay
from snnpipe.nir_files.file import write_nir
from snnpipe.protocols import Simulator
from snnpipe.simulators.auto import AutoSimulator
from snnpipe.spiking.ann import NetworkOfRates
from snnpipe.spiking.given import checked_inputs, checked_labels
from snnpipe.spiking.results import Evaluation, Predictions, Recording
from snnpipe.spiking.simulated import evaluated, predicted, recorded
from snnpipe.values.calibration import CalibrationOutcome
from snnpipe.values.network import ConversionPlan, SpikingNetwork
from snnpipe.values.pixels import PixelScaling

_CHANGEABLE = ("n_steps", "readout", "readout_steps", "batch_size", "precision")
_SHOWN = 4


class SpikingModel:
    """A converted network, which simulates samples that are given as arrays.

    `snnpipe.convert` and `snnpipe.load` make one. It does not change, except that ``evaluation`` is the newest one.

    Parameters
    ----------
    converted
        The network with its settings.
    simulator
        Simulator that runs it; None lets snnpipe choose (`snnpipe.AutoSimulator`).
    ann
        The model that was converted. None for the network with rates in place of spikes, which computes the same up to
        rounding. It differs from the model if ``max_pooling="average"`` has replaced max pooling.
    samples
        Samples for the references of a saved network, shape ``(b, *input_shape)``.
    replay
        Comparison with the references, for a network that was loaded.

    Attributes
    ----------
    replay
        Comparison with the references, for a network that was loaded; None for any other.
    evaluation
        The newest evaluation; None before the first.
    """

    def __init__(
        self,
        converted: Converted,
        *,
        simulator: Simulator | None = None,
        ann: Any = None,
        samples: NDArray[np.float32] | None = None,
        replay: Replay | None = None,
    ):
        chosen: Any = AutoSimulator() if simulator is None else simulator
        shared = {name: getattr(converted.settings, name) for name in (*_CHANGEABLE, "dt")}
        self._converted, self._ann, self._samples = converted, ann, samples
        self._simulator: Simulator = chosen.with_settings(**shared)
        self.replay = replay
        self.evaluation: Evaluation | None = None

    # ------------------------------------------------------------------ what it is

    @property
    def name(self) -> str:
        """Name of the network."""
        return self._converted.name

    @property
    def network(self) -> SpikingNetwork:
        """The spiking network, as simulators take it."""
        return self._converted.network

    @property
    def plan(self) -> ConversionPlan:
        """What each layer of the model has become."""
        return self._converted.plan

    @property
    def calibration(self) -> CalibrationOutcome | None:
        """What its scales were taken from; None if they were given."""
        return self._converted.calibration

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs."""
        return self._converted.class_names

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a sample."""
        return self._converted.input_shape

    @property
    def pixels(self) -> PixelScaling | None:
        """Scaling of pixels to the values that it takes; None if it is not known."""
        return self._converted.pixels

    @property
    def made_from(self) -> Mapping[str, str]:
        """What it was made from, as texts by name."""
        return self._converted.made_from

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers of neurons, from input to output."""
        return tuple(layer.name for layer in self.network.layers)

    @property
    def n_steps(self) -> int:
        """Number of steps that a sample is shown."""
        return self._simulator.n_steps

    @property
    def readout(self) -> str:
        """How the output over time becomes a class."""
        return self._simulator.readout

    @property
    def dt(self) -> float:
        """Seconds per step."""
        return self._simulator.dt

    def with_settings(self, **changes: Any) -> "SpikingModel":
        """Return this network with some settings of its simulation changed.

        Parameters
        ----------
        **changes
            ``n_steps``, ``readout``, ``readout_steps``, ``batch_size`` or ``precision``, as in
            `snnpipe.SimulationSettings`.

        Raises
        ------
        ConfigError
            If a setting cannot be changed, or a value is outside its domain.
        """
        for name in changes:
            if name not in _CHANGEABLE:
                raise ConfigError(f"with_settings: {name} cannot be changed; {did_you_mean(name, _CHANGEABLE)}")
        _require_readout(self.network, changes.get("readout", ""))
        settings = self._converted.settings.with_settings(**changes)
        converted = replace(self._converted, settings=settings)
        return SpikingModel(
            converted, simulator=self._simulator, ann=self._ann, samples=self._samples, replay=self.replay
        )

    # ------------------------------------------------------------------ what it does

    def predict(self, x: Any) -> Predictions:
        """Return the classes of samples.

        Parameters
        ----------
        x
            Samples as the network takes them, shape ``(b, *input_shape)``. If the network has a scaling of pixels
            (``pixels``), it scales those of type ``uint8``. Without one, pictures of this type are refused.

        Raises
        ------
        DataError
            If they have another shape, or values that are no finite numbers.
        """
        samples = checked_inputs(x, self.input_shape, "x", self.pixels)
        return predicted(self._converted, self._simulator, samples)

    def run(self, x: Any, record: str | Sequence[str] = (), max_mb: float = 1024) -> Recording:
        """Return the outputs over time, and the spikes of some layers.

        Parameters
        ----------
        x
            Samples as the network takes them, shape ``(b, *input_shape)``.
        record
            Names of layers of neurons whose spikes are recorded (``layers`` lists them).
        max_mb
            Largest size of all arrays together, MB.

        Raises
        ------
        ConfigError
            If there is no such layer.
        DataError
            If the samples have another shape, or values that are no finite numbers.
        SimulationError
            If the arrays would be larger than ``max_mb``.
        """
        samples = checked_inputs(x, self.input_shape, "x", self.pixels)
        names = [record] if isinstance(record, str) else list(dict.fromkeys(record))
        layers = {layer.name: layer for layer in self.network.layers}
        for name in names:
            if name not in layers:
                raise ConfigError(f"record: there is no layer of neurons {name!r}; {did_you_mean(name, layers)}")
        self._check_memory(len(samples), sum(layers[name].size for name in names), max_mb)
        return recorded(self._converted, self._simulator, samples, names)

    def evaluate(self, x: Any, y: Any) -> Evaluation:
        """Return accuracy, agreement with the ANN, curves and costs on labelled samples: the figures of a run.

        Parameters
        ----------
        x
            Samples as the network takes them, shape ``(b, *input_shape)``.
        y
            Class of each sample, shape ``(b,)``, or one-hot.

        Raises
        ------
        DataError
            If samples or labels have other shapes or values.
        """
        samples = checked_inputs(x, self.input_shape, "x", self.pixels)
        labels = checked_labels(y, len(samples), len(self.class_names), "y")
        ann = NetworkOfRates(self.network, self.dt) if self._ann is None else self._ann
        self.evaluation = evaluated(self._converted, self._simulator, ann, samples, labels)
        return self.evaluation

    def report(self, path: str | Path) -> Path:
        """Write the newest evaluation as one HTML page that needs no other file, and return its path.

        Raises
        ------
        UserError
            If nothing has been evaluated yet.
        StorageError
            If the page cannot be written.
        """
        if self.evaluation is None:
            raise UserError("report: nothing has been evaluated yet: call evaluate(x, y) first")
        from snnpipe.spiking.page import write_page

        return write_page(Path(path), self._converted, self.evaluation)

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path, samples: Any = None) -> Path:
        """Write the network to one file of plain data, which `snnpipe.load` reads, and return its path.

        Parameters
        ----------
        path
            Path of the file, such as ``net.snn``.
        samples
            Samples whose outputs and spike counts are stored as references, at most 8; None for those that the network
            was calibrated with.

        Raises
        ------
        BundleError
            If the network has parts that are code and no plain data: a neuron type, a synapse or an encoder of your
            own, a layer in software. The message names it.
        DataError
            If there are no samples.
        """
        taken = self._samples if samples is None else checked_inputs(samples, self.input_shape, "samples", self.pixels)
        if taken is None:
            raise DataError("save: give a few samples, whose outputs are stored as references: save(path, samples=x)")
        return write_bundle(Path(path), self._converted, taken)

    @classmethod
    def load(cls, path: str | Path, replay: bool = True) -> "SpikingModel":
        """Return the network that `save` has written (`snnpipe.load`)."""
        bundle = read_bundle(Path(path))
        replay_of = bundle.replay() if replay else None
        return cls(bundle.converted, samples=bundle.references.samples, replay=replay_of)

    def to_nir(self, path: str | Path, *, dt: float = 1.0, portable: bool = False) -> Path:
        """Write the network to a file of NIR, which other frameworks read, and return its path.

        A spike in the file is a 1 in one step, and thresholds are 1. Samples have their channels first there.
        `snnpipe.from_nir` gives the same network back. Its weights are the same to the bit, and its spikes are the
        same, up to rounding where a layer has another form there (docs/nir.md).

        Parameters
        ----------
        path
            Path of the file, such as ``net.nir``.
        dt
            Length of a step in the file's unit of time. 1 counts time in steps, so that ``r`` of ``IF`` nodes is 1.
        portable
            Whether pooling and factors are written as convolutions and dense layers, which all readers take, and not as
            ``AvgPool2d`` and ``Scale``, which some do not.

        Raises
        ------
        BundleError
            If NIR cannot say a layer. The message names the layer and a cure.
        """
        return write_nir(Path(path), self._converted, dt, portable)

    # ------------------------------------------------------------------ helpers

    def _check_memory(self, n_samples: int, neurons: int, max_mb: float) -> None:
        needed_mb = 4e-6 * n_samples * self.n_steps * (neurons + 3 * len(self.class_names))
        if needed_mb > max_mb:
            raise SimulationError(
                f"run: {n_samples:,} samples, {self.n_steps:,} steps and {neurons:,} recorded neurons make arrays of "
                f"{needed_mb:,.0f} MB, and max_mb is {max_mb:g}: give fewer samples or layers, or a higher max_mb"
            )

    def __repr__(self) -> str:
        layers = self.network.layers
        names = ", ".join(self.layers[:_SHOWN]) + (", ..." if len(layers) > _SHOWN else "")
        kinds = ", ".join(dict.fromkeys(type(layer.neuron_type).__name__ for layer in layers))
        shape = "x".join(map(str, self.input_shape))
        lines = [
            f"SpikingModel {self.name}: samples of {shape} values, {len(self.class_names)} classes",
            f"{sum(prod(layer.shape) for layer in layers):,} neurons ({kinds}) in {len(layers)} layers: {names}",
            f"{self.n_steps} steps of {1000 * self.dt:g} ms, read-out {self._simulator.readout}",
        ]
        if self.calibration is not None:
            lines.append(f"scales from {self.calibration.samples:,} samples")
        if self.replay is not None:
            lines.append(str(self.replay))
        return "\n  ".join(lines)


def _require_readout(network: SpikingNetwork, readout: str) -> None:
    if readout == "spike_count" and network.output_layer is None:
        raise ConfigError(
            "readout: got 'spike_count', but the output of this network is linear and does not spike: take 'last', "
            "'mean', 'later_three_quarters' or 'later_half'"
        )


def load(path: str | Path, replay: bool = True) -> SpikingModel:
    """Return a network that `SpikingModel.save` or a run has written. Neither its model nor its data are needed.

    Nothing in the file is executed. Its reference samples are simulated again and compared: ``replay`` of the result
    says whether their outputs and spikes are the same to the bit, or how far they are off.

    Parameters
    ----------
    path
        Path of the file.
    replay
        Whether to simulate the references.

    Raises
    ------
    BundleError
        If the file is missing, was altered, is of another format or unsafe, or if the network computes something else
        here, beyond rounding (`snnpipe.bundle.references.replayed` has the tolerance). The message says what is wrong.
    """
    return SpikingModel.load(path, replay)
