"""The one hierarchy of errors.

A `UserError` is a mistake that its reader can mend: it ends in one line and exit code 2. Any other
exception is a fault of the program or the machine: exit code 1, its traceback kept with the run.
"""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from snnpipe.base.masking import mask

_LINE = 2000
_OTHERS_WORDS = {"lr": "learning_rate", "timesteps": "n_steps", "dataset": "data"}
"""What other programs call what is called otherwise here."""


class SnnPipeError(Exception):
    """Base of every error that snnpipe raises on purpose; passwords in what it says are masked."""

    def __init__(self, *says: object):
        super().__init__(*(mask(text) if isinstance(text, str) else text for text in says))


class UserError(SnnPipeError):
    """What was asked for cannot be done; the message says what, where, what it takes and the cure."""


class SeveralProblems(UserError):  # noqa: N818  # what it is, and not an error of its own
    """A mistake, or several at once.

    Parameters
    ----------
    problems
        A line each.
    """

    def __init__(self, *problems: str):
        self.problems = tuple(map(mask, problems))
        super().__init__("; ".join(problems))


class ConfigError(SeveralProblems):
    """One or more keys of the configuration have a value outside their domain; each line begins with its key."""


class DataError(UserError):
    """A dataset is unknown, not prepared, or does not fit what was asked of it."""


class ModelError(UserError):
    """An architecture does not fit the data it is to be built for."""


class TrainingError(UserError):
    """A training path cannot train this model, or training diverged."""


class ConversionError(SeveralProblems):
    """A model has layers that cannot become spiking as configured: a line each, then what cures all of them."""


class SimulationError(UserError):
    """A simulator cannot run this network as configured."""


class ArtifactError(UserError):
    """A file of an earlier run is missing, damaged, of another format, or of another network."""


class CheckpointError(ArtifactError):
    """A checkpoint is missing, damaged, or of another architecture."""


class StorageError(UserError):
    """A file cannot be written where it was to be written."""


class LoggingError(UserError):
    """A run cannot be logged where it was to be logged."""


class VerificationError(SnnPipeError):
    """A simulator does not give what its reference gives."""


def one_line(error: BaseException) -> str:
    """Return what an exception says, on one line and without passwords."""
    text = mask(" ".join(str(error).split()))
    return text or type(error).__name__


def root_cause(error: BaseException) -> str:
    """Return what the first of a chain of exceptions says, on one line."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return one_line(error)


def place_of(error: Exception) -> str:
    """Return where in a user's own file an error came up, if it did."""
    ours = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and not frame.filename.startswith(ours)
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def as_line(text: object) -> str:
    """Return a text as it is printed: one line, no passwords, what a terminal obeys written out, not too long."""
    line = mask(" ".join(str(text).split()))
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= _LINE else f"{line[:_LINE]}..."


def reason(error: BaseException) -> str:
    """Return an exception's kind and what it says, on one line, as a run records it."""
    return f"{type(error).__name__}: {one_line(error)}"[:5000]


def closest(wrong: str, known: Iterable[str]) -> str:
    """Return the name that was meant by ``wrong``: the one that begins so, or the most alike; empty for none."""
    by_lower = {name.lower(): name for name in known}
    meant = _OTHERS_WORDS.get(wrong.lower(), wrong.lower())
    longer = [name for name in by_lower if name.startswith(meant)] if meant else []
    found = longer if len(longer) == 1 else get_close_matches(meant, by_lower, n=1)
    return by_lower[found[0]] if found else ""


def did_you_mean(wrong: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """Return ``known`` as a sentence, the name closest to ``wrong`` first if there is one.

    Where a key of ``elsewhere`` is closer by the last of its names (``training.epochs`` to ``epoch``), it is all that
    is told.
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
