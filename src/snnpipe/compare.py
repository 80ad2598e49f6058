"""``python -m snnpipe.compare``: what differs between runs."""

from snnpipe.commands.compare import main
from snnpipe.commands.shared import end_with

if __name__ == "__main__":
    end_with(main)
