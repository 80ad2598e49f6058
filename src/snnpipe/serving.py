"""What MLflow loads a logged network with: the `loader_module` of its model."""

from snnpipe.commands.served import load as _load_pyfunc

__all__ = ["_load_pyfunc"]
