"""The doctor tells whether a file system does what crops need, and whether a crop is well.

    cropfit.disk.probe tries and measures ─▶ here it is judged ─▶ findings, and what to do

Looks and tries, and mends nothing: `cropfit.work.care` does.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import cloudpickle
import numpy as np

from cropfit.disk import probe
from cropfit.disk.functions import read_work
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest, read_manifest
from cropfit.disk.owner import Owner
from cropfit.disk.probe import Mount, Race, Room
from cropfit.errors import CropError
from cropfit.work.beds import lost_batches
from cropfit.work.care import check_bad, old_drafts
from cropfit.work.results import record_files
from cropfit.work.sow import abandoned

Level = Literal["ok", "warning", "problem"]

Look = Callable[[Manifest, Ledger], "Finding"]

SKEW = 2.0  # seconds between two clocks that are worth telling
SLOW_SYNC = 0.1  # seconds
LITTLE_ROOM = 100 << 20  # bytes
FEW_FILES = 10_000
SAMPLE = 20  # grown batches whose size is looked at
SHARED = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "panfs", "afs")

ELSEWHERE = "Claims would not be exclusive here. Sow into another folder."


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    check : str
        What; a stable word.
    level : {"ok", "warning", "problem"}
        With a problem crops cannot be trusted here; with a warning they can.
    told : str
        What was seen.
    advice : str
        What to do about it.
    """

    check: str
    level: Level
    told: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """All of it as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        line = f"{self.level:8} {self.check:10} {self.told}"
        return f"{line}\n{'':20}{self.advice}" if self.advice else line


# -- the file system -------------------------------------------------------------------


def examine_folder(folder: str) -> list[Finding]:
    """Try in `folder` all that a crop needs of its file system; leaves nothing behind."""
    found = [judge_mount(probe.mount_of(folder)), judge_room(probe.room(folder))]
    try:
        with probe.workbench(folder) as place:
            found += [_try(place, *each) for each in _TRIALS]
    except OSError as error:
        advice = "Sow where you may write."
        found.append(Finding("write", "problem", f"no folder can be made: {error}", advice))
    return found


def _try(
    place: str, check: str, measure: Callable[[str], Any], judge: Callable[[Any], Finding]
) -> Finding:
    try:
        return judge(measure(place))
    except OSError as error:
        told = f"{error.strerror or error} ({error.filename or place})"
        return Finding(check, "problem", told, "Sow on another file system.")


def judge_mount(mount: Mount | None) -> Finding:
    """What the kind of file system means for a crop."""
    if mount is None:
        return Finding("kind", "ok", "unknown: this system does not tell")
    told = f"{mount.kind}, mounted at {mount.point}"
    options = mount.options.split(",")
    if "ro" in options:
        return Finding("kind", "problem", f"{told}, read-only", "Sow where you may write.")
    if mount.kind in ("tmpfs", "ramfs"):
        advice = "It is gone with this machine's power, and no other host sees it."
        return Finding("kind", "warning", told, advice)
    if mount.kind == "overlay":
        advice = "It is gone with its container: bind a folder of the host instead."
        return Finding("kind", "warning", told, advice)
    if mount.kind in ("nfs", "nfs4") and any(
        o in options for o in ("vers=2", "vers=3", "nfsvers=3")
    ):
        advice = "Works; other hosts see each other's progress seconds late. Version 4 is better."
        return Finding("kind", "ok", f"{told}, version 3", advice)
    if mount.kind.startswith("fuse") or mount.kind in ("cifs", "smb3", "9p", "vboxsf"):
        advice = "Such systems differ: trust it as far as the checks below go, on every host."
        return Finding("kind", "warning", told, advice)
    shared = ", shared between hosts" if mount.kind in SHARED else ""
    return Finding("kind", "ok", told + shared)


def judge_room(room: Room, need_bytes: int = LITTLE_ROOM, need_files: int = FEW_FILES) -> Finding:
    """Whether what is free is enough."""
    files = "any number of" if room.files is None else f"{room.files}"
    told = f"{room.bytes / 2**30:.1f} GiB and {files} files are free"
    wanted = f"{need_bytes / 2**30:.1f} GiB and {need_files} files may be needed"
    if room.bytes >= need_bytes and (room.files is None or room.files >= need_files):
        return Finding("room", "ok", told)
    advice = f"{wanted}. Workers stop when nothing is free, and lose nothing."
    empty = room.bytes < 1 << 20 or room.files == 0
    return Finding("room", "problem" if empty else "warning", told, advice)


def judge_race(race: Race) -> Finding:
    """Whether every folder that two processes raced for has exactly one winner."""
    told = f"two processes raced for {race.folders} folders: {race.once} have one winner"
    if race.once == race.folders:
        return Finding("claims", "ok", told)
    return Finding(
        "claims", "problem", f"{told}, {race.twice} have two, {race.lost} have none", ELSEWHERE
    )


def judge_refusal(refuses: bool) -> Finding:
    """Whether a late finish could replace what another worker finished."""
    if refuses:
        return Finding("fencing", "ok", "a folder that is not empty cannot be replaced")
    told = "renaming onto a folder that is not empty replaces it"
    return Finding("fencing", "problem", told, ELSEWHERE)


def judge_touch(moves: bool) -> Finding:
    """Whether heartbeats are seen."""
    if moves:
        return Finding("heartbeat", "ok", "touching a folder moves its time")
    told = "touching a folder does not move its time"
    advice = "Workers on other hosts would be taken for dead. Sow into another folder."
    return Finding("heartbeat", "problem", told, advice)


def judge_skew(seconds: float) -> Finding:
    """How far the clocks are apart."""
    if abs(seconds) <= SKEW:
        return Finding("clock", "ok", f"{seconds:+.3f} s against this host's")
    advice = (
        "Claims are judged by the file system's clock alone and are safe. Deadlines are judged by "
        "this host's: set its clock right."
    )
    return Finding("clock", "warning", f"{seconds:+.1f} s against this host's", advice)


def judge_listing(fresh: bool) -> Finding:
    """Whether progress is seen."""
    if fresh:
        return Finding("listing", "ok", "shows a rename at once")
    told = "does not show a rename that was just done"
    advice = "Workers could not see what is left. Sow into another folder."
    return Finding("listing", "problem", told, advice)


def judge_sync(seconds: float) -> Finding:
    """What fsync costs."""
    told = f"works, and takes {seconds * 1000:.1f} ms"
    if seconds <= SLOW_SYNC:
        return Finding("fsync", "ok", told)
    advice = "Batches that compute for less than ten times as long are not synchronised."
    return Finding("fsync", "warning", told, advice)


def judge_appending(works: bool) -> Finding:
    """Whether results can be added to a file."""
    if works:
        return Finding("append", "ok", "works, also after the folder was renamed")
    advice = "Results would be torn. Sow into another folder."
    return Finding("append", "problem", "what was appended is not there", advice)


def judge_privacy(private: bool) -> Finding:
    """Whether others could put code where workers read it."""
    if private:
        return Finding("private", "ok", "files can be made for the user alone")
    advice = (
        "Workers refuse such a function file. If you trust all users here, set CROPFIT_TRUST=1."
    )
    return Finding("private", "problem", "permissions are not kept", advice)


_TRIALS: tuple[tuple[str, Callable[[str], Any], Callable[[Any], Finding]], ...] = (
    ("claims", probe.race, judge_race),
    ("fencing", probe.refuses_full, judge_refusal),
    ("heartbeat", probe.touch_moves, judge_touch),
    ("clock", probe.skew, judge_skew),
    ("listing", probe.lists_fresh, judge_listing),
    ("append", probe.appends, judge_appending),
    ("fsync", probe.sync_seconds, judge_sync),
    ("private", probe.is_private, judge_privacy),
)


# -- a crop ----------------------------------------------------------------------------


def examine_crop(root: str) -> list[Finding]:
    """Look at all that may be wrong with a crop; reads every grown batch once."""
    try:
        manifest = read_manifest(root)
    except (CropError, OSError) as error:
        advice = "Sow it again with the same arguments: results that are there are kept."
        return [Finding("manifest", "problem", str(error), advice)]
    ledger = Ledger(manifest.layout, Owner.here(), float(manifest.data["lease"]))
    return [_look(check, look, manifest, ledger) for check, look in _LOOKS]


def _look(check: str, look: Look, manifest: Manifest, ledger: Ledger) -> Finding:
    try:
        return look(manifest, ledger)
    except OSError as error:
        return Finding(check, "problem", f"{error.strerror or error} ({error.filename})")


def _versions(manifest: Manifest, ledger: Ledger) -> Finding:
    return judge_versions(manifest.data["provenance"])


def judge_versions(sower: dict[str, Any]) -> Finding:
    """Whether this Python may read what the sower's Python pickled."""
    packages = sower.get("packages", {})
    versions = (
        ("Python", sower.get("python"), platform.python_version(), 2),
        ("cloudpickle", packages.get("cloudpickle"), cloudpickle.__version__, 1),
        ("numpy", packages.get("numpy"), np.__version__, 1),
    )
    told = ", ".join(f"{name} {here}" for name, _, here, _ in versions)
    differ = [
        f"{name} {sown} sowed, {here} is here"
        for name, sown, here, parts in versions
        if sown and sown.split(".")[:parts] != here.split(".")[:parts]
    ]
    if not differ:
        return Finding("versions", "ok", f"{told}, as sown")
    advice = f"Grow with the sower's environment: {sower.get('executable', 'unknown')}"
    return Finding("versions", "warning", "; ".join(differ), advice)


def _function(manifest: Manifest, ledger: Ledger) -> Finding:
    name = manifest.data["function"]["name"]
    try:
        read_work(manifest.layout.function, manifest.data["provenance"])
    except (CropError, OSError) as error:
        return Finding("function", "problem", f"{name}: {error}")
    return Finding("function", "ok", f"{name} can be loaded")


def _space(manifest: Manifest, ledger: Ledger) -> Finding:
    """Room for what is not grown yet, judged by what is."""
    grown = ledger.numbers("grown")
    rest = manifest.num_batches - len(grown)
    some = grown[:: max(1, len(grown) // SAMPLE)]
    sizes = [
        os.path.getsize(path)
        for batch in some
        for path in record_files(manifest.layout.batch("grown", batch))
    ]
    each = sum(sizes) // len(sizes) if sizes else 0
    room = probe.room(manifest.layout.root)
    return replace(judge_room(room, rest * each + (1 << 20), rest + 10), check="space")


def _dead(manifest: Manifest, ledger: Ledger) -> Finding:
    held = ledger.held()
    dead = [each.claim for each in held if each.dead]
    if not dead:
        return Finding("workers", "ok", f"{len(held)} are alive, none is dead")
    told = f"{len(dead)} died in their batch (first: {dead[0].batch} of {dead[0].owner})"
    advice = f"Any worker takes these up; 'cropfit clean {manifest.name}' gives them back."
    return Finding("workers", "warning", told, advice)


def _torn(manifest: Manifest, ledger: Ledger) -> Finding:
    bad = check_bad(manifest, ledger, repair=False)
    if not bad:
        return Finding("results", "ok", "all that are there are whole")
    first, why = next(iter(bad.items()))
    told = f"{len(bad)} grown batches cannot be trusted (first: {first}: {why})"
    advice = f"'cropfit clean {manifest.name}' sows them again."
    return Finding("results", "problem", told, advice)


def _lost(manifest: Manifest, ledger: Ledger) -> Finding:
    last = manifest.sowings[-1]
    lost = lost_batches(ledger, range(1, last.first_batch + last.batches.num_batches))
    if not lost:
        return Finding("batches", "ok", f"all {manifest.num_batches} are there")
    told = f"{len(lost)} stand nowhere (first: {lost[:5]})"
    return Finding("batches", "problem", told, f"'cropfit clean {manifest.name}' sows them again.")


def _leftovers(manifest: Manifest, ledger: Ledger) -> Finding:
    root = manifest.layout.root
    left = [*abandoned(os.path.dirname(root), ledger.owner), *old_drafts(root, ledger)]
    if not left:
        return Finding("leftovers", "ok", "none")
    told = f"{len(left)} of processes that were killed (first: {left[0]})"
    return Finding("leftovers", "warning", told, f"'cropfit clean {manifest.name}' removes them.")


_LOOKS: tuple[tuple[str, Look], ...] = (
    ("versions", _versions),
    ("function", _function),
    ("space", _space),
    ("workers", _dead),
    ("results", _torn),
    ("batches", _lost),
    ("leftovers", _leftovers),
)
