"""Passwords stay out of what a run records and prints.

In records and messages a password is three stars. On the command line it is moved to an environment variable before
anything keeps the command line, and stands there as the interpolation that gets it back.
"""

import os
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

HIDDEN = "***"
VARIABLE = "SNNPIPE_PASSWORD_"
"""What the names of environment variables begin with that hold passwords of the command line."""

_WORD = r"(?:\w*_)?(?:password|passwd|pwd|secret|token|api_?key|access_?key)"
_USER = r"(?:\$\{[^}]*\}|\$(?!\{)|[^\s/:@$])*"  # which may be an interpolation, with a colon in it
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
    """Return a text with stars for the passwords in it.

    Those are the password of an address (``postgresql://user:password@host``), and the value of a key that is called
    password, token or the like (``?password=...``).
    """
    return _replaced(text, lambda password: HIDDEN)


def masked(value: Any) -> Any:
    """Return plain data, a configuration for example, with stars for the passwords in it, at any depth."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {k: HIDDEN if _is_secret(k, v) else masked(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(item) for item in value]
    return value


def to_environment(text: str) -> str:
    """Return a text with an interpolation for each password in it, which is put into an environment variable."""
    return _replaced(text, _keep)


def masked_traceback(error: BaseException) -> str:
    """Return an exception with its traceback, as Python prints it."""
    return mask("".join(traceback.format_exception(error)))


def is_secret(name: str, value: str) -> bool:
    """Whether an environment variable holds a password, by its name or by what it holds."""
    return name.startswith(VARIABLE) or _is_secret(name, value) or mask(value) != value


def is_secret_key(key: Any) -> bool:
    """Whether a key is called password, token or the like."""
    return _SECRET_KEY.fullmatch(str(key).rpartition(".")[2]) is not None


def _is_secret(key: Any, value: Any) -> bool:
    return isinstance(value, str) and value != "" and is_secret_key(key)


def _replaced(text: str, by: Callable[[str], str]) -> str:
    def replacement(found: re.Match[str]) -> str:
        password = found["password"]
        kept = password if _INTERPOLATION.fullmatch(password) else by(password)
        return f"{found['before']}{kept}{found['after']}"

    for pattern in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _keep(password: str) -> str:
    """Put a password into an environment variable, one that holds it already if there is one; return how to get it."""
    plain = re.sub(r"\\(.)", r"\1", password)  # as in an override, in which a backslash quotes what follows
    own = {name: value for name, value in os.environ.items() if name.startswith(VARIABLE)}
    name = next((name for name, value in own.items() if value == plain), f"{VARIABLE}{len(own) + 1}")
    os.environ[name] = plain
    return f"${{oc.env:{name}}}"
