"""The choice between ways to scale a network: which layers and channels get how many spikes, and how they begin."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from snnpipe.run.trials import Trial
from snnpipe.settings.domains import Readout
from snnpipe.values.calibration import Candidate


@dataclass(frozen=True)
class Way:
    """A way to scale.

    Attributes
    ----------
    channels
        Whether channels have scales of their own.
    factors
        Factor on each layer's spikes per step.
    bias_correction
        Whether biases make up for mean errors.
    readout
        Read-out that turns the output into class scores.
    drawn
        Whether first voltages are drawn.
    """

    channels: bool
    factors: Mapping[str, float]
    bias_correction: bool
    readout: Readout
    drawn: bool

    @property
    def balance(self) -> bool:
        """Whether layers have factors of their own."""
        return len(set(self.factors.values())) > 1


@dataclass(frozen=True, eq=False)
class Compared:
    """A way that was tried on a few samples."""

    way: Way
    trial: Trial

    @property
    def candidate(self) -> Candidate:
        """What a run records of it."""
        way, tried = self.way, self.trial.tried
        return Candidate(
            channels=way.channels,
            balance=way.balance,
            bias_correction=way.bias_correction,
            readout=way.readout,
            drawn_voltages=way.drawn,
            error=tried.error,
            spikes=tried.spikes,
            synops=sum(self.trial.costs.values()),
        )


@dataclass(frozen=True)
class Choices:
    """What a way may be, each a sequence of what is allowed.

    Attributes
    ----------
    channels, voltages
        Values of ``channels`` and ``drawn``.
    balance
        Whether layers have factors of their own; ``auto`` for both.
    correction
        Whether the best way is tried with a correction of biases too.
    """

    channels: Sequence[bool]
    voltages: Sequence[bool]
    balance: bool | Literal["auto"]
    correction: bool


def best_way(
    first: Way, choices: Choices, compare: Callable[[Way], Compared]
) -> tuple[Compared | None, Sequence[Compared]]:
    """Return the way with the least error times SynOps, and all that were compared; None and none without a choice.

    The best with and the best without drawn voltages are compared with their biases corrected: where an activation is
    too small for a spike, a correction can make up for it.

    Parameters
    ----------
    first
        The way if nothing is chosen.
    choices
        What may be chosen.
    compare
        Function that tries a way.
    """
    one_each = len(choices.channels) == len(choices.voltages) == 1
    if one_each and choices.balance is False and not choices.correction:
        return None, ()
    best, compared = [], []
    for drawn in choices.voltages:
        ways = list(_scaled(replace(first, drawn=drawn), choices, compare))
        chosen = _cheapest([one for one in ways if one.way.balance or choices.balance is not True] or ways)
        compared += ways
        if choices.correction:
            compared.append(compare(replace(chosen.way, bias_correction=True)))
            chosen = _cheapest([chosen, compared[-1]])
        best.append(chosen)
    return _cheapest(best), compared


def _scaled(way: Way, choices: Choices, compare: Callable[[Way], Compared]) -> Iterator[Compared]:
    """Yield a way with and without scales of channels, each with and without balance."""
    for channels in choices.channels:
        even = compare(replace(way, channels=channels))
        yield even
        if choices.balance is not False and len(even.trial.costs) > 1:
            yield compare(replace(even.way, factors=even.trial.balanced))


def _cheapest(compared: Sequence[Compared]) -> Compared:
    return min(compared, key=lambda one: one.candidate.cost)
