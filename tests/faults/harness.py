"""What the tests of faults share: a process to be harmed, its n-th file operation, and the books.

forked(work) ──▶ child ── Injector(folder, n, harm) ── the n-th operation below folder: harm
  ▲                │
  └── how it ended ┘   killed, an error, or done: then there were fewer than n operations
"""

from __future__ import annotations

import builtins
import errno
import os
import signal
import sys
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FULL = os.environ.get("CROPFIT_FAULTS") == "full"


def scaled(short: int, full: int) -> int:
    """A number of repetitions: for every run of the tests, or for the long one."""
    return full if FULL else short


def report(**figures: Any) -> None:
    """Add a line of figures to the file named by ``CROPFIT_FAULTS_REPORT``, if there is one."""
    path = os.environ.get("CROPFIT_FAULTS_REPORT")
    if path:
        with open(path, "a") as file:
            file.write(", ".join(f"{key} {value}" for key, value in figures.items()) + "\n")


# -- a process of its own --------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a forked process ended: ``code`` is negative for a signal; what it wrote."""

    pid: int
    code: int
    said: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


FAILED = 3  # exit code of a child whose work raised an error that cropfit or the disk may raise
FOREIGN = 4  # of any other exception
UNHARMED = 5  # of a child that came to its end before the operation that was to be harmed


def forked(work: Callable[[], Any], log: Path) -> Ended:
    """Run `work` in a fork of this process; a fork, because starting Python anew costs more."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(work, log)
    _, status = os.waitpid(pid, 0)
    return Ended(pid, os.waitstatus_to_exitcode(status), log.read_text() if log.exists() else "")


def _child(work: Callable[[], Any], log: Path) -> None:
    from cropfit.errors import CropError

    code = FOREIGN
    try:
        handle = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        work()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except (CropError, OSError) as error:
        code = FAILED
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


# -- harm ------------------------------------------------------------------------------

CHANGES = ("mkdir", "rename", "replace", "link", "unlink", "remove", "rmdir", "utime", "truncate")
LOOKS = ("listdir", "scandir")
BY_HANDLE = ("write", "writev", "fsync", "ftruncate", "close")


class Injector:
    """Harms this process at its `at`-th file operation below `folder`.

    Python's own operations; what a C library does is strace's affair. Where the n-th operation
    cannot suffer the harm (only renames can lose their reply), it is not counted.

    Parameters
    ----------
    folder : path
        Operations elsewhere do not count.
    at : int
        Which operation, from 1; 0 only counts.
    harm : str
        ``kill``: SIGKILL before it. ``torn``: half of a write, then SIGKILL. ``lost``: a rename
        that is done and reported as failed. ``full``: half of a write, then ENOSPC.
        Otherwise the name of an errno.
    """

    def __init__(self, folder: str | os.PathLike[str], at: int, harm: str) -> None:
        self.folder = os.fspath(folder)
        self.at = at
        self.harm = harm
        self.count = 0
        self.log: list[str] = []
        self._handles: set[int] = set()
        self._inside = False

    def __enter__(self) -> Injector:
        for name in (*CHANGES, *LOOKS, *BY_HANDLE):
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        os.open = self._opener(os.open)  # type: ignore[assignment]
        builtins.open = self._wrapped("open()", builtins.open)
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is put back: the process ends."""

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **options: Any) -> Any:
            if self._concerns(args[0] if args else "", options):
                self._operate(name, real, args, options)
            done = real(*args, **options)
            if name == "close":
                self._handles.discard(args[0])
            return done

        return operation

    def _opener(self, real: Callable[..., int]) -> Callable[..., int]:
        def open_it(path: Any, *args: Any, **options: Any) -> int:
            ours = self._concerns(path, options)
            if ours:
                self._operate("open", real, (path, *args), options)
            handle = real(path, *args, **options)
            if ours:
                self._handles.add(handle)
            return handle

        return open_it

    def _concerns(self, what: Any, options: dict[str, Any]) -> bool:
        if options.get("dir_fd") in self._handles:
            return True
        if isinstance(what, int):
            return what in self._handles
        try:
            return os.fsdecode(what).startswith(self.folder)
        except TypeError:
            return False

    def _operate(self, name: str, real: Callable[..., Any], args: Any, options: Any) -> None:
        if self.harm in ("torn", "full") and name not in ("write", "writev"):
            return
        if self.harm == "lost" and name not in ("rename", "replace"):
            return
        if self.harm not in ("kill", "torn") and name == "close":
            return
        self.count += 1
        self.log.append(f"{name} {args[0] if args else ''}")
        if self.count == self.at:
            self._do_harm(name, real, args, options)

    def _do_harm(self, name: str, real: Callable[..., Any], args: Any, options: Any) -> None:
        if self.harm == "lost":
            real(*args, **options)
            raise OSError(errno.EIO, "the reply was lost", args[0])
        if self.harm in ("torn", "full"):
            data = args[1] if name == "write" else b"".join(args[1])
            os_write(args[0], bytes(data)[: len(data) // 2])
        if self.harm in ("kill", "torn"):
            os.kill(os.getpid(), signal.SIGKILL)
        number = errno.ENOSPC if self.harm == "full" else getattr(errno, self.harm)
        path = args[0] if args and not isinstance(args[0], int) else None
        raise OSError(number, os.strerror(number), *([path] if path else []))


os_write = os.write


# -- what happened where ---------------------------------------------------------------


def tree(folder: str | os.PathLike[str]) -> list[str]:
    """Every path below `folder`, relative to it."""
    top = Path(folder)
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


class Log:
    """Lines of many processes, each appended in one write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def add(self, *words: object) -> None:
        """Write a line: these words and the number of this process."""
        handle = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(handle, " ".join(map(str, (*words, os.getpid()))).encode() + b"\n")
        os.close(handle)

    def lines(self) -> list[str]:
        """All lines, in the order in which they were written."""
        try:
            return Path(self.path).read_text().splitlines()
        except FileNotFoundError:
            return []


# -- books -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """What a log of ``start case pid`` lines tells.

    ``lost``: cases that nobody began. ``unexplained``: processes by whose fault a case was begun
    again though they were not killed, or by whose fault more than one was.
    """

    cases: int
    starts: int
    lost: list[int]
    repeated: int
    unexplained: list[int]


def account(lines: Iterable[str], cases: Iterable[int], killed: Iterable[int]) -> Account:
    """Hold the starts of all cases against the processes that were killed.

    A case may have been started again only by the fault of a killed process that had started
    it, and each killed process may be at fault once.
    """
    begun: dict[int, list[int]] = defaultdict(list)
    for line in lines:
        what, case, pid = line.split()
        if what == "start":
            begun[int(case)].append(int(pid))
    dead = set(killed)
    faults = Counter(pid for pids in begun.values() for pid in pids[:-1])
    unexplained = [pid for pid, count in faults.items() if pid not in dead or count > 1]
    starts = sum(map(len, begun.values()))
    wanted = set(cases)
    return Account(
        len(wanted),
        starts,
        sorted(wanted - begun.keys()),
        starts - len(begun),
        unexplained,
    )
