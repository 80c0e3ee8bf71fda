"""``Dataset.cropfit``: what is missing, and what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import python

import cropfit as cf


def both(a: int, b: float) -> tuple[int, Any]:
    if a == 2 and b == 0.5:
        raise ValueError("never")
    return a, np.array([a, b])


@pytest.fixture
def crop(here: Path) -> cf.Crop:
    crop = cf.Crop(both, "it", var_names=["z", "y"], var_dims={"y": ["t"]}, verbosity=0)
    crop.sow_combos({"a": [1, 2, 3], "b": [0.5, 1.5]}, batchsize=1)
    crop.grow([1, 2, 3, 4])
    return crop


def test_missing_cases_can_be_run_as_they_are_told(crop: cf.Crop) -> None:
    ds = crop.reap(to=False, allow_incomplete=True)

    assert ds.cropfit.parameters == ("a", "b")
    missing = ds.cropfit.missing()
    assert missing == [{"a": 2, "b": 0.5}, {"a": 3, "b": 0.5}, {"a": 3, "b": 1.5}]
    rest = cf.Runner(lambda a, b: (a, np.array([a, b])), ["z", "y"], var_dims={"y": ["t"]})
    assert rest.run_cases(missing, layout="case")["z"].values.tolist() == [2, 3, 3]


def test_trim_drops_coordinates_without_any_result(crop: cf.Crop) -> None:
    ds = crop.peek().cropfit.trim()

    assert ds["a"].values.tolist() == [1, 2]
    assert ds["b"].values.tolist() == [0.5, 1.5]


def test_the_table_has_a_row_for_each_case_that_is_there(crop: cf.Crop) -> None:
    frame = crop.peek().cropfit.to_df()

    assert frame[["a", "b"]].values.tolist() == [[1, 0.5], [1, 1.5], [2, 1.5]]
    assert frame["z"].tolist() == [1, 1, 2]


def test_it_is_there_for_datasets_that_were_read_and_costs_a_plain_import_nothing(
    crop: cf.Crop,
) -> None:
    crop.ignore([3, 5, 6])
    crop.reap()
    code = (
        "import sys, cropfit as cf; assert 'xarray' not in sys.modules; "
        "ds = cf.load_dataset('it.nc'); print(len(ds.cropfit.missing()))"
    )
    assert python(code) == "3\n"
