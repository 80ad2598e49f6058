"""The search for settings that keep more of the accuracy: it tries single changes on the sample, then several at once.

Budgets of trials and steps decide what is tried, so that the result does not depend on a clock. The search also has a
time limit, which an ordinary machine does not reach. A search that reaches it reports so.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import UserError
from snnpipe.diagnosis.calibrated import unchanged
from snnpipe.diagnosis.measures import loss_p_value
from snnpipe.diagnosis.sample import Sample
from snnpipe.diagnosis.situation import Candidate, Situation, changed
from snnpipe.diagnosis.suggestions import candidates, combinations
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.values.diagnosis import LayerDiagnosis, Suggestion, Tried
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import SimulationChunk

if TYPE_CHECKING:
    import tf_keras

HELPS = 0.05
"""A gain counts as real below this p-value. A loss at or above it counts as chance."""

ALIKE = 0.2
"""Two settings count as equally accurate if the p-value of their difference is at least this; the cheaper one is
then better."""

_MOST_SUGGESTED = 3
_MOST_TRIED = 32
_MOST_STEPS = 64  # steps of all trials together, as a multiple of the run's steps
_ROUNDS = 3
_SECONDS = 60.0  # time limit: this, or `_TIMES` times the time that simulating the sample took, if that is longer
_TIMES = 20.0


@dataclass(frozen=True, eq=False)
class Trial:
    """The result of simulating the sample with some settings.

    Attributes
    ----------
    candidate
        The changes that give the settings.
    right
        Whether each image is right, shape ``(b,)``.
    spikes, n_steps
        Spikes per image, and number of steps that an image is shown.
    error
        Root mean square error of the layers' mean rates against the ANN's activations, relative to the activations'
        root mean square.
    """

    candidate: Candidate
    right: NDArray[np.bool_]
    spikes: float
    n_steps: int
    error: float

    @property
    def cost(self) -> float:
        """Spikes times steps, a measure of the energy that a neuromorphic chip needs."""
        return (self.spikes + 1) * self.n_steps

    def expected(self, before: "Trial", word: str) -> str:
        """Return the effect of the settings on the sample. ``word`` is what one of its inputs is called."""
        return (
            f"{100 * before.right.mean():.1f} -> {100 * self.right.mean():.1f} % of {len(self.right)} {word}s right, "
            f"{before.spikes:,.0f} -> {self.spikes:,.0f} spikes per {word}"
        )


@dataclass(eq=False)
class Searcher:
    """Tries changes of a run's parts on the sample until the budget is used up.

    Parameters
    ----------
    sample, parts, model, seed, network
        Sample, parts, ANN, seed and spiking network of the run.
    base
        Result of the run's own settings on the sample.
    measure
        Function that returns the layers' figures for a network and other parts.
    took
        Seconds that simulating the sample took.
    """

    sample: Sample
    parts: Mapping[str, Any]
    model: "tf_keras.Model | NativeNetwork"
    seed: int
    network: SpikingNetwork
    base: Trial
    measure: Callable[[SpikingNetwork, Mapping[str, Any]], Sequence[LayerDiagnosis]]
    took: float
    trials: dict[str, Trial] = field(default_factory=dict, init=False)
    cut: bool = field(default=False, init=False)
    _steps: int = field(default=0, init=False)
    _refused: set[str] = field(default_factory=set, init=False)
    _began: float = field(default_factory=time.perf_counter, init=False)

    # ------------------------------------------------------------------ the search

    def search(self, situation: Situation, untried: Sequence[Candidate]) -> tuple[list[Suggestion], Tried]:
        """Return suggestions and a summary of the trials. Changes that helped come first, the best one leading.

        A change that needs another training gets the last place.
        """
        start = unchanged(situation)
        for _ in range(_ROUNDS):
            self._try_all(start, candidates(situation))
            if not self._recovered():
                self._try_together(start, situation)
            best = self._best()
            if best is None or best.candidate is start or self._recovered() or not self._affords(best.n_steps):
                break
            start = best.candidate
            situation = self._situation(situation, start)
        best = self._best()
        tried = Tried(
            settings=len(self.trials),
            best_right=int(best.right.sum()) if best else None,
            best_override=best.candidate.override if best else "",
            seconds=time.perf_counter() - self._began,
            cut=self.cut,
            helped=len(self._helped()),
        )
        return self._suggestions(untried), tried

    def unharmed(self, wanted: Iterable[Candidate]) -> Suggestion | None:
        """Return the first change that gets no more images wrong than chance explains."""
        for candidate in wanted:
            trial = self._try(candidate, always=True)
            if trial is not None and loss_p_value(self.base.right, trial.right) >= HELPS:
                return Suggestion(candidate.override, candidate.reason, trial.expected(self.base, self.sample.word))
        return None

    def _try_all(self, start: Candidate, more: Iterable[Candidate]) -> None:
        """Try each of some changes together with the changes of ``start``."""
        for candidate in more:
            self._try(candidate.after(start))

    def _try_together(self, start: Candidate, situation: Situation) -> None:
        """Try several changes at once. Once the accuracy is back, skip those that take more time."""
        for candidate in combinations(situation):
            steps = candidate.changes.get("simulator.n_steps", situation.settings.n_steps)
            if steps == situation.settings.n_steps or not self._recovered():
                self._try(candidate.after(start))

    def _recovered(self) -> bool:
        """Whether a trial gets as many images right as the ANN, within chance."""
        return any(loss_p_value(self.sample.ann_right, trial.right) >= HELPS for trial in self.trials.values())

    def _best(self) -> Trial | None:
        """Return the trial with the most images right; among equals, the one whose rates are closest to the ANN's."""
        trials = [*self.trials.values()]
        return min(trials, key=lambda trial: (-int(trial.right.sum()), trial.error, trial.cost), default=None)

    def _situation(self, before: Situation, candidate: Candidate) -> Situation:
        """Return the situation after some changes, measured again, so that the same rules can continue from it."""
        parts = changed(self.parts, candidate.changes)
        network = self._network(parts)
        self._steps += parts["simulator"].n_steps
        settings = replace(before.settings, **{f: getattr(parts["simulator"], f) for f in vars(before.settings)})
        return replace(
            before, parts=parts, settings=settings, layers=network.layers, figures=self.measure(network, parts)
        )

    # ------------------------------------------------------------------ trials

    def _affords(self, n_steps: int) -> bool:
        return len(self.trials) < _MOST_TRIED and self._steps + n_steps <= _MOST_STEPS * self.base.n_steps

    def _try(self, candidate: Candidate, always: bool = False) -> Trial | None:
        """Return the result of some changes; None if a part refuses them or the budget does not allow them."""
        key = candidate.override
        if key in self.trials:
            return self.trials[key]
        n_steps = candidate.changes.get("simulator.n_steps", self.base.n_steps)
        if key in self._refused or not (always or self._affords(n_steps)):
            return None
        if not always and time.perf_counter() - self._began > max(_SECONDS, _TIMES * self.took):
            self.cut = True
            return None
        try:
            parts = changed(self.parts, candidate.changes)
            trial = self.simulated(candidate, self._network(parts), parts)
        except UserError:  # the changes do not go with the other settings
            self._refused.add(key)
            return None
        self._steps += n_steps
        self.trials[key] = trial
        return trial

    def _network(self, parts: Mapping[str, Any]) -> SpikingNetwork:
        if parts["conversion"] is self.parts["conversion"]:
            return self.network
        network: SpikingNetwork = parts["conversion"].convert(self.model, self.seed)
        return network

    def simulated(self, candidate: Candidate, network: SpikingNetwork, parts: Mapping[str, Any]) -> Trial:
        """Simulate the sample in a network and return the result."""
        simulator, encoder = parts["simulator"], parts["encoder"].seeded(self.seed)
        spiking = [layer.name for layer in network.layers if layer.spiking]
        units = {layer.name: layer.spike_unit(simulator.dt) / simulator.n_steps for layer in network.layers}
        rates: list[dict[str, NDArray[np.float32]]] = [{} for _ in self.sample.batches]
        spikes = 0.0

        def count(batch: int, chunk: SimulationChunk) -> None:
            nonlocal spikes
            for name, activity in chunk.layers.items():
                spikes += float(activity.counts_bn.sum(dtype=np.float64)) if name in spiking else 0.0
                rate = activity.net_bn * np.float32(units[name])
                rates[batch][name] = rates[batch][name] + rate if name in rates[batch] else rate

        right = self.sample.right(network, simulator, encoder, count)
        return Trial(candidate, right, spikes / len(right), simulator.n_steps, self._error(rates))

    def _error(self, rates: Sequence[Mapping[str, NDArray[np.float32]]]) -> float:
        off = size = 0.0
        for activations, of_batch in zip(self.sample.activations, rates, strict=True):
            for name, activation in activations.items():
                if name in of_batch:
                    off += float(np.square(of_batch[name] - activation).sum(dtype=np.float64))
                    size += float(np.square(activation).sum(dtype=np.float64))
        return float(np.sqrt(off / size)) if size else float("inf")

    # ------------------------------------------------------------------ what is reported

    def _helped(self) -> list[Trial]:
        return [trial for trial in self.trials.values() if loss_p_value(trial.right, self.base.right) < HELPS]

    def _suggestions(self, untried: Sequence[Candidate]) -> list[Suggestion]:
        tried = [
            Suggestion(trial.candidate.override, trial.candidate.reason, trial.expected(self.base, self.sample.word))
            for trial in ranked(self._helped())
        ]
        rest = [Suggestion(c.override, c.reason, "not tried: it needs another training") for c in untried]
        return [*tried[: _MOST_SUGGESTED - len(rest[:1])], *rest][:_MOST_SUGGESTED]


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return trials in order, the best first.

    The best trial is the cheapest of those that are as good as the most accurate one. The same rule then orders the
    rest. A trial is left out if it changes all the keys that a better trial changes.
    """
    left = sorted(trials, key=lambda trial: (-int(trial.right.sum()), trial.cost))
    order: list[Trial] = []
    while left:
        alike = [trial for trial in left if loss_p_value(left[0].right, trial.right) >= ALIKE]
        best = min(alike, key=lambda trial: (trial.cost, len(trial.candidate.changes)))
        left.remove(best)
        if not any(trial.candidate.changes.keys() <= best.candidate.changes.keys() for trial in order):
            order.append(best)
    return order
