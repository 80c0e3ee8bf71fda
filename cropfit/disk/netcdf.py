"""A Dataset reaches its file whole, verified, and without replacing what it should not.

    draft ──write──▶ re-open, compare with memory; fsync ──▶ link or rename ──▶ fsync folder
      └─────────────── any failure: the draft goes, the destination is as it was

What `save_dataset` writes, `load_dataset` gives back bit by bit, types and
attributes included; plain xarray opens the file too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.encoding import DTYPE, Stored, decode, decode_attrs
from cropfit.disk.exchange import exchange
from cropfit.disk.hdf5 import open_netcdf
from cropfit.disk.ncwriter import (
    COORDINATES,
    FORMAT,
    Box,
    Skeleton,
    Writer,
    boxes,
    check_skeleton,
    read_box,
    same_bytes,
    syncing,
)
from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT, sync_folder
from cropfit.errors import DamagedError, ExistsError, ResultError

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "decoded",
    "expect_values",
    "load_dataset",
    "open_dataset",
    "part_of",
    "remove_draft",
    "replacing",
    "save_dataset",
    "skeleton_of",
    "slabs",
]

SLAB = 16 << 20
"""Bytes that are written, and read back, at a time."""


def save_dataset(
    ds: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    grows: Collection[str] = (),
    check: Callable[[], object] | None = None,
) -> None:
    """Write `ds` to a netCDF-4 file that is there whole or not at all.

    Parameters
    ----------
    ds
        Numbers, booleans, complex numbers, dates, strings; in memory or lazy.
    path
        Where to. ``.zarr`` makes a Zarr store (``pip install cropfit[zarr]``).
    overwrite
        Whether a file of that name may be replaced.
    grows
        Dimensions along which values may be appended later.
    check
        Called before the file is put in place; raises if that must not be.

    Raises
    ------
    ExistsError
        There is one, and it may not.
    ResultError
        A variable holds what no file can hold: objects, long doubles.
    DamagedError
        What was read back is not what was written.
    OSError
        The disk is full, read-only or gone.

    Notes
    -----
    After any of these the destination is as it was, and no draft is left. Takes one pass of
    writing and one of reading; 48 MiB beside `ds` at most.
    """
    if os.fspath(path).endswith(".zarr"):
        from cropfit.disk.zarrstore import save_zarr

        save_zarr(ds, os.fspath(path), overwrite=overwrite, grows=grows, check=check)
        return
    skeleton = skeleton_of(ds)
    with replacing(path, overwrite=overwrite, check=check) as draft:
        writer = Writer(draft, skeleton, grows)
        try:
            for name, box in slabs(skeleton):
                writer.write(name, box, part_of(ds, name, box))
            writer.close()
        finally:
            writer.abandon()
        with syncing(draft):
            _verify(ds, draft, skeleton)


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str],
    *,
    overwrite: bool,
    check: Callable[[], object] | None = None,
) -> Iterator[str]:
    """Give the name of a draft, and put it in place of `path` when all went well.

    The last thing before that is to call `check`, which may raise.

    Raises
    ------
    ExistsError
        `path` is taken (or became so in the meantime), and may not be replaced.
    OSError
        The folder is missing or cannot be written to.
    """
    final = os.path.realpath(path)
    folder, name = os.path.split(final)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to save to", folder)
    if not overwrite and os.path.lexists(final):
        raise _taken(final)
    draft = os.path.join(folder, f".{name}.{Owner.here()}{DRAFT}")
    try:
        yield draft
        if check is not None:
            check()
        _place(draft, final, overwrite=overwrite)
    finally:
        remove_draft(draft)
    sync_folder(folder)


def load_dataset(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a Dataset into memory as it was saved; files of others as xarray reads them."""
    import xarray as xr

    if os.fspath(path).endswith(".zarr"):
        from cropfit.disk.zarrstore import load_zarr

        return load_zarr(os.fspath(path))
    with open_netcdf(os.fspath(path)) as file:
        if FORMAT in file.ncattrs():
            raw = {}
            for name, variable in file.variables.items():
                attrs = {key: variable.getncattr(key) for key in variable.ncattrs()}
                raw[name] = (variable.dimensions, read_box(variable), attrs)
            return decoded(raw, {key: file.getncattr(key) for key in file.ncattrs()})
    ds: xr.Dataset = xr.load_dataset(path)
    return ds


def open_dataset(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a saved Dataset without reading its plain numbers; close it, or use ``with``.

    Variables that are stored as something else (text, dates, booleans, complex numbers) are
    read at once.
    """
    import xarray as xr

    options: dict[str, Any] = {"engine": "netcdf4"}
    if os.fspath(path).endswith(".zarr"):
        options = {"engine": "zarr"}
    plain = xr.open_dataset(path, decode_cf=False, **options)
    if FORMAT not in plain.attrs:
        plain.close()
        return xr.open_dataset(path, **options)
    raw = {
        name: (
            variable.dims,
            variable.values if DTYPE in variable.attrs else variable,
            variable.attrs,
        )
        for name, variable in plain.variables.items()
    }
    ds = decoded(raw, plain.attrs)
    ds.set_close(plain.close)
    return ds


def decoded(raw: dict[Any, tuple[Any, Any, Any]], attrs: dict[str, Any]) -> xr.Dataset:
    """The Dataset whose raw variables (dimensions, values, attributes) were read from a file."""
    import xarray as xr

    variables = {name: _decoded_variable(*each) for name, each in raw.items()}
    loose = json.loads(attrs.get(COORDINATES, "[]"))
    coords = {n: v for n, v in variables.items() if n in loose or v.dims == (n,)}
    data = {name: v for name, v in variables.items() if name not in coords}
    own = {key: value for key, value in attrs.items() if key not in (FORMAT, COORDINATES)}
    return xr.Dataset(data, coords, decode_attrs(own))


def _decoded_variable(dims: Any, values: Any, marks: dict[str, Any]) -> xr.Variable:
    import xarray as xr

    if DTYPE not in marks:  # a lazy variable stays lazy
        return xr.Variable(dims, getattr(values, "_data", values), decode_attrs(marks))
    parts = np.dtype(marks[DTYPE]).kind in "cS"
    return xr.Variable(dims[: len(dims) - parts], decode(values, marks), decode_attrs(marks))


def skeleton_of(ds: xr.Dataset) -> Skeleton:
    """How the variables of `ds` are stored."""
    variables = {}
    for name, variable in ds.variables.items():
        if not isinstance(name, str):
            raise ResultError(f"a variable is named {name!r}; netCDF names are strings")
        variables[name] = (
            tuple(str(dim) for dim in variable.dims),
            variable.shape,
            variable.dtype,
            variable.attrs,
        )
    return Skeleton.of(variables, [str(name) for name in ds.coords], ds.attrs)


def slabs(skeleton: Skeleton) -> Iterator[tuple[str, Box]]:
    """Every variable in boxes of at most `SLAB` bytes."""
    for name, stored in skeleton.variables.items():
        shape = _memory_shape(stored)
        size = int(np.prod(shape, dtype=object))
        for box, _ in boxes(shape, 0, size, max(SLAB // max(stored.itemsize, 1), 1)):
            yield name, box


def _memory_shape(stored: Stored) -> tuple[int, ...]:
    return stored.shape[: len(stored.shape) - (stored.memory.kind in "cS")]


def part_of(ds: xr.Dataset, name: str, box: Box) -> NDArray[Any]:
    """The values in a box of a variable; all of them without slices."""
    variable = ds.variables[name]
    return np.asarray(variable[box].values if box else variable.values)


def _verify(ds: xr.Dataset, draft: str, skeleton: Skeleton) -> None:
    """Read the draft back and compare it with memory, bit by bit."""
    with open_netcdf(draft) as file:
        check_skeleton(draft, file, skeleton)
        for name, box in slabs(skeleton):
            found = read_box(file.variables[name], box)
            expect_values(draft, skeleton.variables[name], found, part_of(ds, name, box))


def expect_values(draft: str, stored: Stored, found: NDArray[Any], values: NDArray[Any]) -> None:
    """Hold raw values that were read back against those in memory.

    Raises
    ------
    DamagedError
        One bit differs.
    """
    meant = stored.encode(values)
    if not same_bytes(found.reshape(meant.shape), meant):
        raise DamagedError(
            f"{draft}: {stored.name!r} reads back with other values than were written. "
            "Nothing was replaced or deleted; is the disk sound?"
        )


def _taken(path: str) -> ExistsError:
    return ExistsError(
        f"{path} is there already and was left as it is. Give another name, or "
        "overwrite=True to replace it."
    )


def _place(draft: str, final: str, *, overwrite: bool) -> None:
    """Put the draft where it belongs, in one step."""
    if overwrite:
        if os.path.isdir(draft) and os.path.isdir(final):
            _swap(draft, final)
        else:
            os.replace(draft, final)
        return
    if os.path.isdir(draft):
        if os.path.lexists(final):
            raise _taken(final)
        os.rename(draft, final)
        return
    try:
        os.link(draft, final)
    except FileExistsError:
        if not os.path.samefile(draft, final):  # NFS may lose the reply to a link that was made
            raise _taken(final) from None
    except OSError:  # a file system without hard links: hold the name, then replace what we hold
        try:
            os.close(os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            raise _taken(final) from None
        try:
            os.replace(draft, final)
        except OSError:
            os.unlink(final)
            raise


def _swap(draft: str, final: str) -> None:
    """Put a folder in place of another, which goes."""
    if exchange(draft, final):
        return  # the draft is the former one now, and goes as drafts do
    aside = f"{draft[: -len(DRAFT)]}.old{DRAFT}"
    os.rename(final, aside)
    os.rename(draft, final)
    # Under this name it was whole, for whoever finds no other; under the draft's it may go.
    os.rename(aside, draft)


def remove_draft(draft: str) -> None:
    """Remove a draft, be it a file or a folder, if it is there."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        try:
            os.unlink(draft)
        except (IsADirectoryError, PermissionError):
            shutil.rmtree(draft, ignore_errors=True)
