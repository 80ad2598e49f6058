"""The choice of the earlier run that a command resumes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ConfigError, UserError
from snnpipe.config.build import build_sweep_store
from snnpipe.run.content import Content, read_content
from snnpipe.run.fingerprint import run_fingerprint
from snnpipe.run.folder import config_of, what_differs
from snnpipe.values.run import EarlierRun

if TYPE_CHECKING:
    from omegaconf import DictConfig


def earlier_run(composed: "DictConfig", config: Mapping[str, Any], parent: str | None = None) -> EarlierRun | None:
    """Return the run that a configuration asks to resume; None if it begins a new run.

    Parameters
    ----------
    composed, config
        The configuration before and after it was resolved.
    parent
        Id of a multi-run that is resumed. The run to resume is then its newest unfinished job of this configuration.

    Raises
    ------
    UserError
        If the earlier run had other settings, or its files are not on this machine.
    """
    run_id = config["run_id"]
    asked = config["training"].get("resume")
    if run_id is None and not asked and parent is None:
        return None
    fingerprint = run_fingerprint(config)
    store = build_sweep_store(composed)
    if store is not None:
        found = store.earlier_run(run_id, fingerprint, parent)
    elif run_id is not None:
        raise ConfigError(f"run_id: got {run_id!r}, but no logger knows runs by an id: take logger=mlflow")
    else:
        found = _in_folder(composed.paths.output_dir)
    if found is None:
        return None
    if run_id is not None and asked is False:
        raise ConfigError(
            f"training.resume: got false, but there is a run {run_id} already: leave training.resume out to go on with "
            "it, or take another run_id"
        )
    here = not found.output_dir or Path(found.output_dir).is_dir()
    if found.fingerprint != fingerprint:
        raise UserError(f"{_key(run_id)}: {_other_settings(Path(found.output_dir), config)}")
    if not found.finished and not here:
        if run_id is None:
            return None
        raise UserError(
            f"run_id: run {run_id} has its files in {found.output_dir}, which is not there: go on with it on the "
            "machine and in the folder where it was started"
        )
    return found


def _key(run_id: str | None) -> str:
    return "paths.output_dir" if run_id is None else "run_id"


def _in_folder(output_dir: str | None) -> EarlierRun | None:
    """Return the run whose files are in a folder, for loggers that do not store runs."""
    if output_dir is None:
        raise ConfigError(
            "training.resume: got true, but no logger knows earlier runs: take logger=mlflow, or set paths.output_dir "
            "to the folder of the run"
        )
    folder = Path(output_dir)
    if not (folder / "config.yaml").is_file():
        return None
    tags = _tags_of(folder)
    fingerprint = run_fingerprint(config_of(folder))
    return EarlierRun("", output_dir, fingerprint, tags.get("status") == "FINISHED", {}, read_content(folder))


def _tags_of(folder: Path) -> dict[str, Any]:
    try:
        tags = json.loads((folder / "tags.json").read_text())
    except (OSError, ValueError):  # a run writes this file at its end
        return {}
    return tags if isinstance(tags, dict) else {}


def _other_settings(folder: Path, config: Mapping[str, Any]) -> str:
    """Return how an earlier run's configuration differs, and the cure."""
    return (
        f"the run there has other settings{what_differs(config_of(folder), config)}. Go on with it with the settings "
        "that it had, or take another run_id or folder to begin a new one"
    )


def require_same_content(earlier: EarlierRun, config: Mapping[str, Any], content: Content) -> None:
    """Raise `UserError` if the content of a finished run differs, or may differ, from the present content."""
    if problem := content.difference(earlier.content):
        key, run_id = _key(config["run_id"]), config["run_id"] or earlier.run_id or earlier.output_dir
        raise UserError(
            f"{key}: run {run_id} is finished, and {problem}: take another {key} for a run with what is there now"
        )
