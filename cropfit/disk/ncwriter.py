"""A netCDF file under construction: everything declared first, then filled box by box.

    Skeleton ──declare──▶ draft ──write boxes──▶ close ──fsync──▶ read back, compare

Storage is contiguous and nothing is filled in advance: every byte is written
once, by us, so that what is read back can be held against what was meant.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropfit.disk.encoding import Stored, encode_attrs, plan
from cropfit.disk.hdf5 import load_netcdf4, open_netcdf, small_caches
from cropfit.disk.publish import sync_file
from cropfit.errors import DamagedError

__all__ = [
    "COORDINATES",
    "FORMAT",
    "Skeleton",
    "Writer",
    "boxes",
    "check_skeleton",
    "check_space",
    "chunk_shape",
    "read_box",
    "same_bytes",
    "syncing",
]

FORMAT = "cropfit_format"
COORDINATES = "cropfit_coordinates"
CHUNK = 256 << 10
Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Skeleton:
    """All of a file but the values."""

    variables: Mapping[str, Stored]
    attrs: Mapping[str, Any]

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each dimension."""
        return {
            dim: size
            for stored in self.variables.values()
            for dim, size in zip(stored.dims, stored.shape, strict=True)
        }

    @property
    def nbytes(self) -> int:
        """Bytes that the file will take at least."""
        return sum(
            math.prod(stored.shape) * stored.raw.itemsize for stored in self.variables.values()
        )

    @classmethod
    def of(
        cls,
        variables: Mapping[str, tuple[tuple[str, ...], tuple[int, ...], Any, Mapping[str, Any]]],
        coords: Iterable[str],
        attrs: Mapping[str, Any],
    ) -> Skeleton:
        """Decide how each variable is stored.

        Parameters
        ----------
        variables
            Dimensions, shape, dtype and attributes by name, coordinates among them.
        coords
            Which of them are coordinates.
        attrs
            Attributes of the whole.

        Raises
        ------
        ResultError
            netCDF cannot hold one of the types.
        """
        taken = {dim for dims, *_ in variables.values() for dim in dims}
        stored = {name: plan(name, *each, taken) for name, each in variables.items()}
        loose = [name for name in coords if stored[name].dims != (name,)]
        named = [name for name in loose if not any(c.isspace() for c in name)]
        for name, each in stored.items():
            fitting = [c for c in named if set(stored[c].dims) <= set(each.dims)]
            if name not in set(coords) and fitting:
                marked = {**each.attrs, "coordinates": " ".join(fitting)}
                stored[name] = Stored(name, each.dims, each.shape, each.memory, each.raw, marked)
        made = {**encode_attrs(attrs), FORMAT: 1}
        if loose:
            made[COORDINATES] = json.dumps(loose)
        return cls(stored, made)


class Writer:
    """The one who fills a draft; close it before reading it back.

    Parameters
    ----------
    draft
        A file that is not there yet.
    skeleton
        All that is known of it.
    grows
        Dimensions along which values may be appended later. What has them is stored in
        pieces, which may stand anywhere in the file.
    """

    def __init__(self, draft: str, skeleton: Skeleton, grows: Collection[str] = ()) -> None:
        self._draft = draft
        self._need = skeleton.nbytes
        self._stored = skeleton.variables
        check_space(draft, self._need)
        with self._told(), small_caches() as netcdf4:
            self._file = netcdf4.Dataset(draft, "w", clobber=False)
            self._file.set_fill_off()
            for dim, size in skeleton.sizes.items():
                self._file.createDimension(dim, None if dim in grows else size)
            for stored in skeleton.variables.values():
                self._declare(stored, grows)
            self._file.setncatts(dict(skeleton.attrs))

    @classmethod
    def extending(cls, draft: str, variables: Mapping[str, Stored]) -> Writer:
        """The writer of further values of some variables to a draft that is whole already."""
        writer = cls.__new__(cls)
        writer._draft, writer._stored = draft, variables
        writer._need = Skeleton(variables, {}).nbytes
        check_space(draft, writer._need)
        with writer._told():
            writer._file = load_netcdf4().Dataset(draft, "r+")
            writer._file.set_fill_off()
            for name in variables:
                writer._file[name].set_auto_maskandscale(False)
        return writer

    def _declare(self, stored: Stored, grows: Collection[str]) -> None:
        form: Any = {} if stored.is_text else {"fill_value": False}
        if not set(grows).isdisjoint(stored.dims):
            form["chunksizes"] = chunk_shape(stored, grows)
        dtype: Any = str if stored.is_text else stored.raw.str
        variable = self._file.createVariable(stored.name, dtype, stored.dims, **form)
        variable.set_auto_maskandscale(False)
        for key, value in stored.attrs.items():
            variable.setncattr(key, value)

    def write(self, name: str, box: Box, values: NDArray[Any]) -> NDArray[Any]:
        """Encode and write a box of a variable; return what was written."""
        raw = self._stored[name].encode(values)
        if raw.size:
            with self._told():
                self._file[name][box if box else ...] = raw
        return raw

    def mark(self, name: str, key: str, value: Any) -> None:
        """Set an attribute that is known only after the values."""
        with self._told():
            self._file[name].setncattr(key, value)

    def close(self) -> None:
        """Close the file; `syncing` waits until it is on disk."""
        with self._told():
            self._file.close()

    @contextlib.contextmanager
    def reread(self, skeleton: Skeleton) -> Iterator[Callable[[str, Box], NDArray[Any]]]:
        """Check all of the closed draft but the values; give what reads a box of those.

        Raises
        ------
        DamagedError
            Something is not as it was written.
        OSError
            The disk did not take it.
        """
        with syncing(self._draft), open_netcdf(self._draft) as file:
            check_skeleton(self._draft, file, skeleton)
            yield lambda name, box: read_box(file.variables[name], box)

    def abandon(self) -> None:
        """Close without a word; the draft is of no use any more."""
        with contextlib.suppress(RuntimeError, OSError):
            if self._file.isopen():
                self._file.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say what the library does not: which file, and how full the disk is."""
        try:
            yield
        except RuntimeError as error:
            free = _free(self._draft)
            raise OSError(
                errno.EIO,
                f"netCDF could not write it ({error}); it needs {self._need:,} bytes and "
                f"{free:,} are free",
                self._draft,
            ) from error


def chunk_shape(stored: Stored, grows: Collection[str], most: int = CHUNK) -> tuple[int, ...]:
    """Pieces of some `most` bytes in which a variable is stored, whose dimensions may grow."""
    chunks = [
        max(2 * size, 64) if dim in grows else max(size, 1)
        for dim, size in zip(stored.dims, stored.shape, strict=True)
    ]
    for at, size in enumerate(chunks):
        whole = math.prod(chunks) * (16 if stored.is_text else stored.raw.itemsize)
        if whole > most:
            chunks[at] = max(1, size * most // whole)
    return tuple(chunks)


@contextlib.contextmanager
def syncing(draft: str, sync: Callable[[str], None] = sync_file) -> Iterator[None]:
    """Bring a closed draft to the disk while it is read back.

    Raises
    ------
    OSError
        The disk did not take it.
    """
    with ThreadPoolExecutor(1) as pool:
        synced = pool.submit(sync, draft)
        yield
        synced.result()


def boxes(shape: tuple[int, ...], start: int, stop: int, most: int) -> Iterator[tuple[Box, int]]:
    """Cut a run of elements in C order into boxes.

    Parameters
    ----------
    shape
        Of the array; boxes have as many slices.
    start, stop
        The run, in elements.
    most
        Elements in a box, at most.

    Yields
    ------
    box : tuple of slices
        In order: together they are the run.
    size : int
        How many elements it has.
    """
    if not shape:
        if start < stop:
            yield (), 1
        return
    inner = math.prod(shape[1:])
    while start < stop:
        row, rest = divmod(start, inner)
        whole = min((stop - start) // inner, max(most // inner, 1))
        if rest == 0 and whole and inner <= most:
            yield (slice(row, row + whole), *(slice(0, size) for size in shape[1:])), whole * inner
            start += whole * inner
            continue
        end = min(inner, rest + stop - start)
        for box, size in boxes(shape[1:], rest, end, most):
            yield (slice(row, row + 1), *box), size
        start += end - rest


def read_box(variable: Any, box: Box = ()) -> NDArray[Any]:
    """Raw values of a box of an open file's variable, or of all of it."""
    variable.set_auto_maskandscale(False)
    variable.set_auto_chartostring(False)
    found = variable[box if box else ...]
    return np.asarray(found, object) if variable.dtype is str else np.asarray(found)


def check_skeleton(draft: str, file: Any, skeleton: Skeleton) -> None:
    """Hold an open file's dimensions, names, types and attributes against what was meant.

    Raises
    ------
    DamagedError
        Something is not as it was written.
    """
    _expect(draft, "dimensions", {d: len(v) for d, v in file.dimensions.items()}, skeleton.sizes)
    _expect(draft, "variables", set(file.variables), set(skeleton.variables))
    _expect_attrs(draft, "the file", file, skeleton.attrs)
    for name, stored in skeleton.variables.items():
        found = file.variables[name]
        dtype = np.dtype(object) if found.dtype is str else found.dtype
        _expect(draft, f"the type of {name!r}", dtype, stored.raw)
        _expect(draft, f"the dimensions of {name!r}", found.dimensions, stored.dims)
        _expect_attrs(draft, repr(name), found, stored.attrs)


def same_bytes(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays hold the same bits: NaN is NaN, and -0.0 is not 0.0."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind == "f":
        bits = f"u{one.dtype.itemsize}"
        one, other = (np.ascontiguousarray(each).view(bits) for each in (one, other))
    return bool(np.array_equal(one, other))


def _expect(draft: str, what: str, found: Any, meant: Any) -> None:
    if found != meant:
        raise DamagedError(
            f"{draft}: {what} read back as {found}, but {meant} was written. Nothing was "
            "replaced or deleted; is the disk sound?"
        )


def _expect_attrs(draft: str, what: str, holder: Any, meant: Mapping[str, Any]) -> None:
    found = {key: holder.getncattr(key) for key in holder.ncattrs()}
    _expect(draft, f"the attributes of {what}", set(found), set(meant))
    for key, value in meant.items():
        if not _same_attr(found[key], value):
            _expect(draft, f"the attribute {key!r} of {what}", found[key], value)


def _same_attr(one: Any, other: Any) -> bool:
    a, b = np.asarray(one), np.asarray(other)
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")


def _free(path: str) -> int:
    found = os.statvfs(os.path.dirname(path) or ".")
    return found.f_bavail * found.f_frsize


def check_space(draft: str, need: int) -> None:
    """Refuse at once what cannot fit, before hours of writing."""
    free = _free(draft)
    if need > free:
        raise OSError(
            errno.ENOSPC, f"the disk is too full: {need:,} bytes needed, {free:,} free", draft
        )
