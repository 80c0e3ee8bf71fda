"""Appending to a netCDF file: bytes are copied, not read, and the copy is extended.

    copy of the file's bytes ─▶ new values behind the old ─▶ fsync, read back ─▶ rename

HDF5 writes its own tables in place, where a kill would tear them; so it is a copy
that grows. A file system that shares blocks (XFS, btrfs, NFS 4.2) copies in no time;
elsewhere the disk's speed is what an append costs. Only dimensions that grew before
are stored so that they can grow: the first append along one writes all anew.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from cropfit.disk.hdf5 import load_netcdf4
from cropfit.disk.ncwriter import Writer, read_box, syncing
from cropfit.disk.netcdf import expect_values, part_of, replacing
from cropfit.errors import DamagedError
from cropfit.farming.growth import Growth, growth_of, region
from cropfit.farming.join import RTOL

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["append", "growing_dims"]

_BLOCK = 8 << 20
_NO_COPY = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EBADF)


def growing_dims(path: str) -> set[str]:
    """The dimensions that can grow in a file."""
    with load_netcdf4().Dataset(path, "r") as file:
        return {name for name, dim in file.dimensions.items() if dim.isunlimited()}


def append(path: str, new: xr.Dataset, check: Callable[[], None], rtol: float = RTOL) -> bool:
    """Append `new` along one dimension, if that is all there is to do and the file can grow so.

    Parameters
    ----------
    path : str
        The file.
    new : Dataset
        What may stand behind what is there.
    check : callable
        Raises if the file is not this process' to write any more.
    rtol : float
        How far float coordinates may be apart and be the same, relative to the larger.

    Returns
    -------
    bool
        False if it cannot; nothing was written.

    Raises
    ------
    DamagedError, OSError
        As `cropfit.disk.netcdf.save_dataset`; the file is as it was.
    """
    growth = growth_of(path, new, rtol)
    if growth is None or growth.dim not in growing_dims(path):
        return False
    with replacing(path, overwrite=True, check=check) as draft:
        _copy(path, draft)
        writer = Writer.extending(draft, growth.variables)
        try:
            for name, stored in growth.variables.items():
                writer.write(name, region(stored, growth), part_of(new, name, ()))
            writer.close()
        finally:
            writer.abandon()
        with syncing(draft):
            _verify(draft, new, growth)
    return True


def _verify(draft: str, new: xr.Dataset, growth: Growth) -> None:
    """Hold what is behind the old values against memory."""
    with load_netcdf4().Dataset(draft, "r") as file:
        for name, stored in growth.variables.items():
            box = region(stored, growth)
            if file.variables[name].shape != tuple(part.stop for part in box):
                raise DamagedError(f"{draft}: {name!r} did not grow. Nothing was replaced.")
            expect_values(
                draft, stored, read_box(file.variables[name], box), part_of(new, name, ())
            )


def _copy(source: str, target: str) -> None:
    """Copy a file's bytes by the file system, which may share them, and compare."""
    with open(source, "rb") as old, open(target, "xb") as new:
        size = os.fstat(old.fileno()).st_size
        try:
            at = 0
            while at < size:
                done = os.copy_file_range(old.fileno(), new.fileno(), size - at, at, at)
                if not done:
                    raise OSError(errno.EINVAL, "copied nothing", target)
                at += done
        except (OSError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_COPY:
                raise
            new.seek(0)
            shutil.copyfileobj(old, new, _BLOCK)
            new.truncate()
    with open(source, "rb") as old, open(target, "rb") as new:
        while block := old.read(_BLOCK):
            if new.read(_BLOCK) != block:
                raise DamagedError(f"{target}: it is no true copy of {source}. Nothing was lost.")
