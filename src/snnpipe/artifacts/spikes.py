"""The file of the spikes of some test samples, which a run writes and `read_spikes` reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.checked_files import read_arrays, write_arrays
from snnpipe.base.errors import ArtifactError
from snnpipe.values.network import NeuronLayer, PlannedLayer
from snnpipe.values.simulation import SpikeEvents

FORMAT = 1
_WHAT = "spike file"
_EVENTS = ("image", "step", "neuron", "count")


@dataclass(frozen=True, eq=False)
class RecordedSpikes:
    """The spikes of one layer, for some test samples.

    Attributes
    ----------
    layer
        Name of the layer.
    shape
        Shape of the layer's output. ``events.neuron`` is the index into it in C order.
    n_steps, dt
        Number of simulation steps of the run, and seconds per step.
    events
        The spikes.
    """

    layer: str
    shape: tuple[int, ...]
    n_steps: int
    dt: float
    events: SpikeEvents

    def require_layer(self, layer: PlannedLayer | NeuronLayer) -> None:
        """Raise `ArtifactError` if the spikes are those of another layer or of another network."""
        if (self.layer, self.shape) != (layer.name, tuple(layer.shape)):
            raise ArtifactError(
                f"these are the spikes of layer {self.layer!r} of shape {self.shape}, and not of {layer.name!r} of "
                f"shape {tuple(layer.shape)}: they are of another layer or network"
            )


def write_spikes(path: Path, spikes: RecordedSpikes) -> Path:
    """Write the spikes of a layer as an ``.npz`` that `read_spikes` and ``numpy.load`` read.

    The arrays ``image``, ``step``, ``neuron`` and ``count`` have one value for each sample, step and neuron that
    spiked. The arrays ``layer``, ``shape``, ``n_steps`` and ``dt`` (s) describe what these index.
    """
    events = {name: getattr(spikes.events, name) for name in _EVENTS}
    about = {
        "layer": np.str_(spikes.layer),
        "shape": np.asarray(spikes.shape, np.int64),
        "n_steps": np.int64(spikes.n_steps),
        "dt": np.float64(spikes.dt),
    }
    return write_arrays(path, events | about, FORMAT)


def read_spikes(path: str | Path) -> RecordedSpikes:
    """Return the spikes that a run recorded for a layer in ``spikes/LAYER.npz``.

    Parameters
    ----------
    path
        Path of the file.

    Returns
    -------
    RecordedSpikes
        The layer's name and shape, the run's steps, and the spikes.

    Raises
    ------
    ArtifactError
        If the file is missing, has another format, or was changed or cut off.
    """
    arrays = read_arrays(Path(path), FORMAT, _WHAT)
    try:
        spikes = RecordedSpikes(
            layer=str(arrays["layer"]),
            shape=tuple(int(n) for n in arrays["shape"]),
            n_steps=int(arrays["n_steps"]),
            dt=float(arrays["dt"]),
            events=SpikeEvents(*(arrays[name] for name in _EVENTS)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{_WHAT} {path} is damaged: it lacks {error}") from error
    if problem := _problem(spikes):
        raise ArtifactError(f"{_WHAT} {path} is damaged: {problem}")
    return spikes


def _problem(spikes: RecordedSpikes) -> str | None:
    """Return the fault in spikes that were read; None if they are valid."""
    events: dict[str, NDArray[Any]] = {name: getattr(spikes.events, name) for name in _EVENTS}
    if len({values.shape for values in events.values()}) > 1 or events["image"].ndim != 1:
        return "its lists of spikes are not of one length"
    limits = {"image": None, "step": spikes.n_steps, "neuron": int(np.prod(spikes.shape)), "count": None}
    for name, limit in limits.items():
        values = events[name]
        if values.dtype.kind not in "iu" or values.min(initial=0) < 0 or (limit and values.max(initial=0) >= limit):
            return f"{name} is outside of what layer {spikes.layer!r} and {spikes.n_steps} steps have"
    return None
