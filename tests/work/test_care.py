"""Looking after a crop: what is told of it, and what is put right, disturbing nobody alive."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import GROW, Gate, Tally, start, tree

import cropfit as cf


def sown(fn: Any = lambda x: x, cases: int = 6, name: str = "it", **options: Any) -> cf.Crop:
    crop = cf.Crop(fn, name, verbosity=0, var_names="z")
    crop.sow_combos({"x": range(cases)}, **options)
    return crop


def fails_at_two(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


@pytest.fixture
def mixed(here: Path) -> cf.Crop:
    """Six batches: 1 and 2 grown, 3 failed, 4 ignored, 5 and 6 sown."""
    crop = sown(fails_at_two)
    crop.grow([1, 2, 3])
    crop.ignore(4)
    return crop


# -- what is told ----------------------------------------------------------------------


def test_status_counts_every_state(mixed: cf.Crop) -> None:
    status = mixed.status()

    assert (status.sown, status.growing, status.grown, status.failed, status.ignored) == (
        2,
        0,
        2,
        1,
        1,
    )
    assert (status.num_cases, status.num_batches, status.dead, status.workers) == (6, 6, [], [])
    told = status.to_dict()
    assert told["grown"] == 2
    assert json.loads(json.dumps(told)) == told


def test_the_bar_has_a_sign_for_each_state(mixed: cf.Crop) -> None:
    assert mixed.status().bar(6) == "##!-.."
    assert len(mixed.status().bar()) == 40
    for text in (str(mixed), str(mixed.status())):
        assert "it: 6 cases in 6 batches" in text
        assert "33 %" in text
        assert "2 sown, 2 grown, 1 failed, 1 ignored" in text
        assert "cropfit errors it" in text
    assert repr(mixed).startswith("<Crop it")


def test_a_crop_that_is_not_sown_says_so(here: Path) -> None:
    crop = cf.Crop(lambda x: x, "new")

    assert str(crop).startswith("new: not sown")
    assert repr(crop).startswith("<Crop new: not sown")
    assert not crop.is_prepared()
    for ask in (crop.status, crop.missing_results, crop.grow, crop.reap, crop.errors, crop.delete):
        with pytest.raises(cf.NotFoundError, match="no crop in"):
            ask()
    assert tree(here) == []


def test_a_damaged_crop_can_still_be_shown(here: Path) -> None:
    """A repr that raises makes a notebook unusable."""
    crop = sown()
    Path(crop.location, "crop.json").write_text("{")

    assert "torn" in repr(crop)
    assert "torn" in str(crop)


def test_status_tells_workers_rate_and_time_left(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        time.sleep(0.1)
        if x == 2:
            gate.stop_here()
        return x

    crop = sown(work)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    status = crop.status()
    text = str(status)
    gate.let_go()
    worker.communicate(timeout=200)

    assert len(status.workers) == 1
    assert f".{worker.pid}." in status.workers[0]
    assert status.batch_seconds is not None
    assert 0.1 <= status.batch_seconds < 60
    assert status.rate == pytest.approx(1 / status.batch_seconds)
    assert status.eta == pytest.approx(4 * status.batch_seconds)
    assert "1 worker, about" in text
    assert crop.status().eta is None


def test_dead_claims_are_told_and_given_back(here: Path) -> None:
    gate = Gate(here / "gate")
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        if x == 1 and tally.all().count("1") == 1:
            gate.stop_here()
        return x

    crop = sown(work, cases=3)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    assert crop.clean() == {"dead": 0, "torn": 0, "lost": 0, "leftovers": 0}
    worker.kill()
    worker.communicate()

    assert crop.status().dead == [2]
    assert "1 batch of dead workers" in str(crop)
    assert crop.clean()["dead"] == 1
    assert (crop.status().growing, crop.status().sown) == (0, 2)
    crop.grow()
    assert crop.reap().z.values.tolist() == [0, 1, 2]


def test_missing_and_completed_results_are_batch_numbers(mixed: cf.Crop) -> None:
    assert mixed.missing_results() == [3, 5, 6]
    assert mixed.completed_results() == [1, 2]
    assert mixed.num_results == 2
    assert mixed.num_sown_batches == 6
    assert not mixed.is_ready_to_reap()
    mixed.ignore([3, 5, 6])
    assert mixed.is_ready_to_reap()


def test_errors_are_a_table_of_arguments_error_place_and_attempt(mixed: cf.Crop) -> None:
    (failure,) = mixed.errors()

    assert {
        key: failure[key] for key in ("batch", "offset", "case", "arguments", "type", "message")
    } == {
        "batch": 3,
        "offset": 0,
        "case": 2,
        "arguments": {"x": 2},
        "type": "ValueError",
        "message": "two",
    }
    assert {"traceback", "attempt", "host", "pid", "seconds", "time"} <= failure.keys()
    assert str(mixed.errors()).splitlines() == [
        "1 failed case",
        f"batch 3 case 0 (x=2) ValueError: two  [attempt 1, {os.uname().nodename}]",
    ]


def test_a_notebook_shows_errors_as_a_list_that_opens_to_tracebacks(mixed: cf.Crop) -> None:
    shown = mixed.errors()._repr_html_()

    assert "1 failed case<details>" in shown
    assert "batch 3 case 0 (x=2) ValueError: two" in shown
    assert "Traceback (most recent call last)" in shown
    assert shown.count("<details>") == shown.count("</details>") == 1


def test_of_very_many_errors_the_first_hundred_are_shown(here: Path) -> None:
    crop = sown(lambda x: 1 // 0, cases=1234, batchsize=1000)
    crop.grow()

    errors = crop.errors()

    assert len(errors) == 1234
    assert len(str(errors).splitlines()) == 102
    assert str(errors).startswith("1,234 failed cases\nbatch 1 case 0")
    assert str(errors).endswith("\n... 1,134 more in this list")
    assert errors._repr_html_().count("<details>") == 100


# -- by hand ---------------------------------------------------------------------------


def test_retry_sows_failed_batches_again(mixed: cf.Crop) -> None:
    assert mixed.retry() == [3]
    assert mixed.status().sown == 3
    assert mixed.retry() == []


def test_ignore_takes_failed_batches_or_those_named_and_can_be_undone(mixed: cf.Crop) -> None:
    assert mixed.ignore() == [3]
    assert mixed.ignore(np.int64(5)) == [5]
    assert mixed.status().ignored == 3
    assert mixed.ignore([4], undo=True) == [4]
    assert sorted(mixed.ignore(undo=True)) == [3, 5]
    assert (mixed.status().sown, mixed.status().ignored) == (4, 0)


def test_what_is_in_another_state_is_not_moved(mixed: cf.Crop) -> None:
    before = tree(mixed.location)
    for wrong in (
        lambda: mixed.ignore([1, 5]),
        lambda: mixed.retry([3, 5]),
        lambda: mixed.retry(9),
    ):
        with pytest.raises(cf.NotFoundError, match="of the batches named are not in"):
            wrong()
    assert tree(mixed.location) == before


def test_an_ignored_batch_is_not_grown(mixed: cf.Crop, capsys: pytest.CaptureFixture[str]) -> None:
    mixed.verbosity = 1
    report = mixed.grow(4)

    assert report.cases == 0
    assert "Batch 4 is set aside (ignored)" in capsys.readouterr().out


def test_grow_missing_takes_failed_batches_too(mixed: cf.Crop) -> None:
    report = mixed.grow_missing()

    assert (report.grown, report.failed) == ([5, 6], [3]) or report.failed == [3]
    assert sorted(report.grown) == [5, 6]


# -- putting right ---------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "torn":
        data = data[: len(data) // 2]
    elif how == "empty":
        data = bytearray()
    else:
        data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["torn", "empty", "flipped", "gone"])
def test_damaged_batches_are_found_named_and_sown_again(here: Path, how: str) -> None:
    tally = Tally(here / "calls")
    crop = sown(lambda x: (tally.add(x), x)[1], cases=6, num_batches=3)
    crop.grow()
    (results,) = Path(crop.location, "grown/000002").iterdir()
    if how == "gone":
        results.unlink()
    else:
        damage(results, how)

    bad = crop.check_bad(repair=False)
    assert list(bad) == [2]
    assert crop.status().grown == 3
    assert list(crop.check_bad()) == [2]
    assert (crop.status().grown, crop.status().sown) == (2, 1)
    crop.grow()
    assert crop.check_bad() == {}
    assert crop.reap().z.values.tolist() == [*range(6)]
    assert {0, 1, 4, 5}.isdisjoint(map(int, tally.all()[6:]))


def test_reap_finds_the_damage_itself_and_changes_nothing_else(here: Path) -> None:
    crop = sown()
    crop.grow()
    (results,) = Path(crop.location, "grown/000003").iterdir()
    damage(results, "flipped")
    with pytest.raises(cf.DamagedError, match=r"1 batch damaged and sown again: \[3\]"):
        crop.reap()

    assert tree(here)[0] == ".crop-it"
    assert not Path("it.nc").exists()
    crop.grow()
    assert crop.reap().z.values.tolist() == [*range(6)]


def test_clean_counts_what_it_put_right(here: Path) -> None:
    crop = sown()
    crop.grow([1, 2, 3])
    (results,) = Path(crop.location, "grown/000001").iterdir()
    damage(results, "torn")
    os.rmdir(f"{crop.location}/sown/000005")
    draft = Path(crop.location, "crop.json.host.1.aa-bb-cc.draft")
    draft.touch()
    os.utime(draft, (1, 1))

    assert crop.clean() == {"dead": 0, "torn": 1, "lost": 1, "leftovers": 1}
    assert crop.clean() == {"dead": 0, "torn": 0, "lost": 0, "leftovers": 0}
    crop.grow()
    assert crop.reap().z.values.tolist() == [*range(6)]


def test_clean_of_a_sound_crop_changes_nothing(mixed: cf.Crop) -> None:
    before = tree(mixed.location)

    assert set(mixed.clean().values()) == {0}
    assert tree(mixed.location) == before


# -- ends ------------------------------------------------------------------------------


def test_delete_is_refused_while_workers_live(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        if x == 0:
            gate.stop_here()
        return x

    crop = sown(work, cases=2)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    with pytest.raises(cf.CropError, match=rf"1 worker still growing it .*\.{worker.pid}\."):
        crop.delete()
    gate.let_go()
    worker.communicate(timeout=200)
    crop.delete()

    assert tree(here) == ["gate", "gate/arrived", "gate/go"]


def test_files_of_a_large_crop_go_even_if_the_process_that_deleted_it_is_killed(here: Path) -> None:
    crop = sown(cases=6000, num_batches=6000)
    killed = start(
        "import os, sys, cropfit; cropfit.Crop.load(sys.argv[1], verbosity=0).delete(); "
        "print(os.path.exists(sys.argv[1]), flush=True); os.kill(os.getpid(), 9)",
        crop.location,
    )
    told, _ = killed.communicate(timeout=200)
    assert (told, killed.returncode) == ("False\n", -9)

    end = time.monotonic() + 120
    while os.listdir(here) and time.monotonic() < end:
        time.sleep(0.02)
    assert tree(here) == []


def test_replace_is_refused_while_workers_live(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        gate.stop_here()
        return x

    crop = sown(work, cases=1)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    with pytest.raises(cf.CropError, match="still growing it"):
        crop.sow_combos({"x": [5]}, exists="replace")
    gate.let_go()
    worker.communicate(timeout=200)
    assert crop.reap().z.item() == 0


def test_rehearse_grows_one_batch_in_a_fresh_interpreter(here: Path) -> None:
    crop = sown(lambda x: os.getpid(), cases=3)
    report = crop.rehearse()

    assert report.grown == [1]
    assert crop.completed_results() == [1]
    assert crop.peek().z.values[0] != os.getpid()
    assert crop.rehearse(3).grown == [3]
    crop.grow()
    with pytest.raises(cf.NotFoundError, match="no batch left to rehearse"):
        crop.rehearse()


def test_rehearse_shows_what_would_go_wrong_a_thousand_times(here: Path) -> None:
    crop = sown(lambda x: undefined + x)  # type: ignore[name-defined]  # noqa: F821
    with pytest.raises(cf.CaseError, match=r"\(x=0\) NameError: name 'undefined'"):
        crop.rehearse()

    assert crop.status().sown == 6


READ_ONLY = """
import os, subprocess, cropfit
crop = cropfit.Crop(lambda x: 1 // (x - 2), "it", parent_dir="disk", var_names="z", verbosity=0)
crop.sow_combos({"x": range(4)})
crop.grow([1, 3])
claim = "disk/.crop-it/growing/000002@otherhost.77.0a1b2c3d-ff-01234567"
os.rename("disk/.crop-it/sown/000002", claim)
subprocess.run(["mount", "--bind", "disk", "disk"], check=True)
subprocess.run(["mount", "-o", "remount,ro,bind", "disk"], check=True)
status = crop.status()
print(status.grown, status.failed, status.workers)
print(len(crop.errors()), crop.missing_results(), crop.check_bad(repair=False))
print(crop.reap("some.nc", allow_incomplete=True, clean_up=False).z.count().item())
try:
    crop.reap("all.nc", allow_incomplete=True, clean_up=True)
except cropfit.CropError as error:
    print(error)
"""


@pytest.mark.needs("root", "mount")
def test_a_crop_that_is_read_only_can_be_looked_at_and_reaped(here: Path) -> None:
    """A snapshot, or what is left when a quota was taken away."""
    import subprocess
    import sys

    (here / "disk").mkdir()
    command = ["unshare", "--mount", sys.executable, "-c", READ_ONLY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1 1 ['otherhost.77.0a1b2c3d-ff-01234567']"
    assert lines[1] == "1 [2, 3, 4] {}"
    assert lines[2] == "1"
    assert "still growing it" in lines[3] or "cannot be deleted" in lines[3]
    assert "some.nc" in tree(here)
