"""Computing cases that cost nothing, so that only the bookkeeping is seen."""

from __future__ import annotations

import itertools
import os
from typing import Any

import crops
import functions
import reservations
from contest import Row, Sizes, contender, over_bare
from meter import Meter

FEW_US, BATCH_MS = 0.5e-6, 0.3e-3  # seconds a case and a batch, over the bare limit


class TrivialCases(Row):
    title = "grow {cases} trivial cases, batches of {batchsize}"
    limit = "the loop over fn(**case)"
    per = "cases"
    sizes = Sizes(
        quick={"cases": 2000, "batchsize": 100},
        normal={"cases": 100_000, "batchsize": 1000},
    )
    grows = tuple({"cases": 10**k, "batchsize": 1000} for k in range(3, 8))
    marks = (
        over_bare(
            "0.5 µs a case and 0.3 ms a batch",
            lambda row: row.cases * FEW_US + row.cases / row.batchsize * BATCH_MS,
        ),
    )

    def combos(self) -> dict[str, Any]:
        return {"a": range(self.cases // 100), "b": range(100)}

    def rows(self) -> list[dict[str, int]]:
        return [{"a": a, "b": b} for a, b in itertools.product(*self.combos().values())]

    @contender
    def bare(self, meter: Meter) -> None:
        cases = self.rows()
        with meter():
            [functions.product(**case) for case in cases]

    @contender
    def cropfit(self, meter: Meter) -> None:
        crop = crops.ours(functions.product, batchsize=self.batchsize)
        crop.sow_combos(self.combos())
        with meter():
            crop.grow()

    @contender
    def xyzpy(self, meter: Meter) -> None:
        crop = crops.theirs(functions.product, batchsize=self.batchsize)
        crop.sow_combos(self.combos(), verbosity=0)
        with meter():
            crops.grow_theirs(crop)

    @contender
    def joblib(self, meter: Meter) -> None:
        from joblib import Parallel, delayed

        cases = self.rows()
        with Parallel(n_jobs=2) as pool:
            pool(delayed(functions.product)(1, 2) for _ in range(100))
            with meter():
                pool(delayed(functions.product)(**case) for case in cases)


class OneCaseBatches(Row):
    title = "grow {batches} batches of one case"
    limit = "two renames and a write"
    per = "batches"
    sizes = Sizes(quick={"batches": 50}, normal={"batches": 2000})
    marks = (over_bare("0.3 ms a batch", lambda row: row.batches * BATCH_MS),)

    @contender
    def bare(self, meter: Meter) -> None:
        for state in ("sown", "growing", "grown"):
            os.mkdir(state)
        for k in range(self.batches):
            os.mkdir(f"sown/{k:06d}")
        with meter():
            for k in range(self.batches):
                move(k)

    @contender
    def cropfit(self, meter: Meter) -> None:
        crop = crops.ours(functions.identity, batchsize=1)
        crop.sow_combos({"a": range(self.batches)})
        with meter():
            crop.grow()

    @contender
    def xyzpy(self, meter: Meter) -> None:
        crop = crops.theirs(functions.identity, batchsize=1)
        crop.sow_combos({"a": range(self.batches)}, verbosity=0)
        with meter():
            crops.grow_theirs(crop)

    @contender
    def sqlite(self, meter: Meter) -> None:
        jobs = reservations.sow((k, k, 0) for k in range(self.batches))
        with meter():
            reservations.populate(jobs, reservations.missing(jobs), functions.identity)

    @contender
    def joblib(self, meter: Meter) -> None:
        from joblib import Parallel, delayed

        with Parallel(n_jobs=2, batch_size=1) as pool:
            pool(delayed(functions.identity)(k) for k in range(10))
            with meter():
                pool(delayed(functions.identity)(k) for k in range(self.batches))

    @contender
    def dask(self, meter: Meter) -> None:
        from distributed import Client

        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with Client(**options) as client:
            submit_all(client, 10, pure=False)
            with meter():
                submit_all(client, self.batches, pure=False)

    @contender
    def executorlib(self, meter: Meter) -> None:
        from executorlib import SingleNodeExecutor

        with SingleNodeExecutor(max_workers=1, block_allocation=True) as pool:
            submit_all(pool, 10)
            with meter():
                submit_all(pool, self.batches)


def move(k: int) -> None:
    """What no protocol that claims by rename can do without."""
    os.rename(f"sown/{k:06d}", f"growing/{k:06d}")
    with open(f"growing/{k:06d}/results", "wb") as file:
        file.write(b"x" * 300)
    os.rename(f"growing/{k:06d}", f"grown/{k:06d}")


def submit_all(pool: Any, number: int, **options: Any) -> None:
    for future in [pool.submit(functions.identity, k, **options) for k in range(number)]:
        future.result()
