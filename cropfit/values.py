"""What a user types as values, read into labels that a Dataset can show.

Plain values (bool, int, float, complex, text, times) are their own labels. Everything else is an
object: it is kept by reference and labelled by its name, its path or a short repr, or else by
the parameter's name and a number. What can be no label at all (NaN, ints beyond 64 bits) is
refused here; whether values repeat is judged by `cropfit.axes`.
"""

from __future__ import annotations

import datetime as dt
import enum
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from cropfit.errors import DesignError

__all__ = ["Values", "identity", "object_labels", "read_column", "read_values", "refuse", "some"]

_LONGEST_LABEL = 40
_DTYPES: dict[type, str] = {
    bool: "?",
    int: "i8",
    float: "f8",
    complex: "c16",
    str: "U",
    dt.date: "M8[D]",
    dt.datetime: "M8[us]",
    dt.timedelta: "m8[us]",
}


@dataclass(frozen=True, eq=False)
class Values:
    """Values that were read, one entry each, before repeats are judged.

    Parameters
    ----------
    labels : (n,) array
        None for objects that have yet to be labelled.
    given
        What the function gets; None for the label itself.
    scalar, kind, attrs
        As in `cropfit.axes.Axis`.
    """

    labels: NDArray[Any] | None
    given: Sequence[Any] | None = None
    scalar: Literal["python", "numpy"] = "python"
    kind: Literal["plain", "object"] = "plain"
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self.given or ()) if self.labels is None else len(self.labels)


def read_values(name: str, raw: Any) -> Values:
    """Read whatever a user gave as the values of one parameter.

    Raises
    ------
    DesignError
        A set, a Dataset, an array that is not 1-D, NaN, or an int beyond 64 bits.
    """
    if isinstance(raw, type) and not isinstance(raw, Iterable):
        return read_column(name, [raw])
    if hasattr(raw, "data_vars"):
        refuse(name, f"is a {type(raw).__name__}; give {{label: it}} to pass it as an object")
    if isinstance(raw, Mapping):
        return _read_mapping(name, raw)
    if isinstance(raw, (set, frozenset)):
        refuse(name, "is a set, which has no order; give sorted(...)")
    if isinstance(raw, np.generic):
        return read_column(name, [raw])
    if hasattr(raw, "__array__") and hasattr(raw, "ndim"):
        return _read_array(name, raw)
    if isinstance(raw, range):
        _refuse_big_ints(name, [raw[0], raw[-1]] if raw else [])
        return Values(np.arange(raw.start, raw.stop, raw.step, dtype=np.int64))
    single = isinstance(raw, (str, bytes, bytearray)) or not isinstance(raw, Iterable)
    return read_column(name, [raw] if single else list(raw))


def read_column(name: str, values: list[Any] | NDArray[Any]) -> Values:
    """Read a list or an array, one value an entry."""
    if isinstance(values, np.ndarray):
        return _read_array(name, values)
    types = set(map(type, values))
    if any(issubclass(kind, np.generic) for kind in types):
        if len(types) == 1 and not any(issubclass(t, (np.void, np.bytes_)) for t in types):
            return _read_array(name, np.array(values))
        # a list of both kinds needs one
        values = [v.item() if isinstance(v, (np.number, np.bool_, np.str_)) else v for v in values]
        types = set(map(type, values))
    _refuse_missing(name, values)
    if int in types:
        _refuse_big_ints(name, [v for v in values if type(v) is int])
    if types == {int, float}:
        return Values(_as_floats(name, values), values)
    if len(types) == 1 and (dtype := _DTYPES.get(*types)) and not any(map(_is_lossy, values)):
        return Values(np.array(values, dtype))
    if types <= {int, float, complex} and complex in types:
        return Values(np.array(values, np.complex128), values, kind="object")
    return Values(_moments(values), values, kind="object")


def object_labels(name: str, objects: Sequence[Any]) -> NDArray[np.str_]:
    """Label each object by itself where that is possible and unique, else by `name` and number."""
    labels = [_own_label(value) or f"{name}{i}" for i, value in enumerate(objects)]
    if len(set(labels)) < len(labels):
        labels = [f"{name}{i}" for i in range(len(labels))]
    return np.array(labels, np.str_)


def identity(value: Any) -> Any:
    """Return a key that tells whether two values are one: equal simple values, or one object."""
    if _is_simple(value) or isinstance(value, (os.PathLike, enum.Enum, dt.date)):
        return type(value), repr(value)
    return id(value)


def some(items: Sequence[Any], most: int = 3) -> str:
    """Return the first few of many offenders, for a message."""
    texts = [repr(item) for item in items[:most]]
    short = [t if len(t) <= _LONGEST_LABEL else t[: _LONGEST_LABEL - 3] + "..." for t in texts]
    return ", ".join(short) + (", ..." if len(items) > most else "")


def refuse(name: str, why: str) -> NoReturn:
    """Raise the DesignError that names a parameter as the offender."""
    raise DesignError(f"'{name}' {why}")


def _read_mapping(name: str, raw: Mapping[Any, Any]) -> Values:
    found = read_column(name, list(raw))
    if len(raw) and (found.labels is None or found.kind == "object"):
        refuse(name, f"has labels that are not all text or all numbers ({some(list(raw))})")
    return replace(found, given=tuple(raw.values()), kind="object")


def _read_array(name: str, raw: Any) -> Values:
    attrs = getattr(raw, "attrs", None)
    attrs = dict(attrs) if isinstance(attrs, Mapping) else {}
    if isinstance(raw, np.ma.MaskedArray) and np.ma.is_masked(raw):
        refuse(name, f"has {np.count_nonzero(raw.mask)} masked values")
    array = np.asarray(raw)
    if array.ndim > 1:
        refuse(name, f"is an array of shape {array.shape}; values must be one-dimensional")
    array = array.reshape(-1)
    if array.dtype.kind not in "biufcUMm":
        items = list(array) if array.dtype.kind == "V" else array.tolist()
        return replace(read_column(name, items), attrs=attrs)
    if array.dtype.char in "gG":
        refuse(name, f"is {array.dtype}, which no file format keeps; give float64 or complex128")
    labels = array.astype(array.dtype.newbyteorder("="))
    _refuse_missing(name, labels)
    if labels.dtype == np.uint64:
        _refuse_big_ints(name, labels[labels > np.iinfo(np.int64).max].tolist())
    if isinstance(raw, np.ndarray) and hasattr(raw, "unit"):
        # an astropy Quantity: the function must get its numbers with their unit
        attrs.setdefault("units", str(raw.unit))
        return Values(labels, list(raw.reshape(-1)), kind="object", attrs=attrs)
    return Values(labels, scalar="numpy", attrs=attrs)


def _as_floats(name: str, values: list[Any]) -> NDArray[np.float64]:
    labels = np.array(values, np.float64)
    lost = [v for v, label in zip(values, labels.tolist(), strict=True) if v != label]
    if lost:
        refuse(name, f"mixes floats with {len(lost)} ints that no float holds ({some(lost)})")
    return labels


def _is_lossy(value: Any) -> bool:
    """Tell whether numpy's dtype would silently change this value of a plain type."""
    if type(value) is str:
        return value.endswith("\0")
    if type(value) is dt.timedelta:
        return abs(value.days) > 10**8
    return type(value) is dt.datetime and value.tzinfo is not None


def _moments(values: list[Any]) -> NDArray[Any] | None:
    """Return labels for pandas times and for times of a zone (in UTC), else None."""
    found = [_moment(value) for value in values]
    kinds = set(map(type, found))
    return np.array(found) if len(kinds) == 1 and type(None) not in kinds else None


def _moment(value: Any) -> Any:
    if isinstance(value, type):
        return None
    for convert in ("to_datetime64", "to_timedelta64"):
        if hasattr(value, convert):
            return getattr(value, convert)()
    if type(value) is dt.datetime and value.tzinfo is not None:
        return np.datetime64(value.astimezone(dt.timezone.utc).replace(tzinfo=None), "us")
    return None


def _own_label(value: Any) -> str | None:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, os.PathLike):
        path = os.fspath(value)
        return path if isinstance(path, str) else None
    if callable(value):
        own = getattr(value, "__name__", None)
        return own if isinstance(own, str) and own != "<lambda>" else None
    if not _is_simple(value):
        return None
    text = value if isinstance(value, str) and "\0" not in value else repr(value)
    return text if len(text) <= _LONGEST_LABEL else None


def _is_simple(value: Any) -> bool:
    """Tell whether a value's repr is cheap and the same in every process."""
    if value is None or isinstance(value, (str, numbers.Number)):
        return True
    if isinstance(value, bytes):
        return len(value) <= _LONGEST_LABEL
    if type(value) in (tuple, list):
        return len(value) <= _LONGEST_LABEL and all(map(_is_simple, value))
    return False


def _refuse_missing(name: str, values: NDArray[Any] | list[Any]) -> None:
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "fcmM":
            return
        # NaN and NaT alone differ from themselves
        where = np.flatnonzero(values != values)
    else:
        where = np.flatnonzero([_is_missing(value) for value in values])
    if len(where):
        at = some(where.tolist())
        refuse(name, f"holds {len(where)} NaN or NaT among {len(values)} values (at: {at})")


def _is_missing(value: Any) -> bool:
    if isinstance(value, (float, complex, np.datetime64, np.timedelta64)):
        return bool(value != value)
    return type(value).__name__ in ("NAType", "NaTType")


def _refuse_big_ints(name: str, values: list[int]) -> None:
    big = [value for value in values if not -(2**63) <= value < 2**63]
    if big:
        refuse(name, f"holds {len(big)} ints beyond 64 bits (first: {some(big)})")
