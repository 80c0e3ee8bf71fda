"""What every pool must do for a crop, whatever it is made of."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
from steps import Tally

import cropfit as cf

MPIEXEC = Path(sys.executable).with_name("mpiexec")
LOOPBACK = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "_"]
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
    """Of one worker: a second one might grow all that is left before the pool ends it."""
    mark, tally = tmp_path / "killed", Tally(tmp_path / "tally")

    def work(x):
        tally.add(x)
        if x == 7 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sow(tmp_path, work, num_batches=3)
    spawn = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(1, spawn) as pool,
        pytest.raises(cf.CropError, match="takes no more work"),
    ):
        crop.grow(executor=pool, ship=ship)

    assert not crop.is_ready_to_reap()
    crop.grow()
    assert_computed_again(tally, {4, 5, 6, 7})
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
        process = multiprocessing.get_context("spawn").Process(target=task)
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


@pytest.mark.parametrize(
    ("name", "ship"), [("threads", False), ("threads", True), ("loky", True), ("dask", True)]
)
def test_progress_is_shown_while_a_pool_grows(tmp_path, name, ship, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("cropfit.progress.REFRESH", 0.0)
    monkeypatch.setattr("cropfit.engines.executors.TURN", 0.05)
    crop = sow(tmp_path, lambda x: time.sleep(0.05), num_batches=6)
    crop.verbosity = 2
    crop.grow(executor=name, num_workers=1, ship=ship)

    shown = capsys.readouterr().err
    counts = {int(part.split("/6")[0].split()[-1]) for part in shown.split("\r") if "/6" in part}
    assert {0, 6} <= counts
    assert len(counts) > 2  # on the way, too


@pytest.mark.parametrize("ship", [False, True])
@pytest.mark.parametrize("name", ["loky", "processes", "dask", "multiprocessing.Pool"])
def test_a_thread_cap_reaches_what_the_workers_load(tmp_path, name, ship):
    crop = sow(tmp_path, lambda x: os.environ.get("OMP_NUM_THREADS", "none"), number=4)
    makers = {n.removesuffix(" by name"): make for n, make in POOLS.items()}
    with makers[name]() as pool:
        crop.grow(executor=pool, num_workers=2, num_threads=3, ship=ship)

    assert crop.reap()["z"].values.tolist() == ["3"] * 4


class Counting(concurrent.futures.ThreadPoolExecutor):
    """Counts what it is given, and how much of it is under way at a time."""

    given = flying = most = 0

    def submit(self, task, *args):
        self.given += 1
        self.flying += 1
        self.most = max(self.most, self.flying)
        future = super().submit(task, *args)
        future.add_done_callback(self._landed)
        return future

    def _landed(self, future):
        self.flying -= 1


@pytest.mark.parametrize("ship", [False, True])
def test_many_batches_are_not_many_futures_at_once(tmp_path, ship):
    crop = sow(tmp_path, lambda x: x, number=300, batchsize=1)
    with Counting(2) as pool:
        crop.grow(executor=pool, ship=ship)

    assert pool.most <= 4
    assert pool.given == 300 if ship else pool.given <= 10
    assert crop.is_ready_to_reap()


# -- engines that want a world of their own --------------------------------------------

GROW_BY_MPI = """
import sys
import cropfit as cf
from mpi4py.futures import MPIPoolExecutor

if __name__ == "__main__":
    with MPIPoolExecutor(2) as pool:
        report = cf.Crop.load(sys.argv[1], verbosity=0).grow(executor=pool, ship=sys.argv[2] == "1")
    print(report.reason, len(report.grown), len(report.failed))
"""


@pytest.mark.needs("root", "unshare", "ip")
@pytest.mark.skipif(not MPIEXEC.exists(), reason="no mpiexec in this environment (pip: mpich)")
@pytest.mark.parametrize("ship", ["0", "1"])
def test_ranks_of_an_mpiexec_are_a_pool(tmp_path, ship):
    def work(x):
        from mpi4py import MPI

        if x == 5:
            raise ValueError("no five")
        return MPI.COMM_WORLD.rank

    crop = sow(tmp_path, work, num_batches=6)
    code = tmp_path / "grow.py"
    code.write_text(GROW_BY_MPI)
    python = [sys.executable, "-m", "mpi4py.futures", str(code), crop.location, ship]
    done = subprocess.run(
        [*LOOPBACK, str(MPIEXEC), "-n", "3", *python],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.stdout.split() == ["done", "5", "1"], done.stderr
    ranks = crop.peek(fill_value=-1)["z"].values.tolist()
    assert set(ranks) <= {-1, 1, 2}
    assert ranks.index(-1) == 5


@pytest.mark.slow
@pytest.mark.parametrize("ship", [False, True])
def test_views_of_an_ipyparallel_cluster_are_a_pool(tmp_path, ship, monkeypatch):
    ipyparallel = pytest.importorskip("ipyparallel")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cluster = ipyparallel.Cluster(n=2, log_level=50)
    with cluster as client:
        client.wait_for_engines(2, timeout=60)
        _grow_with_one_failure(tmp_path, client.load_balanced_view(), ship)
        _grow_with_one_failure(tmp_path / "local", client[:], ship)


@pytest.mark.parametrize("ship", [False, True])
def test_executorlib_is_a_pool(tmp_path, ship):
    executorlib = pytest.importorskip("executorlib")
    with executorlib.SingleNodeExecutor(max_workers=2) as pool:
        _grow_with_one_failure(tmp_path, pool, ship)


@pytest.mark.slow
@pytest.mark.parametrize("ship", [False, True])
def test_ray_is_a_pool(tmp_path, ship):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir="/tmp/cropfit-ray")
    try:
        _grow_with_one_failure(tmp_path, "ray", ship)
    finally:
        ray.shutdown()


def _grow_with_one_failure(folder, pool, ship):
    def work(x):
        if x == 5:
            raise ValueError("no five")
        return x * x

    crop = sow(folder, work, num_batches=6)
    report = crop.grow(executor=pool, num_workers=2, ship=ship)

    assert (report.reason, len(report.grown), report.failed) == ("done", 5, [3])
    values = crop.peek(fill_value=-1)["z"].values.tolist()
    assert values == [-1 if x == 5 else x * x for x in range(12)]
