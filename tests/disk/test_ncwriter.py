"""A run of elements becomes boxes that are the run, in order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropfit.disk.ncwriter import boxes, same_bytes


@given(
    shape=st.lists(st.integers(1, 5), max_size=4).map(tuple),
    most=st.integers(1, 20),
    ends=st.tuples(st.integers(0, 700), st.integers(0, 700)),
)
def test_boxes_are_the_run_in_order(shape, most, ends):
    array = np.arange(math.prod(shape)).reshape(shape)
    start, stop = sorted(min(end, array.size) for end in ends)
    parts = []
    for box, size in boxes(shape, start, stop, most):
        part = array[box]
        assert part.size == size <= most
        parts.extend(part.reshape(-1).tolist())
    assert parts == list(range(start, stop))


def test_an_array_without_elements_has_no_boxes():
    assert list(boxes((3, 0, 2), 0, 0, 10)) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([np.nan, 1.0], [np.nan, 1.0], True),
        ([0.0], [-0.0], False),
        ([1.0], [1.0, 2.0], False),
        ([1], [1.0], False),
    ],
)
def test_arrays_are_compared_bit_by_bit(one, other, same):
    assert same_bytes(np.array(one), np.array(other)) is same
