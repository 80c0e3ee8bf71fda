from __future__ import annotations

import itertools
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from cropfit.errors import DesignError
from cropfit.grid import Block, Grid, build_grid, overlap

NAMES = ["a", "b", "c", "d", "e"]


def all_of(grid):
    return np.arange(grid.size)


@st.composite
def designs(draw):
    """Combos, cases, and what itertools says their rows are."""
    names = iter(NAMES)
    numbers = st.lists(st.integers(-9, 9), min_size=1, max_size=4, unique=True)
    factors, combos, cases = [], {}, None
    if draw(st.booleans()):
        pair = (next(names), next(names))
        rows = st.tuples(st.integers(0, 3), st.sampled_from("xyz"))
        cases = [
            dict(zip(pair, row, strict=True))
            for row in draw(st.lists(rows, min_size=1, max_size=5, unique=True))
        ]
        factors.append(cases)
    for _ in range(draw(st.integers(0 if cases else 1, 2))):
        name = next(names)
        combos[name] = draw(numbers)
        factors.append([{name: value} for value in combos[name]])
    left = list(names)
    if len(left) >= 2 and draw(st.booleans()):
        rows = st.tuples(st.floats(0, 1, width=16), st.booleans())
        zipped = draw(st.lists(rows, min_size=1, max_size=4, unique=True))
        combos[left[0], left[1]] = zipped
        factors.append([{left[0]: x, left[1]: y} for x, y in zipped])
    rows = [{k: v for f in row for k, v in f.items()} for row in itertools.product(*factors)]
    return combos, cases, rows


@given(designs())
def test_rows_come_in_the_order_of_itertools_product(design):
    combos, cases, rows = design
    grid = build_grid(combos, cases)
    assert grid.size == len(rows)
    assert list(grid.rows(all_of(grid))) == rows
    assert [grid.labels_of(i) for i in range(grid.size)] == rows


@given(designs(), st.randoms(use_true_random=False))
def test_any_choice_of_cases_gives_just_their_rows(design, random):
    combos, cases, rows = design
    grid = build_grid(combos, cases)
    chosen = [random.randrange(grid.size) for _ in range(7)]
    assert list(grid.rows(np.array(chosen))) == [rows[i] for i in chosen]


@given(designs())
def test_positions_point_at_the_labels(design):
    combos, cases, rows = design
    grid = build_grid(combos, cases)
    for name, positions in grid.positions(all_of(grid)).items():
        labels = grid.axes[name].labels[positions]
        assert labels.tolist() == [row[name] for row in rows]


@given(designs(), st.randoms(use_true_random=False))
def test_a_table_has_the_chosen_rows_and_no_other_labels(design, random):
    combos, cases, rows = design
    grid = build_grid(combos, cases)
    chosen = random.sample(range(grid.size), random.randint(1, grid.size))
    table = grid.table(np.array(chosen))
    assert list(table.rows(all_of(table))) == [rows[i] for i in chosen]
    assert [block.dim for block in table.blocks] == ["case"]
    assert table.names == grid.names
    for name, axis in table.axes.items():
        assert set(axis.labels.tolist()) == {rows[i][name] for i in chosen}


@given(designs(), st.randoms(use_true_random=False))
def test_overlap_is_what_comparing_all_rows_says(design, random):
    combos, cases, _ = design
    grid = build_grid(combos, cases)
    some = np.array(random.sample(range(grid.size), random.randint(1, grid.size)))
    table = grid.table(some)
    expected = np.isin(all_of(grid), some)
    assert overlap(grid, table).tolist() == expected.tolist()
    assert overlap(table, grid).all()


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True),
    st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True),
    st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True),
)
def test_overlap_of_two_grids_does_not_mind_the_order_of_axes(one, other, third):
    new = build_grid({"a": one, "b": other})
    old = build_grid({"b": third, "a": other})
    there = {(row["a"], row["b"]) for row in old.rows(all_of(old))}
    expected = [(row["a"], row["b"]) in there for row in new.rows(all_of(new))]
    assert overlap(new, old).tolist() == expected


def test_overlap_finds_zipped_cases_in_other_blocks():
    new = build_grid({("a", "b"): [(1, 1), (1, 2), (2, 2)], "c": [0, 1]})
    old = build_grid({("b", "c"): [(2, 1), (1, 0)], "a": [1]})
    both = overlap(new, old)
    assert [new.labels_of(i) for i in np.flatnonzero(both)] == [
        {"a": 1, "b": 1, "c": 0},
        {"a": 1, "b": 2, "c": 1},
    ]


def test_overlap_can_be_told_which_objects_are_the_same():
    new, old = build_grid({"x": [np.zeros(2)]}), build_grid({"x": [np.ones(2)]})
    assert overlap(new, old).tolist() == [True]  # both are labelled x0
    assert overlap(new, old, {"x": np.array([-1])}).tolist() == [False]


def test_overlap_tells_which_names_differ():
    with pytest.raises(DesignError, match=r"1 only in the new \('b'\); 1 only in the old \('c'\)"):
        overlap(build_grid({"a": 1, "b": 2}), build_grid({"a": 1, "c": 2}))


def test_overlap_of_large_grids_needs_a_byte_a_case():
    new = build_grid({"a": range(300), "b": range(100), "c": range(1000)})
    old = build_grid({"b": range(50, 60), "a": range(1), "c": range(1000)})
    tracemalloc.start()
    both = overlap(new, old)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert both.sum() == 10_000
    assert peak < 1.1 * new.size


def test_a_grid_of_a_billion_cases_is_built_at_once_and_small():
    tracemalloc.start()
    start = time.process_time()
    grid = build_grid({name: range(1000) for name in "abc"})
    row = next(grid.rows(np.array([10**9 - 1])))
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (grid.size, type(grid.size)) == (10**9, int)
    assert row == {"a": 999, "b": 999, "c": 999}
    assert seconds < 0.5
    assert peak < 1e6


def test_the_cases_come_first_and_vary_slowest():
    grid = build_grid({"x": [1, 2]}, [{"y": 5, "z": "b"}, {"y": 4, "z": "a"}])
    assert grid.names == ("y", "z", "x")
    assert grid.shape == (2, 2)
    assert [block.dim for block in grid.blocks] == ["case", "x"]
    assert list(grid.rows(np.array([1]))) == [{"y": 5, "z": "b", "x": 2}]
    assert repr(grid) == "Grid(case: 2 × x: 2)"


def test_a_zip_is_one_dimension_named_after_its_parameters():
    grid = build_grid({("a", "b"): [(1, 2), (1, 4)], "c": [0]})
    assert [block.dim for block in grid.blocks] == ["a_b", "c"]
    assert grid.axes["a"].labels.tolist() == [1]
    assert grid.blocks[0].codes.tolist() == [[0, 0], [0, 1]]
    assert grid.blocks[1].codes is None


def test_zips_come_from_arrays_and_iterators_too():
    for raw in (np.array([[1, 2], [3, 4]]), zip([1, 3], [2, 4], strict=True)):
        grid = build_grid({("a", "b"): raw})
        assert list(grid.rows(all_of(grid))) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_rows_reach_across_many_parts_of_a_large_batch():
    grid = build_grid({"a": range(100), "b": range(100)})
    rows = list(grid.rows(all_of(grid)))
    assert len(rows) == 10_000
    assert rows[-1] == {"a": 99, "b": 99}


@pytest.mark.parametrize("count", range(1, 6))
def test_rows_have_every_name_however_many(count):
    grid = build_grid({name: [i, i + 10] for i, name in enumerate(NAMES[:count])})
    assert list(grid.rows(np.array([0]))) == [{name: i for i, name in enumerate(NAMES[:count])}]


def test_objects_are_looked_up_when_their_turn_comes():
    read = []
    grid = build_grid({"x": {"a": 1, "b": 2}, "y": [10, 20]})
    rows = grid.rows(all_of(grid), {"x": lambda i: read.append(i) or f"object {i}"})
    assert read == []
    assert next(rows) == {"x": "object 0", "y": 10}
    assert read == [0]
    assert len(list(rows)) == 3
    assert read == [0, 0, 1, 1]


def test_object_values_are_the_users_own():
    data = np.zeros(3)
    grid = build_grid({"galaxy": {"NGC3198": data}})
    assert next(grid.rows(np.array([0])))["galaxy"] is data
    assert grid.labels_of(0) == {"galaxy": "NGC3198"}


def test_a_case_outside_of_the_grid_is_an_error():
    grid = build_grid({"a": [1, 2]})
    for flat in (-1, 2):
        with pytest.raises(IndexError, match="no such case"):
            grid.labels_of(flat)


def test_attrs_reach_the_axis_of_a_combo_and_those_of_a_frame_do_not():
    array = xr.DataArray([1.0, 2.0], dims="age", attrs={"units": "Gyr"})
    frame = pd.DataFrame({"b": [1, 2]})
    frame.attrs["source"] = "catalogue"
    grid = build_grid({"age": array}, frame)
    assert grid.axes["age"].attrs == {"units": "Gyr"}
    assert grid.axes["b"].attrs == {}


@pytest.mark.parametrize(
    ("combos", "cases", "message"),
    [
        (None, None, "no combos and no cases"),
        ({}, None, "no combos and no cases"),
        ({}, [], "cases are empty"),
        ({"a": []}, None, "'a' has no values"),
        ({("a", "b"): []}, None, r"combos of \(a, b\): there are no rows"),
        ({("a", "b"): {"x": (1, 2)}}, None, r"combos of \(a, b\): rows of 2 values are needed"),
        ({("a", "b"): [(1, 2), (3,)]}, None, r"combos of \(a, b\): 1 of 2 rows"),
        ({("a", "b"): [(1, 2), (1, 2)]}, None, r"1 rows are there already \({'a': 1, 'b': 2}\)"),
        ({("a", "a"): [(1, 2)]}, None, "twice in combos: 'a'"),
        ({"a": [1], ("a", "b"): [(1, 2)]}, None, "twice in combos: 'a'"),
        ({"a": [1]}, [{"a": 1}], "in both cases and combos: 'a'"),
        ({"a": [1, 1]}, None, "'a' holds 1 values more than once"),
        ({"a b": [1]}, None, "cannot be arguments of a function: 'a b'"),
        (None, [{"a": 1}, {"a": 2}, {"a": 1}], r"cases: 1 rows are there already \({'a': 1}\)"),
        (None, [{"a": 0.3}, {"a": 0.1 + 0.2}], "'a' holds 1 pairs"),
        (None, [{"a": float("nan")}], "'a' holds 1 NaN"),
        ({"case": [1]}, [{"a": 1}], "the dimension 'case'"),
        ({"a_b": [1], ("a", "b"): [(1, 2)]}, None, "the dimension 'a_b'"),
        ({name: range(2**16) for name in NAMES}, None, "more cases than can be numbered"),
    ],
)
def test_what_cannot_be_sown_is_refused_by_name(combos, cases, message):
    with pytest.raises(DesignError, match=message):
        build_grid(combos, cases)


def test_a_table_of_no_case_or_of_one_twice_is_refused():
    grid = build_grid({"a": [1, 2]})
    with pytest.raises(DesignError, match="no cases"):
        grid.table(np.array([], np.intp))
    with pytest.raises(DesignError, match="more than once"):
        grid.table(np.array([1, 1]))


@settings(max_examples=30)
@given(st.integers(2, 12), st.integers(2, 40))
def test_many_columns_of_many_labels_never_collide(columns, rows):
    """The product of the axes is far beyond 64 bits; rows are still told apart."""
    names = [f"p{i}" for i in range(columns)]
    cases = [tuple(range(i, i + columns)) for i in range(rows)]
    grid = build_grid(None, cases, names)
    assert grid.size == rows
    assert overlap(grid, grid.table(np.array([0]))).tolist() == [True] + [False] * (rows - 1)


def test_a_grid_can_be_put_together_from_what_a_disk_holds():
    grid = build_grid({"a": [1, 2]}, [{"b": 3}])
    again = Grid(tuple(Block(block.axes, block.codes, block.dim) for block in grid.blocks))
    assert list(again.rows(all_of(again))) == list(grid.rows(all_of(grid)))
