"""Lets a configuration file override any group with ``override /group: option``.

Hydra reads the list of defaults from its end. A file's overrides work only for the groups that stand before the file in
the list. An experiment stands before ``sweep``, ``debug`` and ``local``, because these have priority over it. So if a
file overrides a group that Hydra has already read, the list is read a second time with the overrides of the first time.
"""

from typing import Any

from hydra._internal import defaults_list
from hydra.errors import ConfigCompositionException

_read_once = defaults_list._create_defaults_list


def heed_every_override() -> None:
    """Make Hydra apply the overrides in files to every group."""
    defaults_list._create_defaults_list = _read


def _read(
    repo: Any, config_name: str | None, overrides: Any, prepend_hydra: bool, skip_missing: bool
) -> tuple[list[Any], Any]:
    result: tuple[list[Any], Any] = _read_once(repo, config_name, overrides, prepend_hydra, skip_missing)
    late = [not known.used and not known.external_override for known in overrides.override_metadata.values()]
    if any(late):
        overrides.known_choices.clear()
        overrides.known_choices_per_group.clear()
        result = _read_once(repo, config_name, overrides, prepend_hydra, skip_missing)
    for default in result[0]:
        _check_not_itself(repo, default)
    return result


def _check_not_itself(repo: Any, default: Any) -> None:
    """Raise `ConfigCompositionException` if a file overrides the choice of its own group, which would replace it."""
    group = default.override_key
    if group is None or (loaded := repo.load_config(default.config_path)) is None:
        return
    for other in loaded.defaults_list or ():
        if other.is_override() and str(getattr(other, "group", "")).lstrip("/") == group:
            raise ConfigCompositionException(
                f"{default.config_path}: 'override /{group}: {other.value}' would replace the file itself: to build on "
                f"it, put '- /{group}/{other.value}' and '- _self_' at the beginning of the defaults list"
            )
