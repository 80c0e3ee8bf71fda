"""Which dtype holds all results of a variable, and what stands where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cropfit.disk.exact import common_dtype
from cropfit.errors import DesignError
from cropfit.work.survey import Sort

__all__ = ["OBJECT", "clock", "held_as", "missing_of", "type_of"]

OBJECT = np.dtype(object)
_CLOCKS = ("s", "ms", "us", "ns")


def type_of(sorts: Sequence[Sort]) -> tuple[np.dtype[Any], bool]:
    """The dtype that holds all results, and whether they are text."""
    if not sorts:
        return np.dtype(np.float64), False
    kinds = {sort.kind for sort in sorts}
    dtypes = {np.dtype(sort.dtype) for sort in sorts if sort.kind == "array"}
    scalars = all(sort.most == () for sort in sorts)
    if scalars and "pickle" not in kinds and all(dtype.kind == "U" for dtype in dtypes):
        return OBJECT, True
    same_depth = len({len(sort.most) for sort in sorts}) == 1
    if kinds != {"array"} or not same_depth:
        return OBJECT, False
    if {dtype.kind for dtype in dtypes} in ({"M"}, {"m"}):
        return clock(np.result_type(*dtypes)), False
    return common_dtype(dtypes) or OBJECT, False


def clock(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The nearest of the units of time that xarray knows."""
    unit, step = np.datetime_data(dtype)
    if unit in _CLOCKS and step == 1:
        return dtype
    fine = unit in ("ps", "fs", "as") or (unit in _CLOCKS[1:] and step != 1)
    return np.dtype(f"{dtype.kind}8[{'ns' if fine else 's'}]")


def missing_of(dtype: np.dtype[Any], is_text: bool) -> Any:
    """NaN, NaT, "" or None; what has no such value gets 0, to be told by another variable."""
    if is_text or dtype.kind == "U":
        return ""
    if dtype.kind in "Mm":
        return np.array("NaT", dtype)[()]
    return None if dtype.kind == "O" else (np.nan if dtype.kind in "fc" else dtype.type(0))


def held_as(name: str, dtype: np.dtype[Any], is_text: bool, value: Any, *, strict: bool) -> Any:
    """`value` in the variable's dtype; None if it is of another nature and meant for others."""
    if is_text or dtype == OBJECT:
        if isinstance(value, str) or (dtype == OBJECT and not is_text):
            return value
        fits, same_nature = False, False
    else:
        given = np.asarray(value)
        same_nature = _nature(given.dtype) == _nature(dtype)
        with np.errstate(all="ignore"):
            try:
                held = given.astype(dtype)[()]
                fits = same_nature and bool(held == given or (held != held and given != given))
            except (ValueError, TypeError, OverflowError):
                fits = False
    if fits:
        return held
    if strict or same_nature:
        kind = "text" if is_text else str(dtype)
        raise DesignError(
            f"fill_value={value!r} cannot stand in {name!r}, which is {kind}; give one a "
            f"variable: fill_value={{{name!r}: ...}}"
        )
    return None


def _nature(dtype: np.dtype[Any]) -> str:
    return "number" if dtype.kind in "iufc" else dtype.kind
