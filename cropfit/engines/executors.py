"""Any pool of workers grows a crop.

    this process ──a few tasks──▶ pool ──▶ its workers claim from the crop's folder
                 ◀──reports──────

A task is a worker's turn: it claims batches for a while and reports. So tasks in
flight are as many as there are workers, not batches, and a worker that comes
late or dies early costs nobody anything.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from cropfit.disk.ledger import Claim, Held, Ledger
from cropfit.disk.manifest import Manifest
from cropfit.engines.pools import Future, Pool, adapt, named
from cropfit.errors import CropError, DesignError
from cropfit.work.batch import Policy
from cropfit.work.employ import Progress, Terms
from cropfit.work.grow import Worker
from cropfit.work.interrupts import end_as_asked
from cropfit.work.limits import cap_threads, find_deadline
from cropfit.work.report import GrowReport

TURN = 10.0  # seconds after which a worker reports and is given another turn
POLL = 0.02
LOOK_EVERY = 1.0  # seconds between two looks whether anybody works at all
MOST_IDLE = 10  # looks in a row without that, until turns count as lost
MOST_IDLE_AT_START = 60  # the same while there is work and nobody died: some are long in coming
SETTLE = 10.0  # seconds that a killed process may take until it is seen to be gone
MOST_LOSSES = 5  # times in a row that the pool may lose turns without anything being grown
GRACE = 30.0  # seconds that workers have to leave after Ctrl-C
ENDS = ("error", "max_fails", "time", "stop", "gone")


@dataclass(frozen=True)
class Turn:
    """A worker's turn, as it travels to the pool; calling it takes it."""

    root: str
    batches: tuple[int, ...] | None
    policy: Policy
    deadline: float
    steal: bool
    threads: int | None
    stop_sign: str

    def __call__(self) -> dict[str, Any]:
        """Grow for a while; what was done, as plain data."""
        cap_threads(self.threads, os.environ)
        worker = Worker(
            self.root, self.policy, deadline=self.deadline, turn=TURN, stop_sign=self.stop_sign
        )
        if self.batches is None:
            report = worker.grow_left()
        else:
            report = worker.grow_these(self.batches, steal=self.steal)
        end_as_asked(report.reason)
        return asdict(report)


@dataclass(frozen=True, eq=False)
class _Given:
    """A turn that was given to the pool, after so many losses."""

    future: Future
    batches: tuple[int, ...] | None
    losses: int


@dataclass
class _Losses:
    """How often the pool lost turns, and how often in a row without any batch being done."""

    number: int = 0
    in_a_row: int = 0
    last: float = -math.inf
    error: Exception | None = None
    done: tuple[int, int] = (0, 0)

    def note(self, error: Exception, given_after: int, done: tuple[int, int]) -> None:
        """Count a loss; a turn that was given before the last one is part of that.

        One killed process may break a pool, and so end the turns of all others.
        """
        self.last, self.error = time.monotonic(), error
        if given_after == self.number:
            self.number += 1
            self.in_a_row = self.in_a_row + 1 if done == self.done else 1
            self.done = done


class _BrokenPool(Exception):
    """The pool takes no more work; its cause tells why."""


class Employer:
    """Gives turns to the workers of a pool until a crop is grown.

    Parameters
    ----------
    manifest, ledger
        The crop.
    executor
        A pool, or the name of one.
    policy : Policy
        What to do about failures.
    batches : list of int, optional
        Which to grow; whatever is left by default.
    num_workers : int, optional
        How many turns at a time; by default as many as the pool has workers.
    deadline : float
        Seconds since the epoch.
    steal : bool
        Take named batches from live workers.
    num_threads : int, optional
        Thread cap of the workers, for libraries that they load later.
    progress : callable
        Told after every turn.
    """

    def __init__(
        self,
        manifest: Manifest,
        ledger: Ledger,
        executor: Any,
        policy: Policy,
        *,
        batches: list[int] | None,
        num_workers: int | None,
        deadline: float = math.inf,
        steal: bool = False,
        num_threads: int | None = None,
        progress: Progress,
    ) -> None:
        self.manifest = manifest
        self.ledger = ledger
        self.executor = executor
        self.num_workers = num_workers
        self.progress = progress
        self.report = GrowReport()
        self._todo = None if batches is None else list(batches)
        self._turn = Turn(
            manifest.layout.root,
            None,
            policy,
            deadline,
            steal,
            num_threads,
            f"stop.{ledger.owner.token}",
        )
        self._running: list[_Given] = []
        self._losses = _Losses()
        self._losses_before = 0  # when the pool was opened
        self._dead_before: list[Claim] = []

    def run(self) -> GrowReport:
        """Give turns until nothing is left that the pool could do.

        Raises
        ------
        CropError
            The pool is broken, or loses every turn; the crop is sound.
        KeyboardInterrupt
            The workers were asked to leave after the case in hand.
        """
        self._losses.done = self._done()
        self._dead_before = [each.claim for each in self.ledger.held() if each.dead]
        while True:
            self._losses_before = self._losses.number
            try:
                with self._pool() as pool:
                    self._employ(pool)
            except _BrokenPool as broken:
                # One of ours is made anew: loky ends all its workers when one dies.
                self._forget_turns()
                is_ours = isinstance(self.executor, str)
                if not is_ours or self._losses.in_a_row > MOST_LOSSES:
                    raise self._told(broken.__cause__) from broken.__cause__
            else:
                if not self._given_back_by_a_broken_pool():
                    return self.report

    def _forget_turns(self) -> None:
        """Take in what came of the turns of a broken pool; the others' batches are to be done."""
        self._take_in([given for given in self._running if given.future.done()])
        while self._running:
            self._return(self._running.pop().batches)

    def _given_back_by_a_broken_pool(self) -> bool:
        """Whether workers that a pool of ours ended have left work after the last look."""
        if self._losses.number == self._losses_before or not isinstance(self.executor, str):
            return False
        return self._todo is None and self.report.reason not in ENDS and self._work_left()

    def _employ(self, pool: Pool) -> None:
        try:
            while True:
                self._fill(pool)
                if not self._running:
                    return
                self._collect(pool)
        except KeyboardInterrupt:
            self._dismiss()
            raise

    def _pool(self) -> AbstractContextManager[Pool]:
        if isinstance(self.executor, str):
            return named(self.executor, self.num_workers)
        return nullcontext(adapt(self.executor, self.num_workers))

    def _fill(self, pool: Pool) -> None:
        """As many turns as there are workers, while there is work."""
        while len(self._running) < pool.size and self.report.reason not in ENDS:
            batches = self._next(pool.size)
            if batches == () or (batches is None and not self._work_left()):
                return
            try:
                future = pool.submit(replace(self._turn, batches=batches))
            except Exception as error:
                self._return(batches)
                self._losses.note(error, self._losses_before, self._done())
                raise _BrokenPool from error
            self._running.append(_Given(future, batches, self._losses.number))

    def _next(self, size: int) -> tuple[int, ...] | None:
        """The batches of the next turn; None where every turn claims for itself."""
        if self._todo is None:
            return None
        share = max(1, len(self._todo) // (4 * size))
        batches, self._todo = tuple(self._todo[:share]), self._todo[share:]
        return batches

    def _work_left(self) -> bool:
        """Whether another turn would find more than those that are running do."""
        sown = self.ledger.counts()["sown"]
        if sown:
            return len(self._running) < sown
        return not self._running and self._abandoned()

    def _abandoned(self) -> bool:
        """Whether a dead worker left a batch; one just killed takes a moment to be gone."""
        while held := self.ledger.held():
            if any(each.dead for each in held):
                return True
            if time.monotonic() > self._losses.last + SETTLE:
                return False
            time.sleep(POLL)
        return self.ledger.counts()["sown"] > 0  # whoever was asked to leave gave it back

    def _collect(self, pool: Pool) -> None:
        """Wait for a turn to end, and count what it did."""
        idle, look, done = 0, time.monotonic() + LOOK_EVERY, self._done()
        while not (ended := [given for given in self._running if given.future.done()]):
            time.sleep(POLL)
            if pool.is_lost():
                self._give_up()
                raise _BrokenPool from self._losses.error
            if pool.silent and time.monotonic() > look:
                look = time.monotonic() + LOOK_EVERY
                held, before, done = self.ledger.held(), done, self._done()
                idle = idle + 1 if done == before and all(each.dead for each in held) else 0
                if idle >= self._patience(held):
                    self._give_up()
                    break
        self._take_in(ended)
        if self._losses.in_a_row > MOST_LOSSES:
            raise _BrokenPool from self._losses.error

    def _patience(self, held: list[Held]) -> int:
        """How often to look at nobody working."""
        died = any(each.claim not in self._dead_before for each in held)
        return MOST_IDLE if died or not self.ledger.counts()["sown"] else MOST_IDLE_AT_START

    def _take_in(self, ended: list[_Given]) -> None:
        for given in ended:
            self._running.remove(given)
            try:
                told = given.future.result()
            except Exception as error:
                self._lose(given, error)
                continue
            for each in told if isinstance(told, list) else [told]:
                self._count(GrowReport(**each))

    def _give_up(self) -> None:
        """Forget turns that will never end: this pool does not notice a killed worker."""
        lost, self._running = self._running, []
        for given in lost:
            self._lose(given, CropError("its workers vanished"))

    def _count(self, report: GrowReport) -> None:
        if report.reason in ("turn", "done"):
            report.reason, report.notes = "done", []  # that others grow too is no news here
        self.report.add(report)
        for batch in report.grown:
            self.progress(batch, "grown")

    def _lose(self, given: _Given, error: Exception) -> None:
        """The pool lost a turn, as when its process was killed: the crop has what was finished."""
        self._return(given.batches)
        self._losses.note(error, given.losses, self._done())

    def _done(self) -> tuple[int, int]:
        return len(self.ledger.numbers("grown")), len(self.ledger.numbers("failed"))

    def _return(self, batches: tuple[int, ...] | None) -> None:
        if batches and self._todo is not None:
            grown = set(self.ledger.numbers("grown"))
            self._todo = [*(batch for batch in batches if batch not in grown), *self._todo]

    def _told(self, error: BaseException | None) -> CropError:
        return CropError(
            f"{self.manifest.layout.root}: the executor takes no more work "
            f"({type(error).__name__}: {error}). What was finished is kept; grow the rest with "
            f"another one, or with 'cropfit grow {self.manifest.name}'."
        )

    def _dismiss(self) -> None:
        """Ask the workers of this call, and no others, to leave after their case."""
        sign = f"{self.manifest.layout.root}/{self._turn.stop_sign}"
        with open(sign, "w"):
            pass
        end = time.monotonic() + GRACE
        for future in [given.future for given in self._running]:
            if hasattr(future, "cancel") and future.cancel():
                continue
            while not future.done() and time.monotonic() < end:
                time.sleep(POLL)
        with suppress(OSError):
            os.unlink(sign)


def employ_pool(
    manifest: Manifest,
    ledger: Ledger,
    terms: Terms,
    executor: Any,
    progress: Progress,
    *,
    ship: bool = False,
) -> GrowReport:
    """Grow on `terms` by the workers of a pool, which see the crop's folder unless `ship`.

    Raises
    ------
    DesignError
        The terms are for processes of our own, or `executor` is no pool.
    """
    unfit = ("fresh", "wait", "mpi", "log", "gpus", "affinities", "max_batches")
    if named := [f"{name}=" for name in unfit if getattr(terms, name)]:
        raise DesignError(f"{', '.join(named)} is not for an executor's workers.")
    if executor is None:
        raise DesignError("ship=True sends batches through an executor: give executor=.")
    if ship:
        return _ship(manifest, terms, executor, progress)
    return Employer(
        manifest,
        ledger,
        executor,
        terms.policy(manifest),
        batches=terms.wanted(manifest),
        num_workers=terms.num_workers,
        deadline=find_deadline(terms.walltime, terms.deadline),
        steal=terms.steal,
        num_threads=terms.num_threads,
        progress=progress,
    ).run()


def _ship(manifest: Manifest, terms: Terms, executor: Any, progress: Progress) -> GrowReport:
    from cropfit.engines.ship import Courier

    courier = Courier(
        manifest.layout.root,
        terms.policy(manifest),
        executor,
        num_workers=terms.num_workers,
        num_threads=terms.num_threads,
        deadline=find_deadline(terms.walltime, terms.deadline),
        progress=progress,
    )
    batches = terms.wanted(manifest)
    if batches is None:
        return courier.grow_left()
    return courier.grow_these(batches, steal=terms.steal)
