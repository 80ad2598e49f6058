"""Checks values against the signature and the annotations of a class or function.

The constructor of a plugin is its schema: it alone says which keys there are, their types and their domains. The check
is the same for a built-in class and a user's own, from Python and from a config file.
"""

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from snnpipe.base.errors import ConfigError, did_you_mean
from snnpipe.base.masking import HIDDEN, is_secret_key, mask

_SHOWN = 200
_A_LIST = "a list, such as [a,b]"
_WORDS = {
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "bool_type": "should be true or false",
    "string_type": "should be text",
    "list_type": f"should be {_A_LIST}",
    "sequence_str": f"should be {_A_LIST}",
    "dict_type": "should be a mapping, such as {name: value}",
}
"""Messages for a value of the wrong type, in place of pydantic's messages."""
_UNIONS = (typing.Union, types.UnionType)
_OF_TYPE = ("_type", "instance_of", "pattern_mismatch", "literal_error")
_PLAIN = (bool, int, float, str, bytes, None, type(None), list, dict)
_CONFIG = ConfigDict(strict=True, arbitrary_types_allowed=True)


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=_CONFIG)


def value_problem(key: str, value: Any, annotation: Any) -> str | None:
    """Return the problem with a value, as a line that begins with its key; None if there is none."""
    try:
        try:
            adapter = _adapter(annotation)
        except TypeError:  # an annotation that cannot be hashed
            adapter = TypeAdapter(annotation, config=_CONFIG)
        adapter.validate_python(value)
    except ValidationError as error:
        wants = _wants(error, annotation)
        if wants.startswith(_WORDS["string_type"]) and isinstance(value, (int, float)):
            wants += f", as in {key}='\"{value}\"'"
        return f"{key}: got {HIDDEN if is_secret_key(key) else shown(value)}: {wants}"
    return None


def _wants(error: ValidationError, annotation: Any) -> str:
    """Return what a value should be: the bound that it breaks, or for a value of the wrong type, what its key takes."""
    details = error.errors(include_url=False, include_context=False)
    # a union has an error for each branch: beside a broken bound, those that only say "wrong type" are left out
    real = [d for d in details if not (d["type"] in _WORDS or d["type"].endswith(_OF_TYPE))]
    if not real and (described := _described(annotation)):
        return f"takes {described}"
    or_null = ", or null" if _is_optional(annotation) else ""
    messages = dict.fromkeys(_WORDS.get(d["type"]) or _lower_first(d["msg"]) for d in real or details)
    text = " or ".join(messages).replace(" or should be ", " or ").replace("an instance of Sequence", _A_LIST)
    return re.sub(r"\d{20,}", lambda digits: f"{float(digits[0]):g}", text) + or_null


def unnamed(annotation: Any) -> Any:
    """Return the annotation that a name of `snnpipe.settings.domains` stands for; another annotation is itself."""
    return unnamed(annotation.__value__) if isinstance(annotation, TypeAliasType) else annotation


def _is_optional(annotation: Any) -> bool:
    annotation = unnamed(annotation)
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return _is_optional(arguments[0])
    return typing.get_origin(annotation) in _UNIONS and (
        types.NoneType in arguments or any(map(_is_optional, arguments))
    )


def _described(annotation: Any) -> str:
    """Return an annotation's description of the values that it takes; empty if it has none."""
    annotation = unnamed(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _UNIONS:
        return next(filter(None, map(_described, arguments)), "")
    fields = [constraint for constraint in arguments[1:] if isinstance(constraint, FieldInfo)]
    return next((field.description for field in fields if field.description), "")


def shown(value: Any) -> str:
    """Return a value as a message shows it: without passwords, and only the beginning of a long one."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, or deeply nested lists
        return f"a {type(value).__name__} that is too long to show"
    text = mask(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _lower_first(text: str) -> str:
    text = text.removeprefix("Input ").removeprefix("String ")
    return text[:1].lower() + text[1:]


def call_problems(
    target: Callable[..., Any],
    values: Mapping[str, Any],
    key: str,
    given: Collection[str] = (),
    *,
    partial: bool = False,
) -> list[str]:
    """Return the problems of a call ``target(**values)``: unknown, missing and wrong values.

    Parameters
    ----------
    target
        Class or function.
    values
        Keyword arguments by name, and positional arguments as the list ``_args_``. The caller must check each mapping
        with ``_target_``, and each one within a value: they are skipped here.
    key
        Key of the values in the configuration, for the message.
    given
        Names of arguments that the caller will add.
    partial
        Whether arguments may be missing.

    Returns
    -------
    list of str
        One line per problem.
    """
    try:
        parameters = dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # a builtin without a signature: only a call can check the values
        return []
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and name not in given
    }
    hints = _hints(target)
    problems = []
    places = [name for name, parameter in named.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    by_place = list(zip(places, values.get("_args_", ()), strict=False))
    if len(values.get("_args_", ())) > len(places) and not any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
        problems.append(f"{key}._args_: got {shown(values['_args_'])}: {_name(target)} takes {len(places)} at most")
    by_name = [(name, value) for name, value in values.items() if name != "_args_"]
    for name, value in (*by_place, *by_name):
        if name not in named:
            if not open_ended:
                problems.append(f"{key}.{name}: no such key; {did_you_mean(str(name), named)}")
        elif name in hints and not (_is_built(value) and _takes_objects(hints[name])):
            if problem := value_problem(f"{key}.{name}", without_nodes(value), hints[name]):
                problems.append(problem)
            elif is_node(value):
                problems.append(f"{key}.{name}: got {shown(value)}: takes settings, and nothing that is built")
    given_names = {name for name, _ in (*by_place, *by_name)}
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in given_names and not partial:
            problems.append(f"{key}.{name}: missing, and {_name(target)} needs it")
    return problems


def check_fields(instance: Any, key: str) -> None:
    """Raise `ConfigError` if a dataclass instance holds values outside the domains of its fields."""
    hints = _hints(type(instance))
    problems = [
        problem
        for field in dataclasses.fields(instance)
        if field.name in hints
        and (problem := value_problem(f"{key}.{field.name}", getattr(instance, field.name), hints[field.name]))
    ]
    if problems:
        raise ConfigError(*problems)


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target
    if inspect.isclass(target) and not dataclasses.is_dataclass(target):
        function = target.__init__
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def is_node(value: Any) -> bool:
    """Whether Hydra builds a value: whether it is a mapping with ``_target_``."""
    return isinstance(value, Mapping) and "_target_" in value


def _is_built(value: Any) -> bool:
    """Whether Hydra builds a value, or some element of a list."""
    return is_node(value) or (isinstance(value, list) and any(_is_built(own) for own in value))


def _takes_objects(annotation: Any) -> bool:
    """Whether an annotation allows objects that Hydra builds, and not only numbers, texts and mappings."""
    annotation = unnamed(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return False
    if origin is typing.Annotated:
        arguments = arguments[:1]
    return any(map(_takes_objects, arguments)) if arguments else annotation not in _PLAIN


def without_nodes(value: Any) -> Any:
    """Return a value without the entries of mappings that Hydra builds."""
    if isinstance(value, Mapping):
        return {name: without_nodes(own) for name, own in value.items() if not is_node(own)}
    return value


def _name(target: Callable[..., Any]) -> str:
    return getattr(target, "__qualname__", repr(target))
