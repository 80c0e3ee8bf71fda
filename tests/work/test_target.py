"""Every case has one cell, and scattered cases do not become a mostly empty grid."""

from __future__ import annotations

import numpy as np
import pytest
from grown_results import sow

from cropfit.errors import DesignError
from cropfit.work.target import join_labels, plan_layout


def labels_by_cell(target, sowings):
    """Cell → labels, as the coordinates say and as the sowing says."""
    pairs = []
    for number, sown in enumerate(sowings):
        flat = np.arange(sown.grid.size)
        cells = target.cells(number, flat)
        for cell, case in zip(cells.tolist(), flat.tolist(), strict=True):
            at = dict(zip(target.dims, np.unravel_index(cell, target.shape), strict=True))
            shown = {
                name: each.labels[tuple(at[dim] for dim in each.dims)]
                for name, each in target.coords.items()
            }
            pairs.append((shown, sown.grid.labels_of(case)))
    return pairs


def check(sowings, layout="auto"):
    target = plan_layout(sowings, layout)
    for shown, meant in labels_by_cell(target, sowings):
        assert shown == pytest.approx(meant, rel=1e-12) if _numbers(meant) else shown == meant
    return target


def _numbers(labels):
    return all(isinstance(value, (int, float)) for value in labels.values())


def test_combos_are_a_grid_that_the_cases_follow():
    target = check([sow({"x": [3, 1, 2], "y": ["a", "b"]})])
    assert target.dims == ("x", "y")
    assert target.shape == (3, 2)
    assert target.shift(0) == 0
    np.testing.assert_array_equal(target.coords["x"].labels, [3, 1, 2])


def test_a_zip_stays_one_dimension():
    target = check([sow({("a", "b"): [(1, 2.5), (3, 4.5)], "c": [1, 2]})])
    assert target.dims == ("a_b", "c")
    assert target.coords["a"].dims == ("a_b",)
    assert target.coords["b"].dims == ("a_b",)


def test_thirty_scattered_cases_stay_thirty_cells():
    rng = np.random.default_rng(1)
    rows = [dict(zip("abc", row, strict=True)) for row in rng.random((30, 3)).tolist()]
    target = check([sow(cases=rows)])
    assert target.dims == ("case",)
    assert target.size == 30
    assert target.shift(0) == 0


def test_cases_that_nearly_fill_their_grid_become_one():
    rows = [{"a": a, "b": b} for a in (2, 1) for b in "xyz"][:-1]
    target = check([sow(cases=rows)])
    assert target.dims == ("a", "b")
    assert (target.size, target.filled) == (6, 5)
    assert target.shift(0) is None


def test_scattered_cases_times_combos_keep_the_combos_as_dimensions():
    rows = [{"a": i, "b": -i} for i in range(5)]
    target = check([sow({"c": [1, 2]}, rows)])
    assert target.dims == ("case", "c")
    assert target.coords["a"].dims == ("case",)


@pytest.mark.parametrize(
    ("layout", "dims"), [("grid", ("a", "b", "c")), ("case", ("case",)), ("auto", ("case", "c"))]
)
def test_a_layout_can_be_asked_for(layout, dims):
    rows = [{"a": i, "b": -i} for i in range(5)]
    assert check([sow({"c": [1, 2]}, rows)], layout).dims == dims


def test_an_unknown_layout_is_refused():
    with pytest.raises(DesignError, match="'sparse'"):
        plan_layout([sow({"x": [1]})], "sparse")


def test_a_parameter_called_case_leaves_the_dimension_another_name():
    target = check([sow({"case": [1, 2], "b": [3, 4]})], "case")
    assert target.dims == ("case_number",)


def test_appended_values_take_their_place_in_the_sorted_axis():
    first = sow({"x": [1, 3], "y": [1, 2]})
    target = check([first, sow({"x": [2], "y": [1, 2]}, after=first)])
    np.testing.assert_array_equal(target.coords["x"].labels, [1, 2, 3])
    assert (target.size, target.filled) == (6, 6)


def test_appended_values_of_an_unsorted_axis_come_last():
    first = sow({"x": [3, 1]})
    target = check([first, sow({"x": [2]}, after=first)])
    np.testing.assert_array_equal(target.coords["x"].labels, [3, 1, 2])


def test_floats_that_differ_by_rounding_are_one_coordinate():
    first = sow({"x": [0.1, 0.3]})
    target = check([first, sow({"x": [0.1 + 0.2, 0.5]}, after=first)])
    np.testing.assert_array_equal(target.coords["x"].labels, [0.1, 0.3, 0.5])
    assert (target.size, target.filled) == (3, 3)


def test_appended_ints_and_floats_meet():
    first = sow({"x": [1, 2]})
    target = check([first, sow({"x": [1.5]}, after=first)])
    np.testing.assert_array_equal(target.coords["x"].labels, [1, 1.5, 2])


def test_appended_corners_that_leave_most_of_a_grid_empty_become_cases():
    first = sow({"x": range(5), "y": range(5)})
    second = sow({"x": range(10, 15), "y": range(10, 15)}, after=first)
    assert check([first, second]).dims == ("x", "y")  # half full
    third = sow({"x": range(20, 25), "y": range(20, 25)}, after=second)
    assert check([first, second, third]).dims == ("case",)


def test_combos_appended_to_cases_share_the_axes():
    first = sow(cases=[{"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 1, "b": 2}])
    target = check([first, sow({"b": [3], "a": [1, 2]}, after=first)])
    assert target.dims == ("a", "b")
    assert target.shape == (2, 3)


def test_sowings_of_other_parameters_have_no_common_dataset():
    first = sow({"x": [1]})
    with pytest.raises(DesignError, match=r"\['x'\] and \['y'\]"):
        plan_layout([first, sow({"y": [1]}, after=first)])


def test_labels_with_nothing_in_common_become_text():
    labels, positions = join_labels([np.array([1, 2]), np.array(["a", "1"])])
    assert labels.tolist() == ["1", "2", "a"]
    assert [each.tolist() for each in positions] == [[0, 1], [2, 0]]


def test_units_survive():
    import xarray as xr

    x = xr.DataArray([1.0, 2.0], dims="x", attrs={"units": "m"})
    assert plan_layout([sow({"x": x})]).coords["x"].attrs == {"units": "m"}
