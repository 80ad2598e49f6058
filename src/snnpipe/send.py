"""``python -m snnpipe.send``: what a store did not take is sent again."""

from snnpipe.commands.send import main
from snnpipe.commands.shared import end_with

if __name__ == "__main__":
    end_with(main)
