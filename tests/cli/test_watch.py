"""`cropfit watch` in a real terminal: a pseudo-terminal whose screen the tests read."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from shell import folders, shell
from steps import Gate

import cropfit as cf

PATIENCE = 200.0


class Terminal:
    """What a program in a terminal shows, and its keyboard."""

    def __init__(self, *args: str) -> None:
        self.keyboard, screen = pty.openpty()
        os.set_blocking(self.keyboard, False)
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50"}
        # Who leads a session and opens a terminal has it as its own, Ctrl-C included.
        on_terminal = ["/bin/sh", "-c", 'exec "$@" <>"$0" >&0 2>&0', os.ttyname(screen)]
        self.process = subprocess.Popen(
            [*on_terminal, sys.executable, "-m", "cropfit", *args],
            env=environment,
            start_new_session=True,
        )
        self._screen = screen
        self.text = ""

    def press(self, keys: str) -> None:
        os.write(self.keyboard, keys.encode())

    def wait_for(self, pattern: str) -> None:
        """Wait until the screen shows something new that matches."""
        self.text = ""
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, f"{pattern!r} is not in:\n{self.text[-3000:]}"
            if select.select([self.keyboard], [], [], 0.2)[0]:
                try:
                    seen = os.read(self.keyboard, 65536).decode(errors="replace")
                except OSError:
                    seen = ""
                self.text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.keyboard)
        os.close(self._screen)

    def end(self) -> int:
        """The exit code, read while what it prints is taken in."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self.keyboard], [], [], 0.1)[0]:
                try:
                    os.read(self.keyboard, 65536)
                except OSError:
                    time.sleep(0.01)
        return self.process.wait(timeout=1)


@contextmanager
def watching(*args: str) -> Iterator[Terminal]:
    terminal = Terminal("watch", "--interval", "0.1", *args)
    try:
        yield terminal
    finally:
        terminal.close()


def sown(name: str, fn, cases: int = 4) -> cf.Crop:
    crop = cf.Crop(fn, name, var_names="z", verbosity=0)
    crop.sow_combos({"x": range(cases)})
    return crop


def odd_fails(x):
    if x % 2:
        raise ValueError("odd")
    return x


def test_shows_all_crops_and_acts_on_the_one_that_is_chosen(here):
    one, two = sown("one", odd_fails), sown("two", odd_fails)
    one.grow()
    two.grow()
    with watching() as terminal:
        terminal.wait_for(r"(?s)▶ one.*2 grown.*2 failed.*ValueError: odd.*  two.*q quit")
        terminal.press("\x1b[B")
        terminal.wait_for(r"(?s)  one.*▶ two.*ValueError: odd")
        terminal.press("r")
        terminal.wait_for(r"two: 2 failed batches sown again")
        terminal.press("q")
        assert terminal.end() == 0

    assert len(folders(one)["failed"]) == 2
    assert (len(folders(two)["failed"]), len(folders(two)["sown"])) == (0, 2)


def test_follows_a_crop_as_it_grows_and_sees_those_that_are_sown_later(here):
    gate = Gate(here / "gate")

    def work(x):
        if x == 1:
            gate.stop_here()
        return x

    crop = sown("slow", work)
    with watching() as terminal:
        terminal.wait_for(r"(?s)slow.*4 sown")
        grower = subprocess.Popen([sys.executable, "-m", "cropfit", "grow", "slow"])
        gate.wait_for_arrival()
        terminal.wait_for(rf"(?s)1 growing.*{grower.pid}\s+2\s+0/1")
        gate.let_go()
        grower.wait(timeout=200)
        terminal.wait_for(r"100 %")
        sown("later", work)
        terminal.wait_for(r"later  4 cases")
        crop.reap()
        terminal.wait_for(r"(?s)▶ later(?!.*slow)")
        terminal.press("\x03")
        assert terminal.end() == 0


def test_a_stop_from_the_keyboard_reaches_workers(here):
    gate = Gate(here / "gate")

    def work(x):
        gate.stop_here()
        return x

    crop = sown("held", work, cases=2)
    grower = subprocess.Popen([sys.executable, "-m", "cropfit", "grow", "held"])
    gate.wait_for_arrival()
    with watching("held") as terminal:
        terminal.wait_for("1 growing")
        terminal.press("s")
        terminal.wait_for("all workers leave after their case")
        assert "stop" in os.listdir(crop.location)
        grower.terminate()
        terminal.wait_for("2 sown")
        terminal.press("q")
        assert terminal.end() == 0

    assert grower.wait(timeout=200) == 143


def test_what_is_no_terminal_is_told_what_to_use(here):
    sown("one", odd_fails)
    code, out, err = shell("watch")

    assert (code, out) == (2, "")
    assert "cropfit status" in err


@pytest.mark.parametrize("words", [[], ["nowhere"]])
def test_a_folder_without_crops_is_told_at_once(here, words):
    with watching(*words) as terminal:
        terminal.wait_for("(?i)no crop")
        assert terminal.end() == 2
