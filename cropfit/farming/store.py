"""The file of a Harvester: read whole, added to by one process at a time, whole at any moment.

add:  lock ─▶ read what is there now ─▶ merge ─▶ draft, fsync, verify ─▶ rename ─▶ unlock
a Zarr store that only grows along one dimension: append, then commit (`zarrappend`)
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any

from cropfit.disk.netcdf import load_dataset, open_dataset, save_dataset
from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT, check_own
from cropfit.disk.verified import save_pickle
from cropfit.errors import DamagedError, DesignError
from cropfit.farming.lock import locked
from cropfit.farming.merge import merge
from cropfit.work.sow import abandoned

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ENGINES", "Store"]

ENGINES = ("netcdf4", "h5netcdf", "zarr", "joblib")
_ENDINGS = {".zarr": "zarr", ".dmp": "joblib", ".joblib": "joblib", ".pkl": "joblib"}
_OLD = f".old{DRAFT}"  # a store that was moved aside while its successor took its place


class Store:
    """One data file.

    Parameters
    ----------
    path : path
        The file, or the folder of a Zarr store.
    engine : str, optional
        One of `ENGINES`; by default what the ending tells, else netCDF. A netCDF file is the
        same whether it is to be read with netcdf4 or h5netcdf.

    Raises
    ------
    DesignError
        There is no such engine, or the ending says another.
    """

    def __init__(self, path: str | os.PathLike[str], engine: str | None = None) -> None:
        self.path = os.path.abspath(path)
        told = _ENDINGS.get(os.path.splitext(self.path)[1])
        if engine is not None and engine not in ENGINES:
            raise DesignError(f"engine={engine!r} is not one of {', '.join(ENGINES)}.")
        if (engine == "zarr") != (told == "zarr") and engine is not None:
            raise DesignError(
                f"{self.path} with engine={engine!r}: the name of a Zarr store, and of nothing "
                "else, ends in .zarr."
            )
        self.engine = engine or told or "netcdf4"

    def load(self, chunks: Any = None) -> xr.Dataset | None:
        """What the file holds, in memory, or lazily with `chunks`; None if there is none.

        Raises
        ------
        DamagedError
            It cannot be read.
        """
        if not os.path.lexists(self.path) and not self._recovered():
            return None
        if self.engine == "joblib":
            return self._unpickled()
        try:
            if chunks is not None:
                whole: Any = open_dataset(self.path).chunk(chunks)
            else:
                whole = load_dataset(self.path)
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            raise DamagedError(f"{self.path} cannot be read: {error}.") from error
        found: xr.Dataset = whole
        return found

    def add(self, new: xr.Dataset, overwrite: bool | None = None) -> xr.Dataset | None:
        """Put `new` into the file, beside what any other process put there.

        Returns
        -------
        Dataset or None
            All that the file holds now; None if it was appended to without reading it.

        Raises
        ------
        ConflictError
            Both have a value in a place, and another; nothing was written.
        CropError, ResultError, OSError
            The file cannot be locked, hold the data, or be written; it is as it was.
        """
        with locked(self.path):
            self._sweep()
            if self.engine == "zarr" and self._appended(new):
                return None
            old = self.load()
            merged = new if old is None else merge(old, new, overwrite=overwrite)
            self._write(merged)
            return merged

    def save(self, ds: xr.Dataset) -> None:
        """Make the file hold `ds` alone."""
        with locked(self.path):
            self._sweep()
            self._write(ds)

    def delete(self, backup: bool = False) -> None:
        """Delete the file, or with `backup` rename it to ``<name>.bak``."""
        with locked(self.path), contextlib.suppress(FileNotFoundError):
            if backup:
                kept = f"{self.path}.bak"
                _remove(kept)
                os.rename(self.path, kept)
            else:
                aside = f"{os.path.dirname(self.path)}/.{os.path.basename(self.path)}"
                aside = f"{aside}.{Owner.here()}{DRAFT}"
                os.rename(self.path, aside)
                _remove(aside)

    # -- inside --------------------------------------------------------------------

    def _write(self, ds: xr.Dataset) -> None:
        if self.engine == "joblib":
            save_pickle(ds.load(), self.path, overwrite=True)
        else:
            save_dataset(ds, self.path, overwrite=True)

    def _appended(self, new: xr.Dataset) -> bool:
        from cropfit.farming.zarrappend import append, repair

        if not os.path.isdir(self.path):
            return False
        repair(self.path)
        return append(self.path, new)

    def _unpickled(self) -> xr.Dataset:
        import joblib

        check_own(self.path)
        try:
            found: xr.Dataset = joblib.load(self.path)
        except Exception as error:  # what a torn pickle raises is anybody's guess
            raise DamagedError(f"{self.path} cannot be read: {error}.") from error
        return found

    def _recovered(self) -> bool:
        """Bring back a store whose writer was killed between moving it aside and replacing it."""
        if self.engine != "zarr" or not self._asides():
            return False
        with locked(self.path):
            if not os.path.lexists(self.path):
                for aside in self._asides():
                    os.rename(aside, self.path)
                    break
        return os.path.lexists(self.path)

    def _asides(self) -> list[str]:
        folder, name = os.path.split(self.path)
        begin = f".{name}."
        with os.scandir(folder) as entries:
            return [e.path for e in entries if e.name.startswith(begin) and e.name.endswith(_OLD)]

    def _sweep(self) -> None:
        """Remove what writers of this file left when they were killed. The lock is ours."""
        if not os.path.lexists(self.path):
            for aside in self._asides():
                os.rename(aside, self.path)
                break
        folder, name = os.path.split(self.path)
        for path in list(abandoned(folder, Owner.here())):
            if os.path.basename(path).startswith(f".{name}."):
                _remove(path)
        for aside in self._asides():
            _remove(aside)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
