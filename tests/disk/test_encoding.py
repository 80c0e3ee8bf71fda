"""How a variable stands in the file is decided by its type alone."""

from __future__ import annotations

import numpy as np
import pytest

from cropfit.disk.encoding import DTYPE, decode, decode_attrs, encode_attrs, plan
from cropfit.errors import ResultError


@pytest.mark.parametrize(
    ("dtype", "raw", "dims"),
    [
        ("i4", "i4", ("x",)),
        ("?", "i1", ("x",)),
        ("c16", "f8", ("x", "complex")),
        ("M8[s]", "i8", ("x",)),
        ("U3", "O", ("x",)),
        ("S3", "u1", ("x", "v_bytes")),
        ("f2", "f4", ("x",)),
        (">i2", "=i2", ("x",)),
    ],
)
def test_a_type_has_its_form(dtype, raw, dims):
    stored = plan("v", ("x",), (2,), np.dtype(dtype), {})
    assert (stored.raw, stored.dims) == (np.dtype(raw), dims)
    values = np.zeros(2, dtype)
    again = decode(stored.encode(values), stored.attrs)
    assert again.dtype == values.dtype
    np.testing.assert_array_equal(again, values)


def test_numbers_are_not_copied():
    values = np.arange(5.0)
    assert plan("v", ("x",), (5,), values.dtype, {}).encode(values) is values


@pytest.mark.parametrize("dtype", ["g", "G", "V4", "M8[D]", "M8[7s]"])
def test_a_type_without_a_form_is_refused_by_name(dtype):
    with pytest.raises(ResultError, match="'v'"):
        plan("v", ("x",), (1,), np.dtype(dtype), {})


def test_plain_attributes_are_written_as_they_are():
    attrs = {"units": "m", "valid_range": [0, 1], "n": 3}
    assert encode_attrs(attrs) == attrs
    assert decode_attrs(attrs) == attrs


def test_marks_of_the_file_are_no_attributes():
    stored = plan("v", ("x",), (1,), np.dtype("M8[s]"), {"long_name": "time"})
    assert set(stored.attrs) == {"units", "calendar", DTYPE, "long_name"}
    assert decode_attrs(stored.attrs) == {"long_name": "time"}
