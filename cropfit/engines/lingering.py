"""Pools of processes that share a queue, and what a worker that is killed does to them.

It may take the queue's lock along, or leave half a result in the pipe. The pool then waits
for ever: for the rest of the result, or for workers that wait for the lock. Its processes
tell, so they are looked at from outside: a pool with a dead worker has a moment to
notice; one that closes has a moment to be gone.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

NOTICE = 10.0  # seconds in which a pool notices a death, if it ever does
GRACE = 10.0  # seconds that a pool has to close


class Vigil:
    """Looks at a pool's processes while one waits for it.

    Parameters
    ----------
    pool
        Of concurrent.futures or loky; of others nothing is known, and nothing is told.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._since: float | None = None

    def lost(self) -> bool:
        """Whether a worker has been dead for longer than the pool needs to notice."""
        if not any(each.exitcode for each in _processes_of(self._pool)):
            self._since = None
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() > self._since + NOTICE


@contextmanager
def closed_in_time(pool: Any) -> Iterator[Any]:
    """Close a pool in the end, by force if that takes too long."""
    try:
        yield pool
    finally:
        processes = _processes_of(pool)
        ends = [getattr(pool, "_result_queue", None), getattr(pool, "_call_queue", None)]
        closing = threading.Thread(target=pool.shutdown, daemon=True)
        closing.start()
        try:
            closing.join(GRACE)
        finally:
            if closing.is_alive():
                _break_off(processes, *ends)
                closing.join(GRACE)


def _processes_of(pool: Any) -> list[Any]:
    return list((getattr(pool, "_processes", None) or {}).values())


def _break_off(processes: list[Any], results: Any, calls: Any) -> None:
    """End what a pool waits for: its processes, and who might still write or read."""
    for each in processes:
        if each.exitcode is None:
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
    for queue, end in ((results, "_writer"), (calls, "_reader")):
        with suppress(AttributeError, OSError):
            _cut_off(getattr(queue, end).fileno())


def _cut_off(descriptor: int) -> None:
    """Let go of a pipe, but not of the descriptor, which the pool may close at any moment."""
    with open(os.devnull, "r+b", buffering=0) as nothing:
        os.dup2(nothing.fileno(), descriptor, inheritable=False)
