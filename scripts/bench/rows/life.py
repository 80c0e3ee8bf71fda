"""A crop of very many batches from sowing to deletion, on tmpfs: what each step costs a batch."""

from __future__ import annotations

import os
import shutil
import time

import crops
import functions
from contest import Row, Sizes, contender, over_bare, within
from meter import Meter

from rows.growing import BATCH_MS, move


class ManyBatches(Row):
    title = "{batches} batches of one case in memory"
    limit = "mkdir; two renames and a write; scandir; reading; rmtree"
    per = "batches"
    place = "memory"
    sizes = Sizes(
        quick={"batches": 200},
        normal={"batches": 30_000},
        full={"batches": 1_000_000},
    )
    grows = tuple({"batches": 10**k} for k in range(1, 7))
    marks = (
        over_bare("0.3 ms a batch", lambda row: row.batches * BATCH_MS, "grow"),
        within(2, "status"),
    )
    once = True

    @contender
    def bare(self, meter: Meter) -> None:
        with meter("sow"):
            for state in ("sown", "growing", "grown"):
                os.mkdir(state)
            for k in range(self.batches):
                os.mkdir(f"sown/{k:06d}")
        with meter("grow"):
            for k in range(self.batches):
                move(k)
        with meter("status"), os.scandir("grown") as entries:
            sum(1 for _ in entries)
        with meter("reap"):
            for k in range(self.batches):
                with open(f"grown/{k:06d}/results", "rb") as file:
                    file.read()
        with meter("delete"):
            shutil.rmtree("grown")

    @contender
    def cropfit(self, meter: Meter) -> None:
        crop = crops.ours(functions.identity, batchsize=1)
        with meter("sow"):
            crop.sow_combos({"a": range(self.batches)})
        with meter("grow"):
            crop.grow()
        with meter("status"):
            crop.status()
        with meter("reap"):
            crop.reap(to=False)
        with meter("delete"):
            crop.delete()
        # Nobody waits for the files to go, but for what is measured next.
        while any(name.startswith(".") for name in os.listdir()):
            time.sleep(0.05)
