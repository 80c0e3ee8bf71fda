"""Attributes as plain JSON, and back as what they were.

JSON knows None, bools, numbers, strings, lists and string-keyed dicts; these
stand for themselves. Everything else is a dict with the one key `TAG`:

    (1, "a")               {"__cropfit__": ["tuple", [1, "a"]]}
    1j                     {"__cropfit__": ["complex", [0.0, 1.0]]}
    np.float32(3)          {"__cropfit__": ["numpy", ["float32", [], [3.0]]]}
    <an object>            {"__cropfit__": ["text", "<its repr>"]}

What has no form of its own comes back as the text of its `repr`: an attribute
describes data, and must never be the reason that data cannot be saved.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["TAG", "from_plain", "to_plain"]

TAG = "__cropfit__"
_DATES: dict[str, Any] = {
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
}


def to_plain(value: Any) -> Any:
    """A form of `value` that ``json.dumps(..., allow_nan=False)`` takes."""
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else _tagged("float", repr(value))
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value) and TAG not in value:
            return {key: to_plain(each) for key, each in value.items()}
        return _tagged("dict", [[to_plain(key), to_plain(each)] for key, each in value.items()])
    if type(value) is list:
        return [to_plain(each) for each in value]
    if isinstance(value, (tuple, set, frozenset)):
        kind = "tuple" if isinstance(value, tuple) else type(value).__name__
        return _tagged(kind, [to_plain(each) for each in value])
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return _numpy(np.asarray(value), value)
    if isinstance(value, complex):
        return _tagged("complex", [to_plain(value.real), to_plain(value.imag)])
    if type(value) is dt.timedelta:
        return _tagged("timedelta", [value.days, value.seconds, value.microseconds])
    if type(value) in (dt.datetime, dt.date, dt.time):
        return _tagged(type(value).__name__, value.isoformat())
    if isinstance(value, bytes):
        return _tagged("bytes", value.hex())
    return _tagged("text", value if isinstance(value, str) else repr(value))


def from_plain(plain: Any) -> Any:
    """What `to_plain` was given."""
    if isinstance(plain, list):
        return [from_plain(each) for each in plain]
    if not isinstance(plain, dict):
        return plain
    if set(plain) != {TAG}:
        return {key: from_plain(each) for key, each in plain.items()}
    kind, content = plain[TAG]
    if kind in _DATES:
        return _DATES[kind](content)
    if kind in ("tuple", "set", "frozenset"):
        made = {"tuple": tuple, "set": set, "frozenset": frozenset}[kind]
        return made(from_plain(each) for each in content)
    if kind == "dict":
        return {from_plain(key): from_plain(each) for key, each in content}
    if kind == "complex":
        return complex(*(from_plain(part) for part in content))
    if kind == "float":
        return float(content)
    if kind == "timedelta":
        return dt.timedelta(*content)
    if kind == "bytes":
        return bytes.fromhex(content)
    return _from_numpy(*content) if kind == "numpy" else content


def _tagged(kind: str, content: Any) -> dict[str, list[Any]]:
    return {TAG: [kind, content]}


def _numpy(array: np.ndarray[Any, Any], value: Any) -> dict[str, list[Any]]:
    """Type, shape and elements; dates as counts, which knows no rounding."""
    if array.dtype.kind not in "biufcUMm" or array.dtype.char in "gG":  # long double: no text form
        return _tagged("text", repr(value))
    plain = array.view(np.int64) if array.dtype.kind in "Mm" else array
    shape = list(array.shape)
    return _tagged("numpy", [str(array.dtype), shape, to_plain(plain.ravel().tolist())])


def _from_numpy(dtype: str, shape: list[int], elements: list[Any]) -> Any:
    kind = np.dtype(dtype)
    raw = from_plain(elements)
    if kind.kind in "Mm":
        array = np.array(raw, dtype=np.int64).view(kind)
    else:
        array = np.array(raw, dtype=kind)
    array = array.reshape(shape)
    return array if shape else array[()]
