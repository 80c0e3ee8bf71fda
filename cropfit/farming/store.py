"""The file of a Harvester: read whole, added to by one process at a time, whole at any moment.

add:  lock ─▶ read what is there now ─▶ merge ─▶ draft, fsync, verify ─▶ rename ─▶ unlock
                    what only stands behind, along one dimension: `ncappend`, `zarrappend`
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from cropfit.disk.lock import locked
from cropfit.disk.netcdf import load_dataset, open_dataset, save_dataset
from cropfit.disk.owner import Owner
from cropfit.disk.publish import DRAFT, check_own
from cropfit.disk.verified import save_pickle
from cropfit.errors import DamagedError, DesignError
from cropfit.farming.join import RTOL
from cropfit.farming.merge import merge
from cropfit.work.sow import abandoned

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ENGINES", "Store"]

ENGINES = ("netcdf4", "h5netcdf", "zarr", "joblib")
_ENDINGS = {".zarr": "zarr", ".dmp": "joblib", ".joblib": "joblib", ".pkl": "joblib"}
_TRIES = 5
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
    rtol : float
        How far float coordinates may be apart and be the same, relative to the larger.

    Raises
    ------
    DesignError
        There is no such engine, or the ending says another.
    """

    def __init__(
        self, path: str | os.PathLike[str], engine: str | None = None, rtol: float = RTOL
    ) -> None:
        self.rtol = rtol
        self.path = os.path.abspath(path)
        self._real = os.path.realpath(path)  # what a link points to is what is replaced
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
        if not os.path.lexists(self._real) and not self._recovered():
            return None
        for _ in range(_TRIES if self.engine == "zarr" else 0):
            before = self._version()
            try:
                found = self._read(chunks)
            except (DamagedError, FileNotFoundError):
                found = None
            if before is not None and before == self._version():
                if found is not None:
                    return found
                break  # it is damaged indeed
        with self._quiet():
            return self._read(chunks)

    def _read(self, chunks: Any = None) -> xr.Dataset | None:
        if not os.path.lexists(self._real):
            return None
        if self.engine == "joblib":
            return self._unpickled()
        try:
            if chunks is not None:
                whole: Any = open_dataset(self._real).chunk(chunks)
            else:
                whole = load_dataset(self._real)
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            raise DamagedError(f"{self.path} cannot be read: {error}.") from error
        found: xr.Dataset = whole
        return found

    def _quiet(self) -> contextlib.AbstractContextManager[Any]:
        """While nobody puts another store in place: a folder is read file by file."""
        alone = self.engine == "zarr" and os.access(os.path.dirname(self._real), os.W_OK)
        return locked(self._real) if alone else contextlib.nullcontext()

    def _version(self) -> tuple[int, int] | None:
        """Changes with every store that is put in place, and with every append."""
        try:
            found = os.stat(self._real)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_ctime_ns

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
        with locked(self._real) as check:
            self._sweep()
            if self._appended(new, check):
                return None
            old = self._read()
            if old is None:
                self._write(new, check)
                return new
            merged = merge(old, new, overwrite=overwrite, rtol=self.rtol)
            grown = {dim for dim in merged.dims if merged.sizes[dim] > old.sizes.get(dim, 0)}
            del old  # what is written needs the room
            self._write(merged, check, grown & set(merged.indexes))
            return merged

    def save(self, ds: xr.Dataset) -> None:
        """Make the file hold `ds` alone."""
        with locked(self._real) as check:
            self._sweep()
            self._write(ds, check)

    def delete(self, backup: bool = False) -> None:
        """Delete the file, or with `backup` rename it to ``<name>.bak``."""
        with locked(self._real):
            self._sweep()
            kept = f"{self._real}.bak"
            if not os.path.lexists(self._real):
                return
            if backup:
                _remove(kept)
                os.rename(self._real, kept)
            else:
                folder, name = os.path.split(self._real)
                aside = f"{folder}/.{name}.{Owner.here()}{DRAFT}"
                os.rename(self._real, aside)
                _remove(aside)

    # -- inside --------------------------------------------------------------------

    def _write(
        self, ds: xr.Dataset, check: Callable[[], None], grown: Collection[Any] = ()
    ) -> None:
        """Replace the file; what grew once is stored so that it can be appended to."""
        if self.engine == "joblib":
            check()
            save_pickle(ds.load(), self._real, overwrite=True)
            return
        grows = {str(dim) for dim in grown} | (self._growing() & set(map(str, ds.dims)))
        save_dataset(ds, self._real, overwrite=True, grows=grows, check=check)

    def _growing(self) -> set[str]:
        from cropfit.farming import ncappend, zarrappend

        with contextlib.suppress(OSError):  # there is none, or it is of another make
            if self.engine == "zarr":
                return zarrappend.growing_dims(self._real)
            return ncappend.growing_dims(self._real)
        return set()

    def _appended(self, new: xr.Dataset, check: Callable[[], None]) -> bool:
        from cropfit.farming import ncappend, zarrappend

        if self.engine == "joblib" or not os.path.lexists(self._real):
            return False
        if self.engine == "zarr":
            return zarrappend.append(self._real, new, check, self.rtol)
        return ncappend.append(self._real, new, check, self.rtol)

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
        with locked(self._real):
            self._sweep()
        return os.path.lexists(self._real)

    def _asides(self) -> list[str]:
        folder, name = os.path.split(self._real)
        with os.scandir(folder) as entries:
            found = [e.name for e in entries if e.name.startswith(f".{name}.")]
        mine = [each for each in found if ".zarr." not in each[len(name) + 2 :]]
        return [f"{folder}/{each}" for each in mine if each.endswith(_OLD)]

    def _sweep(self) -> None:
        """Remove what writers of this file left when they were killed. The lock is ours."""
        if not os.path.lexists(self._real):
            for aside in self._asides()[:1]:
                os.rename(aside, self._real)
        folder, name = os.path.split(self._real)
        for path in [*abandoned(folder, Owner.here()), *self._asides()]:
            if os.path.basename(path).startswith(f".{name}."):
                _remove(path)
        if self.engine == "zarr":
            from cropfit.farming.zarrappend import repair

            repair(self._real)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
