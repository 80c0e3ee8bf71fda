"""Wrong clocks and several hosts: the file system's clock decides, and nothing is done twice."""

from __future__ import annotations

import os
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
LEASE = 2.0
TELLING = 0.0011  # seconds; a case that takes longer is on disk before the next one begins


def as_host(name: str) -> list[str]:
    """Run what follows where the host is called `name`."""
    return ["unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh"]


def at_clock(offset: str) -> list[str]:
    """Run what follows with a clock that is wrong by `offset`, on a disk that keeps its own."""
    return ["env", "NO_FAKE_STAT=1", "FAKE_UTIME=1", "faketime", "-f", offset]


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


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
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
        said, _ = worker.communicate(timeout=100)
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
    said, _ = start(crop, *at_clock(offset)).communicate(timeout=60)
    took = time.monotonic() - killed

    assert "2 cases" in said, said
    assert LEASE * 0.75 < took < 2 * LEASE + 3
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
    """Not before the lease is over, though the process is gone; within two leases, who waits."""
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
    again.touch()
    _kill(first, log)
    killed, dead = time.monotonic(), int(log.lines()[-1].split()[2])

    report = crop.grow()  # who does not wait goes home, and says who has the rest
    assert report.grown == [2]
    assert "1 batches are growing elsewhere: 1 by node7." in report.notes[-1]
    assert time.monotonic() - killed < LEASE
    waited = crop.grow(wait=True)
    took = time.monotonic() - killed

    assert waited.grown == [1]
    assert "taken over from node7." in waited.notes[0]
    assert LEASE * 0.75 < took < 2 * LEASE + 1
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
        said, _ = worker.communicate(timeout=100)
        assert worker.returncode == 0, said
        assert "taken over" not in said
    told = account(log.lines(), range(120), [])
    assert (told.lost, told.repeated) == ([], 0)
    check(crop, [x * x for x in range(120)])
