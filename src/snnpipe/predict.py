"""``python -m snnpipe.predict``: the classes that a saved network gives for pictures and arrays."""

from snnpipe.commands.predict import main
from snnpipe.commands.shared import end_with

if __name__ == "__main__":
    end_with(main)
