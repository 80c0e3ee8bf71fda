"""One process grows all crops of a folder, a turn each, until it is asked to leave.

    every few seconds:  look which crops have work ─▶ a turn for each place that is free
                              ▲                                │ a thread and its worker
                              └──────────── its report ────────┘

A turn is what `Crop.grow` in one new process does, cut after some seconds. So crops
share the places fairly whatever their batches cost, and any number of rounds on any
hosts may go over the same folder: their workers claim like all others.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cropfit.disk.layout import FUNCTION
from cropfit.disk.ledger import Ledger
from cropfit.disk.manifest import Manifest
from cropfit.errors import CropError
from cropfit.find import crops_below, crops_in
from cropfit.rounds.rules import FILE, Rules, RulesFile
from cropfit.tending import open_crop
from cropfit.work.failures import tell
from cropfit.work.interrupts import Interrupted, Interrupts
from cropfit.work.limits import Duration, find_deadline, seconds
from cropfit.work.portions import Order
from cropfit.work.report import GrowReport
from cropfit.work.slots import Slot
from cropfit.work.supervise import Supervisor

Say = Callable[[str], None]


@dataclass
class _Turn:
    """A worker's turn at a crop."""

    root: str
    name: str
    slot: Slot
    supervisor: Supervisor
    thread: threading.Thread | None = None
    error: Exception | None = None


@dataclass
class _Rest:
    """A crop that is left alone: until a time, or until its function is sown again."""

    until: float = math.inf
    function: Any = None


@dataclass
class Rounds:
    """Turns at the crops of a folder.

    Parameters
    ----------
    folder : str
        Where crops stand, or will.
    rules : RulesFile
        How to grow.
    say : callable
        Told each turn that did something, and what went wrong.
    below : bool
        Whether the folders below are meant as well.
    once : bool
        Leave when no crop has work.
    deadline : float
        Seconds since the epoch at which all must have ended.
    """

    folder: str
    rules: RulesFile
    say: Say
    below: bool = False
    once: bool = False
    deadline: float = math.inf
    report: GrowReport = field(default_factory=GrowReport)
    _running: list[_Turn] = field(default_factory=list)
    _served: dict[str, int] = field(default_factory=dict)
    _resting: dict[str, _Rest] = field(default_factory=dict)
    _wake: threading.Event = field(default_factory=threading.Event)
    _leaving: bool = False

    def run(self) -> GrowReport:
        """Give turns until Ctrl-C, or with `once` until nothing is left.

        Returns
        -------
        GrowReport
            What was done in all crops together.
        """
        try:
            self._go()
        except Interrupted as interrupted:
            self.report.reason = signal.Signals(interrupted.number).name
            if interrupted.number == signal.SIGINT:
                self.say("Workers leave after the case in hand; Ctrl-C again ends them at once.")
                self.leave()
                with suppress(KeyboardInterrupt):
                    self._go()
        finally:
            self.end()
        return self.report

    def _go(self) -> None:
        with Interrupts() as interrupts:
            while not self._over():
                self._wake.clear()
                self._collect()
                rules = self.rules.now()
                if not self._give_turns(rules) and not self._running and self._may_leave():
                    return
                interrupts.arm()
                self._wake.wait(rules.scan_interval)
                interrupts.armed = False

    def _may_leave(self) -> bool:
        put_off = any(rest.until < math.inf for rest in self._resting.values())
        return self._leaving or (self.once and not put_off)

    def leave(self) -> None:
        """Begin nothing else; workers leave after the case in hand. From any thread."""
        self._leaving = True
        for turn in list(self._running):
            turn.supervisor.dismiss()
        self._wake.set()

    def end(self) -> None:
        """End the workers now; what they finished is kept."""
        self._leaving = True
        for turn in self._running:
            turn.supervisor.interrupt(signal.SIGTERM)
        for turn in self._running:
            if turn.thread:
                turn.thread.join()
        self._collect()

    def _over(self) -> bool:
        if time.time() > self.deadline:
            self.report.reason = "time"
            return True
        return self._leaving and not self._running

    # -- which crop is next --------------------------------------------------------

    def _give_turns(self, rules: Rules) -> bool:
        """Fill the places that are free; whether there was work for any."""
        if self._leaving:
            return False
        taken = Counter(turn.slot for turn in self._running)
        given = False
        for slot in rules.slots():
            if taken[slot]:
                taken[slot] -= 1
                continue
            if not self._begin_next(slot, rules):
                break
            given = True
        return given

    def _begin_next(self, slot: Slot, rules: Rules) -> bool:
        """Give a place to the crop that waits longest of those that have work."""
        roots = crops_below(self.folder) if self.below else list(crops_in(self.folder).values())
        for root in sorted(roots, key=lambda root: self._served.get(root, 0)):
            with suppress(FileNotFoundError):  # it was deleted meanwhile
                if not self._rests(root):
                    try:
                        manifest, ledger = open_crop(root)
                        if self._has_work(root, ledger):
                            self._begin(manifest, ledger, slot, rules)
                            return True
                    except CropError as error:
                        self._hold(root, str(error))
        return False

    def _rests(self, root: str) -> bool:
        rest = self._resting.get(root)
        if rest and (time.monotonic() > rest.until or rest.function != _function(root)):
            del self._resting[root]
        return root in self._resting

    def _has_work(self, root: str, ledger: Ledger) -> bool:
        """Whether one worker more would find something."""
        ours = sum(turn.root == root for turn in self._running)
        sown = ledger.counts()["sown"]
        return sown > ours or (not ours and any(held.dead for held in ledger.held()))

    # -- turns ---------------------------------------------------------------------

    def _begin(self, manifest: Manifest, ledger: Ledger, slot: Slot, rules: Rules) -> None:
        root, terms = manifest.layout.root, rules.terms()
        order = Order(
            root,
            None,
            asdict(terms.policy(manifest)),
            None if math.isinf(self.deadline) else self.deadline,
            log=terms.log,
            turn=rules.turn,
            stop_sign=f"stop.{ledger.owner.token}",
        )
        supervisor = Supervisor(
            manifest,
            ledger,
            [slot],
            order,
            fresh=terms.fresh,
            timeout=None if terms.timeout is None else seconds(terms.timeout),
            max_memory=terms.max_memory,
            num_threads=rules.threads(slot),
            sheltered=True,
        )
        turn = _Turn(root, manifest.name, slot, supervisor)
        turn.thread = threading.Thread(target=self._take, args=(turn,), daemon=True)
        self._served[root] = 1 + max(self._served.values(), default=0)
        self._running.append(turn)
        turn.thread.start()

    def _take(self, turn: _Turn) -> None:
        try:
            turn.supervisor.run()
        except Exception as error:  # it is told, and the crop left alone
            turn.error = error
        finally:
            self._wake.set()

    def _collect(self) -> None:
        """Take in the reports of turns that ended."""
        for turn in [turn for turn in self._running if turn.thread and not turn.thread.is_alive()]:
            self._running.remove(turn)
            report = turn.supervisor.report
            if turn.error or report.reason == "max_fails":
                self._hold(turn.root, str(turn.error or f"{report}; they are in its errors"))
            elif not (report.grown or report.failed):
                # Others were faster, or what is left waits for a lease to end.
                rest = time.monotonic() + self.rules.now().scan_interval
                self._resting[turn.root] = _Rest(rest, _function(turn.root))
            if report.grown or report.failed:
                self.say(f"{turn.name}: {replace(report, reason='done')}")
            if report.failures:
                self.say(f"{turn.name}: failed: {tell(report.failures[0])}")
            self.report.add(replace(report, reason="done", notes=[]))

    def _hold(self, root: str, why: str) -> None:
        """Leave a crop alone until somebody sows it again, or these rounds are made anew."""
        self._resting[root] = _Rest(function=_function(root))
        self.say(f"{root} is left alone until its function is sown again: {why}")


def _function(root: str) -> Any:
    """What changes when the crop's function does."""
    try:
        seen = os.stat(f"{root}/{FUNCTION}")
    except FileNotFoundError:
        return None
    return seen.st_ino, seen.st_mtime_ns


def auto_grow(
    folder: str | os.PathLike[str] = ".",
    *,
    once: bool = False,
    below: bool = False,
    config: str | os.PathLike[str] | None = None,
    walltime: Duration | None = None,
    say: Say = print,
    **rules: Any,
) -> GrowReport:
    """Grow all crops that stand in a folder, those that are sown later too, a turn each.

    Parameters
    ----------
    folder : path
        Where they stand.
    once : bool
        Return when no crop has work; otherwise wait for more until Ctrl-C.
    below : bool
        Whether crops in the folders below are meant as well.
    config : path, optional
        TOML file of rules, read again whenever it changes; ``.cropfit-auto-grow.toml``
        in `folder` by default.
    walltime : duration, optional
        Leave within this time; by default what the scheduler's environment tells.
    say : callable
        Told each turn that did something, and what went wrong.
    **rules
        Fields of `Rules`, which hold whatever the file says: ``num_workers=``,
        ``turn=``, ``num_threads=``, ``retries=``, ``fresh=`` and so on.

    Returns
    -------
    GrowReport
        What was done in all crops together.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when workers have finished their case; a second one ends them.
    DesignError
        There is no such rule, or one cannot be followed.
    """
    where = os.path.abspath(folder)
    file = RulesFile(os.path.abspath(config) if config else f"{where}/{FILE}", rules, say)
    rounds = Rounds(where, file, say, below, once, find_deadline(walltime))
    report = rounds.run()
    if report.reason == "SIGINT":
        raise KeyboardInterrupt
    if report.reason == "SIGTERM":
        raise SystemExit(report.exit_code)
    return report
