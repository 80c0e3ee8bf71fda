"""The record file of a batch: results and failures, appended as they come.

    header │ results │ results │ failure │ ... │ footer, trailer

One writer appends to it, a whole frame in one write, so that a kill costs at
most what was not written yet. A file whose last frame is a footer is *sealed*:
nothing is missing in it. Whatever else stands there is read frame by frame.
"""

from __future__ import annotations

import contextlib
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
        self._waiting = frames.write_frame(frames.HEADER, frames.json_bytes(header))

    def append(self, kind: int, *parts: Part) -> None:
        """Write one frame.

        Raises
        ------
        OSError
            The disk is full or gone; the file ends with its last whole frame.
        """
        self._write([*self._waiting, *frames.write_frame(kind, *parts)])
        self._waiting = []

    def seal(self, footer: Mapping[str, Any], *, sync: bool) -> None:
        """Write the last frame and close the file.

        Parameters
        ----------
        footer : mapping
            What the file holds, for those who read no more than its end.
        sync : bool
            Whether it must survive a power cut from here on.
        """
        last = frames.write_frame(frames.FOOTER, frames.json_bytes(footer))
        at = self._size + sum(map(len, self._waiting))
        self._write([*self._waiting, *last, frames.pack_trailer(at)])
        if sync:
            os.fsync(self._handle)
        self.close()

    def close(self) -> None:
        """Close the file; on some disks only this tells that they are full."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)

    def _write(self, parts: list[Part]) -> None:
        if self._handle < 0:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
            self._handle = os.open(self._path, flags, 0o600)
        views = [memoryview(part) for part in parts if len(part)]
        total = sum(map(len, views))
        try:
            written = os.writev(self._handle, views[:MOST_PARTS])
            if written < total:
                self._write_rest(views, written)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise
        self._size += total

    def _write_rest(self, views: list[memoryview], written: int) -> None:
        """Go on after a short write, or with more parts than one call takes."""
        while views:
            if written >= len(views[0]):
                written -= len(views.pop(0))
                continue
            views[0] = views[0][written:]
            written = os.writev(self._handle, views[:MOST_PARTS])


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
        content = _read_all(handle)
    finally:
        os.close(handle)
    damage: list[str] = []
    records = Records()
    foreign = _foreign(path)
    for kind, payload in frames.iter_frames(content, damage):
        try:
            _take_in(records, kind, payload, data, foreign)
        except DamagedError as error:
            damage.append(str(error))
    if not records.header and not damage:
        damage.append("the file is empty" if not content else "its header is missing")
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
    elif kind == frames.HEADER:
        records.header = frames.parse_json(payload)
    else:
        raise DamagedError(f"a frame of kind {kind} is not known")


def _foreign(path: str) -> str | None:
    try:
        check_own(path)
    except ForeignFileError as error:
        return str(error)
    return None


def _read_all(handle: int) -> bytes:
    """The whole file in one piece, whatever number of bytes one call gives."""
    size = os.fstat(handle).st_size
    content = os.read(handle, size) if size else b""
    if len(content) < size:
        pieces = [content]
        while piece := os.read(handle, size):
            pieces.append(piece)
        content = b"".join(pieces)
    return content


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
        head = _frame(os.pread(handle, 4096, 0), frames.HEADER)
        at = frames.read_trailer(
            os.pread(handle, frames.TRAILER_SIZE, max(0, size - frames.TRAILER_SIZE))
        )
        if at is None or not 0 < at < size or size - at > 1 << 20:
            return head, None
        return head, _frame(os.pread(handle, size - at, at), frames.FOOTER)
    finally:
        os.close(handle)


def _frame(content: bytes, kind: int) -> dict[str, Any] | None:
    found = frames.frame_at(memoryview(content), 0)
    if isinstance(found, str) or found[0] != kind:
        return None
    try:
        return frames.parse_json(found[1])
    except DamagedError:
        return None
