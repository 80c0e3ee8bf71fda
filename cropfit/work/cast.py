"""Values of a column in the type and shape of their variable, or a refusal to change one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.columns import Column
from cropfit.disk.exact import exact_cast
from cropfit.errors import ResultError
from cropfit.work.variables import Variable

__all__ = ["Changed", "as_dtype", "as_objects", "empty_block", "lengths_of", "where"]


class Changed(ResultError):
    """A value would not be the same in the variable's type."""


def as_objects(values: Sequence[Any]) -> NDArray[Any]:
    """One object a case, arrays among them as they are."""
    made = np.empty(len(values), object)
    for at, value in enumerate(values):
        made[at] = value
    return made


def empty_block(variable: Variable, cases: int) -> NDArray[Any]:
    """Values of so many cases, all missing."""
    return np.full((cases, *variable.shape), variable.missing, variable.dtype)


def where(shape: Sequence[int], aligned: Mapping[int, NDArray[np.intp]]) -> Any:
    """Index of an array of this shape in a larger one."""
    if not aligned:
        return tuple(map(slice, shape))
    return np.ix_(*(aligned.get(at, np.arange(size)) for at, size in enumerate(shape)))


def lengths_of(column: Column, dim: int) -> NDArray[np.int64]:
    """The length of each case's array along an inner dimension."""
    if column.kind == "ragged" and column.index is not None:
        return column.index[:, dim].astype(np.int64)
    return np.full(len(column), column.data.shape[dim + 1], np.int64)


def as_dtype(variable: Variable, values: NDArray[Any]) -> NDArray[Any]:
    """Values in the variable's dtype; refuses to change one.

    Raises
    ------
    Changed
        The value that would not be the same.
    """
    dtype = variable.dtype
    if values.dtype == dtype:
        return values
    if dtype.kind == "O":
        return values.astype(object)
    if values.dtype.kind in "Mm":
        cast = values.astype(dtype)
        same = (cast.astype(values.dtype) == values) | np.isnat(values)
        if not same.all():
            raise Changed(str(values[~same][0]))
        return cast
    exact = exact_cast([values], dtype)
    if exact is None:
        raise Changed(f"an array of {values.dtype} with values up to {np.abs(values).max()}")
    return exact[0]
