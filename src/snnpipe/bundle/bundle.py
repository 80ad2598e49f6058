"""A converted network as one file of plain data, which needs neither its model nor its data to run again."""

import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe import __version__
from snnpipe.base.errors import BundleError, SnnPipeError, one_line
from snnpipe.bundle.archive import Members, read_members, write_members
from snnpipe.bundle.converted import MOST_REFERENCES, Converted
from snnpipe.bundle.layers import model_of, plain_layers
from snnpipe.bundle.neurons import FACTORS, OFFSETS, of_channels, plain_neurons, require_sizes, settings_of
from snnpipe.bundle.references import SIMULATORS, References, Replay, references_of, replayed
from snnpipe.conversion.assembly import assembled
from snnpipe.encoders import ConstantEncoder, PoissonEncoder
from snnpipe.frameworks.compat import import_nengo_dl, installed_version
from snnpipe.protocols import Encoder
from snnpipe.values.calibration import CalibrationOutcome
from snnpipe.values.network import ConversionPlan, PlannedLayer, SpikingNetwork
from snnpipe.values.pixels import PixelScaling
from snnpipe.values.simulation import SimulationSettings

FORMAT = 1
SUFFIX = ".snn"

_STACK = ("tensorflow", "tf-keras", "nengo", "nengo-dl", "numpy", "numba", "scipy")
_SETTINGS = ("n_steps", "dt", "batch_size", "readout", "readout_steps", "precision")


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a file holds: a network, its references, and the versions of the stack that wrote it."""

    converted: Converted
    references: References
    versions: Mapping[str, str]

    def replay(self) -> Replay:
        """Simulate the references and compare (`snnpipe.bundle.references.replayed`)."""
        here = versions()
        return replayed(
            self.converted,
            self.references,
            {name: (own, here.get(name, "")) for name, own in self.versions.items() if own != here.get(name, "")},
        )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a simulation depends on, and the kind of machine."""
    packages = {name: installed_version(name) or "" for name in _STACK}
    return {
        "snnpipe": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        **packages,
        "machine": platform.machine(),
    }


# ---------------------------------------------------------------------- writing


def write_bundle(path: Path, converted: Converted, samples: NDArray[np.float32]) -> Path:
    """Write a network to a file, with references.

    Parameters
    ----------
    path
        Path of the file.
    converted
        The network.
    samples
        Samples for references, shape ``(b, *input_shape)``; the first of them are taken.

    Raises
    ------
    BundleError
        If the network has parts that are code and no plain data. The message names the first.
    """
    network, weights = plain_network(converted.network)
    settings = plain_settings(converted)
    references = references_of(converted, np.ascontiguousarray(samples[:MOST_REFERENCES], np.float32))
    outputs = {"samples": references.samples, "outputs": references.outputs_btc}
    counts = {f"counts/{name}": own for name, own in references.counts.items()}
    manifest = {
        "format": FORMAT,
        "versions": versions(),
        **settings,
        "simulator_of_references": references.simulator,
    }
    return write_members(path, Members(manifest, network, weights, outputs | counts))


def plain_network(network: SpikingNetwork) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return a converted network as plain data: a description in the form of JSON, and arrays by name.

    Raises
    ------
    BundleError
        If it has parts that are code and no plain data. The message names the first.
    """
    if network.keras_model is None or not network.rectifiers or network.max_pooling is None:
        raise BundleError("it is written in Nengo, or by hand, and no conversion of a Keras model's layers")
    layers, weights = plain_layers(network.keras_model)
    neurons, arrays = plain_neurons(network)
    description = {
        "layers": layers,
        "neurons": neurons,
        "max_pooling": network.max_pooling,
        "seed": int(network.network.seed or 0),
    }
    return description, {f"weights/{name}": own for name, own in weights.items()} | arrays


def plain_settings(converted: Converted) -> dict[str, Any]:
    """Return all of a converted network but the network itself, in the form of JSON.

    Raises
    ------
    BundleError
        If its encoder is code and no plain data.
    """
    settings = converted.settings
    return {
        "name": converted.name,
        "made_from": dict(converted.made_from),
        "input_shape": list(converted.input_shape),
        "class_names": list(converted.class_names),
        "pixels": None if converted.pixels is None else asdict(converted.pixels),
        "encoder": _plain_encoder(converted.encoder),
        "seed": converted.seed,
        "simulation": {name: getattr(settings, name) for name in _SETTINGS},
        "calibration": None if converted.calibration is None else converted.calibration.plain(),
        "plan": {"layers": [asdict(own) for own in converted.plan.layers], "notes": list(converted.plan.notes)},
    }


def _plain_encoder(encoder: Encoder) -> dict[str, Any]:
    if type(encoder) is ConstantEncoder:
        return {"type": "constant"}
    if type(encoder) is PoissonEncoder:
        return {"type": "poisson", "max_rate_hz": encoder.max_rate_hz, "dt": encoder.dt}
    raise BundleError(f"the encoder {type(encoder).__name__} is code: take ConstantEncoder or PoissonEncoder")


# ---------------------------------------------------------------------- reading


def read_bundle(path: Path) -> Bundle:
    """Return what a file holds. Nothing in the file is executed.

    Raises
    ------
    BundleError
        If the file is missing, damaged, of another format or unsafe. The message names what is wrong.
    """
    members = read_members(path)
    try:
        if (fmt := members.manifest.get("format")) != FORMAT:
            raise BundleError(
                f"it has format {str(fmt)[:20]}, and this snnpipe reads format {FORMAT}: use the snnpipe that wrote it"
            )
        network = network_of(members.network, members.weights)
        converted = converted_of(members.manifest, network)
        return Bundle(converted, _references(members, converted), _texts(members.manifest["versions"]))
    except SnnPipeError as error:
        raise BundleError(f"{path}: {one_line(error)}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
        raise BundleError(f"{path}: its description is damaged ({reason})") from error


def network_of(description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> SpikingNetwork:
    """Return the network that `plain_network` has described.

    Raises
    ------
    BundleError
        If something in it is unknown, does not fit, or is too large.
    """
    import_nengo_dl()
    weights = {key.removeprefix("weights/"): own for key, own in arrays.items() if key.startswith("weights/")}
    model = model_of(description.get("layers"), weights)
    settings = settings_of(description.get("neurons"), arrays)
    max_pooling, seed = description.get("max_pooling"), _seed(description.get("seed"))
    if max_pooling not in ("sums", "gated"):
        raise BundleError(f"got max_pooling={str(max_pooling)[:50]!r}: knows sums and gated")
    require_sizes(model, settings, arrays)
    factors, offsets = (of_channels(prefix, arrays) for prefix in (FACTORS, OFFSETS))
    return assembled(model, settings, seed, max_pooling, factors, offsets)


def converted_of(manifest: Mapping[str, Any], network: SpikingNetwork) -> Converted:
    """Return a network with the settings that `plain_settings` has described.

    Raises
    ------
    UserError, KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError
        If a setting is missing, is outside its domain, or does not fit the network.
    """
    model: Any = network.keras_model
    shape, names = tuple(manifest["input_shape"]), tuple(manifest["class_names"])
    if shape != tuple(model.input_shape[1:]) or (None, len(names)) != model.output_shape:
        raise BundleError(
            f"samples of shape {shape} and {len(names)} classes do not fit its layers, which take "
            f"{model.input_shape[1:]} and give {model.output_shape[1:]}"
        )
    simulation, plan, calibration = manifest["simulation"], manifest["plan"], manifest["calibration"]
    if set(simulation) != set(_SETTINGS):
        raise BundleError(f"its simulation has the settings {', '.join(map(str, simulation))}")
    pixels = None if manifest["pixels"] is None else PixelScaling(**manifest["pixels"])
    if pixels is not None:
        pixels.check(shape)
    planned = [PlannedLayer(**{**own, "shape": tuple(own["shape"])}) for own in plan["layers"]]
    return Converted(
        name=_text(manifest["name"]),
        network=network,
        settings=SimulationSettings(**simulation),
        encoder=_encoder_of(manifest["encoder"]),
        seed=_seed(manifest["seed"]),
        input_shape=shape,
        class_names=tuple(map(_text, names)),
        plan=ConversionPlan(tuple(planned), tuple(map(_text, plan["notes"]))),
        pixels=pixels,
        calibration=None if calibration is None else CalibrationOutcome.of_plain(calibration),
        made_from=_texts(manifest["made_from"]),
    )


def _encoder_of(plain: Mapping[str, Any]) -> Encoder:
    settings = {name: value for name, value in plain.items() if name != "type"}
    if plain["type"] == "constant" and not settings:
        return ConstantEncoder()
    if plain["type"] == "poisson":
        return PoissonEncoder(**settings)
    raise BundleError(f"got the encoder {str(plain)[:100]!r}: knows constant and poisson")


def _references(members: Members, converted: Converted) -> References:
    arrays, simulator = members.references, members.manifest["simulator_of_references"]
    samples, outputs = arrays["samples"], arrays["outputs"]
    n, n_steps = len(samples), converted.settings.n_steps
    if simulator not in SIMULATORS or samples.dtype != np.float32 or samples.shape != (n, *converted.input_shape):
        raise BundleError(f"its references have shape {samples.shape}, and samples have {converted.input_shape}")
    if not 0 < n <= MOST_REFERENCES or outputs.shape != (n, n_steps, len(converted.class_names)):
        raise BundleError(f"its references have outputs of shape {outputs.shape} for {n} samples and {n_steps} steps")
    counts = {}
    for layer in converted.network.layers:
        counts[layer.name] = own = arrays[f"counts/{layer.name}"]
        if own.shape != (n, layer.size):
            raise BundleError(f"its references have counts of shape {own.shape} for layer {layer.name!r}")
    return References(samples, outputs, counts, simulator)


def _seed(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**31:
        raise BundleError(f"got seed={str(value)[:50]!r}: takes a whole number of 0 or more")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BundleError(f"got {str(value)[:100]!r} for a text")
    return value


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in values.items()}
