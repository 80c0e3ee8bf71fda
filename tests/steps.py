"""What tests of whole crops share: other processes, and functions that stop where told to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def tree(folder: str | os.PathLike[str]) -> list[str]:
    """Every path below `folder`, relative to it."""
    top = Path(folder)
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def python(code: str, *args: str, ok: bool = True, timeout: float = 200, **options: Any) -> str:
    """Run a program in a fresh interpreter; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )
    if ok and done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def start(code: str, *args: str, **options: Any) -> subprocess.Popen[str]:
    """Start a program in a fresh interpreter."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


GROW = "import sys, cropfit; sys.exit(cropfit.grow(crop=sys.argv[1]).exit_code)"
"""A worker's program; its argument is the crop."""


class Gate:
    """Stops a function, in whatever process, until the test lets it go on.

    Two named pipes, opening each of which waits for the other side: no polling, no clock.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        os.makedirs(self.folder, exist_ok=True)
        for name in ("arrived", "go"):
            os.mkfifo(f"{self.folder}/{name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _known, (self.folder,)

    def stop_here(self) -> None:
        """Called by the function: wait for the test twice, to be seen and to be let go."""
        with open(f"{self.folder}/arrived", "w"):
            pass
        with open(f"{self.folder}/go"):
            pass

    def wait_for_arrival(self) -> None:
        """Return when a function has arrived."""
        with open(f"{self.folder}/arrived"):
            pass

    def let_go(self) -> None:
        """Let the function that arrived go on."""
        with open(f"{self.folder}/go", "w"):
            pass


def _known(folder: str) -> Gate:
    gate = Gate.__new__(Gate)
    gate.folder = folder
    return gate


class Tally:
    """Counts calls over all processes: one line each, appended in one write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def add(self, what: object) -> None:
        """Note a call."""
        handle = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(handle, f"{what}\n".encode())
        os.close(handle)

    def all(self) -> list[str]:
        """What was noted, in order."""
        try:
            return Path(self.path).read_text().splitlines()
        except FileNotFoundError:
            return []

    def sorted(self) -> list[int]:
        """The same as numbers, ascending."""
        return sorted(map(int, self.all()))
