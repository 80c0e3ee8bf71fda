"""One dtype for all results of a variable, without changing any of them."""

from __future__ import annotations

import numpy as np
import pytest

from cropfit.errors import DesignError
from cropfit.work.kinds import OBJECT, clock, held_as, missing_of, type_of
from cropfit.work.survey import Sort


def array(dtype, shape=()):
    return Sort("array", np.dtype(dtype).str, shape, shape)


TEXT, PICKLE = Sort("text", "", (), ()), Sort("pickle", "", (), ())


@pytest.mark.parametrize(
    ("sorts", "dtype", "is_text"),
    [
        ([], "f8", False),
        ([array("i2")], "i2", False),
        ([array("i2"), array("f4")], "f4", False),
        ([array("i8"), array("u8")], "f8", False),
        ([array("?"), array("i8")], "O", False),
        ([TEXT], "O", True),
        ([TEXT, array("U3")], "O", True),
        ([TEXT, array("f8")], "O", False),
        ([PICKLE, array("f8")], "O", False),
        ([array("U3", (2,))], "U3", False),
        ([array("f8"), array("f8", (2,))], "O", False),
        ([array("M8[D]"), array("M8[ms]")], "M8[ms]", False),
        ([array("M8[D]")], "M8[s]", False),
    ],
)
def test_sorts_have_a_common_type(sorts, dtype, is_text):
    assert type_of(sorts) == (np.dtype(dtype), is_text)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("s", "s"), ("D", "s"), ("Y", "s"), ("ns", "ns"), ("10ms", "ns"), ("ps", "ns")],
)
def test_times_are_kept_in_a_unit_that_xarray_knows(given, kept):
    assert clock(np.dtype(f"M8[{given}]")) == np.dtype(f"M8[{kept}]")


def test_every_type_has_a_missing_value():
    assert np.isnan(missing_of(np.dtype("f4"), False))
    assert np.isnat(missing_of(np.dtype("m8[s]"), False))
    assert missing_of(np.dtype("U3"), False) == missing_of(OBJECT, True) == ""
    assert missing_of(OBJECT, False) is None


@pytest.mark.parametrize(
    ("dtype", "value"), [("i8", -1), ("f4", np.nan), ("?", False), ("f8", 3), ("u1", 255)]
)
def test_a_fill_value_takes_the_type_of_its_variable(dtype, value):
    held = held_as("v", np.dtype(dtype), False, value, strict=True)
    assert held.dtype == np.dtype(dtype)
    np.testing.assert_equal(held.item(), value)


@pytest.mark.parametrize(("dtype", "value"), [("u1", -1), ("i8", np.nan), ("i4", 2**40)])
def test_a_fill_value_that_would_change_is_refused(dtype, value):
    with pytest.raises(DesignError, match="'v'"):
        held_as("v", np.dtype(dtype), False, value, strict=False)


def test_a_fill_value_of_another_nature_is_for_other_variables():
    assert held_as("v", np.dtype("M8[s]"), False, -1, strict=False) is None
    assert held_as("v", OBJECT, True, -1, strict=False) is None
    with pytest.raises(DesignError, match="'v', which is text"):
        held_as("v", OBJECT, True, -1, strict=True)
