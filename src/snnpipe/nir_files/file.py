"""Writing and reading files of NIR."""

import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import BundleError, SnnPipeError, UserError, one_line
from snnpipe.base.files import replace_file
from snnpipe.bundle.bundle import converted_of, plain_settings
from snnpipe.bundle.converted import Converted
from snnpipe.bundle.layers import MOST_VALUES
from snnpipe.conversion.assembly import assembled
from snnpipe.conversion.nengo_dl import NengoDLConverter
from snnpipe.conversion.rewrite import prepare, rewrite
from snnpipe.encoders import ConstantEncoder
from snnpipe.nir_files.exported import exported
from snnpipe.nir_files.imported import Imported, imported
from snnpipe.nir_files.layout import plain_name
from snnpipe.values.network import ConversionPlan, SpikingNetwork
from snnpipe.values.simulation import SimulationSettings

if TYPE_CHECKING:
    import nir

_OURS = "snnpipe"
"""Name of the metadata that hold the settings of a network that was written here, as JSON."""
_OF_CHANNELS = {"channel_factors": "channel_factors_c", "bias_offsets": "bias_offset_c"}
"""Attributes of a layer of neurons that are in the weights already, by their names in the metadata."""


def write_nir(path: Path, converted: Converted, step: float, portable: bool) -> Path:
    """Write a network to a file of NIR.

    Parameters
    ----------
    path
        Path of the file.
    converted
        The network.
    step
        Length of a step in the file's unit of time.
    portable
        Whether pooling and factors are written as convolutions and dense layers.

    Raises
    ------
    BundleError
        If NIR cannot say a layer. The message names the layer and a cure.
    """
    nir, settings = _nir(), converted.settings
    if not 0 < step < np.inf:
        raise UserError(f"dt: got {step}: takes a number above 0, such as 1 for time in steps")
    made = exported(converted.network, settings.dt, step, portable)
    made.graph.metadata = {
        "dt": float(step),
        "n_steps": settings.n_steps,
        "readout": "mean" if settings.readout == "auto" else settings.readout,
        _OURS: json.dumps(plain_settings(converted) | _of_channels(converted.network), allow_nan=False),
    }
    if made.unsaid:
        warnings.warn(
            f"{path}: NIR has no words for {', '.join(made.unsaid)}: only the metadata have them, and other readers "
            "may give other spikes (neuron=IntegrateAndFire(max_spikes=1, initial_voltage=0) needs no such words)",
            stacklevel=3,
        )
    content = io.BytesIO()
    nir.write(content, made.graph)
    _leave_out_resets(content)
    with replace_file(path) as file:
        file.write(content.getbuffer())
    return path


def _leave_out_resets(content: io.BytesIO) -> None:
    """Leave ``v_reset`` out of ``IF`` nodes, where it is 0, so that nir before 1.0.6 reads them too.

    In those versions, ``IF`` has no such field and subtracts its threshold. Later versions read a missing field as 0.
    """
    import h5py

    with h5py.File(content, "r+") as file:
        for node in file["node/nodes"].values():
            if node["type"][()] == b"IF":
                del node["v_reset"]


def read_nir(path: Path, step: float | None, default: Any) -> Converted:
    """Return the network of a file of NIR. Nothing in the file is executed.

    Parameters
    ----------
    path
        Path of the file.
    step
        Length of a step in the file's unit of time; None for the one in the file's metadata.
    default
        `snnpipe.IntegrateAndFire` for ``IF`` nodes whose metadata do not say how they reset; None to refuse them.

    Raises
    ------
    BundleError
        If the file is missing or no file of NIR, or has something that nothing here computes.
    """
    graph = _graph(path)
    try:
        noted = _noted(graph)
        settings = SimulationSettings() if noted is None else SimulationSettings(**noted["simulation"])
        network, plan = _assembled(imported(graph, settings.dt, _step(graph, step), default), noted or {})
        if noted is not None:
            return replace(converted_of(noted, network), plan=plan)
        model: Any = network.keras_model
        return Converted(
            name=path.stem,
            network=network,
            settings=settings,
            encoder=ConstantEncoder(),
            seed=0,
            input_shape=tuple(model.input_shape[1:]),
            class_names=tuple(str(c) for c in range(model.output_shape[-1])),
            plan=plan,
            made_from={"call": "snnpipe.from_nir", "file": str(path)},
        )
    except SnnPipeError as error:
        raise BundleError(f"{path}: {one_line(error)}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise BundleError(f"{path}: its metadata are damaged ({reason})") from error


def _nir() -> Any:
    try:
        import nir
    except ModuleNotFoundError as error:
        raise UserError("files of NIR need the package nir: pip install 'snnpipe[nir]'") from error
    return nir


def _graph(path: Path) -> "nir.NIRGraph":
    import h5py

    package = _nir()
    if not path.is_file() or not h5py.is_hdf5(path):
        raise BundleError(f"{path} is no file of NIR: give one that to_nir() or nir.write() has written")
    try:
        with h5py.File(path, "r") as file:
            file.visititems(_check)
        graph: nir.NIRGraph = package.read(path, type_check=False)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    except Exception as error:  # what h5py and nir raise for files of other content
        raise BundleError(f"{path} cannot be read as a file of NIR: {one_line(error)[:300]}") from error
    return graph


def _check(name: str, item: Any) -> None:
    """Raise `BundleError` for an array that is too large, and for neurons that nir would read as other ones."""
    import h5py

    if not isinstance(item, h5py.Group):
        if item.size is not None and item.size > MOST_VALUES:
            raise BundleError(f"{name[:200]}: it has {item.size:,} values, and {MOST_VALUES:,} are allowed")
    elif "type" in item and item["type"][()] == b"LIF" and "v_reset" not in item:
        node = name.rpartition("/")[2]
        raise BundleError(
            f"node {node!r} (LIF): it is of nir before 1.0.6, where LIF subtracts its threshold, and nengo.LIF resets: "
            "if its network resets to 0, rewrite the file: nir.write(path, nir.read(path))"
        )


def _noted(graph: "nir.NIRGraph") -> Mapping[str, Any] | None:
    text = graph.metadata.get(_OURS)
    if text is None:
        return None
    noted = json.loads(text)
    if not isinstance(noted, dict):
        raise BundleError(f"its metadata {_OURS} are no mapping")
    return noted


def _step(graph: "nir.NIRGraph", given: float | None) -> float:
    step = graph.metadata.get("dt") if given is None else given
    if step is None:
        raise BundleError(
            "its metadata have no dt: give dt, the length of a step in its unit of time: 1 if time is in steps "
            "(sinabs), or the seconds of a step (0.0001 is the default of snnTorch and SpikingJelly)"
        )
    number = float(np.asarray(step))
    if not 0 < number < np.inf:
        raise BundleError(f"dt: got {number}: takes a number above 0")
    return number


def _of_channels(network: SpikingNetwork) -> dict[str, dict[str, list[float]]]:
    """Return the numbers of channels that only some figures depend on, in the form of JSON."""
    return {
        key: {
            plain_name(layer.name): values_c.tolist()
            for layer in network.layers
            if (values_c := getattr(layer, attribute)) is not None
        }
        for key, attribute in _OF_CHANNELS.items()
    }


def _read_channels(own: Imported, given: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Return numbers of channels by layer, or raise `ValueError`."""
    values = {name: np.asarray(values_c, np.float64) for name, values_c in given.items()}
    for name, values_c in values.items():
        if values_c.shape != own.model.get_layer(name).output_shape[-1:] or not np.all(np.isfinite(values_c)):
            raise ValueError(f"{name}: a finite number for each channel is needed")
    return values


def _assembled(own: Imported, noted: Mapping[str, Any]) -> tuple[SpikingNetwork, ConversionPlan]:
    converter = NengoDLConverter(
        neuron={name: settings.neurons for name, settings in own.settings.items()},
        scale_firing_rates={name: settings.scale for name, settings in own.settings.items()},
        synapse={name: settings.synapse.nengo for name, settings in own.settings.items()},
    )
    plan = converter.explain(own.model)
    plan.require_convertible()
    ready = prepare(own.model, rewrite(own.model, "sums"))
    factors, offsets = (_read_channels(own, noted.get(key, {})) for key in _OF_CHANNELS)
    return assembled(ready, own.settings, 0, "sums", factors, offsets), plan
