"""Pools whose workers are killed, or are long in coming."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import pytest
from steps import Tally

import cropfit as cf
from cropfit.disk.ledger import Ledger
from cropfit.engines.lingering import closed_in_time
from cropfit.engines.pools import adapt, named

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


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", ["loky", "processes"])
def test_a_pool_closes_though_an_idle_worker_took_the_lock_of_its_queue_along(
    monkeypatch, name, which
):
    """One of two holds the lock; its death comes as the pool closes, which looks no more."""
    monkeypatch.setattr("cropfit.engines.lingering.GRACE", 1.0)
    others = children()
    with named(name, 2) as pool:
        turns = [pool.submit(time.sleep, 0.1) for _ in range(2)]
        for turn in turns:
            turn.result()
        workers = sorted(set(children()).difference(others))
        os.kill(workers[which % len(workers)], signal.SIGKILL)

    end = time.monotonic() + 100
    while set(workers) & set(children()) and time.monotonic() < end:
        time.sleep(0.01)
    assert not set(workers) & set(children())


def test_lokys_workers_end_by_themselves_when_nobody_gives_them_work(monkeypatch):
    """So do those of a process that was killed, which nobody can tell to end."""
    monkeypatch.setattr("cropfit.engines.pools.IDLE", 0.2)
    others = children()
    with named("loky", 2) as pool:
        pool.submit(time.sleep, 0).result()
        end = time.monotonic() + 100
        while set(children()) - set(others) and time.monotonic() < end:
            time.sleep(0.01)

        assert not set(children()) - set(others)
        assert pool.submit(abs, -3).result() == 3  # others are started when there is some


def children():
    """Ids of the processes that this one started with multiprocessing, and are alive."""
    return [each.pid for each in multiprocessing.active_children()]


@pytest.mark.parametrize("ship", [False, True])
@pytest.mark.parametrize("name", ["loky", "processes"])
def test_a_worker_that_kills_the_other_one_costs_no_result(tmp_path, name, ship):
    """The other is at work, or idle, or between the two."""
    pids = tmp_path / "pids"
    pids.mkdir()

    def work(x):
        (pids / str(os.getpid())).touch()
        while len(os.listdir(pids)) < 2:
            time.sleep(0.01)
        if x >= 6 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            for pid in map(int, os.listdir(pids)):
                if pid != os.getpid():
                    os.kill(pid, signal.SIGKILL)
        return x

    crop = sow(tmp_path, work, batchsize=1)
    report = crop.grow(executor=name, num_workers=2, ship=ship)

    assert report.reason == "done"
    assert crop.reap()["z"].values.tolist() == list(range(12))


def dies_while_it_sends(mark):
    """Kill this process when its main thread has begun to write what it has found."""
    main = threading.main_thread().ident

    def watch():
        while "_send" not in names(sys._current_frames().get(main)):
            pass  # sleeping, it might miss that; so it looks whenever the other thread writes
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def names(frame):
        found = []
        while frame:
            found.append(frame.f_code.co_name)
            frame = frame.f_back
        return found

    threading.Thread(target=watch, daemon=True).start()


def sow_large(folder):
    mark = folder / "killed"

    def work(x):
        if x == 3 and not mark.exists():
            dies_while_it_sends(mark)
        return bytes(20_000_000 + x)

    return sow(folder, work, number=6, batchsize=1)


def assert_large(crop):
    lengths = [len(each) for each in crop.reap(to=False)["z"].values]
    assert lengths == [20_000_000 + x for x in range(6)]


@pytest.mark.parametrize("name", ["loky", "processes"])
def test_a_worker_that_is_killed_with_half_its_result_sent_is_replaced(tmp_path, monkeypatch, name):
    monkeypatch.setattr("cropfit.engines.lingering.NOTICE", 1.0)
    monkeypatch.setattr("cropfit.engines.lingering.GRACE", 1.0)
    crop = sow_large(tmp_path)
    report = crop.grow(executor=name, num_workers=2, ship=True)

    assert (tmp_path / "killed").exists()
    assert (report.reason, sorted(report.grown)) == ("done", [1, 2, 3, 4, 5, 6])
    assert_large(crop)


def test_a_pool_of_the_users_that_waits_for_half_a_result_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("cropfit.engines.lingering.NOTICE", 1.0)
    monkeypatch.setattr("cropfit.engines.lingering.GRACE", 1.0)
    crop = sow_large(tmp_path)
    with (
        closed_in_time(concurrent.futures.ProcessPoolExecutor(1, SPAWN)) as pool,
        pytest.raises(cf.CropError, match="takes no more work"),
    ):
        crop.grow(executor=pool, ship=True)

    assert crop.status().to_dict()["growing"] == 0
    crop.grow()
    assert_large(crop)
