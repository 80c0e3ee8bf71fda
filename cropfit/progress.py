"""Bars for whoever looks on, at a terminal or in a notebook; unseen they cost nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cropfit.watched import is_watched

if TYPE_CHECKING:
    from cropfit.disk.ledger import Ledger

REFRESH = 0.5  # seconds between two listings
PATIENCE = 0.5  # seconds until a bar for mere bookkeeping appears


class Progress:
    """How much of something is done.

    Parameters
    ----------
    verbosity : int
        With 0 nothing is shown, as where nobody looks; tqdm is not even imported then.
    total : int
        When all is done.
    what : str
        What is being done.
    unit : str
        Of what.
    delay : float
        Seconds until the bar appears; what is done by then shows none.
    """

    def __init__(
        self, verbosity: int, total: int, *, what: str = "", unit: str, delay: float = 0.0
    ) -> None:
        self.is_shown = verbosity > 0 and is_watched()
        self._total = total
        self._bar: Any = None
        self._options = {"desc": what or None, "unit": unit, "dynamic_ncols": True}
        self._begin = time.monotonic()
        self._delay = delay
        if self.is_shown and not delay:
            self._open()

    @property
    def tell(self) -> Callable[..., None] | None:
        """`update_to`, for who would rather not call where nobody looks."""
        return self.update_to if self.is_shown else None

    def update_to(self, done: int, total: int | None = None, what: str = "") -> None:
        """Show that so much is done, perhaps of something else than so far."""
        self._total = self._total if total is None else total
        if not self.is_shown:
            return
        if self._bar is None:
            if time.monotonic() - self._begin < self._delay:
                return
            self._open()
        if total is not None and total != self._bar.total:
            self._bar.reset(total)
        if what and what != self._bar.desc.removesuffix(": "):
            self._bar.set_description(what, refresh=False)
        self._bar.update(done - self._bar.n)

    def _open(self) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=self._total, initial=self._first(), **self._options)
        self._bar.start_t -= time.monotonic() - self._begin

    def _first(self) -> int:
        """How much was done before."""
        return 0

    def _last(self) -> int:
        """How much is done in the end."""
        return self._total

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            if kind is None:
                self.update_to(self._last())
            self._bar.close()


class Bar(Progress):
    """How many batches of a crop are grown, whoever grows them.

    Parameters
    ----------
    verbosity : int
        With 0 nothing is shown.
    total : int
        Batches of the crop.
    ledger : Ledger
        Counts them.
    what : str
        What is being done.
    """

    def __init__(self, verbosity: int, total: int, ledger: Ledger, what: str = "grow") -> None:
        self._ledger = ledger
        self._next = 0.0
        super().__init__(verbosity, total, what=what, unit="batch")

    def __call__(self, batch: int, state: str) -> None:
        """Take note that a batch ended."""
        if self.is_shown and time.monotonic() > self._next:
            self._next = time.monotonic() + REFRESH
            self.update_to(self._last())

    def say(self, text: str) -> None:
        """Print a line to where messages go, above the bar."""
        if self._bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.write(text, file=sys.stderr)

    def update_to(self, done: int, total: int | None = None, what: str = "") -> None:
        """Show it at once: it was long enough since the last time."""
        super().update_to(done, total, what)
        if self._bar is not None:
            self._bar.refresh()

    def _first(self) -> int:
        return self._last()

    def _last(self) -> int:
        return self._ledger.counts()["grown"]
