"""What a running function may ask, and how it may leave."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import GROW, Gate, Tally, start, tree

import cropfit as cf
from cropfit.work.context import Unfinished


def draw(x: int) -> float:
    return float(cf.current_case().rng.random())


def drawn(name: str, *, seed: int = 1, grow: Any = None, **sowing: Any) -> list[float]:
    crop = cf.Crop(draw, name, verbosity=0, var_names="z")
    crop.sow_combos({"x": range(12)}, seed=seed, **sowing)
    (grow or cf.Crop.grow)(crop)
    return crop.reap(to=False, clean_up=True).z.values.tolist()


def test_random_numbers_depend_on_seed_and_case_alone(here: Path) -> None:
    plain = drawn("plain", num_batches=12)

    assert len(set(plain)) == 12
    assert drawn("batched", num_batches=2) == plain
    assert drawn("shuffled", batchsize=5, shuffle=9) == plain
    assert drawn("dealt", num_batches=3, cost=[*range(12)]) == plain
    assert drawn("processes", grow=lambda crop: crop.grow(num_workers=2)) == plain
    assert drawn("backwards", grow=lambda crop: crop.grow(range(12, 0, -1))) == plain
    assert drawn("other seed", seed=2) != plain


def test_random_numbers_are_the_same_on_every_attempt(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> float:
        value = float(cf.current_case().rng.random())
        tally.add(value)
        if cf.current_case().attempt < 3:
            raise ValueError
        return value

    crop = cf.Crop(work, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": [1]}, seed=1)
    crop.grow(retries=1)
    crop.grow_missing()

    assert len(tally.all()) == 3
    assert len(set(tally.all())) == 1


def test_the_seed_is_recorded_and_a_plain_number_can_be_had(here: Path) -> None:
    crop = cf.Crop(lambda x: cf.current_case().seed, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(5)}, seed=77)
    crop.grow()
    ds = crop.reap(to=False)

    assert ds.attrs["cropfit_seed"] == 77
    assert len(set(ds.z.values.tolist())) == 5
    assert ds.z.dtype == np.int64


def test_index_batch_and_attempt_are_those_of_the_case(here: Path) -> None:
    def work(x: int, y: int) -> tuple[int, int, int]:
        case = cf.current_case()
        return case.index, case.batch, case.attempt

    crop = cf.Crop(work, "it", verbosity=0)
    crop.sow_combos({"x": [1, 2], "y": [1, 2, 3]}, batchsize=2)
    crop.grow()

    assert crop.reap() == [(k, k // 2 + 1, 1) for k in range(6)]


def test_a_checkpoint_survives_a_kill_and_goes_when_its_case_is_done(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> str:
        path = Path(cf.current_case().checkpoint_dir) / "state"
        if x == 1 and not path.exists():
            path.write_text("half way")
            gate.stop_here()
        return path.read_text() if path.exists() else "new"

    crop = cf.Crop(work, "it", verbosity=0)
    crop.sow_combos({"x": [0, 1, 2]}, num_batches=1)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    worker.kill()
    worker.communicate()
    (left,) = Path(crop.location, "growing").glob("*/checkpoint/1/state")
    assert left.read_text() == "half way"
    crop.grow()

    assert [name.split(".")[0] for name in os.listdir(f"{crop.location}/grown/000001")] == [
        "results"
    ]
    assert crop.reap() == ["new", "half way", "new"]


def test_a_checkpoint_of_a_failed_case_is_kept_for_the_next_try(here: Path) -> None:
    def work(x: int) -> str:
        path = Path(cf.current_case().checkpoint_dir) / "state"
        if not path.exists():
            path.write_text("half way")
            raise ValueError
        return path.read_text()

    crop = cf.Crop(work, "it", verbosity=0)
    crop.sow_combos({"x": [0, 1]}, num_batches=1)
    crop.grow()
    assert crop.status().failed == 1
    crop.grow_missing()

    assert len(tree(f"{crop.location}/grown/000001")) == 1
    assert crop.reap() == ["half way", "half way"]


def test_time_left_and_should_stop_follow_the_deadline(here: Path) -> None:
    def work(x: int) -> tuple[float, bool]:
        case = cf.current_case()
        return case.time_left(), case.should_stop()

    crop = cf.Crop(work, "it", verbosity=0)
    crop.sow_combos({"x": [0, 1]})
    crop.grow(1, walltime=100)
    crop.grow(2)
    (limited, stops), (unlimited, never) = crop.reap()

    assert 90 < limited <= 100
    assert unlimited == float("inf")
    assert (stops, never) == (False, False)


def test_should_stop_tells_a_running_function_that_stop_was_called(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> str:
        before = cf.current_case().should_stop()
        gate.stop_here()
        end = time.monotonic() + 20
        while not cf.current_case().should_stop() and time.monotonic() < end:
            pass
        return f"{before} {cf.current_case().should_stop()}"

    crop = cf.Crop(work, "it", verbosity=0)
    crop.sow_combos({"x": [0]})
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    crop.stop()
    gate.let_go()
    worker.communicate(timeout=200)

    assert crop.reap() == ["False True"]


def test_by_hand_it_is_a_case_of_its_own(here: Path) -> None:
    assert 0 <= draw(1) < 1
    case = cf.current_case()
    assert (case.index, case.batch, case.attempt) == (0, 0, 1)
    assert case.time_left() == float("inf")
    assert not case.should_stop()
    assert 0 <= case.seed < 2**32
    assert os.path.isdir(case.checkpoint_dir)
    assert str(here) not in case.checkpoint_dir
    with pytest.raises(Unfinished, match="case 0"):
        case.leave()


def test_random_numbers_need_no_more_than_the_index(here: Path) -> None:
    """Appended cases go on where the numbers of the first ones end."""
    crop = cf.Crop(draw, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(4)}, seed=1)
    crop.sow_combos({"x": range(4, 8)}, exists="append")
    crop.grow()
    appended = crop.reap(to=False, clean_up=True).z.values.tolist()

    assert appended == drawn("whole")[:8]


@pytest.mark.parametrize("way", ["thread", "process"])
def test_a_thread_of_the_function_may_ask_only_by_handing_on(here: Path, way: str) -> None:
    """What another thread or a forked child sees is its own affair, never another case's."""
    import concurrent.futures as cfut
    import threading

    def work(x: int) -> int:
        case = cf.current_case()
        if way == "thread":
            with cfut.ThreadPoolExecutor(1) as pool:
                return int(pool.submit(lambda: case.index).result())
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(case.index))
        thread.start()
        thread.join()
        return found[0]

    crop = cf.Crop(work, "it", verbosity=0)
    crop.sow_combos({"x": [5, 6]})
    crop.grow()

    assert crop.reap() == [0, 1]


# -- leaving ---------------------------------------------------------------------------


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


def test_a_function_may_grow_another_crop_and_is_still_in_its_own_case(here: Path) -> None:
    def work(x: int) -> tuple[int, int, list[int]]:
        before = cf.current_case().index
        inner = cf.Crop(lambda y: cf.current_case().index, f"inner{x}", verbosity=0)
        inner.sow_combos({"y": [1, 2, 3]})
        inner.grow()
        return before, cf.current_case().index, inner.reap(to=False, clean_up=True)

    crop = cf.Crop(work, "it", verbosity=0)
    crop.sow_combos({"x": [1, 2]})
    crop.grow()

    assert crop.reap() == [(0, 0, [0, 1, 2]), (1, 1, [0, 1, 2])]
    assert tree(here) == ["it.pkl"]
