"""``python -m snnpipe.review``: the MLflow UI on the store that runs are logged to."""

from snnpipe.commands.review import main
from snnpipe.commands.shared import end_with

if __name__ == "__main__":
    end_with(main)
