"""Draws the pictures of a run: at once, or in a process of its own while the run goes on.

A picture takes a quarter of a second, and importing Matplotlib half a second.
"""

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from snnpipe.base.errors import StorageError, UserError

_FOLDER = "plots"


def drawn(plot: str, path: Path, data: Mapping[str, Any]) -> None:
    """Draw a picture.

    Parameters
    ----------
    plot
        The function that draws it, with its module in this room: ``plots.class_scores``.
    path
        Path of the PNG file.
    data
        The function's other arguments.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    module, name = plot.split(".")
    getattr(import_module(f"snnpipe.artifacts.{module}"), name)(path, **data)


class Pictures:
    """Draws each picture at once, where there is no run that goes on."""

    def draw(self, plot: str, path: Path, **data: Any) -> None:
        """Draw a picture (`drawn`)."""
        drawn(plot, path, data)

    def finish(self) -> None:
        """Do nothing: all pictures are there."""


class PicturesAside:
    """Draws pictures in a process of its own, one after the other, while this process goes on.

    If there can be no such process, or if it ends early, this process draws the picture itself.

    Parameters
    ----------
    log_artifact
        Takes each picture, and its folder among the run's artifacts, in `finish`.
    """

    def __init__(self, log_artifact: Callable[[Path, str], None]):
        self._log_artifact = log_artifact
        self._asked: list[tuple[Path, Future[None]]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def draw(self, plot: str, path: Path, **data: Any) -> None:
        """Ask for a picture (`drawn`), which is there after `finish`."""
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="snnpipe-pictures")
        self._asked.append((path, self._thread.submit(self._drawn, plot, path, data)))

    def finish(self) -> None:
        """Wait for all pictures, log them, and end the process.

        Raises
        ------
        StorageError
            If some cannot be written: the first problem. The others are logged.
        """
        asked, self._asked = self._asked, []
        problems = []
        try:
            for path, picture in asked:
                try:
                    picture.result()
                    self._log_artifact(path, _FOLDER)
                except StorageError as problem:
                    problems.append(problem)
        finally:
            self._end()
        if problems:
            raise problems[0]

    def _drawn(self, plot: str, path: Path, data: Mapping[str, Any]) -> None:
        try:
            self._process = self._process or _started()
            jobs, answers = self._process.stdin, self._process.stdout
            assert jobs is not None and answers is not None
            pickle.dump((plot, path, data), jobs)
            jobs.flush()
            problem = pickle.load(answers)
        except (OSError, EOFError, pickle.UnpicklingError):
            drawn(plot, path, data)
            return
        if problem is not None:
            raise problem

    def _end(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        if self._process is not None:
            self._process.communicate()
        self._thread = self._process = None


def _started() -> "subprocess.Popen[bytes]":
    if not sys.executable:
        raise OSError("this Python has no executable")
    found = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": found},
    )


def _serve(jobs: IO[bytes], answers: IO[bytes]) -> None:
    """Draw each picture that is asked for, and answer with None, or with what was raised."""
    while True:
        try:
            plot, path, data = pickle.load(jobs)
        except EOFError:
            return
        problem: Exception | None = None
        try:
            drawn(plot, path, data)
        except Exception as error:
            problem = error
            if not isinstance(error, UserError):
                error.add_note(traceback.format_exc())
        try:
            answer = pickle.dumps(problem)
        except Exception:
            answer = pickle.dumps(RuntimeError(f"{plot}: {problem!r}"))
        answers.write(answer)
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends this process
    to_run = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    _serve(sys.stdin.buffer, to_run)
