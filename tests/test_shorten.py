"""Texts in a table are cut where they are alike: what tells them apart stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnpipe.base.shorten import shorten

NAMES = [
    "digits-Cnn2d-Keras-SpikingReLU-x20to80_a8b5-10steps-50images",
    "digits-Cnn2d-Keras-SpikingReLU-x20to80_a8b5-5ms-10steps-50images",
    "digits-Cnn2d-Keras-LIF-x20to80_a8b5-10steps-50images",
]
SCALES = ["{conv2d:20.0,conv2d_1:40.0,dense:80.0}", "{conv2d:20.0,conv2d_1:40.0,dense:160.0}"]
KEYS = [f"conversion.scale_firing_rates.{layer}" for layer in ("conv2d", "conv2d_1", "dense")]
KEYS += [f"{group}.neuron.base.refractory_time" for group in ("conversion", "training")]

CASES = {
    "runs that differ in their middle": (NAMES, 40, ["SpikingReLU", "5ms", "LIF"]),
    "scales by layer that differ at their end": (SCALES, 20, ["dense:80.0}", "dense:160.0}"]),
    "keys with one beginning, or one end": (
        KEYS,
        28,
        ["rates.conv2d", "conv2d_1", "dense", "conversion.n", "training"],
    ),
    "one word that differs in its middle": (["a" * 50 + c + "b" * 50 for c in "12"], 20, ["a1b", "a2b"]),
    "one word that differs at its end": (["x" * 300 + c for c in "ab"], 22, ["xxxa", "xxxb"]),
    "addresses": ([f"sqlite:////home/{who}/runs/mlruns/mlflow.db" for who in ("ada", "grace")], 24, ["ada", "grace"]),
    "a commit, and the same with changes": (
        ["0123456789abcdef" * 2 + end for end in ("", "-dirty")],
        20,
        ["", "-dirty"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_tells_texts_apart_stays(case):
    texts, width, stays = CASES[case]
    for cut, word in zip(shorten(texts, width), stays, strict=True):
        assert len(cut) <= width and word in cut


def test_what_fits_is_whole():
    texts = ["null", *SCALES, "null"]
    assert shorten(texts, 39) == texts
    first, *_, last = shorten(texts, 20)
    assert first == last == "null"


@given(st.lists(st.text("ab-.{}", max_size=40), max_size=8), st.integers(12, 30))
def test_different_texts_stay_different(texts, width):
    cut = shorten(texts, width)
    assert all(len(text) <= width for text in cut)
    assert [cut.index(text) for text in cut] == [texts.index(text) for text in texts]
