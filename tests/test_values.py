from __future__ import annotations

import datetime as dt
import enum
import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from cropfit.errors import DesignError
from cropfit.values import identity, object_labels, read_column, read_values, some


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    ("raw", "dtype"),
    [
        ([1, 2], "int64"),
        (range(2, 8, 3), "int64"),
        ((0.5, 1.5), "float64"),
        ([True, False], "bool"),
        (["a", "bcd"], "<U3"),
        ([1j, 2j], "complex128"),
        ((i for i in (1, 2)), "int64"),
        ([dt.date(2020, 1, 1)], "datetime64[D]"),
        ([dt.datetime(2020, 1, 1, 12)], "datetime64[us]"),
        ([dt.timedelta(seconds=1)], "timedelta64[us]"),
    ],
)
def test_plain_python_values_are_their_own_labels(raw, dtype):
    found = read_values("x", raw)
    assert found.labels.dtype == dtype
    assert (found.kind, found.scalar, found.given) == ("plain", "python", None)


@pytest.mark.parametrize(
    "raw",
    [
        np.array([1, 2], "i2"),
        np.array([1, 2], ">f4"),
        np.array(["a", "b"]),
        np.array(["2020-01-01"], "M8[ns]"),
        [np.float32(1), np.float32(2)],
        pd.Index([1.5, 2.5]),
        pd.date_range("2020", periods=3),
        np.float64(3),
        np.array(3),
    ],
)
def test_values_of_arrays_stay_numpy_scalars(raw):
    found = read_values("x", raw)
    assert (found.kind, found.scalar, found.given) == ("plain", "numpy", None)
    assert found.labels.dtype.isnative
    np.testing.assert_array_equal(found.labels, np.atleast_1d(np.asarray(raw)))


def test_attrs_of_series_and_dataarrays_are_kept():
    series = pd.Series([1, 2])
    series.attrs["units"] = "Gyr"
    array = xr.DataArray([1.0, 2.0], dims="x", attrs={"units": "K"})
    assert read_values("x", series).attrs == {"units": "Gyr"}
    assert read_values("x", array).attrs == {"units": "K"}


def test_one_value_is_a_list_of_one():
    for single in ("text", 3, None, int, print, b"ab", Path("a")):
        assert len(read_values("x", single)) == 1


def test_an_enum_class_means_its_members():
    found = read_values("x", Colour)
    assert found.given == [Colour.RED, Colour.BLUE]
    assert object_labels("x", found.given).tolist() == ["RED", "BLUE"]


def test_a_list_of_ints_and_floats_keeps_each_as_given_under_float_labels():
    found = read_values("x", [1, 2.5])
    assert found.labels.dtype == "float64"
    assert list(map(type, found.given)) == [int, float]
    assert found.kind == "plain"


def test_numpy_and_python_numbers_in_one_list_become_pythons():
    found = read_values("x", [np.float32(0.5), 1.5, np.int8(3)])
    assert found.given == [0.5, 1.5, 3]
    assert list(map(type, found.given)) == [float, float, int]


def test_a_mapping_gives_objects_under_its_labels_without_a_copy():
    spectrum = np.arange(3)
    found = read_values("x", {"a": spectrum, "b": None})
    assert found.labels.tolist() == ["a", "b"]
    assert found.given[0] is spectrum
    assert found.kind == "object"


def test_pandas_and_zoned_times_are_objects_labelled_in_utc():
    noon = dt.datetime(2020, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    found = read_values("x", [noon])
    assert found.labels[0] == np.datetime64("2020-01-01T10:00")
    assert found.given == [noon]
    assert found.kind == "object"
    stamps = list(pd.date_range("2020", periods=2))
    assert read_values("x", stamps).labels[1] == np.datetime64("2020-01-02")


def test_a_quantity_reaches_the_function_with_its_unit():
    class Quantity(np.ndarray):
        unit = "kpc"

    raw = np.array([1.0, 2.0]).view(Quantity)
    found = read_values("x", raw)
    assert found.attrs == {"units": "kpc"}
    assert found.labels.tolist() == [1.0, 2.0]
    assert found.kind == "object"


@pytest.mark.parametrize(
    ("objects", "labels"),
    [
        ([int, len], ["int", "len"]),
        ([None, 1, "auto"], ["None", "1", "auto"]),
        ([(1, 2), [3, 4]], ["(1, 2)", "[3, 4]"]),
        ([Path("a.fits"), Path("b.fits")], ["a.fits", "b.fits"]),
        ([np.zeros(2), np.ones(2)], ["x0", "x1"]),
        ([1, "1"], ["x0", "x1"]),
        ([lambda: 1, functools.partial(int)], ["x0", "x1"]),
        (["a" * 41, None], ["x0", "None"]),
    ],
)
def test_objects_are_labelled_by_themselves_or_by_number(objects, labels):
    assert object_labels("x", objects).tolist() == labels


def test_equal_simple_values_are_one_and_equal_arrays_are_not():
    assert identity((1, "a")) == identity((1, "a"))
    assert identity(1) != identity(1.0)
    one, other = np.zeros(2), np.zeros(2)
    assert identity(one) == identity(one)
    assert identity(one) != identity(other)


def test_text_that_numpy_would_cut_is_an_object():
    found = read_column("x", ["a\0", "a"])
    assert found.kind == "object"
    assert object_labels("x", found.given).tolist() == ["'a\\x00'", "a"]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([1.0, np.nan], r"'x' holds 1 NaN or NaT among 2 values \(at: 1\)"),
        (np.array([np.nan, 1]), "1 NaN"),
        (np.array(["NaT"], "M8[s]"), "1 NaN or NaT"),
        ([None, float("nan")], r"at: 1"),
        (pd.array([1, None], dtype="Int64"), "1 NaN"),
        ([pd.NaT], "1 NaN or NaT"),
        (np.zeros((2, 3)), r"shape \(2, 3\)"),
        (pd.DataFrame({"a": [1]}), r"shape \(1, 1\)"),
        (xr.Dataset({"a": 1}), "is a Dataset"),
        ({1, 2}, "is a set"),
        ([1, 2**63], r"1 ints beyond 64 bits \(first: 9223372036854775808\)"),
        (range(2**63, 2**63 + 2), "2 ints beyond 64 bits"),
        (np.array([2**63], "u8"), "1 ints beyond"),
        (np.array([1], np.longdouble), "no file format keeps"),
        ([2**53 + 1, 0.5], "1 ints that no float holds"),
        (np.ma.array([1, 2], mask=[0, 1]), "1 masked"),
        ({"a": 1, 2: 2}, "labels that are not all text"),
        ({(1, 2): 1}, "labels that are not all text"),
    ],
)
def test_what_can_be_no_label_is_refused_by_name(raw, message):
    with pytest.raises(DesignError, match=message):
        read_values("x", raw)


def test_structured_records_are_objects():
    records = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    found = read_values("x", records)
    assert found.kind == "object"
    assert found.given[0]["b"] == 2.0


def test_a_message_shows_few_and_short_offenders():
    assert some([1, 2, 3, 4]) == "1, 2, 3, ..."
    assert len(some(["a" * 1000])) == 40
