"""Batches of one case over a pool of two workers that is up, and what its own submit costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import functions
from contest import Row, Sizes, contender
from meter import Meter

from rows.growing import submit_all


def threads() -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(2)


def processes() -> Any:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))


def loky() -> Any:
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(2)


def dask() -> Any:
    from distributed import Client

    return Client(n_workers=2, threads_per_worker=1, dashboard_address=None)


class OverPools(Row):
    """Claims are made by the workers themselves, without the engine; `shipped` not."""

    title = "{batches} batches of one case over a pool"
    limit = "the pool's own submit"
    per = "batches"
    sizes = Sizes(quick={"batches": 20}, normal={"batches": 200})

    def by_each(self, meter: Meter, work: Callable[[Any], None]) -> None:
        for make in (threads, processes, loky, dask):
            with make() as pool:
                submit_all(pool, 10, **({"pure": False} if make is dask else {}))
                with meter(make.__name__):
                    work(pool)

    @contender
    def bare(self, meter: Meter) -> None:
        def submit(pool: Any) -> None:
            submit_all(pool, self.batches, **({"pure": False} if hasattr(pool, "scatter") else {}))

        self.by_each(meter, submit)

    @contender
    def cropfit(self, meter: Meter) -> None:
        self.grow(meter, ship=False)

    @contender
    def shipped(self, meter: Meter) -> None:
        self.grow(meter, ship=True)

    def grow(self, meter: Meter, ship: bool) -> None:
        import cropfit as cf

        for make in (threads, processes, loky, dask):
            crop = cf.Crop(functions.identity, make.__name__, batchsize=1, verbosity=0)
            crop.sow_combos({"a": range(self.batches)})
        self.by_each(
            meter,
            lambda pool: cf.Crop(name=self.engine(pool), verbosity=0).grow(
                executor=pool, num_workers=2, ship=ship
            ),
        )

    @staticmethod
    def engine(pool: Any) -> str:
        if hasattr(pool, "scatter"):
            return "dask"
        if "loky" in type(pool).__module__:
            return "loky"
        return "threads" if "Thread" in type(pool).__name__ else "processes"
