"""``python -m snnpipe.export``: a saved network as a file of NIR, which other frameworks read."""

import sys
import warnings
from pathlib import Path

from snnpipe.base.errors import UserError
from snnpipe.commands.shared import Parser


def main() -> int:
    """Write the file, print its name, and return the exit code."""
    parser = Parser("snnpipe.export", "Write a saved spiking network to a file of NIR, which other frameworks read.")
    parser.add_argument("network", type=Path, help="a file that SpikingModel.save or a run has written (*.snn)")
    parser.add_argument("file", type=Path, help="the file to write (*.nir)")
    parser.add_argument("--dt", type=float, default=1.0, help="length of a step in the file's unit of time; default: 1")
    parser.add_argument(
        "--portable", action="store_true", help="write pooling and factors as convolutions, which all readers take"
    )
    asked = parser.parse_args()
    if asked.file.suffix != ".nir":
        raise UserError(f"{asked.file}: give a file that ends in .nir")
    from snnpipe.spiking.model import load

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = load(asked.network, replay=False)
        path = model.to_nir(asked.file, dt=asked.dt, portable=asked.portable)
    for warning in caught:
        if str(asked.file) in str(warning.message):
            print(warning.message, file=sys.stderr)
    print(path)
    return 0
