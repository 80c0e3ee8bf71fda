from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropfit.axes import Axis, make_axis, make_column, match_labels
from cropfit.errors import DesignError


def values_of(axis, positions=None):
    positions = np.arange(len(axis)) if positions is None else np.asarray(positions)
    return list(axis.reader()(positions))


def test_python_values_come_back_as_python_and_arrays_as_numpy():
    assert [type(v) for v in values_of(make_axis("x", [1, 2]))] == [int, int]
    assert [type(v) for v in values_of(make_axis("x", ["a"]))] == [str]
    assert [type(v) for v in values_of(make_axis("x", np.array([1, 2])))] == [np.int64] * 2
    assert [type(v) for v in values_of(make_axis("x", [1, 0.5]))] == [int, float]


def test_labels_are_a_copy_that_cannot_be_changed():
    mine = np.array([1.0, 2.0])
    axis = make_axis("x", mine)
    mine[0] = 7
    assert axis.labels.tolist() == [1.0, 2.0]
    assert not axis.labels.flags.writeable


def test_objects_are_read_one_at_a_time():
    read = []

    def lookup(position):
        read.append(position)
        return f"object {position}"

    values = iter(make_axis("x", {"a": 1, "b": 2}).reader(lookup)(np.array([1, 0])))
    assert read == []
    assert next(values) == "object 1"
    assert read == [1]


def test_objects_that_are_on_disk_need_a_lookup():
    axis = Axis("x", np.array(["a"]), kind="object")
    with pytest.raises(DesignError, match="1 objects of 'x' are not in memory"):
        axis.reader()


def test_taking_labels_takes_their_values_along():
    axis = make_axis("x", {"a": 1.5, "b": 2.5, "c": 3.5}).take(np.array([2, 0]))
    assert axis.labels.tolist() == ["c", "a"]
    assert axis.values == (3.5, 1.5)


def test_a_label_for_a_message_is_a_python_scalar():
    assert type(make_axis("x", np.array([1.5], "f4")).label(0)) is float
    assert make_axis("x", np.array(["2020-01-01"], "M8[ns]")).label(0).startswith("2020-01-01T")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "'x' has no values"),
        ({}, "'x' has no values"),
        (np.array([]), "'x' has no values"),
        (range(0), "'x' has no values"),
        ([1, 2, 1, 2, 1], r"'x' holds 2 values more than once \(1, 2\)"),
        ([1, 1.0], r"more than once \(1.0\)"),
        (["a", "a"], r"more than once \('a'\)"),
        ([None, None], r"more than once \(None\)"),
        ([len, len], "more than once"),
        ([True, True], "more than once"),
        ([0.0, -0.0], "more than once"),
        ([float("inf"), float("inf")], "more than once"),
        (np.array(["2020", "2020"], "M8[Y]"), r"more than once \('2020'\)"),
        ([0.3, 0.1 + 0.2], "0.3 and 0.30000000000000004"),
        ({0.3: 1, 0.1 + 0.2: 2}, "1 pairs of values closer than 1e-12 relative"),
        ([1 + 1j, 1 + 1.0000000000000002j], "closer than"),
    ],
)
def test_empty_repeated_and_too_close_values_are_refused(raw, message):
    with pytest.raises(DesignError, match=message):
        make_axis("x", raw)


def test_values_that_only_look_close_are_kept():
    assert len(make_axis("x", [0.0, 1e-300, 1.0, 1 + 1e-11, float("inf"), -float("inf")])) == 6
    assert len(make_axis("x", [10**15, 10**15 + 1])) == 2


def test_a_column_has_sorted_labels_and_a_position_for_each_row():
    axis, codes = make_column("x", [3, 1, 3, 2])
    assert axis.labels.tolist() == [1, 2, 3]
    assert codes.tolist() == [2, 0, 2, 1]


def test_a_column_of_objects_keeps_the_order_of_first_appearance():
    one, other = np.zeros(2), np.ones(2)
    axis, codes = make_column("x", [other, one, other])
    assert axis.values[0] is other
    assert axis.labels.tolist() == ["x0", "x1"]
    assert codes.tolist() == [0, 1, 0]


def test_one_and_one_point_zero_in_a_column_are_one_float():
    axis, codes = make_column("x", [1, 2.5, 1.0])
    assert axis.values is None
    assert axis.labels.tolist() == [1.0, 2.5]
    assert codes.tolist() == [0, 1, 0]


def test_equal_moments_of_two_time_zones_stay_two_objects():
    noon = pd.Timestamp("2020-01-01 12:00", tz="UTC")
    axis, codes = make_column("x", [noon, noon.tz_convert("Asia/Tokyo"), noon])
    assert axis.values == (noon, noon)
    assert axis.labels.tolist() == ["x0", "x1"]
    assert codes.tolist() == [0, 1, 0]


def test_a_column_of_values_too_close_is_refused():
    with pytest.raises(DesignError, match="'x' holds 1 pairs"):
        make_column("x", [0.3, 0.1 + 0.2])


@pytest.mark.parametrize(
    ("new", "old", "place"),
    [
        ([1, 5, 2], [2, 1], [1, -1, 0]),
        ([1, 2], [2.0, 0.5], [-1, 0]),
        ([0.1 + 0.2, 0.4], [0.3, 0.5], [0, -1]),
        (["b", "c"], ["a", "b"], [1, -1]),
        (["1"], [1], [-1]),
        ([True], [1], [-1]),
        (np.array(["2020-01-01"], "M8[D]"), np.array(["2020-01-01"], "M8[ns]"), [0]),
        ([float("inf")], [1.0, float("inf")], [1]),
        ({"a": 1, "b": 2}, {"b": 3}, [-1, 0]),
    ],
)
def test_labels_are_found_again(new, old, place):
    assert match_labels(make_axis("x", new), make_axis("x", old)).tolist() == place


@given(st.lists(st.integers(-50, 50)), st.lists(st.integers(-50, 50)))
def test_every_label_is_found_where_it_is(new, old):
    new, old = list(dict.fromkeys(new)) or [0], list(dict.fromkeys(old)) or [0]
    place = match_labels(make_axis("x", new), make_axis("x", old))
    assert place.tolist() == [old.index(v) if v in old else -1 for v in new]
