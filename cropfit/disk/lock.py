"""One writer at a time for a file or folder, on any file system that renames folders atomically.

    .<file>.lock.<owner>.draft/<owner>/  ──rename──▶  .<file>.lock/<owner>/  held
    .<file>.lock/<dead owner>/           ──rename──▶  .<file>.lock/<owner>/  taken over

A rename onto a folder that holds something fails, so there is one winner. The holder's
folder is touched from a process of its own; whoever waits takes it over when its owner
is known to be dead: gone, on this host, or silent for a lease, on another. The name
says whom, so that no live holder can be robbed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator

from cropfit.disk.heart import Heart
from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT, clock
from cropfit.errors import CropError

__all__ = ["LEASE", "locked"]

LEASE = 120.0  # seconds without a sign of life after which a holder on another host is dead
PAUSE = 0.02, 0.5  # seconds between two looks: the first, and the longest


@contextlib.contextmanager
def locked(
    path: str, patience: float = 600.0, lease: float = LEASE
) -> Iterator[Callable[[], None]]:
    """Hold the lock of a data file.

    Parameters
    ----------
    path : str
        The file, which need not exist; its folder must.
    patience : float
        Seconds to wait for others.
    lease : float
        Seconds of silence after which a holder on another host counts as dead.

    Yields
    ------
    callable
        Raises CropError if somebody took the lock over: this host stood still for a lease.

    Raises
    ------
    CropError
        Somebody else held it all the time; says who, and what to do.
    OSError
        The folder is missing, full or read-only.

    Notes
    -----
    Costs four file operations, and a process that touches the lock once a fifth of the lease.
    """
    lock = _Lock(os.path.realpath(path), lease)
    lock.acquire(patience)
    heart = Heart(lease / 5)
    try:
        heart.watch(lock.mine)
        yield lock.check
    finally:
        heart.close()
        lock.release()


class _Lock:
    def __init__(self, path: str, lease: float) -> None:
        self.owner = Owner.here()
        self.lease = lease
        self._path = path
        self._parent, name = os.path.split(path)
        self._folder = os.path.join(self._parent, f".{name}.lock")
        self.mine = os.path.join(self._folder, str(self.owner))

    def acquire(self, patience: float) -> None:
        """Wait for the lock, and take it."""
        end, pause = time.monotonic() + patience, PAUSE[0]
        draft = f"{self._folder}.{self.owner}{DRAFT}"
        self._make(draft)
        try:
            while not (self._place(draft) or self._take_over()):
                if time.monotonic() > end:
                    raise self._told(patience)
                time.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, PAUSE[1])
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def check(self) -> None:
        """Raise if the lock is not ours any more."""
        if str(self.owner) not in self._holders():
            raise CropError(
                f"{self._path} is being written by another process: this one gave no sign of life "
                f"for {self.lease:.0f} s, and nothing was written by it. Do it again."
            )

    def release(self) -> None:
        """Let the next one have it; whoever took it over keeps it."""
        for folder in (self.mine, self._folder):
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def _place(self, draft: str) -> bool:
        """Put our lock where no other is."""
        with contextlib.suppress(OSError):
            os.rename(draft, self._folder)
        if str(self.owner) in self._holders():  # NFS may lose the reply to what was done
            return True
        if not os.path.isdir(draft):
            self._make(draft)
        return False

    def _make(self, draft: str) -> None:
        """A lock of ours that is nowhere in force yet."""
        os.mkdir(draft, 0o700)  # not makedirs: a folder that is missing must not come to be
        os.mkdir(os.path.join(draft, str(self.owner)), 0o700)

    def _take_over(self) -> bool:
        """Take the lock of a holder that is dead."""
        for name in self._holders():
            other = Owner.parse(name)
            if other is None or not self._is_dead(other, name):
                continue
            with contextlib.suppress(OSError):
                os.utime(os.path.join(self._folder, name))
                os.rename(os.path.join(self._folder, name), self.mine)
            if str(self.owner) in self._holders():
                return True
        return False

    def _holders(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except FileNotFoundError:
            return []

    def _is_dead(self, other: Owner, name: str) -> bool:
        alive = other.is_alive()
        if alive is not None:
            return not alive
        age = self._age(name)
        return age is not None and age > self.lease

    def _age(self, name: str) -> float | None:
        """Seconds since the last sign of life, by the file system's clock."""
        try:
            with os.scandir(self._folder) as entries:
                seen = [entry.stat().st_mtime for entry in entries if entry.name == name]
        except FileNotFoundError:
            return None
        return clock(self._parent) - seen[0] if seen else None

    def _told(self, patience: float) -> CropError:
        holders = self._holders()
        who = self._describe(holders[0]) if holders else "another process, which is gone now"
        return CropError(
            f"{self._path} is being written by {who}; waited {patience:.0f} s. Try again when it "
            f"is done. If that process is surely dead: rm -r '{self._folder}'"
        )

    def _describe(self, holder: str) -> str:
        owner = Owner.parse(holder)
        name = holder if owner is None else f"process {owner.pid} on {owner.host}"
        return f"{name} (last seen {self._age(holder) or 0:.0f} s ago)"
