"""Growing: who computes what, how often, and what is said about it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import GROW, Gate, Tally, python, start, tree

import cropfit as cf
from cropfit.work.batch import Policy
from cropfit.work.grow import Worker


def sown(fn: Any, name: str = "it", cases: int = 4, **options: Any) -> cf.Crop:
    batching = {k: options.pop(k) for k in ("batchsize", "num_batches") if k in options}
    crop = cf.Crop(fn, name, verbosity=0, var_names=options.pop("var_names", "z"), **options)
    crop.sow_combos({"x": range(cases)}, **batching)
    return crop


def states(crop: cf.Crop) -> dict[str, int]:
    told = crop.status().to_dict()
    kinds = ("sown", "growing", "grown", "failed", "ignored")
    return {kind: told[kind] for kind in kinds if told[kind]}


# -- which crop ------------------------------------------------------------------------


def test_a_batch_is_grown_by_its_number_and_the_crops_name(here: Path) -> None:
    crop = sown(lambda x: 2 * x, "grid")
    report = cf.grow(3, crop="grid")

    assert (report.grown, report.cases, report.exit_code) == ([3], 1, 0)
    assert crop.completed_results() == [3]


@pytest.mark.parametrize("how", ["name", "path", "Path", "Crop", "here", "inside"])
def test_a_crop_is_found_by(here: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    crop = sown(lambda x: x, "grid")
    if how == "inside":
        monkeypatch.chdir(crop.location)
    meant: dict[str, Any] = {
        "name": "grid",
        "path": crop.location,
        "Path": Path(crop.location),
        "Crop": crop,
    }
    assert cf.grow(1, meant.get(how)).grown == [1]
    assert crop.completed_results() == [1]


def test_a_crop_that_is_not_there_is_an_error_that_lists_those_that_are(here: Path) -> None:
    sown(lambda x: x, "grid")
    with pytest.raises(cf.NotFoundError, match=r"No crop 'gird'.*There are: grid"):
        cf.grow(1, "gird")


def test_a_batch_that_is_none_is_an_error(here: Path) -> None:
    crop = sown(lambda x: x, "grid")
    for batch in (0, 5, -1):
        with pytest.raises(cf.NotFoundError, match=f"no batch {batch}: .* numbered 1 to 4"):
            cf.grow(batch, "grid")
    assert states(crop) == {"sown": 4}


def test_numbers_of_numpy_name_batches(here: Path) -> None:
    crop = sown(lambda x: x, "grid", cases=6)
    crop.grow(np.int64(2))
    crop.grow(np.array([4, 5]))
    crop.grow(np.array([6]), num_workers=1)

    assert crop.completed_results() == [2, 4, 5, 6]


# -- a batch in each state -------------------------------------------------------------


def test_a_grown_batch_says_so_and_is_left_alone(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop = sown(lambda x: x, "grid")
    crop.grow(2)
    before = tree(crop.location)
    report = cf.grow(2, "grid")

    assert (report.exit_code, report.cases) == (0, 0)
    assert "Batch 2 is grown already." in capsys.readouterr().out
    assert tree(crop.location) == before


def test_a_failed_batch_computes_its_failed_cases_alone(here: Path) -> None:
    tally = Tally(here / "calls")
    broken = here / "broken"
    broken.touch()

    def work(x: int) -> int:
        tally.add(x)
        if x == 2 and broken.exists():
            raise ValueError("not yet")
        return x

    crop = sown(work, num_batches=1)
    first = crop.grow()
    assert (first.failed, first.exit_code, states(crop)) == ([1], 1, {"failed": 1})
    broken.unlink()
    report = crop.grow(1)

    assert (report.grown, report.cases, report.exit_code) == ([1], 1, 0)
    assert tally.sorted() == [0, 1, 2, 2, 3]
    assert crop.errors() == []
    assert len(os.listdir(f"{crop.location}/grown/000001")) == 1


def test_a_batch_that_grows_elsewhere_is_left_unless_it_is_stolen(here: Path) -> None:
    gate = Gate(here / "gate")
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(f"{os.getpid()} {x}")
        time.sleep(0.002)  # longer than what waits to be written
        if x == 1 and len(tally.all()) == 2:
            gate.stop_here()
        return 10 * x

    crop = sown(work, num_batches=1)
    other = start(GROW, crop.location)
    gate.wait_for_arrival()
    report = cf.grow(1, crop)
    assert (report.exit_code, report.cases) == (0, 0)
    assert f"Batch 1 is growing elsewhere, by {os.uname().nodename}.{other.pid}." in report.notes[0]

    stolen = cf.grow(1, crop, steal=True)
    assert stolen.grown == [1]
    gate.let_go()
    said, _ = other.communicate(timeout=200)

    assert "taken over by another worker" in said
    assert crop.completed_results() == [1]
    assert crop.reap(to=False).z.values.tolist() == [0, 10, 20, 30]
    mine = [line.split()[1] for line in tally.all() if line.startswith(f"{os.getpid()} ")]
    assert mine == ["1", "2", "3"]


def test_a_dead_workers_batch_is_taken_up_at_the_case_in_hand(here: Path) -> None:
    gate = Gate(here / "gate")
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        time.sleep(0.002)  # longer than what waits to be written
        if x == 2 and tally.all().count("2") == 1:
            gate.stop_here()
        return x

    crop = sown(work, cases=5, num_batches=1)
    other = start(GROW, crop.location)
    gate.wait_for_arrival()
    other.kill()
    other.communicate()
    assert crop.status().dead == [1]
    report = crop.grow()

    assert report.grown == [1]
    assert f"Batch 1 was taken over from {os.uname().nodename}.{other.pid}" in report.notes[0]
    assert tally.sorted() == [0, 1, 2, 2, 3, 4]
    assert len(os.listdir(f"{crop.location}/grown/000001")) == 1


# -- sharing ---------------------------------------------------------------------------


def test_many_workers_compute_each_case_exactly_once(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        return x

    crop = sown(work, cases=300, num_batches=100)
    workers = [start(GROW, crop.location) for _ in range(4)]
    crop.grow()
    for worker in workers:
        said, _ = worker.communicate(timeout=200)
        assert worker.returncode == 0, said

    assert tally.sorted() == list(range(300))
    assert states(crop) == {"grown": 100}
    assert [len(os.listdir(f"{crop.location}/grown/{b:06d}")) for b in range(1, 101)] == [1] * 100


def test_waiting_stays_until_the_others_are_done(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        if x == 0:
            gate.stop_here()
        return x

    crop = sown(work, cases=2)
    other = start(GROW, crop.location)
    gate.wait_for_arrival()
    crop.grow()
    assert states(crop)["growing"] == 1

    threading.Timer(0.2, gate.let_go).start()
    crop.grow(wait=True)
    assert states(crop) == {"grown": 2}
    other.communicate(timeout=200)


@pytest.mark.parametrize("how", ["finishes", "is killed", "gives it back"])
def test_waiting_for_a_named_batch_ends_with_its_worker(here: Path, how: str) -> None:
    gate = Gate(here / "gate")
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        if x == 1 and tally.all().count("1") == 1:
            gate.stop_here()
        return x

    crop = sown(work, cases=3)
    other = start("import cropfit, sys; cropfit.grow(2, crop=sys.argv[1])", crop.location)
    gate.wait_for_arrival()

    end = {"finishes": gate.let_go, "is killed": other.kill, "gives it back": other.terminate}[how]
    threading.Timer(0.2, end).start()
    crop.grow(2, wait=True)

    assert states(crop) == {"sown": 2, "grown": 1}
    assert tally.all() == ["1"] * (1 if how == "finishes" else 2)
    assert os.listdir(f"{crop.location}/growing") == []
    other.communicate(timeout=200)


# -- failures --------------------------------------------------------------------------


def test_a_failure_is_data_with_traceback_arguments_host_and_attempt(here: Path) -> None:
    def deep(x: int) -> int:
        raise ValueError(f"no fit for {x}\nsecond line")

    def work(x: int, dust: float) -> int:
        return deep(x) if x == 2 else x

    crop = sown(work, constants={"dust": 0.5}, num_batches=2)
    report = crop.grow()
    (failure,) = crop.errors()

    assert report.failures == [failure]
    assert (failure["batch"], failure["offset"], failure["case"]) == (2, 0, 2)
    assert failure["arguments"] == {"x": 2}
    assert failure["type"] == "ValueError"
    assert failure["message"] == "no fit for 2\nsecond line"
    assert "in deep" in failure["traceback"]
    assert 'raise ValueError(f"no fit for {x}' in failure["traceback"]
    assert "cropfit/work" not in failure["traceback"]
    assert (failure["host"], failure["pid"]) == (os.uname().nodename, os.getpid())
    assert failure["attempt"] == 1
    assert abs(failure["time"] - time.time()) < 60
    lines = Path(crop.location, "failed/000002/errors.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [failure]


def test_a_bad_case_costs_neither_its_neighbours_nor_other_batches(here: Path) -> None:
    def work(x: int) -> int:
        return 1 // (x - 3)

    crop = sown(work, cases=9, num_batches=3)
    report = crop.grow()

    assert (report.grown, report.failed, report.cases) == ([1, 3], [2], 9)
    ds = crop.reap(allow_incomplete=True)
    assert np.isnan(ds.z.sel(x=3).item())
    assert int(ds.z.count()) == 8


class OddConstructor(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__()
        self.both = (one, two)


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("broken")


class HoldsALock(Exception):
    def __init__(self) -> None:

        super().__init__("locked")
        self.lock = threading.Lock()


def raise_odd() -> None:
    raise OddConstructor(1, 2)


def raise_without_text() -> None:
    raise NoText


def raise_unpicklable() -> None:
    raise HoldsALock


def exit_quietly() -> None:
    sys.exit()


def exit_with_a_word() -> None:
    sys.exit("the model did not converge")


def raise_group() -> None:
    try:
        raise KeyError("inner")
    except KeyError as inner:
        raise RuntimeError("outer") from inner


def recurse() -> None:
    recurse()


@pytest.mark.parametrize(
    ("bad", "kind", "text"),
    [
        (raise_odd, "OddConstructor", ""),
        (raise_without_text, "NoText", "cannot be shown"),
        (raise_unpicklable, "HoldsALock", "locked"),
        (exit_quietly, "SystemExit", ""),
        (exit_with_a_word, "SystemExit", "the model did not converge"),
        (raise_group, "RuntimeError", "outer"),
        (recurse, "RecursionError", "recursion"),
    ],
)
def test_whatever_a_case_raises_is_that_cases_failure(
    here: Path, bad: Any, kind: str, text: str
) -> None:
    def work(x: int) -> int:
        if x == 1:
            bad()
        return x

    crop = sown(work, num_batches=1)
    report = crop.grow()
    (failure,) = crop.errors()

    assert report.failed == [1]
    assert report.cases == 4
    assert failure["type"].endswith(kind)
    assert text in failure["message"]
    assert failure["arguments"] == {"x": 1}
    if kind == "RuntimeError":
        assert "KeyError: 'inner'" in failure["traceback"]
    assert crop.peek().z.count() == 3


@pytest.mark.parametrize(
    ("result", "names", "told"),
    [
        ((1, 2), ["a", "b", "c"], "3"),
        ((1, 2, 3), ["a", "b"], "2"),
        (1.0, ["a", "b"], "float"),
        ({"a": 1}, ["a", "b"], "b"),
        ({"a": 1, "b": 2, "c": 3}, ["a", "b"], "c"),
        (None, ["a", "b"], "None"),
    ],
    ids=["short", "long", "scalar", "key missing", "key too many", "None"],
)
def test_a_result_that_does_not_fit_the_names_is_that_cases_failure(
    here: Path, result: Any, names: list[str], told: str
) -> None:
    good = tuple(range(len(names)))
    crop = sown(lambda x: result if x == 1 else good, var_names=names, num_batches=1)
    report = crop.grow()
    (failure,) = crop.errors()

    assert report.failed == [1]
    assert failure["type"] == "cropfit.errors.ResultError"
    assert told in failure["message"]
    assert failure["arguments"] == {"x": 1}
    assert int(crop.peek().a.count()) == 3


def test_a_result_that_cannot_be_pickled_is_that_cases_failure(here: Path) -> None:

    crop = sown(lambda x: threading.Lock() if x == 1 else [x], var_names=None, num_batches=1)
    report = crop.grow()
    (failure,) = crop.errors()

    assert report.failed == [1]
    assert "pickle" in failure["message"]
    assert failure["arguments"] == {"x": 1}


def test_retries_try_again_at_once_and_keep_each_attempt_apart(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(f"{x} {cf.current_case().attempt}")
        if x == 1 and cf.current_case().attempt < 3:
            raise ValueError
        return x

    crop = sown(work, cases=3, num_batches=1)
    report = crop.grow(retries=2)

    assert tally.all() == ["0 1", "1 1", "1 2", "1 3", "2 1"]
    assert (report.grown, report.failures, crop.errors()) == ([1], [], [])


def test_retries_count_anew_for_each_worker(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(cf.current_case().attempt)
        raise ValueError

    crop = sown(work, cases=1)
    crop.grow(retries=2)
    assert tally.all() == ["1", "2", "3"]
    assert crop.errors()[0]["attempt"] == 3
    crop.retry()
    crop.grow(retries=2)

    assert tally.all() == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize("num_workers", [None, 1])
def test_max_fails_counts_over_all_batches(here: Path, num_workers: int | None) -> None:
    def work(x: int) -> int:
        raise ValueError(x)

    crop = sown(work, cases=10, num_batches=10)
    report = crop.grow(max_fails=3, num_workers=num_workers)

    assert report.reason == "max_fails"
    assert len(report.failures) == 3
    assert report.exit_code == 1
    assert states(crop).get("growing", 0) == 0
    assert states(crop)["sown"] >= 7


def test_on_error_raise_stops_at_the_first_and_shows_its_traceback(here: Path) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> float:
        tally.add(x)
        return 1 / (x - 1)

    crop = sown(work, cases=4, num_batches=2)
    with pytest.raises(cf.CaseError) as error:
        crop.grow(on_error="raise")

    assert "batch 1 case 1 (x=1) ZeroDivisionError" in str(error.value)
    assert "return 1 / (x - 1)" in str(error.value)
    assert tally.sorted() == [0, 1]
    assert states(crop) == {"sown": 2}


def test_after_on_error_raise_the_mended_function_computes_the_case(here: Path) -> None:
    """What was recorded of the former function does not stand against the new one."""

    def work(x: int) -> float:
        return 1 / (x - 1)

    crop = sown(work, cases=3, num_batches=1)
    with pytest.raises(cf.CaseError):
        crop.rehearse()

    def work(x: int) -> float:  # type: ignore[no-redef]
        return x

    mended = cf.Crop(work, "it", verbosity=0, var_names="z")
    mended.sow_combos({"x": range(3)}, num_batches=1)
    report = mended.grow()

    assert (report.grown, report.failed) == ([1], [])
    assert mended.reap(to=False).z.sel(x=1).item() == 1


def test_a_failure_of_a_released_batch_is_not_computed_again_by_the_same_function(
    here: Path,
) -> None:
    """A worker that left for lack of time does not make the next one fail for an hour again."""
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        if x == 0:
            raise ValueError
        if x == 1 and tally.all().count("1") == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return x

    crop = sown(work, cases=3, num_batches=1)
    with pytest.raises(SystemExit) as left:
        crop.grow()
    assert left.value.code == 143
    assert states(crop) == {"sown": 1}
    report = crop.grow()

    assert tally.sorted() == [0, 1, 1, 2]
    assert report.failed == [1]
    assert [failure["case"] for failure in crop.errors()] == [0]


# -- time ------------------------------------------------------------------------------


def test_no_case_is_started_that_cannot_be_expected_to_end(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that moves only while the function sleeps."""
    tally, now = Tally(here / "calls"), [time.time()]
    monkeypatch.setattr("time.time", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr("cropfit.work.batch.perf_counter", lambda: now[0])

    def work(x: int) -> int:
        tally.add(x)
        time.sleep(0.5)
        return x

    crop = sown(work, cases=6, num_batches=1)
    report = crop.grow(walltime=1.2)

    assert (report.reason, report.exit_code) == ("time", 75)
    assert tally.sorted() == [0, 1]
    assert states(crop) == {"sown": 1}
    assert crop.grow().cases == 4
    assert tally.sorted() == [0, 1, 2, 3, 4, 5]


def test_a_deadline_that_has_passed_starts_nothing(here: Path) -> None:
    crop = sown(lambda x: x)
    for past in (datetime.now() - timedelta(seconds=5), time.time() - 5, "2020-01-01T00:00"):
        report = crop.grow(deadline=past)
        assert (report.reason, report.cases) == ("time", 0)
    assert states(crop) == {"sown": 4}


@pytest.mark.parametrize(
    ("name", "value"),
    [("SLURM_JOB_END_TIME", str(int(time.time()) - 1)), ("CROPFIT_DEADLINE", "1000")],
)
def test_the_schedulers_environment_sets_the_deadline(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    crop = sown(lambda x: x)

    assert crop.grow().reason == "time"
    assert crop.grow(num_workers=1).reason == "time"
    assert crop.grow(walltime=60).reason == "done"


# -- stop ------------------------------------------------------------------------------


def test_stop_ends_running_workers_after_their_case_and_none_that_come_later(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        if x < 2 and not (here / "again").exists():
            gate.stop_here()
        return x

    crop = sown(work, cases=3, num_batches=3)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    time.sleep(2.1)  # workers look for the sign every two seconds
    crop.stop()
    gate.let_go()
    said, _ = worker.communicate(timeout=200)

    assert worker.returncode == 75, said
    assert "asked to stop" in said
    assert states(crop) == {"grown": 1, "sown": 2}
    (here / "again").touch()
    assert crop.grow().reason == "done"
    assert states(crop) == {"grown": 3}


# -- the worker's own needs ------------------------------------------------------------


def test_a_worker_that_lacks_a_module_says_which_versions_sowed(here: Path) -> None:
    (here / "fragile.py").write_text("def work(x):\n    return x\n")
    python(
        "import sys; sys.path.insert(0, '')\n"
        "import cropfit, fragile\n"
        "cropfit.Crop(fragile.work, 'it', verbosity=0).sow_combos({'x': [1]})"
    )
    (here / "fragile.py").unlink()
    with pytest.raises(cf.FunctionError) as error:
        cf.grow(1, "it")

    import platform

    import cloudpickle

    told = str(error.value)
    assert "No module named 'fragile'" in told
    assert f"sown with Python {platform.python_version()}" in told
    assert f"cloudpickle {cloudpickle.__version__}" in told
    assert sys.executable in told
    assert cf.Crop.load("it").status().sown == 1


def test_growing_from_a_thread_leaves_signals_alone(here: Path) -> None:

    crop = sown(lambda x: x)
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=crop.grow)
    thread.start()
    thread.join(120)

    assert states(crop) == {"grown": 4}
    assert signal.getsignal(signal.SIGINT) is before


def test_growing_leaves_signals_and_the_current_case_as_they_were(here: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    sown(lambda x: x).grow()

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert cf.current_case().batch == 0


def test_unknown_options_are_refused(here: Path) -> None:
    crop = sown(lambda x: x)
    with pytest.raises(cf.DesignError, match="on_error is 'record' or 'raise', not 'ignore'"):
        crop.grow(on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(cf.DesignError, match="need fresh=True"):
        crop.grow(timeout=3)
    with pytest.raises(cf.DesignError, match="no duration"):
        crop.grow(walltime="soon")
    with pytest.raises(cf.DesignError, match="num_workers"):
        crop.grow(num_workers=0)
    assert states(crop) == {"sown": 4}


def test_a_crop_that_is_deleted_under_a_worker_ends_it(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        gate.stop_here()
        return x

    crop = sown(work)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    crop.delete(force=True)
    gate.let_go()
    said, _ = worker.communicate(timeout=200)

    assert worker.returncode != 0
    assert "Traceback" not in said or "NotFoundError" in said
    assert tree(here) == ["gate", "gate/arrived", "gate/go"]


# -- while workers are alive -----------------------------------------------------------


def test_a_worker_takes_the_new_function_and_appended_cases_while_it_grows(here: Path) -> None:
    gate = Gate(here / "gate")

    def work(x: int) -> int:
        if x < 2:
            gate.stop_here()
        return x

    crop = sown(work, cases=3)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()

    def work(x: int) -> int:  # type: ignore[no-redef]
        return 100 + x

    later = cf.Crop(work, "it", verbosity=0, var_names="z")
    later.sow_combos({"x": range(3)})
    later.sow_combos({"x": [7, 8]}, exists="append")
    time.sleep(2.1)  # workers look for a new function every two seconds
    gate.let_go()
    said, _ = worker.communicate(timeout=200)

    assert worker.returncode == 0, said
    assert states(crop) == {"grown": 5}
    assert crop.reap(to=False).z.values.tolist() == [0, 101, 102, 107, 108]


def test_a_late_workers_file_does_not_stay_beside_the_new_owners(here: Path) -> None:
    """As NFS leaves it, where a write by path follows a folder that was renamed."""
    crop = cf.Crop(lambda x: 2 * x, "late", var_names="z", verbosity=0)
    crop.sow_combos({"x": [1]})
    late = Worker(crop.location, Policy())
    claim = late.ledger.claim(1)
    assert claim is not None
    crop.grow(1, steal=True)
    grown = Path(crop.location, "grown", "000001")
    (file,) = os.listdir(grown)
    (grown / f"results.{claim.owner.token}").write_bytes((grown / file).read_bytes())

    late._conclude(claim, True, late.ledger.finish(claim))

    assert os.listdir(grown) == [file]
    assert late.report.grown == []
    assert "taken over by another worker" in late.report.notes[0]
    assert crop.reap()["z"].values.tolist() == [2]
