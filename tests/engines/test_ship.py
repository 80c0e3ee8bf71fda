"""Batches travel through the engine: its workers do not see the crop's folder."""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
from steps import Gate, Tally, start, tree

import cropfit as cf

NAMES = ("sown", "growing", "grown", "failed")


@pytest.fixture(autouse=True)
def local_disk(tmp_path, monkeypatch):
    folder = tmp_path / "local"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def sow(folder, fn, values, **options):
    (folder / "home").mkdir(exist_ok=True)
    made = {key: options.pop(key) for key in ("constants", "lease") if key in options}
    crop = cf.Crop(fn, "far", parent_dir=folder / "home", var_names=["z"], verbosity=0, **made)
    crop.sow_combos(values, **options)
    return crop


def folders(crop):
    counts = crop.status().to_dict()
    return {state: counts[state] for state in NAMES}


# -- workers that see nothing ----------------------------------------------------------


@pytest.fixture
def far_cluster(tmp_path):
    """A dask client with two workers on "hosts" of their own, to which home/ is empty."""
    from distributed import Client, LocalCluster

    (tmp_path / "home").mkdir(exist_ok=True)
    hide = 'hostname "$0" && mount -t tmpfs tmpfs "$1" && shift && exec "$@"'
    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        workers = []
        for name in ("node0", "node1"):
            (tmp_path / name).mkdir()
            command = [
                "unshare",
                "--mount",
                "--uts",
                "sh",
                "-c",
                hide,
                name,
                str(tmp_path / "home"),
            ]
            dask = [sys.executable, "-m", "distributed.cli.dask_worker"]
            options = ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
            workers.append(
                subprocess.Popen(
                    [*command, *dask, cluster.scheduler_address, *options],
                    env={**os.environ, "TMPDIR": str(tmp_path / name)},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        client.wait_for_workers(2, timeout=200)
        yield client
        client.retire_workers()
        for worker in workers:
            worker.terminate()
            worker.wait(120)


@pytest.mark.needs("root", "unshare", "mount")
def test_workers_on_hosts_without_the_folder_keep_every_promise(tmp_path, far_cluster):
    """One of them is killed in the middle, one case fails, and numbers are the seed's."""
    tally, killed = Tally(tmp_path / "tally"), tmp_path / "killed"

    def work(x, star, home):
        case = cf.current_case().index
        tally.add(f"{case} {os.getpid()} {socket.gethostname()} {os.listdir(home)}")
        if case == 14 and not killed.exists():  # one case: two workers at once might both do it
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        if x == 5:
            raise ValueError("no five")
        with open(f"{cf.current_case().checkpoint_dir}/state", "w"):
            pass
        return cf.current_case().rng.normal() + star.sum()

    stars = {"Vega": np.ones(500), "Sirius": np.full(900, 2.0)}
    crop = sow(
        tmp_path,
        work,
        {"x": range(12), "star": stars},
        constants={"home": str(tmp_path / "home")},
        seed=1,
        batchsize=3,
    )

    report = crop.grow(executor=far_cluster, ship=True)

    assert (report.reason, report.exit_code) == ("done", 1)
    assert folders(crop) == {"sown": 0, "growing": 0, "grown": 7, "failed": 1}
    runs = [line.split() for line in tally.all()]
    assert {run[2] for run in runs} <= {"node0", "node1"}
    assert {run[3] for run in runs} == {"[]"}  # what they see of the crop
    # What is under way on a killed worker is lost with it, and nothing else.
    finals = {run[0]: run[1] for run in runs}
    assert sorted(map(int, finals)) == list(range(24))
    dead = killed.read_text()
    assert all(run[1] in (finals[run[0]], dead) for run in runs)
    assert len(runs) == len({(run[0], run[1]) for run in runs})
    errors = crop.errors()
    assert [(e["arguments"]["x"], e["host"][:4]) for e in errors] == [(5, "node"), (5, "node")]
    assert all("no five" in error["traceback"] for error in errors)
    ds = crop.reap(allow_incomplete=True)
    for case in (0, 9, 20):
        rng = np.random.default_rng(np.random.SeedSequence(1, spawn_key=(case,)))
        value = rng.normal() + (1800.0 if case % 2 else 500.0)
        assert ds["z"].values.reshape(-1)[case] == value
    assert np.isnan(ds["z"].sel(x=5)).all()


# -- what is not lost ------------------------------------------------------------------


def test_a_batch_in_which_cases_fail_keeps_the_others_and_is_retried_alone(tmp_path):
    tally, mended = Tally(tmp_path / "tally"), tmp_path / "mended"

    def work(x):
        tally.add(x)
        if x == 2 and not mended.exists():
            raise ValueError("two")
        return x

    crop = sow(tmp_path, work, {"x": range(4)}, num_batches=1)
    crop.grow(executor="threads", num_workers=1, ship=True)
    assert crop.peek(fill_value=-1)["z"].values.tolist() == [0, 1, -1, 3]
    mended.touch()
    crop.retry()
    crop.grow(executor="threads", num_workers=1, ship=True)

    assert tally.sorted() == [0, 1, 2, 2, 3]
    assert crop.reap()["z"].values.tolist() == [0, 1, 2, 3]


def test_what_a_function_leaves_unfinished_comes_home_with_its_checkpoint(tmp_path):
    once = tmp_path / "once"

    def work(x):
        case = cf.current_case()
        saved = Path(case.checkpoint_dir) / "deep" / "state"
        if saved.exists():
            return int(saved.read_text()) + x
        if x == 2:
            saved.parent.mkdir()
            saved.write_text("100")
            once.touch()
            case.leave()
        return x

    crop = sow(tmp_path, work, {"x": range(4)}, num_batches=1)
    report = crop.grow(executor="threads", num_workers=1, ship=True)

    assert report.reason == "stop"
    assert folders(crop) == {"sown": 1, "growing": 0, "grown": 0, "failed": 0}
    assert any(path.endswith("checkpoint/2/deep/state") for path in tree(crop.location))
    crop.grow()  # at home
    assert crop.reap()["z"].values.tolist() == [0, 1, 102, 3]


def test_a_case_in_which_every_worker_dies_is_poison_and_costs_no_other(tmp_path):
    def work(x):
        if x == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop = sow(tmp_path, work, {"x": range(6)}, batchsize=2)
    report = crop.grow(executor="loky", num_workers=2, ship=True)

    assert sorted(report.grown) == [1, 3]
    (error,) = crop.errors()
    assert (error["type"], error["arguments"]) == ("WorkerDied", {"x": 3})
    assert crop.peek(fill_value=-1)["z"].values.tolist() == [0, 1, 2, -1, 4, 5]


def test_who_was_taken_for_dead_discards_what_comes_home_and_says_so(tmp_path):
    gate = Gate(tmp_path / "gate")

    def work(x):
        if x == 1 and threading.current_thread().name.startswith("ThreadPool"):
            gate.stop_here()
        return x

    crop = sow(tmp_path, work, {"x": range(4)}, num_batches=1)
    reports = []
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="ThreadPool") as pool:
        courier = threading.Thread(
            target=lambda: reports.append(crop.grow(executor=pool, ship=True)), name="courier"
        )
        courier.start()
        gate.wait_for_arrival()
        thief = crop.grow(1, steal=True)
        gate.let_go()
        courier.join(120)

    assert thief.grown == [1]
    assert reports[0].grown == []
    assert "taken over by another worker meanwhile" in " ".join(reports[0].notes)
    assert crop.reap()["z"].values.tolist() == [0, 1, 2, 3]


# -- how much travels, and when --------------------------------------------------------


class Weighing(concurrent.futures.ThreadPoolExecutor):
    """A pool of threads that weighs what a pool of processes would be sent, and counts it."""

    def __init__(self, number):
        super().__init__(number)
        self.weights = []
        self.flying = self.most = 0

    def submit(self, task, *args):
        data = pickle.dumps((task, args))
        self.weights.append(len(data))
        self.flying += 1
        self.most = max(self.most, self.flying)

        def run():
            task, args = pickle.loads(data)
            return task(*args)

        future = super().submit(run)
        future.add_done_callback(self._landed)
        return future

    def _landed(self, future):
        self.flying -= 1


def test_the_function_and_constants_travel_once_and_a_few_batches_at_a_time(tmp_path, monkeypatch):
    from cropfit.engines import pools

    monkeypatch.setattr(pools, "_sharer", lambda pool: None)  # as with processes
    crop = sow(
        tmp_path,
        lambda x, table: x + table[-1],
        {"x": range(60)},
        constants={"table": np.arange(1_000_000.0)},
        batchsize=1,
    )
    with Weighing(2) as pool:
        crop.grow(executor=pool, num_workers=2, ship=True)

    assert len([weight for weight in pool.weights if weight > 100_000]) == 1
    assert len(pool.weights) == 61
    assert pool.most <= 4
    assert crop.reap()["z"].values.tolist() == [x + 999_999.0 for x in range(60)]


def test_a_batch_takes_its_own_objects_along_and_no_others(tmp_path, monkeypatch):
    from cropfit.engines import pools

    monkeypatch.setattr(pools, "_sharer", lambda pool: None)
    maps = {f"map{k}": np.full(100_000, float(k)) for k in range(6)}
    crop = sow(tmp_path, lambda m: m[-1], {"m": maps}, batchsize=1)
    with Weighing(1) as pool:
        crop.grow(executor=pool, num_workers=1, ship=True)

    assert max(pool.weights) < 1_000_000
    assert crop.reap()["z"].values.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


# -- ends ------------------------------------------------------------------------------

COURIER = """
import sys, cropfit
if __name__ == "__main__":
    crop = cropfit.Crop.load(sys.argv[1], verbosity=0)
    crop.grow(executor=sys.argv[2], num_workers=2, ship=sys.argv[3] == "ship")
"""


@pytest.mark.parametrize("ship", ["ship", "shared"])
@pytest.mark.parametrize("name", ["threads", "loky", "processes"])
def test_ctrl_c_leaves_a_sound_crop(tmp_path, name, ship):
    """A real SIGINT, to the sower's process alone, while functions wait in its workers."""
    tally, go = Tally(tmp_path / "tally"), tmp_path / "go"

    def work(x):
        tally.add(x)
        while x > 1 and not go.exists() and not cf.current_case().should_stop():
            time.sleep(0.01)
        if x > 1 and not go.exists():
            cf.current_case().leave()
        return x

    crop = sow(tmp_path, work, {"x": range(20)}, batchsize=2)
    courier = start(COURIER, crop.location, name, ship)
    until(lambda: len(tally.all()) >= 4)
    courier.send_signal(signal.SIGINT)
    said, _ = courier.communicate(timeout=200)

    assert "KeyboardInterrupt" in said
    assert folders(crop)["growing"] == 0
    assert not [file for file in os.listdir(crop.location) if file.startswith("stop")]
    go.touch()
    crop.grow()
    assert crop.reap()["z"].values.tolist() == list(range(20))


def until(what, seconds=120):
    end = time.monotonic() + seconds
    while not (seen := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
    return seen


def test_a_courier_that_is_killed_leaves_its_batches_to_the_next_worker(tmp_path):
    tally, go = Tally(tmp_path / "tally"), tmp_path / "go"

    def work(x):
        tally.add(x)
        while not go.exists():
            time.sleep(0.01)
        return x

    crop = sow(tmp_path, work, {"x": range(8)}, batchsize=2)
    courier = start(COURIER, crop.location, "threads", "ship")
    until(lambda: folders(crop)["growing"] == 4)  # those on their way, too
    until(lambda: len(tally.all()) >= 2)
    assert crop.status().dead == []
    courier.kill()
    courier.communicate()
    go.touch()
    crop.grow()

    assert crop.reap()["z"].values.tolist() == list(range(8))


def test_a_courier_leaves_when_time_is_up_and_when_it_is_asked_to(tmp_path):
    tally = Tally(tmp_path / "tally")

    def work(x):
        tally.add(x)
        time.sleep(0.05)

    crop = sow(tmp_path, work, {"x": range(4000)}, batchsize=4)
    report = crop.grow(executor="threads", num_workers=2, ship=True, walltime=1)
    assert (report.reason, report.exit_code) == ("time", 75)
    assert folders(crop)["growing"] == 0

    before = len(tally.all())

    def ask():
        until(lambda: len(tally.all()) > before)
        crop.stop()

    asking = threading.Thread(target=ask)
    asking.start()
    report = crop.grow(executor="threads", num_workers=2, ship=True)
    asking.join()
    assert (report.reason, report.exit_code) == ("stop", 75)
    assert folders(crop)["growing"] == 0


def test_failures_end_a_courier_as_they_end_a_worker(tmp_path):
    def work(x):
        raise ValueError(f"no {x}")

    crop = sow(tmp_path, work, {"x": range(40)}, batchsize=1)
    report = crop.grow(executor="threads", num_workers=1, ship=True, max_fails=3, retries=1)
    assert report.reason == "max_fails"
    assert 3 <= len(report.failures) <= 5  # of those that were on their way
    assert {failure["attempt"] for failure in report.failures} == {2}
    with pytest.raises(cf.CaseError, match="no "):
        crop.grow(executor="threads", num_workers=1, ship=True, on_error="raise")
    assert folders(crop)["growing"] == 0


def test_what_cannot_be_shipped_is_refused(tmp_path):
    crop = sow(tmp_path, lambda x: x, {"x": range(4)})
    with pytest.raises(cf.DesignError, match="executor="):
        crop.grow(ship=True)
    with pytest.raises(cf.DesignError, match="joblib"):
        crop.grow(executor="joblib", ship=True)
    assert folders(crop)["sown"] == 4


def test_nothing_of_a_shipped_crop_stays_on_the_workers_disk(tmp_path, local_disk):
    crop = sow(tmp_path, lambda x: x, {"x": range(4)})
    crop.grow(executor="processes", num_workers=2, ship=True)
    assert tree(local_disk) == []


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path, local_disk):
    os.mkdir(local_disk / f"cropfit-{os.getuid()}", 0o777)
    os.chmod(local_disk / f"cropfit-{os.getuid()}", 0o777)
    crop = sow(tmp_path, lambda x: x, {"x": range(4)})
    with pytest.raises(cf.CropError, match="nobody else may write"):
        crop.grow(executor="threads", ship=True)
    assert folders(crop) == {"sown": 4, "growing": 0, "grown": 0, "failed": 0}


class Late:
    """A pool that has done a task when it was asked for it so many times."""

    _max_workers = 1

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def submit(self, task, *args):
        future = concurrent.futures.Future()
        future.set_result(task(*args))
        left = iter(range(self.looks))
        future.done = lambda: next(left, None) is None
        return future


def test_what_is_in_flight_is_looked_for_often_at_first_and_seldom_later(tmp_path, monkeypatch):
    """Batches of milliseconds wait for no clock; nobody is kept busy by waiting for hours."""
    crop = sow(tmp_path, lambda x: x, {"x": range(1)}, batchsize=1)
    slept = []
    clocks = {"time": time.time, "monotonic": time.monotonic, "sleep": slept.append}
    monkeypatch.setattr("cropfit.engines.ship.time", types.SimpleNamespace(**clocks))

    crop.grow(executor=Late(20), ship=True)

    assert folders(crop)["grown"] == 1
    waits = slept[-20:]
    assert waits == sorted(waits)
    assert waits[0] < 0.001
    assert 0.005 < waits[-1] == waits[-2] < 0.1
