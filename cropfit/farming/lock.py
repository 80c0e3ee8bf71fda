"""One process at a time changes a data file, on any hosts that share its folder.

    .name.lock/<owner>     held; the name inside says by whom
    .name.lock/            empty, or not there: free

Every step is one rename, which has one winner on NFS too: a folder with the owner's
name in it takes the place of a lock that is free, and only of such. Taking over from
a dead owner renames that name, so of several who try one is the next owner.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator

from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT, clock
from cropfit.errors import CropError

__all__ = ["LEASE", "locked"]

LEASE = 120.0  # seconds without a sign of life after which an owner on another host is dead
POLL = 0.02


@contextlib.contextmanager
def locked(path: str, patience: float = 600.0) -> Iterator[None]:
    """Hold the lock of a data file.

    Parameters
    ----------
    path : str
        The file; it need not exist, its folder must.
    patience : float
        Seconds to wait for others.

    Raises
    ------
    CropError
        Somebody alive held it all the time.
    OSError
        The folder cannot be written to.
    """
    folder, name = os.path.split(os.path.abspath(path))
    lock, owner = f"{folder}/.{name}.lock", str(Owner.here())
    _acquire(lock, owner, f"{folder}/.{name}.{owner}{DRAFT}", patience)
    done = threading.Event()
    heart = threading.Thread(target=_beat, args=(f"{lock}/{owner}", done), daemon=True)
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
        for held in (f"{lock}/{owner}", lock):
            with contextlib.suppress(OSError):  # the next owner may be there already
                os.rmdir(held)


def _acquire(lock: str, owner: str, draft: str, patience: float) -> None:
    os.makedirs(f"{draft}/{owner}", 0o700)
    until = time.monotonic() + patience
    try:
        while not (_put(draft, lock, owner) or _take_over(lock, owner)):
            if time.monotonic() > until:
                raise CropError(
                    f"{lock} was held for {patience:.0f} s by {_holders(lock)}. If that process is "
                    f"gone, remove the folder: rm -r '{lock}'."
                )
            time.sleep(POLL)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put(draft: str, lock: str, owner: str) -> bool:
    """Put our folder in place of a lock that is free."""
    try:
        os.rename(draft, lock)
    except OSError as error:
        if owner in _holders(lock):  # NFS may lose the reply to a rename that was done
            return True
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _take_over(lock: str, owner: str) -> bool:
    """Become the owner in place of one that is dead."""
    for holder in _holders(lock):
        if _is_dead(lock, holder):
            with contextlib.suppress(OSError):
                os.rename(f"{lock}/{holder}", f"{lock}/{owner}")
            return owner in _holders(lock)
    return False


def _holders(lock: str) -> list[str]:
    try:
        return os.listdir(lock)
    except FileNotFoundError:
        return []


def _is_dead(lock: str, holder: str) -> bool:
    other = Owner.parse(holder)
    alive = other.is_alive() if other else None
    if alive is not None:
        return not alive
    try:
        with os.scandir(lock) as entries:
            seen = max((entry.stat().st_mtime for entry in entries), default=None)
        return seen is not None and clock(os.path.dirname(lock)) - seen > LEASE
    except FileNotFoundError:
        return False


def _beat(held: str, done: threading.Event) -> None:
    """Show that we are alive until we are done."""
    while not done.wait(LEASE / 5):
        with contextlib.suppress(OSError):
            os.utime(held)
