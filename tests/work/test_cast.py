"""A value reaches its variable as it was, or is refused."""

from __future__ import annotations

import numpy as np
import pytest

from cropfit.work.cast import Changed, as_dtype, as_objects, empty_block, where
from cropfit.work.variables import Variable


def variable(dtype, shape=(), missing=0):
    inner = tuple(f"d{i}" for i in range(len(shape)))
    return Variable("v", inner, shape, np.dtype(dtype), missing, True, {})


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([2**53]), "f8"),
        (np.array([True]), "f8"),
        (np.array([1.5], "f4"), "f8"),
        (np.array([1.5]), "c16"),
        (np.array(["a"]), "U5"),
        (np.array(["2001-02-03", "NaT"], "M8[D]"), "M8[s]"),
    ],
)
def test_a_value_that_fits_is_the_same_afterwards(values, dtype):
    cast = as_dtype(variable(dtype), values)
    assert cast.dtype == dtype
    np.testing.assert_array_equal(cast, values)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([2**53 + 1]), "f8"),
        (np.array([2**64 - 1], "u8"), "f8"),
        (np.array([2**24 + 1]), "c8"),
        (np.array([1], "M8[ps]"), "M8[ns]"),
        (np.array([2**62], "m8[D]"), "m8[s]"),
    ],
)
def test_a_value_that_would_change_is_refused(values, dtype):
    with pytest.raises(Changed):
        as_dtype(variable(dtype), values)


def test_what_is_of_the_right_type_is_not_copied():
    values = np.arange(3.0)
    assert as_dtype(variable("f8"), values) is values


def test_arrays_among_objects_stay_whole():
    made = as_objects([np.zeros(2), np.zeros(2)])
    assert made.shape == (2,)
    assert made[0].shape == (2,)


def test_a_smaller_array_has_its_place_in_a_larger_one():
    block = empty_block(variable("f8", (2, 3), np.nan), 1)[0]
    block[where((1, 2), {1: np.array([2, 0])})] = [[1, 2]]
    np.testing.assert_array_equal(block, [[2, np.nan, 1], [np.nan] * 3])
