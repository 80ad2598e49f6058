"""The hierarchy of all errors of snnpipe.

A `UserError` is a mistake that the user can correct: the program prints one line and exits with code 2. Any other
exception is a fault of the program or the machine: the exit code is 1, and the traceback is kept with the run.
"""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from snnpipe.base.masking import mask

_LINE = 2000
_OTHERS_WORDS = {"lr": "learning_rate", "timesteps": "n_steps", "dataset": "data"}
"""Names that other programs use, and the name of the same thing here."""


class SnnPipeError(Exception):
    """Base of every error that snnpipe raises on purpose. Passwords in its message are masked."""

    def __init__(self, *messages: object):
        super().__init__(*(mask(text) if isinstance(text, str) else text for text in messages))


class UserError(SnnPipeError):
    """The user asked for something impossible. The message says what, where, which values are possible, and a cure."""


class SeveralProblems(UserError):  # noqa: N818  # a base of errors, never raised itself
    """One mistake, or several at once.

    Parameters
    ----------
    problems
        One line for each mistake.
    """

    def __init__(self, *problems: str):
        self.problems = tuple(map(mask, problems))
        super().__init__("; ".join(problems))


class ConfigError(SeveralProblems):
    """One or more keys of the configuration have a value outside their domain. Each line begins with its key."""


class DataError(UserError):
    """A dataset is unknown, not prepared, or does not fit the settings."""


class ModelError(UserError):
    """An architecture does not fit its data."""


class TrainingError(UserError):
    """A training path cannot train this model, or training diverged."""


class ConversionError(SeveralProblems):
    """Some layers cannot become spiking with these settings: one line for each, then a cure for all of them."""


class SimulationError(UserError):
    """A simulator cannot run this network with these settings."""


class ArtifactError(UserError):
    """A file of an earlier run is missing, damaged, of another format, or of another network."""


class BundleError(ArtifactError):
    """A stored network is damaged, of another format, unsafe, or computes something else; or one cannot be stored."""


class CheckpointError(ArtifactError):
    """A checkpoint is missing, damaged, or of another architecture."""


class StorageError(UserError):
    """A file cannot be written to its place."""


class LoggingError(UserError):
    """A run cannot be logged to the chosen store."""


class VerificationError(SnnPipeError):
    """A simulator and its reference give different results."""


def one_line(error: BaseException) -> str:
    """Return an exception's message, on one line and without passwords."""
    text = mask(" ".join(str(error).split()))
    return text or type(error).__name__


def root_cause(error: BaseException) -> str:
    """Return the message of the first exception in a chain, on one line."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return one_line(error)


def place_of(error: Exception) -> str:
    """Return the user's own file and line that an error came from, in brackets; empty if it came from no such file."""
    ours = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and not frame.filename.startswith(ours)
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def as_line(text: object) -> str:
    """Return a text for printing: one line of limited length, without passwords, control characters escaped."""
    line = mask(" ".join(str(text).split()))
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= _LINE else f"{line[:_LINE]}..."


def reason(error: BaseException) -> str:
    """Return an exception's class and message on one line, as a run records it."""
    return f"{type(error).__name__}: {one_line(error)}"[:5000]


def closest(wrong: str, known: Iterable[str]) -> str:
    """Return the known name that ``wrong`` probably stands for; empty if there is none.

    It is the only name that begins with ``wrong``, or else the most similar name.
    """
    by_lower = {name.lower(): name for name in known}
    meant = _OTHERS_WORDS.get(wrong.lower(), wrong.lower())
    longer = [name for name in by_lower if name.startswith(meant)] if meant else []
    matches = longer if len(longer) == 1 else get_close_matches(meant, by_lower, n=1)
    return by_lower[matches[0]] if matches else ""


def did_you_mean(wrong: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """Return a hint for a message: the name closest to ``wrong`` if there is one, then all names of ``known``.

    ``elsewhere`` holds dotted keys of other groups. If the last part of one is closest (``training.epochs`` to
    ``epoch``), the hint names only that key.
    """
    known = sorted(map(str, known))
    by_name: dict[str, list[str]] = {}
    for key in elsewhere:
        if not (name := key.rpartition(".")[2]).startswith("_"):
            by_name.setdefault(name, []).append(key)
    close = closest(wrong, [*by_name, *known])
    if close in by_name and close not in known:
        return f"did you mean {' or '.join(by_name[close])}?"
    hint = f"did you mean {close!r}? " if close else ""
    return f"{hint}known: {', '.join(known) or 'none'}"
