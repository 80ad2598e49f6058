"""Built-in neuron types as plain data: the name of the class and its parameters."""

import inspect
from math import isfinite
from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ConfigError, did_you_mean
from snnpipe.neurons.table import built_in, name_of

if TYPE_CHECKING:
    import nengo

_TYPE = "type"
_DEEPEST = 2


def plain_neuron(neuron: "nengo.neurons.NeuronType") -> dict[str, Any]:
    """Return a neuron type as plain data, without the state before the first step.

    Raises
    ------
    ConfigError
        If its class is not built in, so that nobody else could make it.
    """
    if type(neuron) not in built_in():
        raise ConfigError(f"neurons of type {name_of(neuron)} are no built-in type, and their equations are code")
    values = {name: getattr(neuron, name) for name in _parameters(type(neuron))}
    return {_TYPE: type(neuron).__name__} | {name: _plain(value) for name, value in values.items()}


def neuron_of(plain: Any, depth: int = 0) -> "nengo.neurons.NeuronType":
    """Return the neuron type that `plain_neuron` has described.

    Raises
    ------
    ConfigError
        If the class is not known, or a parameter is missing, unknown or no number.
    """
    classes = {cls.__name__: cls for cls in built_in()}
    name = plain.get(_TYPE) if isinstance(plain, dict) else None
    if not isinstance(name, str) or name not in classes or depth > _DEEPEST:
        raise ConfigError(f"neurons: got {name!r}; {did_you_mean(str(name), classes)}")
    given = {key: value for key, value in plain.items() if key != _TYPE}
    if set(given) != set(_parameters(classes[name])):
        wanted = ", ".join(_parameters(classes[name]))
        raise ConfigError(f"neurons of type {name}: got {', '.join(map(str, given)) or 'nothing'}: needs {wanted}")
    values = {}
    for key, value in given.items():
        if key == "base_type":
            values[key] = neuron_of(value, depth + 1)
        elif value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)):
            values[key] = value
        else:
            raise ConfigError(f"neurons of type {name}: got {key}={value!r}: takes a number")
    try:
        return classes[name](**values)
    except Exception as error:  # Nengo's own checks of a parameter
        raise ConfigError(f"neurons of type {name}: {error}") from error


def _parameters(cls: type) -> list[str]:
    """Return the names of a class's parameters, with those that it passes on to its base class."""
    names: list[str] = []
    for base in cls.__mro__:
        parameters = inspect.signature(base).parameters.values()
        names += [own.name for own in parameters if own.kind is not own.VAR_KEYWORD and own.name not in names]
        if not any(own.kind is own.VAR_KEYWORD for own in parameters):
            break
    return [name for name in names if name not in ("initial_state", "initial_voltage")]


def _plain(value: Any) -> Any:
    if hasattr(value, "gain_bias"):
        return plain_neuron(value)
    return value if value is None or isinstance(value, int) else float(value)
