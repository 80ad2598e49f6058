"""The command line: compose the configuration, run, and say how it ended.

Exit codes: 0 the run finished; 1 a fault of the program or the machine; 2 a mistake in what was
asked for; 130 interrupted; 143 told to end.
"""

import os
import signal
import sys
from types import FrameType
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from snnpipe import __version__
from snnpipe.errors import UserError, one_line

CONFIG_PATH = "pkg://snnpipe.conf"
_FAULT, _MISTAKE, _INTERRUPTED, _TERMINATED = 1, 2, 130, 143


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        print(f"snnpipe {__version__}")
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here, not to Hydra's own printer
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _compose_and_run()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        sys.exit(_report(error))
    except KeyboardInterrupt:
        print("snnpipe: interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(_TERMINATED)


@hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="config")
def _compose_and_run(composed: DictConfig) -> None:
    from snnpipe.config import build, check, resolve
    from snnpipe.summary import closing_table

    config = resolve(composed)
    check(config)
    result = build(config).run()
    print(closing_table(result))


def _report(error: Exception) -> int:
    """Print what went wrong, a line a mistake."""
    from snnpipe.hydra_errors import explain

    problems = getattr(error, "problems", None) or [explain(error)]
    for problem in problems:
        print(f"snnpipe: error: {one_line(Exception(problem))}", file=sys.stderr)
    return _MISTAKE


__all__: list[Any] = ["main"]
