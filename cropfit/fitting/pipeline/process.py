"""A program that is run, watched, and never outlives the process that started it.

    this process ──group──▶ watchdog ──(this process is gone)──▶ ends the group
          └────────go─────▶ sh ──exec──▶ the program, in a process group of its own

The program begins only when the watchdog knows its group, so there is no moment at which
a kill of this process would leave it behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from cropfit.work.context import current_case

__all__ = ["LINES", "all_cores", "run_logged", "tail"]

LINES = 20  # of output that an error shows
GRACE = 3.0  # seconds between asking a program to end and ending it
LOOK = 0.2  # seconds between two looks at whether it is to end
_BEGIN = 'read -r go && exec "$@" </dev/null'
_WATCH = 'read -r group; read -r end || { kill -TERM -"$group"; sleep 1; kill -KILL -"$group"; }'


def all_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_logged(
    args: Sequence[str],
    log: str,
    *,
    folder: str,
    environment: Mapping[str, str],
    limit: float,
) -> int:
    """Run a program, its output into a file; its exit code, negative for a signal.

    Parameters
    ----------
    args : sequence of str
        No shell reads them.
    log : path
        Replaced.
    folder : path
        Where it runs.
    environment : mapping
    limit : float
        Seconds after which it is ended.

    Raises
    ------
    TimeoutError
        It was.
    """
    case = current_case()
    deadline = time.monotonic() + limit
    with open(log, "wb") as output, _Watched(args, output.fileno(), folder, environment) as one:
        while True:
            try:
                return one.wait(LOOK)
            except subprocess.TimeoutExpired:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"it was ended after {limit:g} s") from None
                if case.should_stop():
                    one.end()
                    case.leave()


class _Watched:
    """A program in a group of its own, and the watchdog that ends it with this process."""

    def __init__(
        self, args: Sequence[str], output: int, folder: str, environment: Mapping[str, str]
    ) -> None:
        self.watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self.program = subprocess.Popen(
                ["/bin/sh", "-c", _BEGIN, "sh", *args],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
            )
        except BaseException:
            self._dismiss()
            raise
        self._say(self.watchdog, f"{self.program.pid}\n")
        self._say(self.program, "go\n")

    @staticmethod
    def _say(process: subprocess.Popen[bytes], text: str) -> None:
        if process.stdin is not None:
            process.stdin.write(text.encode())
            process.stdin.flush()

    def wait(self, limit: float) -> int:
        return self.program.wait(limit)

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        if self.program.poll() is None:
            self.end()
        if self.program.stdin is not None:
            with contextlib.suppress(OSError):
                self.program.stdin.close()
        self._dismiss()

    def end(self) -> None:
        """Ask the whole group to end, then end it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.program.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.program.wait(GRACE)

    def _dismiss(self) -> None:
        self.watchdog.kill()
        self.watchdog.wait()
        if self.watchdog.stdin is not None:
            with contextlib.suppress(OSError):
                self.watchdog.stdin.close()


def tail(log: str, lines: int = LINES) -> str:
    """The last lines of a file; what is no text is shown as such."""
    try:
        with open(log, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * lines))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
