"""The labels of one dimension in two Datasets become those of their union.

Floats that differ by rounding are one label, that of the first; where both rise, so
does the union, else what is new stands behind what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.exact import common_dtype, exact_cast
from cropfit.errors import ResultError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["RTOL", "Joined", "join", "match"]

RTOL = 1e-9
"""Floats that differ by less, relative to the larger, are one coordinate: 0.1 + 0.2 and 0.3."""


@dataclass(frozen=True, eq=False)
class Joined:
    """One dimension of the result.

    Attributes
    ----------
    labels : array or None
        None for a dimension without a coordinate.
    size : int
    old, new : int arrays
        Where the labels of each stand.
    """

    labels: NDArray[Any] | None
    size: int
    old: NDArray[np.intp]
    new: NDArray[np.intp]


def join(dim: Any, old: xr.Dataset, new: xr.Dataset, rtol: float = RTOL) -> Joined:
    """Where the labels of `old` and `new` stand in their union.

    Raises
    ------
    ResultError
        They are of types that have nothing in common, or there are none to tell.
    """
    given = [ds.variables[dim].values if dim in ds.variables else None for ds in (old, new)]
    sizes = [ds.sizes.get(dim) for ds in (old, new)]
    if given[0] is None or given[1] is None:
        return _join_loose(dim, given, sizes)
    first, second = _comparable(dim, given[0], given[1])
    found = match(first, second, rtol)
    fresh = np.flatnonzero(found < 0)
    labels = np.concatenate([first, second[fresh]])
    found[fresh] = len(first) + np.arange(len(fresh))
    if not (_rises(first) and _rises(second)):
        return Joined(labels, len(labels), np.arange(len(first)), found)
    order = np.argsort(labels, kind="stable")
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    return Joined(labels[order], len(labels), place[: len(first)], place[found])


def _join_loose(dim: Any, given: list[Any], sizes: list[int | None]) -> Joined:
    """A dimension that one of both has no coordinate for: positions are all there is."""
    known = {size for size in sizes if size is not None}
    if len(known) > 1:
        raise ResultError(
            f"The dimension {dim!r} has length {sizes[0]} in what is there and {sizes[1]} in what "
            "is added, and no coordinate in both that would tell what belongs where. Give it one "
            "with var_coords."
        )
    (size,) = known
    labels = given[0] if given[0] is not None else given[1]
    return Joined(labels, size, np.arange(size), np.arange(size))


def _comparable(
    dim: Any, first: NDArray[Any], second: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels of both in one type that changes none."""
    if first.dtype == second.dtype:
        return first, second
    target = common_dtype({first.dtype, second.dtype})
    cast = None if target is None else exact_cast([first, second], target)
    if cast is not None:
        return cast[0], cast[1]
    if object in (first.dtype, second.dtype):
        return first.astype(object), second.astype(object)
    raise ResultError(
        f"The coordinate {dim!r} is {first.dtype} in what is there and {second.dtype} in what is "
        "added; they cannot stand on one axis."
    )


def match(first: NDArray[Any], second: NDArray[Any], rtol: float) -> NDArray[np.intp]:
    """For each label of `second` its place in `first`, or -1."""
    if first.dtype.kind == "O":
        places = {label: place for place, label in enumerate(first.tolist())}
        return np.array([places.get(label, -1) for label in second.tolist()], np.intp)
    found = np.full(len(second), -1, np.intp)
    if not len(first):
        return found
    order = np.argsort(first, kind="stable")
    ranked = first[order]
    at = np.searchsorted(ranked, second)
    for side in (at - 1, at):
        near = np.clip(side, 0, len(first) - 1)
        found = np.where(_same(ranked[near], second, rtol), order[near], found)
    return found


def _same(one: NDArray[Any], other: NDArray[Any], rtol: float) -> NDArray[np.bool_]:
    if one.dtype.kind in "fc":
        reach = rtol * np.maximum(np.abs(one), np.abs(other))
        return np.asarray((np.abs(one - other) <= reach) | (np.isnan(one) & np.isnan(other)))
    return np.asarray(one == other)


def _rises(labels: NDArray[Any]) -> bool:
    if labels.dtype.kind == "O":
        return False
    return bool(np.all(labels[1:] > labels[:-1]))
