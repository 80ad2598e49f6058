"""Whether two networks differ by more than chance on the same images: McNemar's exact test.

Of the images that only one of the two has right, the number that are one's is binomial with a probability of 1/2 where
neither is better.

References
----------
Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages, Psychometrika 12
(1947) 153-157.
"""

from math import comb


def one_sided_p_value(one: int, other: int) -> float:
    """Return the chance of at least ``one`` images right in one network alone, given how many are in one or the other.

    Parameters
    ----------
    one, other
        Images that only the one, and only the other, has right.
    """
    differ = one + other
    ways = total = comb(differ, one)
    for k in range(one, differ):
        ways = ways * (differ - k) // (k + 1)
        total += ways
    return total / (1 << differ)


def two_sided_p_value(one: int, other: int) -> float:
    """Return the chance of a difference of this size or more, in favour of either."""
    return min(1.0, 2 * one_sided_p_value(max(one, other), min(one, other)))
