"""Prepares every import of TensorFlow and NengoDL in this process, in snnpipe and in a user's own modules.

NengoDL 3.6 cannot be imported by itself on today's TensorFlow, and TensorFlow chooses a Keras version when it is
imported. So this puts a finder at the head of ``sys.meta_path``. Python asks it for each module that is not imported
yet. It handles only these two, and loads them from the place where Python would find them without it.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


def install() -> None:
    """Add the finder to ``sys.meta_path``, if it is not there yet."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Chooses Keras 2 for TensorFlow, and prepares the import of NengoDL."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how NengoDL is loaded; None for every other module, which other finders load."""
        if fullname == "tensorflow" and "TF_USE_LEGACY_KERAS" not in os.environ:
            from snnpipe.frameworks.compat import choose_keras_2

            choose_keras_2()
        if fullname != "nengo_dl":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Prepared(spec.loader)
        return spec


class _Prepared(Loader):
    """Runs NengoDL's own loader in the environment that it needs."""

    def __init__(self, loader: Loader):
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return the module that NengoDL's own loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run NengoDL's code."""
        with _as_it_needs():
            self._loader.exec_module(module)

    def __getattr__(self, name: str) -> object:
        """Return an attribute of NengoDL's own loader, such as the path of the source."""
        return getattr(self._loader, name)


def _as_it_needs() -> AbstractContextManager[None]:
    from snnpipe.frameworks.compat import as_nengo_dl_needs_it

    return as_nengo_dl_needs_it()
