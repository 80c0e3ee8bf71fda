"""Growing by a pool whose workers cannot see the crop's folder: the sower's side.

    claim ──▶ errand ──▶ pool ──▶ its worker grows the batch on a disk of its own
    publish ◀── files ◀──

To all other workers a courier is a worker like any other: it claims, its heart beats for
all that it has claimed, it publishes. Only the growing happens elsewhere. So the fences,
the marks of the dead, the deadline and the signals are those of every worker.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from cropfit.disk.layout import DEATH
from cropfit.disk.ledger import Claim, Ledger
from cropfit.disk.manifest import Manifest, read_manifest
from cropfit.engines.abroad import Errand, Kit, move_out, root_of
from cropfit.engines.pools import Future, Pool, adapt, named
from cropfit.errors import CropError, DamagedError, DesignError
from cropfit.wording import number_of
from cropfit.work.batch import Leave, Policy
from cropfit.work.grow import Worker
from cropfit.work.parcel import bring_home, kit_names, read_files, read_objects
from cropfit.work.report import GrowReport

AHEAD = 2  # batches in flight for each worker, so that none waits for the next
POLL = 0.0002, 0.01  # seconds between two looks at what is in flight: the first, and the longest
LOOK_EVERY = 1.0  # seconds between two looks for workers of a pool that does not tell of deaths
MOST_IDLE = 10  # looks in a row at nobody working, until what is in flight counts as lost
MOST_LOSSES = 5  # in a row without anything coming home
ENDS = ("time", "stop", "error", "max_fails")  # why a worker leaves that end the whole
GRACE = 30.0  # seconds that batches have to come home once the courier has to leave


class Courier(Worker):
    """Claims batches and has them grown by a pool's workers.

    Parameters
    ----------
    root : str
        The crop's folder.
    policy : Policy
        What to do about failures.
    executor
        A pool, or the name of one.
    num_workers : int, optional
        Size of the pool, where it does not tell.
    num_threads : int, optional
        Thread cap of the workers, for libraries that they load later.
    deadline : float
        Seconds since the epoch.
    progress : callable
        Told after each batch that came home.
    """

    def __init__(
        self,
        root: str,
        policy: Policy,
        executor: Any,
        *,
        num_workers: int | None = None,
        num_threads: int | None = None,
        deadline: float = math.inf,
        progress: Callable[[int, str], None] | None = None,
    ) -> None:
        super().__init__(root, policy, deadline=deadline, progress=progress)
        self._executor = executor
        self._num_workers = num_workers
        self._num_threads = num_threads
        self._deadline_known = deadline < math.inf
        self._opened = ExitStack()
        self._pool: Pool
        self._running: list[tuple[Future, Claim]] = []
        self._lost: list[tuple[Claim, Exception]] = []
        self._losses = 0
        self._marks = 0
        self._kit: Kit = {}
        self._kit_name = ""
        self._kit_of: object = None
        self._shared: tuple[Any, ...] = ()

    # -- the worker's loop, with the growing elsewhere ---------------------------------

    def _run(self, work: Callable[[], Any]) -> GrowReport:
        def led() -> None:
            with self._opened:
                self._open_pool()
                try:
                    work()
                except BaseException as error:
                    self._dismiss(error)
                    raise

        try:
            return super()._run(led)
        finally:
            with contextlib.suppress(OSError, CropError):
                move_out()

    def _grow_left(self, wait: bool) -> None:
        while True:
            super()._grow_left(wait)
            if not self._running:
                return
            self._collect()  # and look again: what is lost may have been given back

    def _grow_all(self, *args: Any) -> None:
        super()._grow_all(*args)
        while self._running:
            self._collect()

    def _grow(self, claim: Claim) -> None:
        self._heart.watch(claim.path, *(each.path for _, each in self._running))
        self._send_or_let_go(claim)
        ahead = 1 if self._deadline_known or self._pool.silent else AHEAD
        while len(self._running) >= ahead * self._pool.size:
            self._collect()

    # -- sending -------------------------------------------------------------------

    def _open_pool(self) -> None:
        if isinstance(self._executor, str):
            if self._executor == "joblib":
                raise DesignError(
                    "executor='joblib' gives all workers one task, so it cannot ship=True: give "
                    "the pool that is behind it (a dask Client, 'loky')."
                )
            self._opened.close()
            self._pool = self._opened.enter_context(named(self._executor, self._num_workers))
        else:
            self._pool = adapt(self._executor, self._num_workers)
        self._kit_of = None

    def _pack_kit(self) -> None:
        """Take up what all batches need, again if the function is another one now."""
        wanted = (self._function_file, len(self.manifest.sowings))
        if self._kit_of == wanted:
            return
        root = self.manifest.layout.root
        kit = {}
        for name in kit_names(self.manifest):
            with open(f"{root}/{name}", "rb") as file:
                kit[name] = file.read()
        self._kit, self._kit_of = kit, wanted
        self._kit_name = _name_of(self.manifest, kit)
        if self._pool.share:
            self._shared = (self._pool.share(kit),)
            return
        self._shared = ()
        first = self._pool.submit(self._errand(0), kit)  # alone, so that it comes once a host
        while not first.done() and not self._pool.is_lost():
            self._interrupts.check()
            time.sleep(POLL[1])
        with contextlib.suppress(Exception):
            if first.done():
                first.result()  # whoever needs the kit will say so

    def _errand(self, batch: int, folder: str = "") -> Errand:
        fails = len(self.report.failures)
        return Errand(
            self._kit_name,
            self.manifest.name,
            batch,
            read_files(folder) if batch else {},
            tuple(read_objects(self.manifest, batch)) if batch else (),
            self.policy.after(fails),
            self._deadline - time.time(),
            self._num_threads,
            f"stop.{self.owner.token}",
        )

    def _send_or_let_go(self, claim: Claim, *, with_kit: bool = False) -> None:
        try:
            self._may_start(0.0)
            self._send(claim, with_kit=with_kit)
        except BaseException:
            self._let_go(claim)
            raise

    def _send(self, claim: Claim, *, with_kit: bool = False) -> None:
        if claim.batch > self._last_batch():
            self.manifest = read_manifest(self.manifest.layout.root)  # it was appended to
        for attempt in range(2):
            try:
                self._pack_kit()
                brought = (self._kit,) if with_kit else self._shared
                errand = self._errand(claim.batch, claim.path)
                future = self._pool.submit(errand, *brought)
            except (OSError, CropError, KeyboardInterrupt):
                raise
            except Exception as error:
                # One of ours is made anew: loky ends all its workers when one dies.
                if attempt or not isinstance(self._executor, str):
                    raise self._told(error) from error
                self._open_pool()
            else:
                self._running.append((future, claim))
                return

    # -- receiving -----------------------------------------------------------------

    def _collect(self) -> None:
        """Wait until something comes home, and take it in."""
        idle, look, pause = 0, time.monotonic() + LOOK_EVERY, POLL[0]
        while not (ended := [entry for entry in self._running if entry[0].done()]):
            time.sleep(pause)
            pause = min(2 * pause, POLL[1])
            self._may_start(0.0)
            if self._pool.is_lost():
                self._give_up_pool()
                break
            if self._pool.silent and time.monotonic() > look:
                look = time.monotonic() + LOOK_EVERY
                dead, working = self._look_at_this_host()
                idle = 0 if working else idle + 1
                gone = [e for e in self._running if e[1].batch in dead or idle == MOST_IDLE]
                if gone:
                    self._lose(gone, CropError("its worker vanished"))
                    break
        for entry in ended:
            try:
                told = entry[0].result()
            except Exception as error:
                self._lose([entry], error)
            else:
                self._running.remove(entry)
                self._take_in(entry[1], told)
        self._replace_lost()

    def _take_in(self, claim: Claim, told: dict[str, Any] | None) -> None:
        if told is None:  # its host has no kit yet
            self._send_or_let_go(claim, with_kit=True)
            return
        report = GrowReport(**told["report"])
        self._count(report)
        state = self._publish(claim, told["files"])
        if state in ("grown", "failed"):
            self._losses = 0
        elif report.reason not in ENDS:
            self._note_loss_of_pool(CropError(f"a worker gave a batch back ({report.reason})"))
        if report.reason in ENDS:
            why = report.notes[-1] if report.notes else report.reason
            raise Leave(report.reason, why.removeprefix("Left: ").rstrip("."))
        most = self.policy.max_fails
        if most is not None and len(self.report.failures) >= most:
            raise Leave(
                "max_fails", f"{number_of(len(self.report.failures), 'case')} failed (max_fails)"
            )

    def _count(self, report: GrowReport) -> None:
        self.report.cases += report.cases
        self.report.failures += report.failures

    def _publish(self, claim: Claim, files: dict[str, bytes]) -> str | None:
        """Put what came home into the crop; the state that the batch is in now."""
        try:
            state = bring_home(self.manifest, self.ledger, claim, files)
        except DamagedError as error:
            self.report.notes.append(str(error))
            self.ledger.release(claim)
            return "sown"
        except BaseException as error:
            ours = self._let_go(claim)
            if ours or not isinstance(error, OSError) or not self._is_there():
                raise
            state = None  # that is why its folder could not be written to
        if state != "sown":
            self._conclude(claim, state == "grown", state is not None)
        return state

    # -- losses --------------------------------------------------------------------

    def _look_at_this_host(self) -> tuple[set[int], bool]:
        """Batches whose worker on this host is dead, and whether any is alive."""
        root = root_of(self._kit_name, self.manifest.name)
        if not os.path.isdir(root):
            return set(), False
        there = read_manifest(root).layout
        held = Ledger(there, self.owner, self.ledger.lease).held()
        return {each.claim.batch for each in held if each.dead}, any(not h.dead for h in held)

    def _give_up_pool(self) -> None:
        """Take all that is in flight for lost; a pool of ours is made anew."""
        error = CropError("a worker died, which the pool has not noticed")
        self._lose(list(self._running), error)
        if not isinstance(self._executor, str):
            raise self._told(error)
        self._open_pool()

    def _lose(self, entries: list[tuple[Future, Claim]], error: Exception) -> None:
        for entry in entries:
            self._running.remove(entry)
            self._lost.append((entry[1], error))

    def _replace_lost(self) -> None:
        """Send batches again that the pool lost, as when a worker of it was killed."""
        if not self._lost:
            return
        self._kit_of = None  # what was shared may be lost as well
        if len(self._lost) == 1:  # else it is not known in which of them a worker died
            self._mark_death(self._lost[0][0])
        self._note_loss_of_pool(self._lost[0][1])
        while self._lost:
            self._send_or_let_go(self._lost.pop()[0])

    def _mark_death(self, claim: Claim) -> None:
        """What any worker who takes over a dead one's batch leaves in it."""
        self._marks += 1
        with (
            contextlib.suppress(OSError),
            open(f"{claim.path}/{DEATH}{claim.owner.token}-{self._marks}", "x"),
        ):
            pass

    def _note_loss_of_pool(self, error: Exception) -> None:
        self._losses += 1
        if self._losses > MOST_LOSSES:
            raise self._told(error) from error

    def _told(self, error: BaseException) -> CropError:
        return CropError(
            f"{self.manifest.layout.root}: the executor takes no more work "
            f"({type(error).__name__}: {error}). What was finished is kept; grow the rest with "
            f"another one, or with 'cropfit grow {self.manifest.name}'."
        )

    # -- leaving -------------------------------------------------------------------

    def _dismiss(self, why: BaseException) -> None:
        """Wait a while for what is in flight, then give it back."""
        for future, _ in self._running:
            if isinstance(future, concurrent.futures.Future):
                future.cancel()  # what has not begun
        sign = f"{root_of(self._kit_name, self.manifest.name)}/stop.{self.owner.token}"
        with contextlib.suppress(OSError), open(sign, "w"):  # heard by workers of this host
            pass
        end = time.monotonic() + GRACE
        if isinstance(why, Leave) and why.reason == "time":
            end += max(0.0, self._deadline - time.time())
        for claim, _ in self._lost:
            self._let_go(claim)
        for future, claim in self._running:
            while not future.done() and time.monotonic() < end:
                time.sleep(POLL[1])
            self._take_what_came(future, claim)
        self._running.clear()
        self._lost.clear()
        with contextlib.suppress(OSError):
            os.unlink(sign)

    def _take_what_came(self, future: Future, claim: Claim) -> None:
        try:
            told = future.result() if future.done() else None
            if told:
                self._count(GrowReport(**told["report"]))
                self._publish(claim, told["files"])
                return
        except (Exception, concurrent.futures.CancelledError):
            pass  # why we leave matters more
        self._let_go(claim)


def _name_of(manifest: Manifest, kit: Kit) -> str:
    """A name that no other content has."""
    content = hashlib.sha256()
    for data in kit.values():
        content.update(data)
    return f"{manifest.data['id']}-{content.hexdigest()[:16]}"
