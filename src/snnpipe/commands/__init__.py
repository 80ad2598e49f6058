"""The commands: ``python -m snnpipe``, and the small commands beside it."""
