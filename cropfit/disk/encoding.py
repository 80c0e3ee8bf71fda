"""How variables and attributes stand in a netCDF file, and how they come back as they were.

    in memory            in the file                             plain xarray sees
    int, uint, float     the same, without _FillValue            the same
    bool                 int8, dtype = "bool"                    bool
    complex              a last dimension of real and imaginary  two floats
    datetime64[u]        int64, "u since 1970-01-01"             datetime64
    timedelta64[u]       int64, units, dtype                     timedelta64
    str                  variable-length strings                 str
    object (str, None)   the same; what is no text, escaped      str

The attribute ``cropfit_dtype`` tells the type in memory wherever it is not the
type in the file. Attributes that netCDF refuses are JSON text; ``cropfit_json``
tells which.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.attributes import from_plain, to_plain
from cropfit.errors import ResultError

__all__ = ["DTYPE", "Stored", "decode", "decode_attrs", "encode_attrs", "plan"]

DTYPE = "cropfit_dtype"
JSON = "cropfit_json"
ESCAPE = "\N{SYMBOL FOR NULL}"
_EPOCH = "1970-01-01"
_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_RESERVED = {
    "_FillValue", "missing_value", "scale_factor", "add_offset", "coordinates", "_Unsigned",
    "_Encoding", "_NCProperties", "_nc3_strict", "CLASS", "NAME", "DIMENSION_LIST",
    "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", DTYPE, JSON,
}  # fmt: skip
_MARKS = {"M": {"units", "calendar"}, "m": {"units", "dtype"}, "b": {"dtype"}}
"""What is written, by the type in memory, so that plain xarray decodes the variable."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A variable as it stands in a file."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    memory: np.dtype[Any]
    raw: np.dtype[Any]
    attrs: Mapping[str, Any]

    @property
    def is_text(self) -> bool:
        """Whether it is stored as strings of any length."""
        return self.raw.kind == "O"

    @property
    def itemsize(self) -> int:
        """Bytes that one element takes in memory while it is written."""
        return 8 + self.memory.itemsize if self.is_text else self.memory.itemsize

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Raw values of a part of the variable, without a copy where the bytes are the same.

        Raises
        ------
        ResultError
            An object is neither text nor None.
        """
        kind = self.memory.kind
        if self.is_text:
            return _escaped(self.name, values)
        if kind in "cSMmb":
            native = np.ascontiguousarray(values, self.memory.newbyteorder("="))
            parts = (self.memory.itemsize // self.raw.itemsize,) if kind in "cS" else ()
            return native.reshape(-1).view(self.raw).reshape(values.shape + parts)
        return values.astype(self.raw, copy=False)


def plan(
    name: str,
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    attrs: Mapping[str, Any],
    taken: Collection[str] = (),
) -> Stored:
    """Decide how a variable is stored.

    Parameters
    ----------
    name, dims, shape, dtype, attrs
        As in memory.
    taken
        Names of dimensions that have a meaning already.

    Raises
    ------
    ResultError
        A file cannot hold its type (long doubles, records).
    """
    dtype = np.dtype(object) if not isinstance(dtype, np.dtype) or dtype.kind == "T" else dtype
    kind, raw = dtype.kind, dtype.newbyteorder("=")
    marks: dict[str, Any] = {}
    if kind == "b":
        raw, marks = np.dtype(np.int8), {"dtype": "bool"}
    elif kind in "Mm":
        raw, marks = np.dtype(np.int64), _time_marks(name, dtype)
    elif kind in "UO":
        raw = np.dtype(object)
    elif kind == "c" and dtype.char != "G":
        raw = np.dtype(f"f{dtype.itemsize // 2}")
        dims, shape = (*dims, _free("complex", taken)), (*shape, 2)
    elif kind == "S":
        raw, dims = np.dtype(np.uint8), (*dims, _free(f"{name}_bytes", taken))
        shape = (*shape, dtype.itemsize)
    elif dtype.char == "e":
        raw = np.dtype(np.float32)
    elif kind not in "iuf" or dtype.char == "g":
        raise ResultError(
            f"the variable {name!r} is of type {dtype}, which netCDF cannot hold; convert it, "
            "or reap with to=False to have it in memory only"
        )
    if raw != dtype or kind == "O":
        marks[DTYPE] = dtype.str if dtype.kind != "O" else "object"
    return Stored(name, dims, shape, dtype, raw, {**encode_attrs(attrs, kind), **marks})


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def decode(raw: NDArray[Any], attrs: Mapping[str, Any]) -> NDArray[Any]:
    """Values as they were in memory, from raw values and the attribute `DTYPE`."""
    if DTYPE not in attrs:
        return raw
    dtype = np.dtype(attrs[DTYPE])
    if dtype.kind in "UO":
        text = _unescaped(np.asarray(raw, object))
        return text if dtype.kind == "O" else text.astype(dtype)
    if dtype.kind in "cSMmb":
        native: NDArray[Any] = np.ascontiguousarray(raw).reshape(-1).view(dtype.newbyteorder("="))
        shape = raw.shape[:-1] if dtype.kind in "cS" else raw.shape
        return native.reshape(shape).astype(dtype, copy=False)
    return raw.astype(dtype)


def _time_marks(name: str, dtype: np.dtype[Any]) -> dict[str, Any]:
    unit, step = np.datetime_data(dtype)
    if unit not in _UNITS or step != 1:
        raise ResultError(f"the variable {name!r} is of type {dtype}; convert it to seconds")
    if dtype.kind == "m":
        return {"units": _UNITS[unit], "dtype": f"timedelta64[{unit}]"}
    return {"units": f"{_UNITS[unit]} since {_EPOCH}", "calendar": "proleptic_gregorian"}


# -- text ------------------------------------------------------------------------------


def _escaped(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Strings that a file can hold; None, NaN and what is not UTF-8 as JSON behind a mark."""
    made = np.empty(values.shape, object)
    flat: list[Any] = values.reshape(-1).tolist()
    try:
        joined = "".join(flat)
        joined.encode()
        sound = "\0" not in joined and ESCAPE not in joined
    except (TypeError, UnicodeEncodeError):
        sound = False
    made.reshape(-1)[:] = flat if sound else [_escape(name, value) for value in flat]
    return made


def _escape(name: str, value: Any) -> str:
    is_nan = isinstance(value, float) and value != value
    if not (value is None or is_nan or isinstance(value, str)):
        raise ResultError(
            f"the variable {name!r} holds objects of type {type(value).__name__}, which netCDF "
            "cannot hold. Return numbers, strings or arrays instead, or keep the objects: reap "
            "with to=False to have them in memory, or with to='<name>.pkl'"
        )
    if isinstance(value, str) and "\0" not in value and not value.startswith(ESCAPE):
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    return ESCAPE + json.dumps(value)


def _unescaped(raw: NDArray[Any]) -> NDArray[Any]:
    made = np.empty(raw.shape, object)
    made.reshape(-1)[:] = [
        json.loads(text[1:]) if text.startswith(ESCAPE) else text for text in raw.reshape(-1)
    ]
    return made


# -- attributes ------------------------------------------------------------------------


def encode_attrs(attrs: Mapping[Any, Any], kind: str = "") -> dict[str, Any]:
    """Attributes that a file can hold; the others as JSON text, listed in `JSON`.

    Parameters
    ----------
    attrs
        Any keys, any values.
    kind
        The numpy kind of the variable that has them; times need some names for themselves.
    """
    reserved = _RESERVED | _MARKS.get(kind, set())
    made: dict[str, Any] = {}
    coded: dict[str, Any] = {}
    for key, value in attrs.items():
        sound = isinstance(key, str) and key not in reserved and _is_safe_key(key)
        if sound and _is_native(value):
            made[key] = value
            continue
        stored = key if sound else f"cropfit_attr_{len(coded)}"
        made[stored] = json.dumps(to_plain(value), ensure_ascii=True, allow_nan=False)
        coded[stored] = None if sound else to_plain(key)
    if coded:
        made[JSON] = json.dumps(coded)
    return made


def decode_attrs(attrs: Mapping[str, Any]) -> dict[Any, Any]:
    """What `encode_attrs` was given; ints and floats as Python's own."""
    coded = json.loads(attrs.get(JSON, "{}"))
    kind = np.dtype(attrs.get(DTYPE, "V")).kind
    ours = {JSON, DTYPE, "coordinates", "_FillValue"} | _MARKS.get(kind, set())
    made: dict[Any, Any] = {}
    for stored, value in attrs.items():
        if stored in coded:
            key = coded[stored]
            made[stored if key is None else from_plain(key)] = from_plain(json.loads(value))
        elif stored not in ours:
            is_plain = isinstance(value, (np.int64, np.float64))
            made[stored] = value.item() if is_plain else value
    return made


def _is_safe_key(key: str) -> bool:
    return key.isascii() and key.isidentifier() and not key.startswith("cropfit_attr_")


def _is_native(value: Any) -> bool:
    """Whether netCDF gives the same value back; a list of one, for example, it does not."""
    if type(value) is str:
        return _is_text(value)
    if type(value) is list and len(value) > 1:
        kinds = {type(each) for each in value}
        if kinds == {str}:
            return all(map(_is_text, value))
        return kinds in ({int}, {float}) and all(map(_is_native, value))
    if type(value) is int:
        return -(2**63) <= value < 2**63
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.size > 1 and value.dtype.char in "bBhHiIlLqQfd"
    return type(value) is float or (
        isinstance(value, (np.integer, np.floating)) and value.dtype.char in "bBhHiIlLqQfd"
    )


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
