"""A batch that is grown where the crop's folder cannot be seen: the worker's side.

    errand ──▶ a small crop on this host's own disk ──▶ an ordinary worker ──▶ its files

The small crop stays while a process of this host uses it, so that the function and its
constants come once a host and are loaded once a process, and so that what a killed worker
left of a batch is taken up by the next one that gets the same batch here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cropfit.disk.heart import Heart
from cropfit.disk.layout import STATES, Layout, folder_of
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT, discard, mark_of
from cropfit.errors import ForeignFileError
from cropfit.work.batch import Policy
from cropfit.work.grow import Worker
from cropfit.work.interrupts import end_as_asked
from cropfit.work.limits import cap_threads
from cropfit.work.loading import load_call
from cropfit.work.parcel import Files, read_files, write_files, write_object
from cropfit.work.report import GrowReport

USERS = "users"
Kit = Mapping[str, bytes]
Bring = Callable[[], Kit]

_calls: dict[str, Callable[..., Any]] = {}
_using: dict[str, str] = {}  # kit's folder → our mark in it
_lock = threading.Lock()


@dataclass(frozen=True)
class Errand:
    """One batch as it travels to a worker; calling it grows the batch there.

    Parameters
    ----------
    kit : str
        Name of the kit that it needs.
    crop : str
        The crop's name.
    batch : int
        Which batch; 0 only brings the kit.
    files : mapping
        What the batch's folder holds by now.
    objects : tuple
        Sowing, place and bytes of each object that the batch takes.
    policy : Policy
        What to do about failures.
    left : float
        Seconds from its start after which nothing is begun.
    threads : int, optional
        Thread cap, for libraries that are loaded later.
    stop_sign : str
        Name of the file in the small crop that asks to leave.
    """

    kit: str
    crop: str
    batch: int
    files: Files
    objects: tuple[tuple[int, int, bytes], ...]
    policy: Policy
    left: float
    threads: int | None
    stop_sign: str

    def __call__(self, brought: Kit | Bring | None = None) -> dict[str, Any] | None:
        """Grow the batch; None if the kit is neither here nor was `brought`."""
        cap_threads(self.threads, os.environ)
        root = settle_in(self.kit, self.crop, brought)
        if root is None or not self.batch:
            return None
        if os.path.exists(f"{root}/{self.stop_sign}"):
            return {"report": asdict(GrowReport(reason="stop")), "files": self.files}
        deadline = time.time() + self.left
        for sowing, place, data in self.objects:
            write_object(Layout(root), sowing, place, data)
        worker = _Guest(
            root, self.policy, deadline=deadline, stop_sign=self.stop_sign, loader=_load_once
        )
        self._lay_down(worker.ledger)
        report = worker.grow_these([self.batch], steal=True)
        end_as_asked(report.reason)
        return {"report": asdict(report), "files": self._pick_up(worker.ledger)}

    def _lay_down(self, ledger: Ledger) -> None:
        """Put the batch into ``sown/``, on top of what an earlier worker left of it here."""
        for claim in ledger.claims():
            if claim.batch == self.batch and (mine := ledger.take_over(claim)):
                ledger.release(mine)
        target = ledger.layout.batch("sown", self.batch)
        there = ledger.where(self.batch)
        if there == "sown":
            write_files(target, self.files)
        elif there is None:
            draft = f"{ledger.layout.root}/.{self.batch}.{ledger.owner}{DRAFT}"
            os.mkdir(draft, 0o700)
            write_files(draft, self.files)
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            os.rename(draft, target)

    def _pick_up(self, ledger: Ledger) -> dict[str, bytes]:
        """All that there is of the batch, which is not here any more then."""
        state = ledger.where(self.batch)
        if state in (None, "growing"):
            return {}
        folder = ledger.layout.batch(str(state), self.batch)
        files = read_files(folder)
        discard(folder, str(ledger.owner))
        return files


class _Still(Heart):
    """Beats for nobody: starting a process a batch would cost more than the rest."""

    def follow(self, paths: Iterator[str]) -> None:
        """Do nothing."""


class _Guest(Worker):
    """A worker on its host's own disk, where everybody can see whether its process lives."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._heart = _Still(self.ledger.lease)


def _load_once(manifest: Manifest) -> Callable[..., Any]:
    """The function with its constants; loaded once a process, shared by its threads."""
    root = manifest.layout.root
    with _lock:
        if root not in _calls:
            _calls.clear()  # constants may be large: those of the crop in hand alone are kept
            _calls[root] = load_call(manifest)
        return _calls[root]


# -- the kit ---------------------------------------------------------------------------


def _den() -> str:
    return f"{tempfile.gettempdir()}/cropfit-{os.getuid()}"


def den() -> str:
    """Where this user keeps small crops on the host's own disk.

    Raises
    ------
    ForeignFileError
        Somebody else made it, or may write to it.
    """
    path = _den()
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise ForeignFileError(
                f"{path} is not used: it is not a folder of yours that nobody else may write "
                "to. Remove it, or set TMPDIR to a folder of your own."
            ) from None
    return path


def root_of(kit: str, crop: str) -> str:
    """Where the small crop of a kit stands on this host, if it does."""
    return folder_of(f"{_den()}/{kit}", crop)


def settle_in(kit: str, crop: str, brought: Kit | Bring | None = None) -> str | None:
    """The folder of the small crop, made of what was brought; None if there is nothing."""
    den()
    root = root_of(kit, crop)
    home = os.path.dirname(root)
    with _lock:
        if _is_used_by_us(home):
            return root
        if os.path.isdir(home):
            _move_in(home)
        elif brought is None:
            return None
        else:
            sweep_den()
            _build(home, root, brought() if callable(brought) else brought)
    return root


def _build(home: str, root: str, kit: Kit) -> None:
    """Make the small crop whole under another name, then give it its own."""
    owner = Owner.here()
    draft = f"{os.path.dirname(home)}/.{os.path.basename(home)}.{owner}{DRAFT}"
    inner = f"{draft}/{os.path.basename(root)}"
    os.mkdir(draft, 0o700)
    for folder in (f"{draft}/{USERS}", inner, *(f"{inner}/{state}" for state in STATES)):
        os.mkdir(folder, 0o700)
    for name, data in kit.items():
        handle = os.open(f"{inner}/{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    try:
        os.rename(draft, home)
    except OSError:
        if not os.path.isdir(home):  # else another process of this host was faster
            raise
        shutil.rmtree(draft, ignore_errors=True)
    _move_in(home)


def _is_used_by_us(home: str) -> bool:
    mark = _using.get(home, "")
    owner = Owner.parse(os.path.basename(mark))
    return owner is not None and owner.is_me() and os.path.isfile(mark)


def _move_in(home: str) -> None:
    """Say that this process uses the kit."""
    mark = f"{home}/{USERS}/{Owner.here()}"
    with open(mark, "x"):
        _using[home] = mark
    atexit.register(move_out)


def move_out() -> None:
    """Forget all kits, and remove those that nobody uses any more."""
    ours, pid = list(_using.values()), str(os.getpid())
    _using.clear()
    _calls.clear()
    for mark in ours:
        if os.path.basename(mark).rsplit(".", 2)[1] == pid and os.path.exists(mark):
            os.unlink(mark)
    sweep_den()
    with contextlib.suppress(OSError):
        os.rmdir(den())  # if that was all


def sweep_den() -> None:
    """Remove kits whose processes are gone, as killed workers leave them."""
    owner, place = str(Owner.here()), den()
    for name in os.listdir(place):
        marked = mark_of(name)
        users = [marked] if marked else _names_in(f"{place}/{name}/{USERS}")
        if not any(_may_live(user) for user in users):
            if marked:
                shutil.rmtree(f"{place}/{name}", ignore_errors=True)
            elif os.path.isdir(f"{place}/{name}"):
                _discard(f"{place}/{name}", f"{place}/.{name}.{owner}{DRAFT}")


def _discard(folder: str, aside: str) -> None:
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return  # another process of this host does the same
    shutil.rmtree(aside, ignore_errors=True)


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _may_live(user: str) -> bool:
    found = Owner.parse(user)
    if found is None:
        return False
    # A draft's name has its kit in front of the host's.
    local = Owner(Owner.here().host, found.pid, found.token)
    return local.is_alive() is not False
