"""Seconds and memory of what stands in a `with` block: ``with meter("sow"): ...``."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Iterator
from typing import Any

STATUS = "/proc/self/status"


class Meter:
    """What one contender needed, lap by lap.

    `laps` has, by the lap's name, ``seconds`` (wall clock), ``cpu`` (of this process) and
    ``mib``: the peak of resident memory over what was held as the lap began. `notes` is
    whatever else the contender wants to tell.
    """

    def __init__(self) -> None:
        self.laps: dict[str, dict[str, float | None]] = {}
        self.notes: dict[str, Any] = {}

    @contextlib.contextmanager
    def __call__(self, lap: str = "", *, share: float = 1.0) -> Iterator[None]:
        """Measure a lap; with `share` it is that part of the row's work, and scaled up."""
        held = _settle()
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = _kib("VmHWM")
        mib = None if peak is None or held is None else max(0, peak - held) / 1024
        self.laps[lap] = {"seconds": wall / share, "cpu": cpu / share, "mib": mib}
        if share != 1.0:
            self.notes["share"] = share

    def record(self, seconds: float, lap: str = "") -> None:
        """A lap that was timed otherwise."""
        self.laps[lap] = {"seconds": seconds, "cpu": None, "mib": None}


def _settle() -> int | None:
    """Give back what is free, and let the peak begin here; KiB held."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # neither Linux nor glibc
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    return _kib("VmRSS")


def _kib(key: str) -> int | None:
    try:
        with open(STATUS) as file:
            return next(int(line.split()[1]) for line in file if line.startswith(key))
    except OSError:
        return None
