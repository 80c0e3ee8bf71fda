"""One look at a crop, as plain data that any view can draw.

A `Looker` remembers what it saw, so that the next look costs a listing of each folder that
changed and the files of what is new: nothing is read twice, however many batches there are.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from cropfit.disk.layout import CROP_JSON
from cropfit.disk.ledger import Held
from cropfit.disk.manifest import Manifest, read_manifest
from cropfit.disk.owner import Owner
from cropfit.views.listings import Snapshot
from cropfit.work.care import Status, errors_of, status
from cropfit.work.failures import Failure
from cropfit.work.results import read_partial, record_files

WINDOW = 60.0  # seconds over which batches are counted for the rate
MOST_ERRORS = 50  # failed batches that are read at one look, the last first
MOST_WORKERS = 50  # whose cases are counted
LARGE = 4 << 20  # bytes of a part file from which its cases are not counted


@dataclass(frozen=True)
class Hand:
    """A worker at a batch.

    Attributes
    ----------
    batch : int
        What it grows.
    host, pid
        Who it is.
    age : float
        Seconds since its last sign of life, by the file system's clock.
    dead : bool
        Whether it is known to be dead.
    cases, done : int, int or None
        Cases of its batch, and those recorded; None where counting would cost too much.
    """

    batch: int
    host: str
    pid: int
    age: float
    dead: bool
    cases: int
    done: int | None


@dataclass(frozen=True)
class Glance:
    """What one look saw.

    Attributes
    ----------
    status : Status
        Counts by state.
    axes : list of tuple
        Name, number of labels, first and last label of each parameter, as text.
    hands : list of Hand
        Workers, by batch.
    errors : list of Failure
        The last failures that were seen, the newest first.
    rate : float or None
        Batches a second, as seen by this looker, or else as the crop's files tell.
    eta : float or None
        Seconds until the rest is grown at this rate.
    """

    status: Status
    axes: list[tuple[str, int, str, str]]
    hands: list[Hand]
    errors: list[Failure]
    rate: float | None
    eta: float | None

    @property
    def finished(self) -> bool:
        """Whether there is nothing left that workers could do."""
        return not (self.status.sown or self.status.growing)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {**asdict(self), "status": self.status.to_dict()}


class Looker:
    """Looks at one crop again and again.

    Parameters
    ----------
    root : str
        The crop's folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._manifest: Manifest | None = None
        self._seen: tuple[int, int] | None = None
        self._owner = Owner.here()
        self._ledger: Snapshot | None = None
        self._failures: dict[int, list[Failure]] = {}
        self._grown: deque[tuple[float, int]] = deque()

    def look(self, errors: int = 5) -> Glance:
        """See how the crop stands now.

        Parameters
        ----------
        errors : int
            How many failures to tell at most.

        Raises
        ------
        CropError, OSError
            The crop is damaged, or gone.
        """
        manifest = self.manifest()
        ledger = self.ledger(manifest)
        ledger.refresh()
        seen = status(manifest, ledger)
        rate = self._rate(seen)
        return Glance(
            seen,
            axes_of(manifest),
            [_hand(manifest, held, k) for k, held in enumerate(ledger.held())],
            self._last_failures(manifest, ledger, errors) if errors and seen.failed else [],
            rate,
            (seen.sown + seen.growing) / rate if rate else seen.eta,
        )

    def manifest(self) -> Manifest:
        """The crop as sown; read again only when ``crop.json`` was written anew."""
        found = os.stat(f"{self.root}/{CROP_JSON}")
        now = found.st_ino, found.st_mtime_ns
        if self._manifest is None or now != self._seen:
            self._manifest, self._seen = read_manifest(self.root), now
            self._ledger = None
        return self._manifest

    def ledger(self, manifest: Manifest) -> Snapshot:
        """The states of its batches, as the last look saw them."""
        if self._ledger is None:
            lease = float(manifest.data["lease"])
            self._ledger = Snapshot(manifest.layout, self._owner, lease)
        return self._ledger

    def _rate(self, seen: Status) -> float | None:
        done, now = seen.grown + seen.failed, time.monotonic()
        while self._grown and (now - self._grown[0][0] > WINDOW or self._grown[0][1] > done):
            self._grown.popleft()
        self._grown.append((now, done))
        then, before = self._grown[0]
        return (done - before) / (now - then) if done > before else seen.rate

    def _last_failures(self, manifest: Manifest, ledger: Snapshot, most: int) -> list[Failure]:
        failed = ledger.numbers("failed")
        self._failures = {b: self._failures[b] for b in failed if b in self._failures}
        new = [batch for batch in failed if batch not in self._failures]
        for batch in new[-MOST_ERRORS:]:
            self._failures[batch] = errors_of(manifest, batch)[:most]
        told = [failure for failures in self._failures.values() for failure in failures]
        return sorted(told, key=lambda failure: -float(failure.get("time") or 0.0))[:most]


def axes_of(manifest: Manifest) -> list[tuple[str, int, str, str]]:
    """Name, length, first and last label of each parameter that was sown."""
    axes: dict[str, tuple[str, int, str, str]] = {}
    for sown in manifest.sowings:
        for name, axis in sown.grid.axes.items():
            known = axes.get(name, (name, 0, _text(axis.label(0)), ""))
            axes[name] = (name, known[1] + len(axis), known[2], _text(axis.label(-1)))
    return list(axes.values())


def _text(label: Any) -> str:
    return f"{label:g}" if isinstance(label, float) else str(label)


def _hand(manifest: Manifest, held: Held, place: int) -> Hand:
    claim = held.claim
    done = _count(manifest, claim.batch, claim.path) if place < MOST_WORKERS else None
    return Hand(
        claim.batch,
        claim.owner.host,
        claim.owner.pid,
        held.age,
        held.dead,
        manifest.size_of(claim.batch),
        done,
    )


def _count(manifest: Manifest, batch: int, folder: str) -> int | None:
    """Cases of a batch in the making that are recorded."""
    try:
        if sum(map(os.path.getsize, record_files(folder))) > LARGE:
            return None
    except OSError:
        return None  # it moved on while we looked
    records = read_partial(manifest, batch, folder)
    failed = [error for error in records.errors if error["final"]]
    return sum(map(len, records.chunks)) + len(failed)
