"""``override /group: option`` in a configuration file, wherever the group stands in the list of defaults.

Hydra reads the list from its end, and heeds what a file overrides only of the groups that stand before the file. An
experiment stands before ``sweep``, ``debug`` and ``local``, which count for more than it; so the list is read again
where a file overrides a group that had been read, with what the first reading has found.
"""

from typing import Any

from hydra._internal import defaults_list
from hydra.errors import ConfigCompositionException

_read_once = defaults_list._create_defaults_list


def heed_every_override() -> None:
    """Let Hydra heed what files override of any group."""
    defaults_list._create_defaults_list = _read


def _read(
    repo: Any, config_name: str | None, overrides: Any, prepend_hydra: bool, skip_missing: bool
) -> tuple[list[Any], Any]:
    found: tuple[list[Any], Any] = _read_once(repo, config_name, overrides, prepend_hydra, skip_missing)
    late = [not known.used and not known.external_override for known in overrides.override_metadata.values()]
    if any(late):
        overrides.known_choices.clear()
        overrides.known_choices_per_group.clear()
        found = _read_once(repo, config_name, overrides, prepend_hydra, skip_missing)
    for default in found[0]:
        _check_not_itself(repo, default)
    return found


def _check_not_itself(repo: Any, default: Any) -> None:
    """Raise where a file overrides the choice that it is itself."""
    group = default.override_key
    if group is None or (loaded := repo.load_config(default.config_path)) is None:
        return
    for other in loaded.defaults_list or ():
        if other.is_override() and str(getattr(other, "group", "")).lstrip("/") == group:
            raise ConfigCompositionException(
                f"{default.config_path}: 'override /{group}: {other.value}' would replace the file itself: to build on "
                f"it, put '- /{group}/{other.value}' and '- _self_' at the beginning of the defaults list"
            )
