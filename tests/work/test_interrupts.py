"""Ctrl-C and SIGTERM: the function is interrupted at once, the books are not."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
from steps import GROW, Gate, Tally, start, tree

import cropfit as cf
from cropfit.work.interrupts import Interrupted, Interrupts

SIGNALS = [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_the_function_and_keeps_what_is_finished(
    here: Any, number: signal.Signals, code: int
) -> None:
    gate = Gate(here / "gate")
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        if x == 3 and tally.all().count("3") == 1:
            gate.stop_here()
        return x

    crop = cf.Crop(work, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(6)}, num_batches=1)
    worker = start(GROW, crop.location)
    gate.wait_for_arrival()
    worker.send_signal(number)
    worker.communicate(timeout=200)

    assert worker.returncode == code
    assert crop.status().sown == 1
    assert crop.peek().z.count() == 3
    assert len(tree(f"{crop.location}/sown/000001")) == 1
    crop.grow()
    assert tally.sorted() == [0, 1, 2, 3, 3, 4, 5]


@pytest.mark.parametrize("values", [range(3), {"a": object, "b": list}], ids=["plain", "objects"])
def test_a_signal_just_before_a_case_keeps_it_from_beginning(
    here: Any, monkeypatch: pytest.MonkeyPatch, values: Any
) -> None:
    """It comes behind the last look for one; the clock is read between that and the case."""
    tally = Tally(here / "calls")

    def then() -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return time.perf_counter()

    crop = cf.Crop(lambda x: tally.add("begun"), "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": values}, num_batches=1)
    with monkeypatch.context() as patch:
        patch.setattr("cropfit.work.batch.perf_counter", then)
        with pytest.raises(SystemExit) as ended:
            crop.grow()

    assert ended.value.code == 143
    assert (tally.all(), crop.status().sown) == ([], 1)
    crop.grow()
    assert len(tally.all()) == len(values)


def test_ctrl_c_in_a_notebook_is_a_keyboard_interrupt_and_the_crop_can_be_grown_on(
    here: Any,
) -> None:
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        tally.add(x)
        if x == 2 and tally.all().count("2") == 1:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(600)
        return x

    crop = cf.Crop(work, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(4)}, num_batches=2)
    former = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        crop.grow()

    assert (crop.status().grown, crop.status().sown) == (1, 1)
    assert signal.getsignal(signal.SIGINT) is former
    crop.grow()
    assert tally.sorted() == [0, 1, 2, 2, 3]


def test_a_function_that_swallows_ctrl_c_does_not_keep_its_worker(here: Any) -> None:
    """What it returned after that is not taken for a result either."""

    def work(x: int) -> str:
        try:
            if x == 1:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(600)
        except BaseException:
            return "half done"
        return "done"

    crop = cf.Crop(work, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(3)})
    with pytest.raises(KeyboardInterrupt):
        crop.grow()

    assert (crop.status().grown, crop.status().sown) == (1, 2)
    assert crop.peek().z.isel(x=0).item() == "done"
    assert "half done" not in crop.peek().z.values.tolist()


def test_a_keyboard_interrupt_that_the_function_raises_itself_ends_the_work(here: Any) -> None:
    def work(x: int) -> int:
        if x == 1:
            raise KeyboardInterrupt
        return x

    crop = cf.Crop(work, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(3)}, num_batches=1)
    with pytest.raises(KeyboardInterrupt):
        crop.grow()

    assert crop.status().sown == 1
    assert crop.errors() == []
    assert crop.peek().z.count() == 1


def test_a_signal_waits_until_the_books_are_kept() -> None:
    interrupts = Interrupts()
    with interrupts:
        os.kill(os.getpid(), signal.SIGTERM)  # not armed: nothing happens yet
        with pytest.raises(Interrupted) as caught:
            interrupts.check()
    assert caught.value.number == signal.SIGTERM


def test_a_signal_while_the_former_handlers_are_put_back_is_not_lost(
    here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, put = signal.getsignal(signal.SIGTERM), signal.signal

    def then_put(number: int, handler: Any) -> Any:
        if number == signal.SIGTERM and handler is former:
            os.kill(os.getpid(), signal.SIGTERM)
        return put(number, handler)

    crop = cf.Crop(lambda x: x, "it", verbosity=0, var_names="z")
    crop.sow_combos({"x": range(3)})
    with monkeypatch.context() as patch:
        patch.setattr("cropfit.work.interrupts.signal.signal", then_put)
        with pytest.raises(SystemExit) as ended:
            crop.grow()

    assert (ended.value.code, crop.status().grown) == (143, 3)
    assert signal.getsignal(signal.SIGTERM) is former


@pytest.mark.parametrize("fails", [False, True])
def test_a_process_that_the_function_forked_and_did_not_end_is_no_worker(
    here: Any, capfd: pytest.CaptureFixture[str], fails: bool
) -> None:
    """It would go on with the batch, as its worker's double."""
    tally = Tally(here / "calls")

    def work(x: int) -> int:
        child = os.fork()
        if child == 0:
            tally.add("child")
            if fails:
                raise ValueError("in the child")
            return -1
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    crop = cf.Crop(work, "it", verbosity=0)
    crop.sow_combos({"x": [1]})
    crop.grow()

    assert (crop.errors(), crop.reap()) == ([], [1])
    assert tally.all() == ["child"]
    assert "a process that the function forked came back from it" in capfd.readouterr().err


def test_a_function_that_forks_leaves_its_children_their_signals(here: Any) -> None:
    """A pool inside of the function is ended by SIGTERM as always."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # some pools leave a handler of their own

    def work(x: int) -> int:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, b".")
            time.sleep(600)
            os._exit(0)
        os.read(read, 1)  # it is there
        os.kill(child, signal.SIGTERM)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    crop = cf.Crop(work, "it", verbosity=0)
    crop.sow_combos({"x": [1]})
    crop.grow()

    assert crop.reap() == [-signal.SIGTERM]
