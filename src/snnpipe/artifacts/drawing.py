"""Draws the pictures of a run: at once, or in processes of their own while the run goes on.

A picture takes a quarter of a second, and importing Matplotlib half a second.
"""

import os
import pickle
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import IO, Any

from snnpipe.base.cores import cores
from snnpipe.base.errors import UserError
from snnpipe.values.run import Pictures, RunState

_FOLDER = "plots"

_PROCESSES = 2
"""Most processes of a run that draw: one for each of its cores up to so many."""

_PATIENCE_S = 10.0
"""Seconds that a process has to end when nothing is left to draw."""


def pictures_of(state: RunState) -> Pictures:
    """Return what draws a run's pictures: at once, unless the state has something else."""
    return state.pictures or DrawnAtOnce(state.log_artifact)


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
    getattr(_modules()[module], name)(path, **data)


def _modules() -> dict[str, ModuleType]:
    from snnpipe.artifacts import plots, review_plots

    return {"plots": plots, "review_plots": review_plots}


class DrawnAtOnce:
    """Draws each picture when it is asked for.

    Parameters
    ----------
    log_artifact
        Takes each picture, and its folder among the run's artifacts.
    """

    def __init__(self, log_artifact: Callable[[Path, str], None]):
        self._log_artifact = log_artifact

    def draw(self, plot: str, path: Path, **data: Any) -> None:
        """Draw a picture (`drawn`) and log it."""
        drawn(plot, path, data)
        self._log_artifact(path, _FOLDER)

    def wait(self) -> None:
        """Do nothing: all pictures are there."""


class DrawnAside:
    """Draws pictures in processes of their own while this process goes on.

    If there can be no such process, or if one fails, this process draws the pictures itself.

    Parameters
    ----------
    log_artifact
        Takes each picture, and its folder among the run's artifacts, in `finish`.
    """

    def __init__(self, log_artifact: Callable[[Path, str], None]):
        self._log_artifact = log_artifact
        self._asked: deque[tuple[Path, Future[None]]] = deque()
        self._threads: ThreadPoolExecutor | None = None
        self._processes: list[_Process] = []
        self._idle: SimpleQueue[_Process] = SimpleQueue()

    def begin(self) -> None:
        """Start the processes, which import Matplotlib then, if they are not there."""
        if self._threads is None:
            self._processes = [_Process() for _ in range(min(_PROCESSES, cores()))]
            self._threads = ThreadPoolExecutor(len(self._processes), thread_name_prefix="snnpipe-pictures")
            for process in self._processes:
                self._idle.put(process)

    def draw(self, plot: str, path: Path, **data: Any) -> None:
        """Ask for a picture (`drawn`), which is there after `wait`."""
        self.begin()
        assert self._threads is not None
        path = path.absolute()
        self._asked.append((path, self._threads.submit(self._draw, plot, path, data)))

    def _draw(self, plot: str, path: Path, data: Mapping[str, Any]) -> None:
        process = self._idle.get()
        try:
            process.draw(plot, path, data)
        finally:
            self._idle.put(process)

    def wait(self) -> None:
        """Wait for all pictures."""
        wait([picture for _, picture in self._asked])

    def finish(self) -> list[Exception]:
        """Wait for all pictures, log them, end the processes, and return what went wrong with some of them."""
        problems = []
        while self._asked:
            path, picture = self._asked[0]
            try:
                picture.result()
                self._log_artifact(path, _FOLDER)
            except Exception as problem:
                problems.append(problem)
            self._asked.popleft()
        if self._threads is not None:
            self._threads.shutdown()
            for process in self._processes:
                process.end()
            self._threads, self._processes, self._idle = None, [], SimpleQueue()
        return problems


class _Process:
    """A process that draws what it is asked for."""

    def __init__(self) -> None:
        self.running: subprocess.Popen[bytes] | None = None
        self._has_drawn = False
        with suppress(OSError):  # there is none then
            self._start()

    def draw(self, plot: str, path: Path, data: Mapping[str, Any]) -> None:
        """Let the process draw a picture, and wait for it. If the process fails, draw it here."""
        try:
            problem = self._ask(pickle.dumps((plot, path, data)))
        except Exception:  # whatever it is, the picture can be drawn here
            self._kill()
            drawn(plot, path, data)
            return
        if problem is not None:
            raise problem

    def end(self) -> None:
        """Ask the process to end. It is killed if it does not, or if it may still be importing Matplotlib."""
        if not self._has_drawn:
            self._kill()
        if self.running is None:
            return
        try:
            self._ask(pickle.dumps(None))
            self.running.wait(_PATIENCE_S)
        except Exception:  # it does not answer, or not in time
            self._kill()

    def _ask(self, job: bytes) -> Exception | None:
        """Return what went wrong with a job; None if nothing did."""
        if self.running is None or self.running.stdin is None:
            raise OSError("there is no such process")
        self.running.stdin.write(job)
        self.running.stdin.flush()
        problem: Exception | None = pickle.load(self._answers)
        self._has_drawn = True
        return problem

    def _start(self) -> None:
        if not sys.executable or getattr(sys, "frozen", False):
            return
        answers, theirs = os.pipe()
        self._answers = os.fdopen(answers, "rb")
        try:
            self.running = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs],
                start_new_session=True,  # Ctrl-C is for the run, which ends this process
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        finally:
            os.close(theirs)

    def _kill(self) -> None:
        if self.running is not None:
            self.running.kill()
            with suppress(OSError):  # what it did not read
                self.running.communicate()
            self.running = None


def _serve(jobs: IO[bytes], answers: IO[bytes]) -> None:
    """Draw each picture that is asked for, and answer with None, or with what was raised. The job None is the last.

    It is over when the run is gone, too.
    """
    while True:
        try:
            job = pickle.load(jobs)
        except (EOFError, pickle.UnpicklingError):
            return
        problem: Exception | None = None
        try:
            if job is not None:
                drawn(*job)
        except Exception as error:
            problem = error
            if not isinstance(error, UserError):
                error.add_note(traceback.format_exc())
        try:
            answer = pickle.dumps(problem)
        except Exception:  # what was raised cannot be sent, but its text can
            answer = pickle.dumps(RuntimeError(repr(problem)))
        try:
            answers.write(answer)
            answers.flush()
        except BrokenPipeError:
            return
        if job is None:
            return


if __name__ == "__main__":
    _modules()  # imports Matplotlib before there is something to draw
    _serve(sys.stdin.buffer, os.fdopen(int(sys.argv[1]), "wb"))
    os._exit(0)  # Python would take a third of a second to end
