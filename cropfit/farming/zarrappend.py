"""Appending to a Zarr store: what it costs follows what is added, not what is there.

    arrays enlarged, new chunks written ─▶ synced, read back ─▶ consolidated metadata: commit

Whoever opens the store reads its consolidated metadata, which tells of the old sizes
until it is replaced, in one rename, by one that tells of the new. A kill before that
leaves the store as it was; the next append puts the arrays' own metadata right first.
"""

from __future__ import annotations

import os
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from cropfit.disk.encoding import Stored
from cropfit.disk.netcdf import expect_values, open_dataset, part_of, skeleton_of
from cropfit.errors import CropError, ResultError
from cropfit.farming.join import Joined, join

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["append", "repair"]


def repair(path: str) -> None:
    """Shrink arrays to their sizes in the consolidated metadata: an append was killed."""
    group, told = _group(path), _committed(path)
    for name, shape in told.items():
        if group[name].shape != shape:
            group[name].resize(shape)


def append(path: str, new: xr.Dataset) -> bool:
    """Append `new` along one dimension, if that is all there is to do.

    Returns
    -------
    bool
        False if it is more than that; nothing was written.

    Raises
    ------
    DamagedError
        What was read back is not what was written; the store reads as before.
    """
    told = _committed(path)
    if not told:
        return False
    with open_dataset(path) as old:
        try:
            dim = _dimension(old, new)
            stored = skeleton_of(new).variables
        except (ResultError, CropError):
            return False  # what is wrong is for the merge to tell
        if dim is None or not _fits(old, new, dim):
            return False
        at = old.sizes[dim]
    group = _group(path)
    growing = {name: each for name, each in stored.items() if dim in each.dims}
    if not all(_same_form(group[name], each, dim) for name, each in growing.items()):
        return False
    begin = time.time()
    for name, each in growing.items():
        _extend(group[name], each, dim, at, new)
    _sync(path, growing, begin)
    for name, each in growing.items():
        found = np.asarray(group[name][_region(each, dim, at)], each.raw)
        expect_values(path, each, found, part_of(new, name, ()))
    _commit(path)
    return True


def _group(path: str) -> Any:
    """The arrays with their own metadata."""
    import zarr

    return zarr.open_group(path, mode="r+", use_consolidated=False)


def _committed(path: str) -> dict[str, tuple[int, ...]]:
    """Shape of every array as readers see it; nothing for a store that tells no such thing."""
    import zarr

    try:
        group: Any = zarr.open_group(path, mode="r", use_consolidated=True)
    except ValueError:
        return {}
    return {name: tuple(array.shape) for name, array in group.arrays()}


def _commit(path: str) -> None:
    import zarr

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(path)
    with open(f"{path}/zarr.json", "rb") as file:
        os.fsync(file.fileno())


# -- whether appending is all there is to do -------------------------------------------


def _dimension(old: xr.Dataset, new: xr.Dataset) -> str | None:
    """The one dimension along which `new` stands behind `old`; None if there is none."""
    if set(old.dims) != set(new.dims) or set(old.variables) != set(new.variables):
        return None
    joined = {str(dim): join(dim, old, new) for dim in old.dims}
    behind = [dim for dim, each in joined.items() if dim in old.coords and _is_behind(each)]
    others = [dim for dim in joined if dim not in behind]
    if len(behind) != 1 or not all(_is_same(joined[dim]) for dim in others):
        return None
    return behind[0]


def _is_behind(joined: Joined) -> bool:
    first, size = len(joined.old), joined.size
    before = np.array_equal(joined.old, np.arange(first))
    return before and np.array_equal(joined.new, np.arange(first, size))


def _is_same(joined: Joined) -> bool:
    every = np.arange(joined.size)
    return np.array_equal(joined.old, every) and np.array_equal(joined.new, every)


def _fits(old: xr.Dataset, new: xr.Dataset, dim: str) -> bool:
    """Whether types, dimensions and all that does not grow are the same."""
    for name, variable in new.variables.items():
        there: Any = old.variables[name]
        if there.dims != variable.dims or there.dtype != variable.dtype:
            return False
        if dim not in variable.dims and not there.equals(variable):
            return False
        if not set(variable.attrs) <= set(there.attrs):
            return False
    return set(new.attrs) <= set(old.attrs)


def _same_form(array: Any, stored: Stored, dim: str) -> bool:
    """Whether the array in the store is of the form in which the new values come."""
    shape = [n for n, d in zip(stored.shape, stored.dims, strict=True) if d != dim]
    dims = array.metadata.dimension_names if hasattr(array.metadata, "dimension_names") else None
    if dims is None or tuple(dims) != tuple(stored.dims):
        return False
    there = [n for n, d in zip(array.shape, stored.dims, strict=True) if d != dim]
    is_text = array.dtype.kind not in "biufcMmV"
    return shape == there and (stored.is_text if is_text else array.dtype == stored.raw)


# -- appending -------------------------------------------------------------------------


def _region(stored: Stored, dim: str, at: int) -> tuple[slice, ...]:
    return tuple(
        slice(at, at + size) if name == dim else slice(None)
        for name, size in zip(stored.dims, stored.shape, strict=True)
    )


def _extend(array: Any, stored: Stored, dim: str, at: int, new: xr.Dataset) -> None:
    raw = stored.encode(part_of(new, stored.name, ()))
    place = stored.dims.index(dim)
    shape = list(array.shape)
    shape[place] = at + stored.shape[place]
    array.resize(tuple(shape))
    array[_region(stored, dim, at)] = np.asarray(raw, "T") if stored.is_text else raw


def _sync(path: str, names: Any, begin: float) -> None:
    """Bring what was written since `begin` to the disk."""
    for name in names:
        for folder, _, files in os.walk(f"{path}/{name}"):
            for each in files:
                place = f"{folder}/{each}"
                if os.stat(place).st_mtime >= begin - 2.0:
                    handle = os.open(place, os.O_RDONLY)
                    try:
                        os.fsync(handle)
                    finally:
                        os.close(handle)
