"""A worker: it claims batches and grows them until nothing is left.

    any host, any number of workers:   claim ─▶ grow ─▶ finish ─▶ claim ─▶ ... ─▶ report

Workers know nothing of each other. What is left is what stands in ``sown/``, and
what a dead worker left in ``growing/``.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from cropfit.disk.expect import Expected
from cropfit.disk.heart import Heart
from cropfit.disk.layout import RESULTS, STOP
from cropfit.disk.ledger import Claim, Ledger
from cropfit.disk.manifest import Manifest, read_manifest
from cropfit.disk.owner import Owner
from cropfit.disk.publish import clock
from cropfit.errors import CropError
from cropfit.work import context
from cropfit.work.batch import BatchRun, Leave, LostClaim, Policy
from cropfit.work.interrupts import Interrupted, Interrupts
from cropfit.work.limits import job_id
from cropfit.work.loading import Call, declared_dims, known_longest, load_call
from cropfit.work.logs import logged
from cropfit.work.report import GrowReport

LOOK_EVERY = 2.0  # seconds between two looks for a stop sign, a new function, a lost claim
SKIP = 8  # batches to skip at most after a lost race, so that workers do not run in step


class Worker:
    """Grows batches of one crop in this process.

    Parameters
    ----------
    root : str
        The crop's folder.
    policy : Policy
        What to do about failures.
    deadline : float
        Seconds since the epoch after which nothing is begun.
    announce : callable, optional
        Told the batch and the offset of each case before it begins.
    progress : callable, optional
        Told after each batch that ended: its number and state.
    spread : callable, optional
        Makes the function compute on several ranks; see `cropfit.work.mpi`.
    turn : float
        Seconds after which no other batch is claimed.
    max_batches : float
        How many batches to grow at most.
    stop_sign : str
        Name of a file in the crop's folder that asks this worker to leave, as the
        one that `Crop.stop` puts up asks all.
    log : bool
        Keep what the function prints in each batch's folder.
    loader : callable
        Makes what is called for each case.
    """

    def __init__(
        self,
        root: str,
        policy: Policy,
        *,
        deadline: float = math.inf,
        announce: Callable[[int, int], None] | None = None,
        progress: Callable[[int, str], None] | None = None,
        spread: Callable[[Call, context.Case], Call] | None = None,
        turn: float = math.inf,
        max_batches: float = math.inf,
        stop_sign: str = STOP,
        log: bool = False,
        loader: Callable[[Manifest], Call] = load_call,
    ) -> None:
        self.manifest = read_manifest(root)
        self.owner = Owner.here()
        self.ledger = Ledger(self.manifest.layout, self.owner, float(self.manifest.data["lease"]))
        self.policy = policy
        self.report = GrowReport()
        self._deadline = deadline
        self._announce = announce
        self._progress = progress or (lambda batch, state: None)
        self._heart = Heart(self.ledger.lease / 5)
        self._job = job_id()
        self._interrupts = Interrupts()
        self._begun = time.monotonic()
        self._looked = self._begun
        self._claim: Claim | None = None
        self._longest = known_longest(self.manifest, self.ledger) if deadline < math.inf else 0.0
        self._function_file = self._look_at_function()
        self._spread = spread
        self._turn = turn
        self._max_batches = max_batches
        self._log = log
        self._loader = loader
        self._stop_signs = {STOP, stop_sign}
        self._work: Call | None = None
        self._expected: Expected = {}
        self._case = context.Case(int(self.manifest.data["seed"]), deadline, self._asked_to_stop)
        self._case.n_pool = policy.n_pool

    # -- what to grow --------------------------------------------------------------

    def grow_left(self, wait: bool = False) -> GrowReport:
        """Claim whatever is left, until nothing is.

        Parameters
        ----------
        wait : bool
            Stay until the batches that others grow are finished too, and take
            over those whose worker dies.
        """
        return self._run(lambda: self._grow_left(wait))

    def grow_these(
        self, batches: Iterable[int], steal: bool = False, wait: bool = False
    ) -> GrowReport:
        """Grow the batches named; those that are grown already count as done.

        Parameters
        ----------
        batches : iterable of int
            Which.
        steal : bool
            Take them even from workers that seem alive.
        wait : bool
            Stay while others grow some of them, and take over those whose worker dies.
        """
        wanted = list(dict.fromkeys(batches))
        for batch in wanted:
            self.manifest.sowing_of(batch)  # raises for a number that is none
        return self._run(lambda: self._grow_all(wanted, steal, wait))

    def _run(self, work: Callable[[], Any]) -> GrowReport:
        try:
            with self._interrupts, context.entered(self._case):
                work()
            self._interrupts.check()  # one that came while the last books were kept
        except Leave as leave:
            self.report.reason = leave.reason
            self.report.notes.append(f"Left: {leave}.")
        except Interrupted as interrupted:
            self.report.reason = "SIGINT" if interrupted.number == 2 else "SIGTERM"
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not self._is_there():
                self.report.reason = "gone"
                self.report.notes.append(f"{self.manifest.layout.root} was deleted meanwhile.")
                return self.report
            raise CropError(
                f"{self.manifest.layout.root} cannot be grown: {error.strerror or error} "
                f"({error.filename or 'no file named'}). What is finished is kept; when this is "
                "put right, grow again."
            ) from error
        finally:
            self._heart.close()
        return self.report

    def _grow_left(self, wait: bool) -> None:
        while True:
            sown = self.ledger.numbers("sown")
            self._grow_listed(sown)
            dead = [held.claim for held in self.ledger.held() if held.dead]
            for claim in dead:
                self._may_begin_another()
                if mine := self.ledger.take_over(claim):
                    self.report.notes.append(
                        f"Batch {claim.batch} was taken over from {claim.owner}."
                    )
                    self._grow(mine)
            if sown or dead:
                continue  # others may have given batches back meanwhile
            others = [claim for claim in self.ledger.claims() if claim.owner != self.owner]
            if not others:
                return
            if not wait:
                self._leave_to(others)
                return
            self._may_start(0.0)
            time.sleep(min(1.0, self.ledger.lease / 10))

    def _leave_to(self, others: list[Claim]) -> None:
        self.report.note_others(others)

    def _grow_listed(self, batches: list[int]) -> None:
        """Grow what can be had of a listing; what was skipped comes with the next one."""
        at = 0
        while at < len(batches):
            self._may_begin_another()
            claim = self.ledger.claim(batches[at])
            if claim:
                self._grow(claim)
                at += 1
            else:
                at += 1 + os.urandom(1)[0] % SKIP  # importing `random` costs more than a batch

    def _grow_all(self, batches: list[int], steal: bool, wait: bool) -> None:
        for batch in batches:
            self._grow_named(batch, steal)
        if wait:
            self._grow_others(set(batches) & {claim.batch for claim in self.ledger.claims()})

    def _grow_others(self, others: set[int]) -> None:
        """Stay while others grow these; take what they give back, or leave when they die."""
        while others:
            held = {each.claim.batch: each for each in self.ledger.held()}
            for batch in sorted(others):
                owner = held.get(batch)
                if owner is None:
                    claim = self.ledger.claim(batch)
                else:
                    claim = self.ledger.take_over(owner.claim) if owner.dead else None
                if claim:
                    self._grow(claim)
            growing = {claim.batch for claim in self.ledger.claims()}
            others &= held.keys() | growing  # what was held may have been given back since
            if others:
                self._may_start(0.0)
                time.sleep(min(1.0, self.ledger.lease / 10))

    def _grow_named(self, batch: int, steal: bool) -> None:
        claim = self.ledger.claim(batch) or self.ledger.claim(batch, "failed")
        if claim is None:
            claim = self._take_from_other(batch, steal)
        if claim:
            self._grow(claim)

    def _take_from_other(self, batch: int, steal: bool) -> Claim | None:
        """Take a named batch from a dead owner, or from a live one if asked to."""
        for held in self.ledger.held():
            if held.claim.batch == batch:
                if held.dead or steal:
                    return self.ledger.take_over(held.claim)
                self.report.notes.append(
                    f"Batch {batch} is growing elsewhere, by {held.claim.owner}, last seen "
                    f"{held.age:.0f} s ago; --steal takes it over."
                )
                return None
        state = self.ledger.where(batch)
        told = {"grown": "is grown already", "ignored": "is set aside (ignored)"}
        self.report.notes.append(f"Batch {batch} {told.get(state or '', 'was taken meanwhile')}.")
        return None

    # -- one batch -----------------------------------------------------------------

    def _grow(self, claim: Claim) -> None:
        try:
            whole, arrived = self._grow_claimed(claim)
        except LostClaim:
            self._note_loss(claim)
        except BaseException as error:
            ours = self._let_go(claim)
            if ours or not isinstance(error, OSError) or not self._is_there():
                raise
            self._note_loss(claim)  # that is why its folder could not be written to
        else:
            self._conclude(claim, whole, arrived)

    def _grow_claimed(self, claim: Claim) -> tuple[bool, bool]:
        """Whether all its cases succeeded, and whether it is where such batches stand."""
        self._claim = claim
        run = None
        try:
            self._heart.follow(self.ledger.claims_from(claim.batch))
            self._may_start(0.0)
            run = self._prepare(claim)
            with logged(claim.path) if self._log else contextlib.nullcontext():
                whole = run.run()
            return whole, self.ledger.finish(claim) if whole else self.ledger.fail(claim)
        finally:
            self._claim = None
            if run:
                self.report.cases += run.computed
                self.report.failures += run.failures

    def _prepare(self, claim: Claim) -> BatchRun:
        if claim.batch > self._last_batch():
            self.manifest = read_manifest(self.manifest.layout.root)  # it was appended to
        announce = self._announce
        return BatchRun(
            self.manifest,
            claim,
            self._load(),
            self.policy.after(len(self.report.failures)),
            self._interrupts,
            self._may_start,
            self._case,
            self._header(claim),
            None if announce is None else lambda offset: announce(claim.batch, offset),
            self._expected,
        )

    def _last_batch(self) -> int:
        last = self.manifest.sowings[-1]
        return last.first_batch + last.batches.num_batches - 1

    def _header(self, claim: Claim) -> dict[str, Any]:
        return {
            "crop": self.manifest.data["id"],
            "design": self.manifest.design(claim.batch),
            "function": self.manifest.data["function"]["hash"],
            "batch": claim.batch,
            "owner": str(claim.owner),
            "host": claim.owner.host,
            "pid": claim.owner.pid,
            "job": self._job,
        }

    def _is_there(self) -> bool:
        return os.path.isdir(self.manifest.layout.root)

    def _conclude(self, claim: Claim, whole: bool, arrived: bool) -> None:
        if not arrived:
            self._note_loss(claim)
            return
        (self.report.grown if whole else self.report.failed).append(claim.batch)
        self._progress(claim.batch, "grown" if whole else "failed")

    def _note_loss(self, claim: Claim) -> None:
        with contextlib.suppress(OSError):
            self._withdraw(claim)
        self.report.notes.append(
            f"Batch {claim.batch} was taken over by another worker meanwhile; what this one "
            "computed of it is discarded."
        )

    def _withdraw(self, claim: Claim) -> None:
        """Remove our file from beside the new owner's: on NFS a late write follows the folder."""
        state = self.ledger.where(claim.batch)
        if state not in ("grown", "failed"):
            return
        folder = self.manifest.layout.batch(state, claim.batch)
        files = [name for name in os.listdir(folder) if name.startswith(RESULTS)]
        ours = [name for name in files if name.startswith(f"{RESULTS}{claim.owner.token}")]
        if len(ours) < len(files):
            for name in ours:
                os.unlink(f"{folder}/{name}")

    def _let_go(self, claim: Claim) -> bool:
        """Give the batch back; False if it is not ours any more.

        Whatever made us leave matters more than an error here.
        """
        try:
            return self.ledger.release(claim)
        except OSError as error:
            self.report.notes.append(f"Batch {claim.batch} could not be given back: {error}.")
            return True

    def _load(self) -> Call:
        """The function with its constants and resources, loaded once."""
        if self._work is None:
            call = self._loader(self.manifest)
            self._expected = declared_dims(self.manifest)
            self._work = self._spread(call, self._case) if self._spread else call
        return self._work

    def _may_begin_another(self) -> None:
        """Raise if this worker has grown its share; it begins one in any turn, however short."""
        done = len(self.report.grown) + len(self.report.failed)
        if done >= self._max_batches:
            raise Leave("max_batches", f"it has grown the {done} batches that it was to grow")
        if done and time.monotonic() - self._begun > self._turn:
            raise Leave("turn", "its turn is over")

    # -- between cases -------------------------------------------------------------

    def _may_start(self, longest: float) -> None:
        """Raise what ends the work, if anything does."""
        self._interrupts.check()
        self._longest = max(self._longest, longest)
        left = self._deadline - time.time()
        if left < self._longest or left <= 0:
            raise Leave(
                "time",
                f"{max(left, 0.0):.0f} s are left and a case takes up to {self._longest:.1f} s",
            )
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        if self._asked_to_stop():
            raise Leave("stop", "it was asked to stop")
        if self._claim and not os.path.isdir(self._claim.path):
            raise LostClaim
        seen = self._look_at_function()
        if seen != self._function_file:
            self._function_file, self._work = seen, None
            self.manifest = read_manifest(self.manifest.layout.root)

    def _look_at_function(self) -> tuple[int, int] | None:
        try:
            seen = os.stat(self.manifest.layout.function)
        except FileNotFoundError:
            return None
        return seen.st_ino, seen.st_mtime_ns

    def _asked_to_stop(self) -> bool:
        """Whether somebody called `Crop.stop` since this worker began.

        By the file system's clock, so that a sign put up before does not count,
        whatever this host thinks that the time is.
        """
        layout = self.manifest.layout
        with os.scandir(layout.root) as entries:
            signs = [entry for entry in entries if entry.name in self._stop_signs]
        if not signs:
            return False
        begun = clock(layout.root) - (time.monotonic() - self._begun)
        return signs[0].stat().st_mtime >= begun
