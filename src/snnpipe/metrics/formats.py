"""Shares and accuracies in the form that reports show."""

from collections.abc import Mapping

from snnpipe.metrics.catalogue import ANN_ACCURACY, DROP, SNN_ACCURACY


def percent(share: float, digits: int = 2) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"


def ann_accuracy(metrics: Mapping[str, float]) -> float:
    """Return the ANN's accuracy on the images that were simulated, which the drop is relative to."""
    return metrics[SNN_ACCURACY.name] + metrics[DROP.name]


def on_the_same_images(metrics: Mapping[str, float]) -> Mapping[str, float]:
    """Return a run's metrics with the ANN's accuracy on the simulated images, if it has an SNN accuracy and a drop."""
    if not {SNN_ACCURACY.name, DROP.name} <= metrics.keys():
        return metrics
    return {**metrics, ANN_ACCURACY.name: ann_accuracy(metrics)}
