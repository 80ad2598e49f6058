"""How sure a share is, given how many images it was counted on."""

import statistics
from collections.abc import Sequence
from math import sqrt

_Z_95 = 1.959963984540054


def wilson_interval(right: int, total: int, z: float = _Z_95) -> tuple[float, float]:
    """Return Wilson's score interval of a share.

    Parameters
    ----------
    right, total
        ``right`` of ``total`` images.
    z
        Quantile of the normal distribution; the default gives 95 %.

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
    low = (centre - spread) / scale if right > 0 else 0.0  # rounding would miss the bounds
    high = (centre + spread) / scale if right < total else 1.0
    return low, high


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of some values, and half the width of its 95 % interval.

    The interval is Student's: t(0.975, n - 1) s / sqrt(n), with the sample's standard deviation s.

    Parameters
    ----------
    values
        Two or more, drawn independently from one normal distribution (an accuracy over seeds is nearly that).
    """
    from scipy.special import stdtrit

    n = len(values)
    return statistics.fmean(values), float(stdtrit(n - 1, 0.975)) * statistics.stdev(values) / sqrt(n)
