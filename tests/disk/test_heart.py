"""The heart keeps a claim's folder young, and never holds up its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from contracts.ledger import eventually

from cropfit.disk.heart import Heart


def children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return set(map(int, file.read().split()))


@pytest.fixture
def beating(tmp_path):
    """A heart that watches a folder, and the number of its process."""
    before = children()
    heart = Heart(60.0)
    heart.watch(str(tmp_path))
    (pid,) = children() - before
    yield heart, pid
    heart.close()


def test_a_heart_that_cannot_react_is_ended_all_the_same(beating):
    """Waiting for it to notice that the pipe is closed would last for ever."""
    heart, pid = beating
    os.kill(pid, signal.SIGSTOP)

    heart.close()

    assert pid not in children()


def test_a_heart_that_somebody_killed_is_replaced(beating, tmp_path):
    heart, pid = beating
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    heart.watch(str(tmp_path))

    assert pid not in children()
    assert len(children()) >= 1


def test_closing_twice_or_without_a_start_is_no_error(beating):
    heart, _ = beating
    heart.close()
    heart.close()
    Heart(60.0).close()


# -- beating ---------------------------------------------------------------------------


def is_touched(folder: os.PathLike[str]) -> bool:
    """Set the folder's time back and wait for a beat; False if none comes in a minute."""
    os.utime(folder, (1.0, 1.0))
    return eventually(lambda: os.stat(folder).st_mtime > 1.0)


def test_the_folder_in_hand_is_touched_and_no_other(tmp_path):
    """Also one whose name is no text."""
    one, two = tmp_path / "one", os.fsencode(tmp_path) + b"/tw\xff"
    one.mkdir()
    os.mkdir(two)
    heart = Heart(0.01)

    heart.watch(str(one))
    assert is_touched(one)
    heart.watch(os.fsdecode(two))
    assert is_touched(os.fsdecode(two))
    os.utime(one, (1.0, 1.0))
    assert is_touched(os.fsdecode(two))
    assert os.stat(one).st_mtime == 1.0
    heart.watch("")
    heart.close()


def test_a_claim_that_was_taken_over_rests_the_heart_until_the_next(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    heart = Heart(0.01)
    heart.watch(str(one))
    assert is_touched(one)

    one.rename(two)
    os.utime(two, (1.0, 1.0))
    one.mkdir()
    heart.watch(str(one))
    assert is_touched(one)
    heart.close()

    assert os.stat(two).st_mtime == 1.0


def test_a_function_that_holds_the_interpreter_for_long_starves_no_heart(tmp_path):
    """No bytecode of this process runs while the folder is touched."""
    heart = Heart(0.01)
    heart.watch(str(tmp_path))
    assert is_touched(tmp_path)
    touched = 1.0
    for length in (10**7, 10**8, 10**9):  # longer where the machine is busy with others
        os.utime(tmp_path, (1.0, 1.0))
        # A C function that does not let go: no thread of Python runs meanwhile.
        sum(range(length))
        touched = os.stat(tmp_path).st_mtime
        if touched > 1.0:
            break
    heart.close()

    assert touched > 1.0


def messages(monkeypatch, heart):
    """What is told to a heart from here on."""
    told = []
    write = os.write

    def noted(handle, data):
        told.append(data)
        return write(handle, data)

    monkeypatch.setattr("cropfit.disk.heart.os.write", noted)
    return told


def test_a_heart_is_told_once_of_folders_that_follow_each_other_at_once(tmp_path, monkeypatch):
    """Each telling wakes it up, which may take longer than a batch."""
    names = [str(tmp_path / f"{number:03d}") for number in range(200)]
    monkeypatch.setattr("cropfit.disk.heart.SOON", 3600.0)
    heart = Heart(0.01)
    told = messages(monkeypatch, heart)

    for at, name in enumerate(names):
        heart.follow(iter(names[at:]))
        if at:
            os.rename(names[at - 1], name)
        else:
            os.mkdir(name)
    assert is_touched(Path(names[-1]))
    heart.close()

    assert len(told) == 8  # of the first alone, and of 33 at once from then on


def test_a_heart_is_told_of_the_one_folder_in_hand_where_it_stays_there_for_long(
    tmp_path, monkeypatch
):
    """Looking for others that are not there would cost a network file system more."""
    monkeypatch.setattr("cropfit.disk.heart.SOON", 0.0)
    heart = Heart(60.0)
    told = messages(monkeypatch, heart)

    for name in "abc":
        heart.follow(iter([str(tmp_path / name), str(tmp_path / "next")]))
        heart.follow(iter([str(tmp_path / name)]))
    heart.close()

    assert told == [os.fsencode(tmp_path / name) + b"\0\0" for name in "abc"]


def test_a_heart_that_was_killed_is_replaced_though_the_next_folder_was_told(tmp_path, monkeypatch):
    names = [str(tmp_path / f"{number}") for number in range(3)]
    monkeypatch.setattr("cropfit.disk.heart.SOON", 3600.0)
    before = children()
    heart = Heart(0.01)
    for at in range(2):
        heart.follow(iter(names[at:]))
    (pid,) = children() - before
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.mkdir(names[2])

    heart.follow(iter(names[2:]))
    assert is_touched(Path(names[2]))
    heart.close()

    assert children() <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_to_the_whole_group_do_not_stop_it(tmp_path, number):
    """The worker they are meant for still has to write what it has."""
    before = children()
    heart = Heart(0.01)
    heart.watch(str(tmp_path))
    assert is_touched(tmp_path)
    (pid,) = children() - before

    os.kill(pid, number)

    assert is_touched(tmp_path)
    assert pid in children()
    heart.close()


WORKER = """
import os, subprocess, sys
from cropfit.disk.heart import Heart

heart = Heart(0.01)
heart.watch(sys.argv[1])
child = subprocess.Popen(["sleep", "600"], stdin=heart._pipe, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
input()
"""


def test_a_heart_ends_with_its_worker_even_if_a_child_of_it_lives_on(tmp_path):
    """Else nobody would ever take the batch over. The child holds the pipe open."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout
    child = int(worker.stdout.readline())
    assert is_touched(tmp_path)
    with open(f"/proc/{worker.pid}/task/{worker.pid}/children", encoding="ascii") as file:
        (heart,) = set(map(int, file.read().split())) - {child}

    worker.kill()
    worker.communicate()
    try:
        ended = eventually(lambda: not os.path.exists(f"/proc/{heart}"))
    finally:
        os.kill(child, signal.SIGKILL)

    assert ended
