"""Big things that travel with the cases: labelled objects, and constants."""

from __future__ import annotations

import os
from typing import Any

import crops
import functions
from contest import Row, Sizes, contender, faster_than, holds, memory_under
from meter import Meter

MIB = 1 << 20


class Objects(Row):
    title = "{objects} objects of {kib} KiB, one a case"
    limit = "np.save, np.load of each"
    sizes = Sizes(
        quick={"objects": 20, "kib": 16},
        normal={"objects": 500, "kib": 1024},
        full={"objects": 10_000, "kib": 1024},
    )
    grows = tuple({"objects": 10**k, "kib": 8} for k in range(2, 5))
    marks = (
        faster_than("xyzpy", 1, "sow"),
        faster_than("xyzpy", 1, "grow"),
        memory_under("10 MiB while growing", lambda row: 10, "grow"),
    )
    bulky = True

    def stars(self) -> dict[str, Any]:
        """Label → array, no two the same."""
        import numpy as np

        base = np.random.default_rng(1).random(self.kib * 128)
        return {f"star{k}": base + k for k in range(self.objects)}

    @contender
    def bare(self, meter: Meter) -> None:
        import numpy as np

        stars = self.stars()
        with meter("sow"):
            for name, star in stars.items():
                np.save(f"{name}.npy", star)
        names = list(stars)
        del stars
        with meter("grow"):
            for name in names:
                functions.total(np.load(f"{name}.npy"))

    @contender
    def cropfit(self, meter: Meter) -> None:
        crop, stars = crops.ours(functions.total), self.stars()
        with meter("sow"):
            crop.sow_combos({"star": stars})
        del stars
        with meter("grow"):
            crop.grow()

    @contender
    def xyzpy(self, meter: Meter) -> None:
        crop = crops.theirs(functions.total, batchsize=1)
        stars = [functions.Star(star) for star in self.stars().values()]
        with meter("sow"):
            crop.sow_combos({"star": stars}, verbosity=0)
        del stars
        with meter("grow"):
            crops.grow_theirs(crop)


class Constants(Row):
    title = "a constant of {mib} MiB, {batches} batches"
    limit = "one np.save, one np.load"
    sizes = Sizes(quick={"mib": 1, "batches": 3}, normal={"mib": 100, "batches": 10})
    marks = (
        faster_than("xyzpy", 1, "sow"),
        faster_than("xyzpy", 1, "grow"),
        holds(
            "stored once",
            lambda notes, row: notes["cropfit"]["stored_mib"] < 1.1 * row.mib + 1,
            "sow",
        ),
    )
    bulky = True

    def table(self) -> Any:
        import numpy as np

        return np.random.default_rng(1).random(self.mib * MIB // 8)

    @contender
    def bare(self, meter: Meter) -> None:
        import numpy as np

        table = self.table()
        with meter("sow"):
            np.save("table.npy", table)
        meter.notes["stored_mib"] = stored(".")
        del table
        with meter("grow"):
            table = np.load("table.npy")
            for k in range(self.batches):
                functions.looked_up(k, table)

    @contender
    def cropfit(self, meter: Meter) -> None:
        crop = crops.ours(functions.looked_up, batchsize=1, resources={"table": self.table()})
        with meter("sow"):
            crop.sow_combos({"a": range(self.batches)})
        meter.notes["stored_mib"] = stored(crop.location)
        del crop
        import cropfit as cf

        crop = cf.Crop(name=crops.NAME, verbosity=0)
        with meter("grow"):
            crop.grow()

    @contender
    def xyzpy(self, meter: Meter) -> None:
        import xyzpy

        crop = crops.theirs(functions.looked_up, batchsize=1, constants={"table": self.table()})
        with meter("sow"):
            crop.sow_combos({"a": range(self.batches)}, verbosity=0)
        meter.notes["stored_mib"] = stored(crop.location)
        del crop
        crop = xyzpy.Crop(name=crops.NAME)
        with meter("grow"):
            crops.grow_theirs(crop)


def stored(folder: str) -> float:
    """MiB in the files below a folder."""
    files = [os.path.join(top, name) for top, _, names in os.walk(folder) for name in names]
    return sum(map(os.path.getsize, files)) / MIB
