"""Ctrl-C and SIGTERM, taken where nothing can be lost by them.

While the user's function runs they interrupt it at once. While the worker keeps
its books they wait until it has written them.
"""

from __future__ import annotations

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
    """

    def __init__(self) -> None:
        self.armed = False
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
        self._pending = number
        if self.armed:
            self.check()

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self._pending:
            self.armed = False
            number, self._pending = self._pending, 0
            raise Interrupted(number)
