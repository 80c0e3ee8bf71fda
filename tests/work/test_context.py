"""What a running function may ask, and how it may leave."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from steps import Tally

import cropfit as cf
from cropfit.work.context import Unfinished


@pytest.fixture
def leaving(here):
    """A crop of one batch whose case 2 leaves once, with a checkpoint; and its calls."""
    tally = Tally(here / "calls")

    def leave_at_two(x):
        tally.add(x)
        case = cf.current_case()
        if x == 2:
            saved = f"{case.checkpoint_dir}/half"
            if not os.path.exists(saved):
                with open(saved, "w") as file:
                    file.write("50")
                case.leave()
            with open(saved) as file:
                return int(file.read()) + x
        return x

    crop = cf.Crop(fn=leave_at_two, name="grid", var_names="y", batchsize=4, verbosity=0)
    crop.sow_combos({"x": range(4)})
    return crop, tally


@pytest.mark.parametrize("options", [{}, {"fresh": True}, {"retries": 2}], ids=str)
def test_a_function_that_leaves_is_taken_up_from_its_checkpoint(leaving, options):
    crop, tally = leaving

    first = crop.grow(**options)
    assert (first.reason, first.exit_code, first.cases) == ("stop", 75, 2)
    assert os.listdir(f"{crop.location}/sown") == ["000001"]
    second = crop.grow(**options)

    assert second.exit_code == 0
    assert tally.all() == ["0", "1", "2", "2", "3"]
    assert crop.errors() == []
    (results,) = os.listdir(f"{crop.location}/grown/000001")  # the checkpoint is gone
    assert results.startswith("results.")
    assert crop.reap().y.values.tolist() == [0, 1, 52, 3]


def test_a_function_that_leaves_when_its_time_is_over_ends_the_worker_for_that(here):
    def work(x):
        case = cf.current_case()
        while not case.should_stop():
            continue
        case.leave()

    crop = cf.Crop(fn=work, name="grid", verbosity=0)
    crop.sow_combos({"x": [1]})
    report = crop.grow(deadline=time.time() + 0.2)
    assert (report.reason, report.exit_code, report.failures) == ("time", 75, [])


def test_random_numbers_depend_on_seed_and_case_alone(here):
    def draw(x):
        return cf.current_case().rng.normal()

    drawn = []
    for batchsize, shuffle in ((1, False), (3, 5), (10, False)):
        crop = cf.Crop(fn=draw, name="grid", var_names="y", batchsize=batchsize, verbosity=0)
        crop.sow_combos({"x": range(10)}, seed=7, shuffle=shuffle)
        crop.grow()
        drawn.append(crop.reap(to=False, clean_up=True).y.values)

    assert len(set(drawn[0])) == 10
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])


def test_a_function_that_asks_can_be_called_by_hand():
    case = cf.current_case()
    assert (case.index, case.batch, case.attempt) == (0, 0, 1)
    assert case.time_left() == float("inf")
    assert not case.should_stop()
    assert 0 <= case.seed < 2**32
    with pytest.raises(Unfinished, match="case 0"):
        case.leave()
