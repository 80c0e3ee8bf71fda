"""The record file of a batch: results and failures, appended as they come.

    header │ results │ results │ failure │ ... │ footer, trailer

One writer appends to it, a whole frame in one write, so that a kill costs at
most what was not written yet. A file whose last frame is a footer is *sealed*:
nothing is missing in it. Whatever else stands there is read frame by frame.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cropfit.disk import frames
from cropfit.disk.codec import Chunk, decode_results
from cropfit.disk.frames import Part
from cropfit.disk.publish import check_own
from cropfit.errors import DamagedError, ForeignFileError

__all__ = ["RecordFile", "Records", "read_records", "read_summary"]

MOST_PARTS = min(os.sysconf("SC_IOV_MAX"), 1024)
LONGEST = 1 << 20  # bytes of a header or footer that a summary reads


class RecordFile:
    """Appends frames to a file that nobody else writes.

    Nothing is made on disk before the first frame: a header alone says nothing.

    Parameters
    ----------
    path : str
        A file that does not exist yet.
    header : mapping
        Whose file it is; written in front of the first frame.
    """

    def __init__(self, path: str, header: Mapping[str, Any]) -> None:
        self._path = path
        self._handle = -1
        self._size = 0
        self._torn = False
        self._header = frames.write_frame(frames.HEADER, frames.json_bytes(header))

    def append(self, kind: int, *parts: Part) -> None:
        """Write one frame.

        Raises
        ------
        OSError
            The disk is full or gone; the file ends with its last whole frame, and the
            same frame may be appended again.
        """
        self._write([*self._begin(), *frames.write_frame(kind, *parts)])

    def seal(self, footer: Mapping[str, Any], *, sync: bool) -> None:
        """Write the last frame and close the file.

        Parameters
        ----------
        footer : mapping
            What the file holds, for those who read no more than its end.
        sync : bool
            Whether it must survive a power cut from here on.

        Raises
        ------
        OSError
            From writing: the file is still open and not sealed. From syncing or closing,
            where some network disks tell only then that they are full: the file is closed,
            and nothing in it is to be trusted.
        """
        last = frames.write_frame(frames.FOOTER, frames.json_bytes(footer))
        begin = self._begin()
        at = self._size + sum(map(len, begin))
        self._write([*begin, *last, frames.pack_trailer(at)])
        try:
            if sync:
                os.fsync(self._handle)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; on some disks only this tells that they are full."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)

    def _begin(self) -> list[Part]:
        return [] if self._size else self._header

    def _write(self, parts: list[Part]) -> None:
        if self._handle < 0:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
            self._handle = os.open(self._path, flags, 0o600)
        if self._torn:
            self._cut()
        views = [memoryview(part) for part in parts if len(part)]
        total = sum(map(len, views))
        self._torn = True
        try:
            written = os.writev(self._handle, views[:MOST_PARTS])
            if written < total:
                self._write_rest(views, written)
            self._size += total
            self._torn = False
        finally:
            if self._torn:  # by Ctrl-C between two calls, too
                with contextlib.suppress(OSError):  # why the write failed matters more
                    self._cut()

    def _cut(self) -> None:
        """Take off what a failed write left; nothing may be appended behind it."""
        os.ftruncate(self._handle, self._size)
        self._torn = False

    def _write_rest(self, views: list[memoryview], written: int) -> None:
        """Go on after a short write, or with more parts than one call takes."""
        first = 0
        while first < len(views):
            if written >= len(views[first]):
                written -= len(views[first])
                first += 1
                continue
            views[first] = views[first][written:]
            written = os.writev(self._handle, views[first : first + MOST_PARTS])
            if written == 0:
                raise OSError(errno.EIO, "nothing was written", self._path)


@dataclass(eq=False)
class Records:
    """What a record file holds.

    Attributes
    ----------
    header : dict
        Whose file it is; empty if it cannot be read.
    chunks : list of Chunk
        Results, in the order in which they were written.
    errors : list of dict
        Failures, likewise.
    footer : dict or None
        The last frame of a sealed file.
    damage : str or None
        What is wrong; everything else is as it was written.
    """

    header: dict[str, Any] = field(default_factory=dict)
    chunks: list[Chunk] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    footer: dict[str, Any] | None = None
    damage: str | None = None

    @property
    def sealed(self) -> bool:
        """Whether the file is whole and finished."""
        return self.footer is not None and self.damage is None


def read_records(path: str, *, data: bool = True) -> Records:
    """Read all whole frames of a record file.

    Parameters
    ----------
    path : str
        The file.
    data : bool
        Look at the values, not only at which cases there are.

    Returns
    -------
    Records
        What was written, or less and `damage` telling so: never something else.
        Values are views of the bytes that were read.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        found = os.fstat(handle)
        content = _read_all(handle, found.st_size)
    finally:
        os.close(handle)
    damage: list[str] = []
    records = Records()
    foreign = _foreign(path, found)
    for kind, payload in frames.iter_frames(content, damage):
        try:
            _take_in(records, kind, payload, data, foreign)
        except DamagedError as error:
            damage.append(str(error))
    if not records.header and not damage:
        damage.append("the file is empty" if not content else "its header is missing")
    if records.footer is not None and not damage:
        damage += _check_footer(records, records.footer, content)
    records.damage = "; ".join(damage) or None
    return records


def _take_in(
    records: Records, kind: int, payload: memoryview, data: bool, foreign: str | None
) -> None:
    records.footer = None  # only the last frame can be one
    if kind == frames.RESULTS:
        records.chunks.append(decode_results(payload, data=data, foreign=foreign))
    elif kind == frames.ERROR:
        records.errors.append(frames.parse_json(payload))
    elif kind == frames.FOOTER:
        records.footer = frames.parse_json(payload)
    elif kind == frames.HEADER and not (records.header or records.chunks or records.errors):
        records.header = frames.parse_json(payload)
    else:
        raise DamagedError(f"a frame of kind {kind} does not belong there")


def _check_footer(
    records: Records, footer: dict[str, Any], content: bytes | bytearray
) -> list[str]:
    """Hold against the file what its end says of it."""
    if frames.read_trailer(content) is None:
        return ["the trailer is missing"]
    cases = sum(map(len, records.chunks))
    if footer.get("cases", cases) != cases:  # a case may stand there twice
        cases = len({offset for chunk in records.chunks for offset in chunk.offsets.tolist()})
    if footer.get("cases", cases) != cases:
        return [f"{footer['cases']} cases were written, {cases} are there"]
    return []


def _foreign(path: str, found: os.stat_result) -> str | None:
    try:
        check_own(path, found)
    except ForeignFileError as error:
        return str(error)
    return None


def _read_all(handle: int, size: int) -> bytes | bytearray:
    """The whole file in one piece, whatever number of bytes one call gives."""
    content = os.read(handle, size) if size else b""
    if not 0 < len(content) < size:
        return content
    whole = bytearray(size)  # beyond 2 GiB; never twice in memory
    done = len(content)
    whole[:done] = content
    del content
    with memoryview(whole) as view:
        while count := os.readv(handle, [view[done:]]):
            done += count
    return whole if done == size else whole[:done]


def read_summary(path: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Header and footer of a record file, without reading what lies between.

    Returns
    -------
    header, footer : dict or None
        None where it is not there or damaged.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(handle).st_size
        begin = os.pread(handle, 4096, 0)
        head = _frame(begin, frames.HEADER) or _frame(_longer(handle, begin), frames.HEADER)
        at = frames.read_trailer(
            os.pread(handle, frames.TRAILER_SIZE, max(0, size - frames.TRAILER_SIZE))
        )
        if at is None or not 0 < at < size or size - at > LONGEST:
            return head, None
        return head, _frame(os.pread(handle, size - at, at), frames.FOOTER)
    finally:
        os.close(handle)


def _longer(handle: int, begin: bytes) -> bytes:
    """The first frame where the first bytes are not all of it."""
    size = frames.frame_size(begin)
    return os.pread(handle, size, 0) if len(begin) < size <= LONGEST else b""


def _frame(content: bytes, kind: int) -> dict[str, Any] | None:
    found = frames.frame_at(memoryview(content), 0)
    if isinstance(found, str) or found[0] != kind:
        return None
    try:
        return frames.parse_json(found[1])
    except DamagedError:
        return None
