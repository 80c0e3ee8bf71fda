"""Gathering results: into memory, and straight into files."""

from __future__ import annotations

import os
from glob import glob
from pathlib import Path
from typing import Any

import crops
import functions
from contest import Mark, Round, Row, Sizes, contender, faster_than, memory_under, told
from meter import Meter

from rows.sowing import scattered

ARRAYS = Sizes(
    quick={"arrays": 50, "points": 1000, "batches": 5},
    normal={"arrays": 1000, "points": 100_000, "batches": 100},
)


class Reaped(Row):
    """A grown crop is prepared once, and kept by each reap."""

    bulky = True

    def sow(self, crop: Any, **options: Any) -> None:
        raise NotImplementedError

    def function(self) -> tuple[Any, dict[str, Any]]:
        raise NotImplementedError

    def prepare_cropfit(self) -> None:
        function, options = self.function()
        crop = crops.ours(function, num_batches=self.batches, **options)
        self.sow(crop)
        crop.grow()

    def prepare_bare(self) -> None:
        self.prepare_cropfit()

    def prepare_xyzpy(self) -> None:
        function, options = self.function()
        crop = crops.theirs(function, num_batches=self.batches, **options)
        self.sow(crop, verbosity=0)
        crops.grow_theirs(crop)

    @contender
    def bare(self, meter: Meter) -> None:
        files = sorted(glob(f".crop-{crops.NAME}/grown/*/results.*"))
        with meter():
            kept = [Path(file).read_bytes() for file in files]
        meter.notes["bytes"] = sum(map(len, kept))

    @contender
    def cropfit(self, meter: Meter) -> None:
        import cropfit as cf

        crop = cf.Crop(name=crops.NAME, verbosity=0)
        with meter():
            found = crop.reap(to=False)
        meter.notes["bytes"] = found.r.nbytes

    @contender
    def xyzpy(self, meter: Meter) -> None:
        function, options = self.function()
        crop = crops.theirs(function, num_batches=self.batches, **options)
        with meter():
            found = crop.reap(clean_up=False, verbosity=0)
        meter.notes["bytes"] = found.r.nbytes


class Floats(Reaped):
    title = "reap {cases} floats from {batches} batches"
    limit = "reading the files"
    sizes = Sizes(
        quick={"cases": 10_000, "batches": 10},
        normal={"cases": 1_000_000, "batches": 1000},
    )
    grows = tuple({"cases": 10**k, "batches": min(1000, 10 ** (k - 2))} for k in range(3, 8))
    marks = (
        faster_than("xyzpy", 15),
        memory_under("3 × the data", lambda row: 3 * 8 * row.cases / 2**20),
    )

    def function(self) -> tuple[Any, dict[str, Any]]:
        return functions.product, {}

    def sow(self, crop: Any, **options: Any) -> None:
        crop.sow_combos({"a": range(self.cases // 100), "b": range(100)}, **options)


class ScatteredResults(Reaped):
    """xyzpy makes cases² cells of them, so it is not asked."""

    title = "reap {cases} scattered cases from {batches} batches"
    limit = "reading the files"
    sizes = Sizes(
        quick={"cases": 1000, "batches": 10},
        normal={"cases": 100_000, "batches": 1000},
    )
    grows = tuple({"cases": 10**k, "batches": min(1000, 10 ** (k - 2))} for k in range(3, 7))
    xyzpy = None

    def function(self) -> tuple[Any, dict[str, Any]]:
        return functions.product, {}

    def sow(self, crop: Any, **options: Any) -> None:
        crop.sow_cases(["a", "b"], scattered(self.cases), **options)


class Arrays(Reaped):
    """Arrays of the same length, one a case."""

    limit = "reading the files"
    sizes = ARRAYS

    def function(self) -> tuple[Any, dict[str, Any]]:
        constants = {"points": self.points}
        return functions.spectrum, {"var_dims": {"r": ["x"]}, "constants": constants}

    def sow(self, crop: Any, **options: Any) -> None:
        crop.sow_combos({"a": range(self.arrays)}, **options)

    def data_mib(self) -> float:
        return 8 * self.arrays * self.points / 2**20


class ArraysInMemory(Arrays):
    title = "reap {arrays} arrays of {points} floats in memory"
    grows = tuple({"arrays": 3**k, "points": 10_000, "batches": 3} for k in range(3, 9))
    marks = (
        faster_than("xyzpy", 1),
        memory_under("1.15 × the data", lambda row: 1.15 * row.data_mib()),
    )


def disk_speed() -> Mark:
    def margin(found: Round, row: Row) -> float:
        return told(found, "cropfit", "") * 0.7 / told(found, "bare", "")

    return Mark("0.7 × the disk's own speed", margin)


class ArraysToFile(Arrays):
    """Verified and on disk, with little memory; xyzpy cannot."""

    limit = "writing and fsync of as many bytes"
    ending = ""
    marks = (disk_speed(), memory_under("64 MiB", lambda row: 64))
    xyzpy = None

    def prepare_bare(self) -> None:
        pass

    @contender
    def bare(self, meter: Meter) -> None:
        import numpy as np

        piece = np.ones(1 << 17).tobytes()
        with meter(), open("raw", "wb") as file:
            for _ in range(max(1, round(self.data_mib()))):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.unlink("raw")

    @contender
    def cropfit(self, meter: Meter) -> None:
        import shutil

        import cropfit as cf

        crop, file = cf.Crop(name=crops.NAME, verbosity=0), f"out{self.ending}"
        with meter():
            crop.reap(to=file, load=False, clean_up=False)
        shutil.rmtree(file) if os.path.isdir(file) else os.unlink(file)


class ArraysToNetcdf(ArraysToFile):
    title = "the same straight to netCDF"
    ending = ".nc"


class ArraysToZarr(ArraysToFile):
    title = "the same straight to Zarr"
    ending = ".zarr"
