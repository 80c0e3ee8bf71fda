"""Several workers do to one crop whatever the ledger allows, in any order, and die anywhere.

After every step the disk must show what a simple model says: each batch in one place, each
claim with one holder, and in what is grown the results of him who was told that he finished.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import cropfit as cf
from cropfit.disk import ledger as module
from cropfit.disk.layout import STATES
from cropfit.disk.ledger import Claim, Ledger
from cropfit.disk.manifest import read_manifest
from cropfit.disk.owner import Owner
from cropfit.disk.records import read_records
from cropfit.work.book import Book
from cropfit.work.care import clean

BATCHES = 3
LEASE = 60.0

batches = st.integers(1, BATCHES)


class Killed(BaseException):
    """A worker ends in the middle of a transition."""


@dataclass(eq=False)
class Worker:
    """One worker and what it believes to hold."""

    owner: Owner
    process: subprocess.Popen[bytes] | None
    alive: bool = True
    mine: dict[int, Claim] = field(default_factory=dict)
    ledger: Any = None


@dataclass
class Place:
    """Where the model has a batch."""

    state: str = "sown"
    holder: Worker | None = None
    silent: bool = False
    value: float | None = None
    torn: bool = False


def function(x: int) -> int:
    return x


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A sown crop to copy."""
    folder = tmp_path_factory.mktemp("template")
    crop = cf.Crop(
        function, "t", parent_dir=folder, batchsize=1, var_names="y", lease=LEASE, verbosity=0
    )
    crop.sow_combos({"x": range(BATCHES)})
    return crop.location


class Crowd(RuleBasedStateMachine):
    template = ""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.root = f"{self.folder}/.crop-t"
        shutil.copytree(self.template, self.root)
        self.manifest = read_manifest(self.root)
        self.places = {batch: Place() for batch in range(1, BATCHES + 1)}
        self.everybody: list[Worker] = []
        self.written = 0.0
        for local in (True, True, False):
            self._hire(local)

    def teardown(self) -> None:
        for worker in getattr(self, "everybody", []):
            self._bury(worker)
        shutil.rmtree(getattr(self, "folder", ""), ignore_errors=True)

    def _hire(self, local: bool) -> None:
        number = len(self.everybody)
        if local:
            process = subprocess.Popen(["sleep", "600"])
            here = Owner.here()
            machine = here.token.split("-")[0]
            with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
                started = int(file.read().rpartition(")")[2].split()[19])
            owner = Owner(here.host, process.pid, f"{machine}-{started:x}-{number}")
            worker = Worker(owner, process)
        else:
            worker = Worker(Owner("another.host", 1, f"0-0-{number}"), None)
        worker.ledger = Ledger(self.manifest.layout, worker.owner, LEASE)
        self.everybody.append(worker)

    def _bury(self, worker: Worker) -> None:
        worker.alive = False
        if worker.process:
            worker.process.kill()
            worker.process.wait()

    def _is_dead(self, place: Place) -> bool:
        """Whether other workers may know that the holder is dead."""
        assert place.holder
        return not place.holder.alive if place.holder.process else place.silent

    def _holds(self, worker: Worker, batch: int) -> bool:
        place = self.places[batch]
        return place.state == "growing" and place.holder is worker

    def _move(self, batch: int, state: str, holder: Worker | None = None) -> None:
        place = self.places[batch]
        place.state, place.holder, place.silent = state, holder, False

    # -- workers come and go -----------------------------------------------------------

    def _alive(self) -> list[Worker]:
        return [worker for worker in self.everybody if worker.alive]

    def _in(self, state: str) -> list[int]:
        return [batch for batch, place in self.places.items() if place.state == state]

    @precondition(lambda self: len(self._alive()) < 4)
    @rule(local=st.booleans())
    def come(self, local: bool) -> None:
        self._hire(local)

    @precondition(lambda self: len(self._alive()) > 2)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self._bury(data.draw(st.sampled_from(self._alive())))

    @precondition(lambda self: self._in("growing"))
    @rule(data=st.data())
    def fall_silent(self, data: st.DataObject) -> None:
        """The heart of whoever holds the batch does not beat for long."""
        batch = data.draw(st.sampled_from(self._in("growing")))
        os.utime(self._path(batch), (1.0, 1.0))
        self.places[batch].silent = True

    @precondition(lambda self: self._beliefs())
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        worker, batch = data.draw(st.sampled_from(self._beliefs()))
        if self._holds(worker, batch):
            os.utime(worker.mine[batch].path)
            self.places[batch].silent = False
        else:
            with pytest.raises(FileNotFoundError):
                os.utime(worker.mine[batch].path)

    # -- transitions -------------------------------------------------------------------

    @precondition(lambda self: self._alive())
    @rule(data=st.data(), batch=batches, source=st.sampled_from(["sown", "sown", "failed"]))
    def claim(self, data: st.DataObject, batch: int, source: str) -> None:
        worker = data.draw(st.sampled_from(self._alive()))
        there = self.places[batch].state == source
        claim = worker.ledger.claim(batch, source)
        assert (claim is not None) is there
        if claim:
            worker.mine[batch] = claim
            self._move(batch, "growing", worker)

    @precondition(lambda self: self._alive() and self._in("growing"))
    @rule(data=st.data())
    def take_over_the_dead(self, data: st.DataObject) -> None:
        """Exactly those who are dead are known to be."""
        worker = data.draw(st.sampled_from(self._alive()))
        held = worker.ledger.held()
        expected = {
            batch: self._is_dead(place)
            for batch, place in self.places.items()
            if place.state == "growing"
        }
        assert {h.claim.batch: h.dead for h in held} == expected
        for one in held:
            if one.dead and one.claim.owner != worker.owner:
                self._take(worker, one.claim)

    @precondition(lambda self: self._alive() and self._in("growing"))
    @rule(data=st.data())
    def steal(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self._alive()))
        batch = data.draw(st.sampled_from(self._in("growing")))
        (claim,) = (claim for claim in worker.ledger.claims() if claim.batch == batch)
        if claim.owner != worker.owner:
            self._take(worker, claim)

    def _take(self, worker: Worker, other: Claim) -> None:
        mine = worker.ledger.take_over(other)
        assert mine
        assert f"death.{other.owner.token}" in os.listdir(mine.path)
        worker.mine[other.batch] = mine
        self._move(other.batch, "growing", worker)

    def _beliefs(self) -> list[tuple[Worker, int]]:
        """Who believes to hold which batch."""
        return [(w, batch) for w in self.everybody if w.alive for batch in sorted(w.mine)]

    @precondition(lambda self: self._beliefs())
    @rule(data=st.data(), verb=st.sampled_from(["finish", "finish", "fail", "release"]))
    def end(self, data: st.DataObject, verb: str) -> None:
        self._end(*data.draw(st.sampled_from(self._beliefs())), verb)

    def _end(self, worker: Worker, batch: int, verb: str) -> None:
        held = self._holds(worker, batch)
        if verb != "release":
            self._write(worker, batch, held)
        ended = getattr(worker.ledger, verb)(worker.mine.pop(batch))
        state = {"finish": "grown", "fail": "failed", "release": "sown"}[verb]
        # Late to give back what was given back since: it stands where he wants it.
        if not (verb == "release" and self.places[batch].state == "sown"):
            assert ended is held
        if held:
            self._move(batch, state)

    def _write(self, worker: Worker, batch: int, held: bool) -> None:
        """Write the book of the batch as a worker does; who comes late finds no folder."""
        claim = worker.mine[batch]
        self.written += 1.0
        header = {"design": self.manifest.design(batch), "batch": batch}
        try:
            book = Book(claim.path, claim.owner.token, header, ("y",))
            if not book.done:
                book.add_results([0], [0.0], [self.written])
                self.places[batch].value = self.written
            book.seal(0.0)
        except FileNotFoundError:
            assert not held
        else:
            assert held
            self.places[batch].torn = False
            self.places[batch].silent = False  # to write is a sign of life too

    @precondition(lambda self: len(self._alive()) > 1)
    @rule(
        data=st.data(),
        batch=batches,
        verb=st.sampled_from(["claim", "take_over", "finish", "fail", "release"]),
        done=st.booleans(),
    )
    def be_killed_while_moving(
        self, data: st.DataObject, batch: int, verb: str, done: bool
    ) -> None:
        """Before the rename or behind it, where nobody was told yet."""
        worker = data.draw(st.sampled_from(self._alive()))
        place = self.places[batch]
        move = self._transition(worker, batch, verb)
        if move is None:
            return
        rename = os.rename

        def deadly(source: str, target: str) -> None:
            if done:
                rename(source, target)
            raise Killed

        module.os.rename = deadly
        try:
            with pytest.raises(Killed):
                move()
        finally:
            module.os.rename = rename
        self._bury(worker)
        if done:
            states = {"finish": "grown", "fail": "failed", "release": "sown"}
            state = states.get(verb, "growing")
            self._move(batch, state, worker if state == "growing" else None)
        elif verb in ("claim", "take_over"):
            place.silent = False  # it was touched

    def _transition(self, worker: Worker, batch: int, verb: str) -> Callable[[], Any] | None:
        """What `worker` can do to `batch` now; None if nothing."""
        place = self.places[batch]
        if verb == "claim" and place.state == "sown":
            return lambda: worker.ledger.claim(batch)
        if verb == "take_over" and place.state == "growing" and place.holder is not worker:
            (other,) = (claim for claim in worker.ledger.claims() if claim.batch == batch)
            return lambda: worker.ledger.take_over(other)
        if verb in ("finish", "fail", "release") and self._holds(worker, batch):
            if verb != "release":
                self._write(worker, batch, True)
            return lambda: getattr(worker.ledger, verb)(worker.mine[batch])
        return None

    # -- by hand -----------------------------------------------------------------------

    @rule(
        batch=batches,
        move=st.sampled_from(
            [("failed", "sown"), ("sown", "ignored"), ("failed", "ignored"), ("ignored", "sown")]
        ),
    )
    def move_by_hand(self, batch: int, move: tuple[str, str]) -> None:
        """Retry, ignore, and undo."""
        source, target = move
        place = self.places[batch]
        moved = self.everybody[0].ledger.shift(batch, source, target)
        assert moved is (place.state in (source, target))
        if place.state == source:
            self._move(batch, target)

    @precondition(lambda self: self._in("grown"))
    @rule(data=st.data())
    def rot(self, data: st.DataObject) -> None:
        """A disk alters a byte of a result."""
        batch = data.draw(st.sampled_from(self._in("grown")))
        place = self.places[batch]
        if not place.torn:
            path = self._record_of(batch)
            with open(path, "r+b") as file:
                data = file.read()
                # In the results: what is left of the file tells that they are missing.
                at = data.index(b"CRF1\x02") + 40
                file.seek(at)
                file.write(bytes([data[at] ^ 1]))
            place.torn = True

    @rule(data=st.data())
    def tidy_up(self, data: st.DataObject) -> None:
        """Clean gives back what the dead hold, sows again what is torn, and touches no other."""
        worker = data.draw(st.sampled_from(self.everybody))
        growing = [self.places[batch] for batch in self._in("growing")]
        if any(place.holder is worker and self._is_dead(place) for place in growing):
            return  # nobody who tidies up holds what he thinks dead
        dead = [batch for batch in self._in("growing") if self._is_dead(self.places[batch])]
        torn = [batch for batch in self._in("grown") if self.places[batch].torn]

        counts = clean(self.manifest, worker.ledger)

        assert counts == {"dead": len(dead), "torn": len(torn), "lost": 0, "leftovers": 0}
        for batch in dead + torn:
            self._move(batch, "sown")

    # -- what must hold ----------------------------------------------------------------

    def _path(self, batch: int) -> str:
        (path,) = [
            f"{self.root}/{state}/{name}"
            for state in STATES
            for name in os.listdir(f"{self.root}/{state}")
            if name.partition("@")[0] == f"{batch:06d}"
        ]
        return path

    def _record_of(self, batch: int) -> str:
        folder = self._path(batch)
        (name,) = [name for name in os.listdir(folder) if name.startswith("results.")]
        return f"{folder}/{name}"

    @invariant()
    def the_disk_is_as_the_model_says(self) -> None:
        found = {state: sorted(os.listdir(f"{self.root}/{state}")) for state in STATES}
        expected: dict[str, list[str]] = {state: [] for state in STATES}
        for batch, place in self.places.items():
            owner = f"@{place.holder.owner}" if place.holder else ""
            expected[place.state].append(f"{batch:06d}{owner}")
        assert found == {state: sorted(names) for state, names in expected.items()}

    @invariant()
    def what_is_grown_is_what_its_grower_wrote(self) -> None:
        for batch, place in self.places.items():
            if place.state == "grown":
                records = read_records(self._record_of(batch))
                assert records.sealed is not place.torn
                values = [v for chunk in records.chunks for v in chunk.columns["y"].values()]
                assert values == ([] if place.torn else [place.value])

    @invariant()
    def nobody_else_was_disturbed(self) -> None:
        """Of all who believe to hold a batch one can be right, and he is who the disk says."""
        for batch, place in self.places.items():
            if place.state == "growing" and place.holder and place.holder.alive:
                assert place.holder.mine[batch].path == self._path(batch)


def test_whatever_workers_do_and_wherever_they_die_each_batch_is_in_one_place(template):
    run_state_machine_as_test(
        type("Here", (Crowd,), {"template": template}),
        settings=settings(
            max_examples=120,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
