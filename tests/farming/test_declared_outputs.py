"""A result that contradicts the declaration is its case's error while it is grown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cropfit as cf

DECLARED: dict[str, Any] = {
    "var_names": ["p", "q"],
    "var_dims": {"q": ["k"]},
    "var_coords": {"k": [1.0, 2.0, 3.0]},
}
GOOD = (1.0, np.arange(3.0))
BAD: dict[str, tuple[Any, str]] = {
    "one output too few": (1.0, "2 outputs were declared"),
    "one output too many": ((1.0, np.arange(3.0), 2), "2 outputs were declared"),
    "other names": ({"p": 1.0, "r": 2.0}, "2 outputs were declared"),
    "no dimension": ((1.0, 2.0), "'q' was declared .* k \\(3\\), but a single float came"),
    "a dimension too many": ((1.0, np.ones((3, 3))), "array of shape \\(3, 3\\) came"),
    "other length": ((1.0, np.arange(4.0)), "array of shape \\(4,\\) came"),
    "objects": ((1.0, np.array([None, 1, "a"])), "ndarray of object came"),
    "nothing": ((1.0, None), "a NoneType came"),
}


def grown(bad: Any, at: int, **options: Any) -> cf.Crop:
    crop = cf.Crop(lambda a: bad if a == at else GOOD, "it", verbosity=0, **{**DECLARED, **options})
    crop.sow_combos({"a": range(6)})
    crop.grow()
    return crop


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("num_batches", [1, 6])
def test_it_is_recorded_with_its_arguments_and_costs_nobody_else(
    here: Path, name: str, num_batches: int
) -> None:
    bad, why = BAD[name]

    crop = grown(bad, 4, num_batches=num_batches)

    (failure,) = crop.errors()
    assert failure["arguments"] == {"a": 4}
    assert failure["type"].endswith("ResultError")
    with pytest.raises(cf.ResultError, match=why):
        raise cf.ResultError(failure["message"])
    ds = crop.reap(allow_incomplete=True)
    assert ds.a.values[np.isnan(ds.p.values)].tolist() == [4]
    assert ds.q.sel(a=5).values.tolist() == [0.0, 1.0, 2.0]


def test_a_mended_function_computes_the_bad_case_alone(here: Path) -> None:
    broken = here / "broken"
    broken.touch()

    def fn(a: int) -> Any:
        return (a / 2, 2.0 if a == 4 and broken.exists() else np.arange(3.0))

    crop = cf.Crop(fn, "it", verbosity=0, num_batches=2, **DECLARED)
    crop.sow_combos({"a": range(6)})
    crop.grow()
    broken.unlink()

    assert crop.grow_missing().cases == 1
    assert crop.reap().p.values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_lists_and_ints_fit_where_their_shape_does(here: Path) -> None:
    crop = grown((1, [1, 2, 3]), 4)
    assert crop.errors() == []
    assert crop.reap().q.sel(a=4).values.tolist() == [1.0, 2.0, 3.0]


def test_lengths_that_no_coordinate_tells_may_differ(here: Path) -> None:
    crop = grown((1.0, np.arange(5.0)), 4, var_coords=None)
    assert crop.errors() == []
    assert crop.reap().q_length.values.tolist() == [3, 3, 3, 3, 5, 3]


def test_a_constant_that_is_a_coordinate_tells_the_length(here: Path) -> None:
    crop = cf.Crop(
        lambda a, k: np.arange(a),
        "it",
        var_names="y",
        var_dims=["k"],
        constants={"k": [1, 2]},
        verbosity=0,
    )
    crop.sow_combos({"a": [1, 2, 3]})
    crop.grow()
    assert [failure["arguments"]["a"] for failure in crop.errors()] == [1, 3]


def test_a_constant_that_can_be_no_coordinate_is_refused_when_sown(here: Path) -> None:
    crop = cf.Crop(lambda a, k: [1], "it", var_names="y", var_dims=["k"], constants={"k": [[1]]})
    with pytest.raises(cf.DesignError, match="'k' must be a 1-D array"):
        crop.sow_combos({"a": [1]})
    assert not crop.is_prepared()


def test_undeclared_outputs_are_judged_by_nobody(here: Path) -> None:
    crop = cf.Crop(np.ones, "it", var_names="y", verbosity=0)
    crop.sow_combos({"shape": [1, 2, 3]})
    crop.grow()
    assert crop.reap().y_length.values.tolist() == [1, 2, 3]


def test_named_dimensions_of_dicts_are_held_to_as_well(here: Path) -> None:
    crop = cf.Crop(
        lambda a: {"y": [1.0] * a}, "it", var_dims={"y": ["k"]}, var_coords={"k": [1, 2]}
    )
    crop.sow_combos({"a": [1, 2]})
    crop.grow()
    assert [failure["arguments"]["a"] for failure in crop.errors()] == [1]
