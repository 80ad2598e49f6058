"""Classes from labels as people have them: numbers, names, or one-hot."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError, did_you_mean

_SHOWN = 20


def classes_of(
    labels: Mapping[str, NDArray[Any]], class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Return the names of the classes, and the class of each sample.

    Whole numbers and names become classes in sorted order, so that numbers from 0 on stay as they are. With one-hot
    labels, the column is the class.

    Parameters
    ----------
    labels
        Labels of each part by the name that messages use, those for training first: shape ``(n,)`` or ``(n, 1)``, or
        one-hot of shape ``(n, classes)``.
    class_names
        Names of the classes in their order; None to take them from the training labels.

    Returns
    -------
    names
        Names of the classes.
    classes
        For each part, the classes of its samples, shape ``(n,)``.

    Raises
    ------
    DataError
        If the labels are no classes, or a part has a class that the training labels lack.
    """
    plain = {name: _plain(values, name) for name, values in labels.items()}
    first, *others = plain
    for other in others:
        if plain[other].ndim != plain[first].ndim or (plain[other].dtype.kind == "U") != (
            plain[first].dtype.kind == "U"
        ):
            raise DataError(
                f"data: {other} holds {_form(plain[other])}, and {first} {_form(plain[first])}: give all labels in one "
                "form"
            )
    if plain[first].ndim == 2:
        return _of_one_hot(plain, class_names)
    if plain[first].dtype.kind == "U":
        known: NDArray[Any] = np.unique(plain[first]) if class_names is None else np.array(class_names)
    else:
        known = np.unique(plain[first]) if class_names is None else np.arange(len(class_names))
    names = tuple(class_names or map(str, known.tolist()))
    if len(names) < 2:
        raise DataError(
            f"data: {first} holds one class, {names[0]!r}: give samples of two classes or more, or name them all in "
            "data.class_names"
        )
    order = np.argsort(known, kind="stable")
    classes = {}
    for name, values in plain.items():
        places = np.minimum(np.searchsorted(known, values, sorter=order), len(known) - 1)
        classes[name] = order[places].astype(np.int64)
        unknown = np.flatnonzero(known[classes[name]] != values)
        if len(unknown):
            raise _unknown(name, int(unknown[0]), values[unknown[0]], first, names, given=class_names is not None)
    return names, classes


def _plain(labels: NDArray[Any], name: str) -> NDArray[Any]:
    """Return labels as whole numbers or as text, shape ``(n,)``, or one-hot as truth values, shape ``(n, classes)``."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype == object:
        if not all(isinstance(label, str) for label in labels.flat):
            raise DataError(f"data: {name} holds Python objects: give whole numbers, names as text, or one-hot labels")
        labels = labels.astype(str)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "buifU" or (labels.ndim == 2 and labels.dtype.kind == "U"):
        raise DataError(
            f"data: {name} has shape {labels.shape} and type {labels.dtype}: give one whole number or name for each "
            f"sample, shape ({len(labels)},), or one-hot labels, shape ({len(labels)}, classes)"
        )
    if labels.dtype.kind == "U":
        if len(empty := np.flatnonzero(np.char.strip(labels) == "")):
            raise DataError(f"data: {name}[{empty[0]}] is empty: leave samples without a label out")
        return labels
    if labels.ndim == 2:
        return _one_hot(labels, name)
    if len(bad := np.flatnonzero(~np.isfinite(labels))):
        raise DataError(f"data: {name}[{bad[0]}] is {labels[bad[0]]}: leave samples without a label out")
    whole = labels.astype(np.int64)
    if len(bad := np.flatnonzero(whole != labels)):
        raise DataError(
            f"data: {name}[{bad[0]}] is {labels[bad[0]]:g}: labels are classes, and so whole numbers (a quantity to "
            "estimate is none)"
        )
    return whole


def _one_hot(labels: NDArray[Any], name: str) -> NDArray[np.bool_]:
    is_one: NDArray[np.bool_] = labels == 1
    wrong = np.flatnonzero((is_one.sum(axis=1) != 1) | ((labels != 0) & ~is_one).any(axis=1))
    if len(wrong):
        row = labels[wrong[0]]
        shown = ", ".join(f"{value:g}" for value in row[:_SHOWN]) + (", ..." if len(row) > _SHOWN else "")
        raise DataError(
            f"data: {name}[{wrong[0]}] is ({shown}), and not one-hot: give each sample one class (soft labels and "
            "several classes at once are not taken)"
        )
    return is_one


def _of_one_hot(
    plain: Mapping[str, NDArray[Any]], class_names: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    widths = {name: values.shape[1] for name, values in plain.items()} | (
        {} if class_names is None else {"data.class_names": len(class_names)}
    )
    first, *others = widths
    for other in others:
        if widths[other] != widths[first]:
            raise DataError(
                f"data: {other} has {widths[other]} classes, and {first} has {widths[first]} columns: give as many"
            )
    names = tuple(class_names or map(str, range(widths[first])))
    return names, {name: np.argmax(values, axis=1).astype(np.int64) for name, values in plain.items()}


def _form(labels: NDArray[Any]) -> str:
    return "names" if labels.dtype.kind == "U" else "one-hot labels" if labels.ndim == 2 else "numbers"


def _unknown(name: str, row: int, value: Any, first: str, names: Sequence[str], *, given: bool) -> DataError:
    """Return the error that names a label without a class."""
    label = str(value)
    if not given:
        return DataError(
            f"data: {name}[{row}] is {label!r}, a class that {first} has no sample of: add some, leave such samples "
            "out, or name all classes in data.class_names"
        )
    if isinstance(value, np.integer):
        return DataError(
            f"data: {name}[{row}] is {label}, and with {len(names)} data.class_names labels are 0 to {len(names) - 1}: "
            "name all classes, or number the labels from 0"
        )
    return DataError(f"data: {name}[{row}] is {label!r}, which data.class_names lacks: {did_you_mean(label, names)}")
