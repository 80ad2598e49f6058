"""The multi-run of this process: Hydra begins it through `SweepRecorder`, and the command line ends it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from snnpipe.base.exits import FAULT, MISTAKE

if TYPE_CHECKING:
    from snnpipe.protocols import Status
    from snnpipe.values.run import SweepJob


class MultiRun(Protocol):
    """A multi-run that has begun."""

    def end(self, status: "Status") -> "Sequence[SweepJob]":
        """Print the table, end the parent run, and return the jobs that did not finish."""


_multiruns: list[MultiRun] = []
_ended: list[MultiRun] = []


def begin(multirun: MultiRun) -> None:
    """Remember the multi-run that this process begins."""
    _multiruns.append(multirun)


def has_begun() -> bool:
    """Whether this process has begun a multi-run, even if it has ended since."""
    return bool(_multiruns or _ended)


def forget() -> None:
    """Forget a multi-run that an earlier call in this process has begun."""
    _multiruns.clear()
    _ended.clear()


def end(status: "Status") -> int:
    """End this process's multi-run, if there is one, and return the exit code.

    It is 0 if every job finished, 2 if all failures were mistakes in the settings, otherwise 1.
    """
    if not _multiruns:
        return 0
    _ended.append(_multiruns.pop())
    failed = _ended[-1].end(status)
    return (MISTAKE if all(job.mistake for job in failed) else FAULT) if failed else 0
