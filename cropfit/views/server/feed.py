"""What the page asks for, as bounded JSON: summaries, the map of batches, errors, heat maps."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.layout import STATES
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.errors import CropError, NotFoundError
from cropfit.tending import open_crop
from cropfit.views.glance import Looker
from cropfit.views.server.heat import FAILED, SECONDS, HeatMap
from cropfit.work import care

FRESH = 0.5  # seconds for which a look is good enough for the next who asks
KEPT = 50  # changes of the map that are remembered
MOST_MAPS = 8  # heat maps that are kept up
PAGE = 20  # failed batches a page of errors
CODES = {
    state: code for code, state in enumerate(("sown", "growing", "grown", "failed", "ignored"))
}


class BatchMap:
    """The state of every batch, and what changed since a version that a page knows."""

    def __init__(self) -> None:
        self.version = 0
        self._states: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._changes: deque[tuple[int, NDArray[np.intp]]] = deque(maxlen=KEPT)

    def update(self, manifest: Manifest, ledger: Ledger) -> None:
        """List every state once."""
        states = np.zeros(manifest.num_batches, np.uint8)
        for state in STATES:
            if state == "growing":
                numbers = [claim.batch for claim in ledger.claims()]
            else:
                numbers = ledger.numbers(state)
            inside = [number - 1 for number in numbers if 0 < number <= len(states)]
            states[inside] = CODES[state]
        if len(states) != len(self._states):
            self._changes.clear()
            self.version += 1
        elif (changed := np.flatnonzero(states != self._states)).size:
            self.version += 1
            self._changes.append((self.version, changed))
        self._states = states

    def since(self, version: int) -> dict[str, Any]:
        """What a page that knows `version` has to change; all of it if that is long ago."""
        new = [changed for number, changed in self._changes if number > version]
        if version < self.version - len(new) or version > self.version:
            digits = (self._states + ord("0")).tobytes().decode()
            return {"version": self.version, "all": digits}
        places = np.unique(np.concatenate(new)) if new else np.empty(0, np.intp)
        return {
            "version": self.version,
            "batches": (places + 1).tolist(),
            "states": self._states[places].tolist(),
        }


class Feed:
    """One crop, as the page sees it; may be asked by several threads.

    Parameters
    ----------
    root : str
        The crop's folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._looker = Looker(root)
        self._map = BatchMap()
        self._heat: dict[tuple[str, str, str], HeatMap] = {}
        self._summary: dict[str, Any] = {}
        self._looked = self._mapped = -FRESH

    def summary(self) -> dict[str, Any]:
        """Counts, workers, rate and remaining time."""
        with self._lock:
            if time.monotonic() - self._looked > FRESH:
                glance = self._looker.look(errors=0)
                outputs = self._looker.manifest().outputs.var_names or ()
                self._summary = {
                    **glance.to_dict(),
                    "finished": glance.finished,
                    "quantities": [*outputs, SECONDS, FAILED],
                }
                self._looked = time.monotonic()
            return self._summary

    def batches(self, version: int) -> dict[str, Any]:
        """The map of batches, or what changed since `version`."""
        with self._lock:
            if time.monotonic() - self._mapped > FRESH:
                self._map.update(*self._open())
                self._mapped = time.monotonic()
            return self._map.since(version)

    def errors(self, page: int) -> dict[str, Any]:
        """Failures of `PAGE` failed batches, with full tracebacks."""
        manifest, ledger = self._open()
        failed = ledger.numbers("failed")
        mine = failed[page * PAGE : (page + 1) * PAGE]
        told = [failure for batch in mine for failure in care.errors_of(manifest, batch)]
        return {"pages": -(-len(failed) // PAGE), "batches": len(failed), "errors": told}

    def heat(self, x: str, y: str, what: str) -> dict[str, Any]:
        """The mean of a quantity over two parameters."""
        manifest, ledger = self._open()
        with self._lock:
            key = (x, y, what)
            if key not in self._heat:
                if len(self._heat) >= MOST_MAPS:
                    self._heat.pop(next(iter(self._heat)))
                self._heat[key] = HeatMap(manifest, *key)
            whole = self._heat[key].update(manifest, ledger)
            return {**self._heat[key].to_dict(), "whole": whole}

    def act(self, action: str) -> str:
        """Stop, retry or clean; a sentence on what was done.

        Raises
        ------
        NotFoundError
            There is no such action.
        """
        if action not in ACTIONS:
            raise NotFoundError(f"There is no action {action!r}.")
        return ACTIONS[action](*open_crop(self.root))

    def _open(self) -> tuple[Manifest, Ledger]:
        manifest = self._looker.manifest()
        return manifest, self._looker.ledger(manifest)


def _stop(manifest: Manifest, ledger: Ledger) -> str:
    care.stop(manifest)
    return f"{manifest.name}: all workers leave after their case."


def _retry(manifest: Manifest, ledger: Ledger) -> str:
    return f"{manifest.name}: {len(care.shift(ledger, 'failed', 'sown', None))} batches sown again."


def _clean(manifest: Manifest, ledger: Ledger) -> str:
    counts = care.clean(manifest, ledger)
    return f"{manifest.name}: " + ", ".join(f"{n} {what}" for what, n in counts.items()) + "."


ACTIONS: dict[str, Callable[[Manifest, Ledger], str]] = {
    "stop": _stop,
    "retry": _retry,
    "clean": _clean,
}


class Farm:
    """All crops that a finder finds, by a name that is safe in an address.

    Parameters
    ----------
    find : callable
        Gives the folders of the crops.
    top : str
        The folder that names are relative to.
    """

    def __init__(self, find: Callable[[], list[str]], top: str) -> None:
        self._find = find
        self._top = top
        self._feeds: dict[str, Feed] = {}

    def feeds(self) -> dict[str, Feed]:
        """Every crop that is there now."""
        roots = {root.removeprefix(f"{self._top}/"): root for root in self._find()}
        known = self._feeds
        self._feeds = {name: known.get(name) or Feed(root) for name, root in roots.items()}
        return self._feeds

    def feed(self, name: str) -> Feed:
        """One of them.

        Raises
        ------
        NotFoundError
            It is not there, or not any more.
        """
        found = self._feeds.get(name) or self.feeds().get(name)
        if found is None:
            raise NotFoundError(f"There is no crop {name!r} here.")
        return found

    def summaries(self) -> list[dict[str, Any]]:
        """What each crop has to tell; a sentence for one that cannot be read."""
        told = []
        for name, feed in self.feeds().items():
            try:
                told.append({"key": name, **feed.summary()})
            except (CropError, OSError) as error:
                told.append({"key": name, "broken": str(error)})
        return told
