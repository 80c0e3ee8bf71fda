"""What a case costs, in calls and in bytes: counted, for a clock would tell of the machine.

The interpreter reports each call of a function to a profiler. What is counted differs between
a crop and one of more cases; divided by the difference it is the price of a case.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cropfit as cf
from cropfit.work import batch

MIB = 1 << 20


def first_of(star: np.ndarray) -> float:
    return float(star[0])


def product_of_two(a: float, b: float) -> float:
    return a * b


def spectrum(a: int) -> np.ndarray:
    return np.full(MIB // 8, float(a))


def made(folder: Path, function: Callable[..., Any], combos: Any, **options: Any) -> cf.Crop:
    name = f"c{len(list(folder.glob('.crop-*')))}"
    crop = cf.Crop(function, name, parent_dir=folder, var_names=["r"], verbosity=0, **options)
    crop.sow_combos(combos)
    return crop


def calls_in(work: Callable[[], Any]) -> int:
    """How many functions `work` calls, those of the interpreter included."""
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    former = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(former)
    return count


def peak_of(work: Callable[[], Any]) -> int:
    """Bytes that Python and numpy hold at most while `work` is done, over those before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.fixture
def written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are written by the millisecond, which has more cases on a faster machine."""
    monkeypatch.setattr(batch, "FLUSH_AFTER", 3600.0)


def price(work: Callable[[int], Callable[[], Any]], few: int, many: int) -> float:
    """Calls that each further case (or batch) costs; what is made once is made beforehand."""
    work(1)()
    first, second = calls_in(work(few)), calls_in(work(many))
    return (second - first) / (many - few)


@pytest.mark.usefixtures("written_at_once")
def test_growing_a_case_calls_little_more_than_its_function(tmp_path):
    """The case's arguments are made, the clock is read, result and time are put in a list."""

    def work(rows: int) -> Callable[[], Any]:
        combos = {"a": range(rows), "b": range(100)}
        return made(tmp_path, product_of_two, combos, num_batches=1).grow

    assert price(work, 20, 100) / 100 <= 6


def test_sowing_a_case_of_a_grid_calls_nothing(tmp_path):
    def work(rows: int) -> Callable[[], Any]:
        return lambda: made(
            tmp_path, product_of_two, {"a": range(100), "b": range(rows)}, num_batches=10
        )

    assert price(work, 100, 1100) / 100 < 0.1


@pytest.mark.usefixtures("written_at_once")
def test_reaping_a_case_calls_nothing(tmp_path):
    def work(rows: int) -> Callable[[], Any]:
        combos = {"a": range(rows), "b": range(100)}
        crop = made(tmp_path, product_of_two, combos, num_batches=1)
        crop.grow()
        return lambda: crop.reap(to=False)

    assert price(work, 20, 420) / 100 < 0.1


def grown_one_by_one(folder: Path, batches: int) -> cf.Crop:
    crop = made(folder, product_of_two, {"a": range(batches), "b": [2.0]}, batchsize=1)
    crop.grow()
    return crop


@pytest.mark.usefixtures("written_at_once")
def test_reaping_a_batch_of_one_case_calls_little_beside_reading_it(tmp_path):
    """Each is listed, read, checked frame by frame, decoded, and put in its place."""

    def work(batches: int) -> Callable[[], Any]:
        crop = grown_one_by_one(tmp_path, batches)
        return lambda: crop.reap(to=False)

    assert price(work, 1200, 1300) <= 200


def test_reaping_many_small_batches_holds_little_of_each(tmp_path):
    """Its number, and its place in the Dataset; what the survey keeps is 4 MiB however many."""
    peaks = []
    for batches in (2000, 5000):
        crop = grown_one_by_one(tmp_path, batches)
        crop.reap(to=False)
        peaks.append(peak_of(lambda crop=crop: crop.reap(to=False)))

    assert (peaks[1] - peaks[0]) / 3000 < 300, peaks


def test_growing_holds_what_a_millisecond_computed_and_not_the_batch(tmp_path):
    """64 arrays of 1 MiB in one batch."""
    crop = made(tmp_path, spectrum, {"a": range(64)}, num_batches=1)

    assert peak_of(crop.grow) < 6 * MIB


def test_sowing_objects_copies_none_of_them(tmp_path):
    """32 arrays of 1 MiB: they are digested and written where they lie."""
    stars = {f"star{k}": spectrum(k) for k in range(32)}

    assert peak_of(lambda: made(tmp_path, first_of, {"star": stars})) < MIB


def test_growing_objects_holds_one_of_them(tmp_path):
    """The object itself, and what it was read into."""
    crop = made(tmp_path, first_of, {"star": {f"star{k}": spectrum(k) for k in range(32)}})

    assert peak_of(crop.grow) < 3 * MIB


def test_reaping_into_memory_holds_the_data_once(tmp_path):
    """Beside them stand what the survey keeps (4 MiB), and two batches of 1 MiB."""
    crop = made(tmp_path, spectrum, {"a": range(64)}, num_batches=64)
    crop.grow()
    crop.reap(to=False)  # the first loads modules

    assert peak_of(lambda: crop.reap(to=False)) < 1.15 * 64 * MIB


@pytest.mark.parametrize("shuffle", [False, True])
def test_reaping_into_a_file_holds_none_of_the_data(tmp_path, shuffle):
    """Two batches of 2 MiB, what the survey keeps, and slabs of 4 MiB: for more data not more."""
    peaks = []
    for size in (32, 96):
        crop = made(tmp_path, spectrum, {"a": range(size)}, batchsize=2, shuffle=shuffle)
        crop.grow()
        target = tmp_path / "reaped.nc"
        reap = {"to": target, "load": False, "clean_up": False, "overwrite": True}
        crop.reap(**reap).close()
        peaks.append(peak_of(lambda crop=crop, reap=reap: crop.reap(**reap).close()))

    assert max(peaks) < 24 * MIB, peaks
