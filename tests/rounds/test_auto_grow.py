"""All crops of a folder grown by one command: whose turn it is, what holds a crop, how it ends."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from shell import shell, started
from steps import Gate, Tally, tree

import cropfit as cf
from cropfit.rounds.rounds import Rounds
from cropfit.rounds.rules import FILE, RulesFile


def sow(name, function, cases=6, parent_dir=None, **options):
    crop = cf.Crop(function, name, var_names=["y"], verbosity=0, parent_dir=parent_dir)
    crop.sow_combos({"x": range(cases)}, **options)
    return crop


def stand(crop):
    told = crop.status().to_dict()
    return {state: told[state] for state in ("sown", "growing", "grown", "failed") if told[state]}


class Heard:
    """What was said, and a way to wait until something is."""

    def __init__(self):
        self.lines = []
        self._said = threading.Condition()

    def __call__(self, text):
        with self._said:
            self.lines.append(text)
            self._said.notify_all()

    def wait_for(self, part):
        def found():
            return any(part in line for line in self.lines)

        with self._said:
            assert self._said.wait_for(found, 200), f"{part!r} was never said, but {self.lines}"


@pytest.fixture
def rounds_in(here):
    """Rounds over the current folder in a thread; they are ended with the test."""
    begun = []

    def begin(heard, **rules):
        file = RulesFile(str(here / FILE), {"scan_interval": 0.1, "num_workers": 2, **rules}, heard)
        rounds = Rounds(str(here), file, heard)
        thread = threading.Thread(target=rounds.run)
        thread.start()
        begun.append((rounds, thread))
        return rounds, thread

    yield begin
    for rounds, thread in begun:
        rounds.leave()
        thread.join(200)
        assert not thread.is_alive()


def test_all_crops_of_a_folder_are_grown_each_case_once(here):
    tally = Tally(here / "calls")

    def note(x):
        tally.add(x)
        return x

    def no_three(x):
        tally.add(10 + x)
        if x == 3:
            raise ValueError("not three")
        return x

    crops = [sow("one", note), sow("two", no_three)]
    code, out, err = shell("auto-grow", "--once", "--workers", "2")

    assert (code, err) == (1, "")
    assert tally.sorted() == [*range(6), *range(10, 16)]
    assert [stand(crop) for crop in crops] == [{"grown": 6}, {"grown": 5, "failed": 1}]
    assert "two: failed: batch 4 case 0 (x=3) ValueError: not three" in out.splitlines()
    assert out.splitlines()[-1] == "11 batches grown, 1 failed, 12 cases computed"
    assert not [path for path in tree(here) if "/stop" in path]


def test_crops_share_the_places_by_turns(here):
    tally = Tally(here / "calls")
    for name in ("one", "two", "three"):
        sow(name, lambda x, name=name: tally.add(name))
    # A turn that is over at once grows a batch, or none where it was late: crops alternate.
    report = cf.auto_grow(once=True, num_workers=1, fresh=True, turn=1e-9, say=lambda text: None)

    assert (len(report.grown), report.cases, report.exit_code) == (18, 18, 0)
    rounds = [tally.all()[at : at + 3] for at in range(0, 18, 3)]
    assert [sorted(names) for names in rounds] == [["one", "three", "two"]] * 6


def test_crops_in_folders_below_are_meant_where_asked_for(here):
    (here / "deep" / "er").mkdir(parents=True)
    far = sow("far", lambda x: x, parent_dir=here / "deep" / "er")
    near = sow("near", lambda x: x)

    cf.auto_grow(once=True, say=lambda text: None)
    assert (stand(near), stand(far)) == ({"grown": 6}, {"sown": 6})

    cf.auto_grow(here, once=True, below=True, say=lambda text: None)
    assert stand(far) == {"grown": 6}


def test_a_crop_that_is_sown_later_is_found(here, rounds_in):
    heard = Heard()
    rounds_in(heard)
    for name in ("early", "late"):
        crop = sow(name, lambda x: x, batchsize=6)
        heard.wait_for(f"{name}: 1 batch grown, 6 cases computed")
        assert stand(crop) == {"grown": 1}


def test_a_crop_that_cannot_be_grown_is_left_alone_until_it_is_sown_again(here, rounds_in):
    whole = sow("broken", lambda x: x, batchsize=6)
    (Path(whole.location) / "function.pkl").write_bytes(b"torn")
    heard = Heard()
    rounds_in(heard)
    heard.wait_for(f"{whole.location} is left alone until its function is sown again")

    other = sow("other", lambda x: x, batchsize=6)
    heard.wait_for("other: 1 batch grown")
    assert (stand(whole), stand(other)) == ({"sown": 1}, {"grown": 1})
    assert sum("left alone" in line for line in heard.lines) == 1

    again = cf.Crop(lambda x: x, "broken", var_names=["y"], verbosity=0, batchsize=6)
    again.sow_combos({"x": range(6)}, exists="replace")
    heard.wait_for("broken: 1 batch grown")
    assert stand(again) == {"grown": 1}


def test_two_rounds_at_once_compute_each_case_once(here):
    tally = Tally(here / "calls")
    crops = [
        sow(name, lambda x, at=at: tally.add(at + x), 20) for name, at in (("a", 0), ("b", 20))
    ]
    both = [started("auto-grow", "--once", "--workers", "2", "--turn", "0.1") for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")

    assert tally.sorted() == list(range(40))
    assert [stand(crop) for crop in crops] == [{"grown": 20}] * 2


@pytest.mark.parametrize("options", [(), ("--fresh",)], ids=["", "fresh"])
def test_after_ctrl_c_workers_finish_the_case_in_hand_and_no_other(here, options):
    gate, tally = Gate(here / "gate"), Tally(here / "calls")

    def stop_at_two(x):
        tally.add(x)
        if x == 2 and os.path.exists(f"{gate.folder}/closed"):
            os.unlink(f"{gate.folder}/closed")
            gate.stop_here()
            time.sleep(2.5)  # longer than the time between two looks for a stop sign
        return x

    Path(gate.folder, "closed").touch()
    crop = sow("drained", stop_at_two, batchsize=3, cases=12)
    process = started("auto-grow", "--workers", "1", *options)
    gate.wait_for_arrival()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline().startswith("Workers leave after the case in hand")
    gate.let_go()
    _, err = process.communicate(timeout=200)

    assert (process.returncode, err) == (130, "")
    assert tally.sorted() == [0, 1, 2]
    assert not [name for name in os.listdir(crop.location) if name.startswith("stop")]
    crop.grow()
    assert tally.sorted() == list(range(12))


def test_what_takes_too_much_memory_costs_its_case(here):
    def hog(x):
        held = bytearray(400 << 20) if x == 1 else b""
        while held:
            time.sleep(0.01)
        return x

    (here / FILE).write_text('max_memory = "200M"\n')
    crop = sow("hungry", hog, cases=3)
    report = cf.auto_grow(once=True, say=lambda text: None)

    assert (stand(crop), report.exit_code) == ({"grown": 2, "failed": 1}, 1)
    assert [each["type"] for each in crop.errors()] == ["OutOfMemory"]


def test_a_second_ctrl_c_ends_workers_at_once(here):
    gate = Gate(here / "gate")
    crop = sow("stuck", lambda x: gate.stop_here(), batchsize=6)
    process = started("auto-grow", "--workers", "1")
    gate.wait_for_arrival()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline().startswith("Workers leave after the case in hand")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=200)

    assert process.returncode == 130
    assert stand(crop) == {"sown": 1}


def test_what_dies_costs_its_case_where_each_batch_has_a_process(here):
    def die_at_three(x):
        if x == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    crop, other = sow("deadly", die_at_three, batchsize=3), sow("other", lambda x: x)
    code, out, _ = shell("auto-grow", "--once", "--fresh", "--workers", "2")

    assert code == 1
    assert (stand(crop), stand(other)) == ({"grown": 1, "failed": 1}, {"grown": 6})
    assert re.search(r"deadly: failed: batch 2 case 0 \(x=3\) Killed", out)


class TestRules:
    def test_a_file_is_read_again_when_it_changes_and_zero_workers_pause(self, here, rounds_in):
        rules = here / FILE
        rules.write_text("num_workers = 0\n")
        heard = Heard()
        crop = sow("paused", lambda x: x, batchsize=6)
        file = RulesFile(str(rules), {"scan_interval": 0.1}, heard)
        rounds = Rounds(str(here), file, heard)
        thread = threading.Thread(target=rounds.run)
        thread.start()
        try:
            rules.write_text("num_workers = none")
            heard.wait_for("The rules before it hold on.")
            assert stand(crop) == {"sown": 1}
            rules.write_text("num_workers = 1\nturn = 5\n")
            heard.wait_for("paused: 1 batch grown")
        finally:
            rounds.leave()
            thread.join(200)
        assert f"{rules} was read again." in heard.lines

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("speed = 3", r"there is no rule speed; there are affinities, "),
            ("num_workers = -1", "num_workers must be a number from 0 up, not -1"),
            ("turn = 'long'", "turn must be seconds above 0, not 'long'"),
            ("gpus = '0'\nnum_workers = 2", "gpus= names 1 places for 2 workers"),
            ("turn = ", r"cannot be read"),
            ("timeout = 'soon'", "'soon' is no duration"),
            ("max_memory = 'much'", "'much' is no size"),
            ("retries = -1", "retries must be at least 0"),
        ],
    )
    def test_a_file_that_makes_no_rules_is_told_with_its_name(self, here, text, told):
        crop = sow("left", lambda x: x)
        (here / FILE).write_text(text)
        with pytest.raises(cf.DesignError, match=f"{FILE}.*{told}"):
            cf.auto_grow(once=True)
        assert stand(crop) == {"sown": 6}

    def test_what_is_given_in_person_holds_whatever_the_file_says(self, here):
        (here / FILE).write_text("num_workers = 0\nretries = 1\n")
        tally = Tally(here / "calls")

        def fail_once(x):
            tally.add(x)
            if tally.sorted().count(x) == 1:
                raise ValueError("once")
            return x

        crop = sow("twice", fail_once)
        cf.auto_grow(once=True, num_workers=1, say=lambda text: None)

        assert stand(crop) == {"grown": 6}
        assert tally.sorted() == sorted([*range(6)] * 2)

    def test_a_rule_that_there_is_not_is_refused(self, here):
        with pytest.raises(cf.DesignError, match=r"auto-grow: .*speed"):
            cf.auto_grow(once=True, speed=3)
