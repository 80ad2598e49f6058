"""What an array of samples holds, from one pass: its digest and its range, all values being numbers."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import DataError
from snnpipe.base.identity import bytes_of

_CHUNK_BYTES = 2**24
_NUMBERS = "buif"


@dataclass(frozen=True)
class ArrayContent:
    """What an array holds.

    Attributes
    ----------
    digest
        Digest of shape, type and values. The file that held the array does not count.
    low, high
        Smallest and largest value.
    """

    digest: str
    low: float
    high: float


def content_of_array(array: NDArray[Any], name: str) -> ArrayContent:
    """Return what an array of samples holds. It is read in pieces, so it may be larger than memory.

    Parameters
    ----------
    array
        Samples, along the first axis.
    name
        What messages call the array.

    Raises
    ------
    DataError
        If values are no numbers, or not finite as numbers of 32 bits.
    """
    if array.dtype.kind not in _NUMBERS:
        raise DataError(
            f"data: {name} holds no numbers, but values of type {array.dtype}: save the samples as numbers, as with "
            "numpy.asarray(x, 'float32')"
        )
    digest = blake2b(f"{array.shape} {array.dtype.str}".encode(), digest_size=16)
    rows = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes))
    low, high = np.inf, -np.inf
    for first in range(0, len(array), rows):
        chunk = array[first : first + rows]
        digest.update(bytes_of(chunk))
        low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
        if array.dtype.kind != "f":
            continue
        with np.errstate(over="ignore"):
            finite = np.isfinite(chunk.astype(np.float32, copy=False)).reshape(len(chunk), -1).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            values = chunk[row].ravel()
            with np.errstate(over="ignore"):
                value = values[~np.isfinite(values.astype(np.float32))][0]
            raise DataError(
                f"data: {name}[{first + row}] has a value that is {value:g}: leave such samples out, or put a number "
                "in its place (numpy.nan_to_num)"
            )
    return ArrayContent(digest.hexdigest(), low, high)
