"""Merging Datasets: positions, types, coordinates and conflicts."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import cropfit as cf
from cropfit.farming.merge import merge


def ds(x: Any, values: Any, name: str = "z", **attrs: Any) -> xr.Dataset:
    return xr.Dataset({name: ("x", np.asarray(values), attrs)}, {"x": np.asarray(x)})


TYPES = [
    np.array([1, 2, 3], np.int64),
    np.array([2**60 + 1, -(2**62), 7], np.int64),
    np.array([1, 2, 3], np.uint8),
    np.array([True, False, True]),
    np.array([1.5, -0.0, 3], np.float32),
    np.array([1.5, 2, 3]),
    np.array([1j, 2, 3]),
    np.array(["a", "long text", "ü"]),
    np.array(["2020-01-01", "2021-01-01", "NaT"], "M8[s]"),
    np.array([1, 2, 3], "m8[ns]"),
]


@pytest.mark.parametrize("values", TYPES, ids=lambda v: f"{v.dtype}-{v[0]}")
def test_a_block_that_completes_another_keeps_the_type_bit_by_bit(values: Any) -> None:
    merged = merge(ds([1, 3], values[[0, 2]]), ds([2], values[[1]]))

    assert merged["z"].dtype.kind == values.dtype.kind
    np.testing.assert_array_equal(merged["z"].values, values)
    assert merged["x"].values.tolist() == [1, 2, 3]
    if values.dtype.kind != "U":
        assert merged["z"].dtype == values.dtype


def grid(x: Any, y: Any, values: Any) -> xr.Dataset:
    return xr.Dataset({"z": (("x", "y"), np.asarray(values))}, {"x": x, "y": y})


def test_what_is_missing_makes_floats_of_ints_and_they_become_ints_again_when_it_comes() -> None:
    corner = merge(grid([1], [1], [[5]]), grid([2], [2], [[6]]))
    assert corner["z"].dtype == np.float64
    np.testing.assert_array_equal(corner["z"].values, [[5, np.nan], [np.nan, 6]])

    half = merge(corner, grid([1], [2], [[7]]))
    whole = merge(half, grid([2], [1], [[8]]))
    assert whole["z"].dtype == np.int64
    assert whole["z"].values.tolist() == [[5, 7], [8, 6]]


def test_bools_that_were_incomplete_are_bools_again_when_they_are_not() -> None:
    corner = merge(grid([1], [1], [[True]]), grid([2], [2], [[False]]))
    whole = merge(merge(corner, grid([1], [2], [[False]])), grid([2], [1], [[True]]))

    assert whole["z"].dtype == bool
    assert whole["z"].values.tolist() == [[True, False], [True, False]]


def test_large_ints_never_become_wrong_floats() -> None:
    with pytest.raises(cf.ResultError, match="float64 cannot hold"):
        merge(grid([1], [1], [[2**60 + 1]]), grid([2], [2], [[1]]))
    with pytest.raises(cf.ResultError, match="no type holds"):
        merge(ds([1], [2**60 + 1]), ds([2], [0.5]))


def test_a_declared_fill_value_keeps_the_type_and_counts_as_missing() -> None:
    def filled(x: Any, y: Any, values: Any) -> xr.Dataset:
        made = grid(x, y, values)
        made["z"].attrs["cropfit_fill_value"] = -1
        return made

    corner = merge(filled([1], [1], [[2**60 + 1]]), filled([2], [2], [[6]]))
    assert corner["z"].dtype == np.int64
    assert corner["z"].values.tolist() == [[2**60 + 1, -1], [-1, 6]]
    whole = merge(corner, filled([1, 2], [1, 2], [[-1, 3], [4, -1]]))
    assert whole["z"].values.tolist() == [[2**60 + 1, 3], [4, 6]]


def test_floats_that_differ_by_rounding_are_one_coordinate() -> None:
    merged = merge(ds([0.3, 0.5], [1, 2]), ds([0.1 + 0.2, 0.7], [1, 3]))

    assert merged["x"].values.tolist() == [0.3, 0.5, 0.7]
    assert merged["z"].values.tolist() == [1, 2, 3]
    apart = merge(ds([0.3], [1]), ds([0.3001], [2]))
    assert apart.sizes["x"] == 2
    assert merge(ds([0.3], [1]), ds([0.3001], [1]), rtol=1e-2).sizes["x"] == 1


def test_conflicts_are_told_with_place_and_number_and_can_be_decided() -> None:
    old, new = ds([1, 2, 3], [1.0, 2.0, np.nan]), ds([2, 3, 4], [5.0, 6.0, 7.0])
    with pytest.raises(cf.ConflictError, match=r"1 values .*'z': 1 \(x=2: 2.0 there, 5.0 new\)"):
        merge(old, new)

    assert merge(old, new, overwrite=True)["z"].values.tolist() == [1, 5, 6, 7]
    assert merge(old, new, overwrite=False)["z"].values.tolist() == [1, 2, 6, 7]
    assert merge(old, ds([2, 3], [2.0, np.nan]))["z"].values[:2].tolist() == [1, 2]


def test_a_missing_new_value_never_replaces_one_that_is_there() -> None:
    merged = merge(ds([1, 2], [1.0, 2.0]), ds([1, 2], [np.nan, 9.0]), overwrite=True)

    assert merged["z"].values.tolist() == [1, 9]


def test_further_variables_and_dimensions_find_their_place() -> None:
    old = xr.Dataset({"a": ("x", [1, 2]), "s": ((), 5)}, {"x": [1, 2]}, {"who": "old"})
    new = xr.Dataset(
        {"b": (("y", "x"), [[1.5]]), "s": ((), 5)}, {"x": [3], "y": ["p"]}, {"who": "new", "n": 1}
    )
    merged = merge(old, new)

    assert merged["a"].values.tolist()[:2] == [1, 2]
    assert np.isnan(merged["a"].values[2])
    assert merged["b"].sel(x=3, y="p") == 1.5
    assert merged["b"].isnull().sum() == 2
    assert (merged["s"].item(), merged.attrs) == (5, {"who": "old", "n": 1})


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(cf.ResultError, match="'z' has dimensions"):
        merge(ds([1], [1]), xr.Dataset({"z": ("y", [1])}, {"y": [1]}))
    with pytest.raises(cf.ResultError, match=r"'t' has length 2 .* and 3"):
        merge(xr.Dataset({"z": ("t", [1, 2])}), xr.Dataset({"z": ("t", [1, 2, 3])}))
    with pytest.raises(cf.ResultError, match="coordinate 'x'"):
        merge(ds(["a"], [1]), ds([1], [1]))
    with pytest.raises(cf.ResultError, match="'z' is"):
        merge(ds([1], ["a"]), ds([2], [1.0]))


def test_units_of_variables_and_coordinates_survive() -> None:
    old, new = ds([1], [1.0], units="m"), ds([2], [2.0], long_name="length")
    new["x"].attrs["units"] = "s"
    merged = merge(old, new)

    assert merged["z"].attrs == {"units": "m", "long_name": "length"}
    assert merged["x"].attrs == {"units": "s"}


labels = st.lists(st.integers(0, 8), min_size=1, max_size=6, unique=True)


@settings(deadline=None, max_examples=150)
@given(labels, labels, labels, labels, st.sampled_from([None, True, False]))
def test_every_value_stands_where_its_labels_say(
    x1: list[int], y1: list[int], x2: list[int], y2: list[int], overwrite: bool | None
) -> None:
    def truth(x: list[int], y: list[int]) -> xr.Dataset:
        return grid(x, y, [[10 * i + j for j in y] for i in x])

    merged = merge(truth(x1, y1), truth(x2, y2), overwrite=overwrite)
    cells = {(i, j) for i in x1 for j in y1} | {(i, j) for i in x2 for j in y2}

    assert set(merged["x"].values.tolist()) == {*x1, *x2}
    assert set(merged["y"].values.tolist()) == {*y1, *y2}
    for i in merged["x"].values.tolist():
        for j in merged["y"].values.tolist():
            value = merged["z"].sel(x=i, y=j).item()
            assert value == 10 * i + j if (i, j) in cells else np.isnan(value)
    complete = len(cells) == merged["z"].size
    assert merged["z"].dtype == (np.int64 if complete else np.float64)


def test_text_that_is_missing_is_empty_as_in_a_reap_and_objects_are_null() -> None:
    text = merge(grid([1], [1], [["a"]]).astype(object), grid([2], [2], [["b"]]).astype(object))
    mixed = merge(grid([1], [1], [["a"]]).astype(object), grid([2], [2], [[None]]).astype(object))

    assert text["z"].values.tolist() == [["a", ""], ["", "b"]]
    assert mixed["z"].isnull().values.tolist() == [[False, True], [True, True]]


def test_objects_without_dimensions_are_compared_too() -> None:
    def one(value: Any) -> xr.Dataset:
        return xr.Dataset({"s": ((), np.array(value, object))})

    assert merge(one("a"), one("a"))["s"].item() == "a"
    assert merge(one(None), one("a"))["s"].item() == "a"
    with pytest.raises(cf.ConflictError, match="a there, b new"):
        merge(one("a"), one("b"))


@pytest.mark.parametrize("begin", [0, 500, 1000], ids=["same", "half", "behind"])
def test_a_merge_needs_memory_for_its_result_and_little_more(
    begin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cropfit.farming.merge.PIECE", 1 << 18)
    values = np.arange(4_000_000, dtype=float).reshape(1000, 4000)
    old = xr.Dataset({"z": (("x", "t"), values)}, {"x": np.arange(1000)})
    new = xr.Dataset({"z": (("x", "t"), values[:]), "x": np.arange(1000) + begin})
    tracemalloc.start()
    try:
        merged = merge(old, new, overwrite=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < merged["z"].nbytes + (4 << 20)


kinds = st.sampled_from(["i8", "u2", "?", "f4", "f8", "c16", "M8[s]", "m8[ns]", "U3", "O"])
cells = st.lists(st.integers(0, 3), min_size=4, max_size=4)


@settings(deadline=None, max_examples=200)
@given(kinds, cells, cells, st.sampled_from([(0, 1), (1, 2), (2, 3)]), st.booleans())
def test_each_cell_comes_from_who_has_it_whatever_the_type(
    kind: str, one: list[int], other: list[int], second: tuple[int, int], overwrite: bool
) -> None:
    """0 stands for what is missing, where the type knows such a thing."""
    names = {"U3": ["", "a", "bb", "ccc"], "O": ["", "a", "bb", "ccc"]}
    dtype = np.dtype(kind)
    nothing = {"f": np.nan, "c": np.nan, "M": np.datetime64("NaT"), "m": np.timedelta64("NaT")}
    alphabet = np.array(names.get(kind, [nothing.get(dtype.kind, 0), 1, 2, 3]), dtype)

    def made(x: tuple[int, ...], codes: list[int]) -> xr.Dataset:
        return grid(list(x), [0, 1], alphabet[np.array(codes).reshape(2, 2)])

    merged = merge(made((0, 1), one), made(second, other), overwrite=overwrite)["z"]
    truth = {(k // 2, k % 2): code for k, code in enumerate(one)}
    knows = dtype.kind not in "iub"
    for k, code in enumerate(other):
        at = second[k // 2], k % 2
        wins = at not in truth or (overwrite and (code or not knows)) or (knows and not truth[at])
        truth[at] = code if wins else truth[at]

    assert merged.dtype == dtype
    for (x, y), code in truth.items():
        np.testing.assert_array_equal(merged.sel(x=x, y=y).values, alphabet[code])


def test_each_side_may_have_its_own_value_for_what_is_missing() -> None:
    old, new = (
        ds([1, 2], [5, -1], cropfit_fill_value=-1),
        ds([2, 3], [7, -9], cropfit_fill_value=-9),
    )
    merged = merge(old, new)["z"]

    assert merged.values.tolist() == [5, 7, -1]
    assert merged.attrs == {"cropfit_fill_value": -1}
