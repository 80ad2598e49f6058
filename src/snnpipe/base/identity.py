"""Digests of Python values: arrays count by their bytes, functions by their code and everything it refers to.

An object of Python or of an installed package counts by its name and the package's version. A user's own functions,
classes and modules count by their code, and so does everything that they refer to. A memory address is never part of a
digest.
"""

import copyreg
import dis
import functools
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
import threading
import types
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snnpipe.base.errors import one_line

SIZE = 16
"""Size of a digest, in bytes."""

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,}")
_PACKAGE_FOLDERS = {"site-packages", "dist-packages"}
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event)
_OF_CLASSES = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "__annotate__"),
    *("__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__", "__protocol_attrs__"),
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__firstlineno__", "__static_attributes__"),
    *("__non_callable_proto_members__", "__annotations_cache__", "__slotnames__", "__annotate_func__"),
}
"""Attributes of a class that do not affect what it does."""
_CACHES = {"_FrozenObject__argreprs"}
"""Attributes that an object fills at the first access: Nengo's text of an object."""


class UnknowableError(Exception):
    """The content of a value, or of something that it refers to, cannot be read: an open file, a generator."""


def digest_of(value: Any, without: Collection[str] = ()) -> str:
    """Return a digest of a value and of everything that it refers to, in hexadecimal.

    Parameters
    ----------
    value
        A value of any type.
    without
        Attributes of the value that do not count.

    Raises
    ------
    UnknowableError
        If the content of some part cannot be read. The message says which part.
    """
    walk = _Walk(frozenset(without))
    try:
        return walk.digest(value).hex()
    except UnknowableError:
        raise
    except RecursionError:
        raise UnknowableError(f"{walk.place()} is nested too deeply") from None
    except Exception as error:  # a user's own object may raise anything when it is inspected
        raise UnknowableError(f"{walk.place()} cannot be read ({one_line(error)[:200]})") from error


def has_address(text: str) -> bool:
    """Whether a text contains a memory address, such as ``<function f at 0x7f...>``."""
    return _ADDRESS.search(text) is not None


def without_address(text: str) -> str:
    """Return a text with its memory addresses removed."""
    return _ADDRESS.sub("", text)


def qualified_name(thing: Any) -> str:
    """Return the dotted name of a class or function."""
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None) or type(thing).__qualname__
    return f"{getattr(thing, '__module__', None) or type(thing).__module__}.{name}"


def bytes_of(array: np.ndarray) -> memoryview | bytes:
    """Return the bytes of an array's values, in C order. Those of a contiguous array are not copied."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint8).data if flat.nbytes else b""


def file_digest(path: Path) -> str:
    """Return a digest of a file's bytes, in hexadecimal.

    Raises
    ------
    UnknowableError
        If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, _new_hash).hexdigest()
    except OSError as error:
        raise UnknowableError(f"{path} cannot be read ({error.strerror})") from error


def _new_hash() -> Any:
    return hashlib.blake2b(digest_size=SIZE)


def _package_of(module: str) -> str | None:
    """Return the package that a module belongs to, with its version; None for a user's own module."""
    top = module.partition(".")[0]
    if top == "snnpipe" or top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return top
    loaded = sys.modules.get(module) or sys.modules.get(top)
    places = [getattr(loaded, "__file__", None), *getattr(loaded, "__path__", ())]
    if not any(_PACKAGE_FOLDERS & set(Path(place).parts) for place in places if isinstance(place, str)):
        return None
    return _installed(top)


@functools.cache
def _installed(top: str) -> str | None:
    try:
        return f"{top} {importlib.metadata.version(top)}"
    except importlib.metadata.PackageNotFoundError:  # the package may have another name: sklearn is scikit-learn
        names = sorted(set(importlib.metadata.packages_distributions().get(top, ())))
    return " ".join(f"{name} {importlib.metadata.version(name)}" for name in names) or None


class _Walk:
    """One walk over a value and everything that it refers to. It visits each object only once.

    Parameters
    ----------
    without
        Attributes of the first value that do not count.
    """

    def __init__(self, without: frozenset[str]):
        self._without = without
        self._done: dict[Any, tuple[bytes, Any]] = {}  # holds the value too, so that no later object gets its id
        self._open: dict[Any, int] = {}
        self._path: list[str] = []

    def place(self) -> str:
        """Return the present position of the walk within the value, in words."""
        return " of ".join(f"{name!r}" for name in reversed(self._path[-3:])) or "the value"

    def digest(self, value: Any, names: frozenset[str] = frozenset()) -> bytes:
        """Return the digest of a value. A module counts by those of ``names`` that it has."""
        if value is None or value is Ellipsis or value is NotImplemented or type(value) in (bool, int, float, complex):
            return _hash([type(value).__name__, repr(value)])
        if type(value) is str:
            return _hash(["str", value])
        if type(value) in (bytes, bytearray):
            return _hash(["bytes", bytes(value)])
        key = (id(value), names) if isinstance(value, types.ModuleType) else id(value)
        if key in self._done:
            return self._done[key][0]
        if key in self._open:
            return _hash(["above", str(self._open[key])])
        self._open[key] = len(self._open)
        try:
            digest = _hash(self._parts(value, names))
        finally:
            del self._open[key]
        self._done[key] = digest, value
        return digest

    def _inside(self, name: str, value: Any, names: frozenset[str] = frozenset()) -> bytes:
        """Return the digest of a named part."""
        self._path.append(name)
        digest = self.digest(value, names)
        self._path.pop()
        return digest

    def _parts(self, value: Any, names: frozenset[str]) -> Iterator[bytes | memoryview | str]:  # noqa: PLR0912
        """Return the texts and bytes that are hashed for a value: its kind, then the digests of its parts."""
        if isinstance(value, np.ndarray | np.generic):
            return self._array(np.asarray(value))
        if isinstance(value, types.ModuleType):
            return self._module(value, names)
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.MethodType):
            return iter(["method", self.digest(value.__func__), self.digest(value.__self__)])
        if isinstance(value, types.BuiltinFunctionType):
            owner = value.__self__
            bound = () if owner is None or isinstance(owner, types.ModuleType) else (self.digest(owner),)
            return iter(["builtin", qualified_name(value), *bound])
        if isinstance(value, staticmethod | classmethod):
            return iter([type(value).__name__, self.digest(value.__func__)])
        if isinstance(value, property):
            return iter(["property", *map(self.digest, (value.fget, value.fset, value.fdel))])
        if isinstance(value, functools.cached_property):
            return iter(["property", self.digest(value.func)])
        if isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType | types.WrapperDescriptorType):
            return iter(["descriptor", value.__name__])
        if isinstance(value, _LOCKS):
            return iter(["lock", type(value).__name__])
        if isinstance(value, dict | types.MappingProxyType):
            return self._mapping(value)
        if type(value) in (list, tuple):
            return self._sequence(type(value).__name__, value)
        if isinstance(value, set | frozenset):
            return iter([type(value).__name__, *sorted(map(self.digest, value))])
        if isinstance(value, Path):
            return iter(["path", str(value)])
        if callable(value) and callable(getattr(value, "__wrapped__", None)):  # a cached or compiled function
            return iter(["wrapped", qualified_name(type(value)), self.digest(value.__wrapped__)])
        return self._object(value)

    # ------------------------------------------------------------------ data

    def _array(self, array: np.ndarray) -> Iterator[bytes | memoryview | str]:
        yield f"array {array.shape} {array.dtype.str} {array.dtype.descr if array.dtype.fields else ''}"
        if array.dtype.hasobject:
            yield from map(self.digest, array.ravel().tolist())
        else:
            yield bytes_of(array)

    def _mapping(self, mapping: Mapping[Any, Any]) -> Iterator[bytes | str]:
        yield type(mapping).__name__
        for key, value in mapping.items():
            yield self.digest(key)
            yield self._inside(str(key), value)

    def _sequence(self, kind: str, values: Iterable[Any]) -> Iterator[bytes | str]:
        yield kind
        yield from map(self.digest, values)

    # ------------------------------------------------------------------ code

    def _module(self, module: types.ModuleType, names: frozenset[str]) -> Iterator[bytes | str]:
        yield f"module {module.__name__}"
        package = _package_of(module.__name__)
        if package is not None:
            yield package
            return
        yield self._file(module.__name__)
        for name in sorted(names & vars(module).keys()):
            if not name.startswith("__"):
                yield name
                yield self._inside(name, vars(module)[name], names)

    def _file(self, module: str | None) -> str:
        """Return a digest of a module's source file; empty for a script, of which only the used names count."""
        path = getattr(sys.modules.get(module or ""), "__file__", None)
        if module == "__main__" or not path or not Path(path).is_file():
            return ""
        return file_digest(Path(path))

    def _code(self, code: types.CodeType) -> Iterator[bytes | str]:
        yield f"code {code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags}"
        yield code.co_code
        yield code.co_exceptiontable
        for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
            yield " ".join(names)
        yield from map(self.digest, code.co_consts)

    def _function(self, function: types.FunctionType) -> Iterator[bytes | str]:
        package = _package_of(function.__module__ or "")
        if package is not None:
            yield f"function {qualified_name(function)} {package}"
            if "<locals>" not in function.__qualname__:
                return
            if callable(wrapped := getattr(function, "__wrapped__", None)):
                yield self.digest(wrapped)
                return
        else:
            yield "function"
            yield self._file(function.__module__)
        self._path.append(function.__qualname__)
        yield self.digest(function.__code__)
        yield self.digest(function.__defaults__)
        yield self.digest(function.__kwdefaults__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                held = cell.cell_contents
            except ValueError:  # the cell is still empty
                continue
            yield name
            yield self._inside(name, held)
        if package is None:
            yield from self._globals(function)
            own = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
            yield from (self._inside(name, value) for name, value in sorted(own.items()))
        self._path.pop()

    def _globals(self, function: types.FunctionType) -> Iterator[bytes | str]:
        """Yield the names that a function's code uses from its module and from its own imports, and their digests."""
        used, attributes, imported = _names_in(function.__code__)
        names = frozenset(attributes)
        for name in sorted(used & function.__globals__.keys()):
            yield name
            yield self._inside(name, function.__globals__[name], names)
        package = function.__globals__.get("__package__") or ""
        for name, level in sorted(imported):
            try:
                full = importlib.util.resolve_name("." * level + name, package)
            except ImportError:
                full = name
            yield full
            if (module := sys.modules.get(full)) is not None:
                yield self._inside(full, module, names)

    def _class(self, cls: type) -> Iterator[bytes | str]:
        yield f"class {qualified_name(cls)}"
        package = _package_of(cls.__module__)
        if package is not None:
            yield package
            return
        yield self._file(cls.__module__)
        yield from map(self.digest, cls.__bases__)
        for name, value in sorted(vars(cls).items()):
            if name not in _OF_CLASSES:
                yield name
                yield self._inside(name, value)

    # ------------------------------------------------------------------ objects

    def _object(self, value: Any) -> Iterator[bytes | str]:
        yield "object"
        yield self.digest(type(value))
        without, self._without = self._without, frozenset()
        for name, part in self._state(value, without):
            yield name
            yield self._inside(name, part)

    def _state(self, value: Any, without: frozenset[str]) -> Iterator[tuple[str, Any]]:
        """Yield an object's content by name: an array, a Keras configuration, or the state that Python would copy."""
        what = f"a {type(value).__module__}.{type(value).__qualname__}"
        try:
            if callable(getattr(value, "numpy", None)):
                yield "value", np.asarray(value.numpy())
                return
            if callable(getattr(value, "get_config", None)):
                yield "config", value.get_config()
                yield "weights", value.get_weights() if callable(getattr(value, "get_weights", None)) else None
                return
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception as error:
            where = f"{self.place()} is " if self._path else ""
            raise UnknowableError(f"{where}{what}, whose content cannot be read") from error
        if isinstance(reduced, str):
            yield "name", reduced
            return
        made_by, arguments, state, items, entries = (*reduced, *[None] * 5)[:5]
        yield "made by", made_by
        yield "arguments", tuple(each for each in arguments if each is not type(value))
        if isinstance(state, dict):
            yield from ((str(name), part) for name, part in state.items() if name not in without | _CACHES)
        else:
            yield "state", state
        yield "items", list(items or ())
        yield "entries", dict(entries or ())


def _hash(parts: Iterable[bytes | memoryview | str]) -> bytes:
    hasher = _new_hash()
    for part in parts:
        data = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    digest: bytes = hasher.digest()
    return digest


def _names_in(code: types.CodeType) -> tuple[set[str], set[str], set[tuple[str, int]]]:
    """Return the global names and the attributes that code uses, and the modules that it imports, with their level."""
    used: set[str] = set()
    attributes: set[str] = set()
    imported: set[tuple[str, int]] = set()
    constants: list[Any] = []
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            used.add(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM", "LOAD_SUPER_ATTR"):
            attributes.add(step.argval)
        elif step.opname == "IMPORT_NAME":
            level = constants[-2] if len(constants) > 1 and isinstance(constants[-2], int) else 0
            imported.add((step.argval, level))
        elif step.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constants.append(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _names_in(constant)
            used, attributes, imported = used | inner[0], attributes | inner[1], imported | inner[2]
    return used, attributes, imported
