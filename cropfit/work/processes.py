"""What the system tells of worker processes."""

from __future__ import annotations

import os
import signal


def how_it_ended(code: int) -> str:
    """What an exit code tells, as ``Type: message``."""
    if code == -signal.SIGKILL:
        return "Killed: the process was killed by SIGKILL, as the OOM killer does"
    if code < 0:
        return f"Killed: the process was killed by {signal.Signals(-code).name}"
    return f"Exited: the process ended with exit code {code} in the middle of the case"


def memory_of_tree(pid: int) -> int:
    """Resident bytes of a process and its children."""
    total, todo = 0, [pid]
    while todo:
        each = todo.pop()
        try:
            with open(f"/proc/{each}/statm", "rb") as file:
                total += int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in os.listdir(f"/proc/{each}/task"):
                with open(f"/proc/{each}/task/{task}/children", "rb") as file:
                    todo += map(int, file.read().split())
        except (OSError, IndexError):
            continue
    return total
