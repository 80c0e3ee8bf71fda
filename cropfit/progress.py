"""A progress bar that counts the whole crop, whoever grows it, and costs nothing unseen."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cropfit.disk.ledger import Ledger

REFRESH = 0.5  # seconds between two listings


class Bar:
    """Shows how many batches are grown, on a terminal and if `verbosity` is 2 or more.

    Parameters
    ----------
    verbosity : int
        Below 2 nothing is shown, and tqdm is not even imported.
    total : int
        Batches of the crop.
    ledger : Ledger
        Counts them.
    """

    def __init__(self, verbosity: int, total: int, ledger: Ledger) -> None:
        self._bar: Any = None
        self._ledger = ledger
        self._next = 0.0
        if verbosity >= 2 and sys.stderr.isatty():
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit="batch", dynamic_ncols=True)

    def __call__(self, batch: int, state: str) -> None:
        """Take note that a batch ended."""
        if self._bar is not None and time.monotonic() > self._next:
            self._next = time.monotonic() + REFRESH
            self.update_to(self._ledger.counts()["grown"])

    def say(self, text: str) -> None:
        """Print a line to where messages go, above the bar."""
        if self._bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.write(text, file=sys.stderr)

    def update_to(self, done: int) -> None:
        """Show that `done` batches are done."""
        if self._bar is not None:
            self._bar.n = done
            self._bar.refresh()

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            if kind is None:
                self.update_to(self._ledger.counts()["grown"])
            self._bar.close()


class Counter:
    """Shows how many cases this process has computed, on a terminal.

    Parameters
    ----------
    verbosity : int
        Below 2 nothing is shown.
    total : int
        Cases in all.
    """

    def __init__(self, verbosity: int, total: int) -> None:
        self._bar: Any = None
        self._total = total
        if verbosity >= 2 and sys.stderr.isatty():
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit="case", dynamic_ncols=True)

    def update_to(self, done: int) -> None:
        """Show that `done` cases are done."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def __enter__(self) -> Counter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            if kind is None:
                self.update_to(self._total)
            self._bar.close()
