from __future__ import annotations

import numpy as np
import pytest

import cropfit as cf
from cropfit.work.snapshot import CHEAP, snapshot


def fills(make):
    """A function that returns one and the same object, changed, for every case."""
    held = {}

    def function(x):
        return make(held, x)

    return function


def one_array(held, x):
    buffer = held.setdefault("buffer", np.zeros(4))
    buffer[:] = x
    return buffer


def one_big_array(held, x):
    buffer = held.setdefault("buffer", np.zeros(CHEAP))
    buffer[:] = x
    return buffer


def a_view(held, x):
    buffer = held.setdefault("buffer", np.zeros(8))
    buffer[:] = x
    return buffer[2:6]


@pytest.mark.parametrize("make", [one_array, one_big_array, a_view])
def test_a_buffer_that_is_returned_again_and_again_keeps_each_cases_values(tmp_path, make):
    crop = cf.Crop(fills(make), "buffer", parent_dir=tmp_path, var_names=["r"], verbosity=0)
    crop.sow_combos({"x": range(1, 30)}, batchsize=29)

    crop.grow()

    reaped = crop.reap()["r"]
    assert reaped.isel({reaped.dims[-1]: 0}).values.tolist() == list(range(1, 30))
    assert (reaped == reaped.x).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda held, x: (x, one_array(held, x)),
        lambda held, x: [x, one_array(held, x)],
        lambda held, x: {"a": x, "b": one_array(held, x)},
    ],
)
def test_arrays_inside_of_tuples_lists_and_dicts_are_kept_as_they_were(tmp_path, make):
    crop = cf.Crop(fills(make), "inside", parent_dir=tmp_path, var_names=["a", "b"], verbosity=0)
    crop.sow_combos({"x": range(1, 10)}, batchsize=9)

    crop.grow()

    reaped = crop.reap()
    assert reaped["b"][:, 0].values.tolist() == reaped["a"].values.tolist() == list(range(1, 10))


def test_a_list_that_grows_from_case_to_case_is_kept_as_it_was_each_time(tmp_path):
    def grows(held, x):
        held.setdefault("list", []).append(x)
        return held["list"]

    crop = cf.Crop(fills(grows), "list", parent_dir=tmp_path, verbosity=0)
    crop.sow_combos({"x": range(4)}, batchsize=4)

    crop.grow()

    assert crop.reap() == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_what_cannot_change_is_not_copied():
    result = (1.0, 2, "three", None, np.float32(4))

    assert snapshot(result) is result


def test_none_inside_of_a_result_is_a_value():
    array = np.zeros(2)

    kept = snapshot((None, array))

    assert kept[0] is None
    assert kept[1] is not array


def test_what_may_change_in_unknown_ways_is_to_be_written_at_once():
    assert snapshot(object()) is None
    assert snapshot((1, {2, 3})) is None
    assert snapshot(np.zeros(CHEAP)) is None
