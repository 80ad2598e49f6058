"""Keeps passwords out of everything that a run records and prints.

Records and messages show three stars in place of a password. A password on the command line is moved to an environment
variable before anything records the command line, and an interpolation that reads the variable takes its place.
"""

import os
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

HIDDEN = "***"
VARIABLE = "SNNPIPE_PASSWORD_"
"""Prefix of the environment variables that hold passwords from the command line."""

_WORD = r"(?:\w*_)?(?:password|passwd|pwd|secret|token|api_?key|access_?key)"
_USER = r"(?:\$\{[^}]*\}|\$(?!\{)|[^\s/:@$])*"  # may be an interpolation that contains a colon
_OF_AN_ADDRESS = re.compile(
    rf"(?P<before>(?<![\w+.-])[A-Za-z][\w+.-]*://{_USER}:)(?P<password>(?:(?!://)\S)+)(?P<after>@)"
)
_TOKEN_OF_AN_ADDRESS = re.compile(r"(?P<before>https?://)(?P<password>[^\s/:@]+)(?P<after>@)")
_OF_A_KEY = re.compile(
    rf"(?P<before>\b{_WORD}(?:\s?=\s?|[\"']\s?:\s?)[\"']?)(?P<password>[^\s\"',;&]+)(?P<after>)", re.IGNORECASE
)
_PATTERNS = (_OF_AN_ADDRESS, _TOKEN_OF_AN_ADDRESS, _OF_A_KEY)
_SECRET_KEY = re.compile(_WORD, re.IGNORECASE)
_INTERPOLATION = re.compile(r"\$\{.*\}|\*\*\*|null|none|\?\?\?", re.IGNORECASE)


def mask(text: str) -> str:
    """Return a text with three stars in place of each password.

    A password is the password of an address (``postgresql://user:password@host``), or the value of a key with a name
    such as password or token (``?password=...``).
    """
    return _replaced(text, lambda password: HIDDEN)


def masked(value: Any) -> Any:
    """Return plain data, such as a configuration, with three stars in place of each password, at any depth."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {k: HIDDEN if _is_secret(k, v) else masked(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item) for item in value]
    return value


def to_environment(text: str) -> str:
    """Move each password of a text to an environment variable; return the text with interpolations in their place."""
    return _replaced(text, _keep)


def masked_traceback(error: BaseException) -> str:
    """Return an exception with its traceback, as Python prints it, without passwords."""
    return mask("".join(traceback.format_exception(error)))


def is_secret(name: str, value: str) -> bool:
    """Whether an environment variable holds a password, judged by its name and its value."""
    return name.startswith(VARIABLE) or _is_secret(name, value) or mask(value) != value


def is_secret_key(key: Any) -> bool:
    """Whether a key has a name such as password or token."""
    return _SECRET_KEY.fullmatch(str(key).rpartition(".")[2]) is not None


def _is_secret(key: Any, value: Any) -> bool:
    return isinstance(value, str) and value != "" and is_secret_key(key)


def _replaced(text: str, by: Callable[[str], str]) -> str:
    def replacement(match: re.Match[str]) -> str:
        password = match["password"]
        kept = password if _INTERPOLATION.fullmatch(password) else by(password)
        return f"{match['before']}{kept}{match['after']}"

    for pattern in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _keep(password: str) -> str:
    """Put a password into an environment variable and return the interpolation that reads it.

    If a variable holds the password already, that one is used.
    """
    plain = re.sub(r"\\(.)", r"\1", password)  # in an override, a backslash quotes the next character
    own = {name: value for name, value in os.environ.items() if name.startswith(VARIABLE)}
    name = next((name for name, value in own.items() if value == plain), f"{VARIABLE}{len(own) + 1}")
    os.environ[name] = plain
    return f"${{oc.env:{name}}}"
