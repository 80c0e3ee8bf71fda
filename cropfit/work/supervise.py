"""Several workers on this machine, each a fresh process of its own.

    this process ──starts──▶ worker ──lines──▶ this process
                                │
                                └─ dies? another takes its place, and its batch

Workers claim batches like any worker on any host; this process only starts them,
listens, and cleans up after those that die. They share nothing, so the death of
one costs its case in hand and disturbs no other.

With ``fresh=True`` a worker grows one batch. It tells which case it begins, so a
segfault, an ``os._exit``, the OOM killer, a time or a memory limit is put down to
that case, and the next process goes on behind it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from cropfit import errors
from cropfit.disk.ledger import Claim, Ledger
from cropfit.disk.manifest import Manifest
from cropfit.errors import CropError
from cropfit.work.batch import Policy
from cropfit.work.book import Book
from cropfit.work.failures import died
from cropfit.work.interrupts import Interrupted, Interrupts
from cropfit.work.limits import cap_threads
from cropfit.work.portions import Order, Portion, deal
from cropfit.work.processes import how_it_ended, memory_of_tree
from cropfit.work.report import GrowReport
from cropfit.work.slots import Slot

POLL = 0.2  # seconds between two looks at the limits of a case
GRACE = 30.0  # seconds that workers have to leave after a signal


@dataclass
class _Child:
    """One worker process and what it was heard to say; `silent` when its pipe is closed."""

    process: subprocess.Popen[bytes]
    pipe: int
    portion: Portion
    slot: Slot
    rest: bytearray = field(default_factory=bytearray)
    batch: int | None = None
    offset: int | None = None
    since: float = field(default_factory=time.monotonic)
    killed_for: str = ""
    report: dict[str, Any] | None = None
    silent: bool = False
    fails: int = 0
    ended: set[int] = field(default_factory=set)


class Supervisor:
    """Starts workers, listens to them, and replaces those that die.

    Parameters
    ----------
    manifest, ledger
        The crop, and an owner for cleaning up.
    slots : list of Slot
        A place for each process that is to work at a time.
    order : Order
        What each of them does.
    fresh : bool
        A new process for every batch.
    timeout : float, optional
        Seconds that a case may take; with `fresh`.
    max_memory : int, optional
        Bytes that a worker's process tree may hold; with `fresh`.
    num_threads : int, optional
        Thread cap of each worker; by default what the environment says, or else the
        machine's cores are shared out.
    progress : callable, optional
        Told the number and state of each batch that ended.
    sheltered : bool
        Whether Ctrl-C in the terminal reaches this process alone, and not the workers.
    """

    def __init__(
        self,
        manifest: Manifest,
        ledger: Ledger,
        slots: list[Slot],
        order: Order,
        *,
        fresh: bool = False,
        timeout: float | None = None,
        max_memory: int | None = None,
        num_threads: int | None = None,
        progress: Callable[[int, str], None] | None = None,
        sheltered: bool = False,
    ) -> None:
        self.manifest = manifest
        self.ledger = ledger
        self.order = order
        self.fresh = fresh
        self.timeout = timeout
        self.max_memory = max_memory
        self.report = GrowReport()
        self._progress = progress or (lambda batch, state: None)
        self._sheltered = sheltered
        self._interrupts = Interrupts()
        self._begun: float | None = None
        self._dismissed = False
        self._free = slots[::-1]
        self._children: list[_Child] = []
        self._num_workers = num_workers = len(slots)
        self._todo = deal(order, num_workers, fresh, ledger)
        self._num_threads = num_threads
        self._deaths = 0
        self._in_vain = 0  # deaths since any worker was heard of or held a batch
        self._leaving = ""
        self._called_off = False

    def run(self) -> GrowReport:
        """Keep the workers going until nothing is left that they could do."""
        with self._interrupts:
            try:
                self._start_all()
                while self._children:
                    self._listen()
                    self._enforce_limits()
                    self._collect()
                    self._interrupts.check()
            except Interrupted as interrupted:
                self._leave(interrupted.number)
            except BaseException:
                self._leave(signal.SIGTERM)
                raise
            finally:
                if self._dismissed:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self._sign)
        self.report.reason = self._leaving or self.report.reason
        return self.report

    def dismiss(self) -> None:
        """Begin nothing else, and ask the workers to leave after their case; from any thread."""
        self._dismissed = True
        with contextlib.suppress(FileNotFoundError), open(self._sign, "w"):
            pass

    def interrupt(self, number: int) -> None:
        """Do what a signal would make the main thread do; from any thread."""
        self._interrupts.ask(number)

    @property
    def _sign(self) -> str:
        return f"{self.manifest.layout.root}/{self.order.stop_sign}"

    # -- starting ------------------------------------------------------------------

    def _start_all(self) -> None:
        while self._free and self._todo and not self._turn_is_over():
            portion = self._todo.pop()
            if not portion.is_taken(self.ledger):
                self._begun = self._begun or time.monotonic()
                self._start(portion)

    def _turn_is_over(self) -> bool:
        """Whether nothing else may be begun; something is in any turn, however short."""
        if self.order.turn is None or self._begun is None:
            return self._dismissed
        return self._dismissed or time.monotonic() - self._begun > self.order.turn

    def _start(self, portion: Portion) -> None:
        read, write = os.pipe()
        told = {**asdict(portion.of(self.order)), "tell_cases": self.fresh}
        slot = self._free.pop()
        told["cores"] = slot.cores
        command = [sys.executable, "-c", "from cropfit.work.child import main; main()"]
        try:
            process = subprocess.Popen(
                [*command, json.dumps(told), str(write)],
                pass_fds=(write,),
                env=self._environment(slot),
                stdin=subprocess.DEVNULL,
                start_new_session=self._sheltered,
            )
        finally:
            os.close(write)
        os.set_blocking(read, False)
        self._children.append(_Child(process, read, portion, slot))

    def _environment(self, slot: Slot) -> dict[str, str]:
        """What a worker reads when it starts: thread caps and its GPU."""
        there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        environment: dict[str, str] = {}
        share = len(slot.cores) if slot.cores else there // self._num_workers
        cap_threads(max(1, share), environment)
        environment.update(os.environ)
        cap_threads(self._num_threads, environment)
        return {**environment, **slot.environment()}

    # -- listening -----------------------------------------------------------------

    def _listen(self) -> None:
        """Take in what workers say; wakes up when one says something or ends."""
        heard = [child for child in self._children if not child.silent]
        # A closed pipe would always be ready; who closed it is about to end.
        pause = POLL if len(heard) == len(self._children) else POLL / 20
        with selectors.DefaultSelector() as selector:
            for child in heard:
                selector.register(child.pipe, selectors.EVENT_READ, child)
            for key, _ in selector.select(pause):
                self._hear(key.data)

    def _hear(self, child: _Child) -> None:
        while True:
            try:
                data = os.read(child.pipe, 65536)
            except BlockingIOError:
                return
            if not data:
                child.silent = True
                return
            child.rest += data
            if b"\n" not in data:
                continue  # a long report: join it once
            *lines, child.rest = child.rest.split(b"\n")
            for line in lines:
                self._understand(child, json.loads(line))

    def _understand(self, child: _Child, told: dict[str, Any]) -> None:
        self._in_vain = 0
        if "error" in told:
            kind, message = told["error"]
            if not self._leaving:
                raise getattr(errors, kind, CropError)(message)
        elif "case" in told:
            child.batch, child.offset = told["case"]
            child.since = time.monotonic()
        elif "batch" in told:
            child.offset, child.fails = None, told["fails"]
            child.ended.add(told["batch"][0])
            self._progress(*told["batch"])
        else:
            child.report = told["report"]

    def _enforce_limits(self) -> None:
        for child in self._children:
            if child.offset is None or child.killed_for:
                continue
            took = time.monotonic() - child.since
            if self.timeout is not None and took > self.timeout:
                child.killed_for = f"Timeout: the case took longer than {self.timeout:g} s"
            elif self.max_memory is not None:
                held = memory_of_tree(child.process.pid)
                if held > self.max_memory:
                    child.killed_for = (
                        f"OutOfMemory: the case held {held >> 20} MiB, "
                        f"more than the {self.max_memory >> 20} MiB allowed"
                    )
            if child.killed_for:
                child.process.kill()

    # -- ends ----------------------------------------------------------------------

    def _collect(self) -> None:
        """Take leave of workers that ended, and start others while there is work."""
        for child in [child for child in self._children if child.process.poll() is not None]:
            self._hear(child)
            os.close(child.pipe)
            self._children.remove(child)
            self._free.append(child.slot)
            if child.report is None:
                self._after_death(child)
            else:
                self.report.add(GrowReport(**child.report))
        self._call_off()
        self._start_all()

    def _call_off(self) -> None:
        """Begin nothing else, and have the others leave, if that is what failures ask for."""
        policy, report = Policy(**self.order.policy), self.report
        fails = len(report.failures) + sum(child.fails for child in self._children)
        if report.reason == "done" and policy.raise_errors and report.failures:
            report.reason = "error"
        if report.reason == "done" and policy.max_fails and fails >= policy.max_fails:
            report.reason = "max_fails"
        if report.reason == "done":
            return
        self._todo.clear()
        if report.reason in ("error", "max_fails") and not self._called_off:
            self._called_off = True
            for child in self._children:
                child.process.send_signal(signal.SIGTERM)

    def _after_death(self, child: _Child) -> None:
        """Free the batch that a dead worker held, and let another worker go on."""
        self._deaths += 1
        how = child.killed_for or how_it_ended(child.process.returncode)
        claims = [c for c in self.ledger.claims() if self._is_of(c, child)]
        self._in_vain = 0 if claims else self._in_vain + 1
        if self._in_vain > 3 * self._num_workers:
            raise CropError(
                f"Workers die before they claim a batch ({how}). Run 'cropfit grow "
                f"{self.manifest.name}' in a terminal to see why."
            )
        for claim in claims:
            self._bury(claim, how)
        if left := child.portion.without(child.ended):
            self._todo.append(left)

    def _is_of(self, claim: Claim, child: _Child) -> bool:
        owner = claim.owner
        return owner.pid == child.process.pid and owner.is_alive() is False

    def _bury(self, claim: Claim, how: str) -> None:
        """Put a death down to the case in hand. Without `fresh` it counts towards max_deaths."""
        mine = self.ledger.take_over(claim)
        if mine is None:
            return
        if self.fresh and not self._called_off:
            kind, _, message = how.partition(": ")
            self._record(mine, died(message, kind))
        self.ledger.release(mine)

    def _record(self, claim: Claim, failure: dict[str, Any]) -> None:
        manifest, batch = self.manifest, claim.batch
        sown, flat = manifest.cases_of(batch)
        header = {"crop": manifest.data["id"], "design": manifest.design(batch), "batch": batch}
        token = f"{claim.owner.token}-{self._deaths}"
        book = Book(claim.path, token, header, manifest.outputs.var_names)
        left = [k for k in range(len(flat)) if k not in book.done and k not in book.failed]
        if left:
            index = int(flat[left[0]])
            told = {
                "case": sown.first_case + index,
                "batch": batch,
                "offset": left[0],
                "arguments": sown.grid.labels_of(index),
                "attempt": book.attempts.get(left[0], 0) + 1,
                "seconds": 0.0,
                "host": claim.owner.host,
                "pid": claim.owner.pid,
                "job": None,
                "final": True,
                "death": next(iter(book.deaths), None),
                **failure,
            }
            book.add_failure(told)
            self.report.failures.append(told)
        book.forget_deaths()
        book.close()

    def _leave(self, number: int) -> None:
        """Pass a signal on and wait until the workers have given back what they hold."""
        self._leaving = "SIGINT" if number == signal.SIGINT else "SIGTERM"
        for child in self._children:
            child.process.send_signal(number)
        end = time.monotonic() + GRACE
        while time.monotonic() < end and any(c.process.poll() is None for c in self._children):
            self._listen()  # or a long report would fill its pipe, and never be finished
        for child in self._children:
            if child.process.poll() is None:
                child.process.kill()
                child.process.wait()
            self._hear(child)
            os.close(child.pipe)
            if child.report:
                self.report.add(GrowReport(**child.report))
        self._children.clear()
