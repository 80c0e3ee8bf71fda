"""Bytes in a file that is there whole, synced and readable, or not at all."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle

from cropfit.disk.netcdf import replacing
from cropfit.errors import DamagedError

__all__ = ["save_bytes", "save_pickle"]


def save_bytes(
    data: bytes, path: str, *, overwrite: bool, check: Callable[[bytes], object]
) -> None:
    """Write a draft, sync it, read it back, and rename it into place.

    Parameters
    ----------
    data : bytes
        What the file is to hold.
    path : str
        The file.
    overwrite : bool
        Whether a file of that name may be replaced; it stands until the new one does.
    check : callable
        Called with what was read back; raises if nobody could use it.

    Raises
    ------
    ExistsError
        There is a file of that name, and it may not be replaced.
    DamagedError
        What was read back is not what was written.
    OSError
        The disk is full, read-only or gone.
    """
    with replacing(path, overwrite=overwrite) as draft:
        try:
            _write(draft, data)
        except OSError as error:
            error.filename = error.filename or path
            raise
        with open(draft, "rb") as file:
            found = file.read()
        if found != data:
            raise DamagedError(f"{draft}: what was read back is not what was written.")
        check(found)


def _write(draft: str, data: bytes) -> None:
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def save_pickle(value: Any, path: str, *, overwrite: bool) -> None:
    """Pickle `value` to a file; raises as `save_bytes` does."""
    data = cloudpickle.dumps(value, protocol=5)
    save_bytes(data, path, overwrite=overwrite, check=pickle.loads)
