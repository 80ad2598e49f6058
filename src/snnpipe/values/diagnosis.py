"""The result of a diagnosis, as plain data. docs/metrics.md defines each figure."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Loss:
    """Accuracy on the sample after one more step from the ANN to the spiking network, and the points that it costs.

    Attributes
    ----------
    source
        Name of the layer that begins to spike in this step, or of a step before the layers: ``rate neurons``,
        ``filters``, ``input``.
    is_layer
        Whether ``source`` is a layer.
    accuracy
        Share of the sample that is classified correctly after the step.
    points
        Percentage points of accuracy lost in the step; negative if accuracy rises.
    p_value
        Probability of a loss of this size if neither network is better
        (`snnpipe.diagnosis.measures.loss_p_value`).
    """

    source: str
    is_layer: bool
    accuracy: float
    points: float
    p_value: float

    @property
    def row(self) -> str:
        """Name of the step in the table. A step that is no layer stands in brackets."""
        return self.source if self.is_layer else f"({self.source})"


@dataclass(frozen=True, eq=False)
class LayerDiagnosis:
    """One layer's spikes compared with the ANN's activations.

    Shares and means are taken over all pairs of an image and a neuron.

    Attributes
    ----------
    name, neurons
        Name of the layer, and number of its neurons.
    rate_hz
        Mean firing rate.
    active_spikes
        Mean number of spikes per image of the neurons that the ANN activates.
    correlation
        Pearson's correlation of activations and filtered rates; None if one of the two does not vary.
    error
        Root mean square of the difference between filtered rate and activation, divided by the root mean square of the
        activations; None if all activations are zero.
    settled_ms
        Time from which the layer's mean filtered rate stays near its last value; None if that time is in the last
        quarter of the run.
    saturated
        Share of pairs that spike at the limit or beyond.
    sparsity
        Share of pairs without a spike.
    under_activated
        Share of pairs without a spike, among those that the ANN activates.
    rectified_excess
        How much the mean rate exceeds the rectified mean current, as a share of the latter; None if that is not known,
        or a refractory period limits the rate.
    ann, snn
        Activations and filtered rates of a random sample of pairs, for a scatter plot.

    If the ANN's activation of a layer is not known, the figures that need it are None, and ``ann`` and ``snn`` are
    empty.
    """

    name: str
    neurons: int
    rate_hz: float
    active_spikes: float | None
    correlation: float | None
    error: float | None
    settled_ms: float | None
    saturated: float
    sparsity: float
    under_activated: float | None
    ann: NDArray[np.float32]
    snn: NDArray[np.float32]
    rectified_excess: float | None = None


@dataclass(frozen=True)
class Suggestion:
    """A change of settings that may raise accuracy.

    Attributes
    ----------
    override
        The overrides to add to the command line.
    reason
        The part of the diagnosis that speaks for the change.
    expected
        Its effect on the sample, or a text that it was not tried.
    """

    override: str
    reason: str
    expected: str


@dataclass(frozen=True)
class Tried:
    """The result of a search for better settings.

    Attributes
    ----------
    settings
        Number of settings that were tried.
    best_right
        Number of images of the sample that the most accurate setting classifies correctly; None if none was tried.
    best_override
        The overrides of that setting; empty if none was tried.
    seconds
        Duration of the search in seconds.
    cut
        Whether the search reached its limit of time.
    helped
        Number of settings that classify more images correctly than chance explains.
    """

    settings: int
    best_right: int | None
    best_override: str
    seconds: float
    cut: bool
    helped: int

    def told(self, samples: int, word: str) -> tuple[str, str]:
        """Return the result in words for so many samples, called ``word``, and the best setting if none helped."""
        if not self.settings:
            why = "the search was ended for its time" if self.cut else "none fits what was measured"
            return f"no setting: {why}", ""
        seconds = f"{self.seconds:.{0 if self.seconds >= 10 else 1}f} s"
        text = f"{self.settings} setting{'s' if self.settings > 1 else ''} in {seconds}"
        text += ", where the search was ended for its time" if self.cut else ""
        if self.helped:
            return f"{text}: {self.helped} of them more accurate", ""
        best = f"the best has {self.best_right} of {samples} {word}s right"
        return f"{text}: none helps; {best}", f"`{self.best_override}`"


@dataclass(frozen=True)
class Remark:
    """A problem of a run's spikes that its figures do not show.

    Attributes
    ----------
    label, text
        Label and text of its row in the closing table.
    cure
        An override that removes the problem; empty if there is none.
    expected
        The effect of the cure on the sample, or a text that it was not tried.
    """

    label: str
    text: str
    cure: str = ""
    expected: str = ""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Where a conversion lost accuracy on a sample of the test images.

    Attributes
    ----------
    images
        Size of the sample.
    ann_accuracy, accuracy
        Share of the sample that the ANN and the spiking network classify correctly.
    losses
        Cost of each step from the ANN to the spiking network; empty if it cannot be measured.
    layers
        Layers of neurons, from input to output.
    first_bad
        The first loss beyond sampling noise; None if there is none.
    suggestions
        At most three suggestions, the best first.
    notes
        What could not be measured, and why.
    seconds
        Duration of the diagnosis in seconds.
    measured
        Measurements of ``first_bad``, in words.
    tried
        Result of the search for suggestions; None if nothing is lost beyond sampling noise.
    calmer
        A setting with which no neuron spikes several times in a step and accuracy stays. None if no neuron does so now,
        or if no such setting is known.
    """

    images: int
    ann_accuracy: float
    accuracy: float
    losses: tuple[Loss, ...]
    layers: tuple[LayerDiagnosis, ...]
    first_bad: Loss | None
    suggestions: tuple[Suggestion, ...]
    notes: tuple[str, ...]
    seconds: float
    measured: str = ""
    tried: Tried | None = None
    calmer: Suggestion | None = None

    def metrics(self) -> dict[str, float]:
        """Return the ``diagnosis/...`` metrics of the run."""
        metrics = {"diagnosis/images": float(self.images), "diagnosis/seconds": self.seconds}
        if self.tried is not None:
            metrics["diagnosis/settings_tried"] = float(self.tried.settings)
        for layer in self.layers:
            if layer.error is not None:
                metrics[f"diagnosis/error/{layer.name}"] = layer.error
        for loss in self.losses:
            if loss.is_layer:
                metrics[f"diagnosis/points_lost/{loss.source}"] = loss.points
        return metrics

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the table's rows: the steps before the layers, then the layers. Empty cells are None."""
        losses = {loss.source: loss for loss in self.losses if loss.is_layer}
        nothing = dict.fromkeys(_COLUMNS)
        for loss in self.losses:
            if not loss.is_layer:
                yield nothing | _loss(loss) | {"layer": loss.row}
        for layer in self.layers:
            own = {name: getattr(layer, name) for name in _MEASURED}
            loss_of_layer = losses.get(layer.name)
            yield nothing | {"layer": layer.name} | own | (_loss(loss_of_layer) if loss_of_layer else {})

    def plain(self) -> dict[str, Any]:
        """Return the diagnosis as plain data, without the pairs for the scatter plot."""
        return {
            "images": self.images,
            "ann_accuracy": self.ann_accuracy,
            "accuracy": self.accuracy,
            "first_bad": self.first_bad.row if self.first_bad else None,
            "measured": self.measured,
            "table": list(self.rows()),
            "suggestions": [vars(suggestion) for suggestion in self.suggestions],
            "tried": vars(self.tried) if self.tried else None,
            "calmer": vars(self.calmer) if self.calmer else None,
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


_MEASURED = tuple(f.name for f in fields(LayerDiagnosis) if f.name not in ("name", "ann", "snn"))
_COLUMNS = ("layer", "accuracy", "points_lost", "p_value", *_MEASURED)


def _loss(loss: Loss) -> dict[str, float]:
    return {"accuracy": loss.accuracy, "points_lost": loss.points, "p_value": loss.p_value}
