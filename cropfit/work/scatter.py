"""Values that come in scattered order leave in order, through a file without a name.

    put ──▶ drawer of their cells (appended) ──parts──▶ drawer by drawer, in order

A drawer holds a run of cells as small as memory allows. So every value is
written and read once, in pieces, and nothing stays in memory.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scatter"]

DRAWER = 4 << 20
"""Bytes of a drawer's values."""


class Scatter:
    """An array of `size` cells on disk.

    Parameters
    ----------
    size
        How many cells there are.
    shape, dtype
        Of the value in a cell.
    missing
        Stands in the cells that get no value.
    folder
        Where the disk is; the file goes with the process, however it ends.
    most
        How often a cell may be put, at most; the last value counts.
    """

    def __init__(
        self,
        size: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        missing: Any,
        folder: str,
        *,
        most: int = 1,
    ) -> None:
        self._size = size
        self._missing = missing
        self._entry = np.dtype([("cell", np.int64), ("value", dtype, shape)])
        self._cells = max(DRAWER // self._entry.itemsize, 1)
        self._used = np.zeros(-(-size // self._cells), np.int64)
        self._room = self._cells * self._entry.itemsize * most
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115

    def put(self, cells: NDArray[np.intp], values: NDArray[Any]) -> None:
        """Append each value to the drawer of its cell.

        Raises
        ------
        OSError
            The disk is full.
        """
        for start in range(0, len(cells), self._cells):
            part = cells[start : start + self._cells]
            order = np.argsort(part, kind="stable")
            entries = np.empty(len(part), self._entry)
            entries["cell"] = part[order]
            entries["value"] = values[start : start + self._cells][order]
            drawers = entries["cell"] // self._cells
            cuts = np.flatnonzero(np.diff(drawers)) + 1
            bounds = [0, *cuts.tolist(), len(part)]
            for first, stop in itertools.pairwise(bounds):
                self._append(int(drawers[first]), entries[first:stop])

    def parts(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """First cell and values of each drawer, in order; then the file is gone."""
        value = self._entry["value"]
        for drawer, used in enumerate(self._used.tolist()):
            first = drawer * self._cells
            count = min(self._cells, self._size - first)
            found = np.frombuffer(
                os.pread(self._file.fileno(), used, drawer * self._room), self._entry
            )
            part = np.full((count, *value.shape), self._missing, value.base)
            part[found["cell"] - first] = found["value"]
            yield first, part
        self._file.close()

    def _append(self, drawer: int, entries: NDArray[Any]) -> None:
        view = memoryview(entries.tobytes())
        while view:
            at = drawer * self._room + int(self._used[drawer])
            written = os.pwrite(self._file.fileno(), view, at)
            self._used[drawer] += written
            view = view[written:]
