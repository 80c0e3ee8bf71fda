"""What becomes of a catalogue's results when its crop is reaped, by whomever."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cropfit.errors import DesignError
from cropfit.fitting.catalogue.merging import DRAWS, OBJECT, ROW
from cropfit.fitting.catalogue.rows import DONE, FAILED, IGNORED, WAITING, Row, from_text
from cropfit.work import diagnostics

if TYPE_CHECKING:
    import xarray as xr

    from cropfit.fitting.catalogue.kept import Kept

__all__ = ["Keeper"]


class Keeper:
    """What becomes of the results of a catalogue's crop, whoever reaps it.

    Parameters
    ----------
    runner : Runner
        Of the recipe.
    data_name : path
        The netCDF file that a reap writes.
    table : path
        The file that a merge writes, relative to the crop's parent.
    """

    reaps_with: Mapping[str, Any] = {"layout": "grid", "diagnostics": True}

    def __init__(self, runner: Any, data_name: str, table: str) -> None:
        self.runner = runner
        self.data_name = data_name
        self.table = table
        self._kept: Kept | None = None
        self._load = True

    def record(self) -> dict[str, Any]:
        """For ``crop.json``."""
        return {"kind": "catalogue", "data_name": self.data_name, "table": self.table}

    def to_file(self, path: str) -> Keeper:
        """The same, but a reap writes `path`."""
        if not path.endswith((".nc", ".zarr")):
            raise DesignError(f"to={path!r} must end in .nc or .zarr, which says what is written.")
        return Keeper(self.runner, path, self.table)

    def beginning(self, *, load: bool) -> tuple[Keeper, dict[str, Any]]:
        """The same for one reap into the file, and what that is to keep of some results.

        Draws go to the disk of the file, batch by batch: neither they nor, without `load`, what
        they become is ever in memory as a whole.
        """
        from cropfit.fitting.catalogue.kept import Kept

        keeper = Keeper(self.runner, self.data_name, self.table)
        keeper._kept = Kept(os.path.dirname(os.path.abspath(self.data_name)))
        keeper._load = load
        return keeper, {DRAWS: keeper._kept.put}

    def collect(
        self, data: xr.Dataset, *, sync: bool = True, overwrite: bool | None = None
    ) -> xr.Dataset:
        """Make the catalogue's Dataset of what was reaped, and save it."""
        from cropfit.disk.netcdf import open_dataset, save_dataset
        from cropfit.fitting.catalogue.dataset import to_dataset
        from cropfit.fitting.catalogue.kept import Kept

        if not hasattr(data, "data_vars"):
            raise DesignError("A catalogue is reaped as a Dataset: leave nested= out.")
        columns = [data[name].values.tolist() for name in (OBJECT, ROW, "case_status")]
        rows = [_row(*each) for each in zip(*columns, strict=True)]
        kept, places = self._kept, data[DRAWS].values
        if kept is None:
            kept = Kept()
            places = kept.put(places)
        draws = dict(zip(columns[0], places.tolist(), strict=True))
        with contextlib.closing(kept):
            ds = to_dataset(rows, draws, kept, data.attrs)
            if sync:
                own = _is_of(self.data_name, ds.attrs["cropfit_crop"])
                save_dataset(ds, self.data_name, overwrite=bool(overwrite) or own)
            return ds.load() if self._load else open_dataset(self.data_name)


def _row(key: Any, text: Any, code: int) -> Row:
    if code == diagnostics.DONE:
        return {**from_text(text), "status": DONE}
    states = {diagnostics.FAILED: FAILED, diagnostics.IGNORED: IGNORED}
    return {"id": key, "status": states.get(code, WAITING)}


def _is_of(path: str, crop: str) -> bool:
    """Whether a file was reaped from this very crop: by a reap that was killed, or in part."""
    from cropfit.disk.netcdf import open_dataset

    try:
        with open_dataset(path) as ds:
            return bool(ds.attrs.get("cropfit_crop") == crop)
    except Exception:
        return False  # there is none, or it is not ours
