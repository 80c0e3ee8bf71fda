"""Whether a Dataset only stands behind what a file holds, along one dimension of it.

Decided from the file's outline: names, types, attributes and coordinates. Of the
values nothing is read that grows, so that it costs the same however much is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cropfit.disk.encoding import DTYPE, Stored, decode, decode_attrs
from cropfit.disk.hdf5 import load_netcdf4
from cropfit.disk.ncwriter import COORDINATES, FORMAT
from cropfit.disk.netcdf import skeleton_of
from cropfit.errors import CropError, ResultError
from cropfit.farming.join import RTOL, Joined, join
from cropfit.work.variables import FILL

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Growth", "growth_of", "region"]


@dataclass(frozen=True, eq=False)
class Growth:
    """What an append does.

    Attributes
    ----------
    dim : str
        The dimension that grows.
    at : int
        Its length so far.
    variables : dict
        What grows, as it is stored.
    """

    dim: str
    at: int
    variables: dict[str, Stored]


def growth_of(path: str, new: xr.Dataset, rtol: float = RTOL) -> Growth | None:
    """How `new` is appended to a file; None if there is more to it, or less."""
    try:
        with _outlined(path) as there:
            stored = skeleton_of(new).variables
            dim = None if there is None else _dimension(there, new, rtol)
            if there is None or dim is None or not _fits(there, new, dim):
                return None
            growing = {name: each for name, each in stored.items() if dim in each.dims}
            if not all(there.has_form(each, dim) for each in growing.values()):
                return None
            return Growth(dim, there.raw.sizes[dim], growing)
    except (OSError, ValueError, KeyError, CropError, ResultError):
        return None  # what is wrong is for the merge to tell


def region(stored: Stored, growth: Growth) -> tuple[slice, ...]:
    """Where a variable's new values stand."""
    return tuple(
        slice(growth.at, growth.at + size) if dim == growth.dim else slice(0, size)
        for dim, size in zip(stored.dims, stored.shape, strict=True)
    )


class _Outline:
    """A file that is open, as it is stored."""

    def __init__(self, raw: xr.Dataset) -> None:
        self.raw = raw
        self.attrs = decode_attrs(
            {key: raw.attrs[key] for key in raw.attrs if key not in (FORMAT, COORDINATES)}
        )

    def dtype(self, name: Any) -> np.dtype[Any]:
        """The type in memory."""
        variable = self.raw.variables[name]
        dtype: np.dtype[Any] = np.dtype(variable.attrs.get(DTYPE, variable.dtype))
        return dtype

    def dims(self, name: Any) -> tuple[Any, ...]:
        """The dimensions in memory."""
        dims = self.raw.variables[name].dims
        return dims[: len(dims) - (self.dtype(name).kind in "cS")]

    def read(self, name: Any) -> xr.Variable:
        """A variable as it is in memory."""
        import xarray as xr

        variable = self.raw.variables[name]
        values = decode(variable.values, variable.attrs)
        return xr.Variable(self.dims(name), values, decode_attrs(variable.attrs))

    def has_form(self, stored: Stored, dim: str) -> bool:
        """Whether a variable's values come as they stand in the file, but for their number."""
        variable = self.raw.variables[stored.name]
        here = [n for n, d in zip(stored.shape, stored.dims, strict=True) if d != dim]
        there = [n for n, d in zip(variable.shape, variable.dims, strict=True) if d != dim]
        is_text = variable.dtype.kind not in "biufcMmV"
        # xarray may show bools, which files hold as bytes, as what they mean.
        same_type = stored.is_text if is_text else variable.dtype in (stored.raw, stored.memory)
        return tuple(variable.dims) == tuple(stored.dims) and here == there and same_type


@contextlib.contextmanager
def _outlined(path: str) -> Iterator[_Outline | None]:
    """Open a file of ours; None for one of others."""
    import xarray as xr

    load_netcdf4()
    engine: Any = "zarr" if path.endswith(".zarr") else "netcdf4"
    with xr.open_dataset(path, engine=engine, decode_cf=False, cache=False) as raw:
        yield _Outline(raw) if FORMAT in raw.attrs else None


def _dimension(there: _Outline, new: xr.Dataset, rtol: float) -> str | None:
    """The one dimension along which `new` stands behind what is there; None if there is none."""
    import xarray as xr

    if set(there.raw.variables) != set(new.variables):
        return None
    outer = dict.fromkeys(dim for name in there.raw.variables for dim in there.dims(name))
    if set(outer) != set(new.dims):
        return None
    labels = {dim: there.read(dim) for dim in outer if dim in there.raw.variables}
    old = xr.Dataset(coords=labels)
    behind = []
    for dim in outer:
        if dim not in labels:
            if there.raw.sizes[dim] != new.sizes[dim]:
                return None
            continue
        joined = join(dim, old, new, rtol)
        if _is_behind(joined):
            behind.append(dim)
        elif not _is_same(joined):
            return None
    return str(behind[0]) if len(behind) == 1 else None


def _is_behind(joined: Joined) -> bool:
    first, size = len(joined.old), joined.size
    before = first < size and np.array_equal(joined.old, np.arange(first))
    return before and np.array_equal(joined.new, np.arange(first, size))


def _is_same(joined: Joined) -> bool:
    every = np.arange(joined.size)
    return np.array_equal(joined.old, every) and np.array_equal(joined.new, every)


def _fits(there: _Outline, new: xr.Dataset, dim: str) -> bool:
    """Whether types, dimensions and all that does not grow are the same."""
    for name, variable in new.variables.items():
        if there.dims(name) != variable.dims or there.dtype(name) != variable.dtype:
            return False
        if dim not in variable.dims:
            same: Any = there.read(name).equals
            if not same(variable):
                return False
        attrs = decode_attrs(there.raw.variables[name].attrs)
        if not set(variable.attrs) <= set(attrs):
            return False
        if FILL in variable.attrs and not np.array_equal(variable.attrs[FILL], attrs[FILL]):
            return False
    return set(new.attrs) <= set(there.attrs)
