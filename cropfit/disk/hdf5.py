"""netCDF4, loaded so that its HDF5 locks no files.

HDF5 locks every file that it opens. Ours are drafts under names that nobody else
knows, so the lock protects nothing. Where locks work badly it does harm: one NFS
client waited a minute for it, and without a lock server it is an error.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

CACHE = 1 << 20
"""Bytes of a variable's pieces that HDF5 holds; each is written, or read, but once."""

LOCKING = "HDF5_USE_FILE_LOCKING"

_alone = threading.Lock()


def load_netcdf4() -> Any:
    """The module netCDF4; a choice made in the environment, or by an earlier import, stands."""
    with _alone:
        chosen = LOCKING in os.environ
        os.environ.setdefault(LOCKING, "FALSE")
        try:
            import netCDF4  # here HDF5 reads the variable, once
        finally:
            if not chosen:
                del os.environ[LOCKING]
    return netCDF4


@contextlib.contextmanager
def small_caches() -> Iterator[Any]:
    """The module netCDF4; what is declared or opened meanwhile holds `CACHE`, not 64 MiB each."""
    netcdf4 = load_netcdf4()
    former = netcdf4.get_chunk_cache()
    netcdf4.set_chunk_cache(CACHE, *former[1:])
    try:
        yield netcdf4
    finally:
        netcdf4.set_chunk_cache(*former)


def open_netcdf(path: str) -> Any:
    """Open a file to be read from one end to the other."""
    with small_caches() as netcdf4:
        return netcdf4.Dataset(path, "r")
