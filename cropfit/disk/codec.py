"""Results of a run of cases as bytes, and back, without pickle for what needs none.

    payload = 12 bytes: cases, first offset, length of meta
              columns, one after the other; then columns of one value that all cases share
              seconds (float64) and, unless they follow each other, offsets (uint32)
              meta: JSON that names and describes the columns

All but the last begin at multiples of 16 bytes of the file, so that what is read is looked at
where it lies. Meta stands last, so that no result whose bytes look like a frame can be taken
for the next one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.arrange import Failure, Group, arrange
from cropfit.disk.columns import Column, Spec, decode_column, encode_column
from cropfit.disk.expect import Expected, misfits
from cropfit.disk.frames import Part
from cropfit.disk.schema import Schema, read_schema
from cropfit.errors import DamagedError, ResultError

__all__ = ["Chunk", "decode_results", "encode_results"]

_HEAD = struct.Struct("<III")
_SCATTERED = 2**32 - 1
"""In place of the first offset: the offsets do not follow each other and are listed."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Results of a run of cases that are of one make.

    Attributes
    ----------
    offsets : (n,) uint32 array
        Position of each case inside its batch, in the order of the columns' values.
    seconds : (n,) float64 array
        How long each case took.
    columns : dict of str to Column
        The outputs; "" is what was returned as it is. Empty if only cases were asked for.
    schema : Schema
        What the cases have in common.
    in_order : bool
        Whether each offset is the one before and 1, which need not be looked for then.
    """

    offsets: NDArray[np.uint32]
    seconds: NDArray[np.float64]
    columns: dict[str, Column]
    schema: Schema
    in_order: bool = False

    def __len__(self) -> int:
        """Count the cases."""
        return len(self.offsets)


def encode_results(
    offsets: Sequence[int],
    seconds: Sequence[float],
    results: Sequence[Any],
    names: tuple[str, ...] | None,
    expected: Expected | None = None,
) -> tuple[list[list[Part]], list[tuple[int, ResultError]]]:
    """Turn the results of some cases into payloads of frames.

    Parameters
    ----------
    offsets : sequence of int
        Position of each case inside its batch.
    seconds : sequence of float
        How long each case took.
    results : sequence
        What the function returned.
    names : tuple of str or None
        The outputs that were declared.
    expected : mapping, optional
        Their inner dimensions, as far as they were.

    Returns
    -------
    payloads : list of list of bytes-like
        Each for one ``append(RESULTS, *payload)``. Big arrays are not copied: write them
        before they change.
    failures : list of (offset, ResultError)
        Cases whose result does not fit the declaration or cannot be kept. They are in no
        payload; all others are.

    Notes
    -----
    1000 floats take about 45 µs, one float 5 µs; an array costs what its copy costs below
    4 kB, and a few µs above.
    """
    if not len(offsets) == len(seconds) == len(results):
        raise ValueError("offsets, seconds and results differ in length")
    groups, failures = arrange(results, names)
    payloads = [
        _encode_group(group, offsets, seconds, failures, expected or {}) for group in groups
    ]
    return (
        [payload for payload in payloads if payload],
        [(int(offsets[row]), error) for row, error in failures],
    )


def decode_results(
    payload: bytes | bytearray | memoryview, *, data: bool = True, foreign: str | None = None
) -> Chunk:
    """Look at the results in a payload without copying them.

    Parameters
    ----------
    payload : bytes-like
        What was written of one frame.
    data : bool, optional
        Look at the columns, too, not only at which cases there are.
    foreign : str, optional
        Why pickles in this file must not be loaded.

    Raises
    ------
    DamagedError
        The payload is not one that `encode_results` makes.
    """
    try:
        return _decode(memoryview(payload), data, foreign)
    except (ValueError, KeyError, IndexError, TypeError, struct.error, OverflowError) as error:
        raise DamagedError(f"the results cannot be read: {error}") from error


def _encode_group(
    group: Group,
    offsets: Sequence[int],
    seconds: Sequence[float],
    failures: list[Failure],
    expected: Expected,
) -> list[Part]:
    """Encode a group, without the rows that cannot be kept; those are added to failures."""
    named = group.meta["kind"] != "value"
    by_name = group.meta["kind"] in ("names", "dict")  # outputs of which each has a name
    encoded = [
        encode_column(name, values, promote=named, lists=by_name)
        for name, values in group.columns.items()
    ]
    bad = {row: error for column in encoded for row, error in column.failures.items()}
    if expected and by_name:
        bad = {**misfits(expected, group.columns, encoded), **bad}
    if bad:
        failures.extend((group.rows[row], error) for row, error in sorted(bad.items()))
        rest = group.without(set(bad))
        return _encode_group(rest, offsets, seconds, failures, expected) if rest.rows else []
    if len(group.rows) < len(offsets):
        offsets = [offsets[row] for row in group.rows]
        seconds = [seconds[row] for row in group.rows]
    specs = tuple(column.spec for column in encoded)
    shared = [column.spec for column in group.constants]
    plain = len(group.meta) == 1
    meta = _meta(specs, group.meta["kind"]) if plain else _label(specs, group.meta, shared)
    parts = [part for column in (*encoded, *group.constants) for part in column.parts]
    return _payload(meta, parts, offsets, seconds)


def _payload(
    meta: bytes, parts: list[Part], offsets: Sequence[int], seconds: Sequence[float]
) -> list[Part]:
    size, first = len(offsets), int(offsets[0])
    tail = [struct.pack(f"<{size}d", *seconds)]
    if first + size > _SCATTERED or not _follow(offsets):
        first = _SCATTERED
        tail.append(struct.pack(f"<{size}I", *offsets))
    return [_HEAD.pack(size, first, len(meta)), *parts, *tail, meta]


def _follow(offsets: Sequence[int]) -> bool:
    if isinstance(offsets, range):
        return offsets.step == 1
    return list(offsets) == list(range(offsets[0], offsets[0] + len(offsets)))


def _run(first: int, size: int) -> NDArray[np.uint32]:
    return np.arange(first, first + size, dtype="<u4")


def _label(specs: Sequence[Spec], meta: dict[str, Any], shared: Sequence[Spec] = ()) -> bytes:
    return json.dumps({"columns": specs, "shared": shared, **meta}, separators=(",", ":")).encode(
        "ascii"
    )


@lru_cache(maxsize=256)
def _meta(specs: tuple[Spec, ...], kind: str) -> bytes:
    return _label(specs, {"kind": kind})


def _decode(payload: memoryview, data: bool, foreign: str | None) -> Chunk:
    size, first, length = _HEAD.unpack_from(payload)
    meta = len(payload) - length
    end = meta - 8 * size - (4 * size if first == _SCATTERED else 0)
    if size == 0 or end < _HEAD.size:
        raise DamagedError(f"{size} cases cannot stand in {len(payload)} bytes")
    seconds = np.frombuffer(payload, "<f8", size, end)
    if first == _SCATTERED:
        offsets = np.frombuffer(payload, "<u4", size, end + 8 * size)
    else:
        offsets = _run(first, size)
    if not data:
        return Chunk(offsets, seconds, {}, Schema("value"), first != _SCATTERED)
    specs, shared, meta_of = _parse_label(bytes(payload[meta:]))
    body = payload[_HEAD.size : end]
    start, columns, constants = 0, {}, []
    for spec in specs:
        columns[spec.name], start = decode_column(spec, body, start, size, foreign)
    for spec in shared:
        column, start = decode_column(spec, body, start, 1, foreign)
        constants.append(column)
    if start != len(body):
        raise DamagedError(f"columns end at byte {start} of {len(body)}")
    schema = read_schema(meta_of, constants)
    return Chunk(offsets, seconds, columns, schema, first != _SCATTERED)


@lru_cache(maxsize=64)
def _parse_label(text: bytes) -> tuple[list[Spec], list[Spec], dict[str, Any]]:
    meta = json.loads(text)
    columns, shared = (
        [Spec(name, kind, dtype, tuple(shape), python) for name, kind, dtype, shape, python in rows]
        for rows in (meta["columns"], meta["shared"])
    )
    return columns, shared, meta
