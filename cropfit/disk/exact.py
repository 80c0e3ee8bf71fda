"""When values of several types may stand in one array: when each keeps its exact value.

No bool is taken for a number, no integer is rounded, no text is cut, no unit is converted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_arrays", "common_dtype", "exact_cast", "is_plain"]

_SCALARS: dict[type, type] = {
    float: np.float64,
    int: np.int64,
    bool: np.bool_,
    complex: np.complex128,
}
_NUMPY = frozenset(np.sctypeDict.values()) - {np.str_}
_MAX_DIMS = 32
"""Half of what numpy allows, so that a dimension can be put in front."""


@lru_cache(maxsize=256)
def is_plain(dtype: np.dtype[Any]) -> bool:
    """Tell whether memory of this dtype can be kept as it is: numbers, bools, dates, text."""
    return dtype.kind in "biufcMmU" and dtype.itemsize > 0 and np.dtype(dtype.str) == dtype


def as_arrays(values: Iterable[Any], depth: int = 0) -> list[NDArray[Any]] | None:
    """Turn each value into an array of its own dtype; None if one of them is something else.

    Parameters
    ----------
    values : iterable
        Python or numpy scalars, plain arrays.
    depth : int, optional
        Levels of lists and tuples of such that are taken for arrays, too.
    """
    arrays = []
    for value in values:
        array = value if type(value) is np.ndarray else _as_array(value, depth)
        if array is None or array.ndim > _MAX_DIMS:
            return None
        arrays.append(array)
    return arrays if all(map(is_plain, {array.dtype for array in arrays})) else None


def common_dtype(dtypes: set[np.dtype[Any]]) -> np.dtype[Any] | None:
    """Give the dtype that may hold all of these; None if they are of different nature."""
    kinds = {dtype.kind for dtype in dtypes}
    if kinds <= set("iufc") or kinds in ({"U"}, {"b"}, {"M"}, {"m"}):
        if kinds <= set("Mm") and len({np.datetime_data(dtype) for dtype in dtypes}) > 1:
            return None
        return np.result_type(*dtypes)
    return None


def exact_cast(arrays: Sequence[NDArray[Any]], target: np.dtype[Any]) -> list[NDArray[Any]] | None:
    """Cast numbers to a common dtype; None if that would change one of them."""
    cast = []
    for array in arrays:
        if array.dtype.kind in "iu" and target.kind in "fc" and not _fits(array, target):
            return None
        cast.append(array.astype(target, copy=False))
    return cast


def _as_array(value: Any, depth: int) -> NDArray[Any] | None:
    kind = type(value)
    if kind in _NUMPY or kind is np.ndarray or kind is np.memmap:
        return np.asarray(value)
    if kind in _SCALARS:
        return _exactly(value, kind)
    if kind in (list, tuple) and depth > 0:
        return _from_list(value, depth - 1)
    return None


def _exactly(value: Any, kind: type) -> NDArray[Any] | None:
    try:
        return np.array(value, _SCALARS[kind])
    except OverflowError:  # an integer beyond 64 bits
        return None


def _from_list(value: Sequence[Any], depth: int) -> NDArray[Any] | None:
    """Make an array of nested lists; None unless they are regular and of one nature."""
    kinds = set(map(type, value))
    if not kinds:
        return np.empty(0)
    if len(kinds) == 1 and kinds <= _SCALARS.keys():
        return _exactly(value, kinds.pop())
    items = as_arrays(value, depth)
    if items is None or len({item.shape for item in items}) > 1:
        return None
    target = common_dtype({item.dtype for item in items})
    cast = None if target is None else exact_cast(items, target)
    return None if cast is None else np.stack(cast)


def _fits(array: NDArray[Any], target: np.dtype[Any]) -> bool:
    """Tell whether a float dtype holds each of these integers exactly."""
    if array.size == 0:
        return True
    limit = 2 ** (np.finfo(target).nmant + 1)
    if -limit <= int(array.min()) and int(array.max()) <= limit:
        return True
    if target.kind == "c":
        target = np.empty(0, target).real.dtype
    cast = array.astype(target).reshape(-1)
    pairs = zip(array.reshape(-1).tolist(), cast, strict=True)
    return all(int(number) == integer for integer, number in pairs)
