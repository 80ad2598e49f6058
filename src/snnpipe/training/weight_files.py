"""Weights from a file without an architecture: of Keras 3, of tf_keras (Keras 2), or of NumPy."""

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import CheckpointError, one_line
from snnpipe.values.checkpoint import Checkpoint

if TYPE_CHECKING:
    import tf_keras

SUFFIXES = (".h5", ".npz")

_CURE = "choose the model= whose weights they are, or save the model with its architecture (.keras) and take model=file"


def require_weights(path: Path) -> None:
    """Raise `CheckpointError` if there is no file at a path."""
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}: give a file of weights (.h5 or .npz) or a checkpoint folder")


def read_weights(path: Path, model: "tf_keras.Model") -> Checkpoint:
    """Return the weights in a file, for a model of the same architecture.

    Arrays of an ``.npz`` file belong to the model's weights by name (``conv2d/kernel``), or else in their order, as
    ``np.savez(file, *model.get_weights())`` writes them. Layers of a Keras file belong to the model's layers by name,
    or else to those of the same class in their order.

    Parameters
    ----------
    path
        An ``.npz`` file, or an ``.h5`` file that ``save_weights`` of Keras 3 or tf_keras wrote.
    model
        Model that the weights are for. Its weights may change.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or its weights do not fit the model.
    """
    try:
        if path.suffix == ".npz":
            arrays = _of_numpy(path, model)
        elif (layers := _layers_of_keras_3(path)) is not None:
            arrays = _of_keras_3(layers, model, path)
        else:
            model.load_weights(path)
            arrays = model.get_weights()
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} cannot be read as weights of this model ({one_line(error)[:300]}): {_CURE}"
        ) from error
    names = [weight.name for weight in model.weights]
    if len(arrays) != len(names):
        raise CheckpointError(f"{path} has {len(arrays)} weights, and this model has {len(names)}: {_CURE}")
    weights = zip(names, arrays, model.weights, strict=True)
    return Checkpoint({name: np.asarray(array, w.dtype.as_numpy_dtype) for name, array, w in weights})


def _of_numpy(path: Path, model: "tf_keras.Model") -> Sequence[NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    plain = {name.partition(":")[0]: array for name, array in arrays.items()}
    names = [weight.name.partition(":")[0] for weight in model.weights]
    if set(plain) == set(names):
        return [plain[name] for name in names]
    if all(re.fullmatch(r"arr_\d+|\d+", name) for name in arrays):
        return [arrays[name] for name in sorted(arrays, key=lambda name: int(name.removeprefix("arr_")))]
    missing = next((name for name in names if name not in plain), next(iter(set(plain) - set(names)), ""))
    raise CheckpointError(f"{path} and this model do not have the same weights: {missing!r} is in one only: {_CURE}")


# ---------------------------------------------------------------------- Keras 3


def _layers_of_keras_3(path: Path) -> "list[tuple[str, str, list[NDArray[Any]]]] | None":
    """Return class, name and arrays of each layer with weights in a file of Keras 3; None for another file."""
    import h5py

    with h5py.File(path) as file:
        if "layers" not in file or "layer_names" in file.attrs:
            return None
        return [(kind, name, [np.asarray(one) for one in arrays]) for kind, name, arrays in _walk(file["layers"])]


def _walk(group: Any) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield class, name and arrays of each layer in a group; of one class, in the model's order."""
    for key in sorted(group, key=_place):
        layer = group[key]
        if "layers" in layer:
            yield from _walk(layer["layers"])
        elif len(own := layer.get("vars", ())):
            yield _class(key), str(own.attrs.get("name", "")), [own[i] for i in sorted(own, key=int)]


def _place(key: str) -> tuple[str, int]:
    number = re.search(r"_(\d+)$", key)
    return _class(key), int(number[1]) if number else 0


def _class(key: str) -> str:
    return re.sub(r"_\d+$", "", key)


def _of_keras_3(
    layers: Sequence[tuple[str, str, list[NDArray[Any]]]], model: "tf_keras.Model", path: Path
) -> list[NDArray[Any]]:
    """Return the arrays of a Keras 3 file in the order of a model's weights."""
    own = [layer for layer in model.layers if layer.weights]
    names = {name: arrays for _, name, arrays in layers}
    if len(names) == len(layers) and names.keys() == {layer.name.rpartition("/")[2] for layer in own}:
        of_layers = [names[layer.name.rpartition("/")[2]] for layer in own]
    else:
        of_layers = _by_class(layers, own, path)
    return [array for layer, arrays in zip(own, of_layers, strict=True) for array in _ordered(layer, arrays, path)]


def _by_class(
    layers: Sequence[tuple[str, str, list[NDArray[Any]]]], own: Sequence[Any], path: Path
) -> list[list[NDArray[Any]]]:
    of_class: Mapping[str, list[list[NDArray[Any]]]] = defaultdict(list)
    for kind, _, arrays in layers:
        of_class[kind].append(arrays)
    taken = []
    for layer in own:
        kind = _snake_case(type(layer).__name__)
        if not of_class[kind]:
            raise CheckpointError(f"{path} has no weights for layer {layer.name!r} ({type(layer).__name__}): {_CURE}")
        taken.append(of_class[kind].pop(0))
    left = {kind: len(arrays) for kind, arrays in of_class.items() if arrays}
    if left:
        kind, n = next(iter(left.items()))
        raise CheckpointError(f"{path} has {n} more layers of class {kind!r} than this model: {_CURE}")
    return taken


def _snake_case(name: str) -> str:
    """Return a class name as Keras 3 writes it in files: ``conv2d``, ``batch_normalization``."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name)))
    return re.sub(r"_?(\d)_?[Dd]$", r"\1d", words.lower())


def _ordered(layer: Any, arrays: Sequence[NDArray[Any]], path: Path) -> Sequence[NDArray[Any]]:
    shapes, want = [array.shape for array in arrays], [tuple(weight.shape) for weight in layer.weights]
    if shapes != want:
        raise CheckpointError(f"{path}: weights of layer {layer.name!r} are {shapes} there and {want} here: {_CURE}")
    return arrays
