"""Remarks on a model that was trained elsewhere: what it is shown, and signs that it was trained on something else."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from snnpipe.diagnosis.situation import override
from snnpipe.diagnosis.wording import few
from snnpipe.values.data import DataSpec
from snnpipe.values.diagnosis import Remark
from snnpipe.values.network import ConversionPlan

_NAMED = 8
"""Number of classes that are named."""

_PER_CLASS = 10
"""Number of samples per class below which nothing is concluded."""

_CLEARLY, _MOST = 0.3, 0.6
"""Share of the samples that another order of the classes must get right: so much more, and so much in all."""

_MOSTLY = 0.8
"""Share of the largest class from which on a good model may be right no more often than by naming it."""

SCALES = ("Rescaling", "Normalization")
"""Layers with which a model scales its input itself."""


def of_brought_model(
    plan: ConversionPlan, spec: DataSpec, confusion_cc: NDArray[np.int64], names_are_given: bool
) -> Iterator[Remark]:
    """Yield how samples are scaled and in which order classes stand, and what speaks against it.

    Parameters
    ----------
    plan
        The conversion plan.
    spec
        Spec of the dataset.
    confusion_cc
        Number of samples by true class (row) and by the class (column) that the model gives.
    names_are_given
        Whether the dataset takes the order of the classes from ``data.class_names``.
    """
    scaling = next((layer.name for layer in plan.layers[:2] if layer.kind in SCALES), None)
    yield Remark("samples", f"{_values(spec.scaling, scaling)}; classes in the order {few(spec.class_names, _NAMED)}")
    n = int(confusion_cc.sum())
    if n < _PER_CLASS * len(confusion_cc):
        return
    right = float(np.trace(confusion_cc)) / n
    rows, columns = linear_sum_assignment(confusion_cc, maximize=True)
    best = float(confusion_cc[rows, columns].sum()) / n
    if best - right > _CLEARLY and best > _MOST:
        order = [spec.class_names[row] for row in np.argsort(columns)]
        cure = override("data.class_names", order) if names_are_given and len(order) <= _NAMED else ""
        text = f"the model's classes seem to stand in the order {few(order, _NAMED)}"
        yield Remark("warning", f"{text}: the ANN would have {100 * best:.2f} %", cure)
        return
    largest = float(confusion_cc.sum(axis=1).max()) / n
    if largest < _MOSTLY and right <= largest + 2 * np.sqrt(largest * (1 - largest) / n):
        cure = "data.scaling=none" if scaling is not None and spec.scaling not in ("", "none") else ""
        yield Remark(
            "warning",
            f"the ANN is right no more often than by always naming one class ({100 * largest:.2f} %): it may be "
            "trained on samples that were scaled otherwise (data.scaling, data.mean, data.deviation)",
            cure,
        )


def _values(scaling: str, layer: str | None) -> str:
    text = "values as they are" if scaling in ("", "none") else f"values scaled by data.scaling={scaling}"
    if layer is None:
        return text
    return f"{text}, then by the model's layer {layer}"
