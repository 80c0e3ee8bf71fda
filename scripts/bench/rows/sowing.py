"""Putting cases on disk."""

from __future__ import annotations

import itertools
import math
import os
from typing import Any

import crops
import functions
import reservations
from contest import Row, Sizes, contender, faster_than, memory_under
from meter import Meter


class Grid(Row):
    title = "sow a grid of {cases} cases, {batches} batches"
    limit = "mkdir of the batches"
    sizes = Sizes(
        quick={"cases": 10_000, "batches": 100},
        normal={"cases": 1_000_000, "batches": 1000},
    )
    grows = tuple({"cases": 10**k, "batches": min(1000, 10 ** (k - 1))} for k in range(3, 8))
    marks = (faster_than("xyzpy", 50), memory_under("10 MB", lambda row: 10e6 / 2**20))

    def combos(self) -> dict[str, Any]:
        rows = 10 ** (int(math.log10(self.cases)) // 2)
        return {"a": range(rows), "b": range(self.cases // rows)}

    @contender
    def bare(self, meter: Meter) -> None:
        with meter():
            for k in range(self.batches):
                os.mkdir(f"{k:06d}")

    @contender
    def cropfit(self, meter: Meter) -> None:
        crop = crops.ours(functions.product, num_batches=self.batches)
        with meter():
            crop.sow_combos(self.combos())

    @contender
    def xyzpy(self, meter: Meter) -> None:
        crop = crops.theirs(functions.product, num_batches=self.batches)
        with meter():
            crop.sow_combos(self.combos(), verbosity=0)

    @contender
    def sqlite(self, meter: Meter) -> None:
        pairs = itertools.product(*self.combos().values())
        with meter():
            reservations.sow((k, a, b) for k, (a, b) in enumerate(pairs))


class ScatteredCases(Row):
    title = "sow {cases} scattered cases, {batches} batches"
    limit = "writing the columns, mkdir of the batches"
    sizes = Sizes(
        quick={"cases": 1000, "batches": 10},
        normal={"cases": 100_000, "batches": 1000},
    )
    grows = tuple({"cases": 10**k, "batches": min(1000, 10 ** (k - 1))} for k in range(3, 7))
    marks = (faster_than("xyzpy", 1),)

    def pairs(self) -> list[tuple[float, float]]:
        return scattered(self.cases)

    @contender
    def bare(self, meter: Meter) -> None:
        import numpy as np

        pairs = self.pairs()
        with meter():
            np.save("cases.npy", np.array(pairs))
            for k in range(self.batches):
                os.mkdir(f"{k:06d}")

    @contender
    def cropfit(self, meter: Meter) -> None:
        crop, pairs = crops.ours(functions.product, num_batches=self.batches), self.pairs()
        with meter():
            crop.sow_cases(["a", "b"], pairs)

    @contender
    def xyzpy(self, meter: Meter) -> None:
        crop, pairs = crops.theirs(functions.product, num_batches=self.batches), self.pairs()
        with meter():
            crop.sow_cases(["a", "b"], pairs, verbosity=0)

    @contender
    def sqlite(self, meter: Meter) -> None:
        pairs = self.pairs()
        with meter():
            reservations.sow((k, a, b) for k, (a, b) in enumerate(pairs))


def scattered(cases: int) -> list[tuple[float, float]]:
    """Points of the unit square, no two in a line."""
    golden = (math.sqrt(5) - 1) / 2
    return [(k / cases, golden * k % 1.0) for k in range(cases)]
