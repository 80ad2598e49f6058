"""Digests of a dataset's prepared files: of all their bytes, or of samples of them where they are very large."""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

WHOLE_BYTES = 4 * 2**30
"""Files of no more bytes than these together are read whole, at some hundred megabytes a second."""

_SAMPLE_BYTES, _SAMPLES = 2**20, 8


def prepared_files_digests(paths: Collection[Path]) -> dict[Path, str]:
    """Return a digest of each file.

    Of files of more than `WHOLE_BYTES` together, size, time of the last change and eight samples of a mebibyte count,
    evenly spread from the first byte to the last: a copy that has another time counts as another file.

    Raises
    ------
    OSError
        If one cannot be read.
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
