"""Every contender of a row in turns, each in a fresh process, round after round."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import peers
from contest import Round, Row, Run, Size
from rows import ROWS

HERE = Path(__file__).parent
LIMIT = 1800  # seconds for one process
MEMORY = Path("/dev/shm")


class Ground:
    """Folders to run in; emptied in the end, as deleting many files slows down what follows."""

    def __init__(self, disk: Path | None) -> None:
        self.disk = Path(tempfile.mkdtemp(prefix="cropfit-bench-", dir=disk))
        self.memory = Path(tempfile.mkdtemp(prefix="cropfit-bench-", dir=_memory()))

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, *_: object) -> None:
        for folder in (self.disk, self.memory):
            remove(folder)

    def folder(self, row: type[Row], *names: str) -> Path:
        found = (self.memory if row.place == "memory" else self.disk).joinpath(*names)
        found.mkdir(parents=True, exist_ok=True)
        return found


def remove(folder: Path) -> None:
    """Delete a folder, while the remover of a deleted crop may still be at work in it."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _memory() -> Path | None:
    return MEMORY if os.access(MEMORY, os.W_OK) else None


class Match:
    """One row at one size on one ground."""

    def __init__(self, ground: Ground, name: str, size: Size, who: list[str]) -> None:
        self.ground, self.name, self.size, self.who = ground, name, size, who
        self.row = ROWS[name]
        self.place = "-".join([name, *map(str, size.values())])
        self.broken: dict[str, str] = {}  # contender → why it takes no part any more

    def play(self, rounds: int, say: Callable[[str], None]) -> list[Round]:
        """What each contender told, round by round; the order turns."""
        found = []
        for k in range(rounds):
            turn = k % len(self.who)
            order = self.who[turn:] + self.who[:turn]
            found.append({who: self.run(who, k, say) for who in order})
            if self.row.place == "memory":
                self.clear()
        if self.row.bulky:
            self.clear()
        return found

    def clear(self) -> None:
        remove(self.ground.folder(self.row, self.place))

    def run(self, who: str, turn: int, say: Callable[[str], None]) -> Run:
        say(f"{self.name}: {who}, round {turn + 1}")
        if who in self.broken:
            return {"error": self.broken[who]}
        prepared = hasattr(self.row, f"prepare_{who}")
        folder = self.ground.folder(self.row, self.place, who if prepared else f"{who}-{turn}")
        try:
            python = peers.python_for(who)
            if prepared and not any(folder.iterdir()):
                self.child(python, who, "prepare", folder)
            told = self.child(python, who, "run" if self.row.warm else "cold", folder)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            told = {"error": str(error)}
            self.broken[who] = str(error)
        if self.row.bulky and not prepared:
            remove(folder)
        return told

    def child(self, python: str, who: str, phase: str, folder: Path) -> Run:
        if self.row.bulky and self.size != self.row.sizes.quick:
            os.sync()  # what others have written must not be charged to this one
        command = [python, str(HERE / "child.py"), self.name, who, phase, json.dumps(self.size)]
        paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        ran = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        if ran.returncode:
            last = (ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1]
            raise RuntimeError(f"{self.name}, {who}: {last}")
        told: Run = json.loads(ran.stdout.splitlines()[-1])
        return told
