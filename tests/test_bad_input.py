"""Bad input: every key of every configuration, broken structure, hostile overrides and files, as properties.

`python -m tests.stress.fuzz` tries many more of them, and real processes.
"""

import random

import bad_input
import pytest
from domains import NASTY, belongs, inside, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUICK = settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


# ---------------------------------------------------------------------- values


def test_every_key_has_a_domain_and_refuses_what_is_outside():
    """Of the values that nobody means, the first, the middle and the last that are outside; and one inside."""
    tried = 0
    for composition, key, domain in bad_input.all_keys():
        outside = [value for value in NASTY if not belongs(value, domain)]
        within = [value for value in NASTY if belongs(value, domain)]
        assert outside, f"anything goes at {key}"
        for value in {0: outside[0], 1: outside[len(outside) // 2], 2: outside[-1]}.values():
            assert bad_input.try_value(composition, key, domain, value)
        for value in within[:1]:
            assert not bad_input.try_value(composition, key, domain, value)
        tried += 3 + len(within[:1])
    assert tried > 400


def test_every_option_of_every_group_is_composed():
    options = bad_input.options()
    assert sum(map(len, options.values())) + 2 == len(bad_input.compositions())
    assert {"data", "model", "training", "training/regularizer", "conversion", "neuron", "encoder"} <= set(options)


@QUICK
@given(st.data())
def test_a_value_passes_if_it_belongs_to_its_key_and_only_then(data):
    composition, key, domain = data.draw(st.sampled_from(bad_input.all_keys()))
    bad_input.try_value(composition, key, domain, data.draw(values(domain)))


@QUICK
@given(st.data())
def test_what_is_in_the_domain_passes(data):
    composition, key, domain = data.draw(st.sampled_from(bad_input.all_keys()))
    assert not bad_input.try_value(composition, key, domain, data.draw(inside(domain)))


@QUICK
@given(st.data())
def test_sweepers_and_launchers_too(data):
    choice, key, domain = data.draw(st.sampled_from(bad_input.engine_keys()))
    bad_input.try_engine_value(choice, key, domain, data.draw(values(domain)))


@pytest.mark.parametrize("seed", range(8))
def test_broken_structure_is_told_by_its_key(seed):
    rng = random.Random(seed)
    for _ in range(30):
        bad_input.try_structure(rng)
