"""Reference samples with their outputs and spike counts, and their replay.

Axes: b = sample, t = step, n = neuron, c = class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import BundleError
from snnpipe.bundle.converted import Converted
from snnpipe.protocols import Simulator
from snnpipe.simulators.auto import AutoSimulator
from snnpipe.simulators.clock_driven.simulator import ClockDrivenSimulator
from snnpipe.simulators.event_driven.simulator import EventDrivenSimulator
from snnpipe.simulators.nengo_dl import NengoDLSimulator
from snnpipe.values.simulation import Stimulus

SIMULATORS: Mapping[str, Any] = {
    "auto": AutoSimulator,
    "event_driven": EventDrivenSimulator,
    "clock_driven": ClockDrivenSimulator,
    "nengo_dl": NengoDLSimulator,
}
"""The simulators by their names in a bundle."""

_SPIKES_TOLERANCE, _OUTPUTS_TOLERANCE = 1e-2, 5e-2
_ALWAYS_ALLOWED = 3
"""Number of spikes more or less that is never an error."""


@dataclass(frozen=True, eq=False)
class References:
    """Reference samples, and what a network made of them.

    Attributes
    ----------
    samples
        The samples, shape ``(b, *input_shape)``.
    outputs_btc
        Output of the network after each step.
    counts
        Number of spikes of each neuron in all steps, by layer, shape ``(b, n)``.
    simulator
        Name of the simulator.
    """

    samples: NDArray[np.float32]
    outputs_btc: NDArray[np.floating[Any]]
    counts: Mapping[str, NDArray[Any]]
    simulator: str


def references_of(converted: Converted, samples: NDArray[np.float32], simulator: str = "auto") -> References:
    """Return what a network makes of some samples.

    Parameters
    ----------
    converted
        The network.
    samples
        Samples, shape ``(b, *input_shape)``.
    simulator
        Name of the simulator in `SIMULATORS`.
    """
    settings = converted.settings
    shared = {"n_steps": settings.n_steps, "dt": settings.dt, "precision": settings.precision}
    chosen: Simulator = SIMULATORS[simulator](**shared, batch_size=len(samples))
    with chosen.open(converted.network, converted.encoder.constant) as opened:
        chunks = list(opened.run(Stimulus(samples, range(len(samples)), converted.signal)))
        used = opened.used.partition(" ")[0]
    counts = {
        layer.name: _small(np.sum([chunk.layers[layer.name].counts_bn for chunk in chunks], axis=0))
        for layer in converted.network.layers
    }
    return References(samples, np.concatenate([chunk.outputs_btc for chunk in chunks], axis=1), counts, used)


def _small(counts_bn: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the smallest type that holds them; other numbers as they are."""
    if counts_bn.min(initial=0) < 0 or np.any(counts_bn != np.floor(counts_bn)):
        return counts_bn
    return counts_bn.astype(np.min_scalar_type(int(counts_bn.max(initial=0))))


@dataclass(frozen=True)
class Replay:
    """The comparison of a network's references with what the network makes of them here.

    Attributes
    ----------
    samples
        Number of references.
    exact
        Whether all outputs and spike counts are the same to the bit.
    output_difference
        Root mean square difference of the outputs over all steps, as a share of the references' own.
    spikes, more_or_fewer
        Number of spikes of the references, and number of spikes more or fewer here, summed over neurons.
    other_versions
        Versions that differ from those of the stack that wrote the references: ``name: there, here``.
    """

    samples: int
    exact: bool
    output_difference: float
    spikes: float
    more_or_fewer: float
    other_versions: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.exact:
            text = f"{self.samples} references give the same outputs and spikes to the bit"
        else:
            text = (
                f"{self.samples} references: outputs within {self.output_difference:.2g} of their size, "
                f"{self.more_or_fewer:,.0f} of {self.spikes:,.0f} spikes more or fewer"
            )
        others = [f"{name} {there} there and {here} here" for name, (there, here) in self.other_versions.items()]
        return text + (f" ({', '.join(others)})" if others else "")


def replayed(converted: Converted, references: References, other_versions: Mapping[str, tuple[str, str]]) -> Replay:
    """Simulate the references again, and compare.

    Rounding moves a spike now and then. Up to 1 % of the spikes may be more or fewer, and the outputs may differ by 5 %
    of their root mean square.

    Raises
    ------
    BundleError
        If they differ by more. The message says where and by how much.
    """
    here = references_of(converted, references.samples, references.simulator)
    difference = here.outputs_btc.astype(np.float64) - references.outputs_btc
    size = max(float(np.sqrt(np.mean(references.outputs_btc.astype(np.float64) ** 2))), 1e-30)
    off = {name: _more_or_fewer(here.counts[name], own) for name, own in references.counts.items()}
    same = np.array_equal(here.outputs_btc, references.outputs_btc)
    replay = Replay(
        len(references.samples),
        same and not any(off.values()),
        float(np.sqrt(np.mean(difference**2))) / size,
        float(sum(own.sum(dtype=np.float64) for own in references.counts.values())),
        sum(off.values()),
        other_versions,
    )
    if replay.more_or_fewer > max(_ALWAYS_ALLOWED, _SPIKES_TOLERANCE * replay.spikes):
        worst = max(off, key=lambda name: off[name])
        raise BundleError(
            f"the network does not spike as it did: {replay} (at most {_SPIKES_TOLERANCE:.0%} may come of rounding), "
            f"most of them in layer {worst!r}: {off[worst]:,.0f}"
        )
    if replay.output_difference > _OUTPUTS_TOLERANCE:
        b, t, c = np.unravel_index(np.argmax(np.abs(difference)), difference.shape)
        raise BundleError(
            f"the network does not give the outputs that it gave: {replay} (at most {_OUTPUTS_TOLERANCE:.0%} may come "
            f"of rounding); output {c} of sample {b} after step {t + 1} is {here.outputs_btc[b, t, c]:.6g} and was "
            f"{references.outputs_btc[b, t, c]:.6g}"
        )
    return replay


def _more_or_fewer(here: NDArray[Any], there: NDArray[Any]) -> float:
    return float(np.abs(here.astype(np.float64) - there).sum())
