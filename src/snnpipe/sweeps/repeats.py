"""Drops the repeated jobs of a multi-run that lists a value more than once."""

from collections import Counter
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString
from omegaconf import DictConfig

from snnpipe.sweeps.durations import as_overrides, task_overrides


def drop_repeats(config: DictConfig) -> str:
    """Remove repeated values from every list that a multi-run varies, and return a message about them.

    Two values are the same if their types and values are equal: 0.01 and 1e-2, but not 1 and 1.0. If no value is
    repeated, the message is empty.

    Parameters
    ----------
    config
        Configuration of a multi-run, before its sweeper is made. The overrides and the sweeper's ``params`` are changed
        in place.
    """
    repeats = []
    params = config.hydra.sweeper.get("params") or {}
    for key, word in zip(list(params), as_overrides(params), strict=True):
        once, repeated = _once(word)
        if repeated:
            params[key] = once.partition("=")[2]
            repeats.append(f"{word} lists {repeated}")
    words = [(_once(word), word) for word in task_overrides(config.hydra)]
    if any(repeated for (_, repeated), _ in words):
        config.hydra.overrides.task = [once for (once, _), _ in words]
        repeats += [f"{word} lists {repeated}" for (_, repeated), word in words if repeated]
    return f"repeated jobs are dropped: {', '.join(repeats)}" if repeats else ""


def _once(word: str) -> tuple[str, str]:
    """Return an override with each value of its list once, and a text that counts repeated values; empty for none."""
    override = OverridesParser.create().parse_override(word)
    sweep = override.value()
    if not isinstance(sweep, ChoiceSweep):
        return word, ""
    shuffled, sweep.shuffle = sweep.shuffle, False
    counts = Counter(map(_identity, sweep.list))
    texts = dict(zip(map(_identity, sweep.list), override.sweep_string_iterator(), strict=True))
    repeated = [f"{texts[value]} {'twice' if n == 2 else f'{n} times'}" for value, n in counts.items() if n > 1]
    if not repeated or sweep.tags:  # the sweeper itself reads tagged lists
        return word, ""
    values = ",".join(texts[value] for value in counts)
    return f"{override.get_key_element()}={f'shuffle({values})' if shuffled else values}", " and ".join(repeated)


def _identity(value: Any) -> tuple[str, str]:
    if isinstance(value, QuotedString):
        value = value.text
    return type(value).__name__, str(value)
