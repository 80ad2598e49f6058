"""Calibration of scales from data: it chooses the samples, and simulates the network with the scales.

Axes: b = sample, c = class.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.data.checked_data import CheckedData
from snnpipe.data.digests import row_digests
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.readout import ReadoutState, classes
from snnpipe.protocols import Converter, Simulator
from snnpipe.run.log import RunLog
from snnpipe.settings.describe import flatten
from snnpipe.values.calibration import CalibrationOutcome, Candidate, Tried
from snnpipe.values.simulation import SignalEncoder, Stimulus

if TYPE_CHECKING:
    import tf_keras

_COMPARED = 100
"""Number of samples on which scales for layers and scales for channels are compared."""

_FACTOR = 2.0
_LOWEST, _HIGHEST = 1 / 16, 16.0
"""Range of spikes per step that the search tries, as multiples of its first value."""


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
    data, simulator, encoder, seed
        Data, simulator, encoder and seed of the run.
    """

    converter: Any
    model: Any
    data: CheckedData
    simulator: Simulator
    encoder: SignalEncoder
    seed: int

    def calibrated(self) -> tuple[Converter, CalibrationOutcome]:
        """Return the converter with its scales, and how they were determined."""
        settings = self.converter.calibration
        samples, labels = _first(self.data.calibration_dataset(), settings.images)
        digest = hashlib.sha256(b"".join(row_digests((samples, labels)))).hexdigest()
        levels = self.converter.levels(self.model, samples)

        def converter(channels: bool, spikes: float) -> Any:
            return self.converter.calibrated(self.model, levels, self.simulator.dt, channels, spikes)

        candidates: list[Candidate] = []
        channels = settings.channels is True
        if settings.channels == "auto":
            few = samples[:_COMPARED]
            begin = settings.spikes_per_step
            candidates = [self._candidate(own, converter(own, begin), few) for own in (False, True)]
            channels = min(candidates, key=lambda candidate: candidate.cost).channels
        spikes, tried = settings.spikes_per_step, tuple[Tried, ...]()
        if settings.max_drop is not None:
            tried = tuple(self._search(lambda spikes: converter(channels, spikes)))
            spikes = _best(tried, settings.max_drop).spikes_per_step
        chosen = converter(channels, spikes)
        return chosen, CalibrationOutcome(
            samples=len(samples),
            digest=digest,
            channels=channels,
            spikes_per_step=spikes,
            scales=dict(chosen.scale_firing_rates),
            channel_factors=chosen.channel_factors,
            candidates=candidates,
            max_drop=settings.max_drop,
            tried=tried,
            judged=f"{len(self._judges[0]):,} {self._judged_split} {self.data.spec.sample_word}s" if tried else "",
        )

    # ------------------------------------------------------------------ the fewest spikes that lose little

    def _search(self, converter: Any) -> Iterator[Tried]:
        """Yield the results of several numbers of spikes per step on validation samples, in the order of the trials.

        The number is doubled or halved until one is enough and its half is not. Then their geometric mean is tried.
        """
        settings = self.converter.calibration
        begin, allowed = settings.spikes_per_step, settings.max_drop
        tried = self._tried(begin, converter)
        yield tried
        enough = tried.drop <= allowed
        factor = 1 / _FACTOR if enough else _FACTOR
        spikes = begin
        while _LOWEST * begin <= spikes * factor <= _HIGHEST * begin:
            spikes *= factor
            tried = self._tried(spikes, converter)
            yield tried
            if (tried.drop <= allowed) != enough:
                yield self._tried(spikes / factor**0.5, converter)
                return

    def _tried(self, spikes: float, converter: Any) -> Tried:
        samples, labels, logits = self._judges
        scores, per_sample = self._simulated(converter(spikes), samples)
        ann, snn = (float(np.mean(classes(values) == labels)) for values in (logits, scores))
        return Tried(spikes, per_sample, snn, 100 * (ann - snn))

    @cached_property
    def _judges(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
        """Validation samples (training samples if there are none), their labels, and the model's logits."""
        judged = self._judged_split == "validation"
        stream = self.data.validation_dataset() if judged else self.data.calibration_dataset()
        samples, labels = _first(stream, self.converter.calibration.images)
        return samples, labels, self._logits(samples)

    @property
    def _judged_split(self) -> str:
        return "validation" if self.data.spec.n_validation else "training"

    # ------------------------------------------------------------------ simulation

    def _candidate(self, channels: bool, converter: Converter, samples: NDArray[np.float32]) -> Candidate:
        scores, spikes = self._simulated(converter, samples)
        return Candidate(channels, _relative_error(scores, self._logits(samples)), spikes)

    def _logits(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        size = self.simulator.batch_size
        parts = [self.model.predict_on_batch(samples[i : i + size]) for i in range(0, len(samples), size)]
        return np.concatenate(parts).astype(np.float64)

    def _simulated(self, converter: Converter, samples: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
        """Return the class scores at the end, shape ``(b, c)``, and the mean number of spikes per sample."""
        from snnpipe.simulators.auto import AutoSimulator

        simulator = AutoSimulator(**_shared(self.simulator))
        network, spikes, scores = converter.convert(self.model, self.seed), 0.0, []
        with simulator.open(network, self.encoder.constant) as opened:
            for first in range(0, len(samples), simulator.batch_size):
                batch = samples[first : first + simulator.batch_size]
                readout = ReadoutState(simulator.readout, simulator.readout_steps)
                for chunk in opened.run(Stimulus(batch, range(first, first + len(batch)), self.encoder)):
                    last = readout.scores(chunk)[:, -1]
                    spikes += sum(float(own.counts_bn.sum()) for own in chunk.layers.values())
                scores.append(last)
        return np.concatenate(scores), spikes / len(samples)


def for_a_check(converter: Any, model: "tf_keras.Model", samples: NDArray[np.float32], dt: float) -> Converter:
    """Return a converter that can convert an untrained model, to check whether conversion is possible."""
    if not needs_calibration(converter):
        return converter  # type: ignore[no-any-return]
    settings = converter.calibration
    levels = converter.levels(model, samples)
    ready: Converter = converter.calibrated(model, levels, dt, settings.channels is True, settings.spikes_per_step)
    return ready


def calibrated(parts: Mapping[str, Any], model: "tf_keras.Model | NativeNetwork", seed: int, log: RunLog) -> Converter:
    """Return a run's converter, with scales for its trained model if it takes them from data.

    The run's state also receives the origin of the scales, and the plan with the scales.

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
    """
    converter = parts["conversion"]
    if not needs_calibration(converter):
        return converter  # type: ignore[no-any-return]
    log.begin("calibrate", converter.calibration.images)
    encoder = parts["encoder"].seeded(seed)
    calibrator = Calibrator(converter, model, parts["data"], parts["simulator"], encoder, seed)
    with_scales, outcome = calibrator.calibrated()
    log.state.calibration = outcome
    log.params(flatten({"calibration": outcome.params()}))
    notes = () if log.state.plan is None else log.state.plan.notes
    log.state.plan = replace(with_scales.explain(model), notes=notes)
    return with_scales


def _best(tried: tuple[Tried, ...], allowed: float) -> Tried:
    """Return the trial with the fewest spikes per step and an allowed loss; without one, that with the least loss."""
    enough = [one for one in tried if one.drop <= allowed]
    if enough:
        return min(enough, key=lambda one: one.spikes_per_step)
    return min(tried, key=lambda one: (one.drop, one.spikes_per_step))


def _first(stream: Any, wanted: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the first samples of a stream of batches, and their labels."""
    samples, labels, n = [], [], 0
    for of_batch, their_labels, *_ in stream.as_numpy_iterator():
        samples.append(of_batch[: wanted - n])
        labels.append(their_labels[: wanted - n])
        n += len(samples[-1])
        if n >= wanted:
            break
    return np.concatenate(samples), np.concatenate(labels)


def _relative_error(scores_bc: NDArray[np.float64], logits_bc: NDArray[np.float64]) -> float:
    """Return the error of scores, relative to the logits. An offset that all classes share does not count."""
    a, b = (values - values.mean(axis=1, keepdims=True) for values in (scores_bc, logits_bc))
    factor = float(np.sum(a * b) / max(np.sum(a * a), 1e-30))  # spike counts have another unit than logits
    return float(np.sqrt(np.sum((factor * a - b) ** 2) / max(np.sum(b * b), 1e-30)))


def _shared(simulator: Any) -> Mapping[str, Any]:
    return {**simulator.shared, "verify_images": 0, "max_images": None}
