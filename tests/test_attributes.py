"""Attributes survive JSON with their types; what has no form of its own becomes text."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest

from cropfit.attributes import TAG, from_plain, to_plain


def through_json(value):
    return from_plain(json.loads(json.dumps(to_plain(value), allow_nan=False)))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        2**80,
        -0.5,
        "text \0 \ud800 ü",
        b"bytes",
        1 + 2j,
        [],
        [1, [2.5, None]],
        (),
        (1, "a", [True]),
        {"a": {"b": (1,)}},
        {1: "int key", (1, 2): "tuple key"},
        {TAG: "a key of our own"},
        {1, 2},
        frozenset(),
        dt.datetime(2001, 2, 3, 4, 5, 6, 7),
        dt.datetime(2001, 2, 3, tzinfo=dt.timezone.utc),
        dt.date(2001, 2, 3),
        dt.time(1, 2, 3),
        dt.timedelta(days=-1, microseconds=5),
        np.float32(0.1),
        np.int8(-3),
        np.complex64(1j),
        np.datetime64("2001-02-03", "ns"),
        np.timedelta64("NaT", "s"),
    ],
)
def test_a_value_comes_back_with_its_type(value):
    again = through_json(value)
    assert type(again) is type(value)
    assert repr(again) == repr(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_float_that_json_does_not_know_comes_back(value):
    assert repr(through_json([value])) == repr([value])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 0, 3)),
        np.array([[1, 2], [3, 4]], "u1"),
        np.array([True, False]),
        np.array([1j, np.nan]),
        np.array(["a", "bcd"]),
        np.array(["2001-01-01", "NaT"], "M8[ms]"),
    ],
)
def test_an_array_comes_back_with_shape_and_dtype(array):
    again = through_json(array)
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


def test_an_object_becomes_its_repr():
    assert through_json({"fn": dt}) == {"fn": repr(dt)}


def test_a_numpy_bool_becomes_a_bool():
    assert through_json(np.True_) is True
