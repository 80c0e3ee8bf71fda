from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cropfit.errors import DesignError
from cropfit.tables import check_names, read_cases, read_combos, read_rows


def test_combos_are_a_mapping_or_pairs():
    pairs = [(("a",), [1]), (("b", "c"), [(1, 2)])]
    assert read_combos({"a": [1], ("b", "c"): [(1, 2)]}) == pairs
    assert read_combos([("a", [1]), (["b", "c"], [(1, 2)])]) == pairs
    assert read_combos(("a", [1, 2])) == read_combos([("a", [1, 2])])
    assert read_combos(None) == []


def test_a_zip_of_one_name_is_a_combo():
    assert read_combos({("a",): [(1,), (2,)]}) == [(("a",), [1, 2])]


@pytest.mark.parametrize("combos", ["ab", 3, ["ab"], [("a", 1, 2)], ("a", "b"), ("a", [1], [2])])
def test_what_is_no_mapping_and_no_pairs_is_refused(combos):
    with pytest.raises(DesignError, match="combos"):
        read_combos(combos)


def test_dicts_tuples_arrays_and_frames_give_the_same_columns():
    rows = [(1, 2), (3, 4)]
    wanted = {"a": [1, 3], "b": [2, 4]}
    for cases, names in (
        ([{"a": 1, "b": 2}, {"b": 4, "a": 3}], None),
        (rows, ("a", "b")),
        (iter(rows), ["a", "b"]),
        (np.array(rows), ["a", "b"]),
        (pd.DataFrame(rows, columns=["a", "b"]), None),
        (pd.DataFrame(rows, columns=["a", "b"]), ("a", "b")),
    ):
        columns = read_cases(cases, names)
        assert {name: list(column) for name, column in columns.items()} == wanted


def test_one_name_takes_bare_values_or_rows_of_one():
    assert read_cases([1, 2], "a") == {"a": [1, 2]}
    assert read_cases([(1,), (2,)], ["a"]) == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("cases", "names", "message"),
    [
        ([], None, "cases are empty"),
        ([], "a", "cases are empty"),
        (pd.DataFrame({"a": []}), None, "cases are empty"),
        ([{}], None, "cases are empty"),
        ({"a": [1]}, None, "list of dicts"),
        ("ab", "a", "list of dicts"),
        (3, "a", "list of dicts"),
        ([(1, 2)], None, "names are needed"),
        ([{"a": 1}, {"b": 1}], None, r"1 of 2 rows .* \(rows 1; row 1 lacks 'a' and adds 'b'\)"),
        ([{"a": 1}, 3], None, "row 1 is 3"),
        ([(1, 2), (3,), (4,)], ("a", "b"), r"2 of 3 rows are not 2 values \(rows 1, 2; row 1"),
        (["ab"], ("a", "b"), "row 0 is 'ab'"),
        (np.zeros((2, 3)), ("a", "b"), "2 of 2 rows are not 2 values"),
        ([(1, 2)], ("a", "a"), "1 names are twice in cases: 'a'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), None, "twice in cases"),
        (pd.DataFrame({"a": [1]}), ("b",), "columns 'a' are not the names 'b'"),
        (pd.DataFrame({"a b": [1]}), None, "cannot be arguments of a function: 'a b'"),
    ],
)
def test_cases_that_do_not_fit_their_names_are_refused(cases, names, message):
    with pytest.raises(DesignError, match=message):
        read_cases(cases, names)


@pytest.mark.parametrize("name", [1, "1a", "a b", "", None, "a-b"])
def test_names_that_no_function_can_take_are_refused(name):
    with pytest.raises(DesignError, match="1 names cannot be arguments"):
        check_names([], [(name,)])


def test_names_given_twice_are_refused():
    with pytest.raises(DesignError, match="1 names are in both cases and combos: 'a'"):
        check_names(["a", "b"], [("a",)])
    with pytest.raises(DesignError, match="1 names are twice in combos: 'a'"):
        check_names([], [("a",), ("a", "b")])
    with pytest.raises(DesignError, match="no name"):
        check_names([], [()])


def test_rows_keep_objects_by_reference():
    spectrum = np.zeros(3)
    assert read_rows("zip", ("a", "b"), [(1, spectrum)])["b"][0] is spectrum
