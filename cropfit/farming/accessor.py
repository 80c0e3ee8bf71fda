"""``Dataset.cropfit``: what is missing in a Dataset, and what it looks like without.

Registered with xarray when this module is loaded: by whatever of cropfit gives a
Dataset, or by ``import cropfit.farming.accessor``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cropfit.disk.netcdf import load_dataset, open_dataset
from cropfit.farming.merge import missing_in
from cropfit.work.variables import FILL

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CropfitAccessor", "load_dataset", "open_dataset"]


class CropfitAccessor:
    """What cropfit knows of a Dataset.

    Parameters
    ----------
    ds : Dataset
        Parameters as dimensions, as a reap gives it.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    @property
    def parameters(self) -> tuple[str, ...]:
        """The dimensions that all variables share; others belong to the results."""
        having = [set(each.dims) for each in self._ds.data_vars.values() if each.dims]
        shared = set.intersection(*having) if having else set()
        return tuple(str(dim) for dim in self._ds.dims if dim in shared)

    def missing(self) -> list[dict[str, Any]]:
        """The cases without any result, as `Crop.sow_cases` and `Runner.run_cases` take them.

        Examples
        --------
        >>> runner.run_cases(ds.cropfit.missing())  # doctest: +SKIP
        """
        names = self.parameters
        labels = [self._labels(name) for name in names]
        return [
            {name: labels[k][i] for k, (name, i) in enumerate(zip(names, place, strict=True))}
            for place in np.argwhere(~self._present()).tolist()
        ]

    def trim(self) -> xr.Dataset:
        """The same without coordinates at which nothing is there."""
        present = self._present()
        kept = {}
        for axis, name in enumerate(self.parameters):
            others = tuple(k for k in range(present.ndim) if k != axis)
            kept[name] = np.flatnonzero(present.any(axis=others))
        return self._ds.isel(kept)

    def to_df(self) -> pd.DataFrame:
        """One row a case that is there; outputs that are arrays stay arrays."""
        from cropfit.farming.frames import to_frame

        present, names = self._present().ravel(), self.parameters
        if names == ("case",):
            return to_frame(self._ds)[present].reset_index(drop=True)
        table = self._ds.stack(case=names).reset_index("case").transpose("case", ...)
        frame: pd.DataFrame = to_frame(table)[present].reset_index(drop=True)
        return frame

    def _labels(self, name: str) -> list[Any]:
        if name in self._ds.coords:
            found: list[Any] = self._ds[name].values.tolist()
            return found
        return list(range(self._ds.sizes[name]))

    def _present(self) -> NDArray[np.bool_]:
        """Whether each case has a value of any variable."""
        names = self.parameters
        present = np.zeros([self._ds.sizes[name] for name in names], bool)
        for each in self._ds.data_vars.values():
            if not each.dims:
                continue
            variable = each.variable.transpose(*names, ...)
            there = ~missing_in(variable.values, variable.attrs.get(FILL))
            present |= there.reshape(*present.shape, -1).any(axis=-1)
        return present


_register: Any = xr.register_dataset_accessor
_register("cropfit")(CropfitAccessor)
