"""Calibration of scales from data: it chooses the samples, and simulates the network with the scales.

Axes: b = sample, c = class.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.conversion.calibration import Calibration
from snnpipe.data.digests import row_digests
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.readout import ReadoutState, classes
from snnpipe.neurons.table import equation_of
from snnpipe.protocols import Converter, Simulator
from snnpipe.run.log import RunLog
from snnpipe.settings.describe import flatten
from snnpipe.values.calibration import CalibrationOutcome, Candidate, Tried
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import SignalEncoder, Stimulus

if TYPE_CHECKING:
    import tf_keras

_COMPARED = 100
"""Number of samples on which ways of scaling are compared, and trials are made."""

_BEGIN = 1.0
"""Spikes per step of the first trial, if the settings give no number."""

_FACTOR = 2.0
_LOWEST, _HIGHEST = 1 / 16, 16.0
"""Range of spikes per step that the search tries, as multiples of its first value."""

_HALVINGS = 2
"""Number of halvings at the end: the result is at most 2^(1/4) times the fewest spikes that are enough."""

_LEAST_GAIN = 0.9
"""A trial with more spikes is worth it if its error is at most this share of the error before."""

Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Samples and their labels."""

_LEAST_COST = 1e-3
"""Lowest share of the network's SynOps that a layer counts with when spikes are balanced."""


def needs_calibration(converter: Any) -> bool:
    """Whether a converter takes its scales from data."""
    return bool(getattr(converter, "needs_calibration", False))


@dataclass(frozen=True)
class _Way:
    """A way to scale: whether channels have scales of their own, and a factor on each layer's spikes per step."""

    channels: bool
    factors: Mapping[str, float]

    @property
    def balance(self) -> bool:
        return len(set(self.factors.values())) > 1


@dataclass(frozen=True, eq=False)
class _Judges:
    """Samples that a trial is judged on, with their labels and the model's logits."""

    split: str
    samples: NDArray[np.float32]
    labels: NDArray[np.int64]
    logits: NDArray[np.float64]


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
        settings = self.converter.calibration
        samples, labels = self.samples, self.labels
        begin = _BEGIN if settings.spikes_per_step == "auto" else settings.spikes_per_step
        way, candidates = self._way(begin)
        tried: Sequence[Tried] = ()
        judges, spikes = self._few, begin
        if settings.spikes_per_step == "auto" or settings.max_drop is not None:
            judges = self._few if settings.max_drop is None else self._many
            tried = tuple(self._search(way, begin, judges))
            spikes = best(tried, settings).spikes_per_step
        chosen = self._converter(way, spikes)
        return chosen, CalibrationOutcome(
            samples=len(samples),
            digest=hashlib.sha256(b"".join(row_digests((samples, labels)))).hexdigest(),
            channels=way.channels,
            balance=way.balance,
            spikes_per_step=spikes,
            spikes_of_layers={name: spikes * factor for name, factor in way.factors.items()},
            scales=dict(chosen.scale_firing_rates),
            channel_factors=chosen.channel_factors,
            candidates=candidates,
            max_error=settings.max_error,
            max_drop=settings.max_drop,
            tried=tried,
            judged=f"{len(judges.samples):,} {judges.split} {self.sample_word}s" if tried else "",
        )

    # ------------------------------------------------------------------ which layers and channels get how much

    def _way(self, begin: float) -> tuple[_Way, Sequence[Candidate]]:
        """Return the way that needs the fewest SynOps for the same error, and all ways that were tried."""
        settings, even = self.converter.calibration, dict.fromkeys(self._levels.layer, 1.0)
        of_channels = [False, True] if settings.channels == "auto" else [settings.channels]
        if settings.balance is False and len(of_channels) == 1:
            return _Way(of_channels[0], even), ()
        ways, candidates = [], []
        for channels in of_channels:
            ways.append(_Way(channels, even))
            candidate, costs = self._candidate(ways[-1], begin)
            candidates.append(candidate)
            if settings.balance is not False and len(costs) > 1:
                ways.append(_Way(channels, _balanced(costs)))
                candidates.append(self._candidate(ways[-1], begin)[0])
        wanted = [i for i, way in enumerate(ways) if way.balance or settings.balance is not True]
        return ways[min(wanted or range(len(ways)), key=lambda i: candidates[i].cost)], candidates

    def _candidate(self, way: _Way, spikes: float) -> tuple[Candidate, Mapping[str, float]]:
        """Return the result of a way on a few samples, and each layer's SynOps per sample."""
        tried, costs = self._trial(way, spikes, self._few)
        return Candidate(way.channels, way.balance, tried.error, tried.spikes, sum(costs.values())), costs

    # ------------------------------------------------------------------ the fewest spikes that lose little

    def _search(self, way: _Way, begin: float, judges: _Judges) -> Iterator[Tried]:
        """Yield the results of several numbers of spikes per step, in the order of the trials.

        The number is doubled or halved until one is enough and its half is not. Then the interval between the two is
        halved `_HALVINGS` times.
        """
        settings = self.converter.calibration

        def trial(spikes: float) -> Tried:
            return self._trial(way, spikes, judges)[0]

        before = trial(begin)
        yield before
        enough = is_enough(before, settings)
        factor = 1 / _FACTOR if enough else _FACTOR
        spikes = begin
        while _LOWEST * begin <= spikes * factor <= _HIGHEST * begin:
            if self._converter(way, spikes * factor) == self._converter(way, spikes):
                return
            spikes *= factor
            after = trial(spikes)
            yield after
            if is_enough(after, settings) != enough:
                yield from self._between(trial, *sorted((spikes / factor, spikes)))
                return
            if settings.max_drop is None and not enough and after.error > _LEAST_GAIN * before.error:
                return
            before = after

    def _between(self, trial: Callable[[float], Tried], low: float, high: float) -> Iterator[Tried]:
        """Yield trials between a number that is not enough and one that is."""
        for _ in range(_HALVINGS):
            spikes = float((low * high) ** 0.5)
            tried = trial(spikes)
            yield tried
            low, high = (low, spikes) if is_enough(tried, self.converter.calibration) else (spikes, high)

    def _converter(self, way: _Way, spikes: float) -> Any:
        of_layers = {name: spikes * factor for name, factor in way.factors.items()}
        return self.converter.calibrated(self._levels, self.simulator.dt, way.channels, of_layers)

    def _network(self, way: _Way, spikes: float) -> SpikingNetwork:
        """Return the network with certain scales. Only one with and one without scales of channels is built."""
        converter = self._converter(way, spikes)
        built = self._built.get(way.channels)
        if built is None or any(equation_of(layer.neuron_type, self.simulator.dt) is None for layer in built.layers):
            self._built[way.channels] = converter.convert(self.model, self.seed)
            return self._built[way.channels]
        rescaled: SpikingNetwork = converter.rescaled(built)
        return rescaled

    @cached_property
    def _built(self) -> dict[bool, SpikingNetwork]:
        return {}

    # ------------------------------------------------------------------ samples

    @cached_property
    def _levels(self) -> Any:
        return self.converter.levels(self.model, self.samples)

    @cached_property
    def _few(self) -> _Judges:
        samples, labels = self.samples[:_COMPARED], self.labels[:_COMPARED]
        return _Judges(self.split, samples, labels, self._logits(samples))

    @cached_property
    def _many(self) -> _Judges:
        """Validation samples; calibration samples if there are none."""
        if self.validation is None:
            return _Judges(self.split, self.samples, self.labels, self._logits(self.samples))
        samples, labels = self.validation()
        return _Judges("validation", samples, labels, self._logits(samples))

    # ------------------------------------------------------------------ simulation

    def _logits(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        size = self.simulator.batch_size
        parts = [self.model.predict_on_batch(samples[i : i + size]) for i in range(0, len(samples), size)]
        return np.concatenate(parts).astype(np.float64)

    def _trial(self, way: _Way, spikes: float, judges: _Judges) -> tuple[Tried, Mapping[str, float]]:
        """Return the result of a simulation of some samples, and each layer's SynOps per sample.

        If synaptic operations cannot be counted, spikes stand for them.
        """
        from snnpipe.simulators.auto import AutoSimulator

        samples, n = judges.samples, len(judges.samples)
        simulator = AutoSimulator(**_shared(self.simulator))
        network, scores = self._network(way, spikes), []
        counts = {layer.name: np.zeros(layer.size) for layer in network.layers}
        with simulator.open(network, self.encoder.constant) as opened:
            for first in range(0, n, simulator.batch_size):
                batch = samples[first : first + simulator.batch_size]
                readout = ReadoutState(simulator.readout, simulator.readout_steps)
                for chunk in opened.run(Stimulus(batch, range(first, first + len(batch)), self.encoder)):
                    last = readout.scores(chunk)[:, -1]
                    for name, own in chunk.layers.items():
                        counts[name] += own.counts_bn.sum(axis=0, dtype=np.float64)
                scores.append(last)
        scores_bc = np.concatenate(scores)
        ann, snn = (float(np.mean(classes(values) == judges.labels)) for values in (judges.logits, scores_bc))
        per_sample = sum(float(own.sum()) for own in counts.values()) / n
        costs = {
            layer.name: float(np.sum(counts[layer.name] * (1 if layer.fan_out_n is None else layer.fan_out_n))) / n
            for layer in network.layers
        }
        return Tried(spikes, per_sample, snn, 100 * (ann - snn), _error(scores_bc, judges.logits)), costs


def is_enough(tried: Tried, settings: Calibration) -> bool:
    """Whether a trial keeps to the limit on the loss of accuracy, or without one to that on the error."""
    return tried.error <= settings.max_error if settings.max_drop is None else tried.drop <= settings.max_drop


def best(tried: Sequence[Tried], settings: Calibration) -> Tried:
    """Return the trial with the fewest spikes per step that is enough; without one, the fewest that are nearly best."""
    if enough := [one for one in tried if is_enough(one, settings)]:
        return min(enough, key=lambda one: one.spikes_per_step)
    if settings.max_drop is not None:
        return min(tried, key=lambda one: (one.drop, one.spikes_per_step))
    least = min(one.error for one in tried)
    return min((one for one in tried if one.error <= least / _LEAST_GAIN), key=lambda one: one.spikes_per_step)


def _balanced(costs: Mapping[str, float]) -> dict[str, float]:
    """Return factors on the spikes per step of layers: (1 / SynOps)^(1/3), for the same SynOps in all."""
    total = sum(costs.values())
    if not total:
        return dict.fromkeys(costs, 1.0)
    shares = {name: max(cost / total, _LEAST_COST) for name, cost in costs.items()}
    roots = {name: share ** (-1 / 3) for name, share in shares.items()}
    same = sum(cost for cost in costs.values()) / sum(costs[name] * root for name, root in roots.items())
    return {name: float(root * same) for name, root in roots.items()}


def for_a_check(converter: Any, model: "tf_keras.Model", samples: NDArray[np.float32], dt: float) -> Converter:
    """Return a converter that can convert an untrained model, to check whether conversion is possible."""
    if not needs_calibration(converter):
        return converter  # type: ignore[no-any-return]
    settings = converter.calibration
    ready: Converter = converter.calibrated(converter.levels(model, samples), dt, settings.channels is True)
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
    encoder, data, wanted = parts["encoder"].seeded(seed), parts["data"], converter.calibration.images
    validation = (lambda: _first(data.validation_dataset(), wanted)) if data.spec.n_validation else None
    calibrator = Calibrator(
        converter,
        model,
        *_first(data.calibration_dataset(), wanted),
        parts["simulator"],
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
    return with_scales


def _first(stream: Any, wanted: int) -> Labelled:
    """Return the first samples of a stream of batches, and their labels."""
    samples, labels, n = [], [], 0
    for of_batch, their_labels, *_ in stream.as_numpy_iterator():
        samples.append(of_batch[: wanted - n])
        labels.append(their_labels[: wanted - n])
        n += len(samples[-1])
        if n >= wanted:
            break
    return np.concatenate(samples), np.concatenate(labels)


def _error(scores_bc: NDArray[np.float64], logits_bc: NDArray[np.float64]) -> float:
    """Return the error of scores, relative to the logits. A factor and what all classes share do not count."""
    scores, logits = (values - values.mean(axis=1, keepdims=True) for values in (scores_bc, logits_bc))
    factor = float(np.sum(scores * logits) / max(np.sum(scores**2), 1e-30))
    return float(np.sqrt(np.sum((factor * scores - logits) ** 2) / max(np.sum(logits**2), 1e-30)))


def _shared(simulator: Any) -> Mapping[str, Any]:
    return {**simulator.shared, "verify_images": 0, "max_images": None}
