"""The domains of settings, as annotations for the arguments of a constructor. `help` shows their names."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

_MAX_INT = 2**31 - 1
MAX_FLOAT, _MIN_FLOAT = 3.4e38, 1.2e-38
"""The largest and smallest positive numbers of 32 bits. A computation turns numbers beyond them into infinity or 0."""


def is_held(value: float) -> float:
    """Return a number of 0 or more, and refuse one that 32 bits round to 0. For use in an annotation."""
    if 0 < value < _MIN_FLOAT:
        raise PydanticCustomError("too_small", "should be 0, or {least} or more", {"least": _MIN_FLOAT})
    return value


def _is_printable(value: str) -> str:
    if not value.isprintable():
        raise PydanticCustomError("not_printable", "should be one line of printable characters")
    return value


def is_short(value: float) -> float:
    """Return a time below 1 s, and refuse a longer one, which was meant in milliseconds. For use in an annotation."""
    if value >= 1:
        context = {"value": f"{value:g}", "seconds": f"{value / 1000:g}"}
        raise PydanticCustomError("in_seconds", "should be less than 1, in seconds: {value} ms are {seconds}", context)
    return value


PositiveInt = TypeAliasType("PositiveInt", Annotated[int, Field(ge=1, le=_MAX_INT)])
NonNegativeInt = TypeAliasType("NonNegativeInt", Annotated[int, Field(ge=0, le=_MAX_INT)])
PositiveFloat = TypeAliasType(
    "PositiveFloat", Annotated[float, Field(gt=0, le=MAX_FLOAT, allow_inf_nan=False), AfterValidator(is_held)]
)
NonNegativeFloat = TypeAliasType(
    "NonNegativeFloat", Annotated[float, Field(ge=0, le=MAX_FLOAT, allow_inf_nan=False), AfterValidator(is_held)]
)
NonPositiveFloat = TypeAliasType("NonPositiveFloat", Annotated[float, Field(ge=-MAX_FLOAT, le=0, allow_inf_nan=False)])
Number = TypeAliasType(
    "Number", Annotated[float, Field(ge=-MAX_FLOAT, le=MAX_FLOAT, allow_inf_nan=False), AfterValidator(is_held)]
)
_Time = Annotated[
    float, Field(allow_inf_nan=False, description="a number of seconds, such as 0.001"), AfterValidator(is_short)
]
Seconds = TypeAliasType("Seconds", Annotated[_Time, Field(gt=0, lt=1), AfterValidator(is_held)])
"""A time step or a time constant."""
NonNegativeSeconds = TypeAliasType("NonNegativeSeconds", Annotated[_Time, Field(ge=0, lt=1), AfterValidator(is_held)])
Seed = TypeAliasType("Seed", Annotated[int, Field(ge=0, le=_MAX_INT - 10**6)])
"""A random seed. It is less than the largest integer, because NengoDL and tf.data add to it."""
Share = TypeAliasType(
    "Share", Annotated[float, Field(ge=0, lt=1, description="a number from 0 to below 1, such as 0.1 for 10 %")]
)
Scale = TypeAliasType(
    "Scale",
    Annotated[
        PositiveFloat | dict[str, PositiveFloat],
        Field(description="a number above 0, or one per layer by name or pattern, quoted in a shell: '{conv*: 20.0}'"),
    ],
)
_SCALES = (
    "a number above 0, 'auto' for scales from data, or one number per layer by name or pattern, quoted in a shell: "
)
ScaleFromData = TypeAliasType(
    "ScaleFromData",
    Annotated[
        Literal["auto"] | PositiveFloat | dict[str, PositiveFloat], Field(description=_SCALES + "'{conv*: 20.0}'")
    ],
)
Factors = TypeAliasType(
    "Factors",
    Annotated[
        dict[str, Sequence[PositiveFloat]] | None,
        Field(description="null, or for each layer a list of numbers above 0, one per channel"),
    ],
)
Offsets = TypeAliasType(
    "Offsets",
    Annotated[
        dict[str, Sequence[Number]] | None,
        Field(description="null, or for each layer a list of numbers, one per channel"),
    ],
)
LayerVoltage = TypeAliasType(
    "LayerVoltage",
    Annotated[
        Number | Literal["drawn"] | dict[str, Number | Literal["drawn"]] | None,
        Field(description="a number (1 is a spike), drawn, null, or one of these per layer by name or pattern"),
    ],
)
Sizes = TypeAliasType(
    "Sizes",
    Annotated[Sequence[PositiveInt], Field(description="a list of whole numbers of 1 or more, such as [32,64]")],
)
Text = TypeAliasType("Text", Annotated[str, Field(min_length=1), AfterValidator(_is_printable)])
"""A name, a path, or another text that is printed and recorded."""
ExperimentName = TypeAliasType("ExperimentName", Annotated[Text, Field(max_length=250)])


def _is_initializer(value: dict[str, Any]) -> dict[str, Any]:
    if value.keys() != {"class_name", "config"} or not isinstance(value["config"], dict):
        raise PydanticCustomError("initializer", "should be a name, or {class_name: ..., config: {...}}")
    return value


Initializer = TypeAliasType("Initializer", Text | Annotated[dict[str, Any], AfterValidator(_is_initializer)])


def _is_filter(value: Any) -> Any:
    if not hasattr(value, "make_step"):
        raise PydanticCustomError("synapse_type", "should be a time constant in s, a Nengo synapse, or null")
    return value


def _is_neuron_type(value: Any) -> Any:
    if not hasattr(value, "gain_bias") or isinstance(value, type):
        raise PydanticCustomError("neuron_type", "should be a Nengo neuron type, such as nengo.LIF()")
    return value


Synapse = TypeAliasType("Synapse", Seconds | Annotated[Any, AfterValidator(_is_filter)] | None)
LayerSynapses = TypeAliasType(
    "LayerSynapses",
    Annotated[
        Synapse | dict[str, Synapse],
        Field(
            description="a time constant in s (0.01 is 10 ms), a Nengo synapse or null, or one per layer by name or "
            "pattern, quoted in a shell: '{conv*: 0.01}'"
        ),
    ],
)
Neuron = TypeAliasType("Neuron", Annotated[Any, AfterValidator(_is_neuron_type)] | None)
Readout = Literal["auto", "last", "mean", "later_three_quarters", "later_half", "spike_count"]

LEFT_OUT: dict[Readout, float] = {"later_three_quarters": 1 / 4, "later_half": 1 / 2}
"""Share of the steps so far that a mean leaves out at the beginning, by read-out."""
Precision = Literal["float32", "float64"]
MaxPooling = Literal["sums", "gated", "average"]
PoolingOverTime = Literal["sums", "gated"]


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number of Python or NumPy, and no truth value."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
