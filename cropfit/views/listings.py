"""The states of all batches as of one look, listing again only folders that changed.

A folder's time tells that something came or went. It is coarse, so that a change soon after
a listing may leave it as it is: a listing is used again only if it was made well after the
last change that it shows. Nobody's clocks are compared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from cropfit.disk.layout import STATES
from cropfit.disk.ledger import Ledger

SEARCHES = 10  # times as long as a search took, no other is made,
LONGEST = 20.0  # but never longer than these seconds
SETTLED = 3.0  # seconds after which another change would be seen; FAT has steps of two

Content = TypeVar("Content")


class Listings(Generic[Content]):
    """What stands in folders, each read again only after it changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float, bool, Content]] = {}

    def of(self, folder: str, read: Callable[[], Content]) -> Content:
        """What `read` gives for `folder`, or gave when nothing has changed since."""
        now, changed = time.monotonic(), _time_of(folder)
        known = self._known.get(folder)
        since = known[1] if known and known[0] == changed else now
        if known and known[0] == changed and known[2]:
            return known[3]
        content = read()
        self._known[folder] = (changed, since, now - since > SETTLED, content)
        return content


class Seldom(Generic[Content]):
    """A search that is made the more seldom the longer it takes.

    Parameters
    ----------
    search : callable
        Gives what there is; called when the last answer is too old.
    """

    def __init__(self, search: Callable[[], Content]) -> None:
        self._search = search
        self._found: list[Content] = []
        self._again = 0.0

    def __call__(self) -> Content:
        """What the last search found."""
        begun = time.monotonic()
        if not self._found or begun >= self._again:
            self._found = [self._search()]
            ended = time.monotonic()
            self._again = ended + min(SEARCHES * (ended - begun), LONGEST)
        return self._found[0]


class Snapshot(Ledger):
    """A ledger whose lists of batches are those of the last `refresh`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._listed: Listings[list[int]] = Listings()
        self._lists: dict[str, list[list[int]]] = {}

    def refresh(self) -> None:
        """List every folder that may have changed."""
        states = [state for state in STATES if state != "growing"]
        self._lists = {state: list(super(Snapshot, self)._listings(state)) for state in states}

    def _listings(self, state: str) -> list[list[int]]:
        if not self._lists:
            self.refresh()
        return self._lists[state]

    def _numbers_in(self, folder: str, belong: range | None = None) -> list[int]:
        def read() -> list[int]:
            return sorted(super(Snapshot, self)._numbers_in(folder, belong))

        return self._listed.of(folder, read)


def _time_of(folder: str) -> int:
    """When something came or went there; -1 if the folder is not there."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # NFS answers `stat` from a cache
    except OSError:
        return -1
    try:
        return os.fstat(handle).st_mtime_ns
    finally:
        os.close(handle)
