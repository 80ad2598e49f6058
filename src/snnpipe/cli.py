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
from collections.abc import Iterator
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
        with _ending_the_sweep():
            _compose_and_run()
    except (UserError, HydraException, OmegaConfBaseException, ValueError) as error:
        if isinstance(error, ValueError) and "Config group override" not in str(error):
            raise
        _report(error)
        sys.exit(_MISTAKE)
    except KeyboardInterrupt:
        print("snnpipe: interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)


@contextlib.contextmanager
def _ending_the_sweep() -> Iterator[None]:
    """End a multi-run that is broken off, and exit as its jobs did where it is not."""
    try:
        yield
    except BaseException as error:
        if sweeps := sys.modules.get("snnpipe.sweeps"):
            sweeps.end_sweep("KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED")
        raise
    if (sweeps := sys.modules.get("snnpipe.sweeps")) and (code := sweeps.sweep_exit_code()):
        sys.exit(code)


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
    from snnpipe.sweeps import run_job

    if HydraConfig.get().mode is RunMode.MULTIRUN:
        run_job(composed)
        return
    try:
        config = resolve(composed)
        check(config, interpolated_keys(composed))
        result = build(config).run()
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exception(error)
            sys.exit(_FAULT)
        _report(error)
        sys.exit(_MISTAKE)
    print(closing_table(result), flush=True)


def _report(error: Exception) -> None:
    from snnpipe.hydra_errors import report

    report(error, sys.argv[1:])
