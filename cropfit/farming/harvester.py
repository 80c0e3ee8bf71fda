"""`Harvester`: a Runner whose results become one Dataset on disk, for months.

harvest_combos, crops ──▶ add_ds ──▶ one file, which many processes add to
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cropfit.errors import DesignError, ResultError
from cropfit.farming.farmer import DATA
from cropfit.farming.join import match
from cropfit.farming.merge import merge, missing_in
from cropfit.farming.runner import Runner
from cropfit.farming.store import Store
from cropfit.farming.wrapped import Wrapped
from cropfit.grid import Grid, build_grid

if TYPE_CHECKING:
    import xarray as xr

    from cropfit import crop as crops

__all__ = ["Harvester"]


class Harvester(Wrapped):
    """Labelled results that grow in a file; callable like the function.

    Parameters
    ----------
    runner : Runner
        The function and its outputs.
    data_name : path, optional
        The file: ``.nc``, ``.zarr``, or ``.dmp`` for a pickle. Without one all is in memory alone.
    chunks : int or mapping, optional
        Open the file lazily, with dask.
    engine : {"netcdf4", "h5netcdf", "zarr", "joblib"}, optional
        By default what the file's ending tells.
    full_ds : Dataset, optional
        What to begin with, saved with what is added next.

    Attributes
    ----------
    last_ds : Dataset or None
        What was added last.

    Examples
    --------
    >>> harvester = Harvester(runner, "energies.nc")  # doctest: +SKIP
    >>> harvester.harvest_combos({"temperature": [0.1, 0.2], "size": ...})  # doctest: +SKIP
    """

    reaps_with: ClassVar[dict[str, Any]] = {"layout": "grid"}

    def __init__(
        self,
        runner: Runner,
        data_name: str | os.PathLike[str] | None = None,
        chunks: Any = None,
        engine: str | None = None,
        full_ds: xr.Dataset | None = None,
    ) -> None:
        if not isinstance(runner, Runner):
            raise DesignError(f"Harvester takes a Runner, not {runner!r}: Runner(fn, var_names).")
        self.runner = runner
        self.store = None if data_name is None else Store(data_name, engine)
        self.chunks = chunks
        self.last_ds: xr.Dataset | None = None
        self._full_ds: xr.Dataset | None = None
        self._unsaved = full_ds
        self._wear(runner.fn)

    @property
    def fn(self) -> Callable[..., Any]:
        """The function; another one may be set, with the same outputs."""
        return self.runner.fn

    @fn.setter
    def fn(self, fn: Callable[..., Any]) -> None:
        self.runner.fn = fn
        self._wear(fn)

    @property
    def data_name(self) -> str | None:
        """The file."""
        return None if self.store is None else self.store.path

    @property
    def engine(self) -> str | None:
        """How the file is written."""
        return None if self.store is None else self.store.engine

    # -- the dataset ---------------------------------------------------------------

    @property
    def full_ds(self) -> xr.Dataset | None:
        """All that was harvested: what was read or written last, and what is not saved yet."""
        if self._full_ds is None:
            self.load_full_ds()
        return _both(self._full_ds, self._unsaved)

    def load_full_ds(self, chunks: Any = None) -> xr.Dataset | None:
        """Read the file again, which other processes may have added to."""
        if self.store is not None:
            self._full_ds = self.store.load(self.chunks if chunks is None else chunks)
        return _both(self._full_ds, self._unsaved)

    def add_ds(self, ds: xr.Dataset, sync: bool = True, overwrite: bool | None = None) -> None:
        """Add labelled data.

        Parameters
        ----------
        ds : Dataset
            With the dimensions of what is there.
        sync : bool
            Whether to save it; what is not saved goes with the next that is.
        overwrite : bool, optional
            Which one counts where both have a value, and another: True the new one, False the
            old one; by default that is refused.

        Raises
        ------
        ConflictError
            Both have a value in the same place, and another: says where, and how many. Nothing
            was written.
        """
        rows = ds if self._unsaved is None else merge(self._unsaved, ds, overwrite=overwrite)
        if not sync or self.store is None:
            _both(self._full_ds, rows, overwrite)  # raises for what could not be saved either
            self._unsaved = rows
        else:
            self._full_ds = self.store.add(rows, overwrite)
            self._unsaved = None
        self.last_ds = ds

    def save_full_ds(self, new_full_ds: xr.Dataset | None = None) -> None:
        """Save what is not saved yet; or make the file hold `new_full_ds` alone."""
        store = self._need_store()
        if new_full_ds is not None:
            store.save(new_full_ds)
            self._full_ds, self._unsaved = new_full_ds, None
        elif self._unsaved is not None:
            self._full_ds = store.add(self._unsaved)
            self._unsaved = None

    def delete_ds(self, backup: bool = False) -> None:
        """Delete the file and forget all data; with `backup` it is renamed to ``<name>.bak``."""
        self._full_ds = self._unsaved = None
        if self.store is not None:
            self.store.delete(backup)

    def expand_dims(self, name: str, value: Any) -> None:
        """Give all data a further dimension, of one coordinate so far."""
        whole = self._need_data()
        if name in whole.dims:
            raise DesignError(f"There is a dimension {name!r} already.")
        self._replace(whole.drop_vars(name, errors="ignore").expand_dims({name: [value]}))

    def drop_sel(self, labels: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Remove coordinates, and all data that stand there, as `xarray.Dataset.drop_sel`."""
        self._replace(self._need_data().drop_sel({**(labels or {}), **more}))

    def _replace(self, ds: xr.Dataset) -> None:
        if self.store is None:
            self._full_ds, self._unsaved = None, ds
        else:
            self.save_full_ds(ds)

    def _need_store(self) -> Store:
        if self.store is None:
            raise DesignError("This Harvester has no file to save to: give data_name=.")
        return self.store

    def _need_data(self) -> xr.Dataset:
        whole = self.load_full_ds()
        if whole is None:
            raise DesignError("Nothing was harvested yet.")
        return whole

    # -- harvesting ----------------------------------------------------------------

    def harvest_combos(
        self,
        combos: Any,
        *,
        cases: Any = None,
        sync: bool = True,
        overwrite: bool | None = None,
        missing_only: bool = False,
        **settings: Any,
    ) -> xr.Dataset | None:
        """Compute combinations here and now, and add them.

        Parameters
        ----------
        combos : mapping
            Name → values; ``...`` stands for every coordinate that is there.
        cases : list of mappings, optional
            Every case is combined with every combination.
        sync, overwrite
            As of `add_ds`.
        missing_only : bool
            Compute just what is not there.
        **settings
            As of `Runner.run_combos`.

        Returns
        -------
        Dataset or None
            What was computed; None if nothing was missing.
        """
        grid = self.expand(combos, cases)
        return self._harvest(grid, sync, overwrite, missing_only, settings)

    def harvest_cases(
        self,
        cases: Any,
        *,
        fn_args: Any = None,
        combos: Any = None,
        sync: bool = True,
        overwrite: bool | None = None,
        missing_only: bool = False,
        **settings: Any,
    ) -> xr.Dataset | None:
        """Compute explicit cases and add them; options as of `harvest_combos`."""
        names = self.runner.case_args(cases, fn_args)
        grid = self.expand(combos or {}, cases, names)
        return self._harvest(grid, sync, overwrite, missing_only, settings)

    def expand(self, combos: Any, cases: Any = None, fn_args: Any = None) -> Grid:
        """The cases of a request, with ``...`` replaced by every coordinate that is there."""
        given = dict(combos or {})
        if any(values is ... for values in given.values()):
            whole = self._need_data()
            unknown = [n for n, v in given.items() if v is ... and n not in whole.coords]
            if unknown:
                raise DesignError(
                    f"combos has ... for {unknown[0]!r}, which has no coordinates yet."
                )
            given = {n: whole[n] if v is ... else v for n, v in given.items()}
        return build_grid(given, cases, fn_args)

    def lacks(self, grid: Grid) -> Grid | None:
        """The cases of `grid` that are not there; None if all are."""
        whole = self.load_full_ds()
        flat = np.arange(grid.size)
        if whole is None:
            return grid
        missing = flat[~self._present(whole, grid, flat)]
        if not len(missing):
            return None
        return grid if len(missing) == len(flat) else grid.table(missing)

    def _present(self, whole: xr.Dataset, grid: Grid, flat: Any) -> Any:
        """Whether each case has a value of every output."""
        present = np.ones(len(flat), bool)
        at: dict[str, Any] = {}
        for name, positions in grid.positions(flat).items():
            if name not in whole.coords or whole[name].dims != (name,):
                return np.zeros(len(flat), bool)
            places = match(whole[name].values, grid.axes[name].labels, 1e-9)[positions]
            present &= places >= 0
            at[name] = np.clip(places, 0, None)
        names = self.runner.var_names or [str(name) for name in whole.data_vars]
        for name in names:
            if name not in whole.data_vars:
                return np.zeros(len(flat), bool)
            variable = whole[name].variable
            outer = [dim for dim in variable.dims if dim in at]
            inner = [dim for dim in variable.dims if dim not in at]
            values = variable.transpose(*outer, *inner).values[tuple(at[dim] for dim in outer)]
            gone = missing_in(values, variable.attrs.get("cropfit_fill_value"))
            present &= ~gone.reshape(len(flat), -1).all(axis=1)
        return present

    def _harvest(
        self,
        grid: Grid,
        sync: bool,
        overwrite: bool | None,
        missing_only: bool,
        settings: dict[str, Any],
    ) -> xr.Dataset | None:
        if missing_only:
            lacking = self.lacks(grid)
            if lacking is None:
                return None
            grid = lacking
        ds = self.runner._run(grid, settings.pop("constants", ()), {"layout": "grid", **settings})
        if not hasattr(ds, "data_vars"):
            raise ResultError(_NAMELESS)
        self.add_ds(ds, sync, overwrite)
        return self.last_ds

    # -- crops ---------------------------------------------------------------------

    def Crop(self, name: str | None = None, **options: Any) -> crops.Crop:
        """A crop whose results come here; options as of `cropfit.Crop`."""
        from cropfit.crop import Crop

        return Crop(name=name, farmer=self, **options)

    def sow(self, combos: Any = None, **options: Any) -> crops.Crop | None:
        """The crop of what is missing, or None; see `cropfit.farming.cultivate.sow`."""
        from cropfit.farming.cultivate import sow

        given = dict(combos or {})
        if any(values is ... for values in given.values()):
            whole = self._need_data()
            given = {n: whole[n] if v is ... else v for n, v in given.items()}
        return sow(self, given, **options)

    def record(self) -> dict[str, Any]:
        """What a crop's folder tells of its Harvester."""
        return {"kind": "harvester", DATA: self.data_name, "engine": self.engine}

    def collect(self, data: Any, *, sync: bool = True, overwrite: bool | None = None) -> xr.Dataset:
        """Add what a crop gave.

        Raises
        ------
        ResultError
            The function's outputs have no names.
        """
        if not hasattr(data, "data_vars"):
            raise ResultError(_NAMELESS)
        self.add_ds(data, sync, overwrite)
        ds: xr.Dataset = data
        return ds


_NAMELESS = (
    "Results can be harvested only where outputs have names: give the Runner var_names, or let "
    "the function return a Dataset or a dict."
)


def _both(
    saved: xr.Dataset | None, unsaved: xr.Dataset | None, overwrite: bool | None = True
) -> xr.Dataset | None:
    if saved is None or unsaved is None:
        return unsaved if saved is None else saved
    return merge(saved, unsaved, overwrite=overwrite)
