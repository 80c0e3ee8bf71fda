"""Some batches of a crop, with all that growing them takes, away from its folder.

    home ──kit, objects, batches──▶ a small crop elsewhere ──grow──▶ record files ──▶ home

The *kit* is what all batches share: what was sown, and the function. What comes home is
believed no more than a file that a worker on this disk left: design, batch and checksums
must match, and it is published under the claim of whoever received it, by the same fences.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from cropfit.disk.layout import CHECKPOINT, CROP_JSON, DEATH, ERRORS, FUNCTION, RESULTS, Layout
from cropfit.disk.ledger import Claim, Ledger
from cropfit.disk.manifest import Manifest
from cropfit.disk.publish import write_whole
from cropfit.disk.records import Records, read_records
from cropfit.errors import DamagedError
from cropfit.work.results import read_partial

SYNC_FROM = 0.05  # seconds of computing that are worth an fsync
_INSIDE = re.compile(
    rf"(?:{re.escape(RESULTS)}|{re.escape(DEATH)})[A-Za-z0-9+-]+"
    rf"|{re.escape(ERRORS)}|log\.txt|{CHECKPOINT}/[0-9]+(?:/[^/\0]+)+"
)

Files = Mapping[str, bytes]


def is_batch_file(name: str) -> bool:
    """Whether a batch's folder may hold a file of this name, relative to it."""
    return bool(_INSIDE.fullmatch(name)) and not {".", ".."} & set(name.split("/"))


# -- what goes out ---------------------------------------------------------------------


def kit_names(manifest: Manifest) -> list[str]:
    """Files that every batch needs, relative to the crop's folder; objects come by themselves."""
    sowings = enumerate(manifest.data["sowings"], start=1)
    cases = [manifest.layout.cases(number) for number, entry in sowings if entry["arrays"]]
    return [CROP_JSON, FUNCTION, *map(os.path.basename, cases)]


def objects_needed(manifest: Manifest, batches: Iterable[int]) -> dict[int, dict[str, set[int]]]:
    """Positions of the objects that batches take: sowing (from 0) → axis → positions."""
    needed: dict[int, dict[str, set[int]]] = {}
    for batch in batches:
        sowing = manifest.sowing_of(batch)
        if not manifest.ends[sowing]:
            continue
        sown, flat = manifest.cases_of(batch)
        at = sown.grid.positions(flat)
        axes = needed.setdefault(sowing, {})
        for name in manifest.ends[sowing]:
            axes.setdefault(name, set()).update(np.unique(at[name]).tolist())
    return needed


def read_objects(manifest: Manifest, batch: int) -> Iterator[tuple[int, int, bytes]]:
    """The objects that a batch takes as they stand on disk: sowing (from 1), place, bytes."""
    for sowing, axes in objects_needed(manifest, [batch]).items():
        with open(manifest.layout.objects(sowing + 1), "rb") as file:
            for name, positions in axes.items():
                ends = manifest.ends[sowing][name].tolist()
                for position in sorted(positions):
                    file.seek(ends[position])
                    data = file.read(ends[position + 1] - ends[position])
                    yield sowing + 1, ends[position], data


def files_in(folder: str) -> list[str]:
    """All files of a batch that may travel, relative to its folder."""
    found = []
    for place, _, names in os.walk(folder):
        found += [os.path.relpath(f"{place}/{name}", folder) for name in names]
    return sorted(filter(is_batch_file, found))


def read_files(folder: str) -> dict[str, bytes]:
    """The same with their content."""
    found = {}
    for name in files_in(folder):
        with open(f"{folder}/{name}", "rb") as file:
            found[name] = file.read()
    return found


def write_files(folder: str, files: Files) -> None:
    """Write files of a batch into its folder; those that are there already stay."""
    for name, data in files.items():
        if not is_batch_file(name):
            raise DamagedError(f"{name!r} is no file of a batch.")
        path = f"{folder}/{name}"
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError), open(path, "xb") as file:
            file.write(data)


# -- what comes home -------------------------------------------------------------------


def bring_home(manifest: Manifest, ledger: Ledger, claim: Claim, files: Files) -> str | None:
    """Put what was grown elsewhere into a claimed batch, and publish the batch.

    Parameters
    ----------
    manifest, ledger
        The crop.
    claim : Claim
        The batch in hand; it is not any more when this returns.
    files : mapping
        Content of the batch's folder elsewhere.

    Returns
    -------
    str or None
        The state that the batch is in now; None if it was taken over meanwhile.

    Raises
    ------
    DamagedError
        They are not results of this batch and design. The claim still stands, as it was.
    OSError
        The disk refused; the claim still stands.
    """
    former = os.listdir(claim.path)
    ours = _write_records(manifest, claim, files)
    state, seconds = _state_of(manifest, claim, ours)
    if seconds > SYNC_FROM:
        for name in ours:
            _sync(f"{claim.path}/{name}")
    if any(name.startswith(CHECKPOINT) for name in files):
        _remove(f"{claim.path}/{CHECKPOINT}")  # those that came home go on from it
    write_files(claim.path, {n: d for n, d in files.items() if _stays(n, state)})
    if state in ("grown", "failed"):
        for name in former:
            if not (state == "failed" and name in (CHECKPOINT, ERRORS)):
                _remove(f"{claim.path}/{name}")
    publish = {"grown": ledger.finish, "failed": ledger.fail, "sown": ledger.release}[state]
    return state if publish(claim) else None


def _stays(name: str, state: str) -> bool:
    """Whether a file other than records is kept for a batch in `state`."""
    if name == ERRORS:
        return state == "failed"
    return name == "log.txt" or (name.startswith(f"{CHECKPOINT}/") and state != "grown")


def _write_records(manifest: Manifest, claim: Claim, files: Files) -> list[str]:
    """Write the record files under names of our own; those that are of something else go."""
    ours: list[str] = []
    wanted = manifest.design(claim.batch), claim.batch
    there = [name for name in os.listdir(claim.path) if name.startswith(RESULTS)]
    name = f"{RESULTS}{claim.owner.token}"
    for source in sorted(name for name in files if name.startswith(RESULTS)):
        while name in there or name in ours:
            name += "+"
        path = f"{claim.path}/{name}"
        write_whole(path, files[source], str(claim.owner))
        ours.append(name)
        header = read_records(path, data=False).header
        if (header.get("design"), header.get("batch")) != wanted:
            for each in ours:
                os.unlink(f"{claim.path}/{each}")
            raise DamagedError(
                f"batch {claim.batch}: {source} is torn, or belongs to batch "
                f"{header.get('batch')} of another design; nothing of it is used."
            )
    return ours


def _state_of(manifest: Manifest, claim: Claim, ours: Iterable[str]) -> tuple[str, float]:
    """Which state the files that came home stand for, and what computing them took."""
    size = manifest.size_of(claim.batch)
    for name in ours:
        records = read_records(f"{claim.path}/{name}", data=False)
        if not records.sealed or records.footer is None:
            continue
        done, failed = settled(records)
        if len(done) == size:
            return "grown", float(records.footer["seconds"])
        if len(done | failed) == size:
            here = settled(read_partial(manifest, claim.batch, claim.path))[0]
            # What was grown here meanwhile is kept: the next worker puts both together.
            return "failed" if here <= done else "sown", float(records.footer["seconds"])
    return "sown", 0.0


def settled(records: Records) -> tuple[set[int], set[int]]:
    """Offsets of the cases that have a result, and of those that failed for good."""
    done = {offset for chunk in records.chunks for offset in chunk.offsets.tolist()}
    return done, {error["offset"] for error in records.errors if error["final"]} - done


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


def write_object(layout: Layout, sowing: int, place: int, data: bytes) -> None:
    """Put an object where the crop's arrays say that it is; the file is mostly holes."""
    handle = os.open(layout.objects(sowing), os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        view = memoryview(data)
        while view:
            written = os.pwrite(handle, view, place)
            place, view = place + written, view[written:]
    finally:
        os.close(handle)
