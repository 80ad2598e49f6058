"""How the functions of the kernel are compiled by Numba."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from numpy.typing import NDArray

_LINE_BYTES = 64

WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
"""Whether the CPU has 32 vector registers of 512 bits. Others have 16 of 256 bits."""

_FILES = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]

SOURCES = hashlib.sha256(b"".join([*_FILES, bytes([WIDE])])).hexdigest()
"""Digest of all files of this room, and of the kind of CPU. Numba's own digest of a function leaves out the functions
in other files that it calls, which are part of its machine code. Weights are laid out for the kind of CPU, and machines
that share a cache share machine code if Numba is told to compile for any CPU."""

F = TypeVar("F", bound=Callable[..., Any])


def _prefer_wide_vectors() -> None:
    """Let LLVM use 512-bit vectors if the CPU has them. By default it uses 256 bits, which is a fifth slower here.

    The setting has an effect only if Numba has compiled nothing yet in this process. A CPU that the user has chosen for
    Numba is kept.
    """
    features = llvmlite.binding.get_host_cpu_features()
    if WIDE and not numba.config.CPU_NAME and not numba.config.CPU_FEATURES:
        numba.config.CPU_NAME = llvmlite.binding.get_host_cpu_name()
        numba.config.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"


_prefer_wide_vectors()


_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "_nrt": False,
    "error_model": "numpy",
    "fastmath": {"contract", "nnan", "nsz"},
}
"""``contract`` lets a product and a sum become one instruction, and nothing may be reordered. No function here
allocates, so Numba's runtime, which counts references to arrays, is switched off: it took a third of the time."""


def compiled(function: F) -> F:
    """Return a function compiled without Python's lock, and kept in Numba's cache as long as `SOURCES` stay."""
    return of_sources(_OPTIONS, function)


def inlined(function: F) -> F:
    """Return a function as `compiled` does, to be part of its callers: a call has seven arguments per array."""
    return of_sources(_OPTIONS | {"forceinline": True}, function)


def of_sources(options: dict[str, Any], function: F) -> F:
    """Return a function compiled with certain options, and kept in Numba's cache as long as `SOURCES` stay."""
    try:
        made: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return cast(F, numba.njit(**options)(function))
    made._cache._cache_file._source_stamp = SOURCES
    return cast(F, made)


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that begins on a cache line, so that no vector of a row straddles two cache lines."""
    room = np.empty(array.nbytes + _LINE_BYTES, np.uint8)
    first = -room.ctypes.data % _LINE_BYTES
    copy = room[first : first + array.nbytes].view(array.dtype)
    copy[:] = array
    return copy
