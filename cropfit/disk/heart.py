"""Keeps a claim alive, from outside the worker's interpreter.

    worker ──paths──▶ pipe ──▶ heart (a tiny process): touches them every few seconds

A thread would fall silent while a function holds the GIL for minutes, and the
batch would be taken for dead. The heart is a process of its own that does
nothing but wait and touch. It ends when the worker ends, however that happens:
the pipe closes, or, if a child of the worker still holds it, its parent is
another than before.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import sys
import time
from collections.abc import Iterator

AHEAD = 32  # folders that it is told of before they are in hand
SOON = 0.03  # seconds from one telling to the next, below which it is told of so many

_PROGRAM = """
import os, select, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
every, parent = float(sys.argv[1]), int(sys.argv[2])
paths, rest, due = [], b"", time.monotonic() + every
while os.getppid() == parent:
    if select.select([0], [], [], max(0, due - time.monotonic()))[0]:
        data = os.read(0, 65536)
        if not data:
            break
        *told, rest = (rest + data).split(b"\\0\\0")
        paths = told[-1].split(b"\\0") if told else paths
    else:
        due = time.monotonic() + every
        for path in paths:
            try:
                os.utime(path)
            except OSError:
                pass
"""


class Heart:
    """Touches the folders of the claims in hand every `every` seconds.

    Parameters
    ----------
    every : float
        Seconds between two beats.

    Notes
    -----
    Starting costs the worker about a millisecond; telling it other folders some
    40 µs, as it wakes up for that.
    """

    def __init__(self, every: float) -> None:
        self.every = every
        self._pipe = -1
        self._pid = 0
        self._paths: frozenset[str] = frozenset()
        self._told = -math.inf

    def watch(self, *paths: str) -> None:
        """Beat for these from now on, and for no others; an empty path lets it rest."""
        self._paths = frozenset(paths)
        message = b"\0".join(map(os.fsencode, paths)) + b"\0\0"
        if self._pid:
            try:
                os.write(self._pipe, message)
                return
            except BrokenPipeError:  # somebody killed it: start another
                self.close()
        self._start()
        os.write(self._pipe, message)

    def follow(self, paths: Iterator[str]) -> None:
        """Beat for the first of these from now on, without being told of it where that can be.

        Parameters
        ----------
        paths : iterator of str
            What is in hand, and what will be next. While one follows the other within
            milliseconds, all of so many are watched, whichever of them is there.
        """
        first = next(paths)
        if self._pid and first in self._paths and self._is_alive():
            return
        before, self._told = self._told, time.monotonic()
        rest = itertools.islice(paths, AHEAD) if self._told - before < SOON else ()
        self.watch(first, *rest)

    def _is_alive(self) -> bool:
        try:
            if os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                return True
        except ChildProcessError:  # the program reaps all its children itself
            pass
        os.close(self._pipe)
        self._pid = 0
        return False

    def close(self) -> None:
        """End the heart's process at once: it may be starting still, and has nothing to lose."""
        if self._pid:
            os.close(self._pipe)
            pid, self._pid = self._pid, 0
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == 0:  # so the number is still our child's
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
            except (ChildProcessError, ProcessLookupError):
                pass  # the program reaps all its children itself

    def _start(self) -> None:
        read, self._pipe = os.pipe()
        try:
            command = [
                sys.executable,
                "-I",
                "-S",
                "-c",
                _PROGRAM,
                str(self.every),
                str(os.getpid()),
            ]
            self._pid = os.posix_spawn(
                sys.executable,
                command,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, read, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(read)
