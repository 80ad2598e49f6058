"""Weights of classes in the loss. The user gives them by the number or name of a class."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snnpipe.base.errors import ConfigError, did_you_mean
from snnpipe.settings.domains import PositiveFloat
from snnpipe.values.data import DataSpec

_KEY = "training.class_weights"

ClassWeights = Annotated[
    dict[int, PositiveFloat] | dict[str, PositiveFloat] | None,
    Field(
        description="null, or weights above 0 by the number of a class, or all of them by its name: '{0: 1.0, 3: 2.5}'"
    ),
]


def weight_of_each_class(
    given: Mapping[int, float] | Mapping[str, float] | None, spec: DataSpec
) -> NDArray[np.float32] | None:
    """Return one weight per class, shape ``(n_classes,)``, 1 where none is given; None if no weights are given at all.

    Raises
    ------
    ConfigError
        If a class does not exist, or has two weights.
    """
    if not given:
        return None
    weights: dict[int, float] = {}
    problems: list[str] = []
    for name, weight in given.items():
        try:
            index = _class(name, spec)
        except ConfigError as error:
            problems += error.problems
            continue
        if index in weights:
            problems.append(f"{_KEY}: class {index} ({spec.class_names[index]!r}) has two weights: leave one out")
        weights[index] = weight
    if problems:
        raise ConfigError(*problems)
    return np.array([weights.get(index, 1.0) for index in range(spec.n_classes)], np.float32)


def _class(name: int | str, spec: DataSpec) -> int:
    """Return the number of a class. A class name takes precedence over a number."""
    names = spec.class_names
    if names.count(str(name)) == 1:
        index = names.index(str(name))
        if isinstance(name, int) and index != name and 0 <= name < len(names):
            raise ConfigError(
                f"{_KEY}: {name} is the number of class {names[name]!r} and the name of class {index}: give the name "
                f'that is meant, in quotes: {{"{names[name]}": ...}} or {{"{name}": ...}}'
            )
        return index
    if str(name).isdecimal() and int(name) < len(names):
        return int(name)
    raise ConfigError(
        f"{_KEY}: got {name!r}, which is no class of {spec.name or 'the dataset'}: it has the numbers 0 to "
        f"{len(names) - 1}; of their names: {did_you_mean(str(name), names[:50])}"
    )
