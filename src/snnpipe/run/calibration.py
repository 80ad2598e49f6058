"""Calibration of scales from data: it chooses the samples, and compares networks with several scales on them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError
from snnpipe.conversion.bias_offsets import moved
from snnpipe.conversion.calibration import Limits
from snnpipe.data.digests import row_digests
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.batches import Labelled, first_of, in_batches, logits_of
from snnpipe.neurons.table import equation_of
from snnpipe.protocols import Converter, Simulator
from snnpipe.run.bias_correction import Activity, activity_of, bias_offsets
from snnpipe.run.log import RunLog
from snnpipe.run.spikes_search import NO_IDEA, best, search
from snnpipe.run.trials import Judges, Trial, respond
from snnpipe.run.ways import Choices, Compared, Way, best_way
from snnpipe.settings.describe import flatten
from snnpipe.settings.domains import LEFT_OUT, Readout
from snnpipe.values.calibration import CalibrationOutcome, Candidate
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import SignalEncoder

if TYPE_CHECKING:
    import tf_keras

_COMPARED = 100
"""Number of samples on which ways of scaling are compared, and trials are made. Biases are corrected on as many."""

_BEGIN, _DOUBLINGS = 1.0, 4
"""Spikes per step of the first trial, if the settings give no number, and how often they are doubled in search of an
error that says something."""

_CLEARLY = 0.9
"""Share of the mean's error that a later part of the steps may have to be read out."""


def needs_calibration(converter: Any) -> bool:
    """Whether a converter takes its scales from data."""
    return bool(getattr(converter, "needs_calibration", False))


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Determines scales for a trained model.

    Parameters
    ----------
    converter
        Converter whose ``needs_calibration`` is true.
    model
        The trained model.
    samples, labels
        Calibration samples, shape ``(b, *input_shape)``, and their labels.
    simulator, encoder, seed
        Simulator, encoder and seed of the simulations.
    validation
        Function that returns the samples and labels that ``max_drop`` is judged on; None for the calibration samples.
    split, sample_word
        What the calibration samples are called, and what one of them is called.
    """

    converter: Any
    model: Any
    samples: NDArray[np.float32]
    labels: NDArray[np.int64]
    simulator: Simulator
    encoder: SignalEncoder
    seed: int
    validation: Callable[[], Labelled] | None = None
    split: str = "training"
    sample_word: str = "sample"

    def calibrated(self) -> tuple[Converter, CalibrationOutcome]:
        """Return the converter with its scales, and how they were determined."""
        settings, limits = self.converter.calibration, self._limits
        begin = self._begin() if settings.spikes_per_step == "auto" else settings.spikes_per_step
        judges = self._few if settings.max_drop is None else self._many
        way, trial, candidates = self._way(begin)
        trials: Sequence[Trial] = ()
        if searched := settings.spikes_per_step == "auto" or settings.max_drop is not None:
            trials = self._searched(way, self._trial(way, begin, judges), judges)
            trial = best(trials, limits)
        if self._chooses_readout:
            way, trial, compared = self._readout(way, trial or self._trial(way, begin, judges), judges)
            candidates = (*candidates, *compared)
            if searched and way.readout != "mean":
                trials = self._searched(way, trial, judges)
                trial = best(trials, limits)
        spikes = trial.tried.spikes_per_step if trial is not None else begin
        chosen = self._converter(way, spikes)
        if way.bias_correction:
            offsets = self._offsets(way, self._network(way, spikes)) if trial is None else trial.offsets
            chosen = replace(chosen, bias_offsets=offsets)
        return chosen, CalibrationOutcome(
            samples=len(self.samples),
            digest=hashlib.sha256(b"".join(row_digests((self.samples, self.labels)))).hexdigest(),
            channels=way.channels,
            balance=way.balance,
            bias_correction=way.bias_correction,
            readout=way.readout,
            drawn_voltages=way.drawn,
            spikes_per_step=spikes,
            spikes_of_layers={name: spikes * factor for name, factor in way.factors.items()},
            scales=dict(chosen.scale_firing_rates),
            channel_factors=chosen.channel_factors,
            bias_offsets=chosen.bias_offsets,
            uncorrected=self._uncorrected if settings.bias_correction is True or way.bias_correction else (),
            candidates=candidates,
            max_error=limits.max_error,
            max_drop=settings.max_drop,
            tried=tuple(trial.tried for trial in trials),
            judged=f"{len(judges.samples):,} {judges.split} {self.sample_word}s" if trials else "",
            judged_samples=len(judges.samples) if trials else 0,
        )

    # ------------------------------------------------------------------ which layers and channels get how much

    def _begin(self) -> float:
        """Return the spikes per step at which ways are compared: enough of them to come through the network."""
        channels = self.converter.calibration.channels is True
        way = Way(channels, self._even, False, self._first_readout, self._of_voltages[-1])
        for spikes in _BEGIN * 2.0 ** np.arange(_DOUBLINGS + 1):
            if self._trial(way, float(spikes), self._few).tried.error <= NO_IDEA:
                return float(spikes)
        return _BEGIN

    @property
    def _first_readout(self) -> Readout:
        return "mean" if self.simulator.readout == "auto" else self.simulator.readout

    def _way(self, begin: float) -> tuple[Way, Trial | None, Sequence[Candidate]]:
        """Return the way that needs the fewest SynOps for the same error, its trial if it was tried, and what was."""
        settings = self.converter.calibration
        corrected = settings.bias_correction is True and bool(self._correctable)
        first = Way(self._of_channels[0], self._even, corrected, self._first_readout, self._of_voltages[0])
        choices = Choices(
            self._of_channels,
            self._of_voltages,
            settings.balance,
            settings.bias_correction == "auto" and bool(self._correctable),
        )
        chosen, compared = best_way(first, choices, lambda way: Compared(way, self._trial(way, begin, self._few)))
        candidates = tuple(one.candidate for one in compared)
        return (first, None, candidates) if chosen is None else (chosen.way, chosen.trial, candidates)

    @property
    def _of_channels(self) -> list[bool]:
        wanted = self.converter.calibration.channels
        return [False, True] if wanted == "auto" else [wanted]

    @cached_property
    def _of_voltages(self) -> list[bool]:
        """Whether voltages are drawn: what may be tried."""
        wanted = self.converter.calibration.drawn_voltages
        if wanted is True and not self._drawable:
            raise ConfigError(
                "conversion.calibration.drawn_voltages: got True, but no layer has neurons that begin at 0.5 "
                "(neuron=integrate_and_fire): take auto, or conversion.initial_voltage=drawn"
            )
        if wanted is False or not self._drawable:
            return [False]
        return [False, True] if wanted == "auto" else [True]

    @cached_property
    def _drawable(self) -> dict[str, str]:
        """The setting of the layers of neurons whose voltages may be drawn."""
        return dict.fromkeys(self.converter.drawable(self.model), "drawn")

    @property
    def _even(self) -> dict[str, float]:
        return dict.fromkeys(self._levels.layer, 1.0)

    # ------------------------------------------------------------------ how many spikes, and which read-out

    def _searched(self, way: Way, first: Trial, judges: Judges) -> Sequence[Trial]:
        return list(
            search(
                lambda spikes: self._trial(way, spikes, judges),
                lambda one, other: self._converter(way, one) == self._converter(way, other),
                first,
                self._limits,
            )
        )

    @property
    def _limits(self) -> Limits:
        limits: Limits = self.converter.calibration.limits(self.simulator.n_steps)
        return limits

    @property
    def _chooses_readout(self) -> bool:
        return self.simulator.readout == "auto" and self.simulator.readout_steps is None

    def _readout(self, way: Way, mean: Trial, judges: Judges) -> tuple[Way, Trial, Sequence[Candidate]]:
        """Return the way with the read-out that has the least error for as many spikes, its trial, and all of them.

        A later part of the steps must be clearly better than all of them.
        """
        compared = [Compared(way, mean)]
        for readout in LEFT_OUT:
            other = replace(way, readout=readout)
            compared.append(Compared(other, self._trial(other, mean.tried.spikes_per_step, judges)))
        chosen = min(compared, key=lambda one: one.trial.tried.error)
        if chosen.trial.tried.error > _CLEARLY * mean.tried.error:
            chosen = compared[0]
        return chosen.way, chosen.trial, tuple(one.candidate for one in compared)

    # ------------------------------------------------------------------ networks

    def _converter(self, way: Way, spikes: float) -> Any:
        """Return the converter with certain scales, without offsets of biases."""
        of_layers = {name: spikes * factor for name, factor in way.factors.items()}
        converter = replace(self.converter, initial_voltage=self._drawable) if way.drawn else self.converter
        return converter.calibrated(self._levels, self.simulator.dt, way.channels, of_layers)

    def _network(self, way: Way, spikes: float) -> SpikingNetwork:
        """Return the network with certain scales. One is built for each choice of scales of channels and voltages."""
        converter = self._converter(way, spikes)
        if self._correctable:
            converter = replace(converter, bias_offsets={name: [0.0] * n for name, n in self._correctable.items()})
        key = (way.channels, way.drawn)
        built = self._built.get(key)
        if built is None or any(equation_of(layer.neuron_type, self.simulator.dt) is None for layer in built.layers):
            self._built[key] = converter.convert(self.model, self.seed)
            return self._built[key]
        rescaled: SpikingNetwork = converter.rescaled(built)
        return rescaled

    @cached_property
    def _correctable(self) -> dict[str, int]:
        """Number of channels of the layers of neurons whose biases may be corrected, by name."""
        if self.converter.calibration.bias_correction is False:
            return {}
        return dict(self.converter.correctable(self.model))

    @property
    def _uncorrected(self) -> Sequence[str]:
        return [name for name in self._levels.layer if name not in self._correctable]

    @cached_property
    def _built(self) -> dict[tuple[bool, bool], SpikingNetwork]:
        return {}

    # ------------------------------------------------------------------ samples

    @cached_property
    def _levels(self) -> Any:
        return self.converter.levels(self.model, self.samples)

    @cached_property
    def _few(self) -> Judges:
        samples, labels = self.samples[:_COMPARED], self.labels[:_COMPARED]
        return Judges(self.split, samples, labels, self._logits(samples))

    @cached_property
    def _many(self) -> Judges:
        """Validation samples; calibration samples if there are none."""
        if self.validation is None:
            return Judges(self.split, self.samples, self.labels, self._logits(self.samples))
        samples, labels = self.validation()
        return Judges("validation", samples, labels, self._logits(samples))

    # ------------------------------------------------------------------ simulation

    def _logits(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        return logits_of(self.model, samples, self.simulator.batch_size)

    def _trial(self, way: Way, spikes: float, judges: Judges) -> Trial:
        factors = tuple(way.factors.items())
        key = (way.channels, factors, way.bias_correction, way.readout, way.drawn, spikes, judges is self._few)
        if key not in self._trials:
            network = self._network(way, spikes)
            offsets = self._offsets(way, network)
            with moved(network, {name: np.array(own) for name, own in offsets.items()}):
                response = respond(network, self._simulator(way), self.encoder, judges.samples)
            self._trials[key] = response.trial(network, judges, spikes, offsets)
        return self._trials[key]

    @cached_property
    def _trials(self) -> dict[tuple[Any, ...], Trial]:
        return {}

    def _simulator(self, way: Way) -> Simulator:
        return self.simulator.with_settings(readout=way.readout)

    def _offsets(self, way: Way, network: SpikingNetwork) -> dict[str, list[float]]:
        """Return the offsets of the biases of a network; none for a way without correction."""
        if not way.bias_correction:
            return {}
        samples = self.samples[-_COMPARED:]
        if way.channels not in self._activities:
            batches = [batch for _, batch in in_batches(samples, self.simulator.batch_size)]
            self._activities[way.channels] = activity_of(self.model, network, batches)
        return bias_offsets(
            network,
            self._activities[way.channels],
            list(self._correctable),
            lambda network: respond(network, self._simulator(way), self.encoder, samples),
        )

    @cached_property
    def _activities(self) -> dict[bool, Activity]:
        return {}


def for_a_check(converter: Any, model: "tf_keras.Model", samples: NDArray[np.float32], dt: float) -> Converter:
    """Return a converter that can convert an untrained model, to check whether conversion is possible."""
    if not needs_calibration(converter):
        return converter  # type: ignore[no-any-return]
    settings = converter.calibration
    ready = converter.calibrated(converter.levels(model, samples), dt, settings.channels is True)
    if settings.bias_correction is False:
        return ready  # type: ignore[no-any-return]
    zeros = {name: [0.0] * n for name, n in converter.correctable(model).items()}
    return replace(ready, bias_offsets=zeros)  # type: ignore[no-any-return]


def calibrated(
    parts: Mapping[str, Any], model: "tf_keras.Model | NativeNetwork", seed: int, log: RunLog
) -> dict[str, Any]:
    """Return a run's converter and simulator with what only the trained model shows.

    A converter that takes scales from data has them, and a simulator with the read-out ``auto`` has one. The state of
    the run also receives these settings, the origin of the scales, and the plan with them.

    Parameters
    ----------
    parts
        Parts of the run, by their config groups.
    model
        The trained model.
    seed
        Seed of the run.
    log
        Log of the run.

    Returns
    -------
    dict
        ``conversion`` and ``simulator``.
    """
    converter, simulator = parts["conversion"], parts["simulator"]
    if not needs_calibration(converter):
        if simulator.readout == "auto":
            simulator = simulator.with_settings(readout="mean")
        log.state.settings = simulator
        return {"conversion": converter, "simulator": simulator}
    log.begin("calibrate", converter.calibration.images)
    encoder, data, wanted = parts["encoder"].seeded(seed), parts["data"], converter.calibration.images
    validation = (lambda: first_of(data.validation_dataset(), wanted)) if data.spec.n_validation else None
    calibrator = Calibrator(
        converter,
        model,
        *first_of(data.calibration_dataset(), wanted),
        simulator,
        encoder,
        seed,
        validation,
        sample_word=data.spec.sample_word,
    )
    with_scales, outcome = calibrator.calibrated()
    log.state.calibration = outcome
    log.params(flatten({"calibration": outcome.params()}))
    notes = () if log.state.plan is None else log.state.plan.notes
    log.state.plan = replace(with_scales.explain(model), notes=notes)
    log.state.settings = simulator.with_settings(readout=outcome.readout)
    return {"conversion": with_scales, "simulator": log.state.settings}
