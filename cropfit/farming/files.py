"""Datasets in files of their own, for scripts that need no function: as a Harvester keeps them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cropfit.errors import NotFoundError
from cropfit.farming.join import RTOL
from cropfit.farming.store import Store

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["load_ds", "save_ds", "save_merge_ds", "trimna"]


def save_ds(ds: xr.Dataset, file_name: str | os.PathLike[str], engine: str | None = None) -> None:
    """Make a file hold `ds` alone; it is there whole, the former or the new, at any moment.

    Raises
    ------
    CropError, OSError
        It cannot be locked, hold the data, or be written; what was there is as it was.
    """
    Store(file_name, engine).save(ds)


def load_ds(
    file_name: str | os.PathLike[str], engine: str | None = None, chunks: Any = None
) -> xr.Dataset:
    """Read a file into memory, or lazily with `chunks`.

    Raises
    ------
    NotFoundError
        There is none.
    DamagedError
        It cannot be read.
    """
    store = Store(file_name, engine)
    found = store.load(chunks)
    if found is None:
        raise NotFoundError(f"There is no file {store.path}.")
    return found


def save_merge_ds(
    ds: xr.Dataset,
    file_name: str | os.PathLike[str],
    overwrite: bool | None = None,
    engine: str | None = None,
    rtol: float = RTOL,
) -> None:
    """Put `ds` into a file beside what is there; options and errors as of `Harvester.add_ds`."""
    Store(file_name, engine, rtol).add(ds, overwrite)


def trimna(ds: xr.Dataset) -> xr.Dataset:
    """The same without coordinates at which nothing is there."""
    from cropfit.farming.accessor import CropfitAccessor

    return CropfitAccessor(ds).trim()
