"""Workers in processes of their own: they share, die, run out of time, and are replaced."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from steps import Gate, Tally, python, start, tree

import cropfit as cf
from cropfit.work.portions import MOST


def sown(fn: Any, cases: int = 4, **options: Any) -> cf.Crop:
    crop = cf.Crop(fn, "it", verbosity=0, var_names=options.pop("var_names", "z"))
    crop.sow_combos({"x": range(cases)}, **options)
    return crop


def counts(crop: cf.Crop) -> tuple[int, int, int, int]:
    status = crop.status()
    return status.sown, status.growing, status.grown, status.failed


# -- sharing ---------------------------------------------------------------------------


def test_workers_share_the_batches_and_each_case_is_computed_once(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(f"{x} {os.getpid()}")
        while len({line.split()[1] for line in tally.all()}) < 3:
            time.sleep(0.01)  # until the last one has come
        return x

    crop = sown(work, cases=60, num_batches=30)
    report = crop.grow(num_workers=3)

    assert sorted(int(line.split()[0]) for line in tally.all()) == list(range(60))
    pids = {line.split()[1] for line in tally.all()}
    assert len(pids) == 3
    assert str(os.getpid()) not in pids
    assert (sorted(report.grown), report.cases, report.reason) == (list(range(1, 31)), 60, "done")


def test_workers_share_the_batches_that_are_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally(here / "calls")
    crop = sown(lambda x: (tally.add(x), time.sleep(0.01), x)[2], cases=20)
    crop.verbosity = 1
    capsys.readouterr()
    report = crop.grow([*range(3, 13)], num_workers=2)

    assert tally.sorted() == [*range(2, 12)]
    assert sorted(report.grown) == [*range(3, 13)]
    assert "elsewhere" not in capsys.readouterr().out
    assert counts(crop) == (10, 0, 10, 0)


def test_a_worker_that_ends_first_does_not_tell_of_the_batches_of_its_fellows(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(os.getpid())
        while len(tally.all()) < 2:  # so that each worker has one of the cases
            time.sleep(0.01)
        (fellow,) = {*map(int, tally.all())} - {os.getpid()}
        while x == 0 and os.path.exists(f"/proc/{fellow}"):
            time.sleep(0.01)
        return x

    report = sown(work, cases=2, num_batches=2).grow(num_workers=2)

    assert (sorted(report.grown), report.notes) == ([1, 2], [])


def test_thread_caps_are_set_before_numpy_is_loaded(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"]
    for name in names:
        monkeypatch.delenv(name, raising=False)

    def work(x: int) -> str:
        environment = Path("/proc/self/environ").read_bytes().decode().split("\0")
        return json.dumps([line for line in environment if "_NUM_THREADS=" in line])

    crop = sown(work, cases=1)
    crop.grow(num_workers=1, num_threads=3)
    told = json.loads(crop.reap(to=False).z.item())

    assert {f"{name}=3" for name in names} <= set(told)


def test_the_cores_are_shared_out_unless_the_user_said_otherwise(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    crop = sown(
        lambda x: (int(os.environ["OMP_NUM_THREADS"]), int(os.environ["MKL_NUM_THREADS"])),
        cases=2,
        var_names=None,
    )
    crop.grow(num_workers=2)

    assert crop.reap() == [(7, max(1, cores // 2))] * 2


# -- ends ------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_replaced_and_costs_its_case_in_hand(here: Path) -> None:
    gate = Gate(here / "gate")
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        time.sleep(0.002)
        if x == 5 and tally.all().count("5") == 1:
            Path("pid").write_text(str(os.getpid()))
            gate.stop_here()
        return x

    crop = sown(work, cases=12, num_batches=3)
    grower = start(
        "import cropfit; print(cropfit.Crop.load('it').grow(num_workers=2).cases)", cwd=here
    )
    gate.wait_for_arrival()
    os.kill(int(Path("pid").read_text()), signal.SIGKILL)
    said, _ = grower.communicate(timeout=200)

    assert grower.returncode == 0, said
    assert tally.sorted() == sorted([*range(12), 5])
    assert counts(crop) == (0, 0, 3, 0)
    assert crop.reap(to=False).z.values.tolist() == list(range(12))


def test_a_case_that_kills_its_worker_each_time_fails_and_spares_the_others(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        time.sleep(0.002)
        if x == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sown(work, cases=5, num_batches=1)
    report = crop.grow(num_workers=1)

    assert tally.sorted() == [0, 1, 2, 2, 2, 3, 4]
    (failure,) = crop.errors()
    assert (failure["type"], failure["case"], failure["attempt"]) == ("WorkerDied", 2, 3)
    assert failure["arguments"] == {"x": 2}
    assert report.exit_code == 1
    assert int(crop.peek().z.count()) == 4


def test_on_error_raise_stops_all_workers(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        if x == 0:
            raise ValueError("the first")
        time.sleep(600)
        return x

    crop = sown(work, cases=40)
    with pytest.raises(cf.CaseError, match="the first"):
        crop.grow(num_workers=2, on_error="raise")

    assert len(tally.all()) <= 2
    assert crop.status().growing == 0


def test_max_fails_counts_over_all_workers(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        while len(tally.all()) < 2:  # so that each worker has some of the failures
            time.sleep(0.01)
        if tally.all().index(str(x)) >= 4:  # by its own place: another may be noted meanwhile
            time.sleep(600)
        raise ValueError(x)

    crop = sown(work, cases=40)
    report = crop.grow(num_workers=2, max_fails=4)

    assert report.reason == "max_fails"
    assert len(report.failures) == 4
    assert crop.status().growing == 0


def test_workers_that_cannot_begin_are_not_started_for_ever(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = sown(lambda x: x)
    Path("cropfit.py").write_text("raise ImportError('shadowed')\n")
    monkeypatch.setenv("PYTHONPATH", str(here))
    with pytest.raises(cf.CropError, match="Workers die before they claim a batch"):
        crop.grow(num_workers=2)

    assert counts(crop) == (4, 0, 0, 0)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]
)
def test_a_signal_reaches_the_workers_and_they_give_back_what_they_hold(
    here: Path, number: signal.Signals, code: int
) -> None:
    gate = Gate(here / "gate")
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        time.sleep(0.002)
        if x == 3:
            gate.stop_here()
        return x

    crop = sown(work, cases=6, num_batches=1)
    grower = start("import cropfit; cropfit.Crop.load('it').grow(num_workers=1)", cwd=here)
    gate.wait_for_arrival()
    grower.send_signal(number)
    grower.communicate(timeout=200)

    assert grower.returncode == code
    assert counts(crop) == (1, 0, 0, 0)
    assert int(crop.status().num_cases) == 6
    Path("gate").rename("opened")
    resumed = python(
        "import cropfit, steps; steps.Gate.stop_here = lambda self: None\n"
        "print(cropfit.Crop.load('it').grow().cases)",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, _path()))},
    )
    assert resumed.strip().endswith("3")
    assert tally.sorted() == [0, 1, 2, 3, 3, 4, 5]


def _path() -> list[str]:
    import steps

    return [os.path.dirname(steps.__file__), os.environ.get("PYTHONPATH", "")]


# -- fresh -----------------------------------------------------------------------------


def crash() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(7)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("end", "kind", "told"),
    [
        (crash, "Killed", "SIGSEGV"),
        (leave, "Exited", "exit code 7"),
        (be_killed, "Killed", "SIGKILL, as the OOM killer does"),
    ],
)
def test_fresh_processes_lose_one_case_to_a_crash_and_say_what_it_was(
    here: Path, end: Any, kind: str, told: str
) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        if x == 1:
            end()
        return x

    crop = sown(work, cases=4, num_batches=2)
    report = crop.grow(fresh=True)

    (failure,) = crop.errors()
    assert (failure["type"], failure["case"], failure["arguments"]) == (kind, 1, {"x": 1})
    assert told in failure["message"]
    assert report.failures == [failure]
    assert (report.grown, report.failed, report.exit_code) == ([2], [1], 1)
    assert tally.sorted() == [0, 1, 2, 3]
    assert int(crop.peek().z.count()) == 3


def test_fresh_gives_every_batch_a_process(here: Path) -> None:
    crop = sown(lambda x: os.getpid(), cases=6, num_batches=3)
    crop.grow(fresh=True, num_workers=2)
    pids = crop.reap(to=False).z.values.tolist()

    assert pids[0::2] == pids[1::2]
    assert len(set(pids)) == 3


def test_a_case_over_its_time_is_ended_and_the_others_go_on(here: Path) -> None:
    def work(x: int) -> int:
        if x == 1:
            time.sleep(600)
        return x

    crop = sown(work, cases=4, num_batches=1)
    crop.grow(fresh=True, timeout=3)

    (failure,) = crop.errors()
    assert (failure["type"], failure["case"]) == ("Timeout", 1)
    assert "3 s" in failure["message"]
    assert crop.peek().z.to_series().dropna().to_dict() == {0: 0, 2: 2, 3: 3}


def test_a_case_over_its_memory_is_ended_and_the_others_go_on(here: Path) -> None:
    def work(x: int) -> int:
        if x == 2:
            hog = bytearray(400 << 20)
            time.sleep(600)
            del hog
        return x

    crop = sown(work, cases=4, num_batches=1)
    crop.grow(fresh=True, max_memory=200 << 20)

    (failure,) = crop.errors()
    assert (failure["type"], failure["case"]) == ("OutOfMemory", 2)
    assert "200 MiB" in failure["message"]
    assert int(crop.peek().z.count()) == 3


def test_a_crash_counts_as_an_error_to_be_raised(here: Path) -> None:
    def work(x: int) -> int:
        if x == 1:
            os._exit(3)
        return x

    crop = sown(work, cases=6)
    with pytest.raises(cf.CaseError, match="exit code 3"):
        crop.grow(fresh=True, on_error="raise")

    assert crop.status().growing == 0
    assert crop.status().sown >= 3


def test_what_a_function_starts_does_not_keep_its_worker_from_ending(here: Path) -> None:
    """A child that holds the worker's pipes must not be waited for."""
    holders: list[int] = []

    def work(x: int) -> int:
        child = subprocess.Popen(["sleep", "600"])
        return child.pid

    crop = sown(work, cases=1)
    crop.grow(num_workers=1)
    holders += [int(pid) for pid in crop.reap(to=False).z.values.tolist()]
    for pid in holders:
        os.kill(pid, signal.SIGKILL)  # an error if it were not there any more


def test_no_process_is_left_behind(here: Path) -> None:
    def children() -> set[str]:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return set(file.read().split())

    before = children()
    crop = sown(lambda x: x, cases=4)
    crop.grow(num_workers=2)
    crop.delete()

    assert children() <= before
    assert tree(here) == []


def test_a_named_batch_that_fails_is_tried_by_one_worker_alone(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        time.sleep(0.05)
        if x % 2:
            raise ValueError
        return x

    crop = sown(work, cases=8)
    report = crop.grow(range(1, 9), num_workers=2)

    assert tally.sorted() == [*range(8)]
    assert sorted(report.failed) == [2, 4, 6, 8]


def test_one_portion_of_very_many_named_batches_fits_a_command_line() -> None:
    """Linux takes 128 KiB in one argument."""
    assert len(json.dumps([999_999] * MOST)) < 120_000


def test_very_many_failures_with_very_long_messages_do_not_hold_up_the_work(here: Path) -> None:
    def work(x: int) -> int:
        raise ValueError("begin " + 1_000_000 * "x" + " end")

    crop = sown(work, cases=500, num_batches=2)
    begun = time.monotonic()
    report = crop.grow(num_workers=1)

    assert time.monotonic() - begun < 120
    assert len(report.failures) == 500
    message = crop.errors()[-1]["message"]
    assert len(message) < 11_000
    assert message.startswith("begin xxx")
    assert message.endswith("xxx end")


# -- no more than asked for ------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"num_workers": 3}, {"num_workers": 1}, {"fresh": True, "num_workers": 2}]
)
def test_no_more_batches_are_grown_than_asked_for(here: Path, options: dict[str, Any]) -> None:
    tally = Tally(here / "calls")
    crop = sown(lambda x: (tally.add(x), x)[1], cases=9)
    report = crop.grow(max_batches=5, **options)

    assert (len(report.grown), report.cases, len(tally.all())) == (5, 5, 5)
    assert counts(crop) == (4, 0, 5, 0)
    assert crop.grow(max_batches=4, **options).cases == 4
    assert tally.sorted() == list(range(9))


def test_a_worker_that_dies_leaves_the_rest_of_its_share_to_the_next(here: Path) -> None:
    died = here / "died"

    def die_once(x: int) -> int:
        if x == 1 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sown(die_once, cases=9)
    assert len(crop.grow(max_batches=3, num_workers=1).grown) in (2, 3)  # a report may die too
    assert counts(crop) == (6, 0, 3, 0)


def test_work_that_is_left_as_asked_for_is_told_by_the_exit_code(here: Path) -> None:
    crop = sown(lambda x: x)
    report = crop.grow(max_batches=3)

    assert (report.reason, report.exit_code) == ("max_batches", 75)
    assert (crop.grow(max_batches=1).exit_code, counts(crop)) == (0, (0, 0, 4, 0))


@pytest.mark.parametrize("options", [{"max_batches": 0}, {"max_batches": 2, "batches": [1, 2]}])
def test_a_number_of_batches_that_makes_no_sense_is_refused(
    here: Path, options: dict[str, Any]
) -> None:
    crop = sown(lambda x: x)
    with pytest.raises(cf.DesignError, match="max_batches="):
        crop.grow(**options)
    assert counts(crop) == (4, 0, 0, 0)
