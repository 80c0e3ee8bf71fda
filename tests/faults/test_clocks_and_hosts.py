"""Wrong clocks and several hosts: the file system's clock decides, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cropfit as cf
from faults.harness import Log, account, tree

GROW = "import sys, cropfit; print(cropfit.grow(crop=sys.argv[1], wait=True).cases, 'cases')"
LEASE = 4.0  # a heart may beat late by most of it, where the machine is busy
TELLING = 0.0011  # seconds; a case that takes longer is on disk before the next one begins


def as_host(name: str) -> list[str]:
    """Run what follows where the host is called `name`."""
    return ["unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh"]


def at_clock(offset: str) -> list[str]:
    """Run what follows with a clock that is wrong by `offset`, on a disk that keeps its own."""
    return ["env", "NO_FAKE_STAT=1", "FAKE_UTIME=1", "faketime", "-f", offset]


def as_machine(name: str, offset: str) -> list[str]:
    """Run what follows on a machine of its own: name, processes, mounts, no network, clock."""
    apart = ["--uts", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child"]
    # faketime keeps its semaphores by the number of a process, which is 3 on each machine.
    begin = f'hostname {name} && mount -t tmpfs tmpfs /dev/shm && exec "$@"'
    return ["unshare", *apart, "--mount-proc", "sh", "-c", begin, "sh", *at_clock(offset)]


def processes_of(worker: subprocess.Popen[str]) -> list[int]:
    """Everything that runs on the machine of a worker, its heart included."""
    found, new = [], [worker.pid]
    while new:
        pid = new.pop()
        found.append(pid)
        new += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start workers; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(crop: cf.Crop, *before: str, program: str = GROW) -> subprocess.Popen[str]:
        command = [*before, sys.executable, "-c", program, crop.location]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return started[-1]

    yield begin
    for worker in started:
        worker.kill()
        worker.wait()
        if worker.stdout:
            worker.stdout.close()


def sown(folder: Path, fn: Callable[..., Any], xs: range, batchsize: int = 1) -> cf.Crop:
    (folder / "field").mkdir()
    crop = cf.Crop(fn, "it", parent_dir=folder / "field", var_names=["z"], verbosity=0, lease=LEASE)
    crop.sow_combos({"x": xs}, batchsize=batchsize)
    return crop


def until(what: Callable[[], Any], seconds: float = 100) -> Any:
    """Wait for an event of another process that can only be looked for."""
    end = time.monotonic() + seconds
    while not (seen := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)
    return seen


def check(crop: cf.Crop, values: list[int]) -> None:
    ds = crop.reap()
    assert ds["z"].values.tolist() == values
    assert tree(Path(crop.location).parent) == ["it.nc"]


@pytest.mark.needs("faketime")
@pytest.mark.parametrize("offset", ["-5h", "+5h"])
def test_a_wrong_clock_takes_nothing_from_the_living(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], offset: str
) -> None:
    """Two workers, one with a clock that is hours off, and each with a case beyond the lease."""
    log = Log(tmp_path / "log")

    def work(x: int) -> int:
        log.add("start", x)
        time.sleep(1.5 * LEASE if x < 2 else 0.01)
        return 3 * x

    crop = sown(tmp_path, work, range(40))
    # To each other they are on other hosts, so that nothing but the heartbeat counts.
    other = "import socket; socket.gethostname = lambda: 'elsewhere'; " + GROW
    workers = [start(crop), start(crop, *at_clock(offset), program=other)]
    for worker in workers:
        said, _ = worker.communicate(timeout=200)
        assert worker.returncode == 0, said
        assert "taken over" not in said

    told = account(log.lines(), range(40), [])
    assert (told.lost, told.repeated) == ([], 0)
    assert len({line.split()[2] for line in log.lines()}) == 2
    check(crop, [3 * x for x in range(40)])


@pytest.mark.needs("faketime")
@pytest.mark.parametrize("offset", ["-5h", "+5h"])
def test_a_wrong_clock_neither_hides_nor_hastens_a_death(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], offset: str
) -> None:
    """The dead worker's clock was wrong, and so is that of the one who looks for it."""
    log, again = Log(tmp_path / "log"), tmp_path / "again"

    def work(x: int) -> int:
        log.add("start", x)
        time.sleep(TELLING)
        if x == 2 and not again.exists():
            time.sleep(60)
        return x

    crop = sown(tmp_path, work, range(4), batchsize=4)
    other = "import socket; socket.gethostname = lambda: 'elsewhere'; " + GROW
    first = start(crop, *at_clock(offset), program=other)
    until(lambda: len(log.lines()) == 3)
    _kill(first, log)
    killed, dead = time.monotonic(), int(log.lines()[-1].split()[2])
    again.touch()
    said, _ = start(crop, *at_clock(offset)).communicate(timeout=200)
    took = time.monotonic() - killed

    assert "2 cases" in said, said
    assert took > LEASE / 2
    told = account(log.lines(), range(4), [dead])
    assert (told.lost, told.unexplained, told.repeated) == ([], [], 1)
    check(crop, [*range(4)])


def _kill(worker: subprocess.Popen[str], log: Log) -> None:
    """Kill the process that computes, which need not be the one that was started."""
    os.kill(int(log.lines()[-1].split()[2]), 9)
    worker.kill()
    worker.wait()


@pytest.mark.needs("root", "unshare")
def test_a_dead_host_is_known_by_its_silence_alone(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Not before the lease is over, though the process is gone; then by who waits."""
    log, again = Log(tmp_path / "log"), tmp_path / "again"

    def work(x: int) -> int:
        log.add("start", x)
        time.sleep(TELLING)
        if x == 1 and not again.exists():
            time.sleep(60)
        return x

    crop = sown(tmp_path, work, range(6), batchsize=3)
    first = start(crop, *as_host("node7"))
    until(lambda: len(log.lines()) == 2)
    report = crop.grow()  # who does not wait goes home, and says who has the rest
    assert report.grown == [2]
    assert "1 batch growing elsewhere: 1 by node7." in report.notes[-1]

    again.touch()
    dead = int(log.lines()[1].split()[2])
    os.kill(dead, signal.SIGKILL)
    first.kill()
    first.wait()
    killed = time.monotonic()
    waited = crop.grow(wait=True)
    took = time.monotonic() - killed

    assert waited.grown == [1]
    assert "taken over from node7." in waited.notes[0]
    assert took > LEASE / 2
    told = account(log.lines(), range(6), [dead])
    assert (told.lost, told.unexplained, told.repeated) == ([], [], 1)
    assert crop.clean() == {"dead": 0, "torn": 0, "lost": 0, "leftovers": 0}
    check(crop, [*range(6)])


@pytest.mark.needs("root", "unshare")
def test_many_hosts_share_a_crop(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Six workers on four hosts, one of which has their common case that takes beyond the lease."""
    log = Log(tmp_path / "log")

    def work(x: int) -> int:
        log.add("start", x)
        time.sleep(1.5 * LEASE if x == 7 else 0.02)
        return x * x

    crop = sown(tmp_path, work, range(120), batchsize=2)
    hosts = [as_host(f"node{number % 4}") for number in range(6)]
    workers = [start(crop, *host) for host in hosts]
    for worker in workers:
        said, _ = worker.communicate(timeout=200)
        assert worker.returncode == 0, said
        assert "taken over" not in said
    told = account(log.lines(), range(120), [])
    assert (told.lost, told.repeated) == ([], 0)
    check(crop, [x * x for x in range(120)])


APART = pytest.mark.needs("root", "unshare", "mount", "faketime")


@APART
def test_a_frozen_machine_is_taken_over_and_discards_what_it_has_when_it_wakes(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Three machines, their clocks ten hours apart, one of them stopped beyond the lease."""
    log, again = Log(tmp_path / "log"), tmp_path / "again"

    def work(x: int) -> int:
        log.add("start", x, os.uname().nodename)
        time.sleep(TELLING)
        while x == 1 and not again.exists():
            time.sleep(0.01)
        return 3 * x

    crop = sown(tmp_path, work, range(30), batchsize=3)
    frozen = start(crop, *as_machine("frozen", "-5h"))
    until(lambda: len(log.lines()) == 2)
    stopped = processes_of(frozen)
    assert len(stopped) >= 3  # the namespace, the worker and its heart
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    again.touch()
    others = [start(crop, *as_machine("fast", "+5h")), start(crop, *as_machine("right", "+0"))]
    said = [other.communicate(timeout=200)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0], said
    assert sum("Batch 1 was taken over from frozen." in each for each in said) == 1
    for pid in reversed(stopped):
        os.kill(pid, signal.SIGCONT)
    late, _ = frozen.communicate(timeout=200)

    assert "Batch 1 was taken over by another worker meanwhile" in late
    assert "is discarded" in late
    starts = [line.split()[1:3] for line in log.lines()]
    assert sorted({int(case) for case, _ in starts}) == list(range(30))
    twice = [case for case, host in starts if host != "frozen"]
    assert len(twice) == len(set(twice))
    assert crop.clean() == {"dead": 0, "torn": 0, "lost": 0, "leftovers": 0}
    check(crop, [3 * x for x in range(30)])


@APART
def test_a_machine_that_dies_with_all_its_processes_is_taken_over_within_the_lease(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Killed at once, as by a power cut; it shipped batches to threads of its own."""
    log, again = Log(tmp_path / "log"), tmp_path / "again"
    ship = (
        "import os, sys, cropfit; crop = cropfit.Crop.load(sys.argv[1]); "
        "crop.grow(executor='threads', num_workers=2, ship=True)"
    )

    def work(x: int) -> int:
        log.add("start", x, os.uname().nodename)
        while not again.exists():
            time.sleep(0.01)
        return x

    crop = sown(tmp_path, work, range(12), batchsize=1)
    place = ["env", f"TMPDIR={tmp_path}"]
    dying = start(crop, *as_machine("dying", "+5h"), *place, program=ship)
    until(lambda: len(log.lines()) == 2)
    until(lambda: crop.status().growing == 4)
    time.sleep(1.5 * LEASE)  # its heart beats for those that are only on their way, too
    assert crop.status().dead == []
    for pid in processes_of(dying):
        os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    dying.communicate()
    again.touch()
    other = start(crop, *as_machine("other", "-5h"))
    said, _ = other.communicate(timeout=200)

    assert other.returncode == 0, said
    assert time.monotonic() - killed > LEASE / 2
    assert said.count("was taken over from dying.") == 4
    lines = [line.split()[1:3] for line in log.lines()]
    assert sorted(int(case) for case, host in lines if host == "other") == list(range(12))
    check(crop, [*range(12)])


@APART
def test_a_tar_is_grown_on_a_machine_with_another_clock_and_comes_home(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Also what it could not finish, and what was grown at home meanwhile."""
    (tmp_path / "away").mkdir()

    def work(x: int) -> int:
        return int(os.uname().nodename == "away") if x % 2 else x

    crop = sown(tmp_path, work, range(20), batchsize=2)
    tar = crop.pack(range(1, 8), tmp_path / "away" / "some.tar")
    grow = "import sys; from cropfit.cli import main; main(['grow', sys.argv[2]])"
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"']
    command = [*as_machine("away", "-9h"), *hidden, str(tmp_path / "field")]
    done = subprocess.run(
        [*command, sys.executable, "-c", grow, "_", tar],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert crop.grow(range(7, 11)).grown == [7, 8, 9, 10]

    assert crop.unpack(tar).grown == [1, 2, 3, 4, 5, 6]
    assert tree(tmp_path / "away") == ["some.tar"]
    check(crop, [x if x % 2 == 0 else int(x < 12) for x in range(20)])
