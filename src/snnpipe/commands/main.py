"""``python -m snnpipe``: composes the configuration, runs, and reports the result.

Exit codes: 0 the run finished; 1 a fault of the program or the machine; 2 a mistake in the settings; 130 interrupted by
Ctrl-C; 143 ended by SIGTERM.
"""

import contextlib
import io
import os
import re
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.snnpipe import register as register_plugins
from snnpipe import __version__
from snnpipe.base import signals
from snnpipe.base.errors import UserError
from snnpipe.base.exits import FAULT, INTERRUPTED, MISTAKE
from snnpipe.base.garbage import importing, search_seldom
from snnpipe.base.masking import mask, masked_traceback, to_environment
from snnpipe.config.override_text import typed
from snnpipe.sweeps import current

if TYPE_CHECKING:
    from snnpipe.values.run import RunState

CONFIG_PATH = "pkg://snnpipe.conf"
_COMPLETIONS = ("install", "uninstall", "query")


def main() -> None:
    """Run the command line and exit with its code."""
    search_seldom()
    _forget_earlier()
    register_plugins()
    if "--version" in sys.argv[1:]:
        print(f"snnpipe {__version__}")
        return
    if sys.argv[1:] in (["--help"], ["-h"]):
        _print_help()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here, not to Hydra's own printer
    warnings.showwarning = _show_warning
    sys.argv[1:] = [word if word.startswith("-") else to_environment(word) for word in sys.argv[1:]]
    try:
        _check_options(sys.argv[1:])
        with signals.handled(), _ending_the_sweep():
            _compose_and_run()
    except Exception as error:
        if _began() and not isinstance(error, (UserError, HydraException, OmegaConfBaseException)):
            sys.stderr.write(masked_traceback(error))
            sys.exit(FAULT)
        _report(error)  # any error while the configuration is composed is a mistake in it
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        print("snnpipe: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


class _Parser(ArgumentParser):
    """A parser of Hydra's options that raises `UserError` instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: --hydra-help lists Hydra's options, --help the settings, which have no dashes")


def _check_options(words: Sequence[str]) -> None:
    """Raise `UserError` if a word is no option of Hydra, or an option that snnpipe does not accept."""
    known = get_args_parser()
    flags = {flag for action in known._actions for flag in action.option_strings}
    for word in words:
        option, equals, _ = word.partition("=")
        if (word.startswith("--") or (word.startswith("-") and equals)) and option not in flags:
            setting = word.lstrip("-") if equals else "training.epochs=3"
            raise UserError(f"{word}: no such option; a setting is written key=value without dashes: {setting}")
    given = _Parser(parents=[known], add_help=False, prog="snnpipe").parse_args(words)
    refused = {
        "--experimental-rerun": (given.experimental_rerun, "it reads a pickle, which can run anything"),
        "--config-path": (
            given.config_path,
            "snnpipe's own configuration is the base: --config-dir adds configs of yours",
        ),
    }
    if given.config_name not in (None, "config"):
        mine = Path(given.config_name).stem
        cure = f"put the file in DIR/experiment and write --config-dir DIR {typed(f'experiment={mine}')}"
        refused["--config-name"] = given.config_name, f"snnpipe's own configuration is the base: {cure}"
    for option, (value, why) in refused.items():
        if value is not None:
            raise UserError(f"{option}: got {value!r}: {why}")
    _require_names_of_their_own(Path(given.config_dir or ""))
    if given.resolve and given.cfg is None and not given.help:
        raise UserError("--resolve: it goes with --cfg job")
    if given.shell_completion and not any(word.split("=")[0] in _COMPLETIONS for word in words):
        raise UserError(
            f"--shell-completion: takes one of {', '.join(_COMPLETIONS)}, as in --shell-completion install=bash"
        )


def _require_names_of_their_own(folder: Path) -> None:
    """Raise `UserError` if a config in an added folder has the name of one of snnpipe's, which would be taken."""
    for path in sorted(folder.glob("*/**/*.yaml")) if folder.parts else ():
        name = path.relative_to(folder)
        built_in = resources.files("snnpipe.conf").joinpath(name.as_posix())
        if built_in.is_file() and built_in.read_bytes() != path.read_bytes():
            raise UserError(
                f"--config-dir: {path} has the name of a config of snnpipe's, which would be taken: give yours another "
                f"name, and choose it with {name.parent.as_posix()}=NAME"
            )


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Print a warning of snnpipe as one line, and other warnings as Python does."""
    text = str(message)
    if category is not UserWarning or "snnpipe" not in Path(filename).parts:
        text = warnings.formatwarning(message, category, filename, lineno, line).rstrip()
    else:
        text = f"snnpipe: warning: {' '.join(text.split())}"
    print(mask(text), file=file or sys.stderr)


@contextlib.contextmanager
def _ending_the_sweep() -> Iterator[None]:
    """Print a multi-run's table when the block ends, even if it was interrupted, and exit with the jobs' code."""
    try:
        yield
    except BaseException as error:
        current.end("KILLED" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "FAILED")
        raise
    if code := current.end("FINISHED"):
        sys.exit(code)


_running = False


def _began() -> bool:
    """Whether the configuration was composed, and the run or multi-run has begun."""
    return _running or current.has_begun()


def _forget_earlier() -> None:
    """Forget that an earlier call in this process had begun a run."""
    global _running  # noqa: PLW0603
    _running = False
    current.forget()


def _print_help() -> None:
    """Print Hydra's help without the files ``_base``, which are shared parts of a group and no options."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        _compose_and_run()
    print(re.sub(r"\b_base, ", "", text.getvalue()).rstrip())


@hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="config")
def _compose_and_run(composed: DictConfig) -> Any:
    global _running  # noqa: PLW0603  the state of this process
    _running = True
    from snnpipe.config.build import build
    from snnpipe.config.check import check
    from snnpipe.config.compose import chosen_experiment, interpolated_keys, resolve
    from snnpipe.config.resume import earlier_run, require_same_content
    from snnpipe.run.fingerprint import run_fingerprint
    from snnpipe.run.summary import closing_table
    from snnpipe.settings.command_line import command_line
    from snnpipe.sweeps.jobs import run_job

    if HydraConfig.get().mode is RunMode.MULTIRUN:
        return run_job(composed)
    trainer = None
    try:
        config = resolve(composed)
        with importing():
            check(config, interpolated_keys(composed), trusted=None)
        earlier = earlier_run(composed, config)
        if earlier is not None and earlier.finished:
            name = config["run_id"] or earlier.run_id
            trainer = build(config, trusted=None)
            require_same_content(earlier, config, trainer.content)
            print(f"snnpipe: run {name} is finished already: nothing is left to do")
            return earlier.metrics
        if earlier is not None:
            config = resolve(composed, earlier.output_dir)
        tags = chosen_experiment() | {"run.fingerprint": run_fingerprint(config)}
        tags |= {"run.id": config["run_id"]} if config["run_id"] else {}
        resumed = None if earlier is None else earlier.run_id
        repeating = [word for word in sys.argv[1:] if not word.startswith(("run_id=", "training.resume="))]
        trainer = build(config, tags=tags, command=command_line(repeating), resumed=resumed, trusted=None)
        result = trainer.run()
    except (KeyboardInterrupt, SystemExit):
        if trainer is not None and trainer.log.was_started:
            print(f"snnpipe: to go on: {command_line([*sys.argv[1:], *_go_on_with(trainer.state)])}", file=sys.stderr)
        raise
    except Exception as error:
        signals.check()
        if not isinstance(error, UserError):
            sys.stderr.write(masked_traceback(error))
            sys.exit(FAULT)
        if (unsaved := getattr(error, "result", None)) is not None:
            print(closing_table(unsaved), flush=True)
        _report(error)
        sys.exit(MISTAKE)
    print(closing_table(result), flush=True)
    return result.metrics


def _go_on_with(state: "RunState") -> Sequence[str]:
    """Return the words to add to the command that began a run, so that it goes on."""
    if state.run_id:
        return () if state.config.get("run_id") else (f"run_id={state.run_id}",)
    return "training.resume=true", f"paths.output_dir={state.output_dir}"


def _report(error: Exception) -> None:
    from snnpipe.config.messages import report

    report(error, sys.argv[1:])
