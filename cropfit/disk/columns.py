"""One output of many cases, as bytes: numbers as they lie in memory, the rest case by case.

    array    same dtype and shape in every case     values
    ragged   same dtype and number of dimensions    shapes, then values
    text     str                                    ends, then UTF-8 (surrogates kept)
    pickle   whatever else                          ends, then pickles

Blocks begin at multiples of 16 bytes, so that a column that was read is a view of the file.
Only a pickle column is ever unpickled, and only when its values are asked for. A value comes
back as it was, or as an equal number of a wider dtype; what would not fit becomes a pickle.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.exact import as_arrays, common_dtype, exact_cast, is_plain
from cropfit.disk.frames import ALIGN, Part
from cropfit.disk.pickles import dumps
from cropfit.errors import DamagedError, ForeignFileError, ResultError

__all__ = ["Column", "Encoded", "Spec", "decode_column", "encode_column"]

Kind = Literal["array", "ragged", "text", "pickle"]

_SMALL = 4096
"""Bytes of a case up to which copying it beside its neighbours beats writing it by itself."""

_DEPTH = 16
"""Levels of nested lists that are taken for an array."""


class Spec(NamedTuple):
    """What must be known of a column to read its bytes."""

    name: str
    kind: Kind
    dtype: str = ""
    shape: tuple[int, ...] = ()
    python: bool = False


class Encoded(NamedTuple):
    """A column as bytes; with `failures` (position → error) the bytes are of no use."""

    spec: Spec
    parts: list[Part]
    failures: dict[int, ResultError]


@dataclass(frozen=True, eq=False)
class Column:
    """One output of the cases of a chunk.

    Attributes
    ----------
    kind : {"array", "ragged", "text", "pickle"}
        How the values are kept.
    size : int
        Number of cases.
    data : array
        "array": (size, *shape); "ragged": (n,) all values one after the other; else bytes.
        A read-only view of what was read.
    index : (size, n_dim) or (size,) uint64 array or None
        "ragged": the shape of each case; "text", "pickle": where each case's bytes end.
    python : bool
        "array" of Python's own scalars, and so given back by `values`.
    foreign : str or None
        Why pickles of this file must not be loaded.
    """

    kind: Kind
    size: int
    data: NDArray[Any]
    index: NDArray[np.uint64] | None = None
    python: bool = False
    foreign: str | None = None

    def __len__(self) -> int:
        """Count the cases."""
        return self.size

    def values(self) -> list[Any]:
        """One value a case: scalars, arrays (views), str, or what was pickled.

        Raises
        ------
        ForeignFileError
            A pickle of a file that somebody else could have written.
        """
        if self.kind == "array" and self.python:
            values: list[Any] = self.data.tolist()
            return values
        if self.kind == "array":
            return list(self.data)
        if self.kind == "ragged":
            return self._ragged()
        if self.kind == "text":
            return [str(piece, "utf-8", "surrogatepass") for piece in self._pieces()]
        if self.foreign is not None:
            raise ForeignFileError(self.foreign)
        return [pickle.loads(piece) for piece in self._pieces()]

    def _ragged(self) -> list[Any]:
        values, begin = [], 0
        for shape in () if self.index is None else self.index.tolist():
            end = begin + _count(shape)
            values.append(self.data[begin:end].reshape(shape))
            begin = end
        return values

    def _pieces(self) -> list[memoryview]:
        ends = [] if self.index is None else self.index.tolist()
        view = self.data.data
        return [view[i:j] for i, j in zip([0, *ends], ends, strict=False)]


def encode_column(
    name: str, values: Sequence[Any], *, promote: bool = False, lists: bool = False
) -> Encoded:
    """Turn one output of many cases into bytes.

    Parameters
    ----------
    name : str
        Name of the output.
    values : sequence
        One value a case, at least one.
    promote : bool, optional
        Bring numbers of several dtypes to a common one if that keeps each exactly.
    lists : bool, optional
        Take lists and tuples of numbers for arrays.

    Returns
    -------
    Encoded
        Arrays of more than 4 kB are not copied: write the parts before the arrays change.
    """
    types = set(map(type, values))
    if len(types) == 1:
        (kind,) = types
        if kind in _FORMATS:
            packed = _pack(kind, values)
            if packed is None:
                return _pickles(name, values)
            return Encoded(Spec(name, "array", _FORMATS[kind], (), True), _padded([packed]), {})
        if kind in _NUMBERS:
            array: NDArray[Any] = np.array(values, kind)
            spec = Spec(name, "array", array.dtype.str)
            return Encoded(spec, _padded(_raw([array])), {})
    if types <= _TEXT:
        pieces = [value.encode("utf-8", "surrogatepass") for value in values]
        return Encoded(Spec(name, "text"), _with_ends(pieces), {})
    if types == _REAL and promote:
        return _reals(name, values) or _pickles(name, values)
    if not promote and len(types) > 1 and not types <= _ARRAYS:
        return _pickles(name, values)
    return _arrays(name, values, types, promote, lists) or _pickles(name, values)


def decode_column(
    spec: Spec, payload: memoryview, start: int, size: int, foreign: str | None
) -> tuple[Column, int]:
    """Read the column whose bytes begin at `start`, without copying.

    Returns
    -------
    Column
        Views of `payload`, which begins at a multiple of 16 bytes of the file.
    int
        Where the next column begins.

    Raises
    ------
    DamagedError
        The bytes do not fit the description.
    """
    name, kind, dtype, shape, python = spec
    if kind == "array":
        data, end = _view(payload, start, _dtype(dtype), (size, *shape))
        return Column(kind, size, data, None, python), end
    if kind == "ragged":
        index, start = _view(payload, start, _UINT64, (size, *shape))
        total = sum(_count(row) for row in index.tolist())
        data, end = _view(payload, start, _dtype(dtype), (total,))
        return Column(kind, size, data, index), end
    if kind not in ("text", "pickle"):
        raise DamagedError(f"column {name!r} is of kind {kind!r}, which is not known")
    index, start = _view(payload, start, _UINT64, (size,))
    if (index[1:] < index[:-1]).any():
        raise DamagedError(f"the ends of column {name!r} are not in order")
    data, end = _view(payload, start, _BYTE, (int(index[-1]) if size else 0,))
    return Column(kind, size, data, index, foreign=foreign), end


_FORMATS: dict[type, str] = {float: "<f8", int: "<i8", bool: "|b1", complex: "<c16"}
_NUMBERS = frozenset({np.float64, np.float32, np.int64, np.int32, np.bool_, np.complex128})
_TEXT = {str, np.str_}
_REAL = {float, int}
_ARRAYS = {np.ndarray, np.memmap}
_BYTE = np.dtype(np.uint8)
_UINT64 = np.dtype("<u8")


def _pack(kind: type, values: Sequence[Any]) -> bytes | None:
    if kind is float:
        return struct.pack(f"<{len(values)}d", *values)
    if kind is int:
        try:
            return struct.pack(f"<{len(values)}q", *values)
        except struct.error:
            return None
    if kind is bool:
        return bytes(values)
    return np.array(values, "<c16").tobytes()


def _reals(name: str, values: Sequence[Any]) -> Encoded | None:
    """Keep int and float as float; None if that would change one of them."""
    try:
        floats = list(map(float, values))
    except OverflowError:
        return None
    if floats != list(values):  # Python compares int and float exactly, and NaN by identity
        return None
    return encode_column(name, floats)


def _arrays(
    name: str, values: Sequence[Any], types: set[type], promote: bool, lists: bool
) -> Encoded | None:
    arrays = as_arrays(values, _DEPTH if lists else 0)
    if arrays is None:
        return None
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) > 1:
        target = common_dtype(dtypes) if promote else None
        cast = None if target is None else exact_cast(arrays, target)
        if cast is None:
            return None
        arrays = cast
    dtype, shape = arrays[0].dtype.str, arrays[0].shape
    if len({array.shape for array in arrays}) == 1:
        python = types <= _FORMATS.keys()
        return Encoded(Spec(name, "array", dtype, shape, python), _padded(_raw(arrays)), {})
    if len({array.ndim for array in arrays}) > 1:
        return None
    shapes = np.array([array.shape for array in arrays], _UINT64)
    parts = _padded([shapes.tobytes()]) + _padded(_raw(arrays))
    return Encoded(Spec(name, "ragged", dtype, (len(shape),)), parts, {})


def _raw(arrays: list[NDArray[Any]]) -> list[Part]:
    """Bytes of the arrays one after the other: small ones copied together, big ones as views."""
    small = sum(array.nbytes for array in arrays) <= _SMALL * len(arrays)
    if small and arrays[0].ndim == 1:
        arrays = [_joined(arrays)]
    flat = [np.ascontiguousarray(array).reshape(-1) for array in arrays]
    if small and len(flat) > 1:
        flat = [_joined(flat)]
    return [array.view(_BYTE).data for array in flat if array.size]


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    # Without the dtype, numpy would turn big-endian numbers (of FITS files) to native ones.
    joined: NDArray[Any] = np.concatenate(arrays, dtype=arrays[0].dtype, casting="no")
    return joined


def _pickles(name: str, values: Sequence[Any]) -> Encoded:
    pieces, failures = [], {}
    for position, value in enumerate(values):
        try:
            pieces.append(dumps(value))
        except Exception as error:  # a value's own __reduce__ may raise anything
            failures[position] = ResultError(
                f"the result{f' {name!r}' if name else ''} of type {type(value).__name__} "
                f"cannot be pickled: {type(error).__name__}: {error}"
            )
    return Encoded(Spec(name, "pickle"), _with_ends(pieces), failures)


def _with_ends(pieces: list[bytes]) -> list[Part]:
    ends = struct.pack(f"<{len(pieces)}Q", *accumulate(map(len, pieces)))
    small = sum(map(len, pieces)) <= _SMALL * len(pieces)
    return _padded([ends]) + _padded([b"".join(pieces)] if small else pieces)


def _padded(parts: Sequence[Part]) -> list[Part]:
    size = 0
    for part in parts:
        size += len(part)
    return [*parts, bytes(-size % ALIGN)] if size % ALIGN else list(parts)


def _count(shape: Sequence[int]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


@lru_cache(maxsize=256)
def _dtype(text: str) -> np.dtype[Any]:
    dtype = np.dtype(text)
    if not is_plain(dtype):
        raise DamagedError(f"{text!r} is no dtype of numbers, text or dates")
    return dtype


def _view(
    payload: memoryview, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> tuple[NDArray[Any], int]:
    count = _count(shape)
    end = start + count * dtype.itemsize
    if end > len(payload):
        raise DamagedError(f"a column ends at byte {end} of a payload of {len(payload)}")
    if count == 0:
        return np.empty(shape, dtype), end
    data: NDArray[Any] = np.frombuffer(payload, dtype, count, start)
    if len(shape) > 1:
        data = data.reshape(shape)
    return data, end + -end % ALIGN
