"""Scales from data: which samples a calibration looks at, and what its candidates give when they are simulated.

Axes: b = sample, t = step, c = class.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.data.checked_data import CheckedData
from snnpipe.data.digests import row_digests
from snnpipe.metrics.readout import ReadoutState
from snnpipe.protocols import Converter, Simulator
from snnpipe.values.calibration import CalibrationOutcome, Candidate
from snnpipe.values.network import ConversionPlan
from snnpipe.values.simulation import SignalEncoder, Stimulus

if TYPE_CHECKING:
    import tf_keras

_COMPARED = 100
"""Samples on which candidates are simulated."""


def needs_calibration(converter: Any) -> bool:
    """Whether a converter takes scales from data."""
    return bool(getattr(converter, "needs_calibration", False))


@dataclass(frozen=True, eq=False)
class Calibrator:
    """Makes a converter of one that takes scales from data.

    Parameters
    ----------
    converter
        With ``needs_calibration``.
    data
        Of the run.
    simulator, encoder, seed
        Of the run.
    """

    converter: Any
    data: CheckedData
    simulator: Simulator
    encoder: SignalEncoder
    seed: int

    def calibrated(self, model: "tf_keras.Model") -> tuple[Converter, CalibrationOutcome]:
        """Return the converter with scales for a trained model, and what the scales came from."""
        settings = self.converter.calibration
        samples, labels = self._samples(settings.images)
        digest = hashlib.sha256(b"".join(row_digests((samples, labels)))).hexdigest()
        wanted = (False, True) if settings.channels == "auto" else (settings.channels,)
        converters = [
            self.converter.calibrated(model, samples, self.simulator.dt, channels=channels) for channels in wanted
        ]
        candidates: Sequence[Candidate] = ()
        best = 0
        if len(converters) > 1:
            candidates = [
                self._candidate(channels, converter, model, samples[:_COMPARED])
                for channels, converter in zip(wanted, converters, strict=True)
            ]
            best = min(range(len(candidates)), key=lambda i: candidates[i].cost)
        chosen = converters[best]
        scales, factors = dict(chosen.scale_firing_rates), chosen.channel_factors
        return chosen, CalibrationOutcome(len(samples), digest, wanted[best], scales, factors, candidates)

    def _samples(self, wanted: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the first samples of the first epoch, whose order the run's seed draws."""
        samples, labels, n = [], [], 0
        for of_batch, their_labels, *_ in self.data.train_dataset(0).as_numpy_iterator():
            samples.append(of_batch[: wanted - n])
            labels.append(their_labels[: wanted - n])
            n += len(samples[-1])
            if n >= wanted:
                break
        return np.concatenate(samples), np.concatenate(labels)

    def _candidate(
        self, channels: bool, converter: Converter, model: "tf_keras.Model", samples: NDArray[np.float32]
    ) -> Candidate:
        """Simulate samples, and compare the scores at the end with the model's logits."""
        from snnpipe.simulators.auto import AutoSimulator

        simulator = AutoSimulator(**_shared(self.simulator))
        network, spikes, scores = converter.convert(model, self.seed), 0.0, []
        with simulator.open(network, self.encoder.constant) as opened:
            for first in range(0, len(samples), simulator.batch_size):
                batch = samples[first : first + simulator.batch_size]
                readout = ReadoutState(simulator.readout, simulator.readout_steps)
                stimulus = Stimulus(batch, range(first, first + len(batch)), self.encoder)
                for chunk in opened.run(stimulus):
                    last = readout.scores(chunk)[:, -1]
                    spikes += sum(float(own.counts_bn.sum()) for own in chunk.layers.values())
                scores.append(last)
        logits = np.asarray(model.predict_on_batch(samples), np.float64)
        return Candidate(channels, _relative_error(np.concatenate(scores), logits), spikes / len(samples))


def _relative_error(scores_bc: NDArray[np.float64], logits_bc: NDArray[np.float64]) -> float:
    """Return how far scores are from logits, of the logits' size; what all classes share does not count."""
    a, b = (values - values.mean(axis=1, keepdims=True) for values in (scores_bc, logits_bc))
    factor = float(np.sum(a * b) / max(np.sum(a * a), 1e-30))  # the counts of spikes have another unit
    return float(np.sqrt(np.sum((factor * a - b) ** 2) / max(np.sum(b * b), 1e-30)))


def _shared(simulator: Any) -> Mapping[str, Any]:
    return {**simulator.shared, "verify_images": 0, "max_images": None}


def for_a_check(converter: Any, model: "tf_keras.Model", samples: NDArray[np.float32], simulator: Any) -> Converter:
    """Return a converter with which an untrained model can be converted, to see whether it can be at all."""
    if not needs_calibration(converter):
        return converter  # type: ignore[no-any-return]
    channels = converter.calibration.channels is True
    calibrated: Converter = converter.calibrated(model, samples, simulator.dt, channels=channels)
    return calibrated


def replan(plan: ConversionPlan | None, converter: Converter, model: Any) -> ConversionPlan:
    """Return the plan of a trained model, with the notes of the one that was made before training."""
    return replace(converter.explain(model), notes=() if plan is None else plan.notes)
