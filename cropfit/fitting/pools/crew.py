"""Processes of our own, one Python each, that are replaced when they die.

They are started afresh instead of forked: a fork takes along locks that threads of this
process hold. Each is its own session, so that Ctrl-C reaches this process alone, which
then ends them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from cropfit.errors import CropError
from cropfit.fitting.pools.errand import Answer, Errand
from cropfit.work.limits import THREADS, cap_threads

LOOK = 1.0  # seconds between two looks at processes that say nothing
GRACE = 5.0  # seconds that they have to leave
MOST_DEATHS = 3  # workers that one errand may cost
_NAMES = {each.value: each.name for each in signal.Signals}
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from cropfit.fitting.pools.member import main; main()"
)


class DeadlyError(CropError):
    """An errand ended every worker that took it.

    Parameters
    ----------
    message : str
    which : int
        Index of the errand.
    """

    def __init__(self, message: str, which: int = -1) -> None:
        super().__init__(message)
        self.which = which


class _Member:
    """One process, and the errand that it has in hand."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.errand: int | None = None
        self.line, theirs = multiprocessing.Pipe()
        lifeline, self._lifeline = os.pipe()
        given = (theirs.fileno(), lifeline)
        arguments = [json.dumps([str(each) for each in sys.path]), *map(str, (*given, os.getpid()))]
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, *arguments],
                pass_fds=given,
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            self._hang_up()
            raise
        finally:
            theirs.close()
            os.close(lifeline)

    def give(self, which: int, errand: Errand, data: Any) -> None:
        self.errand = which
        with suppress(ConnectionError):  # it is dead, as the look for its answer will tell
            self.line.send_bytes(pickle.dumps((errand, data), 5))

    def take(self) -> Answer | None:
        """Its answer; None if it died instead."""
        try:
            if not self.line.poll():  # dead, while a process that it forked holds the line
                return None
            return Answer(*pickle.loads(self.line.recv_bytes()))
        except (EOFError, ConnectionError):
            return None

    def end(self, grace: float) -> str:
        """End it, after `grace` seconds by force; how it ended."""
        self.line.close()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
        code = self.process.wait()
        self._hang_up()
        if code < 0:
            return f"was ended by {_NAMES.get(-code, f'signal {-code}')}"
        return f"left with exit status {code}"

    def _hang_up(self) -> None:
        self.line.close()
        with suppress(OSError):
            os.close(self._lifeline)


class Crew:
    """A number of processes that run errands.

    Parameters
    ----------
    size : int
    threads : int, optional
        How many threads numerical libraries may start in each; one, where neither this
        nor the environment says.
    """

    def __init__(self, size: int, threads: int | None = None) -> None:
        self.size = size
        self._environment = dict(os.environ)
        if threads is not None:
            cap_threads(threads, self._environment)
        for name in THREADS:
            self._environment.setdefault(name, "1")
        self._lock = threading.Lock()
        self._members: list[_Member] = []
        self._fill()

    def pids(self) -> list[int]:
        """Ids of the processes."""
        return [member.process.pid for member in self._members]

    def run(self, errands: Sequence[Errand], data: bytes | None = None) -> list[Answer]:
        """The answers, in the order of `errands`.

        Raises
        ------
        DeadlyError
            An errand ended one worker after the other.
        """
        with self._lock:
            try:
                return self._run(errands, data)
            except BaseException:
                self._drop([member for member in self._members if member.errand is not None])
                raise

    def close(self, grace: float = GRACE) -> None:
        """End all processes; at once, without grace."""
        for member in self._members:
            if grace:
                member.line.close()  # so that all leave at the same time
            else:
                member.process.kill()
        last = time.monotonic() + grace
        for member in self._members:
            member.end(max(0.0, last - time.monotonic()))
        self._members.clear()

    # -- inside --------------------------------------------------------------------

    def _fill(self) -> None:
        try:
            while len(self._members) < self.size:
                self._members.append(_Member(self._environment))
        except BaseException:
            self.close(0)
            raise

    def _drop(self, members: list[_Member]) -> None:
        for member in members:
            self._members.remove(member)
            member.process.kill()
            member.end(0)

    def _run(self, errands: Sequence[Errand], data: bytes | None) -> list[Answer]:
        answers: dict[int, Answer] = {}
        todo = deque(range(len(errands)))
        deaths = [0] * len(errands)
        while len(answers) < len(errands):
            self._fill()
            for member in self._members:
                if member.errand is None and todo:
                    which = todo.popleft()
                    member.give(which, errands[which], data)
            for member in self._ready():
                which = self._in_hand(member)
                answer = member.take()
                if answer is None:
                    self._replace(member, which, deaths)
                    todo.appendleft(which)
                else:
                    member.errand = None
                    answers[which] = answer
        return [answers[which] for which in range(len(errands))]

    def _ready(self) -> list[_Member]:
        """Those that answered or died."""
        busy = [member for member in self._members if member.errand is not None]
        lines: list[Any] = [member.line for member in busy]
        ready = wait(lines, LOOK)
        if not ready:
            return [member for member in busy if member.process.poll() is not None]
        return [member for member in busy if member.line in ready]

    def _in_hand(self, member: _Member) -> int:
        return -1 if member.errand is None else member.errand

    def _replace(self, member: _Member, which: int, deaths: list[int]) -> None:
        """Take a dead worker off the crew, and tell of it."""
        self._members.remove(member)
        how = f"a worker of the likelihood pool (process {member.process.pid}) {member.end(GRACE)}"
        deaths[which] += 1
        if deaths[which] == MOST_DEATHS:
            raise DeadlyError(f"{how}, as did {MOST_DEATHS - 1} others on the same task.", which)
        warnings.warn(
            f"{how}; what it had in hand is computed again by a new one.",
            RuntimeWarning,
            stacklevel=2,
        )
