"""The state of every batch is the folder that it stands in.

    sown ──claim──▶ growing ──finish──▶ grown
     ▲ ▲               │ └─────fail───▶ failed
     │ └────release────┘                  │
     └───────────────retry────────────────┘        sown ◀──▶ ignored

Each arrow is one rename of the batch's folder, so every transition has exactly
one winner on any file system that renames atomically, NFS included. A rename's
error is not its outcome: whoever moved a folder looks for it where it should be.

A claim's folder carries its owner's name. Taking over a dead owner's batch
renames that folder, so the late owner's own rename finds nothing: that is the
fence.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from cropfit.disk.layout import STATES, Layout
from cropfit.disk.owner import Owner
from cropfit.disk.publish import clock

LOST = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


@dataclass(frozen=True)
class Claim:
    """An exclusive hold on one batch: its number, folder and owner."""

    batch: int
    path: str
    owner: Owner


@dataclass(frozen=True)
class Held:
    """A claim as others see it; `age` in seconds by the file system's clock."""

    claim: Claim
    age: float
    dead: bool


class Ledger:
    """All transitions of a crop's batches, on behalf of one owner.

    Parameters
    ----------
    layout : Layout
        Paths of the crop.
    owner : Owner
        In whose name to claim.
    lease : float
        Seconds without a heartbeat after which a claim from another host is dead.
    """

    def __init__(self, layout: Layout, owner: Owner, lease: float) -> None:
        self.layout = layout
        self.owner = owner
        self.lease = lease

    # -- what is where -------------------------------------------------------------

    def numbers(self, state: str) -> list[int]:
        """Batches in `state` (any but ``growing``), ascending; one listing a folder."""
        return sorted(
            int(name) for names in self._listings(state) for name in filter(str.isdigit, names)
        )

    def _listings(self, state: str) -> Iterator[list[str]]:
        folder = self.layout.state(state)
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            return
        if not self.layout.sharded:
            yield names
            return
        for name in names:
            with contextlib.suppress(NotADirectoryError):
                yield os.listdir(f"{folder}/{name}")

    def claims(self) -> list[Claim]:
        """Every batch that is being grown, and by whom, ascending."""
        found = []
        folder = self.layout.state("growing")
        with os.scandir(folder) as entries:
            for entry in entries:
                number, _, owner = entry.name.partition("@")
                parsed = Owner.parse(owner)
                if number.isdigit() and parsed:
                    found.append(Claim(int(number), f"{folder}/{entry.name}", parsed))
        return sorted(found, key=lambda claim: (claim.batch, claim.path))

    def held(self) -> list[Held]:
        """Every claim with its age and whether its owner is dead.

        A process of this host is dead when it is gone; of another host, when
        its claim has not been touched for a lease. One `fstat` a claim.
        """
        claims = self.claims()
        if not claims:
            return []
        now = clock(self.layout.root, str(self.owner))
        seen = []
        for claim in claims:
            age = _age(claim.path, now)
            if age is None:
                continue  # it moved on while we looked
            alive = claim.owner.is_alive()
            seen.append(Held(claim, age, not alive if alive is not None else age > self.lease))
        return seen

    def counts(self) -> dict[str, int]:
        """Number of batches in each state; a listing a folder, and no more."""
        found = {}
        for state in STATES:
            if state == "growing":
                found[state] = len(self.claims())
            else:
                found[state] = sum(sum(map(str.isdigit, names)) for names in self._listings(state))
        return found

    def where(self, batch: int) -> str | None:
        """The state of one batch; None if it is nowhere (or on its way)."""
        for claim in self.claims():
            if claim.batch == batch:
                return "growing"
        for state in ("sown", "grown", "failed", "ignored"):
            if os.path.isdir(self.layout.batch(state, batch)):
                return state
        return None

    # -- transitions ---------------------------------------------------------------

    def claim(self, batch: int, source: str = "sown") -> Claim | None:
        """Take `batch` out of `source`; None if it is not there (any more)."""
        return self._take(self.layout.batch(source, batch), batch)

    def take_over(self, other: Claim) -> Claim | None:
        """Take the batch of a dead owner, leaving a mark of the death in its folder."""
        mine = self._take(other.path, other.batch)
        if mine:
            with contextlib.suppress(FileExistsError):
                os.close(
                    os.open(f"{mine.path}/death.{other.owner.token}", os.O_CREAT | os.O_EXCL, 0o600)
                )
        return mine

    def _take(self, source: str, batch: int) -> Claim | None:
        path = self.layout.claim(batch, str(self.owner))
        try:
            # First the touch: nobody shall ever see our claim with an old mtime.
            os.utime(source)
        except FileNotFoundError:
            return None
        return Claim(batch, path, self.owner) if _move(source, path) else None

    def finish(self, claim: Claim) -> bool:
        """Publish a batch as grown; False if it was taken over meanwhile."""
        return self._publish(claim, "grown")

    def fail(self, claim: Claim) -> bool:
        """Publish a batch as failed; False if it was taken over meanwhile."""
        return self._publish(claim, "failed")

    def release(self, claim: Claim) -> bool:
        """Give a batch back, with what it holds; False if it was taken over."""
        return self._publish(claim, "sown")

    def _publish(self, claim: Claim, state: str) -> bool:
        target = self.layout.batch(state, claim.batch)
        if self.layout.sharded:
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        return _move(claim.path, target, proof=f"results.{claim.owner.token}")

    def shift(self, batch: int, source: str, target: str) -> bool:
        """Move a batch between states that nobody owns; False if it is not in `source`."""
        if self.layout.sharded:
            os.makedirs(self.layout.shard(target, batch), mode=0o700, exist_ok=True)
        return _move(self.layout.batch(source, batch), self.layout.batch(target, batch))


def _move(source: str, target: str, proof: str | None = None) -> bool:
    """Rename a folder; False if somebody else was faster.

    Parameters
    ----------
    source, target : str
        Folders of one batch.
    proof : str, optional
        Name of a file that only our own folder has. By default `target` is a
        name that only we would give.
    """
    try:
        os.rename(source, target)
    except OSError as error:
        if _arrived(target, proof):
            return True
        if error.errno in LOST:
            return False
        raise
    return True


def _arrived(target: str, proof: str | None) -> bool:
    """Whether our folder stands at `target` after all (NFS may lose the reply).

    By listing, never by asking for one name: a client may remember for half a
    minute that a name was not there.
    """
    folder, name = (target, proof) if proof else os.path.split(target)
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.startswith(name) for entry in entries)
    except OSError:
        return False


def _age(path: str, now: float) -> float | None:
    """Seconds since the folder was touched; None if it is gone.

    Opened first: NFS may answer `stat` from a cache half a minute old.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        return now - os.fstat(handle).st_mtime
    finally:
        os.close(handle)
