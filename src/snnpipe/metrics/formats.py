"""Shares and differences as people read them."""

from collections.abc import Mapping


def percent(share: float, digits: int = 2) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"


def ann_accuracy(metrics: Mapping[str, float]) -> float:
    """Return the ANN's accuracy on the images that were simulated, from which a drop is counted."""
    return metrics["snn/test_accuracy"] + metrics["snn/accuracy_drop"]


def points(share: float, digits: int = 2) -> str:
    """Return a difference of shares in percentage points, with its sign: a drop that is positive is a loss."""
    return f"{round(100 * share, digits) + 0.0:+.{digits}f}"  # adding zero leaves no -0.00
