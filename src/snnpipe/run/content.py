"""The content that a run depends on besides its configuration: data, initial weights, and source code."""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from snnpipe.base.checked_files import read_json, write_json
from snnpipe.base.errors import ArtifactError, one_line
from snnpipe.base.identity import UnknowableError, digest_of, file_digest, qualified_name, without_address
from snnpipe.data.checked_data import CheckedData
from snnpipe.data.digests import fit_data_digest, test_data_digest
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.neurons.table import registered
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    import tf_keras

UNKNOWN = "unknown"
OF_THE_FIT = ("data", "model", "source")
"""Names of the digests that a training depends on. The other digests concern the evaluation."""
_WORDS = {
    "data": "its training data",
    "test": "its test data",
    "model": "its model as built (initial weights, layers)",
    "source": "the source of its parts",
    "conversion": "the source of its converter, encoder, simulator or metrics",
}
_FILE, _FORMAT = "content.json", 1


@dataclass(frozen=True)
class Content:
    """Digests of the content that a run depends on, by their names in `_WORDS`. An unknown digest is `UNKNOWN`.

    Attributes
    ----------
    digests
        Digests in hexadecimal.
    unknown
        Reasons why digests are unknown, each with the cure.
    """

    digests: Mapping[str, str]
    unknown: Mapping[str, str]

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a run that hold the digests."""
        return {_tag(name): digest for name, digest in self.digests.items()}

    @property
    def of_the_fit(self) -> dict[str, str]:
        """The digests that a training depends on."""
        return {name: self.digests[name] for name in OF_THE_FIT}

    @property
    def of_the_data(self) -> str:
        """One digest of all data; empty if it is unknown."""
        both = [self.digests["data"], self.digests["test"]]
        return "" if UNKNOWN in both else digest_of(both)

    def why_not_shared(self) -> str | None:
        """Return why no other run can share a training of this content; None if one can."""
        return next((self.unknown[name] for name in OF_THE_FIT if name in self.unknown), None)

    def difference(self, tags: Mapping[str, str]) -> str | None:
        """Return why a run with some tags does not have this content; None if it does."""
        for name, digest in self.digests.items():
            then = tags.get(_tag(name), UNKNOWN)
            if name in self.unknown:
                return f"nobody can know whether {_WORDS[name]} is still the same: {self.unknown[name]}"
            if then == UNKNOWN:
                return f"nobody can know whether {_WORDS[name]} is still the same: it has no digest of it"
            if then != digest:
                return f"{_WORDS[name]} has changed since ({_tag(name)} {then[:8]}, now {digest[:8]})"
        return None

    def write(self, folder: Path) -> Path:
        """Write the digests to a run's folder."""
        return write_json(folder / _FILE, {"tags": self.tags}, _FORMAT)


def read_content(folder: Path) -> dict[str, str]:
    """Return the tags that `Content.write` wrote to a run's folder; empty if there are no valid ones."""
    try:
        tags = read_json(folder / _FILE, _FORMAT, "content of a run")["tags"]
    except (ArtifactError, KeyError):
        return {}
    return tags if isinstance(tags, dict) else {}


def content_of(
    parts: Mapping[str, Any],
    model: "tf_keras.Model | NativeNetwork",
    config: Mapping[str, Any],
    callbacks: Sequence[Any],
) -> Content:
    """Return the digests of the content that a run depends on.

    Parameters
    ----------
    parts
        Parts of the run, by their config groups. The data module is set up.
    model
        Model as built, before training.
    config
        Configuration of the run. The bytes of the files and folders that it names count.
    callbacks
        Callbacks that can change a training.
    """
    data = CheckedData.of(parts["data"])
    own = {"model": parts["model"], "training": parts["training"]}
    sources = [type(data.module), *map(type, callbacks)]
    ways: dict[str, Callable[[], str]] = {
        "data": lambda: fit_data_digest(data),
        "test": lambda: test_data_digest(data),
        "model": lambda: model_digest(model),
        "source": lambda: digest_of(
            [
                *sources,
                *(_settings_digest(part) for part in own.values()),
                *_files_named([config.get("training"), config.get("callbacks") if callbacks else None]),
            ]
        ),
        "conversion": lambda: digest_of(
            [
                *(type(parts[name]) for name in ("conversion", "simulator", "encoder")),
                *_neurons_within(parts["conversion"]),
                *map(type, parts.get("metrics", ())),
                *_files_named([config.get(name) for name in ("conversion", "simulator", "encoder", "metrics")]),
            ]
        ),
    }
    digests, unknown = {}, {}
    with _generators_as_they_were():
        for name, find in ways.items():
            try:
                digests[name] = find()
            except UnknowableError as error:
                digests[name], unknown[name] = UNKNOWN, f"{_GROUPS[name]}: {one_line(error)}"
    return Content(digests, unknown)


_GROUPS = {"data": "data", "test": "data", "model": "model", "source": "source", "conversion": "source"}


def _tag(name: str) -> str:
    return f"{name}.digest"


@contextmanager
def _generators_as_they_were() -> Iterator[None]:
    """Restore Python's and NumPy's global generators afterwards, because a data module may draw from them."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def model_digest(model: "tf_keras.Model | NativeNetwork") -> str:
    """Return a digest of a model's present state: names, shapes and values of weights, and settings of layers.

    Raises
    ------
    UnknowableError
        If a layer holds something whose digest is unknown.
    """
    weights = [(weight.name, weight.numpy()) for weight in model.weights]
    return digest_of([weights, _structure(model)])


def _structure(model: "tf_keras.Model | NativeNetwork") -> Any:
    if isinstance(model, NativeNetwork):
        network = model.network
        objects = [*network.all_ensembles, *network.all_connections, *network.all_probes]
        kept = ("neuron_type", "n_neurons", "synapse", "transform", "function", "size_in")
        return [without_address(repr([getattr(each, name, None) for name in kept])) for each in objects]
    try:
        return model.get_config()
    except Exception:  # a user's layer may not describe itself
        return [_layer(layer) for layer in model.layers]


def _layer(layer: Any) -> Any:
    try:
        config = layer.get_config()
    except Exception:  # a user's layer may raise any error: its plain attributes describe it
        plain = (bool, int, float, str, tuple, type(None))
        config = {
            name: value for name, value in vars(layer).items() if isinstance(value, plain) and not name.startswith("_")
        }
    return qualified_name(type(layer)), config, getattr(layer, "output_shape", None)


def _settings_digest(part: Any) -> str:
    """Return a digest of a part of a run, without settings that do not change its results."""
    return digest_of(part, without=[*getattr(part, "without_effect_on_fit", ()), *_NOT_SETTINGS])


_NOT_SETTINGS = ("reuse", "resume")


def _neurons_within(value: Any) -> Iterator[Any]:
    """Yield the neuron classes in a part's settings, with what their authors registered for them."""
    if is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, own.name) for own in fields(value) if own.init]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _neurons_within(each)
    elif hasattr(value, "gain_bias") and not isinstance(value, type):  # a Nengo neuron type
        yield type(value)
        if (entry := registered(value)) is not None:
            yield entry
        yield from _neurons_within([getattr(value, "base_type", None)])


def _files_named(node: Any) -> Iterator[str]:
    """Yield digests of the files that settings name, and of the files in folders that they name."""
    if isinstance(node, Mapping):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for each in node:
            yield from _files_named(each)
    elif isinstance(node, str) and 0 < len(node) < _PATH_LENGTH and re.search(r"[/\\.]", node):
        try:
            path = Path(node).expanduser()
            files = [path] if path.is_file() else sorted(islice(path.rglob("*"), _FILES + 1)) if path.is_dir() else []
        except (OSError, RuntimeError, ValueError):
            return
        if len(files) > _FILES:
            raise UnknowableError(f"{node} holds more than {_FILES} files: name the ones that are read")
        yield from (file_digest(file) for file in files if file.is_file())


_PATH_LENGTH, _FILES = 1000, 1000


def recorded_spec(spec: DataSpec, name: str, module: type, content: Content) -> DataSpec:
    """Return a dataset's spec as loggers record it: with a name, a source, and the digest of the data's content.

    Parameters
    ----------
    spec, name
        Spec and name of the dataset.
    module
        Class of the data module, which serves as the source if the spec names none.
    content
        Content of the run.
    """
    source = spec.source or qualified_name(module)
    kind = spec.source_type or (urlsplit(spec.source).scheme or "local" if spec.source else "code")
    return replace(spec, name=name, source=source, source_type=kind, digest=content.of_the_data)
