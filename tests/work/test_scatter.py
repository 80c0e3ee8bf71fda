"""What was put in any order comes out in order."""

from __future__ import annotations

import os

import numpy as np
import pytest

from cropfit.work import scatter
from cropfit.work.scatter import Scatter


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("drawer", [1, 200, 1 << 20])
def test_scattered_values_come_out_in_order(shape, drawer, tmp_path, monkeypatch):
    monkeypatch.setattr(scatter, "DRAWER", drawer)
    rng = np.random.default_rng(0)
    meant = rng.random((50, *shape))
    cells = rng.permutation(50)[:40]
    held = Scatter(50, shape, meant.dtype, np.nan, str(tmp_path))
    for part in np.array_split(cells, 7):
        held.put(part, meant[part])
    found = np.concatenate([values for _, values in held.parts()])
    missing = np.setdiff1d(np.arange(50), cells)
    meant[missing] = np.nan
    np.testing.assert_array_equal(found, meant)
    assert os.listdir(tmp_path) == []


def test_the_last_value_of_a_cell_counts(tmp_path):
    held = Scatter(3, (), np.dtype("i8"), -1, str(tmp_path), most=2)
    held.put(np.array([2, 0, 1]), np.array([1, 2, 3]))
    held.put(np.array([2, 0]), np.array([4, 5]))
    ((first, values),) = held.parts()
    assert (first, values.tolist()) == (0, [5, 3, 4])


def test_text_of_fixed_width_can_be_scattered(tmp_path):
    held = Scatter(2, (2,), np.dtype("U3"), "", str(tmp_path))
    held.put(np.array([1]), np.array([["a", "bcd"]]))
    ((_, values),) = held.parts()
    assert values.tolist() == [["", ""], ["a", "bcd"]]
