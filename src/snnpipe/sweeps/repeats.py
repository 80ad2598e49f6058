"""Values that a multi-run lists more than once: the jobs that they would repeat are dropped."""

from collections import Counter
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString
from omegaconf import DictConfig

from snnpipe.sweeps.durations import as_overrides, told


def drop_repeats(config: DictConfig) -> str:
    """Leave each value once in every list that a multi-run goes through, and return what is dropped, in words.

    Values are the same where type and value are: 0.01 and 1e-2, and not 1 and 1.0. Where nothing is listed more than
    once, the text is empty.

    Parameters
    ----------
    config
        A multi-run's, before its sweeper is made. Overrides, and what the sweeper goes through, are changed in place.
    """
    said = []
    params = config.hydra.sweeper.get("params") or {}
    for key, word in zip(list(params), as_overrides(params), strict=True):
        once, repeated = _once(word)
        if repeated:
            params[key] = once.partition("=")[2]
            said.append(f"{word} lists {repeated}")
    words = [(_once(word), word) for word in told(config.hydra)]
    if any(repeated for (_, repeated), _ in words):
        config.hydra.overrides.task = [once for (once, _), _ in words]
        said += [f"{word} lists {repeated}" for (_, repeated), word in words if repeated]
    return f"repeated jobs are dropped: {', '.join(said)}" if said else ""


def _once(word: str) -> tuple[str, str]:
    """Return an override with each value of its list once, and which values it had how often; empty for none."""
    override = OverridesParser.create().parse_override(word)
    sweep = override.value()
    if not isinstance(sweep, ChoiceSweep):
        return word, ""
    shuffled, sweep.shuffle = sweep.shuffle, False
    counts = Counter(map(_identity, sweep.list))
    texts = dict(zip(map(_identity, sweep.list), override.sweep_string_iterator(), strict=True))
    repeated = [f"{texts[value]} {'twice' if n == 2 else f'{n} times'}" for value, n in counts.items() if n > 1]
    if not repeated or sweep.tags:  # what is tagged, the sweeper reads for itself
        return word, ""
    values = ",".join(texts[value] for value in counts)
    return f"{override.get_key_element()}={f'shuffle({values})' if shuffled else values}", " and ".join(repeated)


def _identity(value: Any) -> tuple[str, str]:
    if isinstance(value, QuotedString):
        value = value.text
    return type(value).__name__, str(value)
