"""Results are of one make exactly if one plan fits them all."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from grown_results import Grown, sow

from cropfit.work.survey import Survey, columns_of, common, equal


def survey(fn, names=None, values=(1, 2)):
    found = Survey()
    for chunk in Grown(sow({"a": values}, num_batches=1), fn, names, run=1)(1).chunks:
        found.add(chunk, len(chunk))
    return found


@pytest.mark.parametrize(
    ("fn", "names", "makes"),
    [
        (lambda a: a / 2, ["r"], 1),
        (lambda a: a if a == 1 else 0.5, ["r"], 2),
        (lambda a: np.zeros((a,)), ["r"], 2),
        (lambda a: "x" * a, ["r"], 1),
        (lambda a: {"k": a}, None, 1),
        (lambda a: {"k" * a: a}, None, 2),
        (lambda a: xr.DataArray([a], {"t": [0]}, ["t"]), None, 1),
        (lambda a: xr.DataArray([a], {"t": [a]}, ["t"]), None, 2),
        (lambda a: xr.DataArray([a], dims="t", attrs={"z": a}), None, 2),
    ],
)
def test_results_are_told_apart_by_all_but_their_values(fn, names, makes):
    found = survey(fn, names)
    assert (len(found.makes), found.cases) == (makes, 2)


def test_a_nameless_array_gets_a_name():
    (chunk,) = Grown(sow({"a": [1]}), lambda a: xr.DataArray([a]))(1).chunks
    assert list(columns_of(chunk)) == ["result"]


def test_only_what_all_agree_on_is_common():
    assert common([{"a": 1, "b": np.nan, "c": [1]}, {"a": 2, "b": np.nan}]).keys() == {"b"}
    assert common([]) == {}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1, True),
        (1, True, False),
        (np.array([np.nan]), np.array([np.nan]), True),
        (np.array(["a"]), np.array(["b"]), False),
    ],
)
def test_equal_means_same_type_and_value(one, other, same):
    assert equal(one, other) is same
