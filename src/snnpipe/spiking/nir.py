"""A spiking network from a file of NIR."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ConfigError
from snnpipe.nir_files.file import read_nir
from snnpipe.spiking.model import SpikingModel

if TYPE_CHECKING:
    from snnpipe.neurons.integrate_and_fire import IntegrateAndFire
    from snnpipe.settings.domains import Readout


def from_nir(
    path: str | Path,
    *,
    dt: float | None = None,
    n_steps: int | None = None,
    readout: "Readout | None" = None,
    neuron: "IntegrateAndFire | None" = None,
) -> SpikingModel:
    """Return the network in a file of NIR: one that `SpikingModel.to_nir` or another framework has written.

    Samples have their channels last here, as everywhere in snnpipe. Nothing in the file is executed.

    Parameters
    ----------
    path
        Path of the file.
    dt
        Length of a step in the file's unit of time; None for the one in its metadata.
    n_steps
        Number of steps that a sample is shown; None for the number in its metadata, else 8.
    readout
        How the output over time becomes a class, as in `snnpipe.SimulationSettings`; None for the one in its metadata,
        else the ``mean``.
    neuron
        Neurons for ``IF`` nodes that do not say how they reset. NIR resets to 0, and neurons here subtract their
        threshold, so that a file of another framework needs your word for it:
        ``IntegrateAndFire(max_spikes=1, initial_voltage=0)`` for a network that subtracts.

    Raises
    ------
    BundleError
        If the file is missing or no file of NIR, or has something that nothing here computes. The message names the
        node.
    ConfigError
        If ``neuron`` is something else.
    """
    _require_plain(neuron)
    changes = {"n_steps": n_steps, "readout": readout}
    model = SpikingModel(read_nir(Path(path), dt, neuron))
    return model.with_settings(**{name: value for name, value in changes.items() if value is not None})


def _require_plain(neuron: Any) -> None:
    """Raise `ConfigError` if neurons for a file have settings that the file itself has."""
    from snnpipe.neurons.integrate_and_fire import IntegrateAndFire

    if neuron is None:
        return
    if type(neuron) is not IntegrateAndFire or neuron.initial_voltage is None:
        raise ConfigError(f"neuron: got {neuron!r}: takes IntegrateAndFire(max_spikes=1, initial_voltage=0), or such")
    if neuron.max_rate is not None or neuron.amplitude != 1:
        raise ConfigError(
            "neuron: the file has the highest rates and the amplitudes: give max_spikes, min_voltage and "
            "initial_voltage only"
        )
