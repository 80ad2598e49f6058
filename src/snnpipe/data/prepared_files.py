"""Digests of a dataset's prepared files. Very large files are sampled and not read in full."""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

WHOLE_BYTES = 4 * 2**30
"""Total size, in bytes, up to which files are read in full. Reading takes a second for some hundred megabytes."""

_SAMPLE_BYTES, _SAMPLES = 2**20, 8


def prepared_files_digests(paths: Collection[Path]) -> dict[Path, str]:
    """Return a digest of each file.

    For files of more than `WHOLE_BYTES` in total, each digest covers the size, the time of the last change, and eight
    samples of a mebibyte, evenly spread from the first byte to the last. A copy with another time therefore counts as
    another file.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    whole = sum(path.stat().st_size for path in paths) <= WHOLE_BYTES
    return {path: _digest(path, whole=whole) for path in sorted(paths)}


def _digest(path: Path, *, whole: bool) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        if whole:
            return hashlib.file_digest(file, lambda: digest).hexdigest()
        status = path.stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
        for place in _places(status.st_size):
            file.seek(place)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _places(size: int) -> Iterator[int]:
    last = max(0, size - _SAMPLE_BYTES)
    yield from sorted({last * i // (_SAMPLES - 1) for i in range(_SAMPLES)})
