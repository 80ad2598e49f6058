"""Train neural networks, convert them to spiking ones, and see what the conversion costs.

Importing this loads nothing heavy: names are loaded when they are used. It changes one thing: whoever imports
TensorFlow or NengoDL after it gets them as snnpipe needs them (`snnpipe.frameworks.import_hook`).
"""

from importlib import import_module
from typing import Any

from snnpipe.base.public import PUBLIC
from snnpipe.frameworks import import_hook

__version__ = "0.1.0"
__all__ = ["__version__", *PUBLIC]


import_hook.install()


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module 'snnpipe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
