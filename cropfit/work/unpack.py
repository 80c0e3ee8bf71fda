"""What becomes of a packed crop: it is laid out and grown elsewhere, and merged at home.

tar ──lay out──▶ a crop's folder ──grow──▶ repack ──▶ the same tar     elsewhere
tar ──unpack──▶ claim ─▶ check ─▶ publish, a batch at a time           at home
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cropfit.disk.layout import CHECKPOINT, Layout
from cropfit.disk.ledger import Claim, Ledger
from cropfit.disk.manifest import Manifest, read_json, read_manifest
from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT, discard
from cropfit.errors import CropError, DamagedError, ExistsError
from cropfit.work.beds import make_states
from cropfit.work.care import errors_of
from cropfit.work.pack import Parcel, opened, pack, read_member
from cropfit.work.parcel import Files, bring_home, settled, write_files
from cropfit.work.report import GrowReport
from cropfit.work.results import read_batch, read_partial

USERS = "users"
GROWING = ".growing"  # ends the name of the folder in which a tar is grown


# -- elsewhere -------------------------------------------------------------------------


def lay_out(path: str, parent: str) -> str:
    """Make a crop's folder of a packed one, whole or not at all.

    Parameters
    ----------
    path : str
        The tar file.
    parent : str
        Where to.

    Returns
    -------
    str
        The folder; one that stands there already is taken if it is of the same crop.

    Raises
    ------
    ExistsError
        Another crop of that name stands there.
    """
    with opened(path) as (parcel, tar):
        root = f"{parent}/{parcel.folder}"
        if _is_same(root, parcel):
            return root
        draft = f"{parent}/.{os.path.basename(path)}.{Owner.here()}{DRAFT}"
        try:
            _extract(parcel, tar, draft)
            os.rename(draft, root)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            if _is_same(root, parcel):
                return root  # another process was faster
            raise
    return root


def _is_same(root: str, parcel: Parcel) -> bool:
    if not os.path.lexists(root):
        return False
    if read_json(root)["id"] != parcel.data["id"]:
        raise ExistsError(f"{root} is another crop than that in {parcel.path}; unpack elsewhere.")
    return True


def _extract(parcel: Parcel, tar: tarfile.TarFile, draft: str) -> None:
    """Write the members under names of our own making, private to the user."""
    layout = Layout(draft, sharded=parcel.data["sharded"])
    os.mkdir(draft, 0o700)
    make_states(layout)
    for name, member in parcel.members.items():
        if not member.isdir() and "/" not in name:
            _write(f"{draft}/{name}", read_member(tar, member))
    for batch, (state, files) in parcel.batches.items():
        folder = layout.batch(state, batch)
        os.makedirs(folder, mode=0o700)
        write_files(folder, {name: read_member(tar, each) for name, each in files.items()})


def _write(path: str, data: bytes) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


@contextmanager
def laid_out(path: str) -> Iterator[str]:
    """A packed crop as a folder beside its tar, packed again in the end.

    The tar is replaced in one step by one with all that was grown. Where several grow it at
    once, the last one does so; what a killed process left is taken up by the next.
    """
    place, owner = f"{path}{GROWING}", Owner.here()
    with _alone(path):
        os.makedirs(f"{place}/{USERS}", mode=0o700, exist_ok=True)
        try:
            root = lay_out(path, place)
        except BaseException:
            with suppress(OSError):
                os.rmdir(f"{place}/{USERS}")
                os.rmdir(place)
            raise
        _write(f"{place}/{USERS}/{owner}", b"")
    try:
        yield root
    finally:
        with _alone(path):
            os.unlink(f"{place}/{USERS}/{owner}")
            _repack(path, place, root)


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Hold the tar, so that nobody comes while another packs; no longer than we live."""
    while True:
        with open(path, "rb") as file:
            with suppress(OSError):  # a disk without locks: then one at a time must do
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                yield
                return


def _repack(path: str, place: str, root: str) -> None:
    manifest = read_manifest(root)
    ledger = Ledger(manifest.layout, Owner.here(), float(manifest.data["lease"]))
    for held in ledger.held():
        if held.dead and (mine := ledger.take_over(held.claim)):
            ledger.release(mine)
    users = map(Owner.parse, os.listdir(f"{place}/{USERS}"))
    if not ledger.claims() and not any(user.is_alive() for user in users if user):
        pack(manifest, ledger, None, path, replace=True)
        discard(place, str(ledger.owner))


# -- at home ---------------------------------------------------------------------------


def unpack(manifest: Manifest, ledger: Ledger, path: str) -> GrowReport:
    """Merge what was grown in a packed part of this crop.

    Parameters
    ----------
    manifest, ledger
        The crop at home.
    path : str
        The tar file.

    Returns
    -------
    GrowReport
        Batches that are grown or failed now by what was unpacked, and what was left out.

    Raises
    ------
    DamagedError
        The tar is torn or hostile, or of another crop or design. Nothing was written.
    ForeignFileError
        It is somebody else's.
    """
    report = GrowReport()
    with opened(path) as (parcel, tar):
        _check_design(manifest, parcel)
        aside = f"{os.path.dirname(ledger.layout.root)}/.unpack.{ledger.owner}{DRAFT}"
        for batch in sorted(parcel.batches):
            state, members = parcel.batches[batch]
            files = {name: read_member(tar, member) for name, member in members.items()}
            try:
                _merge(manifest, ledger, batch, state, files, aside, report)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return report


def _check_design(manifest: Manifest, parcel: Parcel) -> None:
    ours, theirs = manifest.data, parcel.data
    designs = [[entry["design"] for entry in data["sowings"]] for data in (ours, theirs)]
    if ours["id"] != theirs["id"] or designs[0][: len(designs[1])] != designs[1]:
        raise DamagedError(
            f"{parcel.path} is refused: it was packed from another crop or design than "
            f"{manifest.layout.root} (sown as {theirs['id']}, this is {ours['id']}). Nothing was "
            "written."
        )
    for batch in parcel.batches:
        manifest.sowing_of(batch)


def _merge(
    manifest: Manifest,
    ledger: Ledger,
    batch: int,
    state: str,
    files: Files,
    aside: str,
    report: GrowReport,
) -> None:
    """Take in one batch, if there is anything new in it."""
    where = ledger.where(batch)
    if where == "grown":
        return
    os.mkdir(aside, 0o700)
    write_files(aside, files)
    if state != "sown" and isinstance(why := read_batch(manifest, batch, aside), str):
        report.notes.append(f"Batch {batch} of the tar is left out: {why.rpartition(': ')[2]}.")
        return
    if where in ("sown", "failed", "ignored"):
        if not _has_news(manifest, batch, aside, ledger.layout.batch(where, batch)):
            if where == "ignored":
                ledger.shift(batch, "ignored", "sown")  # it was held until now
            return
        claim = ledger.claim(batch, where)
    else:
        claim = _from_the_dead(ledger, batch)
    if claim is None:
        report.notes.append(f"Batch {batch} is growing here; unpack again when that has ended.")
        return
    _take_in(manifest, ledger, claim, files, report)


def _has_news(manifest: Manifest, batch: int, aside: str, folder: str) -> bool:
    """Whether the tar has results, failures or checkpoints that are not here."""
    done, failed = settled(read_partial(manifest, batch, aside))
    here = settled(read_partial(manifest, batch, folder))
    if done - here[0] or failed - here[0] - here[1]:
        return True
    unfinished = len(done | failed) < manifest.size_of(batch)
    return unfinished and os.path.isdir(f"{aside}/{CHECKPOINT}")


def _from_the_dead(ledger: Ledger, batch: int) -> Claim | None:
    for held in ledger.held():
        if held.claim.batch == batch and held.dead:
            return ledger.take_over(held.claim)
    return None


def _take_in(
    manifest: Manifest, ledger: Ledger, claim: Claim, files: Files, report: GrowReport
) -> None:
    try:
        state = bring_home(manifest, ledger, claim, files)
    except (DamagedError, OSError) as error:
        ledger.release(claim)
        if isinstance(error, OSError):
            raise CropError(
                f"{manifest.layout.root}: batch {claim.batch} cannot be unpacked "
                f"({error.strerror or error}). What was unpacked before is kept; when this is put "
                "right, unpack again."
            ) from error
        report.notes.append(f"{error}")
        return
    if state == "grown":
        report.grown.append(claim.batch)
    elif state == "failed":
        report.failed.append(claim.batch)
        report.failures += errors_of(manifest, claim.batch)
