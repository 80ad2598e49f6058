"""The container of a stored network: a zip archive of JSON and safetensors with a checksum over all of it.

The members have fixed names and are stored without compression, so that none is larger than the file. The checksum is
the archive's comment, at the end of the file.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.checked_files import is_sealed, write_sealed
from snnpipe.base.errors import BundleError, one_line

_MANIFEST, _NETWORK = "manifest.json", "network.json"
_WEIGHTS, _REFERENCES = "weights.safetensors", "references.safetensors"
_MEMBERS = (_MANIFEST, _NETWORK, _WEIGHTS, _REFERENCES)
_WRITTEN = (1980, 1, 1, 0, 0, 0)
"""Time of each member: the same network gives the same bytes."""


@dataclass(frozen=True, eq=False)
class Members:
    """The content of the members, in plain data."""

    manifest: Mapping[str, Any]
    network: Mapping[str, Any]
    weights: Mapping[str, NDArray[Any]]
    references: Mapping[str, NDArray[Any]]


def write_members(path: Path, members: Members) -> Path:
    """Write an archive, either completely or not at all."""
    from safetensors.numpy import save

    content = {
        _MANIFEST: _json(members.manifest),
        _NETWORK: _json(members.network),
        _WEIGHTS: save(_contiguous(members.weights)),
        _REFERENCES: save(_contiguous(members.references)),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name, data in content.items():
            file.writestr(zipfile.ZipInfo(name, _WRITTEN), data)
    return write_sealed(path, archive)


def read_members(path: Path) -> Members:
    """Return the content of an archive.

    Raises
    ------
    BundleError
        If there is no such file, it was altered or cut off, or its members are other ones than it must have.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): give a file that save() has written") from error
    if not data.startswith(b"PK") or _MANIFEST.encode() not in data:
        raise BundleError(f"{path} is no network of snnpipe: give a file that save() has written")
    if not is_sealed(data):
        raise BundleError(f"{path} was altered or cut off: it does not match its checksum")
    try:
        content = _content(data)
        manifest, network = (json.loads(content[name]) for name in (_MANIFEST, _NETWORK))
        arrays = [_arrays(content[name]) for name in (_WEIGHTS, _REFERENCES)]
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    except Exception as error:  # what readers of zip, JSON and safetensors raise for wrong bytes
        raise BundleError(f"{path} cannot be read as a network: {one_line(error)[:300]}") from error
    if not isinstance(manifest, dict) or not isinstance(network, dict):
        raise BundleError(f"{path}: its JSON must be mappings")
    return Members(manifest, network, *arrays)


def _content(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entries = file.infolist()
        if sorted(entry.filename for entry in entries) != sorted(_MEMBERS):
            names = ", ".join(repr(entry.filename[:100]) for entry in entries[:10])
            raise BundleError(f"its members are {names or 'none'}, and must be {', '.join(_MEMBERS)}")
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(data) for entry in entries):
            raise BundleError("its members must be stored without compression")
        return {entry.filename: file.read(entry) for entry in entries}


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    from safetensors.numpy import load

    arrays: dict[str, NDArray[Any]] = load(data)
    for name, values in arrays.items():
        if values.dtype.kind not in "biuf" or (values.dtype.kind == "f" and not np.all(np.isfinite(values))):
            raise BundleError(f"the array {name[:200]!r} has values that are infinite or no numbers")
    return arrays


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _contiguous(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(values) for name, values in arrays.items()}
