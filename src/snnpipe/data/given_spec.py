"""The spec of a data module in the forms that users may give it: a `DataSpec`, a mapping, or an object of their own."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from snnpipe.base.errors import DataError, did_you_mean
from snnpipe.values.data import DataSpec

_SHAPES = ("input_shape", "image_shape")
_KNOWN = [*(field.name for field in dataclasses.fields(DataSpec)), "image_shape"]


def spec_of(given: Any, module: str) -> DataSpec:
    """Return the ``spec`` of a data module as a `DataSpec`.

    Parameters
    ----------
    given
        The spec.
    module
        Name of the module's class, for error messages.

    Raises
    ------
    DataError
        If the spec lacks the shape of a sample or the number of classes, or has an unknown key.
    """
    if isinstance(given, DataSpec):
        return given
    if isinstance(given, Mapping):
        for name in given:
            if name not in _KNOWN:
                raise DataError(f"data: {module}.spec: no such key {name!r}; {did_you_mean(str(name), _KNOWN)}")
        return DataSpec(**given)
    values = {name: getattr(given, name) for name in _KNOWN if hasattr(given, name)}
    if "n_classes" not in values or not any(name in values for name in _SHAPES):
        raise DataError(
            f"data: {module}.spec is a {type(given).__name__}: give a snnpipe.DataSpec(input_shape=..., "
            "n_classes=...), as an attribute that setup() sets or a property"
        )
    if "input_shape" in values:
        values.pop("image_shape", None)
    return DataSpec(**values)
