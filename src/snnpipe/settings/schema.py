"""Whether values fit what a class or function takes, read off its own signature and annotations.

A plugin's constructor is its schema: one place says which keys there are, their types and their
domains, for what is built in and for a user's own class alike, from Python and from a config file.
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
"""What is said of a value of another type, where pydantic has the words of Python."""
_UNIONS = (typing.Union, types.UnionType)
_OF_TYPE = ("_type", "instance_of", "pattern_mismatch")
_PLAIN = (bool, int, float, str, bytes, None, type(None), list, dict)
_CONFIG = ConfigDict(strict=True, arbitrary_types_allowed=True)


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=_CONFIG)


def value_problem(key: str, value: Any, annotation: Any) -> str | None:
    """Return what is wrong with a value, as a line that begins with its key, or None."""
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
    """Return what a value should be: the bound that it breaks; where it is of another type, what its key takes."""
    details = error.errors(include_url=False, include_context=False)
    # of a union's branches, those that only say "another type" are noise beside a real bound
    real = [d for d in details if not (d["type"] in _WORDS or d["type"].endswith(_OF_TYPE))]
    if not real and (described := _described(annotation)):
        return f"takes {described}"
    or_null = ", or null" if _is_optional(annotation) else ""
    told = dict.fromkeys(_WORDS.get(d["type"]) or _lower_first(d["msg"]) for d in real or details)
    text = " or ".join(told).replace(" or should be ", " or ").replace("an instance of Sequence", _A_LIST)
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
    """Return the description that an annotation has of what it takes, if it has one."""
    annotation = unnamed(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _UNIONS:
        return next(filter(None, map(_described, arguments)), "")
    fields = [constraint for constraint in arguments[1:] if isinstance(constraint, FieldInfo)]
    return next((field.description for field in fields if field.description), "")


def shown(value: Any) -> str:
    """Return a value as a message shows it: of a long one the beginning, and no passwords."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, lists in lists in lists
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
    """Return what is wrong with calling ``target(**values)``: unknown, missing and unfit values.

    Parameters
    ----------
    target
        Class or function.
    values
        Keyword arguments, by name, and positional ones as the list ``_args_``; one that is itself a mapping with
        ``_target_``, or holds some, is left to the caller as far as that.
    key
        Where they stand in the configuration, for the message.
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
    except (TypeError, ValueError):  # a builtin without a signature: calling it will tell
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
            if found := value_problem(f"{key}.{name}", without_nodes(value), hints[name]):
                problems.append(found)
            elif is_node(value):
                problems.append(f"{key}.{name}: got {shown(value)}: takes settings, and nothing that is built")
    given_names = {name for name, _ in (*by_place, *by_name)}
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in given_names and not partial:
            problems.append(f"{key}.{name}: missing, and {_name(target)} needs it")
    return problems


def check_fields(instance: Any, key: str) -> None:
    """Raise `ConfigError` where a dataclass instance holds values outside its fields' domains."""
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
    """Whether a value is built by Hydra."""
    return isinstance(value, Mapping) and "_target_" in value


def _is_built(value: Any) -> bool:
    """Whether Hydra builds a value, or lists what it builds."""
    return is_node(value) or (isinstance(value, list) and any(_is_built(own) for own in value))


def _takes_objects(annotation: Any) -> bool:
    """Whether an annotation has room for what Hydra builds, and is not of numbers, words and mappings alone."""
    annotation = unnamed(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return False
    if origin is typing.Annotated:
        arguments = arguments[:1]
    return any(map(_takes_objects, arguments)) if arguments else annotation not in _PLAIN


def without_nodes(value: Any) -> Any:
    """Return a value without the parts of mappings that are built by Hydra."""
    if isinstance(value, Mapping):
        return {name: without_nodes(own) for name, own in value.items() if not is_node(own)}
    return value


def _name(target: Callable[..., Any]) -> str:
    return getattr(target, "__qualname__", repr(target))
