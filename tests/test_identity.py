"""What values count as the same: by what they hold and do, never by where they lie in memory."""

import functools
import importlib
import logging
import re
import sys
import threading
from dataclasses import dataclass
from typing import Any

import nengo
import numpy as np
import pytest
import yaml

from snnpipe import KerasTraining
from snnpipe.base.identity import UnknowableError, digest_of
from snnpipe.models.function import FunctionArchitecture
from snnpipe.settings.describe import describe, to_yaml

OFFSET = 1


def add_offset(value):
    return value + OFFSET


def closing_over(held):
    def build(spec, factor=2):
        return held, add_offset(factor)

    return build


class Own:
    lock = threading.Lock()

    def __init__(self, held):
        self.held, self.itself = held, self

    def method(self):
        return add_offset(self.held)


@dataclass
class Setting:
    held: Any


@functools.lru_cache
def cached(value):
    return add_offset(value)


ARRAY = np.arange(2000.0)
OTHER = ARRAY.copy()
OTHER[1000] += 1


@pytest.mark.parametrize(
    "around",
    [
        lambda held: held,
        lambda held: [held, {"a": (held, 3)}],
        closing_over,
        lambda held: functools.partial(closing_over, held),
        lambda held: functools.partial(closing_over, held=held),
        lambda held: lambda spec, weights=held: weights,
        Own,
        lambda held: Own(held).method,
        Setting,
        lambda held: type("Made", (), {"weights": held}),
        nengo.dists.Samples,
        lambda held: closing_over(closing_over(Own({"deep": held}))),
    ],
)
def test_arrays_count_by_their_bytes_wherever_they_are_held(around):
    assert digest_of(around(ARRAY)) == digest_of(around(ARRAY.copy())) != digest_of(around(OTHER))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(3), np.zeros((3, 1))),
        (np.zeros(3), np.zeros(3, np.float32)),
        (np.array(["a", None], object), np.array(["a", 1], object)),
        (1, True),
        (1, 1.0),
        ("1", 1),
        (b"1", "1"),
        ([1, [2]], [[1], 2]),
        ({"a": 1}, {"a": 2}),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x, y=1: x, lambda x, y=2: x),
        (lambda x, *, y=1: x, lambda x, *, y=2: x),
        (np.sin, np.cos),
        (nengo.LIF(tau_rc=0.02), nengo.LIF(tau_rc=0.03)),
        (np.random.default_rng(0), np.random.default_rng(1)),
    ],
)
def test_what_differs_has_another_digest(one, other):
    assert digest_of(one) == digest_of(one) != digest_of(other)


def test_objects_that_say_the_same_are_the_same():
    for make in (
        *(lambda: range(3), lambda: re.compile("a"), lambda: logging.getLogger("x"), lambda: {3, 1, 2}),
        *(threading.Lock, lambda: np.dtype("f4"), lambda: nengo.Lowpass(0.1), lambda: Own("x")),
    ):
        assert digest_of(make()) == digest_of(make())


def test_a_text_that_nengo_keeps_of_an_object_is_no_part_of_it():
    looked_at = nengo.LIF(tau_rc=0.03)
    assert repr(looked_at) == "LIF(tau_rc=0.03)"
    assert digest_of(looked_at) == digest_of(nengo.LIF(tau_rc=0.03))


def test_a_global_value_that_a_function_uses_is_part_of_it_through_its_helpers(monkeypatch):
    uses = [closing_over(1), Own(1), cached, functools.partial(add_offset, 1)]
    before = [digest_of(each) for each in uses]
    monkeypatch.setitem(globals(), "OFFSET", 2)
    assert all(digest_of(each) != then for each, then in zip(uses, before, strict=True))
    monkeypatch.setitem(globals(), "OFFSET", 1)
    assert [digest_of(each) for each in uses] == before


@pytest.mark.parametrize(
    "use", ["import helping\n\n\ndef f(x):\n    return helping.help(x)\n",
            "from helping import help\n\n\ndef f(x):\n    return help(x)\n",
            "def f(x):\n    from helping import help\n    return help(x)\n",
            "def f(x):\n    import helping as h\n    return h.help(x)\n"],
)  # fmt: skip
@pytest.mark.parametrize(
    "changed", ["X = 2\n\n\ndef help(x):\n    return x + X\n", "X = 1\n\n\ndef help(x):\n    return x - X\n"]
)
def test_a_helper_module_is_part_of_what_uses_it(tmp_path, monkeypatch, use, changed):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def found(helper: str) -> str:
        (tmp_path / "helping.py").write_text(helper)
        (tmp_path / "using.py").write_text(use)
        for name in ("helping", "using"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        importlib.import_module("helping")
        return digest_of(importlib.import_module("using").f)

    original = "X = 1\n\n\ndef help(x):\n    return x + X\n"
    try:
        assert found(original) == found(original) != found(changed)
    finally:
        for name in ("helping", "using"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("held", [(i for i in ()), sys.stderr, memoryview(b"1")])
def test_what_cannot_be_known_is_said_with_its_place(held):
    with pytest.raises(UnknowableError, match="'held' of .*build.* whose content cannot be read"):
        digest_of(closing_over(held))


def test_a_part_is_described_without_an_address():
    parts = [
        closing_over(ARRAY),
        lambda spec: None,
        Own(3).method,
        Own(3),
        functools.partial(closing_over, held=ARRAY),
        FunctionArchitecture(closing_over(ARRAY)),
        object(),
        Setting(OTHER),
        nengo.dists.Samples(ARRAY),
        np.float32(2),
        Own,
    ]
    text = to_yaml({"parts": describe(parts)})
    assert not re.search("0x[0-9a-f]+", text) and "..." not in text
    assert yaml.safe_load(text) == {"parts": describe(parts)}
    one, same, other = (describe(Setting(array)) for array in (ARRAY, ARRAY.copy(), OTHER))
    assert one == same != other
    assert describe(closing_over(ARRAY)) != describe(closing_over(OTHER))
    assert describe(KerasTraining(epochs=3))["epochs"] == 3
