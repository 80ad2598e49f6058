"""Fingerprints of trainings and runs. Equal fingerprints mean that nothing differs that can change the result."""

import hashlib
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snnpipe.base.identity import without_address
from snnpipe.base.masking import masked
from snnpipe.frameworks.compat import installed_version
from snnpipe.values.data import DataSpec

_FORMAT = 2
_FIT_PARTS = ("data", "model", "training")
_FIT_PACKAGES = ("snnpipe", "tensorflow", "tf-keras", "nengo", "nengo-dl", "numpy")
_NOT_THE_RESULT = {"run_id", "run_name", "experiment_name", "logger", "paths", "sweep"}
_NOT_OF_TRAINING = {"reuse", "resume"}


def fit_fingerprint(
    config: Mapping[str, Any],
    spec: DataSpec,
    without_effect: Mapping[str, Collection[str]],
    callbacks: Sequence[Any],
    content: Mapping[str, str] | None = None,
) -> str:
    """Return a digest of everything that can change the result of a training.

    The digest covers the seed, the parts ``data``, ``model`` and ``training`` without the keys that they declare to
    have no effect, the callbacks that can end a training, the dataset's identity, the versions of the packages that
    compute, the source of classes outside these packages, and the content of data, initial weights and source.

    Parameters
    ----------
    config
        Configuration of the run, resolved.
    spec
        Spec of the dataset after its set-up.
    without_effect
        Keys of each part that do not change a training, such as the folder of a dataset or the number of test images.
    callbacks
        Descriptions of the callbacks that can change a training.
    content
        Digests of content that the configuration only names (`snnpipe.run.content.Content.of_the_fit`).
    """
    content = dict(content or {})
    data = content.pop("data", spec.digest)
    parts: dict[str, Any] = {}
    for name in _FIT_PARTS:
        node = config.get(name) or {}
        parts[name] = {key: value for key, value in node.items() if key not in without_effect.get(name, ())}
    parts["callbacks"] = list(callbacks)
    return _digest(
        {
            "format": _FORMAT,
            "seed": config.get("seed"),
            "parts": parts,
            "dataset": [spec.name, spec.version, data, spec.n_train, spec.n_validation],
            "packages": {name: installed_version(name) for name in _FIT_PACKAGES},
            "sources": dict(sorted(_sources(parts))),
        }
        | content
    )


def run_fingerprint(config: Mapping[str, Any]) -> str:
    """Return a digest of those keys of a run's configuration that can change its result."""
    return _digest(of_the_result(config))


def of_the_result(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return those keys of a run's configuration that can change its result."""
    parts = {key: masked(value) for key, value in config.items() if key not in _NOT_THE_RESULT}  # as recorded
    training = parts.get("training")
    if isinstance(training, Mapping):
        parts["training"] = {key: value for key, value in training.items() if key not in _NOT_OF_TRAINING}
    return parts


def _digest(content: Any) -> str:
    text = without_address(json.dumps(content, sort_keys=True, default=repr))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _sources(node: Any) -> Iterator[tuple[str, str]]:
    """Yield the modules of a configuration's classes that no package version identifies, with their digests."""
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if isinstance(target, str):
            yield from _source(target)
        for value in node.values():
            yield from _sources(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _sources(value)


def _source(target: str) -> Iterator[tuple[str, str]]:
    """Yield the module that names a class and the module that defines it. Both have been imported by now."""
    name, _, attribute = target.rpartition(".")
    while name and name not in sys.modules:  # a class within a class
        name, _, attribute = name.rpartition(".")
    if name == "__main__" or name.split(".")[0] in {package.replace("-", "_") for package in _FIT_PACKAGES}:
        return  # for a script, only its used objects count (`snnpipe.run.content`)
    defined_in = getattr(getattr(sys.modules.get(name), attribute, None), "__module__", name)
    for module in dict.fromkeys([name, defined_in]):
        path = getattr(sys.modules.get(module), "__file__", None)
        if path and Path(path).is_file():
            yield module, hashlib.sha256(Path(path).read_bytes()).hexdigest()
