"""Shares as people read them."""

from collections.abc import Mapping

from snnpipe.metrics.catalogue import ANN_ACCURACY, DROP, SNN_ACCURACY


def percent(share: float, digits: int = 2) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"


def ann_accuracy(metrics: Mapping[str, float]) -> float:
    """Return the ANN's accuracy on the images that were simulated, from which a drop is counted."""
    return metrics[SNN_ACCURACY.name] + metrics[DROP.name]


def on_the_same_images(metrics: Mapping[str, float]) -> Mapping[str, float]:
    """Return a run's metrics with the accuracy that the ANN has on the images that were simulated, if it has both."""
    if not {SNN_ACCURACY.name, DROP.name} <= metrics.keys():
        return metrics
    return {**metrics, ANN_ACCURACY.name: ann_accuracy(metrics)}
