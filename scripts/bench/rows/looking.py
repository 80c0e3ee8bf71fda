"""Asking how far a crop is."""

from __future__ import annotations

import os

import crops
import functions
import reservations
from contest import Row, Sizes, contender, faster_than, within
from meter import Meter


class Looking(Row):
    title = "look at {batches} batches"
    limit = "scandir"
    sizes = Sizes(quick={"batches": 1000}, normal={"batches": 100_000})
    marks = (
        within(2, "status"),
        within(2, "missing"),
        faster_than("xyzpy", 1, "status"),
        faster_than("xyzpy", 1, "missing"),
    )

    def prepare_bare(self) -> None:
        os.mkdir("sown")
        for k in range(self.batches):
            os.mkdir(f"sown/{k:06d}")

    @contender
    def bare(self, meter: Meter) -> None:
        for lap in ("status", "missing"):
            with meter(lap), os.scandir("sown") as entries:
                sum(1 for _ in entries)

    def prepare_cropfit(self) -> None:
        crops.ours(functions.identity, batchsize=1).sow_combos({"a": range(self.batches)})

    @contender
    def cropfit(self, meter: Meter) -> None:
        import cropfit as cf

        crop = cf.Crop(name=crops.NAME, verbosity=0)
        with meter("status"):
            crop.status()
        with meter("missing"):
            crop.missing_results()

    def prepare_xyzpy(self) -> None:
        crop = crops.theirs(functions.identity, batchsize=1)
        crop.sow_combos({"a": range(self.batches)}, verbosity=0)

    @contender
    def xyzpy(self, meter: Meter) -> None:
        import xyzpy

        crop = xyzpy.Crop(name=crops.NAME)
        with meter("status"):
            str(crop)
        with meter("missing"):
            crop.missing_results()

    def prepare_sqlite(self) -> None:
        reservations.sow((k, k, 0) for k in range(self.batches)).close()

    @contender
    def sqlite(self, meter: Meter) -> None:
        jobs = reservations.connect()
        with meter("status"):
            for table in ("source", "jobs", "results"):
                jobs.execute(f"SELECT count(*) FROM {table}").fetchone()
        with meter("missing"):
            reservations.missing(jobs)
