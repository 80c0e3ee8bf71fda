"""Who grows: this process, new ones, or all ranks of an ``mpiexec`` together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from cropfit.batching import batch_numbers
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.errors import CaseError, DesignError
from cropfit.wording import number_of
from cropfit.work.batch import Policy
from cropfit.work.failures import tell
from cropfit.work.grow import Worker
from cropfit.work.limits import Duration, find_deadline, mpi_size, seconds
from cropfit.work.report import GrowReport
from cropfit.work.slots import Affinities, Gpus, make_slots

if TYPE_CHECKING:
    from cropfit.work.mpi import Ranks
    from cropfit.work.portions import Order

Progress = Callable[[int, str], None]
OnError = Literal["record", "raise"]


@dataclass(frozen=True)
class Terms:
    """How to grow; see `cropfit.Crop.grow`."""

    batches: int | Iterable[int] | None = None
    num_workers: int | None = None
    on_error: OnError = "record"
    retries: int = 0
    max_fails: int | None = None
    max_batches: int | None = None
    steal: bool = False
    wait: bool = False
    walltime: Duration | None = None
    deadline: float | datetime | str | None = None
    fresh: bool = False
    timeout: Duration | None = None
    max_memory: int | None = None
    num_threads: int | None = None
    mpi: bool | None = None
    gpus: Gpus | None = None
    affinities: Affinities | None = None
    log: bool = False
    n_pool: int | None = None

    @property
    def apart(self) -> bool:
        """Whether the work is for new processes, not for this one."""
        places = self.gpus is not None or self.affinities is not None
        return self.fresh or self.log or places or self.num_workers is not None

    def wanted(self, manifest: Manifest) -> list[int] | None:
        """Numbers of the batches; None for whatever is left.

        Raises
        ------
        NotFoundError
            There is no such batch.
        """
        if self.batches is None:
            return None
        named = batch_numbers(self.batches)
        for batch in named:
            manifest.sowing_of(batch)
        return named

    def policy(self, manifest: Manifest) -> Policy:
        """What to do about failures."""
        if self.on_error not in ("record", "raise"):
            raise DesignError(f"on_error is 'record' or 'raise', not {self.on_error!r}")
        raises = self.on_error == "raise"
        max_deaths = int(manifest.data["max_deaths"])
        return Policy(raises, self.retries, self.max_fails, max_deaths, self.n_pool)


def employ(
    manifest: Manifest, ledger: Ledger, terms: Terms, progress: Progress
) -> GrowReport | None:
    """Grow on `terms`.

    Parameters
    ----------
    manifest, ledger
        The crop.
    terms : Terms
        How.
    progress : callable
        Told the number and state of each batch that ended.

    Returns
    -------
    GrowReport or None
        None if this process is a rank that computed for rank 0, which reports.
    """
    policy = terms.policy(manifest)
    if terms.num_workers is not None and terms.num_workers < 1:
        raise DesignError(f"num_workers must be at least 1, not {terms.num_workers!r}")
    if terms.max_batches is not None and (terms.max_batches < 1 or terms.batches is not None):
        raise DesignError(
            f"max_batches={terms.max_batches!r}: give a number from 1 up, for whatever is left; "
            "with batches that are named, name so many."
        )
    if (terms.timeout is not None or terms.max_memory is not None) and not terms.fresh:
        raise DesignError("timeout= and max_memory= need fresh=True: a process a batch.")
    batches = terms.wanted(manifest)
    end = find_deadline(terms.walltime, terms.deadline)
    if terms.apart:
        from cropfit.work.portions import Order

        finite = None if math.isinf(end) else end
        order = Order(
            manifest.layout.root,
            batches,
            asdict(policy),
            finite,
            terms.steal,
            terms.wait,
            log=terms.log,
            max_batches=terms.max_batches,
        )
        report = _supervise(manifest, ledger, terms, order, progress)
        if report.reason == "max_batches" and not ledger.numbers("sown"):
            report.reason = "done"
        return report
    ranks = _ranks(manifest, terms.mpi)
    if ranks and ranks.rank:
        ranks.follow(manifest)
        return None
    with ranks.led() if ranks else nullcontext() as spread:
        worker = Worker(
            manifest.layout.root,
            policy,
            deadline=end,
            progress=progress,
            spread=spread,
            max_batches=terms.max_batches or math.inf,
        )
        if batches is None:
            report = worker.grow_left(wait=terms.wait)
        else:
            report = worker.grow_these(batches, steal=terms.steal, wait=terms.wait)
        if ranks and report.reason in ("SIGINT", "SIGTERM"):
            ranks.abort(report.exit_code)
    return report


def _supervise(
    manifest: Manifest, ledger: Ledger, terms: Terms, order: Order, progress: Progress
) -> GrowReport:
    from cropfit.work.supervise import Supervisor

    return Supervisor(
        manifest,
        ledger,
        make_slots(terms.num_workers, terms.gpus, terms.affinities),
        order,
        fresh=terms.fresh,
        timeout=None if terms.timeout is None else seconds(terms.timeout),
        max_memory=terms.max_memory,
        num_threads=terms.num_threads,
        progress=progress,
    ).run()


def _ranks(manifest: Manifest, mpi: bool | None) -> Ranks | None:
    """The processes of an ``mpiexec`` if they compute each case together."""
    if mpi is False or (mpi is None and mpi_size() == 1):
        return None
    from cropfit.work.mpi import Ranks, uses_mpi

    return Ranks() if mpi or uses_mpi(manifest) else None


def conclude(report: GrowReport, root: str, say: Callable[[str], None]) -> GrowReport:
    """Say what was done, and raise what ended it.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        A signal did.
    CaseError
        A case raised, and that was to end the work.
    """
    for note in report.notes:
        say(note)
    if report.reason == "SIGINT":
        raise KeyboardInterrupt
    if report.reason == "SIGTERM":
        raise SystemExit(report.exit_code)
    if report.reason == "error":
        last = report.failures[-1]
        raise CaseError(f"{tell(last)} ({root})\n\n{last['traceback']}")
    say(str(report))
    if report.failures:
        failed = number_of(len(report.failures), "case")
        say(
            f"{failed} failed, the first: {tell(report.failures[0])}. "
            "See crop.errors(), then crop.retry()."
        )
    return report
