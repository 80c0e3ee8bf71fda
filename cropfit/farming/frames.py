"""Results as a table: one row a case, its parameters, constants and outputs as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["to_frame"]

OURS = "cropfit_"  # begins the names of attributes that tell of the crop


def to_frame(ds: xr.Dataset) -> pd.DataFrame:
    """One row a case.

    Parameters
    ----------
    ds : Dataset
        With layout "case".

    Returns
    -------
    DataFrame
        Parameters, then constants and attributes that are plain values, then outputs.
        An output that is an array stands in its cell as an array.
    """
    import pandas as pd

    dim = "case_number" if "case_number" in ds.dims else "case"
    columns: dict[str, Any] = {
        str(name): coord.values for name, coord in ds.coords.items() if coord.dims == (dim,)
    }
    size = ds.sizes[dim]
    for name, value in ds.attrs.items():
        plain = isinstance(value, (bool, int, float, complex, str, np.generic))
        if plain and not str(name).startswith(OURS):
            columns.setdefault(str(name), np.full(size, value))
    for name, variable in ds.data_vars.items():
        if variable.dims[:1] == (dim,):
            columns[str(name)] = _column(variable.values)
    return pd.DataFrame(columns)


def _column(values: Any) -> Any:
    """Values of one case each; arrays as objects."""
    if values.ndim == 1:
        return values
    cells = np.empty(len(values), object)
    cells[:] = list(values)
    return cells
