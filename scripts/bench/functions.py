"""What is sown in the rows; imported by name in every process."""

from __future__ import annotations

import os
from typing import Any


def product(a: float, b: float) -> float:
    return a * b


def identity(a: int) -> int:
    return a


def spectrum(a: int, points: int) -> Any:
    import numpy as np

    return np.full(points, float(a))


class Star:
    """An array that can be hashed, as xyzpy wants its values."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __getitem__(self, at: int) -> float:
        return float(self.values[at])


def total(star: Any) -> float:
    return float(star[0] + star[-1])


def looked_up(a: int, table: Any) -> float:
    return float(table[a])


def counted(a: int, calls: str) -> int:
    """Leave a byte in the file `calls`, which any number of processes may share."""
    handle = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, b".")
    os.close(handle)
    return a


def told_time(a: int, moment: str) -> int:
    """Write down when this was called first."""
    import time

    with open(moment, "w") as file:
        file.write(repr(time.time()))
    return a
