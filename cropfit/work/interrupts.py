"""Ctrl-C and SIGTERM, taken where nothing can be lost by them.

While the user's function runs they interrupt it at once. While the worker keeps
its books they wait until it has written them.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked this worker to leave; `number` tells which."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return Interrupted, (self.number,)


class Interrupts:
    """Holds SIGINT and SIGTERM while it is entered; does nothing outside the main thread.

    Attributes
    ----------
    armed : bool
        True while the user's function may be interrupted.
    sprung : bool
        Whether it was. If it then returned all the same, what it returned is not
        to be trusted: many a solver takes Ctrl-C as leave to give what it has.
    """

    def __init__(self) -> None:
        self.armed = False
        self.sprung = False
        self._pid = os.getpid()
        self._pending = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.armed = False
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a process that the user's function forked
            signal.signal(number, self._former.get(number) or signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._pending = number
        if self.armed:
            self.sprung = True
            self._raise()

    def ask(self, number: int) -> None:
        """Do as if a signal had come, at the next `check`; from any thread."""
        self._pending = number

    def arm(self) -> None:
        """Let signals interrupt the user's function from here on, one that has come included."""
        self.armed = True
        self.check()  # behind the line before: a signal is either seen here or raises by itself

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come, even if the function took it for its own."""
        if self._pending:
            self._raise()

    def check_process(self) -> None:
        """End a process that the function forked and that came back from it: it is no worker."""
        if os.getpid() != self._pid:
            os.write(2, b"cropfit: a process that the function forked came back from it.\n")
            os._exit(1)

    def _raise(self) -> None:
        self.armed = False
        raise Interrupted(self._pending)


def end_as_asked(reason: str) -> None:
    """End this process if SIGTERM ended its work, as a pool expects of its workers.

    A pool that breaks asks its other workers to end, and waits for them. They may hang
    in its queue otherwise: who died may have held the queue's lock.
    """
    if reason == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
