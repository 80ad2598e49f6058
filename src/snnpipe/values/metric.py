"""What a metric is called, what it is measured in, and whether more of it is better."""

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
"""What a tag of a run begins with that holds the `MetricSpec` of a metric of its own."""

_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)
_FORM = re.compile(r"\+?,?(\.\d\d?)?[efg]")
_NAME_LENGTH, _LABEL_LENGTH = 200, 40


@dataclass(frozen=True)
class MetricSpec:
    """How a metric is named and shown, without its value.

    Parameters
    ----------
    name
        By which it is logged: words of letters, digits, ``_``, ``-`` and ``.``, joined by ``/``. Where the last word is
        ``*``, it stands for any: the metrics of layers, for example.
    label
        What tables call it.
    unit
        In which it is shown; empty for a count or a ratio.
    factor
        From the logged value to that unit: 100 for a share in ``%``.
    form
        Python's format of the number in that unit.
    better
        ``higher`` or ``lower`` where more or less of it is better; empty where neither is.
    note
        What the label leaves out, in a few words.
    short
        The label in tables with little room; empty for ``label``.
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
        """Return the first field that is outside its domain, with the cure; empty where none is."""
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
        """Whether it stands for several metrics."""
        return self.name.endswith("*")

    def matches(self, name: str) -> bool:
        """Whether a metric is the one, or one of those, that it describes."""
        return name.startswith(self.name[:-1]) and len(name) >= len(self.name) if self.is_pattern else name == self.name

    def overlaps(self, other: "MetricSpec") -> bool:
        """Whether there is a name that both describe."""
        return self.matches(other.name) or other.matches(self.name)

    @property
    def in_short(self) -> str:
        """What tables with little room call it."""
        return self.short or self.label

    def with_unit(self, label: str) -> str:
        """Return a label with the unit of the numbers below it; percent stand beside each number."""
        return label if self.unit in ("", "%") else f"{label} ({self.unit})"

    def number(self, value: float) -> str:
        """Return a value as a number in the unit."""
        return formatted(self.factor * value, self.form)

    def text(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def of(self, metrics: Mapping[str, float]) -> str:
        """Return a run's value with its unit, a dash where the run has none."""
        return self.text(metrics[self.name]) if self.name in metrics else NO_VALUE

    def difference(self, value: float, other: float) -> str:
        """Return by how much a value differs from another, as a number in the unit with its sign."""
        difference = 0.0 if math.isclose(value, other, rel_tol=1e-12) else value - other
        return formatted(self.factor * difference, f"+{self.form.lstrip('+')}")


def formatted(value: float, form: str) -> str:
    """Return a number in a format; one that shows as zero has no minus sign of its own."""
    text = f"{value:{form}}"
    return f"{0.0:{form}}" if value < 0 and float(text.replace(",", "")) == 0 else text


def name_problem(name: Any, *, may_end_in_star: bool = False) -> str:
    """Return why a name is none that every logger takes, as a cure; empty where it is one."""
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
    """Return the first of some specs that describes a metric."""
    return next((spec for spec in specs if spec.matches(name)), None)


def without_patterns(specs: Iterable[MetricSpec]) -> tuple[MetricSpec, ...]:
    """Return the specs that describe one metric each, which tables of runs have a column for."""
    return tuple(spec for spec in specs if not spec.is_pattern)


def tags_of(specs: Iterable[MetricSpec]) -> dict[str, str]:
    """Return the tags that record specs with a run."""
    return {f"{TAG}{spec.name}": json.dumps(asdict(spec)) for spec in without_patterns(specs)}


def specs_of(tags: Mapping[str, str]) -> tuple[MetricSpec, ...]:
    """Return the specs that a run's tags record, by name; a tag that holds none is passed over."""
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
