"""What the page asks for, as bounded JSON.

Summaries, the map of batches, errors, heat maps, and a catalogue's table: all from the listings
of one look, which is made when somebody asks and the last one is older than `FRESH`.
"""

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
from cropfit.find import is_crop
from cropfit.tending import clean, is_catalogue, open_crop
from cropfit.views.glance import Glance, Looker
from cropfit.views.listings import Seldom, Snapshot
from cropfit.views.server.heat import FAILED, SECONDS, HeatMap
from cropfit.views.server.objects import Objects, Query
from cropfit.wording import number_of
from cropfit.work import care
from cropfit.work.failures import Failure

FRESH = 0.5  # seconds for which a look is good enough for the next who asks
KEPT = 50  # changes of the map that are remembered
BYTES_A_CHANGE = 10  # in JSON; a batch of the whole map takes one
SMALL = 10_000  # bytes that are always fine
MOST_CROPS = 200  # that are told
MOST_MAPS = 8  # heat maps that are kept up
MOST_HANDS = 50  # workers that are told
PAGE = 20  # failed batches a page of errors
MOST_OF_BATCH = 20  # failures of a batch that are told
MOST_TEXT = 400_000  # characters of tracebacks a page
LONGEST = 500  # characters of a message, or of an argument
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
            found = np.array(numbers, np.intp)
            states[found[(found > 0) & (found <= len(states))] - 1] = CODES[state]
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
            return self._all()
        places = np.unique(np.concatenate(new)) if new else np.empty(0, np.intp)
        if len(places) * BYTES_A_CHANGE > max(len(self._states), SMALL):
            return self._all()
        return {
            "version": self.version,
            "batches": (places + 1).tolist(),
            "states": self._states[places].tolist(),
        }

    def _all(self) -> dict[str, Any]:
        digits = (self._states + ord("0")).tobytes().decode()
        return {"version": self.version, "all": digits}


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
        self._objects: Objects | None = None
        self._looked = -FRESH

    def summary(self) -> dict[str, Any]:
        """Counts, workers, rate and remaining time."""
        with self._lock:
            self._look()
            return self._summary

    def batches(self, version: int) -> dict[str, Any]:
        """The map of batches, or what changed since `version`."""
        with self._lock:
            self._look()
            return self._map.since(version)

    def errors(self, page: int) -> dict[str, Any]:
        """Failures of `PAGE` failed batches, with full tracebacks."""
        with self._lock:
            manifest, ledger = self._look()
            failed = ledger.numbers("failed")
        mine = failed[page * PAGE : (page + 1) * PAGE]
        failures = {batch: care.errors_of(manifest, batch) for batch in mine}
        more = sum(max(0, len(each) - MOST_OF_BATCH) for each in failures.values())
        told = [one for each in failures.values() for one in each[:MOST_OF_BATCH]]
        return {
            "pages": -(-len(failed) // PAGE),
            "batches": len(failed),
            "errors": _bounded(told),
            "more": more,
        }

    def heat(self, x: str, y: str, what: str, version: int) -> dict[str, Any]:
        """The mean of a quantity over two parameters; less if it is as `version` knows it."""
        with self._lock:
            manifest, ledger = self._look()
            key = (x, y, what)
            if key not in self._heat:
                if len(self._heat) >= MOST_MAPS:
                    self._heat.pop(next(iter(self._heat)))
                self._heat[key] = HeatMap(manifest, *key)
            heat = self._heat[key]
            read = heat.update(manifest, ledger)
            picture = {} if heat.version == version else heat.to_dict()
            return {**picture, **read, "version": heat.version}

    def objects(self, query: Query, version: int) -> dict[str, Any]:
        """A page of a catalogue's table; less if it is as `version` knows it."""
        with self._lock:
            manifest, ledger = self._look()
            objects = self._catalogue(manifest)
            objects.update(manifest, ledger)
            page = {} if objects.version == version else objects.page(query)
            return {**page, "version": objects.version}

    def picture(self, key: str, kind: str) -> bytes:
        """A picture of one object of a catalogue.

        Raises
        ------
        NotFoundError
            There is none.
        """
        with self._lock:
            return self._catalogue(self._looker.manifest()).picture(key, kind)

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

    def _look(self) -> tuple[Manifest, Snapshot]:
        """What was sown, and where its batches stand by now."""
        manifest = self._looker.manifest()
        ledger = self._looker.ledger(manifest)
        if time.monotonic() - self._looked > FRESH:
            self._summary = _summary(manifest, self._looker.look(errors=0))
            self._map.update(manifest, ledger)
            self._looked = time.monotonic()
        return manifest, ledger

    def _catalogue(self, manifest: Manifest) -> Objects:
        if not is_catalogue(manifest):
            raise NotFoundError(f"{self.root} is no catalogue.")
        if self._objects is None:
            self._objects = Objects(manifest)
        return self._objects


def _summary(manifest: Manifest, glance: Glance) -> dict[str, Any]:
    """A glance, bounded, and what the page can show of the crop."""
    told = glance.to_dict()
    hands = told["hands"]
    for name in ("workers", "dead"):  # the hands tell as much
        del told["status"][name]
    outputs = () if is_catalogue(manifest) else manifest.outputs.var_names or ()
    return {
        **told,
        "hands": hands[:MOST_HANDS],
        "num_hands": len(hands),
        "finished": glance.finished,
        "quantities": [*outputs, SECONDS, FAILED],
        "catalogue": is_catalogue(manifest),
    }


def _bounded(failures: list[Failure]) -> list[Failure]:
    """The same, in no more text than a page takes at once."""
    told, left = [], MOST_TEXT
    for failure in failures:
        left -= len(failure["traceback"])
        command = f"cropfit errors NAME {failure['batch']} --traceback"
        told.append(
            {
                **failure,
                "message": failure["message"][:LONGEST],
                "arguments": {k: str(v)[:LONGEST] for k, v in failure["arguments"].items()},
                "traceback": failure["traceback"] if left >= 0 else f"'{command}' shows it",
            }
        )
    return told


def _stop(manifest: Manifest, ledger: Ledger) -> str:
    care.stop(manifest)
    return f"{manifest.name}: all workers leave after their case."


def _retry(manifest: Manifest, ledger: Ledger) -> str:
    moved = care.shift(ledger, "failed", "sown", None)
    return f"{manifest.name}: {number_of(len(moved), 'batch')} sown again."


def _clean(manifest: Manifest, ledger: Ledger) -> str:
    counts = clean(manifest, ledger)
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
        self._find = Seldom(find)
        self._top = top
        self._feeds: dict[str, Feed] = {}

    def feeds(self) -> dict[str, Feed]:
        """Every crop that is there now, or was when a search that takes long was made."""
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

    def summaries(self) -> dict[str, Any]:
        """What each crop has to tell; a sentence for one that cannot be read."""
        told: list[dict[str, Any]] = []
        feeds = self.feeds()
        for name, feed in list(feeds.items())[:MOST_CROPS]:
            try:
                told.append({"key": name, **feed.summary()})
            except (CropError, OSError) as error:
                if is_crop(feed.root):  # else it was reaped just now
                    told.append({"key": name, "broken": str(error)})
        return {"crops": told, "more": max(0, len(feeds) - MOST_CROPS)}
