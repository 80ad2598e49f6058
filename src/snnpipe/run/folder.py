"""The folder of a run's files. It must be free or the run's own, and only one process may use it at a time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from snnpipe.base.errors import UserError
from snnpipe.base.files import leftovers, locked, make_folder
from snnpipe.run.content import Content, read_content
from snnpipe.run.fingerprint import of_the_result, run_fingerprint
from snnpipe.settings.describe import flatten
from snnpipe.values.training_state import TrainingStates

_RESULTS = ("tables", "checkpoint", "training")
"""Files of a run that cannot be restored quickly."""
_MOST_NAMED = 3


@contextmanager
def held(folder: Path, config: Mapping[str, Any], content: Content, resumed: str | None) -> Iterator[None]:
    """Hold a folder for a run's files: create it if it is missing, lock it, and remove files of an earlier process.

    Parameters
    ----------
    folder, config, content, resumed
        As for `require_own_folder`.

    Raises
    ------
    UserError
        If the folder belongs to another run, or another process writes to it.
    """
    make_folder(folder, "paths.output_dir")
    with locked(folder):
        require_own_folder(folder, config, content, resumed)
        if resumed is None:
            TrainingStates(folder).clear()
            content.write(folder)
        for path in [*(folder / "plots").glob("*.png"), *leftovers(folder)]:
            path.unlink()
        yield


def require_own_folder(folder: Path, config: Mapping[str, Any], content: Content, resumed: str | None) -> None:
    """Raise `UserError` if a folder holds another run's results, or if a resumed run began with other content.

    Parameters
    ----------
    folder, config, content
        Folder, configuration and content of the run.
    resumed
        Id of the run that is resumed in its folder; None if the run is new.
    """
    if resumed is not None:
        if problem := content.difference(read_content(folder)):
            raise UserError(
                f"run_id: the run in {folder} cannot go on: {problem}; to begin a new run, take another run_id, or "
                "leave out training.resume and paths.output_dir"
            )
        return
    if not any((folder / name).is_dir() for name in _RESULTS):
        return
    cure = "leave paths.output_dir out for a new folder, or take another"
    then = config_of(folder)
    if then and run_fingerprint(then) != run_fingerprint(config):
        other = what_differs(then, config)
        raise UserError(f"paths.output_dir: {folder} holds the results of a run with other settings{other}: {cure}")
    if then and (problem := content.difference(read_content(folder))):
        raise UserError(f"paths.output_dir: {folder} holds the results of another run, and {problem}: {cure}")


def config_of(folder: Path) -> dict[str, Any]:
    """Return the configuration of the run whose files are in a folder; empty if it cannot be read."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def what_differs(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return a text on some of the settings that an earlier configuration had; empty if they are not known."""
    before, here = (flatten(of_the_result(each)) for each in (then, now))
    absent = object()
    differing = (
        [key for key in {**before, **here} if before.get(key, absent) != here.get(key, absent)] if before else []
    )
    told = [f"{key}={before.get(key)}, here {here.get(key)}" for key in differing[:_MOST_NAMED]]
    more = f" and {len(differing) - _MOST_NAMED} more" if len(differing) > _MOST_NAMED else ""
    return ": it had " + "; ".join(told) + more if told else ""
