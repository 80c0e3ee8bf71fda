"""One batch, case by case: what is written, when, and what a kill at any point costs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import GROW, Gate, Tally, start, tree

import cropfit as cf
from cropfit.errors import DesignError
from cropfit.work.batch import Policy


def sown(fn: Any, cases: int = 5, **options: Any) -> cf.Crop:
    crop = cf.Crop(fn, "it", verbosity=0, var_names=options.pop("var_names", "z"))
    crop.sow_combos({"x": range(cases)}, **{"num_batches": 1, **options})
    return crop


def test_a_kill_costs_the_case_in_hand_and_what_took_less_than_a_millisecond(here: Path) -> None:
    gate = Gate(here / "gate")
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        if x < 1000:
            return x
        time.sleep(0.002)
        if x == 1004 and tally.all().count("1004") == 1:
            gate.stop_here()
        return x

    crop = sown(work, cases=1010)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    worker.kill()
    worker.communicate()
    assert crop.grow().grown == [1]

    again = [x for x in range(1010) if tally.all().count(str(x)) > 1]
    assert again == [1004]
    assert crop.reap().z.values.tolist() == [*range(1010)]


def test_a_batch_leaves_one_file_in_the_end(here: Path) -> None:
    crop = sown(lambda x: np.full(1000, x), cases=50, var_names=["z"])
    crop.grow()

    assert len(tree(f"{crop.location}/grown")) == 2  # the folder and its file
    assert {p.name for p in Path(crop.location).iterdir()} == {
        "crop.json",
        "function.pkl",
        "failed",
        "grown",
        "growing",
        "ignored",
        "sown",
    }


def test_a_long_batch_can_be_looked_into_while_it_grows(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        if x == 3:
            gate.stop_here()
        time.sleep(0.002)
        return x

    crop = sown(work)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    seen = crop.peek().z.count().item()
    gate.let_go()
    worker.communicate(timeout=200)

    assert seen == 3


def test_an_object_that_is_torn_fails_its_case_alone_and_is_not_tried_again(here: Path) -> None:
    """There is nothing to call the function with."""
    crop = cf.Crop(lambda star: float(star.sum()), "it", verbosity=0, var_names="z")
    crop.sow_combos({"star": {f"s{k}": np.full(1000, float(k)) for k in range(3)}}, num_batches=1)
    objects = Path(crop.location) / "objects-1.bin"
    content = bytearray(objects.read_bytes())
    content[len(content) // 2] ^= 1
    objects.write_bytes(content)

    crop.grow(retries=2)

    (failure,) = crop.errors()
    assert failure["type"].endswith("DamagedError")
    assert (failure["offset"], failure["attempt"], failure["final"]) == (1, 1, True)
    ds = crop.reap(to=False, allow_incomplete=True)
    assert ds.z.sel(star=["s0", "s2"]).values.tolist() == [0.0, 2000.0]


def test_a_function_that_changes_its_object_does_not_change_the_next_case(here: Path) -> None:
    def work(data: Any, n: int) -> float:
        data["v"] += 1
        return float(data["v"].sum())

    crop = cf.Crop(work, "it", verbosity=0, var_names="z")
    crop.sow_combos({"data": {"a": {"v": np.zeros(3)}}, "n": range(4)}, num_batches=1)
    crop.grow()

    assert crop.reap().z.values.tolist() == [[3, 3, 3, 3]]


def test_a_function_that_returns_the_same_buffer_keeps_each_cases_values(here: Path) -> None:
    code_buffer = np.zeros(3)

    def work(x: int) -> Any:
        code_buffer[:] = x
        return code_buffer

    crop = sown(work)
    crop.grow()

    assert crop.reap().z.values.tolist() == [[x] * 3 for x in range(5)]


def test_the_last_case_ends_its_batch_whatever_time_is_left(here: Path) -> None:
    """A job of one case that takes more than half of its time is done, not given back."""

    def work(x: int) -> int:
        time.sleep(2)
        return x

    crop = sown(work, cases=1)
    report = crop.grow(walltime=3)

    assert (report.grown, report.reason) == ([1], "done")


def test_a_deep_stack_of_results_of_many_kinds_survives(here: Path) -> None:
    results = [None, 1, "two", [3, {4: (5,)}], {"six": 7}, np.arange(8), b"nine", {10}, 11.0]
    crop = sown(lambda x: results[x], cases=len(results), var_names=None)
    crop.grow()
    found = crop.reap()

    for result, expected in zip(found, results, strict=True):
        assert type(result) is type(expected)
        assert np.array_equal(result, expected)


@pytest.mark.parametrize("options", [{"retries": -1}, {"max_fails": 0}])
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(DesignError, match=next(iter(options))):
        Policy(**options)


def test_deaths_and_failures_are_counted_apart(here: Path) -> None:
    """A case that raised twice and was retried is not poison because one worker was killed."""
    gate = Gate(here / "gate")
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        if len(tally.all()) <= 2:
            raise ValueError
        if len(tally.all()) == 3:
            gate.stop_here()
        return x

    crop = sown(work, cases=1)
    crop.grow()
    crop.grow_missing()
    assert crop.retry() == [1]
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    worker.kill()
    worker.communicate()
    report = crop.grow()

    assert (report.grown, report.failed) == ([1], [])
    assert len(tally.all()) == 4
    assert os.listdir(f"{crop.location}/growing") == []
