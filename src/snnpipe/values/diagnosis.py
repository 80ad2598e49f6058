"""What a diagnosis says. Plain data; docs/metrics.md defines each figure."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Loss:
    """Accuracy on the sample once one more thing spikes, or is otherwise unlike the ANN.

    Attributes
    ----------
    source
        A layer's name, or what comes before the layers: ``rate neurons``, ``filters``, ``input``.
    is_layer
        Which of the two.
    accuracy
        Share of the sample classified rightly.
    points
        Percentage points less than before; negative where it is better.
    p_value
        Chance of a loss of this size where neither is better (`snnpipe.diagnosis.measures.loss_p_value`).
    """

    source: str
    is_layer: bool
    accuracy: float
    points: float
    p_value: float

    @property
    def row(self) -> str:
        """Its name in the table: in brackets where it is no layer's."""
        return self.source if self.is_layer else f"({self.source})"


@dataclass(frozen=True, eq=False)
class LayerDiagnosis:
    """One layer's spikes beside the ANN's activations. Shares and means are over pairs of an image and a neuron.

    Attributes
    ----------
    name, neurons
        Of the layer, and how many it has.
    rate_hz
        Mean firing rate.
    active_spikes
        Mean spikes per image of the neurons that the ANN activates.
    correlation
        Pearson's, of activations and filtered rates; None where one of them does not vary.
    error
        Root mean square of filtered rate minus activation, over that of the activations; None where these are zero.
    settled_ms
        Time from which the layer's mean filtered rate stays near its last value; None where that is in the last quarter
        of the run.
    saturated, sparsity
        Share at the limit or beyond, and without a spike.
    under_activated
        Share without a spike of those that the ANN activates.
    ann, snn
        Activation and filtered rate of some pairs drawn at random, to be drawn against each other.

    Where the ANN's activation of a layer is not known, what needs it is None, and ``ann`` and ``snn`` are empty.
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


@dataclass(frozen=True)
class Suggestion:
    """Something to try.

    Attributes
    ----------
    override
        What to add to the command line.
    reason
        What of the diagnosis speaks for it.
    expected
        What it did to the sample, or that it was not tried.
    """

    override: str
    reason: str
    expected: str


@dataclass(frozen=True)
class Tried:
    """What a search for better settings came to.

    Attributes
    ----------
    settings
        How many were tried.
    best_right
        Images of the sample that the most accurate of them has right; None where none was tried.
    best_override
        What makes it; empty where none was tried.
    seconds
        That the search took.
    cut
        Whether it was ended by its limit of time.
    helped
        How many of them have more images right than chance would have it.
    """

    settings: int
    best_right: int | None
    best_override: str
    seconds: float
    cut: bool
    helped: int

    def told(self, images: int) -> tuple[str, str]:
        """Return in words what was tried on so many images, and the best of it where nothing helped."""
        if not self.settings:
            why = "the search was ended for its time" if self.cut else "none fits what was measured"
            return f"no setting: {why}", ""
        seconds = f"{self.seconds:.{0 if self.seconds >= 10 else 1}f} s"
        text = f"{self.settings} setting{'s' if self.settings > 1 else ''} in {seconds}"
        text += ", where the search was ended for its time" if self.cut else ""
        if self.helped:
            return f"{text}: {self.helped} of them more accurate", ""
        return f"{text}: none helps; the best has {self.best_right} of {images} images right", f"`{self.best_override}`"


@dataclass(frozen=True)
class Remark:
    """Something about a run's spikes that its figures do not show.

    Attributes
    ----------
    label, text
        Of a row in the closing table.
    cure
        An override that ends it; empty where there is none.
    expected
        What it did to the sample, or that it was not tried.
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
        Share of it that the ANN and the spiking network classify rightly.
    losses
        What each step from one to the other costs; empty where that cannot be told.
    layers
        Layers of neurons, from input to output.
    first_bad
        The first loss beyond sampling noise, None where there is none.
    suggestions
        At most three, best first.
    notes
        What could not be told, and why.
    seconds
        That the diagnosis took.
    measured
        What was measured of the first bad layer, or of what is bad before the layers, in words.
    tried
        What the search for suggestions came to; None where nothing is lost beyond sampling noise.
    calmer
        What keeps neurons from spiking several times a step, and the accuracy; None where none do, or nothing does.
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
        """Return the metrics of the run's schema."""
        found = {"diagnosis/images": float(self.images), "diagnosis/seconds": self.seconds}
        if self.tried is not None:
            found["diagnosis/settings_tried"] = float(self.tried.settings)
        for layer in self.layers:
            if layer.error is not None:
                found[f"diagnosis/error/{layer.name}"] = layer.error
        for loss in self.losses:
            if loss.is_layer:
                found[f"diagnosis/points_lost/{loss.source}"] = loss.points
        return found

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the table's rows: what comes before the layers, then the layers; None where there is nothing."""
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
        """Return all of it but the drawn pairs as plain data."""
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
