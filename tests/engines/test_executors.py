"""What every pool must do for a crop, whatever it is made of."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from multiprocessing.pool import ThreadPool

import pytest

import cropfit as cf

NO_SHIPPING = ("joblib by name", True)
POOLS = {
    "threads by name": lambda: contextlib.nullcontext("threads"),
    "loky by name": lambda: contextlib.nullcontext("loky"),
    "processes by name": lambda: contextlib.nullcontext("processes"),
    "joblib by name": lambda: contextlib.nullcontext("joblib"),
    "ThreadPoolExecutor": lambda: concurrent.futures.ThreadPoolExecutor(2),
    "ProcessPoolExecutor": lambda: concurrent.futures.ProcessPoolExecutor(
        2, multiprocessing.get_context("spawn")
    ),
    "multiprocessing.Pool": lambda: multiprocessing.get_context("spawn").Pool(2),
    "ThreadPool": lambda: ThreadPool(2),
    "dask by name": lambda: contextlib.nullcontext("dask"),
}
PROCESSES = [name for name in POOLS if "hread" not in name]
WAYS = [(name, ship) for name in POOLS for ship in (False, True) if (name, ship) != NO_SHIPPING]
IDS = [f"{name}, shipped" if ship else name for name, ship in WAYS]


def sow(folder, fn, number=12, **options):
    crop = cf.Crop(fn, "pooled", parent_dir=folder, var_names=["z"], verbosity=0)
    crop.sow_combos({"x": range(number)}, **options)
    return crop


def folders(crop):
    counts = crop.status().to_dict()
    return {state: counts[state] for state in ("sown", "growing", "grown", "failed")}


@pytest.fixture(autouse=True)
def local_disk(tmp_path, monkeypatch):
    """Where workers keep what is shipped to them; nothing of it outlives the pool."""
    folder = tmp_path / "local"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.mark.parametrize(("name", "ship"), WAYS, ids=IDS)
class TestEveryPool:
    def test_grows_every_case_once_and_tells_what_failed(self, tmp_path, name, ship):
        log = tmp_path / "log"

        def work(x):
            with open(log, "a") as file:
                file.write(f"{x}\n")
            if x == 5:
                raise ValueError("no five")
            return x * x

        crop = sow(tmp_path, work, num_batches=6)
        with POOLS[name]() as pool:
            report = crop.grow(executor=pool, num_workers=2, ship=ship)

        assert sorted(map(int, log.read_text().split())) == list(range(12))
        assert folders(crop) == {"sown": 0, "growing": 0, "grown": 5, "failed": 1}
        assert (report.reason, report.exit_code, report.cases) == ("done", 1, 12)
        assert [failure["arguments"] for failure in report.failures] == [{"x": 5}]
        assert not [file for file in os.listdir(crop.location) if file.startswith("stop")]

    def test_grows_the_batches_that_are_named_and_no_others(self, tmp_path, name, ship):
        crop = sow(tmp_path, lambda x: x)
        with POOLS[name]() as pool:
            crop.grow([2, 3, 7], executor=pool, num_workers=2, ship=ship)

        assert crop.completed_results() == [2, 3, 7]
        assert folders(crop)["sown"] == 9


@pytest.mark.parametrize(
    ("name", "ship"), [w for w in WAYS if w[0] in PROCESSES and w[0] != "ProcessPoolExecutor"]
)
def test_a_pool_survives_a_worker_that_is_killed_in_the_middle_of_a_batch(tmp_path, name, ship):
    mark = tmp_path / "killed"

    def work(x):
        if x == 7 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sow(tmp_path, work, num_batches=3)
    with POOLS[name]() as pool:
        crop.grow(executor=pool, num_workers=2, ship=ship)

    assert crop.reap()["z"].values.tolist() == list(range(12))


@pytest.mark.parametrize("ship", [False, True])
def test_a_pool_of_the_users_that_breaks_is_told_and_costs_nothing(tmp_path, ship):
    mark = tmp_path / "killed"

    def work(x):
        if x == 7 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sow(tmp_path, work, num_batches=3)
    with (
        POOLS["ProcessPoolExecutor"]() as pool,
        pytest.raises(cf.CropError, match="takes no more work"),
    ):
        crop.grow(executor=pool, ship=ship)

    crop.grow()
    assert crop.reap()["z"].values.tolist() == list(range(12))


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
        self.process = multiprocessing.get_context("spawn").Process(target=task)
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


def test_threads_each_have_a_case_of_their_own(tmp_path):
    crop = sow(tmp_path, lambda x: cf.current_case().index, number=200, num_batches=40)

    crop.grow(executor="threads", num_workers=4)

    assert crop.reap()["z"].values.tolist() == list(range(200))


def test_a_users_pool_stays_open(tmp_path):
    crop = sow(tmp_path, lambda x: x)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        crop.grow(executor=pool)

        assert pool.submit(int).result() == 0


def test_what_is_no_pool_is_refused_by_name(tmp_path):
    crop = sow(tmp_path, lambda x: x)

    with pytest.raises(cf.DesignError, match="submit"):
        crop.grow(executor=object())
    with pytest.raises(cf.DesignError, match="'lokie'"):
        crop.grow(executor="lokie")
    assert folders(crop)["sown"] == 12


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_a_library_that_is_missing_is_told_with_the_command_that_installs_it(tmp_path):
    crop = sow(tmp_path, lambda x: x)

    with pytest.raises(cf.MissingDependencyError, match=r"pip install 'cropfit\[ray\]'"):
        crop.grow(executor="ray")
    assert folders(crop)["sown"] == 12
