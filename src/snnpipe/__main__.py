"""``python -m snnpipe``."""

from snnpipe.cli import main

main()
