"""The heart keeps a claim's folder young, and never holds up its worker."""

from __future__ import annotations

import os
import signal

import pytest

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
