"""One claimed batch, case by case.

    claim ─▶ what was recorded before ─▶ the cases that are left ─▶ finish | fail | release

Results wait in memory for at most a millisecond of computing, then go to the
batch's book in one write. So a kill costs the case in hand, and a batch of a
thousand trivial cases costs one write.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import sub
from time import perf_counter, time
from typing import Any

from cropfit.disk.expect import Expected
from cropfit.disk.ledger import Claim
from cropfit.disk.manifest import Manifest
from cropfit.errors import DesignError
from cropfit.wording import number_of
from cropfit.work.book import Book
from cropfit.work.calling import Row, by_name
from cropfit.work.context import Case, Unfinished
from cropfit.work.failures import Failure, describe, died
from cropfit.work.interrupts import Interrupts
from cropfit.work.snapshot import CONSTANT, snapshot

FLUSH_AFTER = 0.001  # seconds of computing that a kill may cost, beside the case in hand


class Leave(Exception):
    """The worker starts no other case; `reason` is one word, the message a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return Leave, (self.reason, str(self))


class LostClaim(Exception):
    """The batch in hand was taken over by another worker."""


@dataclass(frozen=True)
class Policy:
    """What a worker does about cases that fail, and lets them do.

    Parameters
    ----------
    raise_errors : bool
        Leave at the first case that raises.
    retries : int
        How often such a case is tried again at once.
    max_fails : int, optional
        Leave after so many failed cases.
    max_deaths : int
        How many workers may die in one case before it counts as failed.
    n_pool : int, optional
        What `cropfit.current_case` tells the function of how many processes it may start.
    """

    raise_errors: bool = False
    retries: int = 0
    max_fails: int | None = None
    max_deaths: int = 3
    n_pool: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("retries", 0), ("max_fails", 1), ("n_pool", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise DesignError(f"{name} must be at least {least}, not {value!r}")

    def after(self, fails: int) -> Policy:
        """The same for a worker that has met so many failures already."""
        return self if self.max_fails is None else replace(self, max_fails=self.max_fails - fails)


class BatchRun:
    """Grows the cases of one claim.

    Parameters
    ----------
    manifest : Manifest
        The crop.
    claim : Claim
        The batch in hand.
    call : callable
        The function with its constants, taking a case's arguments by name.
    policy : Policy
        What to do about failures.
    interrupts : Interrupts
        Signals, held while books are kept.
    may_start : callable
        Called between cases, at most once a millisecond of computing, with the
        seconds that the longest case took so far. Raises `Leave` to end early.
    case : Case
        What the function may ask; moved along.
    header : dict
        Who grows, for the record.
    announce : callable, optional
        Told the index of each case before it begins.
    expected : mapping, optional
        Declared inner dimensions of the outputs; a result that lacks them is its case's failure.

    Attributes
    ----------
    computed : int
        Cases that this run computed, failed ones included.
    failures : list of dict
        Failures that this run recorded for good.
    """

    def __init__(
        self,
        manifest: Manifest,
        claim: Claim,
        call: Callable[..., Any],
        policy: Policy,
        interrupts: Interrupts,
        may_start: Callable[[float], None],
        case: Case,
        header: dict[str, Any],
        announce: Callable[[int], None] | None = None,
        expected: Expected | None = None,
    ) -> None:
        self.claim = claim
        self.policy = policy
        self.interrupts = interrupts
        self.may_start = may_start
        self.case = case
        self.announce = announce
        self.computed = 0
        self.failures: list[Failure] = []
        self.sown, self.flat = manifest.cases_of(claim.batch)
        self._call = by_name(call, self.sown.grid.names)
        self._header = header
        self._readers = manifest.readers(manifest.sowing_of(claim.batch))
        self.book = Book(
            claim.path, claim.owner.token, header, manifest.outputs.var_names, expected
        )
        self._left: Sequence[int] = ()
        self._at = 0  # of those left, the first that is not written
        self._begun = 0.0
        self._results: list[Any] = []  # that wait to be written
        self._ends: list[float] = []  # when each of them was there
        self._took = 0.0
        self._longest = 0.0
        self._scratch = False

    def run(self) -> bool:
        """Compute what is left and make the book whole.

        Returns
        -------
        bool
            Whether every case has a result.

        Raises
        ------
        Leave, Interrupted
            The batch is not complete; what is finished is written.
        """
        case = self.case
        case.batch, case.folder = self.claim.batch, self.claim.path
        try:
            self._bury()
            self._left = self._unsettled()
            self._grow()
            self.book.seal(self._took, self._longest, scratch=self._scratch)
        except Unfinished as left:
            self._save()
            raise Leave("time" if case.time_left() <= 0 else "stop", str(left)) from None
        except BaseException:
            self._save()
            raise
        finally:
            for reader in self._readers.values():
                reader.close()
        return not self.book.failed

    def _save(self) -> None:
        """Write what is finished; the reason for leaving is worth more than a failure here."""
        self.interrupts.armed = False
        try:
            self.flush()
        except (OSError, Leave):
            pass  # a full disk: these cases will be computed again
        self.book.close()

    def _unsettled(self) -> Sequence[int]:
        settled = self.book.done | self.book.failed.keys()
        every = range(len(self.flat))
        return [k for k in every if k not in settled] if settled else every

    def _bury(self) -> None:
        """Put deaths of former owners down to the case that each had in hand."""
        if not self.book.deaths:
            return
        for offset in self._unsettled()[:1]:
            for mark in self.book.deaths:
                attempt = self.book.attempts.get(offset, 0) + 1
                deaths = self.book.killed.get(offset, 0) + 1
                last = deaths >= self.policy.max_deaths
                message = (
                    f"{deaths} workers died in this case without a word (the last was "
                    f"{mark.removeprefix('death.')})."
                )
                told = {"death": mark, "attempt": attempt, "final": last}
                self._record(offset, {**died(message), **told})
        self.book.forget_deaths()

    # -- the loop ------------------------------------------------------------------

    def _grow(self) -> None:
        """Call the function for each case that is left.

        The inner loop is entered once a run of cases, not once a case: it is
        what trivial cases cost.
        """
        left = self._left
        if not left:
            return
        if self._readers or self.announce or self.book.attempts:
            self._grow_singly()
            return
        self.may_start(0.0)
        flat = self.flat if len(left) == len(self.flat) else self.flat[left]
        numbers = (flat + self.sown.first_case).tolist()
        todo = zip(numbers, self.sown.grid.values(flat), strict=True)
        self._stretch(todo)
        while self._at < len(left):
            self.may_start(self._longest)
            self._stretch(todo)

    def _stretch(self, todo: Iterator[tuple[int, Row]]) -> None:
        """Compute until it is time to write, a case raises, or none is left."""
        case, call, results, ends = self.case, self._call, self._results, self._ends
        row: Row | None = None
        raised = None
        self._begun = perf_counter()
        due = self._begun + FLUSH_AFTER
        self.interrupts.arm()
        try:
            for case.index, row in todo:
                result = call(row)
                now = perf_counter()
                if type(result) not in CONSTANT:
                    frozen = snapshot(result)
                    if frozen is None:
                        due = now  # write it before the function can change it
                    else:
                        result = frozen
                results.append(result)
                ends.append(now)
                if now >= due:
                    break
        except BaseException as error:
            raised = error
        self.interrupts.armed = False
        if self.interrupts.sprung and not isinstance(raised, KeyboardInterrupt):
            self._drop()
        if raised is None:
            self.flush()
        elif row is None:
            raise raised  # there is no case that it could be put down to
        else:
            self._failed(raised, row, perf_counter() - (ends[-1] if ends else self._begun))

    def _grow_singly(self) -> None:
        """The same, each case by itself: objects are read, and every start is told."""
        for offset in self._left:
            self.may_start(self._longest)
            flat = self.flat[offset : offset + 1]
            self.case.index = self.sown.first_case + int(flat[0])
            self.case.attempt = self.book.attempts.get(offset, 0) + 1
            if self.announce:
                self.announce(offset)
            self._begun = perf_counter()
            row: Row | None = None
            try:
                (row,) = self.sown.grid.values(flat, self._readers)
                self._call_one(row)
            except BaseException as error:
                self._failed(error, row, perf_counter() - self._begun)
            else:
                self.flush()  # out here: a full disk is not the case's own failure
            self.case.attempt = 1

    def _call_one(self, row: Row) -> None:
        self.interrupts.arm()
        result = self._call(row)
        self.interrupts.armed = False
        if self.interrupts.sprung:
            self._drop()
        self._results.append(result)
        self._ends.append(perf_counter())

    def _drop(self) -> None:
        """Leave at once: a signal was raised in the function, which may have swallowed it."""
        self._results.clear()
        self._ends.clear()
        self.interrupts.check()

    def flush(self) -> None:
        """Write the results that wait; one that cannot be written is its case's failure."""
        count = min(len(self._results), len(self._ends))
        results, ends = self._results[:count], self._ends[:count]
        self._results.clear()  # in place: the loop holds these lists
        self._ends.clear()
        if not count:
            return
        self.interrupts.check_process()
        offsets = self._left[self._at : self._at + count]
        seconds = list(map(sub, ends, [self._begun, *ends[:-1]]))
        self._at += count
        self.computed += count
        self._took += ends[-1] - self._begun
        self._longest = max(self._longest, *seconds)
        refused = self.book.add_results(offsets, seconds, results)
        if self.case.checkpoints:
            self._scratch = True
            for offset in offsets:
                self.case.drop_checkpoint(self.sown.first_case + int(self.flat[offset]))
        for offset, error in refused:
            self._settle(error, offset, 0.0)

    # -- failures ------------------------------------------------------------------

    def _failed(self, error: BaseException, row: Row | None, took: float) -> None:
        """Record a case that raised, or try it again; pass on what is not the case's own."""
        self.interrupts.armed = False
        self.interrupts.check_process()
        if isinstance(error, (KeyboardInterrupt, Unfinished)):
            raise error
        if self.interrupts.sprung:
            self._drop()
        if row is None and isinstance(error, OSError):
            raise error  # the disk, not the function
        self.flush()
        offset = self._left[self._at]
        self.computed += 1
        self._took += took
        self._longest = max(self._longest, took)
        for tried in itertools.count():
            final = tried >= self.policy.retries
            self._settle(error, offset, took, final=final or row is None)
            if final or row is None:
                self._at += 1
                return
            self.may_start(self._longest)
            self.case.index = self.sown.first_case + int(self.flat[offset])
            self.case.attempt = self.book.attempts[offset] + 1
            self._begun = perf_counter()
            try:
                self._call_one(row)
            except (KeyboardInterrupt, Unfinished):
                raise
            except BaseException as once_more:
                self.interrupts.armed = False
                error, took = once_more, perf_counter() - self._begun
            else:
                self.flush()
                return
            finally:
                self.case.attempt = 1

    def _settle(self, error: BaseException, offset: int, took: float, final: bool = True) -> None:
        attempt = self.book.attempts.get(offset, 0) + 1
        told = {"seconds": took, "attempt": attempt, "final": final}
        self._record(offset, {**describe(error), "time": time(), **told})
        if final and self.policy.raise_errors:
            raise Leave("error", f"case {self.case.index} raised {type(error).__name__}: {error}")
        if final and len(self.failures) >= (self.policy.max_fails or float("inf")):
            raise Leave("max_fails", f"{number_of(len(self.failures), 'case')} failed (max_fails)")

    def _record(self, offset: int, failure: Failure) -> None:
        flat = int(self.flat[offset])
        who = {key: self._header[key] for key in ("host", "pid", "job")}
        failure = {
            "case": self.sown.first_case + flat,
            "batch": self.claim.batch,
            "offset": offset,
            "arguments": self.sown.grid.labels_of(flat),
            "seconds": 0.0,
            **who,
            **failure,
        }
        self.book.add_failure(failure)
        if failure["final"]:
            self.failures.append(failure)
