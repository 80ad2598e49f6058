"""The description of a metric: its name, label, unit and format, and whether higher or lower values are better."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Literal

from snnpipe.base.errors import ConfigError

Better = Literal["higher", "lower", ""]
NO_VALUE = "-"
TAG = "metric."
"""Beginning of the tags in which a run keeps the `MetricSpec` of each metric plugin."""

_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)
_FORM = re.compile(r"\+?,?(\.\d\d?)?[efg]")
_NAME_LENGTH, _LABEL_LENGTH = 200, 40


@dataclass(frozen=True)
class MetricSpec:
    """The description of a metric, without its value.

    Parameters
    ----------
    name
        Name in the loggers: words of letters, digits, ``_``, ``-`` and ``.``, joined by ``/``. If the last word is
        ``*``, the description is for all names that begin so, as for the metrics of layers.
    label
        Label in tables and on pages.
    unit
        Unit of the shown number; empty for a count or a ratio.
    factor
        Factor from the logged value to the unit: 100 for a share in ``%``.
    form
        Python's format of the number in the unit.
    better
        ``higher`` or ``lower``, if such values are better; empty if neither is.
    note
        Explanation of the label in a few words.
    short
        Label in narrow tables; empty for ``label``.
    mean_form
        Format of a mean over several runs; empty for ``form``.

    Raises
    ------
    ConfigError
        If a field has a value outside its domain.
    """

    name: str
    label: str
    unit: str = ""
    factor: float = 1.0
    form: str = ".4g"
    better: Better = ""
    note: str = ""
    short: str = ""
    mean_form: str = ""

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise ConfigError(f"MetricSpec.{problem}")

    def _problem(self) -> str:
        """Return the first field that is outside its domain, with the cure; empty if there is none."""
        if cure := name_problem(self.name, may_end_in_star=True):
            return f"name: got {self.name!r}: {cure}"
        for field, longest in (("label", _LABEL_LENGTH), ("short", _LABEL_LENGTH), ("unit", 20), ("note", 200)):
            text = getattr(self, field)
            if not (isinstance(text, str) and text.isprintable() and text == text.strip() and len(text) <= longest):
                return f"{field}: got {text!r}: give a text of one line with {longest} characters at most"
        if not self.label:
            return f"label: got '': say what {self.name} is in a word or two"
        if not is_number(self.factor) or not self.factor > 0:
            return f"factor: got {self.factor!r}: give a number above 0, such as 100 for a share in %"
        for field, text in (("form", self.form), ("mean_form", self.mean_form or "g")):
            if not isinstance(text, str) or not _FORM.fullmatch(text):
                return f"{field}: got {text!r}: give a format of numbers, such as '.2f', ',.0f' or '.4g'"
        if self.better not in ("higher", "lower", ""):
            return f"better: got {self.better!r}: give 'higher', 'lower' or ''"
        return ""

    @property
    def is_pattern(self) -> bool:
        """Whether it describes several metrics."""
        return self.name.endswith("*")

    def matches(self, name: str) -> bool:
        """Whether it describes the metric of a name."""
        return name.startswith(self.name[:-1]) and len(name) >= len(self.name) if self.is_pattern else name == self.name

    def overlaps(self, other: "MetricSpec") -> bool:
        """Whether there is a name that both describe."""
        return self.matches(other.name) or other.matches(self.name)

    @property
    def in_short(self) -> str:
        """Label in narrow tables."""
        return self.short or self.label

    def with_unit(self, label: str) -> str:
        """Return a label with the unit, for a column of numbers; ``%`` is written beside each number instead."""
        return label if self.unit in ("", "%") else f"{label} ({self.unit})"

    def number(self, value: float) -> str:
        """Return a value as a number in the unit."""
        return formatted(self.factor * value, self.form)

    def text(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def of(self, metrics: Mapping[str, float]) -> str:
        """Return a run's value with its unit; a dash if the run has none."""
        return self.text(metrics[self.name]) if self.name in metrics else NO_VALUE

    def difference(self, value: float, other: float) -> str:
        """Return a value minus another, as a number in the unit with its sign."""
        difference = 0.0 if math.isclose(value, other, rel_tol=1e-12) else value - other
        return formatted(self.factor * difference, f"+{self.form.lstrip('+')}")


def formatted(value: float, form: str) -> str:
    """Return a number in a format, without a minus sign if it is rounded to zero."""
    text = f"{value:{form}}"
    return f"{0.0:{form}}" if value < 0 and float(text.replace(",", "")) == 0 else text


def name_problem(name: Any, *, may_end_in_star: bool = False) -> str:
    """Return the rule that a name breaks, as a cure; empty if every logger takes the name."""
    plain = name.removesuffix("*") if may_end_in_star and isinstance(name, str) and name.endswith("/*") else name
    plain = plain.removesuffix("/") if plain is not name else plain
    if isinstance(plain, str) and len(plain) <= _NAME_LENGTH and _NAME.fullmatch(plain):
        return ""
    return (
        f"a metric's name has at most {_NAME_LENGTH} letters, digits, '_', '-' and '.', in words joined by '/', as "
        "'first_spike_ms' or 'depth/spikes'"
    )


def is_number(value: Any) -> bool:
    """Whether a value is one finite number, of Python's or NumPy's."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def spec_of(name: str, specs: Iterable[MetricSpec]) -> MetricSpec | None:
    """Return the first spec that describes a metric; None if there is none."""
    return next((spec for spec in specs if spec.matches(name)), None)


def without_patterns(specs: Iterable[MetricSpec]) -> tuple[MetricSpec, ...]:
    """Return the specs that describe one metric each. Tables of runs have a column for each of these."""
    return tuple(spec for spec in specs if not spec.is_pattern)


def tags_of(specs: Iterable[MetricSpec]) -> dict[str, str]:
    """Return the tags in which a run keeps specs."""
    return {f"{TAG}{spec.name}": json.dumps(asdict(spec)) for spec in without_patterns(specs)}


def specs_of(tags: Mapping[str, str]) -> tuple[MetricSpec, ...]:
    """Return the specs in a run's tags, sorted by name; a tag without a valid one is ignored."""
    specs = []
    for name in sorted(name for name in tags if name.startswith(TAG)):
        try:
            specs.append(MetricSpec(**json.loads(tags[name])))
        except (ConfigError, TypeError, ValueError):
            continue
    return tuple(specs)


def merged(specs: Iterable[Sequence[MetricSpec]]) -> tuple[MetricSpec, ...]:
    """Return the specs of several runs, each once."""
    return tuple(dict.fromkeys(spec for of_run in specs for spec in of_run))
