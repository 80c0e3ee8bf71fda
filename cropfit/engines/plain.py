"""Plain processes as a pool, each with a line of its own.

    thread ──task──▶ process        one such pair for each worker
           ◀─answer─

The processes share no queue and no lock. A worker that is killed, at work or idle, can
therefore hold up nobody: it costs the task that it had in hand, and another takes its
place. The queue of a ``ProcessPoolExecutor`` has a lock instead, which a killed worker
may take along, so that all others, and whoever closes the pool, wait for ever.
"""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

LOOK = 1.0  # seconds between two looks at a process that says nothing
GRACE = 10.0  # seconds that processes have to end once the pool closes


class ProcessDied(RuntimeError):
    """A process ended with a task in hand."""


class PlainPool:
    """A pool of processes that are started when there is something to do.

    Parameters
    ----------
    size : int
        How many at most.
    """

    def __init__(self, size: int) -> None:
        self.max_workers = size
        self._tasks: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._members: list[_Member] = []

    def submit(self, task: Callable[..., Any], *args: Any) -> Future[Any]:
        """Have a process call `task`; fails with ProcessDied if that dies meanwhile."""
        future: Future[Any] = Future()
        self._tasks.put((future, pickle.dumps((task, args), 5)))
        if len(self._members) < self.max_workers:
            self._members.append(_Member(self._tasks))
        return future

    def __enter__(self) -> PlainPool:
        return self

    def __exit__(self, *_: object) -> None:
        """Drop what has not begun; end all processes, those that take too long by force."""
        with suppress(queue.Empty):
            while entry := self._tasks.get_nowait():
                entry[0].cancel()
        for _each in self._members:
            self._tasks.put(None)
        end = time.monotonic() + GRACE
        try:
            for member in self._members:
                member.thread.join(max(0.0, end - time.monotonic()))
        finally:
            for member in self._members:
                member.kill()


class _Member:
    """A thread that gives tasks to a process, and starts another where that died."""

    def __init__(self, tasks: queue.SimpleQueue[tuple[Future[Any], bytes] | None]) -> None:
        self._tasks = tasks
        self._process: _Process | None = None
        self._lock = threading.Lock()
        self._killed = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def kill(self) -> None:
        """End its process if it still has one, and start no other."""
        with self._lock:
            self._killed = True
            if self._process:
                self._process.process.kill()
        self.thread.join(GRACE)

    def _run(self) -> None:
        while entry := self._tasks.get():
            future, data = entry
            if not future.set_running_or_notify_cancel():
                continue
            try:
                succeeded, answer = self._alive().do(data)
            except Exception as error:
                succeeded, answer = False, error
            if succeeded:
                future.set_result(answer)
            else:
                future.set_exception(answer)
            del future, answer
        if self._process:
            self._process.end()

    def _alive(self) -> _Process:
        with self._lock:
            if self._process and not self._process.process.is_alive():
                self._process.end()
                self._process = None
            if self._killed:
                raise ProcessDied("the pool is closed")
            self._process = self._process or _Process()
            return self._process


class _Process:
    """A process and our end of the line to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        try:
            self.process = context.Process(target=_serve, args=(theirs,))
            self.process.start()
        except BaseException:
            self.line.close()
            raise
        finally:
            theirs.close()

    def do(self, data: bytes) -> tuple[bool, Any]:
        """Whether the task succeeded, and what it returned or raised."""
        try:
            self.line.send_bytes(data)
            # Processes that the task forked may hold both of these open when it is dead.
            while not wait([self.line, self.process.sentinel], LOOK):
                if not self.process.is_alive():
                    break
            if self.line.poll():
                succeeded, answer = pickle.loads(self.line.recv_bytes())
                return bool(succeeded), answer
        except (EOFError, ConnectionError):
            pass
        self.process.join()
        raise ProcessDied(f"a worker process {_how(self.process.exitcode or 0)}")

    def end(self) -> None:
        """Let it go, and wait until it is gone."""
        self.line.close()
        self.process.join()


def _how(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"left with exit code {code}"


def _serve(line: Connection) -> None:
    """The main program of a process: do what comes down the line until that closes."""
    while True:
        try:
            data = line.recv_bytes()
        except (EOFError, ConnectionError, KeyboardInterrupt):
            return
        try:
            task, args = pickle.loads(data)
            answer = pickle.dumps((True, task(*args)), 5)
        except BaseException as error:
            answer = _tell(error)
        try:
            line.send_bytes(answer)
        except (ConnectionError, KeyboardInterrupt):
            return


def _tell(error: BaseException) -> bytes:
    """An exception on its way to the pool; many do not survive pickling."""
    try:
        data = pickle.dumps((False, error), 5)
        if isinstance(pickle.loads(data)[1], Exception):
            return data
    except Exception:
        pass
    return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")), 5)
