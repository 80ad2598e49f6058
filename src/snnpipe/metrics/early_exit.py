"""Early exit: accuracy, time and spikes if each image stops as soon as its class is clear.

Axes: b = image, t = simulation step, c = class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import SimulationError
from snnpipe.metrics.readout import classes
from snnpipe.settings.domains import NonNegativeFloat
from snnpipe.settings.schema import check_fields
from snnpipe.values.metric import MetricSpec
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.run import SimulatedBatch
from snnpipe.values.simulation import SimulationSettings

_ROUNDING = 1e-9


def _ms(name: str, label: str, note: str) -> MetricSpec:
    return MetricSpec(f"snn/early_exit_ms_{name}", label, "ms", form=".3g", better="lower", note=note)


@dataclass
class EarlyExit:
    """Measures what an early exit would save: an image stops once the margin between its two best classes is large.

    After each step, the margin is the highest class score of the read-out minus the second highest, in the unit of the
    scores (logits, or spikes with ``spike_count``). An image stops at the first step whose margin reaches a threshold,
    or at the last step. The threshold is the smallest one that keeps to ``max_drop`` on validation images
    (`exit_threshold`). Such rules are those of Wu et al. 2023 (arXiv:2301.09522), who stop at a gap between the highest
    outputs, and of Li et al. 2023 (SEENN, arXiv:2304.01230), who stop at a confidence.

    Parameters
    ----------
    max_drop
        Percentage points of accuracy on the validation images that the early exit may lose, compared with all steps.
    """

    every_step: ClassVar[bool] = True
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec(
            "snn/early_exit_accuracy",
            "early exit: accuracy",
            "%",
            factor=100,
            form=".2f",
            better="higher",
            note="each image stops once its class is clear",
            short="exit acc.",
        ),
        _ms("mean", "early exit: mean time", "until an image stops"),
        _ms("median", "early exit: median time", "half of the images have stopped by then"),
        _ms("p95", "early exit: 95 % quantile", "of the times"),
        MetricSpec(
            "snn/early_exit_spikes_per_image",
            "early exit: spikes",
            form=",.0f",
            better="lower",
            note="per image, until it stops",
            short="exit spikes",
        ),
        MetricSpec(
            "snn/early_exit_threshold",
            "early exit: threshold",
            form=".4g",
            note="margin between the two highest class scores",
        ),
        MetricSpec(
            "snn/early_exit_threshold_images",
            "early exit: images for it",
            form=",.0f",
            note="that the threshold was set on",
        ),
        MetricSpec(
            "snn/early_exit_threshold_accuracy",
            "early exit: accuracy there",
            "%",
            factor=100,
            form=".2f",
            better="higher",
            note="on these images, with this threshold",
        ),
    )

    max_drop: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "metrics.early_exit")

    def start(self, network: SpikingNetwork, settings: SimulationSettings) -> None:
        """Begin an evaluation."""
        self._step_ms = 1000 * settings.dt
        self._spiking = [layer.name for layer in network.layers if layer.spiking]
        self._validation: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []
        self._threshold: float | None = None
        self._steps: list[NDArray[np.int64]] = []
        self._right = 0
        self._spikes = 0.0

    def prepare(self, batch: SimulatedBatch) -> None:
        """Keep a batch of validation images, for the threshold."""
        self._validation.append((margins(batch.scores_btc), _right(batch)))

    def add(self, batch: SimulatedBatch) -> None:
        """Let each image of a batch stop, and add its class, time and spikes.

        Raises
        ------
        SimulationError
            If there were no validation images to take a threshold from.
        """
        threshold = self._known_threshold()
        steps_b, rows = exit_steps(margins(batch.scores_btc), threshold), np.arange(len(batch.labels))
        self._steps.append(steps_b)
        self._right += int(np.sum(_right(batch)[rows, steps_b]))
        for chunk in batch.chunks:
            shown = steps_b >= chunk.first_step
            for name in self._spiking:
                self._spikes += float(chunk.layers[name].counts_bn[shown].sum(dtype=np.float64))

    def values(self) -> Mapping[str, float]:
        """Return accuracy, times, spikes, and the threshold with its validation; nothing if no image was simulated."""
        if not self._steps:
            return {}
        ms_b = (np.concatenate(self._steps) + 1) * self._step_ms
        margins_bt, right_bt = self._validated
        stopped = exit_steps(margins_bt, threshold := self._known_threshold())
        median, p95 = np.quantile(ms_b, (0.5, 0.95), method="inverted_cdf")
        return {
            "snn/early_exit_accuracy": self._right / len(ms_b),
            "snn/early_exit_ms_mean": float(ms_b.mean()),
            "snn/early_exit_ms_median": float(median),
            "snn/early_exit_ms_p95": float(p95),
            "snn/early_exit_spikes_per_image": self._spikes / len(ms_b),
            "snn/early_exit_threshold": threshold,
            "snn/early_exit_threshold_images": len(stopped),
            "snn/early_exit_threshold_accuracy": float(right_bt[np.arange(len(stopped)), stopped].mean()),
        }

    def _known_threshold(self) -> float:
        if self._threshold is None:
            self._threshold = exit_threshold(*self._validated, self.max_drop)
        return self._threshold

    @property
    def _validated(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Margins of the validation images after each step, and whether their class is right then."""
        if not self._validation:
            raise SimulationError(
                "metrics: EarlyExit has no threshold: give its prepare() simulated batches of validation images"
            )
        margins_bt, right_bt = (np.concatenate(parts) for parts in zip(*self._validation, strict=True))
        return margins_bt, right_bt


def _right(batch: SimulatedBatch) -> NDArray[np.bool_]:
    """Return whether each image's class is right after each step, shape ``(b, t)``."""
    return np.asarray(classes(batch.scores_btc) == batch.labels[:, None])


def margins(scores_btc: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the highest score minus the second highest after each step, shape ``(b, t)``."""
    two = np.partition(scores_btc, -2, axis=-1)
    return np.asarray(two[..., -1] - two[..., -2])


def exit_steps(margins_bt: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """Return each image's first step (from 0) whose margin reaches a threshold, or the last step, shape ``(b,)``."""
    reached = margins_bt >= threshold
    reached[:, -1] = True
    return np.asarray(np.argmax(reached, axis=1), np.int64)


def exit_threshold(margins_bt: NDArray[np.float64], right_bt: NDArray[np.bool_], max_drop: float) -> float:
    """Return the smallest threshold from which on every threshold keeps the accuracy of all steps, within a limit.

    An image stops at another step only where the threshold passes a margin that is larger than all its earlier ones.
    So these margins are the candidates, with 0 (every image stops at the first step) and the next number above the
    largest one (every image stops at the last step). Accuracy does not rise steadily with the threshold. A threshold
    counts only if all larger ones keep to the limit too.

    Parameters
    ----------
    margins_bt, right_bt
        Margin of each image after each step, and whether its class is right then.
    max_drop
        Percentage points of accuracy that may be lost, compared with the last step.
    """
    n, n_steps = margins_bt.shape
    if n_steps == 1:
        return 0.0
    highest = np.maximum.accumulate(margins_bt[:, :-1], axis=1)
    before = np.concatenate([np.full((n, 1), -inf), highest[:, :-1]], axis=1)
    image, step = np.nonzero(highest > before)
    is_last = np.append(image[1:] != image[:-1], True)
    next_step = np.where(is_last, n_steps - 1, np.append(step[1:], n_steps - 1))
    gains = right_bt[image, next_step].astype(np.int64) - right_bt[image, step]
    levels, level = np.unique(highest[image, step], return_inverse=True)
    candidates = np.concatenate([[0.0], levels[1:], np.nextafter(levels[-1:], inf)])
    right = right_bt[:, 0].sum() + np.append(0.0, np.cumsum(np.bincount(level, gains)))
    short = np.flatnonzero(right < right_bt[:, -1].sum() - max_drop / 100 * n - _ROUNDING)
    return float(candidates[short[-1] + 1] if len(short) else 0.0)
