"""netCDF4, loaded so that its HDF5 locks no files.

HDF5 locks every file that it opens. Ours are drafts under names that nobody else
knows, so the lock protects nothing. Where locks work badly it does harm: one NFS
client waited a minute for it, and without a lock server it is an error.
"""

from __future__ import annotations

import os
import threading
from typing import Any

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
