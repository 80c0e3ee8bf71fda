"""The main program of a process of a `Crew`: it hears an errand, does it, and answers.

It ends when the process that started it ends, however that happens and whatever it is
doing: the kernel sends SIGIO, which nobody handles, as the lifeline closes. Where a
forked process still holds the lifeline's other end, a thread sees the parent change.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import signal
import sys
import threading
from multiprocessing.connection import Connection

LOOK = 1.0  # seconds between two looks at who the parent is


def main() -> None:
    """Serve on the descriptors that the arguments name."""
    line, lifeline, parent = map(int, sys.argv[2:5])
    sys.argv[1:] = []
    for each in (line, lifeline):
        os.set_inheritable(each, False)
    _end_with(lifeline, parent)
    connection = Connection(line)
    while True:
        try:
            errand, data = pickle.loads(connection.recv_bytes())
        except (EOFError, ConnectionError):
            return
        answer = pickle.dumps(errand(data), 5)
        try:
            connection.send_bytes(answer)
        except ConnectionError:
            return


def _end_with(lifeline: int, parent: int) -> None:
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    threading.Thread(target=_watch, args=(lifeline, parent), daemon=True).start()


def _watch(lifeline: int, parent: int) -> None:
    while os.getppid() == parent:
        if select.select([lifeline], [], [], LOOK)[0]:
            break
    os.kill(os.getpid(), signal.SIGKILL)
