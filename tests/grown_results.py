"""Results of a sowing as its record files hold them, without a crop around them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from cropfit.batching import Sown, plan_batches
from cropfit.disk.codec import decode_results, encode_results
from cropfit.disk.records import Records
from cropfit.grid import build_grid


def sow(combos: Any = None, cases: Any = None, after: Sown | None = None, **batching: Any) -> Sown:
    """A sowing; with `after` one that was appended to it."""
    grid = build_grid(combos, cases)
    first_case = after.first_case + after.grid.size if after else 0
    first_batch = after.first_batch + after.batches.num_batches if after else 1
    return Sown(grid, plan_batches(grid.size, **batching), first_case, first_batch)


class Grown:
    """Grows sowings on demand, counts reads, and leaves out what it is told to.

    Parameters
    ----------
    sowings
        What to grow.
    fn
        The function.
    names
        Declared outputs.
    fails
        Numbers of cases that fail.
    run
        Cases in a chunk.
    """

    def __init__(
        self,
        sowings: Sown | Sequence[Sown],
        fn: Callable[..., Any],
        names: Sequence[str] | None = None,
        *,
        fails: Collection[int] = (),
        run: int = 10**9,
    ) -> None:
        self.sowings = [sowings] if isinstance(sowings, Sown) else list(sowings)
        self.fn = fn
        self.names = None if names is None else tuple(names)
        self.fails = fails
        self.run = run
        self.reads: list[int] = []

    @property
    def batches(self) -> list[int]:
        return [s.first_batch + k for s in self.sowings for k in range(s.batches.num_batches)]

    def __call__(self, batch: int) -> Records:
        self.reads.append(batch)
        sown = [s for s in self.sowings if s.first_batch <= batch][-1]
        flat = sown.batches.cases_of(batch - sown.first_batch + 1)
        rows = list(zip(range(len(flat)), flat.tolist(), sown.grid.rows(flat), strict=True))
        failed = [o for o, f, _ in rows if f + sown.first_case in self.fails]
        done = [(o, row) for o, _, row in rows if o not in failed]
        records = Records(header={"host": "barn", "batch": batch})
        for start in range(0, len(done), self.run):
            part = done[start : start + self.run]
            results = [self.fn(**row) for _, row in part]
            payloads, refused = encode_results(
                [o for o, _ in part], [0.5] * len(part), results, self.names
            )
            assert refused == []
            records.chunks.extend(decode_results(b"".join(payload)) for payload in payloads)
        for offset in failed:
            records.errors.append(
                {"offset": offset, "attempt": 2, "final": True, "seconds": 1.5, "host": "silo"}
            )
        return records
