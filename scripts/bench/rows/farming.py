"""Adding results to a file that holds many."""

from __future__ import annotations

import os
from typing import Any

import functions
from contest import Row, Sizes, contender, faster_than
from meter import Meter

POINTS = 1024  # floats, or 8 KiB, a case


class Harvest(Row):
    """`behind` adds after all that stands in the file, `between` in the midst of it."""

    title = "add {adding} cases of 8 KiB to a file of {standing}"
    limit = "writing and fsync of the whole"
    sizes = Sizes(
        quick={"standing": 100, "adding": 10},
        normal={"standing": 20_000, "adding": 1000},
    )
    grows = tuple({"standing": 10**k, "adding": 100} for k in range(3, 6))
    marks = (faster_than("xyzpy", 1, "behind"), faster_than("xyzpy", 1, "between"))
    bulky = True

    def dataset(self, labels: Any) -> Any:
        import numpy as np
        import xarray as xr

        data = np.random.default_rng(1).random((len(labels), POINTS))
        return xr.Dataset({"r": (("a", "x"), data)}, {"a": labels})

    def pieces(self) -> dict[str, Any]:
        import numpy as np

        behind = np.arange(self.standing, self.standing + self.adding, dtype=float)
        between = np.linspace(0.25, self.standing - 1.75, self.adding).round() + 0.5
        return {"behind": self.dataset(behind), "between": self.dataset(between)}

    def standing_ds(self) -> Any:
        import numpy as np

        return self.dataset(np.arange(self.standing, dtype=float))

    @contender
    def bare(self, meter: Meter) -> None:
        whole = self.dataset(range(self.standing + self.adding)).r.values
        for lap in ("behind", "between"):
            with meter(lap), open("raw", "wb") as file:
                file.write(whole)
                file.flush()
                os.fsync(file.fileno())
            os.unlink("raw")

    @contender
    def cropfit(self, meter: Meter) -> None:
        self.add(meter, ".nc")

    @contender
    def cropfit_zarr(self, meter: Meter) -> None:
        self.add(meter, ".zarr")

    def add(self, meter: Meter, ending: str) -> None:
        import cropfit as cf

        runner = cf.Runner(functions.spectrum, ["r"], var_dims={"r": ["x"]})
        for lap, piece in self.pieces().items():
            standing, half = self.standing_ds(), self.standing // 2
            for part in (slice(half), slice(half, None)):  # so that it has grown before
                cf.Harvester(runner, f"{lap}{ending}").add_ds(standing.isel(a=part))
            del standing
            with meter(lap):
                cf.Harvester(runner, f"{lap}{ending}").add_ds(piece)

    @contender
    def xyzpy(self, meter: Meter) -> None:
        import xyzpy

        runner = xyzpy.Runner(functions.spectrum, ["r"], var_dims={"r": ["x"]})
        for lap, piece in self.pieces().items():
            xyzpy.Harvester(runner, f"{lap}.h5").add_ds(self.standing_ds())
            with meter(lap):
                xyzpy.Harvester(runner, f"{lap}.h5").add_ds(piece)

    @contender
    def xarray(self, meter: Meter) -> None:
        """Read the file, concatenate, write all; sorted by nobody."""
        import xarray as xr

        for lap, piece in self.pieces().items():
            self.standing_ds().to_netcdf(f"{lap}.nc")
            with meter(lap):
                whole = xr.concat([xr.load_dataset(f"{lap}.nc"), piece], "a")
                whole.to_netcdf(f"{lap}-draft.nc")
                os.replace(f"{lap}-draft.nc", f"{lap}.nc")
