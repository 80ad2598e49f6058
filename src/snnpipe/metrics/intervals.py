"""Confidence intervals of a share of images, and of a mean."""

import statistics
from collections.abc import Sequence
from math import sqrt

_Z_95 = 1.959963984540054


def wilson_interval(right: int, total: int, z: float = _Z_95) -> tuple[float, float]:
    """Return Wilson's score interval of a share.

    Parameters
    ----------
    right, total
        Number of correct images, and number of all images.
    z
        Quantile of the normal distribution. The default gives a 95 % interval.

    Returns
    -------
    low, high
        Bounds of the share.

    References
    ----------
    E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the
    American Statistical Association 22 (1927) 209-212.
    """
    if total == 0:
        return 0.0, 1.0
    share = right / total
    centre = share + z**2 / (2 * total)
    spread = z * sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    low = (centre - spread) / scale if right > 0 else 0.0  # exactly 0 or 1, which rounding would miss
    high = (centre + spread) / scale if right < total else 1.0
    return low, high


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of some values, and half the width of its 95 % confidence interval.

    The interval is Student's: half its width is t(0.975, n - 1) s / sqrt(n), with the sample's standard deviation s.

    Parameters
    ----------
    values
        Two or more values, drawn independently from one normal distribution (accuracies over seeds nearly are).
    """
    from scipy.special import stdtrit

    n = len(values)
    return statistics.fmean(values), float(stdtrit(n - 1, 0.975)) * statistics.stdev(values) / sqrt(n)
