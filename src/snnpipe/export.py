"""``python -m snnpipe.export``: a saved network as a file of NIR."""

from snnpipe.commands.export import main
from snnpipe.commands.shared import end_with

if __name__ == "__main__":
    end_with(main)
