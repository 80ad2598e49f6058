"""The command line: compose the configuration, run, and say how it ended.

Exit codes: 0 the run finished; 1 a fault of the program or the machine; 2 a mistake in what was
asked for; 130 interrupted; 143 told to end.
"""

import contextlib
import io
import os
import re
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from snnpipe import __version__
from snnpipe.errors import UserError

CONFIG_PATH = "pkg://snnpipe.conf"
_FAULT, _MISTAKE, _INTERRUPTED, _TERMINATED = 1, 2, 130, 143


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"]:
        print(f"snnpipe {__version__}")
        return
    if sys.argv[1:] in (["--help"], ["-h"]):
        _print_help()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here, not to Hydra's own printer
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _compose_and_run()
    except (UserError, HydraException, OmegaConfBaseException, ValueError) as error:
        if isinstance(error, ValueError) and "Config group override" not in str(error):
            raise
        _report(error)
        sys.exit(_MISTAKE)
    except KeyboardInterrupt:
        print("snnpipe: interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _print_help() -> None:
    """Print Hydra's help without the files that are shared parts of a group and no options."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        _compose_and_run()
    print(re.sub(r"\b_base, ", "", text.getvalue()).rstrip())


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(_TERMINATED)


@hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="config")
def _compose_and_run(composed: DictConfig) -> None:
    from snnpipe.config import build, check, interpolated_keys, resolve
    from snnpipe.summary import closing_table
    from snnpipe.sweeps import keep_result

    job = HydraConfig.get()
    many = job.mode is RunMode.MULTIRUN
    try:
        config = resolve(composed)
        check(config, interpolated_keys(composed))
        result = build(config).run()
    except Exception as error:
        if many:  # Hydra goes on, and raises the first error at the end
            print(f"snnpipe: job {' '.join(job.overrides.task)} failed", file=sys.stderr)
            keep_result(Path(job.runtime.output_dir), job.overrides.task, None)
            _report(error)
            raise
        if not isinstance(error, UserError):
            traceback.print_exception(error)
            sys.exit(_FAULT)
        _report(error)
        sys.exit(_MISTAKE)
    print(closing_table(result), flush=True)
    if many:
        keep_result(Path(job.runtime.output_dir), job.overrides.task, result.metrics)


def _report(error: Exception) -> None:
    """Print what went wrong, a line a mistake, once."""
    from snnpipe.hydra_errors import explain

    if getattr(error, "_reported_by_snnpipe", False):
        return
    error._reported_by_snnpipe = True  # type: ignore[attr-defined]  # carried by the exception through Hydra
    for problem in getattr(error, "problems", None) or [explain(error, sys.argv[1:])]:
        print(f"snnpipe: error: {' '.join(str(problem).split())}", file=sys.stderr)
