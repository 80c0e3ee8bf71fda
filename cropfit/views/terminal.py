"""All crops below a folder, live in a terminal.

keys ─▶ act on the crop that is chosen        every second ─▶ look at each ─▶ draw
"""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cropfit.errors import CropError
from cropfit.tending import clean, open_crop
from cropfit.views.glance import Glance, Looker
from cropfit.views.listings import Seldom
from cropfit.wording import extent
from cropfit.work import care
from cropfit.work.failures import tell

STYLES = {"grown": "green", "failed": "red", "growing": "blue", "ignored": "bright_black"}
MOST_HANDS = 8
BAR = 40
HELP = "↑↓ choose   s stop   r retry failed   c clean   q quit"


@dataclass
class Screen:
    """What is shown, and what keys do to it.

    Parameters
    ----------
    find : callable
        Gives the folders of the crops to show; called before every look.
    keys : str
        What is said below them of keys.
    """

    find: Callable[[], list[str]]
    keys: str = HELP
    chosen: int = 0
    note: str = ""
    _lookers: dict[str, Looker] = field(default_factory=dict)
    _seen: dict[str, Glance | str] = field(default_factory=dict)

    def look(self) -> None:
        """Look at every crop that is there now."""
        roots = self.find()
        self._lookers = {root: self._lookers.get(root) or Looker(root) for root in roots}
        self._seen = {root: _look(looker) for root, looker in self._lookers.items()}
        self.chosen = max(0, min(self.chosen, len(roots) - 1))

    def press(self, key: str) -> bool:
        """Do what a key means; False for the one that quits."""
        step = {"up": -1, "k": -1, "down": 1, "j": 1}.get(key)
        if step:
            self.chosen = max(0, min(self.chosen + step, len(self._seen) - 1))
        elif key in ACTIONS and self._seen:
            root = list(self._seen)[self.chosen]
            try:
                self.note = ACTIONS[key](root)
            except (CropError, OSError) as error:
                self.note = str(error)
        return key not in ("q", "\x03")

    def draw(self) -> RenderableType:
        """What the last look saw."""
        if not self._seen:
            return Text("No crop here yet." + ("   q quit" if self.keys else ""), style="dim")
        rows: list[RenderableType] = []
        for place, glance in enumerate(self._seen.values()):
            rows.append(_draw(glance, chosen=place == self.chosen))
        return Group(*rows, Text(self.note, style="yellow"), Text(self.keys, style="dim"))


def _look(looker: Looker) -> Glance | str:
    try:
        return looker.look(errors=3)
    except (CropError, OSError) as error:
        return f"{looker.root}: {error}"


# -- drawing ---------------------------------------------------------------------------


def _draw(glance: Glance | str, chosen: bool) -> RenderableType:
    if isinstance(glance, str):
        return Text(glance, style="red")
    seen = glance.status
    head = Text.assemble(
        ("▶ " if chosen else "  ", "bold"),
        (seen.name, "bold"),
        (f"  {extent(seen.num_cases, seen.num_batches)}  {seen.location}", "dim"),
    )
    parts: list[RenderableType] = [head, _bar(glance)]
    if chosen:
        parts += [_hands(glance)] if glance.hands else []
        parts += [Text(f"    {tell(failure)}", style="red") for failure in glance.errors]
    return Group(*parts, Text(""))


def _bar(glance: Glance) -> Text:
    seen = glance.status
    counts = {state: int(getattr(seen, state)) for state in STYLES}
    bar, done, drawn = Text("  "), 0, 0
    for state, count in counts.items():
        done += count
        width = done * BAR // max(seen.num_batches, 1)
        bar.append("━" * (width - drawn), STYLES[state])
        drawn = width
    bar.append("━" * (BAR - drawn), "bright_black dim")
    bar.append(f" {100 * seen.grown // max(seen.num_batches, 1):3d} %  ")
    for state, count in {**counts, "sown": seen.sown}.items():
        if count:
            bar.append(f" {count:,} {state}", STYLES.get(state, ""))
    if not glance.finished:
        bar.append(f"  {glance.rate:.3g}/s" if glance.rate else "")
        bar.append(f"  about {care.span(glance.eta)} left" if glance.eta is not None else "")
    return bar


def _hands(glance: Glance) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("", "host", "pid", "batch", "cases", "seen"):
        table.add_column(name, justify="left" if name in ("", "host") else "right")
    for hand in glance.hands[:MOST_HANDS]:
        done = "" if hand.done is None else f"{hand.done}/{hand.cases}"
        age = "dead" if hand.dead else f"{max(hand.age, 0.0):.0f} s ago"
        style = "red" if hand.dead else ""
        table.add_row("", hand.host, str(hand.pid), str(hand.batch), done, age, style=style)
    if len(glance.hands) > MOST_HANDS:
        table.add_row("", f"and {len(glance.hands) - MOST_HANDS} more", "", "", "", "")
    return table


# -- acting ----------------------------------------------------------------------------


def _stop(root: str) -> str:
    manifest, _ = open_crop(root)
    care.stop(manifest)
    return f"{manifest.name}: all workers leave after their case"


def _retry(root: str) -> str:
    manifest, ledger = open_crop(root)
    moved = care.shift(ledger, "failed", "sown", None)
    return f"{manifest.name}: {len(moved)} failed batches sown again"


def _clean(root: str) -> str:
    manifest, ledger = open_crop(root)
    counts = clean(manifest, ledger)
    return f"{manifest.name}: " + ", ".join(f"{n} {what}" for what, n in counts.items())


ACTIONS: dict[str, Callable[[str], str]] = {"s": _stop, "r": _retry, "c": _clean}


# -- the loop --------------------------------------------------------------------------


def watch(find: Callable[[], list[str]], interval: float = 1.0) -> None:
    """Show crops until ``q`` or Ctrl-C.

    Parameters
    ----------
    find : callable
        Gives the folders of the crops to show.
    interval : float
        Seconds between two looks.
    """
    screen = Screen(Seldom(find))
    with Live(screen=True, auto_refresh=False) as live, _keys() as next_key:
        while True:
            screen.look()
            live.update(screen.draw(), refresh=True)
            end = time.monotonic() + interval
            while key := next_key(end - time.monotonic()):
                if not screen.press(key):
                    return
                live.update(screen.draw(), refresh=True)


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for a key so many seconds; "" if none was pressed."""
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setcbreak(handle)

    def next_key(seconds: float) -> str:
        if not select.select([sys.stdin], [], [], max(seconds, 0.0))[0]:
            return ""
        pressed = _read(handle)
        arrows = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down"}
        return arrows.get(pressed, pressed[-1:])

    try:
        with suppress(KeyboardInterrupt):
            yield next_key
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _read(handle: int) -> str:
    return os.read(handle, 16).decode(errors="replace") or "q"  # the terminal has gone
