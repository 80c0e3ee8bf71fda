"""Files appear whole or not at all, and folders go away in one step.

    draft ──write──▶ close ──(fsync)──▶ rename into place

A draft stands in the folder of its destination under a name that nobody else
uses, so that a rename suffices and a leftover tells whose it was.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from cropfit.disk.owner import Owner
from cropfit.errors import ForeignFileError

DRAFT = ".draft"
TRASH = ".trash"
SYNCS = 8  # files at a time


def write_whole(path: str, data: bytes, owner: str, *, sync: bool = False) -> None:
    """Put `data` at `path`, replacing what is there in one step.

    Raises
    ------
    OSError
        The disk is full, read-only or gone; what was at `path` is untouched.
    """
    draft = f"{path}.{owner}{DRAFT}"
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)  # NFS reports a full disk here
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    if sync:
        sync_folder(os.path.dirname(path))


def sync_file(path: str) -> None:
    """Make what is in a file survive a power cut.

    Raises
    ------
    OSError
        The disk did not take it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_files(paths: Iterable[str]) -> None:
    """Sync many files: those that wait at the same time cost the disk hardly more than one.

    Raises
    ------
    OSError
        The disk did not take one of them.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(SYNCS) as pool:
        for _ in pool.map(sync_file, paths):
            pass


def sync_folder(folder: str) -> None:
    """Make the names in `folder` survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder or ".", os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def clock(folder: str) -> float:
    """The time now by the clock of the file system that holds `folder`, in seconds.

    Two hosts' clocks may be hours apart; the file system has one. Touches the
    folder, so that no file is needed where the disk may be full.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.utime(folder)
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)


def discard(folder: str, owner: str, *, behind: bool = False) -> None:
    """Delete `folder` and all in it; it is out of sight with the first call.

    The rename aside is what counts. A kill after it leaves a ``.trash`` folder
    that the next sowing beside it removes.

    Parameters
    ----------
    folder : str
        What to delete.
    owner : str
        Who does.
    behind : bool
        Let a process of its own remove the files, and do not wait for it.
    """
    aside = f"{folder}.{owner}{TRASH}"
    os.rename(folder, aside)
    if not (behind and _remove_behind(aside)):
        import shutil

        shutil.rmtree(aside, ignore_errors=True)


def _remove_behind(folder: str) -> bool:
    """Start to remove a folder by a process that outlives this one; whether that was possible."""
    import subprocess

    command = ["/bin/sh", "-c", 'rm -rf -- "$0" </dev/null >/dev/null 2>&1 &', folder]
    try:
        return subprocess.run(command, start_new_session=True, check=False).returncode == 0
    except OSError:
        return False


def leftovers(parent: str) -> Iterator[tuple[str, str]]:
    """Drafts and trash in `parent` that belong to crops: (path, owner as text)."""
    with os.scandir(parent) as entries:
        for entry in entries:
            if marked := mark_of(entry.name):
                yield entry.path, marked


def mark_of(name: str) -> str | None:
    """What stands before the ending of a draft's or trash's name; None for any other name.

    Anybody may have a ``.notes.draft``: only one that names an owner is ours.
    """
    for ending in (DRAFT, TRASH):
        marked = name[: -len(ending)]
        if name.startswith(".") and name.endswith(ending) and Owner.parse(marked):
            return marked
    return None


def check_own(path: str, found: os.stat_result | None = None) -> None:
    """Refuse a file that would run code of somebody else when it is unpickled.

    Parameters
    ----------
    path : str
        The file.
    found : os.stat_result, optional
        What was asked of it already.

    Raises
    ------
    ForeignFileError
        It belongs to neither the user nor root, or anybody may write to it.
    """
    found = found or os.stat(path)
    if found.st_uid not in (os.getuid(), 0):
        reason = f"it belongs to user {found.st_uid}, you are {os.getuid()}"
    elif found.st_mode & 0o002:
        reason = "anybody may write to it (mend it with 'chmod o-w')"
    else:
        return
    if os.environ.get("CROPFIT_TRUST") == "1":
        return
    raise ForeignFileError(
        f"{path} is not read: {reason}. Reading a pickle runs the code in it. "
        "If you trust its owner, set CROPFIT_TRUST=1."
    )
