"""Batches in one tar file, for machines that share nothing with this one.

    home ──pack──▶ tar ──carry──▶ lay out ──grow──▶ repack ──carry──▶ unpack ──▶ home

A tar holds a small crop: its folder with the batches in question, the function, and the
objects that they take. So it may be grown by hand, too: ``tar xf`` and ``cropfit grow``.
Packing moves nothing. A batch that is grown here and there is worth the time of one only:
whichever comes second finds it grown. With `hold` it waits in ``ignored/`` for the tar.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.batching import batch_numbers
from cropfit.disk.layout import CROP_JSON, PARCEL, PREFIX, STATES, Layout, check_name, name_of
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import ENDS, Manifest, parse_json
from cropfit.disk.publish import DRAFT, check_own, sync_folder
from cropfit.errors import CropError, DamagedError, DesignError, ExistsError, NotFoundError
from cropfit.work.parcel import files_in, is_batch_file, kit_names, objects_needed

PACKED = ("sown", "grown", "failed")
_FILES = re.compile(r"crop\.json|parcel\.json|function\.pkl|cases-[0-9]+\.npz|objects-[0-9]+\.bin")
_BATCH = re.compile(r"(sown|grown|failed)/(?:[0-9]{3,}/)?([0-9]{6,})(?:/(.+))?")
_FOLDER = re.compile(rf"(?:{'|'.join(STATES)})(?:/[0-9]{{3,}})?")


# -- packing ---------------------------------------------------------------------------


def pack(
    manifest: Manifest,
    ledger: Ledger,
    batches: int | Iterable[int] | None,
    path: str,
    *,
    hold: bool = False,
    replace: bool = False,
) -> list[int]:
    """Write batches with all that growing them takes into a tar file.

    Parameters
    ----------
    manifest, ledger
        The crop.
    batches : int or list of int, optional
        Which; by default what is sown, or in a part that was packed before, all.
    path : str
        The tar file; it appears whole or not at all.
    hold : bool
        Set them aside here until the tar comes back.
    replace : bool
        Whether a file that stands there may be replaced.

    Returns
    -------
    list of int
        The batches that are in it.

    Raises
    ------
    NotFoundError
        There is none to pack, or one named is not sown and has not failed.
    ExistsError
        There is such a file.
    """
    if os.path.lexists(path) and not replace:
        raise ExistsError(f"{path} is there already; name another file with path= (-o).")
    part = os.path.exists(manifest.layout.parcel)
    if part and hold:
        raise DesignError("hold= is for the crop at home; this is a part of it.")
    wanted = _choose(ledger, batches, PACKED if part else ("sown", "failed"), part)
    if hold:
        wanted = {b: "ignored" for b, s in wanted.items() if ledger.shift(b, s, "ignored")}
    try:
        return _write(manifest, ledger, wanted, path, part)
    except BaseException:
        for batch in wanted if hold else ():
            ledger.shift(batch, "ignored", "sown")
        raise


def _choose(
    ledger: Ledger, batches: int | Iterable[int] | None, states: tuple[str, ...], part: bool
) -> dict[int, str]:
    there = {number: state for state in states for number in ledger.numbers(state)}
    if batches is None:
        chosen = [number for number, state in there.items() if part or state == "sown"]
    else:
        chosen = batch_numbers(batches)
    absent = sorted(set(chosen) - there.keys())
    if absent or not chosen:
        raise NotFoundError(
            f"{ledger.layout.root}: nothing was packed. "
            + (
                f"{len(absent)} of the batches named are not in {' or '.join(states)} "
                f"(first: {absent[:5]})."
                if absent
                else "No batch is left to be grown."
            )
        )
    return {number: there[number] for number in sorted(chosen)}


def _write(
    manifest: Manifest, ledger: Ledger, wanted: dict[int, str], path: str, part: bool
) -> list[int]:
    draft = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{ledger.owner}{DRAFT}"
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    packed = []
    try:
        with os.fdopen(handle, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                writer = _Writer(tar, manifest)
                writer.add_kit(list(wanted))
                for batch, state in wanted.items():
                    if writer.add_batch(batch, state, state if part else "sown"):
                        packed.append(batch)
                writer.add_bytes(PARCEL, _describe(manifest, packed))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        sync_folder(os.path.dirname(path))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    return packed


def _describe(manifest: Manifest, batches: list[int]) -> bytes:
    told = {"crop": manifest.data["id"], "name": manifest.name, "batches": batches}
    return json.dumps(told).encode() + b"\n"


class _Writer:
    """Adds the parts of a crop to a tar, below the crop's folder."""

    def __init__(self, tar: tarfile.TarFile, manifest: Manifest) -> None:
        self._tar = tar
        self._manifest = manifest
        self._root = manifest.layout.root
        self._top = f"{PREFIX}{manifest.name}"

    def add_bytes(self, name: str, data: bytes) -> None:
        self._add(name, len(data), io.BytesIO(data))

    def add_folder(self, name: str) -> None:
        info = tarfile.TarInfo(f"{self._top}/{name}".rstrip("/"))
        info.type, info.mode = tarfile.DIRTYPE, 0o700
        self._tar.addfile(info)

    def add_kit(self, batches: list[int]) -> None:
        """What all batches share, and the objects that these take."""
        for name in ("", *STATES):
            self.add_folder(name)
        needed = objects_needed(self._manifest, batches)
        for name in kit_names(self._manifest):
            with open(f"{self._root}/{name}", "rb") as file:
                data = file.read()
            sowing = int(name[6:-4]) - 1 if name.endswith(".npz") else -1
            if sowing in needed:
                data, pieces = self._thin(sowing, needed[sowing], data)
                objects = self._manifest.layout.objects(sowing + 1)
                size = sum(end - start for start, end in pieces)
                self._add(os.path.basename(objects), size, _Pieces(objects, pieces))
            self.add_bytes(name, data)

    def add_batch(self, batch: int, source: str, state: str) -> bool:
        """All files of a batch; False if it is not there any more."""
        layout = self._manifest.layout
        folder = layout.batch(source, batch)
        name = layout.batch(state, batch)[len(self._root) + 1 :]
        try:
            files = []
            for each in files_in(folder):
                with open(f"{folder}/{each}", "rb") as file:
                    files.append((f"{name}/{each}", file.read()))
            os.listdir(folder)
        except FileNotFoundError:
            return False
        self.add_folder(name)
        for each, data in files:
            self.add_bytes(each, data)
        return True

    def _thin(
        self, sowing: int, needed: dict[str, set[int]], data: bytes
    ) -> tuple[bytes, list[tuple[int, int]]]:
        """The arrays of a sowing for an objects' file that holds no more than is needed."""
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        pieces: list[tuple[int, int]] = []
        size = 0
        for name, ends in self._manifest.ends[sowing].items():
            sizes: NDArray[np.int64] = np.diff(ends)
            keep = np.zeros(len(sizes), bool)
            keep[sorted(needed[name])] = True
            begins, lasts = ends[:-1][keep].tolist(), ends[1:][keep].tolist()
            pieces += zip(begins, lasts, strict=True)
            moved = size + np.concatenate([[0], np.cumsum(np.where(keep, sizes, 0))])
            arrays[name + ENDS], size = moved.astype(np.int64), int(moved[-1])
        thin = io.BytesIO()
        np.savez(thin, allow_pickle=False, **arrays)
        return thin.getvalue(), pieces

    def _add(self, name: str, size: int, file: Any) -> None:
        info = tarfile.TarInfo(f"{self._top}/{name}")
        info.size, info.mode = size, 0o600
        self._tar.addfile(info, file)


class _Pieces:
    """Pieces of a file, read as if they were one."""

    def __init__(self, path: str, pieces: list[tuple[int, int]]) -> None:
        self._parts = _read_pieces(path, pieces)
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (part := next(self._parts, None)) is not None:
            self._rest += part
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _read_pieces(path: str, pieces: list[tuple[int, int]]) -> Iterator[bytes]:
    with open(path, "rb") as file:
        for start, end in pieces:
            file.seek(start)
            yield file.read(end - start)


# -- reading, and trusting nothing -----------------------------------------------------


@dataclass(frozen=True)
class Parcel:
    """A tar file that was looked through from end to end; nothing of it is on disk yet.

    Parameters
    ----------
    path : str
        The tar file.
    name : str
        The crop's name.
    data : dict
        Its ``crop.json``.
    members : dict
        Name below the crop's folder → member.
    batches : dict
        Batch → its state and its files (name in its folder → member).
    """

    path: str
    name: str
    data: dict[str, Any]
    members: dict[str, tarfile.TarInfo]
    batches: dict[int, tuple[str, dict[str, tarfile.TarInfo]]]

    @property
    def folder(self) -> str:
        """Name of the crop's folder."""
        return f"{PREFIX}{self.name}"


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[Parcel, tarfile.TarFile]]:
    """A packed crop, with its tar to read from.

    Raises
    ------
    NotFoundError
        There is no such file.
    ForeignFileError
        It is somebody else's.
    DamagedError
        It is torn, or holds what `pack` never writes: a link, a device, a path that leads
        out of the crop's folder, a name twice.
    """
    if not os.path.isfile(path):
        raise NotFoundError(f"There is no file {path}.")
    check_own(path)
    try:
        with tarfile.open(path, "r:") as tar:
            yield _look_through(path, tar), tar
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise DamagedError(f"{path} is torn or no tar file: {error}.") from error


def _look_through(path: str, tar: tarfile.TarFile) -> Parcel:
    members: dict[str, tarfile.TarInfo] = {}
    batches: dict[int, tuple[str, dict[str, tarfile.TarInfo]]] = {}
    tops, size = set(), os.path.getsize(path)
    for member in tar:
        top, _, name = member.name.partition("/")
        tops.add(top)
        plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
        if not (plain or member.isdir()) or name in members or not _is_ours(name, member):
            raise _refusal(path, f"it holds {member.name!r}, which is no part of a packed crop")
        if member.offset_data + member.size > size:
            raise _refusal(path, "it is torn off")
        members[name] = member
        if found := _BATCH.fullmatch(name):
            state, number, inner = found[1], int(found[2]), found[3]
            there = batches.setdefault(number, (state, {}))
            if there[0] != state:
                raise _refusal(path, f"batch {number} is in it twice")
            if inner and not member.isdir():
                there[1][inner] = member
    if len(tops) != 1 or CROP_JSON not in members:
        raise _refusal(path, "it has no crop.json, or parts of several crops")
    (top,) = tops
    if not top.startswith(PREFIX):
        raise _refusal(path, f"{top!r} is no crop's folder")
    if PARCEL not in members or _listed(tar, members[PARCEL]) != sorted(batches):
        raise _refusal(path, "it is torn off: the list of its batches is not at its end")
    data = parse_json(read_member(tar, members[CROP_JSON]), f"{path}:{CROP_JSON}")
    layout = Layout(top, sharded=data["sharded"])
    for number, (state, _) in batches.items():
        if layout.batch(state, number)[len(top) + 1 :] not in members:
            raise _refusal(path, f"batch {number} stands where no batch stands")
    return Parcel(path, check_name(name_of(top)), data, members, batches)


def _listed(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    try:
        return json.loads(read_member(tar, member))["batches"]
    except (ValueError, TypeError, KeyError):
        return None


def _is_ours(name: str, member: tarfile.TarInfo) -> bool:
    if found := _BATCH.fullmatch(name):
        inner = found[3]
        if member.isdir():
            return inner is None
        return bool(inner) and is_batch_file(inner)
    if member.isdir():
        return not name or bool(_FOLDER.fullmatch(name))
    return bool(_FILES.fullmatch(name))


def _refusal(path: str, why: str) -> CropError:
    return DamagedError(f"{path} is refused: {why}. Nothing was written.")


def read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """All bytes of a member."""
    file = tar.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise DamagedError(f"{member.name} is torn in its tar file.")
    return data
