"""``Dataset.cropfit``: what is missing in a Dataset, and what it looks like without.

Registered with xarray when this module is loaded: by whatever of cropfit gives a
Dataset, or by ``import cropfit.farming.accessor``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cropfit.disk.netcdf import load_dataset, open_dataset
from cropfit.farming.merge import missing_in
from cropfit.work.variables import FILL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

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

    def plot(
        self,
        what: str | None = None,
        /,
        *,
        x: str | None = None,
        y: str | None = None,
        hue: str | None = None,
        col: str | None = None,
        row: str | None = None,
        sel: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Figure:
        """Have a quick look at an output: lines, a map of colours, points or a histogram.

        What is not named is chosen: lines where a second parameter has ten labels at most, a
        map where it has more, panels for a third and fourth; points where cases lie on no
        grid. Of a catalogue it is what `Catalogue.plot` draws.

        Parameters
        ----------
        what : str, optional
            The output; by default the only one.
        x : str, optional
            A parameter or inner dimension. An output alone makes a histogram, and with
            another one a point a case.
        y : str, optional
            A second parameter, which makes a map; or the output, as `what`.
        hue : str, optional
            A parameter with a line or colour for each of its labels.
        col, row : str, optional
            Parameters with a panel for each of their labels.
        sel : mapping, optional
            Name → label at which to look; of numbers the nearest.
        **options
            As of matplotlib's ``plot``, ``pcolormesh``, ``scatter`` or ``hist``.

        Returns
        -------
        matplotlib.figure.Figure
            Its own, not one of ``pyplot``: ``.savefig("look.png")``.

        Raises
        ------
        DesignError
            A name is unknown, or there is more than one way; lists the choices.

        Notes
        -----
        With the diagnostics of a reap, failed cases are crossed out, and the legend counts what
        has no value, and why.
        """
        from cropfit.plotting.arrange import Roles
        from cropfit.plotting.look import plot

        return plot(self._ds, what, Roles(x, y, hue, col, row), sel, **options)

    def plot_seconds(
        self,
        *,
        x: str | None = None,
        y: str | None = None,
        col: str | None = None,
        row: str | None = None,
        sel: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Figure:
        """Draw how long cases took over the parameters; wants ``reap(diagnostics=True)``.

        Parameters
        ----------
        x, y, col, row, sel, **options
            As of `plot`. Where `x` is named, the mean is taken over parameters that are not.

        Raises
        ------
        DesignError
            The Dataset has no diagnostics.
        """
        from cropfit.plotting.arrange import Roles
        from cropfit.plotting.look import plot_seconds

        return plot_seconds(self._ds, Roles(x, y, None, col, row), sel, **options)

    def plot_failures(
        self,
        *,
        x: str | None = None,
        y: str | None = None,
        col: str | None = None,
        row: str | None = None,
        sel: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Figure:
        """Draw where cases failed; wants ``reap(diagnostics=True)``.

        Parameters
        ----------
        x, y, col, row, sel, **options
            As of `plot`. Where `x` is named and parameters are left over, the share of cases
            that failed is drawn.

        Raises
        ------
        DesignError
            The Dataset has no diagnostics.
        """
        from cropfit.plotting.arrange import Roles
        from cropfit.plotting.look import plot_failures

        return plot_failures(self._ds, Roles(x, y, None, col, row), sel, **options)

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
