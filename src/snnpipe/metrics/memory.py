"""The memory that a run has needed."""

import resource
import sys


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
