"""TensorFlow and NengoDL as snnpipe needs them, whoever imports them.

NengoDL 3.6 does not import by itself on today's TensorFlow, and TensorFlow chooses a Keras when it is imported. A
finder at the head of ``sys.meta_path`` is asked for each module that is not imported yet; it knows these two only, and
finds them where they are found without it.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


def install() -> None:
    """Let the finder be asked, once."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds TensorFlow, for which it chooses Keras 2, and NengoDL, whose import it prepares."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a module is loaded; None for all but NengoDL, which other finders know."""
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
    """Runs NengoDL's own loader with all that it needs."""

    def __init__(self, loader: Loader):
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what its own loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run NengoDL's code."""
        with _as_it_needs():
            self._loader.exec_module(module)

    def __getattr__(self, name: str) -> object:
        """Return what its own loader has: where its source is, for example."""
        return getattr(self._loader, name)


def _as_it_needs() -> AbstractContextManager[None]:
    from snnpipe.frameworks.compat import as_nengo_dl_needs_it

    return as_nengo_dl_needs_it()
