"""What a file system does when all that crops need of it is tried: facts, no verdicts.

Everything happens in one folder of its own, which is gone afterwards. Were the
process killed, its name marks it as trash that the next sowing sweeps away.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from cropfit.disk.owner import Owner
from cropfit.disk.publish import TRASH, clock

FOLDERS = 200  # that two processes race for
SYNCS = 5

# Errors are no outcomes (see the ledger): whoever moved a folder looks for it.
_RACER = """
import os, sys
folder, me, (count, ready, go) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:])
os.close(ready)
os.read(go, 1)
won = []
for number in range(count):
    name = f"{number:06d}@{me}"
    try:
        os.rename(f"{folder}/sown/{number:06d}", f"{folder}/growing/{name}")
    except OSError:
        if name not in os.listdir(f"{folder}/growing"):
            continue
    won.append(number)
print(*won)
"""


@dataclass(frozen=True)
class Mount:
    """Where a path's file system is mounted, of which kind it is, and how."""

    kind: str
    point: str
    options: str


@dataclass(frozen=True)
class Room:
    """What is free for this user: bytes, and files if the file system limits them."""

    bytes: int
    files: int | None


@dataclass(frozen=True)
class Race:
    """How many folders two processes raced for, and how each of them ended."""

    folders: int
    once: int
    twice: int
    lost: int


@contextlib.contextmanager
def workbench(folder: str) -> Iterator[str]:
    """A folder to try things in; nothing of it is left."""
    place = f"{folder}/.cropfit-doctor.{Owner.here()}{TRASH}"
    os.mkdir(place, 0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def mount_of(path: str) -> Mount | None:
    """The mount that holds `path`; None where the system does not tell."""
    path = os.path.realpath(path)
    found = None
    try:
        with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split() for line in file]
    except OSError:
        return None
    for _, point, kind, options, *_ in lines:
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
        inside = path == point or path.startswith(f"{point.rstrip('/')}/")
        if inside and (found is None or len(point) >= len(found.point)):
            found = Mount(kind, point, options)
    return found


def room(path: str) -> Room:
    """What is free at `path`; quotas may allow less."""
    told = os.statvfs(path)
    return Room(told.f_bavail * told.f_frsize, told.f_favail if told.f_files else None)


def race(place: str) -> Race:
    """Let two processes rename the same folders at the same time."""
    for state in ("sown", "growing"):
        os.mkdir(f"{place}/{state}", 0o700)
    for number in range(FOLDERS):
        os.mkdir(f"{place}/sown/{number:06d}", 0o700)
    # A pipe ends when all have closed it: so both wait for each other, and start together.
    (wait, ready), (go, start) = os.pipe(), os.pipe()
    command = [sys.executable, "-I", "-S", "-c", _RACER, place]
    numbers = [str(number) for number in (FOLDERS, ready, go)]
    racers = [
        subprocess.Popen(
            [*command, name, *numbers], pass_fds=(ready, go), stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    os.close(ready)
    os.read(wait, 1)
    for pipe in (start, wait, go):
        os.close(pipe)
    one, two = (set(map(int, racer.communicate()[0].split())) for racer in racers)
    standing = set(os.listdir(f"{place}/growing"))
    once = sum(
        f"{number:06d}@{name}" in standing
        for name, alone in (("one", one - two), ("two", two - one))
        for number in alone
    )
    twice = len(one & two)
    return Race(FOLDERS, once, twice, FOLDERS - once - twice)


def refuses_full(place: str) -> bool:
    """Whether a folder with something in it cannot be replaced by a rename."""
    for name in ("full", "late"):
        os.mkdir(f"{place}/{name}", 0o700)
        with open(f"{place}/{name}/{name}", "xb"):
            pass
    try:
        os.rename(f"{place}/late", f"{place}/full")
    except OSError:
        return os.listdir(f"{place}/full") == ["full"]
    return False


def touch_moves(place: str) -> bool:
    """Whether touching a folder brings its time to now, seen through an open handle."""
    os.mkdir(f"{place}/touched", 0o700)
    os.utime(f"{place}/touched", (0, 0))
    return clock(f"{place}/touched") > 0


def skew(place: str) -> float:
    """Seconds by which the file system's clock is ahead of this host's."""
    before = time.time()
    now = clock(place)
    return now - (before + time.time()) / 2


def lists_fresh(place: str) -> bool:
    """Whether a listing tells of a rename that was just done."""
    for name in ("from", "to", "from/moved"):
        os.mkdir(f"{place}/{name}", 0o700)
    os.listdir(f"{place}/to")
    os.rename(f"{place}/from/moved", f"{place}/to/moved")
    return os.listdir(f"{place}/to") == ["moved"] and not os.listdir(f"{place}/from")


def sync_seconds(place: str) -> float:
    """Median time that bringing a small file to disk takes."""
    took = []
    for number in range(SYNCS):
        handle = os.open(f"{place}/synced{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(handle, bytes(4096))
            begun = time.perf_counter()
            os.fsync(handle)
            took.append(time.perf_counter() - begun)
        finally:
            os.close(handle)
    return statistics.median(took)


def appends(place: str) -> bool:
    """Whether what is appended stands behind what stood there, also after a move."""
    os.mkdir(f"{place}/here", 0o700)
    handle = os.open(f"{place}/here/file", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        os.write(handle, b"one ")
        os.rename(f"{place}/here", f"{place}/there")
        os.write(handle, b"two")
    finally:
        os.close(handle)
    with open(f"{place}/there/file", "rb") as file:
        return file.read() == b"one two"


def is_private(place: str) -> bool:
    """Whether a file made for this user alone is so."""
    handle = os.open(f"{place}/private", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.close(handle)
    told = os.stat(f"{place}/private")
    return told.st_uid in (os.geteuid(), 0) and not told.st_mode & 0o077
