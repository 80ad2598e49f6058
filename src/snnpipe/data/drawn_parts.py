"""Parts of a dataset that are drawn by seed, with a share of each class in every part."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError


def mixed_order(classes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return an order of all samples, by seed, in which the classes are evenly mixed.

    Of any consecutive samples, each class has about its share: of its n samples, the k-th in a random order stands
    where a share of (k - 1/2) / n of all samples is over. Samples that would stand at the same place are ordered at
    random.

    Parameters
    ----------
    classes
        Class of each sample, shape ``(n,)``.
    seed
        Seed of the order.
    """
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    places = np.empty(len(classes))
    places[by_class] = np.concatenate([(np.arange(count) + 0.5) / max(count, 1) for count in np.bincount(classes)])
    return shuffled[np.argsort(places[shuffled], kind="stable")]


def draw_test_part(
    classes: NDArray[np.int64], share: float, seed: int, names: Sequence[str], what: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of samples to train on, and of samples to test on, each in a mixed order.

    Parameters
    ----------
    classes
        Class of each sample, shape ``(n,)``.
    share
        Share of the test samples.
    seed
        Seed of the draw.
    names
        Names of the classes.
    what
        What messages call the samples.

    Raises
    ------
    DataError
        If the share is 0, or a class would be missing from one of the parts.
    """
    if not share:
        raise DataError(
            f"data: there is no test part beside {what}, and data.test_share is 0: give one, or a share to draw, such "
            "as data.test_share=0.2"
        )
    order = mixed_order(classes, seed)
    n_train = len(order) - max(1, round(share * len(order)))
    parts = {"train": order[:n_train], "test": order[n_train:]}
    counts = np.bincount(classes, minlength=len(names))
    for part, rows in parts.items():
        missing = np.flatnonzero((np.bincount(classes[rows], minlength=len(names)) == 0) & (counts > 0))
        if len(missing):
            name, count = names[missing[0]], counts[missing[0]]
            raise DataError(
                f"data.test_share: class {name!r} has {count} sample{'s' if count > 1 else ''} in {what}, and with a "
                f"share of {share:g} none is left to {part} on: add samples of it, leave the class out, or give a test "
                f"part of your own{_other_share(part, int(count))}"
            )
    return parts["train"], parts["test"]


def _other_share(part: str, count: int) -> str:
    """Return a cure by another share; empty if a class has too few samples for any."""
    if count < 2:
        return ""
    share = 0.5 if part == "train" else np.ceil(100 * 0.6 / count) / 100
    return f", or take data.test_share={share:g}"
