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
import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cropfit.disk.layout import DEATH, RESULTS, SHARD, STATES, Layout
from cropfit.disk.owner import Owner
from cropfit.disk.publish import clock

LOST = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ESTALE)

# Only what `Layout` writes: '3' beside '000003' would be listed and never be found.
_NUMBER = re.compile(r"[0-9]{6}|[1-9][0-9]{6,}")
_SHARD = re.compile(r"[0-9]{3}|[1-9][0-9]{3,}")


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
        return sorted(number for numbers in self._listings(state) for number in numbers)

    def _listings(self, state: str) -> Iterable[list[int]]:
        """Batches of each folder of `state`; what else stands there is no concern of ours."""
        folder = self.layout.state(state)
        if not self.layout.sharded:
            yield self._numbers_in(folder)
            return
        for name in filter(_SHARD.fullmatch, _names_in(folder)):
            begin = int(name) * SHARD
            yield self._numbers_in(f"{folder}/{name}", range(begin, begin + SHARD))

    def _numbers_in(self, folder: str, belong: range | None = None) -> list[int]:
        """Batches that stand in one folder; of a shard those that belong there."""
        numbers = list(map(int, filter(_NUMBER.fullmatch, _names_in(folder))))
        return numbers if belong is None else [number for number in numbers if number in belong]

    def claims(self) -> list[Claim]:
        """Every batch that is being grown, and by whom, ascending."""
        found = []
        folder = self.layout.state("growing")
        with os.scandir(folder) as entries:
            for entry in entries:
                number, _, owner = entry.name.partition("@")
                parsed = Owner.parse(owner)
                if _NUMBER.fullmatch(number) and parsed:
                    found.append(Claim(int(number), f"{folder}/{entry.name}", parsed))
        return sorted(found, key=lambda claim: (claim.batch, claim.path))

    def claims_from(self, batch: int) -> Iterator[str]:
        """Where this owner's claims of `batch` and those that follow stand, or would."""
        owner = str(self.owner)
        return (self.layout.claim(number, owner) for number in itertools.count(batch))

    def held(self) -> list[Held]:
        """Every claim with its age and whether its owner is dead.

        A process of this host is dead when it is gone; of another host, when
        its claim has not been touched for a lease. So is what an earlier worker
        in this very process could not give back. One `fstat` a claim.
        """
        claims = self.claims()
        if not claims:
            return []
        now = self._now()
        seen = []
        for claim in claims:
            age = _age(claim.path, now)
            if age is None:
                continue  # it moved on while we looked
            leaked = claim.owner != self.owner and claim.owner.is_me()
            alive = None if leaked else claim.owner.is_alive()
            seen.append(Held(claim, age, age > self.lease if alive is None else not alive))
        return seen

    def _now(self) -> float:
        try:
            return clock(self.layout.root)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                return time.time()  # a snapshot, or somebody else's crop: to be looked at only
            raise

    def counts(self) -> dict[str, int]:
        """Number of batches in each state; a listing a folder, and no more."""
        found = {}
        for state in STATES:
            if state == "growing":
                found[state] = len(self.claims())
            else:
                found[state] = sum(map(len, self._listings(state)))
        return found

    def where(self, batch: int) -> str | None:
        """The state of one batch; None if it is nowhere (or on its way).

        By listings: NFS may tell for half a minute where a batch stood before.
        """
        for state in ("sown", "grown", "failed", "ignored"):
            top = self.layout.state(state)
            folder, name = os.path.split(self.layout.batch(state, batch))
            found = folder == top or os.path.basename(folder) in _names_in(top)
            if found and name in _names_in(folder):
                return state
        return "growing" if any(claim.batch == batch for claim in self.claims()) else None

    # -- transitions ---------------------------------------------------------------

    def claim(self, batch: int, source: str = "sown") -> Claim | None:
        """Take `batch` out of `source`; None if it is not there (any more)."""
        return self._take(self.layout.batch(source, batch), batch)

    def take_over(self, other: Claim) -> Claim | None:
        """Take the batch of a dead owner, leaving a mark of the death in its folder."""
        mine = self._take(other.path, other.batch)
        if mine:
            flags = os.O_CREAT | os.O_WRONLY
            # A full disk must not cost us the claim that we hold by now.
            with contextlib.suppress(OSError):
                os.close(os.open(f"{mine.path}/{DEATH}{other.owner.token}", flags, 0o600))
        return mine

    def _take(self, source: str, batch: int) -> Claim | None:
        path = self.layout.claim(batch, str(self.owner))
        try:
            # First the touch: nobody shall ever see our claim with an old mtime.
            os.utime(source)
        except OSError as error:
            if error.errno in LOST:
                return None
            raise
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
        return _move(claim.path, target, proof=f"{RESULTS}{claim.owner.token}")

    def shift(self, batch: int, source: str, target: str) -> bool:
        """Move a batch between states that nobody owns; False if it is in neither of them."""
        return _move(self.layout.batch(source, batch), self.layout.batch(target, batch))


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        if error.errno in LOST:
            return []
        raise


def _move(source: str, target: str, proof: str | None = None) -> bool:
    """Rename a folder; False if somebody else was faster.

    Parameters
    ----------
    source, target : str
        Folders of one batch.
    proof : str, optional
        How the names of the record files begin that only our own folder has. By
        default `target` is a name that only we would give.
    """
    try:
        _rename(source, target)
    except OSError as error:
        if _arrived(target, proof):
            return True
        if error.errno in LOST:
            return False
        raise
    return True


def _rename(source: str, target: str) -> None:
    """Rename, and make the shard of `target` if that is what is missing.

    Never more than that one folder: the crop may have been deleted meanwhile.
    """
    try:
        os.rename(source, target)
    except FileNotFoundError:
        try:
            os.mkdir(os.path.dirname(target), 0o700)
        except FileExistsError:
            pass  # another worker may have made it just now
        os.rename(source, target)


def _arrived(target: str, proof: str | None) -> bool:
    """Whether our folder stands at `target` after all (NFS may lose the reply).

    By listing, never by asking for one name: a client may remember for half a
    minute that a name was not there. Of two record files one is the new owner's,
    and the other was written late.
    """
    if proof is None:
        folder, name = os.path.split(target)
        return name in _names_in(folder)
    files = [name for name in _names_in(target) if name.startswith(RESULTS)]
    return bool(files) and all(name.startswith(proof) for name in files)


def _age(path: str, now: float) -> float | None:
    """Seconds since the folder was touched; None if it is gone.

    Opened first: NFS may answer `stat` from a cache half a minute old.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in LOST:
            return None
        raise
    try:
        return now - os.fstat(handle).st_mtime
    finally:
        os.close(handle)
