"""Who holds a claim, and whether that process is known to be dead.

An owner is written ``host.pid.token``. The token is ``machine-start-random``: a
mark of the running kernel and process namespace, the process' start time, and a
few random digits. So a pid that was given away again, a rebooted host, or two
containers with one host name are never taken for each other.
"""

from __future__ import annotations

import os
import re
import socket
import zlib
from dataclasses import dataclass

_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")
_PID = re.compile(r"[0-9]{1,18}")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _host() -> str:
    return _UNSAFE.sub("-", socket.gethostname()) or "localhost"


def _machine() -> str:
    """A mark of this boot of this kernel, and of this process namespace."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    boot = _read("/proc/sys/kernel/random/boot_id")
    return f"{zlib.crc32(boot + namespace.encode()):08x}"


def _started(pid: int) -> str | None:
    """Start time of process `pid` in clock ticks; None if it is gone or a zombie."""
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else f"{int(fields[19]):x}"


@dataclass(frozen=True)
class Owner:
    """One worker process, as its claims name it."""

    host: str
    pid: int
    token: str

    def __str__(self) -> str:
        return f"{self.host}.{self.pid}.{self.token}"

    @classmethod
    def here(cls) -> Owner:
        """An owner for this process; each call gives another token."""
        pid = os.getpid()
        mark = f"{_machine()}-{_started(pid) or '0'}-{os.urandom(4).hex()}"
        return cls(_host(), pid, mark)

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """The owner written as `text`; None if it is not one."""
        parts = text.rsplit(".", 2)
        if len(parts) != 3 or not _PID.fullmatch(parts[1]) or parts[2].count("-") != 2:
            return None
        return cls(parts[0], int(parts[1]), parts[2])

    def is_local(self) -> bool:
        """Whether this process could see that one: same host, boot and namespace."""
        return self.host == _host() and self.token.split("-")[0] == _machine()

    def is_me(self) -> bool:
        """Whether it is this very process, by whatever token."""
        me = self.pid == os.getpid() and self.is_local()
        return me and self.token.split("-")[1] == (_started(self.pid) or "0")

    def is_alive(self) -> bool | None:
        """False if the process is known to be gone, True if it is seen, None if unknown."""
        if not self.is_local():
            return None
        started = _started(self.pid)
        if os.path.isdir("/proc/self"):
            return started == self.token.split("-")[1]
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True
