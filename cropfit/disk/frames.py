"""A file is a run of frames, each checked by itself.

    ┌──────────── 20 bytes ────────────┐
    │ CRF1 │ kind │ 000 │ crc │ length │ payload … │ zeros up to a multiple of 16 │ next frame …
    └──────────────────────────────────┘
    a file that is finished ends with a trailer: where its last frame begins (8 bytes), CRFE

The checksum covers kind, length and payload. What a kill, a full disk or a flipped bit leaves
is found here and told, frame by frame: a frame is returned as it was written, or not at all.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from cropfit.errors import DamagedError

__all__ = [
    "ALIGN",
    "ERROR",
    "FOOTER",
    "FORMAT",
    "HEADER",
    "HEAD_SIZE",
    "RESULTS",
    "TRAILER_SIZE",
    "Part",
    "frame_at",
    "frame_size",
    "iter_frames",
    "json_bytes",
    "pack_trailer",
    "parse_json",
    "read_trailer",
    "write_frame",
]

Part: TypeAlias = bytes | bytearray | memoryview
"""Bytes to be written; a memoryview must be of single bytes."""

FORMAT = 1
HEADER, RESULTS, ERROR, FOOTER = 1, 2, 3, 4
ALIGN = 16
"""Frames begin at multiples of this, which suits every numpy dtype."""

_MAGIC = b"CRF1"
_END = b"CRFE"
_HEAD = struct.Struct("<4sB3sIQ")
_CHECKED = struct.Struct("<BQ")
_TRAILER = struct.Struct("<Q4s")
_NOTHING = bytes(3)
_ZEROS = tuple(bytes(-n % ALIGN) for n in range(ALIGN))
_BEGIN = re.compile(re.escape(_MAGIC))
_DECODE = json.JSONDecoder().decode  # `json.loads` guesses the encoding first

HEAD_SIZE = _HEAD.size
TRAILER_SIZE = _TRAILER.size


def write_frame(kind: int, *parts: Part) -> list[Part]:
    """Wrap a payload as one frame, ready for ``os.writev``.

    Parameters
    ----------
    kind : int
        What the payload is, 0 to 255.
    *parts : bytes-like
        The payload in pieces. They are not copied: write them before they change.

    Returns
    -------
    list of bytes-like
        Head, `parts`, padding; their total is a multiple of `ALIGN`.
    """
    length = 0
    for part in parts:
        length += len(part)
    crc = zlib.crc32(_CHECKED.pack(kind, length))
    for part in parts:
        crc = zlib.crc32(part, crc)
    return [
        _HEAD.pack(_MAGIC, kind, _NOTHING, crc, length),
        *parts,
        _ZEROS[(HEAD_SIZE + length) % ALIGN],
    ]


def pack_trailer(footer: int) -> bytes:
    """Bytes that end a finished file and say where its last frame begins."""
    return _TRAILER.pack(footer, _END)


def read_trailer(tail: bytes | bytearray | memoryview) -> int | None:
    """Where the last frame begins, from the end of a file; None if there is no trailer."""
    if len(tail) < TRAILER_SIZE:
        return None
    footer, magic = _TRAILER.unpack(tail[-TRAILER_SIZE:])
    return int(footer) if magic == _END else None


def frame_size(begin: bytes) -> int:
    """Count the bytes of a frame, padding aside, from its head; 0 if none begins here."""
    if len(begin) < HEAD_SIZE or not begin.startswith(_MAGIC):
        return 0
    return HEAD_SIZE + int(_HEAD.unpack_from(begin)[4])


def frame_at(view: memoryview, start: int) -> tuple[int, memoryview, int] | str:
    """Check the frame that begins at `start`.

    Returns
    -------
    tuple or str
        Kind, payload (a view) and where the next frame begins; or what is wrong here.
    """
    size = len(view)
    if size - start < HEAD_SIZE:
        return "the file is torn off inside a frame's head"
    magic, kind, nothing, crc, length = _HEAD.unpack_from(view, start)
    if magic != _MAGIC or nothing != _NOTHING:
        return _no_head(magic)
    begin = start + HEAD_SIZE
    end = begin + length
    if end > size:
        return f"the file is torn off: {length} bytes were announced, {size - begin} are there"
    payload = view[begin:end]
    if zlib.crc32(payload, zlib.crc32(_CHECKED.pack(kind, length))) != crc:
        return f"the checksum of a frame of kind {kind} does not match"
    return kind, payload, end + -end % ALIGN


def iter_frames(
    buffer: bytes | bytearray | memoryview, damage: list[str] | None = None
) -> Iterator[tuple[int, memoryview]]:
    """Go through the whole frames of a file that was read.

    Parameters
    ----------
    buffer : bytes-like
        The file from its first byte on.
    damage : list of str, optional
        Takes up a sentence with byte positions for everything that was skipped. Nothing is
        ever raised for what the buffer contains.

    Yields
    ------
    kind : int
        What the payload is.
    payload : memoryview
        A view of `buffer`, exactly as it was written.

    Notes
    -----
    What begins behind a broken frame is believed only if frames lead on from it to the end of
    the file: bytes inside of a result may look like a frame.
    """
    view = memoryview(buffer)
    told = damage if damage is not None else []
    size, here, last = len(view), 0, -1
    while here < size:
        if size - here == TRAILER_SIZE and last >= 0 and read_trailer(view) is not None:
            if read_trailer(view) != last:
                told.append(f"bytes {here} to {size}: the trailer points elsewhere")
            return
        found = frame_at(view, here)
        if isinstance(found, str):
            after = _resume(view, here)
            told.append(f"bytes {here} to {after}: {found}")
            here = after
            continue
        kind, payload, after = found
        yield kind, payload
        end = here + HEAD_SIZE + len(payload)
        if after > size:
            told.append(f"bytes {end} to {size}: the file is torn off inside the padding")
        elif any(view[end:after]):
            told.append(f"bytes {end} to {after}: the padding was altered")
        here, last = after, here


def _no_head(magic: bytes) -> str:
    if magic[:3] == _MAGIC[:3] and magic != _MAGIC and magic != _END:
        version = magic[3:].decode("ascii", "backslashreplace")
        return f"a frame of format version {version!r}; this cropfit reads version {FORMAT}"
    return "no frame begins here"


def _resume(view: memoryview, broken: int) -> int:
    """Where to go on after a broken frame; the end of the buffer if nowhere.

    Either at the place that the broken frame's length tells, or, if the trailer tells how far
    frames reach, at the first that is found. Nearer is better: the length may be what is broken.
    """
    size = len(view)
    footer = read_trailer(view)
    sealed = (
        footer is not None and broken < footer < size and _next(view, footer) == size - TRAILER_SIZE
    )
    goal = footer if footer is not None and sealed else size
    dead: set[int] = set()
    told = _next(view, broken, b"")
    after = told if told is not None and _leads_to(view, told, goal, dead) else size
    if sealed:
        for match in _BEGIN.finditer(view, broken + 1, after):
            if match.start() % ALIGN == 0 and _leads_to(view, match.start(), goal, dead):
                return match.start()
    return after


def _next(view: memoryview, start: int, magic: bytes = _MAGIC) -> int | None:
    """Where the head at `start` says that the next frame begins; None if it is no head."""
    size = len(view)
    if size - start < HEAD_SIZE or view[start : start + len(magic)] != magic:
        return None
    end = start + HEAD_SIZE + int(_HEAD.unpack_from(view, start)[4])
    after = end + -end % ALIGN
    return after if after <= size else None


def _leads_to(view: memoryview, start: int, goal: int, dead: set[int]) -> bool:
    """Tell whether a whole frame begins at `start`, and one head leads on to another up to `goal`.

    Frames inside of a result never do: what follows them is no head. Places from which the goal
    was not reached are added to `dead`.
    """
    if start > goal or isinstance(frame_at(view, start), str):
        return False
    seen = []
    here: int | None = start
    while here is not None and here < goal and here not in dead:
        seen.append(here)
        here = _next(view, here)
    if here != goal:
        dead.update(seen)
    return here == goal


def json_bytes(record: Mapping[str, Any]) -> bytes:
    """Write a record as ASCII JSON; what JSON does not know is written as its repr."""
    return _encode(record).encode("ascii")


def parse_json(payload: bytes | memoryview) -> dict[str, Any]:
    """Read a record that `json_bytes` wrote.

    Raises
    ------
    DamagedError
        The payload is not a JSON object.
    """
    try:
        record = _DECODE(str(payload, "ascii"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"not readable as JSON: {error}") from error
    if not isinstance(record, dict):
        raise DamagedError(f"a JSON object was expected, a {type(record).__name__} is there")
    return record


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biufU":
        return value.tolist()
    return repr(value)


_encode = json.JSONEncoder(separators=(",", ":"), default=_plain).encode
