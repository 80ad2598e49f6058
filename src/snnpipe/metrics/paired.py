"""McNemar's exact test of whether two networks differ by more than chance on the same images.

The test looks at the images that only one of the two networks classifies correctly. If neither network is better, the
number of them that the first network classifies correctly is binomial with a probability of 1/2.

References
----------
Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages, Psychometrika 12
(1947) 153-157.
"""

from math import comb


def one_sided_p_value(one: int, other: int) -> float:
    """Return the probability, if neither network is better, of ``one`` or more out of ``one + other`` images.

    Parameters
    ----------
    one, other
        Number of images that only the one, and only the other network classifies correctly.
    """
    differ = one + other
    ways = total = comb(differ, one)
    for k in range(one, differ):
        ways = ways * (differ - k) // (k + 1)
        total += ways
    return total / (1 << differ)


def two_sided_p_value(one: int, other: int) -> float:
    """Return the probability of a difference of at least this size in favour of either network."""
    return min(1.0, 2 * one_sided_p_value(max(one, other), min(one, other)))
