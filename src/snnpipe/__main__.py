"""``python -m snnpipe``."""

from snnpipe.commands.main import main

main()
