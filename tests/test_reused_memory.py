"""Memory of arrays that nothing refers to any more is used again, and no other."""

import numpy as np

from snnpipe.simulators.event_driven.memory import Reused


def place(array):
    return array.__array_interface__["data"][0]


def test_memory_of_an_array_that_is_gone_is_used_again_as_zeros():
    memory = Reused(np.float32)
    array = memory.zeros(3, 4)
    array += 1
    before = place(array)
    del array
    again = memory.zeros(2, 5)
    assert place(again) == before
    np.testing.assert_array_equal(again, np.zeros((2, 5), np.float32))


def test_memory_that_a_part_of_an_array_refers_to_stays_as_it_is():
    memory = Reused(np.float32)
    array = memory.zeros(3, 4)
    array += 1
    part = array[1:, :2].T[0]
    del array
    others = [memory.zeros(3, 4) for _ in range(4)]
    for i in range(len(others)):
        others[i] += 2
    np.testing.assert_array_equal(part, [1, 1])
    assert len({place(other) for other in others}) == 4


def test_a_larger_array_gets_memory_of_its_own():
    memory = Reused(np.float64)
    memory.zeros(4)
    larger = memory.zeros(1000, 3)
    assert larger.shape == (1000, 3) and not larger.any()
