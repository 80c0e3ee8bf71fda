"""What the ledger promises, on whichever file system: two hosts, one crop's folders.

A file system is held to it by a module that says which `hosts` there are:

    @pytest.fixture(scope="module")
    def hosts():
        with Host("node-a", ...) as a, Host("node-b", ...) as b:
            yield a, b

    class TestLedgerOnLustre(LedgerContract): ...
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from contracts.actor import Actor, Host
from cropfit.disk.layout import STATES, Layout
from cropfit.disk.owner import Owner
from cropfit.disk.records import read_records

LEASE = 60.0
LONG_AGO = 3600.0

_fields = itertools.count()


@dataclass
class Field:
    """A crop's folders with an actor on each of two hosts."""

    layout: Layout
    a: Actor
    b: Actor

    def tree(self) -> dict[str, list[str]]:
        """State → its batches; those in ``growing`` as ``number@host``."""
        found = {}
        for state in STATES:
            names = [
                name if "@" not in name else name.partition(".")[0]
                for folder in self._folders(state)
                for name in os.listdir(folder)
            ]
            if names:
                found[state] = sorted(names)
        return found

    def _folders(self, state: str) -> list[str]:
        top = self.layout.state(state)
        if not self.layout.sharded or state == "growing":
            return [top]
        return [f"{top}/{shard}" for shard in os.listdir(top)]

    def path(self, batch: int) -> str:
        """The folder of `batch`, wherever it stands."""
        for state in STATES:
            for folder in self._folders(state):
                for name in os.listdir(folder):
                    if name.partition("@")[0] == f"{batch:06d}":
                        return f"{folder}/{name}"
        raise AssertionError(f"batch {batch} is lost")

    def files(self, batch: int) -> list[str]:
        """Names in the folder of `batch`."""
        return sorted(os.listdir(self.path(batch)))

    def values(self, batch: int) -> list[float]:
        """What the record files in the folder of `batch` hold, all of which must be whole."""
        found = []
        for name in self.files(batch):
            if name.startswith("results."):
                records = read_records(f"{self.path(batch)}/{name}")
                assert records.damage is None
                found += [v for chunk in records.chunks for v in chunk.columns[""].values()]
        return found

    def grow_old(self, batch: int) -> None:
        """Let the folder of `batch` be untouched for long."""
        then = self.a.ask("clock") - LONG_AGO
        os.utime(self.path(batch), (then, then))


def eventually(is_so: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait until `is_so`; False if it does not become so."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class LedgerContract:
    """All of it, for one file system."""

    sharded = False
    first = 7
    """Number of the first batch."""

    @pytest.fixture
    def sow(self, hosts: tuple[Host, Host]) -> Callable[..., Field]:
        """Make the folders of a crop and let an actor on each host take it up."""
        actors = [host.resident for host in hosts]

        def make(batches: int, *, lease: float = LEASE) -> Field:
            name = f"crop-{next(_fields)}"
            layout = Layout(f"{actors[0].host.folder}/{name}", self.sharded)
            for state in STATES:
                os.makedirs(layout.state(state))
            for batch in range(self.first, self.first + batches):
                os.makedirs(layout.batch("sown", batch))
            for actor in actors:
                actor.ask("open", f"{actor.host.folder}/{name}", self.sharded, lease)
            return Field(layout, *actors)

        return make

    # -- claims ------------------------------------------------------------------------

    def test_a_claim_moves_the_batch_with_all_that_is_in_it(self, sow):
        field, n = sow(1), self.first
        with open(f"{field.path(n)}/kept", "w"):
            pass

        assert field.a.ask("claim", n) is True

        assert field.tree() == {"growing": [f"{n:06d}@{field.a.host.name}"]}
        assert field.files(n) == ["kept"]

    def test_a_batch_is_claimed_once_until_it_is_given_back(self, sow):
        """The host that just missed it sees at once that it is there again."""
        field, n = sow(1), self.first

        assert field.a.ask("claim", n) is True
        assert field.b.ask("claim", n) is False
        assert field.a.ask("claim", n) is False
        assert field.a.ask("release", n) is True
        assert field.b.ask("numbers", "sown") == [n]
        assert field.b.ask("claim", n) is True

        assert field.tree() == {"growing": [f"{n:06d}@{field.b.host.name}"]}

    def test_what_is_not_sown_cannot_be_claimed(self, sow):
        field, n = sow(2), self.first
        field.a.ask("shift", n, "sown", "ignored")

        assert field.b.ask("claim", n) is False
        assert field.b.ask("claim", 999) is False

        assert field.tree() == {"sown": [f"{n + 1:06d}"], "ignored": [f"{n:06d}"]}

    def test_a_failed_batch_can_be_claimed_where_it_stands(self, sow):
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        field.a.ask("fail", n)

        assert field.b.ask("claim", n) is False
        assert field.b.ask("claim", n, "failed") is True

        assert field.tree() == {"growing": [f"{n:06d}@{field.b.host.name}"]}

    def test_each_claim_has_exactly_one_winner_among_six_racing_processes(self, sow, hosts):
        batches = list(range(self.first, self.first + 80))
        field = sow(len(batches))
        racers = [hosts[k % 2].actor() for k in range(6)]
        for racer in racers:
            root = field.layout.root.replace(hosts[0].folder, racer.host.folder)
            racer.ask("open", root, self.sharded, LEASE)

        for racer in racers:
            racer.tell("race", batches)
        won = [racer.hear() for racer in racers]
        for racer in racers:
            racer.close()

        assert sorted(itertools.chain(*won)) == batches
        assert field.tree() == {"grown": [f"{n:06d}" for n in batches]}
        assert [field.values(n) for n in batches] == [[n] for n in batches]

    # -- what becomes of a claim -------------------------------------------------------

    @pytest.mark.parametrize(
        ("verb", "state"), [("finish", "grown"), ("fail", "failed"), ("release", "sown")]
    )
    def test_a_claim_ends_as_its_owner_says(self, sow, verb, state):
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        name = field.a.ask("record", n, 1.5)

        assert field.a.ask(verb, n) is True

        assert field.tree() == {state: [f"{n:06d}"]}
        assert field.files(n) == [name]
        assert field.values(n) == [1.5]
        assert field.b.ask("where", n) == state

    def test_batches_that_nobody_owns_are_moved_by_hand(self, sow):
        field, n = sow(1), self.first

        for source, target in [("sown", "ignored"), ("ignored", "sown"), ("sown", "failed")]:
            assert field.a.ask("shift", n, source, target) is True
            assert field.tree() == {target: [f"{n:06d}"]}
            assert field.b.ask("where", n) == target
        assert field.b.ask("shift", n, "ignored", "sown") is False

        assert field.tree() == {"failed": [f"{n:06d}"]}

    def test_a_state_folder_that_is_missing_is_made(self, sow):
        """Some tools that copy a crop leave out empty folders; a deleted crop stays deleted."""
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        os.rmdir(field.layout.state("failed"))

        if self.sharded:  # only its last folder is ever made
            os.mkdir(field.layout.state("failed"))
        assert field.a.ask("fail", n) is True
        assert field.tree() == {"failed": [f"{n:06d}"]}

        field.a.ask("claim", n, "failed")
        os.rename(field.layout.root, field.layout.root + "-gone")
        assert field.a.ask("finish", n) is False
        assert not os.path.exists(field.layout.root)

    # -- fencing -----------------------------------------------------------------------

    @pytest.mark.parametrize("verb", ["finish", "fail", "release"])
    def test_who_comes_late_changes_nothing(self, sow, verb):
        """His batch was taken over: he is told so, and his mark tells that he died."""
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        late = field.a.ask("record", n, -1.0)
        assert field.b.ask("take_over", n) is True

        assert field.a.ask(verb, n) is False

        token = late.partition(".")[2]
        assert field.tree() == {"growing": [f"{n:06d}@{field.b.host.name}"]}
        assert field.files(n) == [f"death.{token}", late]

    @pytest.mark.parametrize("verb", ["finish", "fail", "release"])
    def test_who_comes_later_than_the_new_owner_ended_changes_nothing(self, sow, verb):
        """Neither where his file still stands beside the other, nor where it was cleared."""
        field, n = sow(2), self.first
        for batch in (n, n + 1):
            field.a.ask("claim", batch)
            late = field.a.ask("record", batch, -1.0)
            field.b.ask("take_over", batch)
            os.unlink(f"{field.path(batch)}/death.{late.partition('.')[2]}")
            if batch == n:
                os.unlink(f"{field.path(batch)}/{late}")
            field.b.ask("record", batch, 1.0)
            assert field.b.ask(verb, batch) is True

        assert field.a.ask(verb, n) is False
        assert field.a.ask(verb, n + 1) is False

        state = {"finish": "grown", "fail": "failed", "release": "sown"}[verb]
        assert field.tree() == {state: [f"{n:06d}", f"{n + 1:06d}"]}
        assert field.values(n) == [1.0]
        assert sorted(field.values(n + 1)) == [-1.0, 1.0]

    def test_what_a_late_worker_still_writes_goes_into_no_file_but_his_own(self, sow):
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        late = field.a.ask("record", n, -1.0, False)
        field.b.ask("take_over", n)
        new = field.b.ask("record", n, 1.0)

        field.a.ask("record", n, -2.0)
        assert field.a.ask("finish", n) is False
        os.unlink(f"{field.path(n)}/{late}")
        assert field.b.ask("finish", n) is True

        assert field.tree() == {"grown": [f"{n:06d}"]}
        assert new in field.files(n)
        assert field.values(n) == [1.0]

    def test_of_two_who_take_over_one_wins(self, sow, hosts):
        field, n = sow(1), self.first
        dying = hosts[1].actor()
        root = field.layout.root.replace(hosts[0].folder, hosts[1].folder)
        dying.ask("open", root, self.sharded, LEASE)
        dying.ask("claim", n)
        dying.kill()

        assert field.a.ask("look", n) == field.b.ask("look", n)

        field.a.tell("take_over", n)
        field.b.tell("take_over", n)
        won = [actor.hear() for actor in (field.a, field.b)]

        assert sorted(won) == [False, True]
        winner = hosts[won.index(True)].name
        assert field.tree() == {"growing": [f"{n:06d}@{winner}"]}

    # -- replies that get lost ---------------------------------------------------------

    @pytest.mark.parametrize("code", ["ENOENT", "EIO", "ETIMEDOUT"])
    def test_a_claim_is_known_by_its_name_when_the_reply_was_lost(self, sow, code):
        field, n = sow(1), self.first
        field.a.ask("lose_reply", code)

        assert field.a.ask("claim", n) is True

        assert field.tree() == {"growing": [f"{n:06d}@{field.a.host.name}"]}

    def test_taking_over_is_known_by_its_name_when_the_reply_was_lost(self, sow):
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        field.b.ask("lose_reply", "ENOENT")

        assert field.b.ask("take_over", n) is True

        assert field.tree() == {"growing": [f"{n:06d}@{field.b.host.name}"]}
        assert field.a.ask("finish", n) is False

    @pytest.mark.parametrize("code", ["ENOENT", "EIO", "ETIMEDOUT"])
    @pytest.mark.parametrize(
        ("verb", "state"), [("finish", "grown"), ("fail", "failed"), ("release", "sown")]
    )
    def test_an_end_is_known_by_its_file_when_the_reply_was_lost(self, sow, verb, state, code):
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        field.a.ask("record", n, 1.0)
        field.a.ask("lose_reply", code)

        assert field.a.ask(verb, n) is True

        assert field.tree() == {state: [f"{n:06d}"]}

    def test_a_move_by_hand_is_known_by_its_place_when_the_reply_was_lost(self, sow):
        field, n = sow(1), self.first
        field.a.ask("lose_reply", "ENOENT")

        assert field.a.ask("shift", n, "sown", "ignored") is True

        assert field.tree() == {"ignored": [f"{n:06d}"]}

    def test_a_request_that_was_lost_is_an_error_and_changes_nothing(self, sow):
        field, n = sow(1), self.first
        field.a.ask("lose_request", "EIO")
        with pytest.raises(OSError, match="Input/output"):
            field.a.ask("claim", n)
        assert field.tree() == {"sown": [f"{n:06d}"]}

        field.a.ask("claim", n)
        field.a.ask("record", n, 1.0)
        field.a.ask("lose_request", "ENOSPC")
        with pytest.raises(OSError, match="No space"):
            field.a.ask("finish", n)
        assert field.tree() == {"growing": [f"{n:06d}@{field.a.host.name}"]}

    # -- age and death -----------------------------------------------------------------

    def test_a_fresh_claim_is_never_old(self, sow):
        """However long the batch stood there; two hours of wrong clocks do not matter."""
        field, n = sow(1), self.first
        field.grow_old(n)
        field.a.ask("skew", 7200.0)

        field.a.ask("claim", n)
        ((_, _, age, dead),) = field.b.ask("held")
        field.a.ask("skew", -7200.0)

        assert -1.0 < age < LEASE
        assert dead is False

    def test_age_is_that_of_the_file_systems_clock(self, sow):
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        field.b.ask("skew", -7200.0)
        assert field.b.ask("held")[0][2] < LEASE

        field.grow_old(n)
        age = field.b.ask("held")[0][2]
        field.b.ask("skew", 7200.0)

        assert LONG_AGO - 1 < age < LONG_AGO + LEASE

    def test_a_claim_of_another_host_is_dead_when_it_is_older_than_the_lease(self, sow):
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        assert field.b.ask("held")[0][3] is False

        field.grow_old(n)

        assert field.b.ask("held")[0][3] is True

    def test_on_its_own_host_a_process_that_runs_is_alive_and_one_that_is_gone_is_dead(
        self, sow, hosts
    ):
        """The first however long its claim was not touched, the second at once."""
        field, n = sow(2), self.first
        other = hosts[1].actor()
        root = field.layout.root.replace(hosts[0].folder, hosts[1].folder)
        other.ask("open", root, self.sharded, LEASE)
        other.ask("claim", n)
        other.ask("claim", n + 1)
        field.grow_old(n + 1)
        assert [dead for *_, dead in field.b.ask("held")] == [False, False]

        other.kill()

        assert [dead for *_, dead in field.b.ask("held")] == [True, True]
        assert [dead for *_, dead in field.a.ask("held")] == [False, True]
        assert field.b.ask("take_over", n) is True

    def test_what_a_process_could_not_give_back_is_dead_for_its_next_worker(self, sow):
        """Else a notebook whose disk was full would hold its batch until it ends."""
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        field.grow_old(n)
        assert field.a.ask("held")[0][3] is False

        field.a.ask("open", field.layout.root, self.sharded, LEASE)

        assert field.a.ask("held")[0][3] is True
        assert field.a.ask("take_over", n) is True

    def test_a_heart_keeps_a_claim_young_on_every_host(self, sow):
        field, n = sow(1), self.first
        field.a.ask("claim", n)
        field.grow_old(n)
        assert field.b.ask("held")[0][3] is True

        field.a.ask("beat", n, 0.1)
        revived = eventually(lambda: not field.b.ask("held")[0][3])
        field.a.ask("beat", 0, 0.0)

        assert revived

    # -- surveys -----------------------------------------------------------------------

    def test_a_survey_counts_every_batch_once(self, sow):
        field, n = sow(9), self.first
        for batch in range(n, n + 6):
            field.a.ask("claim", batch)
        field.a.ask("finish", n)
        field.a.ask("finish", n + 1)
        field.a.ask("fail", n + 2)
        field.a.ask("release", n + 3)
        field.a.ask("shift", n + 6, "sown", "ignored")

        counts = {"sown": 3, "growing": 2, "grown": 2, "failed": 1, "ignored": 1}
        for host in (field.a, field.b):
            assert host.ask("counts") == counts
            assert host.ask("numbers", "sown") == [n + 3, n + 7, n + 8]
            assert host.ask("numbers", "grown") == [n, n + 1]
            assert [batch for batch, *_ in host.ask("held")] == [n + 4, n + 5]
            assert host.ask("where", n + 4) == "growing"
            assert host.ask("where", n + 3) == "sown"
            assert host.ask("where", 999_999) is None

    def test_what_is_no_batch_is_not_counted_as_one(self, sow):
        """Listed it would be looked for, again and again, under the name that it should have."""
        field, n = sow(1), self.first
        strangers = [f"{n}", f"{n:07d}", f"{n:06d}.bak", "²²²²²²", "٠٠٠٠٠٧", "notes", ".nfs0001"]
        beside = [os.path.dirname(field.path(n)), field.layout.state("growing")]
        for folder in {*beside, field.layout.state("sown")}:
            for name in strangers:
                os.mkdir(f"{folder}/{name}")
        owner = str(Owner("node-x", 1, "0-0-0"))
        for name in (f"{n}@{owner}", f"{n:06d}@nobody", f"{n:06d}@h.²²².0-0-0", "@"):
            os.mkdir(f"{field.layout.state('growing')}/{name}")
        if self.sharded:
            os.makedirs(f"{field.layout.state('sown')}/999/{n:06d}")

        assert field.b.ask("numbers", "sown") == [n]
        assert field.b.ask("held") == []
        assert field.b.ask("counts") == dict.fromkeys(STATES, 0) | {"sown": 1}
