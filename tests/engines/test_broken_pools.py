"""Pools whose workers are killed, or are long in coming."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import pytest
from steps import Tally

import cropfit as cf
from cropfit.disk.ledger import Ledger
from cropfit.engines.pools import adapt

SPAWN = multiprocessing.get_context("spawn")
POOLS = {
    "loky by name": lambda: contextlib.nullcontext("loky"),
    "processes by name": lambda: contextlib.nullcontext("processes"),
    "joblib by name": lambda: contextlib.nullcontext("joblib"),
    "multiprocessing.Pool": lambda: SPAWN.Pool(2),
    "dask by name": lambda: contextlib.nullcontext("dask"),
}
WAYS = [(name, ship) for name in POOLS for ship in (False, True)]
WAYS.remove(("joblib by name", True))


def sow(folder, fn, number=12, **options):
    crop = cf.Crop(fn, "pooled", parent_dir=folder, var_names=["z"], verbosity=0)
    crop.sow_combos({"x": range(number)}, **options)
    return crop


@pytest.fixture(autouse=True)
def local_disk(tmp_path, monkeypatch):
    """Where workers keep what is shipped to them."""
    folder = tmp_path / "local"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.mark.parametrize(("name", "ship"), WAYS)
def test_a_pool_survives_a_worker_that_is_killed_in_the_middle_of_a_batch(
    tmp_path, monkeypatch, name, ship
):
    mark = tmp_path / "killed"

    def work(x):
        if x == 7 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    monkeypatch.setattr("cropfit.engines.executors.LOOK_EVERY", 0.1)
    crop = sow(tmp_path, work, num_batches=3)
    with POOLS[name]() as pool:
        crop.grow(executor=pool, num_workers=2, ship=ship)

    assert crop.reap()["z"].values.tolist() == list(range(12))


@pytest.mark.parametrize("ship", [False, True])
def test_a_pool_of_the_users_that_breaks_is_told_and_costs_nothing(tmp_path, ship):
    """Of one worker: a second one might grow all that is left before the pool ends it."""
    mark, tally = tmp_path / "killed", Tally(tmp_path / "tally")

    def work(x):
        tally.add(x)
        if x == 7 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sow(tmp_path, work, num_batches=3)
    with (
        concurrent.futures.ProcessPoolExecutor(1, SPAWN) as pool,
        pytest.raises(cf.CropError, match="takes no more work"),
    ):
        crop.grow(executor=pool, ship=ship)

    assert not crop.is_ready_to_reap()
    crop.grow()
    assert_computed_again(tally, {4, 5, 6, 7})
    assert crop.reap()["z"].values.tolist() == list(range(12))


@pytest.mark.parametrize("ship", [False, True])
def test_a_worker_of_a_pool_that_is_asked_to_end_gives_its_batch_back_and_ends(tmp_path, ship):
    """It would go back to the pool's queue otherwise, where the pool may wait for it for ever."""
    mark = tmp_path / "asked"

    def work(x):
        if x == 7 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return x

    crop = sow(tmp_path, work, num_batches=3)
    with (
        concurrent.futures.ProcessPoolExecutor(1, SPAWN) as pool,
        pytest.raises(cf.CropError, match="takes no more work"),
    ):
        crop.grow(executor=pool, ship=ship)

    assert crop.status().to_dict()["growing"] == 0
    crop.grow()
    assert crop.reap()["z"].values.tolist() == list(range(12))


class Breaking:
    """A pool whose first worker is killed, and which takes no more when the second is done."""

    max_workers = 2

    def __init__(self):
        self.ways = [self.die, self.grow]

    def submit(self, task):
        if not self.ways:
            raise BrokenProcessPool("the pool is broken")
        future = concurrent.futures.Future()
        self.ways.pop(0)(task, future)
        return future

    def die(self, task, future):
        process = SPAWN.Process(target=task)
        process.start()
        process.join()
        future.set_exception(BrokenProcessPool("a worker was killed"))

    def grow(self, task, future):
        future.set_result(task())


def test_who_grows_all_that_is_left_before_a_pool_breaks_makes_the_breaking_no_error(tmp_path):
    mark, tally = tmp_path / "killed", Tally(tmp_path / "tally")

    def work(x):
        tally.add(x)
        if x == 7 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sow(tmp_path, work, num_batches=3)
    report = crop.grow(executor=Breaking())

    assert (report.reason, sorted(report.grown)) == ("done", [2, 3])
    assert_computed_again(tally, {4, 5, 6, 7})
    assert crop.reap()["z"].values.tolist() == list(range(12))


def assert_computed_again(tally, batch):
    """Case 7, and of its batch perhaps what its worker had not written yet; no other."""
    calls = tally.sorted()
    assert sorted(set(calls)) == list(range(12))
    assert {x for x in calls if calls.count(x) > 1} <= batch
    assert calls.count(7) == 2


class Hasty:
    """A pool of one worker that tells of its death a moment before it is gone."""

    max_workers = 1

    def __init__(self, mark):
        self.mark = mark
        self.process = None

    def submit(self, task):
        if self.process:
            done = concurrent.futures.Future()
            done.set_result(task())
            return done
        self.process = SPAWN.Process(target=task)
        self.process.start()
        return self

    def done(self):
        return self.mark.exists()

    def result(self):
        threading.Timer(0.3, self.process.kill).start()
        raise RuntimeError("the worker is gone")


def test_a_worker_that_is_told_dead_before_it_is_gone_leaves_its_batch_to_the_next(tmp_path):
    mark = tmp_path / "hangs"

    def work(x):
        if x == 7 and not mark.exists():
            mark.touch()
            time.sleep(600)
        return x

    crop = sow(tmp_path, work, num_batches=1)
    report = crop.grow(executor=Hasty(mark))

    assert (report.reason, report.grown) == ("done", [1])
    assert crop.reap()["z"].values.tolist() == list(range(12))


@pytest.mark.parametrize("batches", [None, range(1, 25)], ids=["all", "named"])
@pytest.mark.parametrize("name", ["loky", "processes"])
def test_a_pool_of_many_that_is_ended_by_one_death_loses_once_and_is_made_anew(
    tmp_path, name, batches
):
    """Eight turns are lost by it: more than the losses in a row that are borne."""
    mark, tally = tmp_path / "killed", Tally(tmp_path / "tally")

    def work(x):
        tally.add(x)
        while not mark.exists():
            if len(tally.all()) == 8:
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.01)
        return x

    crop = sow(tmp_path, work, number=24, batchsize=1)
    report = crop.grow(batches, executor=name, num_workers=8)

    assert report.reason == "done"
    assert crop.reap()["z"].values.tolist() == list(range(24))


@pytest.mark.parametrize("name", ["loky", "processes"])
def test_a_case_that_kills_each_of_its_workers_is_poison_and_no_fault_of_the_pool(tmp_path, name):
    def work(x):
        os.kill(os.getpid(), signal.SIGKILL)

    crop = sow(tmp_path, work, number=3, batchsize=1)
    report = crop.grow(executor=name, num_workers=2)

    assert report.reason == "done"
    errors = crop.errors()
    assert [(each["type"], each["arguments"]["x"]) for each in errors] == [
        ("WorkerDied", x) for x in range(3)
    ]


def test_a_pool_that_loses_all_that_it_is_given_is_told(tmp_path):
    class Loses:
        max_workers = 2
        given = 0

        def submit(self, task):
            self.given += 1
            future = concurrent.futures.Future()
            future.set_exception(RuntimeError("no luck"))
            return future

    crop, pool = sow(tmp_path, lambda x: x), Loses()
    with pytest.raises(cf.CropError, match=r"takes no more work \(RuntimeError: no luck\)"):
        crop.grow(executor=pool)

    assert pool.given == 12  # two at a time, six times
    assert len(crop.missing_results()) == 12


class Ending:
    """A pool of one that breaks while its worker is at it, which it ends then or as it closes."""

    max_workers = 1

    def __init__(self, mark, at_once):
        self.mark = mark
        self.at_once = at_once
        self.process = None

    def submit(self, task):
        if self.process:
            raise BrokenProcessPool("the pool is broken")
        self.process = SPAWN.Process(target=task)
        self.process.start()
        return self

    def done(self):
        return self.mark.exists()

    def result(self):
        if self.at_once:
            self.process.terminate()
        raise BrokenProcessPool("another worker was killed")

    def close(self):
        self.process.terminate()
        self.process.join()


@pytest.mark.parametrize("at_once", [False, True])
def test_what_a_worker_gives_back_that_its_broken_pool_ends_is_grown(
    tmp_path, monkeypatch, at_once
):
    mark, pools = tmp_path / "at it", []

    @contextlib.contextmanager
    def made(name, size):
        pools.append(concurrent.futures.ThreadPoolExecutor(1) if pools else Ending(mark, at_once))
        yield adapt(pools[-1])
        if len(pools) == 1:
            pools[0].close()

    def work(x):
        if not mark.exists():
            mark.touch()
            time.sleep(600)
        return x

    monkeypatch.setattr("cropfit.engines.executors.named", made)
    monkeypatch.setattr("cropfit.engines.executors.SETTLE", 60.0 if at_once else 0.0)
    crop = sow(tmp_path, work, number=1)
    report = crop.grow(executor="processes")

    assert (report.reason, report.grown, len(pools)) == ("done", [1], 2)
    assert pools[0].process.exitcode == -signal.SIGTERM
    assert crop.reap()["z"].values.tolist() == [0]


def test_workers_that_are_long_in_starting_are_waited_for(tmp_path, monkeypatch):
    """Nobody works for twenty looks, but nobody died either."""
    come = tmp_path / "come"
    looks = itertools.count()

    def look(ledger):
        if next(looks) == 20:
            monkeypatch.setattr("cropfit.engines.executors.LOOK_EVERY", 1.0)
            come.touch()
        return held(ledger)

    held = Ledger.held
    monkeypatch.setattr(Ledger, "held", look)
    monkeypatch.setattr("cropfit.engines.executors.LOOK_EVERY", 0.0)
    monkeypatch.setattr("cropfit.engines.executors.MOST_IDLE_AT_START", 10**9)
    crop = sow(tmp_path, lambda x: x)
    with SPAWN.Pool(1, wait_for, [come]) as pool:
        report = crop.grow(executor=pool)

    assert (len(report.grown), report.cases) == (12, 12)


def wait_for(path):
    while not path.exists():
        time.sleep(0.01)
